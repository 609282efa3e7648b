//! What a process does on a signal (sigaction(2), "Signal dispositions" in signal(7)).

use base_abi::structs::SigAction;

use super::Signal;

/// What happens without a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultAction {
    /// Nothing.
    Ignore,
    /// The process ends.
    Terminate,
    /// The process ends; "core dumped" is reported, none is written.
    Core,
    /// The process stops.
    Stop,
    /// The process goes on.
    Continue,
}

/// What is to be done with a signal now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// `SIG_IGN`.
    Ignore,
    /// `SIG_DFL`.
    Default(DefaultAction),
    /// Call the handler.
    Handle(SigAction),
}

/// The 64 actions of a process, shared with `CLONE_SIGHAND`.
#[derive(Clone, Debug)]
pub struct Actions([SigAction; 64]);

const SIG_IGN: u64 = 1;

impl Default for Actions {
    fn default() -> Self {
        Actions([SigAction::default(); 64])
    }
}

impl Actions {
    /// All of them, by signal number.
    #[must_use]
    pub fn all(&self) -> &[SigAction; 64] {
        &self.0
    }

    /// As they were saved; `None` unless there are 64.
    #[must_use]
    pub fn restored(all: Vec<SigAction>) -> Option<Actions> {
        all.try_into().ok().map(Actions)
    }

    /// The action as `rt_sigaction` reports it.
    #[must_use]
    pub fn get(&self, signal: Signal) -> SigAction {
        self.0[Self::index(signal)]
    }

    /// Sets an action.
    pub fn set(&mut self, signal: Signal, action: SigAction) {
        self.0[Self::index(signal)] = action;
    }

    /// What to do on the signal.
    #[must_use]
    pub fn disposition(&self, signal: Signal) -> Disposition {
        let action = self.get(signal);
        match action.handler {
            0 => Disposition::Default(default_action(signal)),
            SIG_IGN => Disposition::Ignore,
            _ => Disposition::Handle(action),
        }
    }

    /// Whether the signal has no effect at all unless blocked.
    #[must_use]
    pub fn ignores(&self, signal: Signal) -> bool {
        matches!(
            self.disposition(signal),
            Disposition::Ignore | Disposition::Default(DefaultAction::Ignore)
        )
    }

    /// Back to default after a one-shot handler or a forced signal.
    pub fn reset(&mut self, signal: Signal) {
        self.0[Self::index(signal)] = SigAction::default();
    }

    /// execve(2): handled signals go back to default, ignored ones stay ignored.
    pub fn reset_for_exec(&mut self) {
        for action in &mut self.0 {
            let ignored = action.handler == SIG_IGN;
            *action = SigAction {
                handler: if ignored { SIG_IGN } else { 0 },
                ..SigAction::default()
            };
        }
    }

    /// `CLONE_CLEAR_SIGHAND` (clone(2)): like exec.
    pub fn clear(&mut self) {
        self.reset_for_exec();
    }

    fn index(signal: Signal) -> usize {
        usize::try_from(signal.number() - 1).unwrap_or(0).min(63)
    }
}

fn default_action(signal: Signal) -> DefaultAction {
    match signal {
        Signal::CHLD | Signal::URG | Signal::WINCH => DefaultAction::Ignore,
        Signal::CONT => DefaultAction::Continue,
        Signal::STOP | Signal::TSTP | Signal::TTIN | Signal::TTOU => DefaultAction::Stop,
        Signal::QUIT
        | Signal::ILL
        | Signal::TRAP
        | Signal::ABRT
        | Signal::BUS
        | Signal::FPE
        | Signal::SEGV
        | Signal::XCPU
        | Signal::XFSZ
        | Signal::SYS => DefaultAction::Core,
        _ => DefaultAction::Terminate,
    }
}
