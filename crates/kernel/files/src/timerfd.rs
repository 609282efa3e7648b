//! Timers read as files (timerfd_create(2)).
//!
//! Expirations are counted arithmetically from the deadline and the clock when somebody looks;
//! the armed alarm only wakes those who wait, so a late or repeated alarm changes nothing.

use std::sync::Arc;

use base_abi::structs::Stat;
use kernel_vfs::save::{FileState, LoadError, Saved, Saver, Unsavable, decode};
use kernel_vfs::{Errno, Events, File, Notify, PollTable, Result, WaitQueue};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::anon::anon_stat;
use crate::clock::{Alarm, Clock, ClockId, timespec};

/// What a timer is set to, in nanoseconds; zero `value` is disarmed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimerSetting {
    /// Until the next expiration.
    pub value: u64,
    /// Between later ones; zero for a single one.
    pub interval: u64,
}

/// How a new value is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerBase {
    /// From now.
    Relative,
    /// `TFD_TIMER_ABSTIME`: a time on the clock.
    Absolute,
}

/// The plain state of a timer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimerState {
    /// The next expiration, in nanoseconds of the clock.
    pub deadline: Option<u64>,
    /// Between expirations, zero for a single one.
    pub interval: u64,
    /// Expirations not read yet, apart from those the deadline implies.
    pub ticks: u64,
}

impl TimerState {
    /// Counts what expired until `now` and moves the deadline behind it.
    pub fn settle(&mut self, now: u64) {
        let Some(deadline) = self.deadline.filter(|d| *d <= now) else {
            return;
        };
        let Some(later) = (now - deadline).checked_div(self.interval) else {
            self.deadline = None;
            self.ticks = self.ticks.saturating_add(1);
            return;
        };
        self.ticks = self.ticks.saturating_add(later).saturating_add(1);
        let step = self.interval.saturating_mul(later.saturating_add(1));
        self.deadline = Some(deadline.saturating_add(step));
    }

    fn expired(&self, now: u64) -> bool {
        self.ticks > 0 || self.deadline.is_some_and(|d| d <= now)
    }
}

/// Shortest time from one expiration that was read to the next that wakes a reader, a millisecond: those between are counted.
const SHORTEST: u64 = 1_000_000;

struct Inner {
    state: TimerState,
    alarm: Option<Alarm>,
}

/// Wakes the file's readers when the alarm goes off.
struct Wakeup(WaitQueue);

impl Notify for Wakeup {
    fn notify(&self, _events: Events) {
        self.0.wake(Events::IN);
    }
}

/// A timer file.
pub struct TimerFd {
    clock_id: ClockId,
    clock: Arc<dyn Clock>,
    inner: Mutex<Inner>,
    wakeup: Arc<dyn Notify>,
    queue: WaitQueue,
    ino: u64,
}

impl TimerFd {
    /// Kind of its saved state.
    pub const KIND: &'static str = "timerfd";

    /// Builds it from saved state. The guest's monotonic clock goes on where it was, and so do deadlines.
    ///
    /// # Errors
    /// [`LoadError::Malformed`].
    pub fn load(
        state: &FileState,
        clock: &Arc<dyn Clock>,
    ) -> std::result::Result<Arc<TimerFd>, LoadError> {
        let (ino, id, timer): (u64, u32, TimerState) = decode(&state.bytes, "a timer file")?;
        let id = ClockId::from_raw(id).ok_or(LoadError::Malformed("a timer's clock"))?;
        let file = TimerFd::new(id, Arc::clone(clock), ino);
        file.restore(timer);
        Ok(file)
    }

    /// A disarmed timer on a clock.
    #[must_use]
    pub fn new(clock_id: ClockId, clock: Arc<dyn Clock>, ino: u64) -> Arc<TimerFd> {
        let queue = WaitQueue::new();
        Arc::new(TimerFd {
            clock_id,
            clock,
            inner: Mutex::new(Inner {
                state: TimerState::default(),
                alarm: None,
            }),
            wakeup: Arc::new(Wakeup(queue.clone())),
            queue,
            ino,
        })
    }

    /// Sets or disarms it; returns what it was set to (timerfd_settime(2)).
    pub fn set(&self, new: TimerSetting, base: TimerBase) -> TimerSetting {
        let now = self.clock.now(self.clock_id);
        let mut inner = self.inner.lock();
        inner.state.settle(now);
        let old = remaining(&inner.state, now);
        let deadline = match base {
            TimerBase::Relative => now.saturating_add(new.value),
            TimerBase::Absolute => new.value,
        };
        inner.state = TimerState {
            deadline: (new.value != 0).then_some(deadline),
            interval: new.interval,
            ticks: 0,
        };
        self.arm(&mut inner);
        old
    }

    /// Time to the next expiration, and the interval (timerfd_gettime(2)).
    #[must_use]
    pub fn setting(&self) -> TimerSetting {
        let now = self.clock.now(self.clock_id);
        let mut inner = self.inner.lock();
        inner.state.settle(now);
        remaining(&inner.state, now)
    }

    /// Its state, for a snapshot.
    #[must_use]
    pub fn state(&self) -> TimerState {
        self.inner.lock().state
    }

    /// Takes over a saved state and arms it.
    pub fn restore(&self, state: TimerState) {
        let mut inner = self.inner.lock();
        inner.state = state;
        self.arm(&mut inner);
    }

    fn arm(&self, inner: &mut Inner) {
        self.arm_from(inner, 0);
    }

    /// Wakes whoever waits at the next expiration, but not before `earliest`.
    fn arm_from(&self, inner: &mut Inner, earliest: u64) {
        inner.alarm = inner.state.deadline.map(|deadline| {
            let deadline = deadline.max(earliest);
            let target = Arc::downgrade(&self.wakeup);
            self.clock.arm(self.clock_id, deadline, target)
        });
    }
}

fn remaining(state: &TimerState, now: u64) -> TimerSetting {
    TimerSetting {
        value: state.deadline.map_or(0, |d| d.saturating_sub(now)),
        interval: state.interval,
    }
}

impl File for TimerFd {
    fn stat(&self) -> Result<Stat> {
        Ok(anon_stat(self.ino))
    }

    fn read_at(&self, _offset: u64, buf: &mut [u8]) -> Result<usize> {
        let out = buf.first_chunk_mut::<8>().ok_or(Errno::EINVAL)?;
        let now = self.clock.now(self.clock_id);
        let mut inner = self.inner.lock();
        inner.state.settle(now);
        let ticks = std::mem::take(&mut inner.state.ticks);
        if ticks == 0 {
            return Err(Errno::EAGAIN);
        }
        // Who reads in time for each of so many is woken for some of them.
        let short = (1..SHORTEST).contains(&inner.state.interval);
        let pause = if short { SHORTEST } else { 0 };
        self.arm_from(&mut inner, now.saturating_add(pause));
        *out = ticks.to_le_bytes();
        Ok(8)
    }

    fn poll(&self, table: &mut PollTable) -> Events {
        table.add(&self.queue);
        let now = self.clock.now(self.clock_id);
        let mut ready = Events::empty();
        ready.set(Events::IN, self.inner.lock().state.expired(now));
        ready
    }

    fn fd_info(&self) -> String {
        let now = self.clock.now(self.clock_id);
        let mut state = self.inner.lock().state;
        state.settle(now);
        let left = remaining(&state, now);
        let (value, interval) = (timespec(left.value), timespec(left.interval));
        format!(
            "clockid: {}\nticks: {}\nsettime flags: 00\nit_value: ({}, {})\nit_interval: ({}, {})\n",
            self.clock_id.raw(),
            state.ticks,
            value.sec,
            value.nsec,
            interval.sec,
            interval.nsec
        )
    }

    fn save(&self, _saver: &mut Saver) -> std::result::Result<Saved, Unsavable> {
        let state = (self.ino, self.clock_id.raw(), self.state());
        Saved::state(TimerFd::KIND, &state)
    }

    fn anonymous_name(&self) -> String {
        String::from("anon_inode:[timerfd]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Counter, FakeClock};

    fn timer() -> (Arc<FakeClock>, Arc<TimerFd>) {
        let clock = FakeClock::new(1000);
        let file = TimerFd::new(ClockId::Monotonic, clock.clone(), 1);
        (clock, file)
    }

    fn ticks(file: &TimerFd) -> Result<u64> {
        let mut buf = [0; 8];
        file.read_at(0, &mut buf).map(|_| u64::from_le_bytes(buf))
    }

    #[test]
    fn a_single_shot_expires_once() {
        let (clock, file) = timer();
        let setting = TimerSetting {
            value: 50,
            interval: 0,
        };
        assert_eq!(
            file.set(setting, TimerBase::Relative),
            TimerSetting::default()
        );
        clock.advance(49);
        assert_eq!(ticks(&file), Err(Errno::EAGAIN));
        assert_eq!(file.setting().value, 1);
        clock.advance(1);
        assert_eq!(file.poll(&mut PollTable::look()), Events::IN);
        assert_eq!(ticks(&file), Ok(1));
        clock.advance(500);
        assert_eq!(ticks(&file), Err(Errno::EAGAIN));
        assert_eq!(file.setting(), TimerSetting::default());
    }

    #[test]
    fn intervals_are_counted_without_an_alarm_each() {
        // Longer than the shortest period: each interval has a wake-up of its own.
        const UNIT: u64 = 1_000_000;
        let (clock, file) = timer();
        let setting = TimerSetting {
            value: 1000 + 10 * UNIT,
            interval: 10 * UNIT,
        };
        file.set(setting, TimerBase::Absolute);
        let waiter = Counter::new();
        let mut table = PollTable::waiting(waiter.clone(), Events::IN);
        assert_eq!(file.poll(&mut table), Events::empty());
        let _kept = table.into_registrations();
        clock.advance(105 * UNIT);
        assert_eq!(waiter.count(), 1);
        assert_eq!(ticks(&file), Ok(10));
        assert_eq!(
            file.setting(),
            TimerSetting {
                value: 5 * UNIT,
                interval: 10 * UNIT
            }
        );
        clock.advance(5 * UNIT);
        assert_eq!(waiter.count(), 2);
        assert_eq!(ticks(&file), Ok(1));
    }

    #[test]
    fn a_passed_absolute_time_expires_at_once_and_extremes_do_not_overflow() {
        let (_clock, file) = timer();
        file.set(
            TimerSetting {
                value: 1,
                interval: u64::MAX,
            },
            TimerBase::Absolute,
        );
        assert_eq!(ticks(&file), Ok(1));
        file.set(
            TimerSetting {
                value: u64::MAX,
                interval: 1,
            },
            TimerBase::Relative,
        );
        assert_eq!(ticks(&file), Err(Errno::EAGAIN));
        let old = file.set(TimerSetting::default(), TimerBase::Relative);
        assert!(old.value > 0);
        assert_eq!(file.setting().value, 0);
    }

    #[test]
    fn setting_discards_unread_ticks() {
        let (clock, file) = timer();
        file.set(
            TimerSetting {
                value: 1,
                interval: 1,
            },
            TimerBase::Relative,
        );
        clock.advance(10);
        file.set(
            TimerSetting {
                value: 5,
                interval: 0,
            },
            TimerBase::Relative,
        );
        assert_eq!(ticks(&file), Err(Errno::EAGAIN));
    }
}
