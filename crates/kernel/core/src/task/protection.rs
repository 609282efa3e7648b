//! Signals that process 1 is spared (pid_namespaces(7), "The namespace init process").

use base_abi::structs::SigInfo;

use super::Pid;
use crate::signal::si_code;

/// Whose signals without a handler do nothing to a process. What its own instructions cause (a fault) ends it as any other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Protection {
    /// Nobody's.
    #[default]
    None,
    /// Those of other processes. For a program that is process 1 here, and beside an init elsewhere: it may end itself.
    FromOthers,
    /// All but those from outside of the sandbox: an init's, as of Linux's.
    FromAll,
}

impl Protection {
    /// Whether it covers what this says.
    pub(super) fn spares(self, own: Pid, info: &SigInfo) -> bool {
        let sent = info.code <= 0 && info.code != si_code::SI_TIMER;
        let [a, b, c, d, ..] = info.fields[0].to_le_bytes();
        let sender = Pid::from_le_bytes([a, b, c, d]);
        // Nobody in the sandbox has this number.
        let from_outside = info.code == si_code::SI_USER && sender == 0;
        match self {
            Protection::None => false,
            Protection::FromOthers => sent && sender != own && !from_outside,
            Protection::FromAll => !from_outside,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::siginfo;

    #[test]
    fn who_sent_it_counts() {
        let outside = siginfo::user(si_code::SI_USER, 0, 0);
        let child = siginfo::user(si_code::SI_USER, 7, 0);
        let own = siginfo::user(si_code::SI_TKILL, 1, 0);
        let timer = siginfo::timer(0, 0, 0);
        let all = [outside, child, own, timer, siginfo::kernel()];
        let spared = |p: Protection| all.map(|info| p.spares(1, &info));
        assert_eq!(spared(Protection::None), [false; 5]);
        assert_eq!(
            spared(Protection::FromOthers),
            [false, true, false, false, false]
        );
        assert_eq!(spared(Protection::FromAll), [false, true, true, true, true]);
    }
}
