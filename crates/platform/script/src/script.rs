//! Scripts: where a context's events come from.

use std::collections::VecDeque;

use platform_api::{CpuState, Event, Fault, Syscall};

type Step = dyn FnMut(&mut CpuState) -> Option<Event> + Send;

/// What one guest thread does.
pub struct Script(Box<Step>);

impl Script {
    /// Makes these system calls (number, up to six arguments), then is gone.
    #[must_use]
    pub fn calls(calls: &[(u64, &[u64])]) -> Script {
        Script::events(
            calls
                .iter()
                .map(|(nr, args)| Event::Syscall(Script::call(*nr, args)))
                .collect(),
        )
    }

    /// Has these events, then is gone.
    #[must_use]
    pub fn events(events: Vec<Event>) -> Script {
        let mut events = VecDeque::from(events);
        Script::steps(move |_| events.pop_front())
    }

    /// Asks `step` for each event; it sees and may change the registers, where `rax` holds what the last call returned.
    /// `None` ends the thread.
    pub fn steps(step: impl FnMut(&mut CpuState) -> Option<Event> + Send + 'static) -> Script {
        Script(Box::new(step))
    }

    /// A system call with up to six arguments, from an address of no meaning.
    #[must_use]
    pub fn call(nr: u64, args: &[u64]) -> Syscall {
        let mut six = [0; 6];
        six.iter_mut().zip(args).for_each(|(to, from)| *to = *from);
        Syscall {
            nr,
            args: six,
            ip: 0x40_0002,
        }
    }

    /// A fault as an event.
    #[must_use]
    pub fn fault(fault: Fault) -> Event {
        Event::Fault(fault)
    }

    pub(crate) fn next(&mut self, state: &mut CpuState) -> Option<Event> {
        (self.0)(state)
    }
}
