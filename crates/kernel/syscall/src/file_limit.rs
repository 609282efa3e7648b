//! `RLIMIT_FSIZE` (setrlimit(2)): how far files may be written.

use base_abi::Errno;
use kernel_core::signal::{Signal, siginfo};
use kernel_core::task::Resource;
use kernel_vfs::{Description, FileType, StatusFlags};

use crate::call::Sys;

/// How many of `want` bytes may be written at an offset, or where the description stands. A write over the limit ends there; one
/// that begins there does not begin.
///
/// # Errors
/// `EFBIG`, with `SIGXFSZ` for the caller.
pub(crate) fn room(
    sys: &Sys<'_>,
    description: &Description,
    at: Option<u64>,
    want: usize,
) -> Result<usize, Errno> {
    let limit = sys.process().limit(Resource::Fsize);
    if limit == u64::MAX || want == 0 || !is_limited(description) {
        return Ok(want);
    }
    let start = match at {
        _ if description.flags().contains(StatusFlags::APPEND) => description.file().size()?,
        Some(at) => at,
        None => description.offset(),
    };
    match limit.checked_sub(start) {
        None | Some(0) => Err(exceeded(sys)),
        Some(left) => Ok(usize::try_from(left).unwrap_or(usize::MAX).min(want)),
    }
}

/// Files that have a length; devices have none.
fn is_limited(description: &Description) -> bool {
    let file = description.file();
    let regular = |mode| FileType::from_mode(mode) == Some(FileType::Regular);
    file.seekable() && file.stat().is_ok_and(|stat| regular(stat.mode))
}

/// Whether a file may get this long, which has `size` bytes.
///
/// # Errors
/// As [`room`].
pub(crate) fn may_grow(sys: &Sys<'_>, size: u64, len: u64) -> Result<(), Errno> {
    if len <= size || len <= sys.process().limit(Resource::Fsize) {
        return Ok(());
    }
    Err(exceeded(sys))
}

fn exceeded(sys: &Sys<'_>) -> Errno {
    let _ = sys
        .kernel()
        .send_to_task(sys.task, Signal::XFSZ, siginfo::kernel());
    Errno::EFBIG
}
