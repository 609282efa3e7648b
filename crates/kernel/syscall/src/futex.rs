//! futex(2), robust lists and thread-exit words.

use std::sync::Arc;

use base_abi::Errno;
use kernel_core::futex::{FutexKey, FutexWaiter};
use kernel_core::task::{OnSignal, Task};
use kernel_mm::{Mm, WordIdentity};
use kernel_vfs::UserMemory;

use crate::call::{Args, Sys, SysResult};
use crate::entry::Entry;
use crate::{System, clock};

pub(crate) const ENTRIES: &[Entry] = &[
    Entry::partial(
        202,
        "futex",
        "pdupxu",
        futex,
        "priority-inheritance operations answer ENOSYS",
    ),
    Entry::full(273, "set_robust_list", "pu", set_robust_list),
    Entry::full(274, "get_robust_list", "dpp", get_robust_list),
    Entry::refused(
        449,
        "futex_waitv",
        "pxxpd",
        no_such_call,
        "libraries fall back to futex",
    ),
];

const PRIVATE: u32 = 128;
const CLOCK_REALTIME: u32 = 256;
const OP_MASK: u32 = !(PRIVATE | CLOCK_REALTIME);
const ROBUST_LIMIT: usize = 2048;
const FUTEX_WAITERS: u32 = 0x8000_0000;
const FUTEX_OWNER_DIED: u32 = 0x4000_0000;
const FUTEX_TID_MASK: u32 = 0x3fff_ffff;

fn no_such_call(_: &mut Sys<'_>, _: Args) -> SysResult {
    Err(Errno::ENOSYS.into())
}

/// The key of a word: shared words are known by what is mapped there.
///
/// # Errors
/// `EINVAL` for a misaligned address, `EFAULT` for one that is not mapped.
pub(crate) fn key_of(mm: &Mm, addr: u64, private: bool) -> Result<FutexKey, Errno> {
    if !addr.is_multiple_of(4) {
        return Err(Errno::EINVAL);
    }
    if !private {
        return match mm.word_identity(addr) {
            None => Err(Errno::EFAULT),
            Some(WordIdentity::Private(addr)) => Ok(FutexKey::Private { mm: mm.id(), addr }),
            Some(WordIdentity::Shared { file, offset }) => Ok(FutexKey::Shared {
                object: file,
                offset,
            }),
        };
    }
    Ok(FutexKey::Private { mm: mm.id(), addr })
}

fn futex(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let op = args.u32(1);
    let private = op & PRIVATE != 0;
    let mm = sys.mm();
    let addr = args.u64(0);
    let key = |a: u64| key_of(&mm, a, private);
    let count = |i: usize| args.i32(i).max(0).cast_unsigned();
    let kernel = &sys.system.kernel;
    match op & OP_MASK {
        0 => wait(sys, args, u32::MAX, Timeout::Relative),
        9 => wait(sys, args, args.u32(5), Timeout::Absolute),
        1 => Ok(u64::from(kernel.futexes.wake(
            key(addr)?,
            count(2).max(1),
            u32::MAX,
        ))),
        10 if args.u32(5) == 0 => Err(Errno::EINVAL.into()),
        10 => Ok(u64::from(kernel.futexes.wake(
            key(addr)?,
            count(2).max(1),
            args.u32(5),
        ))),
        3 | 4 => {
            let compare = (op & OP_MASK == 4).then_some(args.u32(5));
            let limit = u32::try_from(args.u64(3).min(u64::from(u32::MAX >> 1))).unwrap_or(0);
            let check = || match compare {
                Some(expected) if read_word(&mm, addr)? != expected => Err(Errno::EAGAIN),
                _ => Ok(()),
            };
            let (woken, moved) =
                kernel
                    .futexes
                    .requeue(key(addr)?, key(args.u64(4))?, count(2), limit, check)?;
            // Both count those that were moved, whatever futex(2) says of FUTEX_REQUEUE.
            Ok(u64::from(woken + moved))
        }
        5 => {
            let second = args.u64(4);
            let counts = (
                count(2),
                u32::try_from(args.u64(3).min(u64::from(u32::MAX >> 1))).unwrap_or(0),
            );
            let change = || apply_wake_op(&mm, second, args.u32(5));
            Ok(u64::from(kernel.futexes.wake_op(
                key(addr)?,
                key(second)?,
                counts,
                change,
            )?))
        }
        _ => Err(Errno::ENOSYS.into()),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Timeout {
    Relative,
    Absolute,
}

fn wait(sys: &mut Sys<'_>, args: Args, bitset: u32, kind: Timeout) -> SysResult {
    if bitset == 0 {
        return Err(Errno::EINVAL.into());
    }
    if let Some(waiter) = sys.restart.futex.take() {
        if waiter.woken() {
            return Ok(0);
        }
        if !sys.timed_out() {
            sys.restart.futex = Some(waiter);
            return Err(sys.block(kernel_vfs::PollTable::look(), on_signal(sys)));
        }
        let woken = sys.kernel().futexes.cancel(&waiter);
        return if woken {
            Ok(0)
        } else {
            Err(Errno::ETIMEDOUT.into())
        };
    }
    let mm = sys.mm();
    let (addr, expected) = (args.u64(0), args.u32(2));
    let key = key_of(&mm, addr, args.u32(1) & PRIVATE != 0)?;
    // A call that is made again after a restore keeps its deadline.
    if args.u64(3) != 0 && sys.restart.deadline.is_none() {
        let limit = clock::read_timespec(&mm, args.u64(3))?;
        let realtime = args.u32(1) & CLOCK_REALTIME != 0;
        let deadline = match kind {
            Timeout::Relative => sys.now().saturating_add(limit),
            Timeout::Absolute if realtime => sys.system.monotonic_from_realtime(limit),
            Timeout::Absolute => limit,
        };
        sys.restart.deadline = Some(deadline);
    }
    let check = || {
        if read_word(&mm, addr)? == expected {
            Ok(())
        } else {
            Err(Errno::EAGAIN)
        }
    };
    let waiter = sys
        .system
        .kernel
        .futexes
        .wait(key, bitset, &sys.task.parker, check)?;
    sys.restart.futex = Some(waiter);
    Err(sys.block(kernel_vfs::PollTable::look(), on_signal(sys)))
}

/// Puts a waiter back into the queue in which it stood when it was saved, whatever the word says by now. Before anything
/// runs: a wake-up must find it.
pub(crate) fn queue_again(
    system: &System,
    task: &Task,
    args: &[u64; 6],
    addr: u64,
) -> Option<Arc<FutexWaiter>> {
    let args = Args(*args);
    let bitset = match args.u32(1) & OP_MASK {
        9 => args.u32(5),
        _ => u32::MAX,
    };
    let key = key_of(&task.mm(), addr, args.u32(1) & PRIVATE != 0).ok()?;
    let futexes = &system.kernel.futexes;
    futexes.wait(key, bitset, &task.parker, || Ok(())).ok()
}

fn on_signal(sys: &Sys<'_>) -> OnSignal {
    if sys.restart.deadline.is_some() {
        OnSignal::Timed
    } else {
        OnSignal::Restart
    }
}

fn read_word(mm: &Mm, addr: u64) -> Result<u32, Errno> {
    let mut word = [0u8; 4];
    mm.read_bytes(addr, &mut word)?;
    Ok(u32::from_le_bytes(word))
}

/// The operation of `FUTEX_WAKE_OP` on the second word: true when its waiters are to be woken.
fn apply_wake_op(mm: &Mm, addr: u64, encoded: u32) -> Result<bool, Errno> {
    let sign_extend = |v: u32| ((v << 20).cast_signed()) >> 20;
    let op = encoded >> 28;
    let compare = (encoded >> 24) & 0xf;
    let mut operand = sign_extend((encoded >> 12) & 0xfff).cast_unsigned();
    let against = sign_extend(encoded & 0xfff);
    if op & 8 != 0 {
        operand = 1u32.checked_shl(operand & 31).unwrap_or(0);
    }
    for _ in 0..64 {
        let old = read_word(mm, addr)?;
        let new = match op & 7 {
            0 => operand,
            1 => old.wrapping_add(operand),
            2 => old | operand,
            3 => old & !operand,
            4 => old ^ operand,
            _ => return Err(Errno::ENOSYS),
        };
        if mm.space().compare_exchange_u32(addr, old, new)? != old {
            continue;
        }
        let old = old.cast_signed();
        return match compare {
            0 => Ok(old == against),
            1 => Ok(old != against),
            2 => Ok(old < against),
            3 => Ok(old <= against),
            4 => Ok(old > against),
            5 => Ok(old >= against),
            _ => Err(Errno::ENOSYS),
        };
    }
    Err(Errno::EAGAIN)
}

fn set_robust_list(sys: &mut Sys<'_>, args: Args) -> SysResult {
    if args.u64(1) != 24 {
        return Err(Errno::EINVAL.into());
    }
    sys.task.fields.lock().robust_list = (args.u64(0), args.u64(1));
    Ok(0)
}

fn get_robust_list(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let task = match args.i32(0) {
        0 => sys.task.clone(),
        tid => sys
            .kernel()
            .tree
            .lock()
            .task(tid)
            .cloned()
            .ok_or(Errno::ESRCH)?,
    };
    let (head, len) = task.fields.lock().robust_list;
    let mm = sys.mm();
    mm.write_bytes(args.u64(1), &head.to_le_bytes())?;
    mm.write_bytes(args.u64(2), &len.to_le_bytes())?;
    Ok(0)
}

/// Marks the robust futexes of an ending thread as orphaned and wakes one waiter each
/// (get_robust_list(2), "robust futexes"). The list is guest data: it is walked a bounded number of steps.
pub(crate) fn release_robust_list(system: &System, task: &Task, mm: &Mm) {
    let (head, _) = std::mem::take(&mut task.fields.lock().robust_list);
    if head == 0 {
        return;
    }
    let word = |addr: u64| {
        let mut bytes = [0u8; 8];
        mm.read_bytes(addr, &mut bytes)
            .ok()
            .map(|()| u64::from_le_bytes(bytes))
    };
    let (Some(first), Some(offset), Some(pending)) = (
        word(head),
        word(head.wrapping_add(8)),
        word(head.wrapping_add(16)),
    ) else {
        return;
    };
    let tid = task.tid().cast_unsigned();
    let mut entry = first;
    for _ in 0..ROBUST_LIMIT {
        if entry & !1 == head || entry == 0 {
            break;
        }
        let Some(next) = word(entry & !1) else { break };
        if entry != pending {
            orphan(system, mm, (entry & !1).wrapping_add(offset), tid);
        }
        entry = next;
    }
    if pending != 0 {
        orphan(system, mm, (pending & !1).wrapping_add(offset), tid);
    }
}

fn orphan(system: &System, mm: &Mm, addr: u64, tid: u32) {
    for _ in 0..64 {
        let Ok(old) = read_word(mm, addr) else { return };
        if old & FUTEX_TID_MASK != tid {
            return;
        }
        let new = (old & FUTEX_WAITERS) | FUTEX_OWNER_DIED;
        match mm.space().compare_exchange_u32(addr, old, new) {
            Ok(found) if found == old => {
                if old & FUTEX_WAITERS != 0 {
                    for private in [true, false] {
                        if let Ok(key) = key_of(mm, addr, private)
                            && system.kernel.futexes.wake(key, 1, u32::MAX) > 0
                        {
                            return;
                        }
                    }
                }
                return;
            }
            Ok(_) => {}
            Err(_) => return,
        }
    }
}
