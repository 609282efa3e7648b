//! How the host shares its processors with us (sched(7)).

use std::io;
use std::time::Duration;

use crate::check;

/// The shortest turn that the host grants.
const TURN: Duration = Duration::from_micros(100);

/// Asks for short turns on the processor, for this thread and those it makes.
///
/// A guest's system call is a hand-over between two threads, there and back, and each of them works for microseconds.
/// A thread that asks for short turns is let in before one that computes in long ones, without getting more of
/// the processor in all: `sched_runtime` of sched_setattr(2) for `SCHED_OTHER`, Linux 6.12. Older hosts ignore it.
///
/// # Errors
/// What the host said; nothing changed then.
pub fn ask_for_short_turns() -> io::Result<()> {
    let mut attr = attributes()?;
    // Whoever chose another policy for us meant it.
    if attr.sched_policy == libc::SCHED_OTHER as u32 {
        attr.sched_runtime = u64::try_from(TURN.as_nanos()).unwrap_or(u64::MAX);
        // SAFETY: needed because libc has no wrapper; the structure lives through the call, which reads it.
        check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) })?;
    }
    Ok(())
}

fn attributes() -> io::Result<libc::sched_attr> {
    // SAFETY: needed to make a C structure; it has integers only, for which zero is a value.
    let mut attr: libc::sched_attr = unsafe { std::mem::zeroed() };
    let size = size_of::<libc::sched_attr>();
    // SAFETY: needed because libc has no wrapper; the call writes at most `size` bytes to a structure that long.
    check(unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attr, size, 0) })?;
    Ok(attr)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_turns_are_granted_where_the_host_knows_them_and_inherited() {
        std::thread::spawn(|| {
            let before = attributes().unwrap();
            ask_for_short_turns().unwrap();
            let after = attributes().unwrap();
            assert_eq!(after.sched_policy, before.sched_policy);
            assert_eq!(after.sched_nice, before.sched_nice);
            // Hosts that do not know them tell nothing of turns.
            if before.sched_runtime > 0 {
                assert_eq!(after.sched_runtime, 100_000);
            }
            let child = std::thread::spawn(|| attributes().unwrap().sched_runtime);
            assert_eq!(child.join().unwrap(), after.sched_runtime);
        })
        .join()
        .unwrap();
    }
}
