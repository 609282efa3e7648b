//! Signals that were sent and not yet taken.

use std::collections::VecDeque;

use base_abi::structs::SigInfo;

use super::{Signal, SignalSet, si_code};

/// Queued signals of a task or of a process. Standard signals coalesce, real-time
/// ones queue in order up to the caller's limit (`RLIMIT_SIGPENDING`).
#[derive(Clone, Debug, Default)]
pub struct Pending {
    set: SignalSet,
    queue: VecDeque<SigInfo>,
}

impl Pending {
    /// All that is queued, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &SigInfo> {
        self.queue.iter()
    }

    /// As it was saved; what is no signal is left out.
    pub fn restored(queue: Vec<SigInfo>) -> Pending {
        let mut pending = Pending::default();
        for info in queue {
            if let Some(signal) = Signal::new(info.signo) {
                if info.code == si_code::SI_TIMER {
                    pending.push_timer(signal, info);
                    continue;
                }
                let _ = pending.push(signal, info, usize::MAX);
            }
        }
        pending
    }

    /// Which signals are pending.
    #[must_use]
    pub fn set(&self) -> SignalSet {
        self.set
    }

    /// How many entries are queued.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Nothing queued?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Adds a signal. Returns false when a real-time signal found the queue full.
    pub fn push(&mut self, signal: Signal, info: SigInfo, limit: usize) -> bool {
        if !signal.is_realtime() && self.set.contains(signal) {
            return true;
        }
        if signal.is_realtime() && self.queue.len() >= limit {
            return false;
        }
        self.set = self.set.with(signal);
        self.queue.push_back(SigInfo {
            signo: signal.number(),
            ..info
        });
        true
    }

    /// Adds a timer's signal, or counts in the one that it has here already. Each timer has a place of its own, whatever else of the
    /// number is pending (timer_create(2)); there are no more than timers.
    pub fn push_timer(&mut self, signal: Signal, info: SigInfo) {
        match self
            .queue
            .iter_mut()
            .find(|i| is_of_timer(i, signal, timer_of(&info)))
        {
            Some(queued) => {
                *queued = SigInfo {
                    signo: signal.number(),
                    ..info
                }
            }
            None => {
                self.set = self.set.with(signal);
                self.queue.push_back(SigInfo {
                    signo: signal.number(),
                    ..info
                });
            }
        }
    }

    /// Whether a timer's signal is queued.
    #[must_use]
    pub fn has_timer(&self, signal: Signal, id: i32) -> bool {
        self.set.contains(signal)
            && self
                .queue
                .iter()
                .any(|i| is_of_timer(i, signal, id.cast_unsigned()))
    }

    /// Takes the next signal outside the mask: synchronous faults first, then the lowest number.
    pub fn take(&mut self, blocked: SignalSet) -> Option<(Signal, SigInfo)> {
        self.take_in(SignalSet(!blocked.0))
    }

    /// Takes the next signal in the set (`sigtimedwait`, `signalfd`).
    pub fn take_in(&mut self, wanted: SignalSet) -> Option<(Signal, SigInfo)> {
        const SYNCHRONOUS: u64 = (1 << 10) | (1 << 6) | (1 << 3) | (1 << 4) | (1 << 7) | (1 << 30);
        let ready = self.set.0 & wanted.0;
        if ready == 0 {
            return None;
        }
        let pick = if ready & SYNCHRONOUS != 0 {
            ready & SYNCHRONOUS
        } else {
            ready
        };
        let signal = Signal::new(i32::try_from(pick.trailing_zeros()).ok()? + 1)?;
        let index = self.queue.iter().position(|i| i.signo == signal.number())?;
        let info = self.queue.remove(index)?;
        if !self.queue.iter().any(|i| i.signo == signal.number()) {
            self.set = self.set.without(signal);
        }
        Some((signal, info))
    }

    /// Drops signals in the set (an action became "ignore", `SIGCONT` against stops).
    pub fn discard(&mut self, unwanted: SignalSet) {
        self.set = self.set.minus(unwanted);
        self.queue
            .retain(|i| Signal::new(i.signo).is_some_and(|s| !unwanted.contains(s)));
    }
}

fn timer_of(info: &SigInfo) -> u32 {
    let [a, b, c, d, ..] = info.fields[0].to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

fn is_of_timer(info: &SigInfo, signal: Signal, id: u32) -> bool {
    info.signo == signal.number() && info.code == si_code::SI_TIMER && timer_of(info) == id
}

/// Constructors of `siginfo_t` for what the kernel itself sends.
pub mod siginfo {
    use base_abi::structs::SigInfo;

    use super::super::si_code;

    fn with(code: i32, fields: &[(usize, u64)]) -> SigInfo {
        let mut info = SigInfo {
            code,
            ..SigInfo::default()
        };
        for (index, value) in fields {
            info.fields[*index] = *value;
        }
        info
    }

    fn pid_uid(pid: i32, uid: u32) -> u64 {
        u64::from(pid.cast_unsigned()) | (u64::from(uid) << 32)
    }

    /// From the kernel, without a sender.
    #[must_use]
    pub fn kernel() -> SigInfo {
        with(si_code::SI_KERNEL, &[])
    }

    /// kill(2), or tgkill(2) with `SI_TKILL`.
    #[must_use]
    pub fn user(code: i32, pid: i32, uid: u32) -> SigInfo {
        with(code, &[(0, pid_uid(pid, uid))])
    }

    /// A descriptor that is ready: `POLL_IN` and others, with `si_band` and `si_fd`.
    #[must_use]
    pub fn ready(code: i32, band: u64, fd: i32) -> SigInfo {
        with(code, &[(0, band), (1, u64::from(fd.cast_unsigned()))])
    }

    /// A synchronous fault.
    #[must_use]
    pub fn fault(code: i32, addr: u64) -> SigInfo {
        with(code, &[(0, addr)])
    }

    /// `SIGCHLD`.
    #[must_use]
    pub fn child(code: i32, pid: i32, uid: u32, status: i32) -> SigInfo {
        with(
            code,
            &[
                (0, pid_uid(pid, uid)),
                (1, u64::from(status.cast_unsigned())),
            ],
        )
    }

    /// A POSIX timer: its id, overruns and value.
    #[must_use]
    pub fn timer(id: i32, overrun: i32, value: u64) -> SigInfo {
        let head = u64::from(id.cast_unsigned()) | (u64::from(overrun.cast_unsigned()) << 32);
        with(si_code::SI_TIMER, &[(0, head), (1, value)])
    }
}
