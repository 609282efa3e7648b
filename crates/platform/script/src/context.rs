//! Contexts that read from a script.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use platform_api::{Context, CpuState, Event, Interrupt, PlatformError};

use crate::{Script, Stage, XSTATE_SIZE};

const ENOSYS: i64 = -38;

/// Sticky until a run returns it.
#[derive(Default)]
struct Flag(AtomicBool);

impl Interrupt for Flag {
    fn interrupt(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// One scripted thread.
pub(crate) struct ScriptContext {
    stage: Arc<Stage>,
    /// Whether the address space still exists.
    alive: Arc<AtomicBool>,
    script: Option<Script>,
    state: CpuState,
    flag: Arc<Flag>,
    /// A call waits for its return value, which is in `rax`.
    pending: bool,
}

impl ScriptContext {
    pub(crate) fn new(
        stage: Arc<Stage>,
        alive: Arc<AtomicBool>,
        mut state: CpuState,
    ) -> ScriptContext {
        state.xstate.resize(XSTATE_SIZE, 0);
        let script = stage.scripts.lock().pop_front();
        ScriptContext {
            stage,
            alive,
            script,
            state,
            flag: Arc::default(),
            pending: false,
        }
    }
}

impl Context for ScriptContext {
    fn run(&mut self) -> Event {
        if !self.alive.load(Ordering::SeqCst) {
            return Event::Gone;
        }
        if self.flag.0.swap(false, Ordering::SeqCst) {
            return Event::Interrupted;
        }
        if self.pending {
            self.pending = false;
            self.stage.returned.lock().push(self.state.regs.rax as i64);
        }
        let event = self
            .script
            .as_mut()
            .and_then(|script| script.next(&mut self.state))
            .unwrap_or(Event::Gone);
        if let Event::Syscall(call) = event {
            self.pending = true;
            self.state.regs.rip = call.ip;
            self.state.regs.rax = ENOSYS as u64;
        }
        event
    }

    fn set_return(&mut self, value: i64) {
        self.state.regs.rax = value as u64;
    }

    fn state(&mut self) -> Result<&CpuState, PlatformError> {
        Ok(&self.state)
    }

    fn state_mut(&mut self) -> Result<&mut CpuState, PlatformError> {
        Ok(&mut self.state)
    }

    fn interrupter(&self) -> Arc<dyn Interrupt> {
        self.flag.clone()
    }
}
