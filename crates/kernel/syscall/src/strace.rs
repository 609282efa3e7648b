//! One line a call for `--strace`, in strace's form.

use std::fmt::Write as _;

use base_abi::Errno;
use kernel_core::task::Task;
use platform_api::Syscall;

use crate::System;
use crate::entry::Entry;

/// Longest string argument shown.
const STRING_LIMIT: usize = 64;

/// Reports a call that has its result; `None` for one that set the registers itself.
pub(crate) fn finished(
    system: &System,
    task: &Task,
    entry: Option<&Entry>,
    call: &Syscall,
    value: Option<i64>,
) {
    let Some(tracer) = &system.tracer else { return };
    let mut line = format!("[{}] ", task.tid());
    match entry {
        Some(entry) => {
            line.push_str(entry.name);
            line.push('(');
            for (index, (shape, arg)) in entry.shape.chars().zip(call.args).enumerate() {
                if index > 0 {
                    line.push_str(", ");
                }
                argument(&mut line, task, shape, arg);
            }
            line.push(')');
        }
        None => {
            let _ = write!(line, "syscall_{}({:x?})", call.nr, call.args);
        }
    }
    match value {
        None => line.push_str(" = ?"),
        Some(value) if (-4095..0).contains(&value) => {
            let errno = Errno::from_raw(i32::try_from(-value).unwrap_or(0));
            let _ = write!(line, " = -1 {}", errno.name());
        }
        Some(value) if value > 0xffff_ffff => {
            let _ = write!(line, " = {value:#x}");
        }
        Some(value) => {
            let _ = write!(line, " = {value}");
        }
    }
    tracer(&line);
}

fn argument(line: &mut String, task: &Task, shape: char, value: u64) {
    let low = value & 0xffff_ffff;
    let _ = match shape {
        'd' => write!(line, "{}", u32::try_from(low).unwrap_or(0).cast_signed()),
        'o' => write!(line, "{low:#o}"),
        'u' => write!(line, "{value}"),
        'p' if value == 0 => write!(line, "NULL"),
        's' => match task.mm().read_cstr(value, 4096) {
            Ok(mut text) => {
                let more = text.len() > STRING_LIMIT;
                text.truncate(STRING_LIMIT);
                write!(
                    line,
                    "\"{}\"{}",
                    text.escape_ascii(),
                    if more { "..." } else { "" }
                )
            }
            Err(_) => write!(line, "{value:#x}"),
        },
        _ => write!(line, "{value:#x}"),
    };
}
