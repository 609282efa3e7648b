//! The platform: a template stub, from which address spaces are forked.

use std::sync::Arc;

use host_sys::proc::ProcDir;
use parking_lot::Mutex;
use platform_api::{
    AddressSpace, Counting, Exit, Expected, Features, Held, Platform, PlatformError,
};

use crate::arena::Arena;
use crate::layout::{GUEST_END, GUEST_START};
use crate::mapper;
use crate::shared::{Shared, Stubs};
use crate::space::StubSpace;
use crate::stub::{Stub, refused};
use crate::template::Network;
use crate::tracer;

/// Address spaces, and threads of one, that are made ahead at most.
const PREPARED_SPACES: usize = 32;
const PREPARED_THREADS: usize = 128;

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
        let proc = ProcDir::open().map_err(refused("open /proc"))?;
        ProcessPlatform::with_proc(proc, Network::Own)
    }

    /// As [`new`](ProcessPlatform::new), where `/proc` is no longer in sight but was opened before.
    ///
    /// # Errors
    /// As [`new`](ProcessPlatform::new).
    pub fn with_proc(proc: ProcDir, network: Network) -> Result<ProcessPlatform, PlatformError> {
        tracer::start().map_err(refused("start the tracer"))?;
        mapper::receivers_see_the_end();
        let arena = Arena::new()
            .map(Arc::new)
            .map_err(refused("map the command pages"))?;
        let template = tracer::make_template(arena.clone(), network)
            .map_err(refused("make the first stub"))?;
        let shared = Arc::new(Shared {
            arena,
            template,
            proc,
            spare: Mutex::new(None),
            ready: Mutex::default(),
            exits: Arc::default(),
            stubs: Stubs::default(),
        });
        let platform = ProcessPlatform { shared };
        platform.begin_spare()?;
        Ok(platform)
    }

    /// Begins to fork a stub for the next [`Platform::new_address_space`], unless one is there. Returns before it is done.
    ///
    /// # Errors
    /// When there are too many; what the host has against it shows with the address space.
    pub fn begin_spare(&self) -> Result<(), PlatformError> {
        let mut spare = self.shared.spare.lock();
        if spare.is_none() {
            *spare = Some(self.shared.begin_stub()?);
        }
        Ok(())
    }
}

impl ProcessPlatform {
    fn next_stub(&self) -> Result<Arc<Stub>, PlatformError> {
        let spare = self.shared.spare.lock().take();
        let forking = spare.map_or_else(|| self.shared.begin_stub(), Ok)?;
        forking.finish(None)
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
            processor: template.processor,
        }
    }

    fn exits(&self) -> [(Exit, u64); Exit::ALL.len()] {
        self.shared.exits.so_far()
    }

    fn held(&self, counting: Counting) -> Option<Held> {
        let stubs = self.shared.stubs.living();
        // One alone shares no page with another.
        let close = counting == Counting::Close && stubs.len() > 1;
        let mut held = Held::default();
        for stub in stubs {
            // A stub that ends meanwhile has nothing.
            let memory = self.shared.proc.memory(stub.pid).unwrap_or_default();
            let private = if close {
                let parts = self.shared.proc.proportional_bytes(stub.pid);
                parts.unwrap_or(memory.anonymous)
            } else {
                memory.anonymous
            };
            held.private = held.private.saturating_add(private);
            held.tables = held.tables.saturating_add(memory.tables);
        }
        Some(held)
    }

    fn prepare(&self, spaces: &[Expected]) {
        for space in spaces.iter().take(PREPARED_SPACES) {
            let stub = match self.next_stub() {
                Ok(stub) => stub,
                Err(error) => {
                    tracing::debug!(%error, "no stub was made ahead");
                    return;
                }
            };
            if let Err(error) = stub.park(space.contexts.min(PREPARED_THREADS)) {
                tracing::debug!(%error, "threads were not made ahead");
            }
            self.shared.ready.lock().push_back(stub);
        }
    }

    fn new_address_space(&self) -> Result<Arc<dyn AddressSpace>, PlatformError> {
        let ready = self.shared.ready.lock().pop_front();
        let stub = ready.map_or_else(|| self.next_stub(), Ok)?;
        Ok(Arc::new(StubSpace::new(stub, self.shared.clone())))
    }
}
