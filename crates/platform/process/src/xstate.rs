//! Between a host thread's extended state and a guest's, which has the components that every platform has.

use std::io;

use host_sys::process::Pid;
use host_sys::ptrace;
use platform_api::processor;

use crate::template::Template;

/// What the areas look like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extended {
    /// Bytes of a guest's.
    pub(crate) len: usize,
    host_len: usize,
    xcr0: u64,
}

impl Extended {
    pub(crate) fn of(template: &Template) -> Extended {
        Extended {
            len: template.xstate_size,
            host_len: template.host_xstate_size,
            xcr0: template.xcr0,
        }
    }

    /// The state after `execve`.
    pub(crate) fn initial(self) -> Vec<u8> {
        processor::initial_state(self.len)
    }

    /// The state of a stopped thread.
    pub(crate) fn read(self, tid: Pid, into: &mut Vec<u8>) -> io::Result<()> {
        into.resize(self.len, 0);
        ptrace::extended_state(tid, into)?;
        processor::without_others(into, self.xcr0);
        Ok(())
    }

    /// Gives a stopped thread this state, and its own components their initial one. A malformed area, which only a guest's own
    /// signal frame can bring here, becomes the initial state.
    pub(crate) fn write(self, tid: Pid, from: &[u8]) -> io::Result<()> {
        let whole = |from: &[u8]| {
            let mut area = from.to_vec();
            processor::without_others(&mut area, self.xcr0);
            // The host takes nothing shorter.
            area.resize(self.host_len, 0);
            area
        };
        ptrace::set_extended_state(tid, &whole(from))
            .or_else(|_| ptrace::set_extended_state(tid, &whole(&self.initial())))
    }
}
