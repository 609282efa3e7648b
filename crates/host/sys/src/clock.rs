//! Host clocks (clock_gettime(2)) and the processor's time stamp counter.

use std::time::Duration;

/// Which host clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostClock {
    /// `CLOCK_REALTIME`.
    Realtime,
    /// `CLOCK_MONOTONIC`.
    Monotonic,
    /// `CLOCK_BOOTTIME`.
    Boottime,
    /// `CLOCK_PROCESS_CPUTIME_ID`.
    ProcessCpu,
    /// `CLOCK_THREAD_CPUTIME_ID`.
    ThreadCpu,
    /// CPU time of a thread of this process, or of any process.
    Cpu(CpuClockId),
}

/// Names CPU time (clock_getcpuclockid(3), pthread_getcpuclockid(3)); read by any thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuClockId(i32);

impl CpuClockId {
    /// `CPUCLOCK_SCHED`: what the scheduler counted, in nanoseconds.
    const SCHED: i32 = 2;
    const PER_THREAD: i32 = 4;

    /// Of a process.
    #[must_use]
    pub fn of_process(pid: i32) -> CpuClockId {
        CpuClockId((!pid << 3) | CpuClockId::SCHED)
    }

    /// Of a thread of this process.
    #[must_use]
    pub fn of_thread(tid: i32) -> CpuClockId {
        CpuClockId((!tid << 3) | CpuClockId::PER_THREAD | CpuClockId::SCHED)
    }

    /// As a number that is never 0, and back.
    #[must_use]
    pub fn raw(self) -> i32 {
        self.0
    }

    /// From the number.
    #[must_use]
    pub fn from_raw(raw: i32) -> CpuClockId {
        CpuClockId(raw)
    }
}

/// Time of a host clock since its own epoch.
#[must_use]
pub fn now(clock: HostClock) -> Duration {
    let id = match clock {
        HostClock::Realtime => libc::CLOCK_REALTIME,
        HostClock::Monotonic => libc::CLOCK_MONOTONIC,
        HostClock::Boottime => libc::CLOCK_BOOTTIME,
        HostClock::ProcessCpu => libc::CLOCK_PROCESS_CPUTIME_ID,
        HostClock::ThreadCpu => libc::CLOCK_THREAD_CPUTIME_ID,
        HostClock::Cpu(CpuClockId(id)) => id,
    };
    let mut ts = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: needed because the C library's function takes a pointer; `ts` is a live, writable timespec.
    let ret = unsafe { libc::clock_gettime(id, &raw mut ts) };
    if ret != 0 {
        return Duration::ZERO;
    }
    Duration::new(
        u64::try_from(ts.tv_sec).unwrap_or(0),
        u32::try_from(ts.tv_nsec).unwrap_or(0),
    )
}

/// The time stamp counter, in its own ticks; not ordered against surrounding loads.
#[must_use]
#[inline]
pub fn time_stamp_counter() -> u64 {
    // SAFETY: needed because it is an intrinsic; the instruction reads a counter and touches no memory.
    unsafe { core::arch::x86_64::_rdtsc() }
}
