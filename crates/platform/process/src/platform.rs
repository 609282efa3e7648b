//! The platform: a template stub and what all address spaces share.

use std::sync::Arc;

use host_sys::proc::ProcDir;
use parking_lot::Mutex;
use platform_api::{AddressSpace, Features, Platform, PlatformError};

use crate::arena::Arena;
use crate::family::Family;
use crate::keeper::{self, Grave};
use crate::layout::{GUEST_END, GUEST_START};
use crate::space::StubSpace;
use crate::spawn::Template;
use crate::stub::{Stub, refused};

/// What every address space of a platform refers to.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) arena: Arc<Arena>,
    pub(crate) template: Template,
    pub(crate) proc: ProcDir,
    /// A stub forked ahead of time.
    spare: Mutex<Option<Arc<Stub>>>,
}

impl Shared {
    fn fork_template(&self) -> Result<Arc<Stub>, PlatformError> {
        Stub::fork(
            &self.arena,
            Family {
                spawner: self.template.pid,
                mapper: None,
            },
            None,
        )
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let _ = self.template.pidfd.kill();
        keeper::bury(Grave::new(
            Family {
                spawner: self.template.pid,
                mapper: None,
            },
            None,
        ));
    }
}

/// Runs guest instructions in stub processes; see the crate's description.
#[derive(Debug)]
pub struct ProcessPlatform {
    shared: Arc<Shared>,
}

impl ProcessPlatform {
    /// Forks the template stub from this process. Call it while the process is still small. Installs a `SIGCHLD` handler
    /// for the whole process, which calls the one that was there.
    ///
    /// Order of confinement: changes of user or namespaces, and **Landlock**, must come before it, on the same thread: Landlock
    /// forbids a restricted thread to trace or read a process outside its own domain. A seccomp filter and the
    /// loss of capabilities come after it: nothing is forked from this process later.
    ///
    /// # Errors
    /// When the host refuses user notification, ptrace or another thread.
    pub fn new() -> Result<ProcessPlatform, PlatformError> {
        ProcessPlatform::with_proc(ProcDir::open().map_err(refused("open /proc"))?)
    }

    /// As [`new`](ProcessPlatform::new), where `/proc` is no longer in sight but was opened before.
    ///
    /// # Errors
    /// As [`new`](ProcessPlatform::new).
    pub fn with_proc(proc: ProcDir) -> Result<ProcessPlatform, PlatformError> {
        keeper::start().map_err(refused("start the keeper"))?;
        let arena = Arena::new()
            .map(Arc::new)
            .map_err(refused("map the command pages"))?;
        let template =
            keeper::make_template(arena.clone()).map_err(refused("make the first stub"))?;
        let shared = Arc::new(Shared {
            arena,
            template,
            proc,
            spare: Mutex::new(None),
        });
        let platform = ProcessPlatform { shared };
        platform.prepare()?;
        Ok(platform)
    }

    /// Forks a stub ahead of the next [`Platform::new_address_space`], unless one is there.
    ///
    /// # Errors
    /// When the host refuses another one.
    pub fn prepare(&self) -> Result<(), PlatformError> {
        if self.shared.spare.lock().is_none() {
            let stub = self.shared.fork_template()?;
            *self.shared.spare.lock() = Some(stub);
        }
        Ok(())
    }
}

impl Platform for ProcessPlatform {
    fn name(&self) -> &'static str {
        "process"
    }

    fn features(&self) -> Features {
        let template = &self.shared.template;
        Features {
            min_address: GUEST_START,
            max_address: GUEST_END,
            xstate_size: template.xstate_size,
            xcr0: template.xcr0,
        }
    }

    fn new_address_space(&self) -> Result<Arc<dyn AddressSpace>, PlatformError> {
        let spare = self.shared.spare.lock().take();
        let stub = spare.map_or_else(|| self.shared.fork_template(), Ok)?;
        Ok(Arc::new(StubSpace::new(stub, self.shared.clone())))
    }
}
