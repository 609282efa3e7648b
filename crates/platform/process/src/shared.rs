//! What all address spaces of a platform share: the template stub, and stubs made ahead.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use host_sys::proc::ProcDir;
use parking_lot::Mutex;
use platform_api::{ExitCounts, PlatformError};

use crate::arena::Arena;
use crate::stub::{Forking, Stub};
use crate::stub_threads::StubThreads;
use crate::template::Template;
use crate::tracer::{self, Zombie};

/// What every address space of a platform refers to.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) arena: Arc<Arena>,
    pub(crate) template: Template,
    pub(crate) proc: ProcDir,
    /// A stub that is forked ahead of time.
    pub(crate) spare: Mutex<Option<Forking>>,
    /// Stubs with their threads, in the order in which they will be wanted.
    pub(crate) ready: Mutex<VecDeque<Arc<Stub>>>,
    pub(crate) exits: Arc<ExitCounts>,
    /// Stubs that are address spaces.
    pub(crate) stubs: Stubs,
}

/// Stubs that are address spaces, as long as they live.
#[derive(Debug, Default)]
pub(crate) struct Stubs(Mutex<Vec<Weak<Stub>>>);

impl Stubs {
    pub(crate) fn add(&self, stub: &Arc<Stub>) {
        let mut stubs = self.0.lock();
        if stubs.len() == stubs.capacity() {
            stubs.retain(|stub| stub.strong_count() > 0);
        }
        stubs.push(Arc::downgrade(stub));
    }

    pub(crate) fn living(&self) -> Vec<Arc<Stub>> {
        let stubs = self.0.lock();
        let living = stubs.iter().filter_map(Weak::upgrade);
        living.filter(|stub| !stub.is_killed()).collect()
    }
}

impl Shared {
    /// Begins to fork the template.
    pub(crate) fn begin_stub(&self) -> Result<Forking, PlatformError> {
        let template = StubThreads {
            spawner: self.template.pid,
            mapper: None,
        };
        Forking::begin(&self.arena, template)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // A stub that was forked is killed by being dropped.
        if let Some(spare) = self.spare.lock().take() {
            drop(spare.finish(None));
        }
        let _ = self.template.pidfd.kill();
        tracer::reap(Zombie::new(
            StubThreads {
                spawner: self.template.pid,
                mapper: None,
            },
            None,
        ));
    }
}
