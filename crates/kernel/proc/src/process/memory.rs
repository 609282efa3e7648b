//! What a process's own memory tells: arguments, environment, auxiliary vector.

use std::fmt::Write;

use kernel_mm::Mm;
use kernel_vfs::{Result, UserMemory};

use super::Subject;

/// The most that is read of argument or environment strings.
const STRINGS_LIMIT: u64 = 2 << 20;
/// The most words of environment pointers that are passed over, and pairs of the vector that are read.
const POINTERS_LIMIT: usize = 1 << 17;
const PAIRS_LIMIT: usize = 64;

fn strings(mm: &Mm, start: u64, end: u64) -> Vec<u8> {
    let len = end.saturating_sub(start).min(STRINGS_LIMIT);
    let mut buf = vec![0; usize::try_from(len).unwrap_or(0)];
    let n = mm.read_some(start, &mut buf).unwrap_or(0);
    buf.truncate(n);
    buf
}

/// `/proc/<pid>/cmdline`; setproctitle may have overwritten it.
pub(super) fn cmdline(subject: &Subject) -> Result<Vec<u8>> {
    let Ok(task) = subject.task() else {
        return Ok(Vec::new());
    };
    let mm = task.mm();
    let exec = mm.exec_layout();
    let mut text = strings(&mm, exec.arg_start, exec.arg_end);
    // A program that wrote its title over the arguments took away their last zero byte.
    if text.last().is_some_and(|b| *b != 0) {
        let more = strings(&mm, exec.arg_end, exec.env_end);
        let rest = more.split(|b| *b == 0).next().unwrap_or_default();
        text.extend_from_slice(rest);
    }
    Ok(text)
}

/// `/proc/<pid>/environ`, as it was at execve(2).
pub(super) fn environ(subject: &Subject) -> Result<Vec<u8>> {
    subject.check_access()?;
    let mm = subject.task()?.mm();
    let exec = mm.exec_layout();
    Ok(strings(&mm, exec.env_start, exec.env_end))
}

/// `/proc/<pid>/auxv`: found behind arguments and environment on the initial stack.
pub(super) fn auxv(subject: &Subject) -> Result<Vec<u8>> {
    subject.check_access()?;
    let mm = subject.task()?.mm();
    let word = |at: u64| -> Result<u64> {
        let mut bytes = [0; 8];
        mm.read_bytes(at, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    };
    let stack = mm.exec_layout().start_stack;
    let arguments = word(stack)?.min(POINTERS_LIMIT as u64);
    let mut at = stack.saturating_add((arguments + 2) * 8);
    for _ in 0..POINTERS_LIMIT {
        let pointer = word(at)?;
        at = at.saturating_add(8);
        if pointer == 0 {
            break;
        }
    }
    let mut out = Vec::new();
    for _ in 0..PAIRS_LIMIT {
        let (key, value) = (word(at)?, word(at.saturating_add(8))?);
        out.extend_from_slice(&key.to_le_bytes());
        out.extend_from_slice(&value.to_le_bytes());
        if key == 0 {
            break;
        }
        at = at.saturating_add(16);
    }
    Ok(out)
}

/// The sums of `smaps`.
pub(super) fn smaps_rollup(subject: &Subject) -> Result<String> {
    let mm = subject.task()?.mm();
    let stats = mm.stats();
    let resident = stats.resident.all() / 1024;
    let shared = stats.resident.shared / 1024;
    let (private, locked) = (resident - shared, stats.totals.locked / 1024);
    let mut text =
        String::from("00000000-7fffffffffff ---p 00000000 00:00 0                  [rollup]\n");
    let lines = [
        ("Rss", resident),
        ("Pss", resident),
        ("Pss_Dirty", resident),
        ("Pss_Anon", private),
        ("Pss_File", 0),
        ("Pss_Shmem", shared),
        ("Shared_Clean", 0),
        ("Shared_Dirty", shared),
        ("Private_Clean", 0),
        ("Private_Dirty", private),
        ("Referenced", resident),
        ("Anonymous", private),
        ("Swap", 0),
        ("SwapPss", 0),
        ("Locked", locked),
    ];
    for (name, kib) in lines {
        let _ = writeln!(text, "{:<16}{kib:>8} kB", format!("{name}:"));
    }
    Ok(text)
}
