//! Time as files need it: what time it is, and to be told when a time has come.

use std::any::Any;
use std::sync::Weak;

use base_abi::structs::Timespec;
use kernel_vfs::{Errno, Notify, Result};

/// Nanoseconds in a second.
pub(crate) const SECOND: u64 = 1_000_000_000;

/// Clocks a timer may run on (timerfd_create(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClockId {
    /// `CLOCK_REALTIME`, which may be set.
    Realtime,
    /// `CLOCK_MONOTONIC`.
    Monotonic,
    /// `CLOCK_BOOTTIME`.
    Boottime,
}

impl ClockId {
    /// From the number guests use.
    #[must_use]
    pub fn from_raw(raw: u32) -> Option<ClockId> {
        [ClockId::Realtime, ClockId::Monotonic, ClockId::Boottime]
            .into_iter()
            .find(|clock| clock.raw() == raw)
    }

    /// The number guests use.
    #[must_use]
    pub fn raw(self) -> u32 {
        match self {
            ClockId::Realtime => base_abi::general::CLOCK_REALTIME,
            ClockId::Monotonic => base_abi::general::CLOCK_MONOTONIC,
            ClockId::Boottime => base_abi::general::CLOCK_BOOTTIME,
        }
    }
}

/// Keeps an armed deadline alive; dropping it disarms.
pub struct Alarm(#[expect(dead_code, reason = "held for its drop")] Box<dyn Any + Send + Sync>);

impl Alarm {
    /// Wraps whatever disarms when dropped.
    #[must_use]
    pub fn new(guard: impl Any + Send + Sync) -> Alarm {
        Alarm(Box::new(guard))
    }
}

impl std::fmt::Debug for Alarm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Alarm")
    }
}

/// The sandbox's time, implemented by the kernel core.
pub trait Clock: Send + Sync {
    /// Nanoseconds on the clock.
    fn now(&self, clock: ClockId) -> u64;

    /// Notifies `target` once when the clock has reached `deadline` (nanoseconds), at once if it already has,
    /// but never from within this call. Early or repeated notifications do no harm.
    fn arm(&self, clock: ClockId, deadline: u64, target: Weak<dyn Notify>) -> Alarm;
}

/// Nanoseconds of a time a guest gave; saturates far in the future.
///
/// # Errors
/// `EINVAL` for negative seconds or nanoseconds outside a second.
pub fn nanoseconds(time: Timespec) -> Result<u64> {
    let sec = u64::try_from(time.sec).map_err(|_| Errno::EINVAL)?;
    let nsec = u64::try_from(time.nsec).map_err(|_| Errno::EINVAL)?;
    if nsec >= SECOND {
        return Err(Errno::EINVAL);
    }
    Ok(sec.saturating_mul(SECOND).saturating_add(nsec))
}

/// A time in nanoseconds as guests see it.
#[must_use]
pub fn timespec(nanoseconds: u64) -> Timespec {
    Timespec {
        sec: i64::try_from(nanoseconds / SECOND).unwrap_or(i64::MAX),
        nsec: i64::try_from(nanoseconds % SECOND).unwrap_or(0),
    }
}
