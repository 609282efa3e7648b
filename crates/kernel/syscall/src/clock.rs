//! Guest time structures.

use base_abi::Errno;
use base_abi::structs::Timespec;
use kernel_mm::Mm;

/// Reads a `timespec` as nanoseconds.
///
/// # Errors
/// `EFAULT`; `EINVAL` for a negative or denormal value.
pub(crate) fn read_timespec(mm: &Mm, addr: u64) -> Result<u64, Errno> {
    nanoseconds(mm.read_obj::<Timespec>(addr)?)
}

/// A valid, not negative `timespec` as nanoseconds, saturating.
///
/// # Errors
/// `EINVAL`.
pub(crate) fn nanoseconds(time: Timespec) -> Result<u64, Errno> {
    let seconds = u64::try_from(time.sec).map_err(|_| Errno::EINVAL)?;
    let fraction = u64::try_from(time.nsec)
        .ok()
        .filter(|n| *n < 1_000_000_000)
        .ok_or(Errno::EINVAL)?;
    Ok(seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(fraction))
}

/// Nanoseconds as a `timespec`.
#[must_use]
pub(crate) fn timespec(nanoseconds: u64) -> Timespec {
    let part = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    Timespec {
        sec: part(nanoseconds / 1_000_000_000),
        nsec: part(nanoseconds % 1_000_000_000),
    }
}
