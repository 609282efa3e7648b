//! futex(2), robust lists and thread-exit words.

use std::sync::Arc;

use base_abi::Errno;
use base_abi::general::{
    FUTEX_BITSET_MATCH_ANY, FUTEX_CLOCK_REALTIME, FUTEX_CMP_REQUEUE, FUTEX_OP_ADD, FUTEX_OP_ANDN,
    FUTEX_OP_CMP_EQ, FUTEX_OP_CMP_GE, FUTEX_OP_CMP_GT, FUTEX_OP_CMP_LE, FUTEX_OP_CMP_LT,
    FUTEX_OP_CMP_NE, FUTEX_OP_OPARG_SHIFT, FUTEX_OP_OR, FUTEX_OP_SET, FUTEX_OP_XOR,
    FUTEX_OWNER_DIED, FUTEX_PRIVATE_FLAG, FUTEX_REQUEUE, FUTEX_TID_MASK, FUTEX_WAIT,
    FUTEX_WAIT_BITSET, FUTEX_WAITERS, FUTEX_WAKE, FUTEX_WAKE_BITSET, FUTEX_WAKE_OP,
    ROBUST_LIST_LIMIT,
};
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

/// The operation without its flags.
const OPERATION: u32 = !(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME);
/// `struct robust_list_head`, which set_robust_list(2) takes in this size alone.
const ROBUST_LIST_HEAD_BYTES: u64 = 24;
/// Times that a word is changed anew because a guest thread changed it meanwhile; guests could go on for ever.
const ATTEMPTS: usize = 64;

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
    match args.u32(1) & OPERATION {
        FUTEX_WAIT => wait(sys, args, FUTEX_BITSET_MATCH_ANY, Timeout::Relative),
        FUTEX_WAIT_BITSET => wait(sys, args, args.u32(5), Timeout::Absolute),
        FUTEX_WAKE => wake(sys, args, FUTEX_BITSET_MATCH_ANY),
        FUTEX_WAKE_BITSET => wake(sys, args, args.u32(5)),
        FUTEX_REQUEUE => requeue(sys, args, None),
        FUTEX_CMP_REQUEUE => requeue(sys, args, Some(args.u32(5))),
        FUTEX_WAKE_OP => wake_op(sys, args),
        _ => Err(Errno::ENOSYS.into()),
    }
}

/// A number of waiters as an `int`; negative ones are none.
fn count(args: Args, index: usize) -> u32 {
    args.i32(index).max(0).cast_unsigned()
}

/// The second number, which stands where other operations have their timeout.
fn second_count(args: Args) -> u32 {
    const MOST: u32 = i32::MAX.cast_unsigned();
    u32::try_from(args.u64(3)).unwrap_or(MOST).min(MOST)
}

fn is_private(args: Args) -> bool {
    args.u32(1) & FUTEX_PRIVATE_FLAG != 0
}

fn wake(sys: &Sys<'_>, args: Args, bitset: u32) -> SysResult {
    if bitset == 0 {
        return Err(Errno::EINVAL.into());
    }
    let key = key_of(&sys.mm(), args.u64(0), is_private(args))?;
    let futexes = &sys.kernel().futexes;
    Ok(u64::from(futexes.wake(key, count(args, 2).max(1), bitset)))
}

fn requeue(sys: &Sys<'_>, args: Args, expected: Option<u32>) -> SysResult {
    let mm = sys.mm();
    let (from, to) = (args.u64(0), args.u64(4));
    let key = |addr| key_of(&mm, addr, is_private(args));
    let check = || match expected {
        Some(expected) if read_word(&mm, from)? != expected => Err(Errno::EAGAIN),
        _ => Ok(()),
    };
    let futexes = &sys.kernel().futexes;
    let limit = second_count(args);
    let (woken, moved) = futexes.requeue(key(from)?, key(to)?, count(args, 2), limit, check)?;
    // Both count those that were moved, whatever futex(2) says of FUTEX_REQUEUE.
    Ok(u64::from(woken + moved))
}

fn wake_op(sys: &Sys<'_>, args: Args) -> SysResult {
    let mm = sys.mm();
    let (first, second) = (args.u64(0), args.u64(4));
    let key = |addr| key_of(&mm, addr, is_private(args));
    let counts = (count(args, 2), second_count(args));
    let change = || apply_wake_op(&mm, second, args.u32(5));
    let futexes = &sys.kernel().futexes;
    let woken = futexes.wake_op(key(first)?, key(second)?, counts, change)?;
    Ok(u64::from(woken))
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
    let key = key_of(&mm, addr, is_private(args))?;
    // A call that is made again after a restore keeps its deadline.
    if args.u64(3) != 0 && sys.restart.deadline.is_none() {
        let limit = clock::read_timespec(&mm, args.u64(3))?;
        let realtime = args.u32(1) & FUTEX_CLOCK_REALTIME != 0;
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
    let bitset = match args.u32(1) & OPERATION {
        FUTEX_WAIT_BITSET => args.u32(5),
        _ => FUTEX_BITSET_MATCH_ANY,
    };
    let key = key_of(&task.mm(), addr, is_private(args)).ok()?;
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
    if op & FUTEX_OP_OPARG_SHIFT != 0 {
        operand = 1u32.checked_shl(operand & 31).unwrap_or(0);
    }
    for _ in 0..ATTEMPTS {
        let old = read_word(mm, addr)?;
        let new = match op & !FUTEX_OP_OPARG_SHIFT {
            FUTEX_OP_SET => operand,
            FUTEX_OP_ADD => old.wrapping_add(operand),
            FUTEX_OP_OR => old | operand,
            FUTEX_OP_ANDN => old & !operand,
            FUTEX_OP_XOR => old ^ operand,
            _ => return Err(Errno::ENOSYS),
        };
        if mm.space().compare_exchange_u32(addr, old, new)? != old {
            continue;
        }
        let old = old.cast_signed();
        return match compare {
            FUTEX_OP_CMP_EQ => Ok(old == against),
            FUTEX_OP_CMP_NE => Ok(old != against),
            FUTEX_OP_CMP_LT => Ok(old < against),
            FUTEX_OP_CMP_LE => Ok(old <= against),
            FUTEX_OP_CMP_GT => Ok(old > against),
            FUTEX_OP_CMP_GE => Ok(old >= against),
            _ => Err(Errno::ENOSYS),
        };
    }
    Err(Errno::EAGAIN)
}

fn set_robust_list(sys: &mut Sys<'_>, args: Args) -> SysResult {
    if args.u64(1) != ROBUST_LIST_HEAD_BYTES {
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
    for _ in 0..ROBUST_LIST_LIMIT {
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
    for _ in 0..ATTEMPTS {
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
                            && system.kernel.futexes.wake(key, 1, FUTEX_BITSET_MATCH_ANY) > 0
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
