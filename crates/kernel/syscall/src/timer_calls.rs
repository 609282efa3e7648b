//! Timer calls: alarm, setitimer, timer_create and their families.

use base_abi::Errno;
use base_abi::general::{
    CAP_WAKE_ALARM, CLOCK_BOOTTIME_ALARM, CLOCK_MONOTONIC_COARSE, CLOCK_MONOTONIC_RAW,
    CLOCK_REALTIME_ALARM, CLOCK_REALTIME_COARSE, SIGEV_NONE, SIGEV_SIGNAL, SIGEV_THREAD,
    SIGEV_THREAD_ID, TIMER_ABSTIME,
};
use base_abi::structs::{Timespec, Timeval};
use kernel_core::signal::Signal;
use kernel_core::task::Resource;
use kernel_mm::Mm;

use crate::call::{Args, Sys, SysResult};
use crate::clock::{nanoseconds, timespec};
use crate::clock_kind::ClockKind;
use crate::entry::Entry;
use crate::timer::{Setting, Target, Timer, TimerId};

const SECOND: u64 = 1_000_000_000;
const CPU_TIMERS: &str = "timers on CPU time expire when the time is next looked at";
const PERIODS: &str = "timers on CPU time expire when the time is next looked at; a period under 1 ms is told of once in 1 ms";
const SHORT_PERIODS: &str =
    "expiries less than 1 ms apart are told of once in 1 ms; timer_getoverrun counts them";

pub(crate) const ENTRIES: &[Entry] = &[
    Entry::full(36, "getitimer", "dp", getitimer),
    Entry::full(37, "alarm", "u", alarm),
    Entry::partial(38, "setitimer", "dpp", setitimer, PERIODS),
    Entry::partial(222, "timer_create", "dpp", timer_create, CPU_TIMERS),
    Entry::partial(223, "timer_settime", "dxpp", timer_settime, SHORT_PERIODS),
    Entry::full(224, "timer_gettime", "dp", timer_gettime),
    Entry::full(225, "timer_getoverrun", "d", |s, a| {
        Ok(posix(s, a.i32(0))?.overrun())
    }),
    Entry::full(226, "timer_delete", "d", timer_delete),
];

fn alarm(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let timers = &sys.system.process_timers;
    let timer = timers.interval(sys.task.pid(), 0);
    let at = match u64::from(args.u32(0)) {
        0 => 0,
        seconds => timer.now().saturating_add(seconds * SECOND),
    };
    let old = timer.set(at, 0);
    // Rounded, but never to 0 while it is armed.
    let seconds = old.left.saturating_add(SECOND / 2) / SECOND;
    Ok(seconds.max(u64::from(old.left > 0)))
}

fn which_timer(sys: &Sys<'_>, which: u32) -> Result<std::sync::Arc<Timer>, Errno> {
    if which > 2 {
        return Err(Errno::EINVAL);
    }
    let timers = &sys.system.process_timers;
    Ok(timers.interval(sys.task.pid(), which))
}

fn getitimer(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let timer = which_timer(sys, args.u32(0))?;
    write_itimerval(&sys.mm(), args.u64(1), timer.setting())?;
    Ok(0)
}

fn setitimer(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let mm = sys.mm();
    let timer = which_timer(sys, args.u32(0))?;
    let (interval, value) = match args.u64(1) {
        // Undocumented but kept by Linux: no new value disarms.
        0 => (0, 0),
        at => {
            let [interval, value]: [Timeval; 2] = [mm.read_obj(at)?, mm.read_obj(at + 16)?];
            (microseconds(interval)?, microseconds(value)?)
        }
    };
    let at = match value {
        0 => 0,
        left => timer.now().saturating_add(left),
    };
    let old = timer.set(at, interval);
    if args.u64(2) != 0 {
        write_itimerval(&mm, args.u64(2), old)?;
    }
    Ok(0)
}

/// A `timeval` in nanoseconds.
fn microseconds(time: Timeval) -> Result<u64, Errno> {
    let seconds = u64::try_from(time.sec).map_err(|_| Errno::EINVAL)?;
    let fraction = u64::try_from(time.usec).ok().filter(|&u| u < 1_000_000);
    let fraction = fraction.ok_or(Errno::EINVAL)?;
    Ok(seconds
        .saturating_mul(SECOND)
        .saturating_add(fraction * 1000))
}

fn write_itimerval(mm: &Mm, at: u64, setting: Setting) -> Result<(), Errno> {
    let convert = |nanos: u64| {
        let time = timespec(nanos.saturating_add(999));
        [time.sec, time.nsec / 1000]
    };
    mm.write_obj(at, &[convert(setting.interval), convert(setting.left)])
}

/// The fields of `struct sigevent` that the kernel reads.
struct Event {
    value: u64,
    signal: i32,
    notify: u32,
    tid: i32,
}

fn read_event(sys: &Sys<'_>, at: u64) -> Result<Event, Errno> {
    let mm = sys.mm();
    let value: u64 = mm.read_obj(at)?;
    let [signal, notify, tid]: [i32; 3] = mm.read_obj(at + 8)?;
    Ok(Event {
        value,
        signal,
        notify: notify.cast_unsigned(),
        tid,
    })
}

/// Who hears of it (sigevent(3type)).
fn target_of(sys: &Sys<'_>, event: &Event) -> Result<Target, Errno> {
    if event.notify == SIGEV_NONE {
        return Ok(Target::Nobody);
    }
    let signal = Signal::new(event.signal).ok_or(Errno::EINVAL)?;
    match event.notify {
        SIGEV_SIGNAL | SIGEV_THREAD => Ok(Target::Process(signal, event.value)),
        SIGEV_THREAD_ID => {
            let task = sys.kernel().tree.lock().task(event.tid).cloned();
            let own = task.filter(|task| task.pid() == sys.task.pid());
            own.ok_or(Errno::EINVAL)?;
            Ok(Target::Thread(event.tid, signal, event.value))
        }
        _ => Err(Errno::EINVAL),
    }
}

fn timer_create(sys: &mut Sys<'_>, args: Args) -> SysResult {
    match args.u32(0) {
        CLOCK_MONOTONIC_RAW | CLOCK_REALTIME_COARSE | CLOCK_MONOTONIC_COARSE => {
            return Err(Errno::EOPNOTSUPP.into());
        }
        CLOCK_REALTIME_ALARM | CLOCK_BOOTTIME_ALARM
            if !sys.process().creds().has(CAP_WAKE_ALARM) =>
        {
            return Err(Errno::EPERM.into());
        }
        _ => {}
    }
    let clock = ClockKind::from_id(sys.kernel(), sys.task, args.i32(0))?;
    let named = match args.u64(1) {
        0 => None,
        at => Some(target_of(sys, &read_event(sys, at)?)?),
    };
    // Without an event: SIGALRM whose value is the timer's number.
    let numbered = |id: i32| Target::Process(Signal::ALRM, u64::from(id.cast_unsigned()));
    let target = |id| named.unwrap_or_else(|| numbered(id));
    let limit = sys.process().limit(Resource::Sigpending);
    let pid = sys.task.pid();
    let timers = &sys.system.process_timers;
    let id = timers.create(pid, clock, limit, target)?;
    if let Err(errno) = sys.mm().write_obj(args.u64(2), &id) {
        timers.delete(pid, id);
        return Err(errno.into());
    }
    Ok(0)
}

fn posix(sys: &Sys<'_>, id: i32) -> Result<std::sync::Arc<Timer>, Errno> {
    let timers = &sys.system.process_timers;
    timers
        .get(sys.task.pid(), TimerId::Posix(id))
        .ok_or(Errno::EINVAL)
}

fn timer_settime(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let mm = sys.mm();
    let new = args.u64(2);
    if new == 0 {
        return Err(Errno::EINVAL.into());
    }
    let [interval, value]: [Timespec; 2] = [mm.read_obj(new)?, mm.read_obj(new + 16)?];
    let (interval, value) = (nanoseconds(interval)?, nanoseconds(value)?);
    let timer = posix(sys, args.i32(0))?;
    let at = match value {
        0 => 0,
        time if args.u32(1) & TIMER_ABSTIME != 0 => time,
        left => timer.now().saturating_add(left),
    };
    let old = timer.set(at, interval);
    if args.u64(3) != 0 {
        write_itimerspec(&mm, args.u64(3), old)?;
    }
    Ok(0)
}

fn timer_gettime(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let timer = posix(sys, args.i32(0))?;
    write_itimerspec(&sys.mm(), args.u64(1), timer.setting())?;
    Ok(0)
}

fn write_itimerspec(mm: &Mm, at: u64, setting: Setting) -> Result<(), Errno> {
    let convert = |nanos| {
        let time = timespec(nanos);
        [time.sec, time.nsec]
    };
    mm.write_obj(at, &[convert(setting.interval), convert(setting.left)])
}

fn timer_delete(sys: &mut Sys<'_>, args: Args) -> SysResult {
    if !sys
        .system
        .process_timers
        .delete(sys.task.pid(), args.i32(0))
    {
        return Err(Errno::EINVAL.into());
    }
    Ok(0)
}
