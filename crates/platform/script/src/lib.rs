//! A scripted guest: events come from a list or a function, memory is plain bytes.
//!
//! For tests of the kernel that need no processor. Everything about memory behaves as on the other platforms
//! (see `memory`); instructions do not exist, so registers hold whatever the kernel puts there.
//!
//! ```
//! use platform_api::{CpuState, Event, Platform};
//! use platform_script::{Script, ScriptPlatform};
//!
//! let platform = ScriptPlatform::new();
//! platform.next_guest(Script::calls(&[(39, &[]), (60, &[0])]));
//! let space = platform.new_address_space().unwrap();
//! let mut context = space.new_context(CpuState::default()).unwrap();
//! assert!(matches!(context.run(), Event::Syscall(call) if call.nr == 39));
//! context.set_return(1);
//! assert!(matches!(context.run(), Event::Syscall(call) if call.nr == 60));
//! assert_eq!(platform.returned(), [1]);
//! assert!(matches!(context.run(), Event::Gone));
//! ```
#![forbid(unsafe_code)]

mod context;
mod memory;
mod script;
mod space;

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use platform_api::{AddressSpace, Features, Platform, PlatformError};

pub use script::Script;

use space::ScriptSpace;

/// Lowest and one past the highest address, those of a Linux process.
const BOUNDS: (u64, u64) = (0x1_0000, 0x7fff_fe00_0000);
/// Legacy area and header of an XSAVE area: x87 and SSE.
const XSTATE_SIZE: usize = 576;

/// What all contexts of a platform share. Lock order: each alone.
#[derive(Default)]
pub(crate) struct Stage {
    /// Scripts of the contexts to come, first come first served.
    pub(crate) scripts: Mutex<VecDeque<Script>>,
    /// What the kernel returned, over all contexts, in order.
    pub(crate) returned: Mutex<Vec<i64>>,
}

/// Runs scripts instead of instructions.
#[derive(Clone, Default)]
pub struct ScriptPlatform {
    stage: Arc<Stage>,
}

impl ScriptPlatform {
    /// A platform without scripts: contexts are gone at once.
    #[must_use]
    pub fn new() -> ScriptPlatform {
        ScriptPlatform::default()
    }

    /// Gives a script to the next context that is made and has none yet.
    pub fn next_guest(&self, script: Script) {
        self.stage.scripts.lock().push_back(script);
    }

    /// What system calls returned so far, over all contexts, in order.
    #[must_use]
    pub fn returned(&self) -> Vec<i64> {
        self.stage.returned.lock().clone()
    }
}

impl Platform for ScriptPlatform {
    fn name(&self) -> &'static str {
        "script"
    }

    fn features(&self) -> Features {
        Features {
            min_address: BOUNDS.0,
            max_address: BOUNDS.1,
            xstate_size: XSTATE_SIZE,
            xcr0: 3,
            processor: platform_api::ProcessorFeatures::default(),
        }
    }

    fn new_address_space(&self) -> Result<Arc<dyn AddressSpace>, PlatformError> {
        Ok(Arc::new(ScriptSpace::new(self.stage.clone())))
    }
}
