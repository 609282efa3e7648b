//! Clocks and sleeping: clock_gettime, gettimeofday, nanosleep and their families.

use base_abi::Errno;
use base_abi::general::{
    CLOCK_MONOTONIC_COARSE, CLOCK_MONOTONIC_RAW, CLOCK_REALTIME, CLOCK_REALTIME_COARSE,
    CLOCK_THREAD_CPUTIME_ID, TIMER_ABSTIME,
};
use base_abi::structs::{Timespec, Timeval};
use kernel_core::task::OnSignal;
use kernel_time::GuestClock;
use kernel_vfs::PollTable;

use crate::call::{Args, Sys, SysResult};
use crate::clock::{nanoseconds, read_timespec, timespec};
use crate::clock_kind::ClockKind;
use crate::entry::Entry;

const FIXED: &str = "reads; setting clocks is refused as for any ordinary user";

pub(crate) const ENTRIES: &[Entry] = &[
    Entry::full(35, "nanosleep", "pp", nanosleep),
    Entry::full(96, "gettimeofday", "pp", gettimeofday),
    Entry::partial(159, "adjtimex", "p", |s, a| adjust(s, a.u64(0)), FIXED),
    Entry::refused(164, "settimeofday", "pp", settimeofday, FIXED),
    Entry::full(201, "time", "p", time),
    Entry::refused(227, "clock_settime", "dp", clock_settime, FIXED),
    Entry::full(228, "clock_gettime", "dp", clock_gettime),
    Entry::full(229, "clock_getres", "dp", clock_getres),
    Entry::full(230, "clock_nanosleep", "dxpp", clock_nanosleep),
    Entry::partial(305, "clock_adjtime", "dp", clock_adjtime, FIXED),
];

/// The clock that a guest names.
fn clock_of(sys: &Sys<'_>, id: i32) -> Result<ClockKind, Errno> {
    ClockKind::from_id(sys.kernel(), sys.task, id)
}

fn now_of(sys: &Sys<'_>, clock: ClockKind) -> u64 {
    clock.now(sys.kernel(), sys.system.timers.clocks())
}

fn clock_gettime(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let kind = clock_of(sys, args.i32(0))?;
    let now = timespec(now_of(sys, kind));
    sys.mm().write_obj(args.u64(1), &now)?;
    Ok(0)
}

fn clock_getres(sys: &mut Sys<'_>, args: Args) -> SysResult {
    const COARSE: u64 = 4_000_000;
    clock_of(sys, args.i32(0))?;
    let resolution = if matches!(args.u32(0), CLOCK_REALTIME_COARSE | CLOCK_MONOTONIC_COARSE) {
        COARSE
    } else {
        1
    };
    if args.u64(1) != 0 {
        sys.mm().write_obj(args.u64(1), &timespec(resolution))?;
    }
    Ok(0)
}

fn clock_settime(sys: &mut Sys<'_>, args: Args) -> SysResult {
    if args.u32(0) != CLOCK_REALTIME {
        return Err(Errno::EINVAL.into());
    }
    read_timespec(&sys.mm(), args.u64(1))?;
    Err(Errno::EPERM.into())
}

fn gettimeofday(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let now = timespec(sys.system.realtime());
    let mm = sys.mm();
    if args.u64(0) != 0 {
        let now = Timeval {
            sec: now.sec,
            usec: now.nsec / 1000,
        };
        mm.write_obj(args.u64(0), &now)?;
    }
    if args.u64(1) != 0 {
        mm.write_obj(args.u64(1), &[0i32; 2])?;
    }
    Ok(0)
}

fn settimeofday(sys: &mut Sys<'_>, args: Args) -> SysResult {
    if args.u64(0) != 0 {
        let time: Timeval = sys.mm().read_obj(args.u64(0))?;
        if !(0..1_000_000).contains(&time.usec) || time.sec < 0 {
            return Err(Errno::EINVAL.into());
        }
    }
    Err(Errno::EPERM.into())
}

fn time(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let seconds = sys.system.realtime() / 1_000_000_000;
    if args.u64(0) != 0 {
        sys.mm().write_obj(args.u64(0), &seconds)?;
    }
    Ok(seconds)
}

/// Words of `struct timex` (adjtimex(2)), 208 bytes.
fn adjust(sys: &mut Sys<'_>, at: u64) -> SysResult {
    const UNSYNCHRONISED: u64 = 0x40;
    const TIME_ERROR: u64 = 5;
    const MAX_ERROR: u64 = 16_000_000;
    let modes: u32 = sys.mm().read_obj(at)?;
    if modes != 0 {
        return Err(Errno::EPERM.into());
    }
    let now = timespec(sys.system.realtime());
    let mut words = [0u64; 26];
    (words[3], words[4], words[5]) = (MAX_ERROR, MAX_ERROR, UNSYNCHRONISED);
    // Time constant, precision in us, tolerance in scaled parts per million.
    (words[6], words[7], words[8]) = (2, 1, 32_768_000);
    (words[9], words[10]) = (now.sec.cast_unsigned(), (now.nsec / 1000).cast_unsigned());
    // Microseconds a tick at 100 Hz.
    words[11] = 10_000;
    sys.mm().write_obj(at, &words)?;
    Ok(TIME_ERROR)
}

fn clock_adjtime(sys: &mut Sys<'_>, args: Args) -> SysResult {
    match clock_of(sys, args.i32(0))? {
        ClockKind::Guest(GuestClock::Realtime) => adjust(sys, args.u64(1)),
        _ => Err(Errno::EOPNOTSUPP.into()),
    }
}

fn nanosleep(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let length = read_timespec(&sys.mm(), args.u64(0))?;
    sleep(sys, Wanted::For(length, args.u64(1)))
}

fn clock_nanosleep(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let kind = match args.u32(0) {
        // One's own thread's CPU time never passes while it sleeps.
        CLOCK_THREAD_CPUTIME_ID => return Err(Errno::EINVAL.into()),
        // Clocks without timers.
        CLOCK_MONOTONIC_RAW | CLOCK_REALTIME_COARSE | CLOCK_MONOTONIC_COARSE => {
            return Err(Errno::EOPNOTSUPP.into());
        }
        _ => clock_of(sys, args.i32(0))?,
    };
    let time: Timespec = sys.mm().read_obj(args.u64(2))?;
    let time = nanoseconds(time)?;
    let absolute = args.u32(1) & TIMER_ABSTIME != 0;
    match (kind, absolute) {
        (ClockKind::Guest(GuestClock::Realtime), true) => {
            let deadline = sys.system.monotonic_from_realtime(time);
            sleep(sys, Wanted::Until(deadline))
        }
        (ClockKind::Guest(_), true) => sleep(sys, Wanted::Until(time)),
        (ClockKind::Guest(_), false) => sleep(sys, Wanted::For(time, args.u64(3))),
        (cpu, _) => sleep_on_cpu_time(sys, cpu, time, absolute),
    }
}

/// How long to sleep.
enum Wanted {
    /// Nanoseconds from the first run; where to write what remains when a handler ran.
    For(u64, u64),
    /// A monotonic time.
    Until(u64),
}

fn sleep(sys: &mut Sys<'_>, wanted: Wanted) -> SysResult {
    let on_signal = match wanted {
        Wanted::For(length, remaining) => {
            sys.set_timeout(Some(length));
            sys.restart.remaining_at = remaining;
            OnSignal::Timed
        }
        Wanted::Until(deadline) => {
            sys.restart.deadline = Some(deadline);
            OnSignal::Resume
        }
    };
    if sys.timed_out() {
        return Ok(0);
    }
    Err(sys.block(PollTable::look(), on_signal))
}

/// Looks again after as long as the CPU time needs at least.
fn sleep_on_cpu_time(sys: &mut Sys<'_>, clock: ClockKind, time: u64, absolute: bool) -> SysResult {
    const LEAST: u64 = 1_000_000;
    let now = now_of(sys, clock);
    if sys.restart.note == 0 {
        sys.restart.note = if absolute {
            time.max(1)
        } else {
            now.saturating_add(time).max(1)
        };
    }
    let Some(left) = sys.restart.note.checked_sub(now).filter(|&left| left > 0) else {
        return Ok(0);
    };
    sys.restart.deadline = Some(sys.now().saturating_add(left.max(LEAST)));
    Err(sys.block(PollTable::look(), OnSignal::Resume))
}
