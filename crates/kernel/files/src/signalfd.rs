//! Pending signals read as a file (signalfd(2)).

use std::sync::Arc;

use base_abi::structs::{SigInfo, Stat};
use kernel_vfs::save::{FileState, LoadError, Saved, Saver, Unsavable, decode};
use kernel_vfs::{Errno, Events, File, PollTable, Result, WaitQueue};
use parking_lot::Mutex;
use zerocopy::{Immutable, IntoBytes};

use crate::anon::anon_stat;

/// `SIGKILL` and `SIGSTOP`, which cannot be waited for.
const NEVER: u64 = 1 << 8 | 1 << 18;

/// The signals pending for the task that makes the current call, thread and process together.
pub trait PendingSignals: Send + Sync {
    /// Those pending, as a set (bit `n - 1` is signal `n`).
    fn pending(&self) -> u64;

    /// Takes the next pending signal of the set.
    fn take(&self, set: u64) -> Option<SigInfo>;

    /// Woken with `POLLIN` when a signal becomes pending.
    fn queue(&self) -> WaitQueue;
}

/// `struct signalfd_siginfo` (signalfd(2)).
#[derive(Clone, Copy, Debug, Default, IntoBytes, Immutable)]
#[repr(C)]
struct SignalFdInfo {
    signo: u32,
    errno: i32,
    code: i32,
    pid: u32,
    uid: u32,
    fd: i32,
    tid: u32,
    band: u32,
    overrun: u32,
    trapno: u32,
    status: i32,
    int: i32,
    ptr: u64,
    utime: u64,
    stime: u64,
    addr: u64,
    addr_lsb: u16,
    pad2: u16,
    syscall: i32,
    call_addr: u64,
    arch: u32,
    pad: [u8; 28],
}

const RECORD: usize = size_of::<SignalFdInfo>();

/// A signal file.
pub struct SignalFd {
    set: Mutex<u64>,
    signals: Arc<dyn PendingSignals>,
    changed: WaitQueue,
    ino: u64,
}

impl SignalFd {
    /// Kind of its saved state.
    pub const KIND: &'static str = "signalfd";

    /// Builds it from saved state.
    ///
    /// # Errors
    /// [`LoadError::Malformed`].
    pub fn load(
        state: &FileState,
        signals: Arc<dyn PendingSignals>,
    ) -> std::result::Result<Arc<SignalFd>, LoadError> {
        let (ino, set): (u64, u64) = decode(&state.bytes, "a signal file")?;
        Ok(SignalFd::new(set, signals, ino))
    }

    /// Accepts the signals of `set`.
    #[must_use]
    pub fn new(set: u64, signals: Arc<dyn PendingSignals>, ino: u64) -> Arc<SignalFd> {
        Arc::new(SignalFd {
            set: Mutex::new(set & !NEVER),
            signals,
            changed: WaitQueue::new(),
            ino,
        })
    }

    /// Replaces the set (signalfd(2) on an existing descriptor).
    pub fn set_signals(&self, set: u64) {
        *self.set.lock() = set & !NEVER;
        self.changed.wake(Events::IN);
    }

    /// The set now.
    #[must_use]
    pub fn signals(&self) -> u64 {
        *self.set.lock()
    }
}

impl File for SignalFd {
    fn stat(&self) -> Result<Stat> {
        Ok(anon_stat(self.ino))
    }

    fn read_at(&self, _offset: u64, buf: &mut [u8]) -> Result<usize> {
        if buf.len() < RECORD {
            return Err(Errno::EINVAL);
        }
        let set = self.signals();
        let mut done = 0;
        for slot in buf.chunks_exact_mut(RECORD) {
            let Some(info) = self.signals.take(set) else {
                break;
            };
            slot.copy_from_slice(record(&info).as_bytes());
            done += RECORD;
        }
        if done == 0 {
            Err(Errno::EAGAIN)
        } else {
            Ok(done)
        }
    }

    fn poll(&self, table: &mut PollTable) -> Events {
        table.add(&self.changed);
        table.add(&self.signals.queue());
        let mut ready = Events::empty();
        ready.set(Events::IN, self.signals.pending() & self.signals() != 0);
        ready
    }

    fn fd_info(&self) -> String {
        format!("sigmask:\t{:016x}\n", self.signals())
    }

    fn save(&self, _saver: &mut Saver) -> std::result::Result<Saved, Unsavable> {
        Saved::state(SignalFd::KIND, &(self.ino, self.signals()))
    }

    fn anonymous_name(&self) -> String {
        String::from("anon_inode:[signalfd]")
    }
}

/// Lays out the union of `siginfo_t` by its code, as signalfd(2) tells it.
fn record(info: &SigInfo) -> SignalFdInfo {
    /// `SI_TIMER`, `SI_SIGIO`, `SI_TKILL` of asm-generic/siginfo.h.
    const SI_TIMER: i32 = -2;
    const SIGCHLD: i32 = 17;
    const FAULTS: [i32; 5] = [4, 5, 7, 8, 11];
    let word = |i: usize| info.fields.get(i).copied().unwrap_or(0);
    let (low, high) = (word(0) as u32, (word(0) >> 32) as u32);
    let mut out = SignalFdInfo {
        signo: info.signo.cast_unsigned(),
        errno: info.errno,
        code: info.code,
        ..SignalFdInfo::default()
    };
    match (info.code, info.signo) {
        (SI_TIMER, _) => {
            out.tid = low;
            out.overrun = high;
            out.ptr = word(1);
            out.int = word(1) as i32;
        }
        (1.., SIGCHLD) => {
            out.pid = low;
            out.uid = high;
            out.status = word(1) as i32;
            out.utime = word(2);
            out.stime = word(3);
        }
        (1..=0x7f, signo) if FAULTS.contains(&signo) => out.addr = word(0),
        _ => {
            out.pid = low;
            out.uid = high;
            out.ptr = word(1);
            out.int = word(1) as i32;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Fake {
        list: Mutex<Vec<SigInfo>>,
        queue: WaitQueue,
    }

    impl Fake {
        fn raise(&self, signo: i32, fields: &[u64]) {
            let mut info = SigInfo {
                signo,
                ..SigInfo::default()
            };
            info.fields[..fields.len()].copy_from_slice(fields);
            self.list.lock().push(info);
            self.queue.wake(Events::IN);
        }
    }

    impl PendingSignals for Fake {
        fn pending(&self) -> u64 {
            self.list
                .lock()
                .iter()
                .fold(0, |set, i| set | 1 << (i.signo - 1))
        }

        fn take(&self, set: u64) -> Option<SigInfo> {
            let mut list = self.list.lock();
            let at = list.iter().position(|i| set & 1 << (i.signo - 1) != 0)?;
            Some(list.remove(at))
        }

        fn queue(&self) -> WaitQueue {
            self.queue.clone()
        }
    }

    #[test]
    fn records_have_linux_size() {
        assert_eq!(RECORD, 128);
    }

    #[test]
    fn only_signals_of_the_set_are_read() {
        let source = Arc::new(Fake::default());
        let file = SignalFd::new(1 << 9 | NEVER, source.clone(), 1);
        assert_eq!(file.signals(), 1 << 9);
        source.raise(12, &[]);
        let mut buf = [0; 300];
        assert_eq!(file.read_at(0, &mut buf), Err(Errno::EAGAIN));
        assert_eq!(file.poll(&mut PollTable::look()), Events::empty());
        source.raise(10, &[7 | 9 << 32, 5]);
        source.raise(10, &[]);
        source.raise(10, &[]);
        assert_eq!(file.poll(&mut PollTable::look()), Events::IN);
        assert_eq!(file.read_at(0, &mut buf), Ok(256));
        assert_eq!(buf[0], 10);
        assert_eq!((buf[12], buf[16], buf[44]), (7, 9, 5));
        assert_eq!(file.read_at(0, &mut buf[..127]), Err(Errno::EINVAL));
        file.set_signals(1 << 11);
        assert_eq!(file.read_at(0, &mut buf), Ok(128));
        assert_eq!(buf[0], 12);
    }
}
