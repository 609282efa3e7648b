//! The sandbox's clocks and the page that shows them to guests.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

use host_sys::clock::{HostClock, now, time_stamp_counter};
use host_sys::shared_words::SharedWords;
use parking_lot::Mutex;

use crate::rate::{FIRST_SPAN, Line, SECOND, Sample, follow, rate};
use crate::vdso;

/// Clocks that every guest has (clock_getres(2)); CPU clocks belong to tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum GuestClock {
    /// `CLOCK_REALTIME`, `CLOCK_REALTIME_COARSE`, `CLOCK_REALTIME_ALARM` and, without leap seconds, `CLOCK_TAI`.
    Realtime,
    /// `CLOCK_MONOTONIC`, `CLOCK_MONOTONIC_RAW`, `CLOCK_MONOTONIC_COARSE`.
    Monotonic,
    /// `CLOCK_BOOTTIME`, `CLOCK_BOOTTIME_ALARM`: a sandbox never sleeps, so it equals the monotonic one.
    Boottime,
}

impl GuestClock {
    /// From a clock id; `None` for CPU clocks and unknown ones.
    #[must_use]
    pub fn from_id(id: u32) -> Option<GuestClock> {
        Some(match id {
            0 | 5 | 8 | 11 => GuestClock::Realtime,
            1 | 4 | 6 => GuestClock::Monotonic,
            7 | 9 => GuestClock::Boottime,
            _ => return None,
        })
    }
}

/// Where time comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockSource {
    /// The processor's counter, once its rate is known; guests read it themselves.
    Counter,
    /// Host calls; guests make system calls.
    Host,
}

/// The memory that goes into guests: data pages, then the image.
#[derive(Clone, Debug)]
pub struct VdsoMemory {
    /// The memory file, sealed against writing by others.
    pub file: Arc<File>,
    /// Bytes of data before the image.
    pub data_len: u64,
    /// Bytes of the image.
    pub code_len: u64,
}

/// Words of the data page; see [`host_sys::vdso_code`].
mod word {
    pub(super) const SEQUENCE: usize = 0;
    pub(super) const USABLE: usize = 1;
    pub(super) const TICKS: usize = 2;
    pub(super) const MULT: usize = 3;
    pub(super) const NANOS: usize = 4;
    pub(super) const OFFSETS: usize = 16;
}

/// The clocks of one sandbox.
#[derive(Debug)]
pub struct Clocks {
    memory: Option<VdsoMemory>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    page: Option<SharedWords>,
    sequence: u64,
    source: ClockSource,
    /// Added to the host's monotonic time.
    offset: u64,
    /// First and last sample; the rate is what lies between.
    first: Sample,
    line: Option<Line>,
    /// Host monotonic nanoseconds from which on calibration is due.
    due: u64,
    /// Realtime minus guest monotonic.
    realtime: u64,
}

impl Clocks {
    /// Starts clocks whose monotonic time is `monotonic` now (zero for a fresh sandbox). Without a
    /// steady counter, or without memory for the pages, guests make system calls for the time.
    #[must_use]
    pub fn new(monotonic: Duration) -> Clocks {
        let source = if host_sys::vdso_code::counter_is_steady() {
            ClockSource::Counter
        } else {
            ClockSource::Host
        };
        Clocks::with_source(monotonic, source)
    }

    /// As [`new`](Clocks::new), from a given source.
    #[must_use]
    pub fn with_source(monotonic: Duration, source: ClockSource) -> Clocks {
        let (memory, page) = match pages() {
            Ok((memory, page)) => (Some(memory), Some(page)),
            Err(error) => {
                tracing::warn!(%error, "no memory for the vDSO");
                (None, None)
            }
        };
        let first = sample();
        let state = State {
            page,
            sequence: 0,
            source,
            offset: nanos(monotonic).wrapping_sub(first.nanos),
            first,
            line: None,
            due: first.nanos + FIRST_SPAN,
            realtime: 0,
        };
        Clocks {
            memory,
            state: Mutex::new(state),
        }
    }

    /// Sets the monotonic time, before any guest has seen it: for a sandbox that was made ahead of what is
    /// restored in it. What was learned of the counter since then is for the guest, which needs no system call.
    pub fn set(&self, monotonic: Duration) {
        let mut state = self.state.lock();
        self.calibrate_if_due(&mut state);
        let delta = nanos(monotonic).wrapping_sub(state.monotonic());
        state.offset = state.offset.wrapping_add(delta);
        state.realtime = state.realtime.wrapping_sub(delta);
        if let Some(line) = &mut state.line {
            line.nanos = line.nanos.wrapping_add(delta);
        }
        state.publish();
    }

    /// What guests map.
    #[must_use]
    pub fn vdso(&self) -> Option<&VdsoMemory> {
        self.memory.as_ref()
    }

    /// Guest nanoseconds on a clock. Also keeps the calibration fresh, so that a guest that makes
    /// system calls at all never drifts.
    #[must_use]
    pub fn now(&self, clock: GuestClock) -> u64 {
        let mut state = self.state.lock();
        self.calibrate_if_due(&mut state);
        let monotonic = state.monotonic();
        match clock {
            GuestClock::Monotonic | GuestClock::Boottime => monotonic,
            GuestClock::Realtime if state.line.is_some() => monotonic.wrapping_add(state.realtime),
            GuestClock::Realtime => nanos(now(HostClock::Realtime)),
        }
    }

    /// `CLOCK_MONOTONIC` in nanoseconds.
    #[must_use]
    pub fn monotonic(&self) -> u64 {
        self.now(GuestClock::Monotonic)
    }

    /// `CLOCK_REALTIME` in nanoseconds since the epoch.
    #[must_use]
    pub fn realtime(&self) -> u64 {
        self.now(GuestClock::Realtime)
    }

    /// The host instant at which a guest clock will show `deadline`; a day ahead at most, so callers look again.
    #[must_use]
    pub fn host_instant(&self, clock: GuestClock, deadline: u64) -> Instant {
        const DAY: u64 = 86_400 * SECOND;
        let left = deadline.saturating_sub(self.now(clock)).min(DAY);
        Instant::now() + Duration::from_nanos(left)
    }

    fn calibrate_if_due(&self, state: &mut State) {
        let host = nanos(now(HostClock::Monotonic));
        if host >= state.due {
            state.due = host.saturating_add(state.calibrate());
        }
    }
}

impl State {
    fn monotonic(&self) -> u64 {
        match &self.line {
            Some(line) => line.at(time_stamp_counter()),
            None => nanos(now(HostClock::Monotonic)).wrapping_add(self.offset),
        }
    }

    /// Takes a sample, bends the line, shows it to guests. Returns after how long to do it again.
    fn calibrate(&mut self) -> u64 {
        /// The longest a measured rate goes unchecked.
        const INTERVAL: u64 = SECOND;
        if self.source == ClockSource::Host {
            return u64::MAX;
        }
        let at = sample();
        let target = at.nanos.wrapping_add(self.offset);
        let span = at.nanos.saturating_sub(self.first.nanos);
        let Some(measured) = rate(self.first, at) else {
            tracing::warn!("the time stamp counter went backwards: using host clocks");
            self.line = None;
            self.source = ClockSource::Host;
            self.publish();
            return u64::MAX;
        };
        // As long as the span is short, its rate is poor: do not go further than it was measured.
        let interval = span.clamp(FIRST_SPAN, INTERVAL);
        let line = match &self.line {
            Some(line) => follow(at.ticks, line.at(at.ticks), target, measured, interval),
            None => Line {
                ticks: at.ticks,
                nanos: target,
                mult: measured,
            },
        };
        let ahead = line.nanos.wrapping_sub(target);
        let realtime = nanos(now(HostClock::Realtime)).wrapping_sub(now_guest(self.offset));
        self.realtime = realtime.wrapping_sub(ahead);
        self.line = Some(line);
        self.publish();
        interval
    }

    fn publish(&mut self) {
        let Some(page) = &self.page else { return };
        page.store(word::SEQUENCE, self.sequence + 1);
        fence(Ordering::SeqCst);
        match &self.line {
            None => page.store(word::USABLE, 0),
            Some(line) => {
                page.store(word::TICKS, line.ticks);
                page.store(word::MULT, line.mult);
                page.store(word::NANOS, line.nanos);
                for id in 0..12 {
                    let real = GuestClock::from_id(id) == Some(GuestClock::Realtime);
                    let offset = if real { self.realtime } else { 0 };
                    page.store(word::OFFSETS + id as usize, offset);
                }
                page.store(word::USABLE, 1);
            }
        }
        fence(Ordering::SeqCst);
        self.sequence += 2;
        page.store(word::SEQUENCE, self.sequence);
    }
}

/// The data page and the image behind it.
fn pages() -> std::io::Result<(VdsoMemory, SharedWords)> {
    let image = vdso::image();
    let (file, page) = SharedWords::create(c"vdso", vdso::DATA_LEN + image.len())?;
    for (at, chunk) in image.chunks_exact(8).enumerate() {
        let word = chunk.iter().rev().fold(0, |w, &b| w << 8 | u64::from(b));
        page.store(vdso::DATA_LEN / 8 + at, word);
    }
    let memory = VdsoMemory {
        file: Arc::new(file),
        data_len: vdso::DATA_LEN as u64,
        code_len: image.len() as u64,
    };
    Ok((memory, page))
}

/// Guest monotonic time by the host's clock.
fn now_guest(offset: u64) -> u64 {
    nanos(now(HostClock::Monotonic)).wrapping_add(offset)
}

/// Counter and clock as close together as a few tries get them.
fn sample() -> Sample {
    let mut best = (u64::MAX, Sample { ticks: 0, nanos: 0 });
    for _ in 0..5 {
        let before = time_stamp_counter();
        let host = nanos(now(HostClock::Monotonic));
        let width = time_stamp_counter().wrapping_sub(before);
        if width < best.0 {
            let ticks = before.wrapping_add(width / 2);
            best = (width, Sample { ticks, nanos: host });
        }
    }
    best.1
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_follow_the_host_and_never_go_back() {
        for source in [ClockSource::Counter, ClockSource::Host] {
            let begin = Instant::now();
            let clocks = Clocks::with_source(Duration::from_secs(100), source);
            let made = nanos(begin.elapsed());
            let mut last = 100 * SECOND;
            while begin.elapsed() < Duration::from_millis(60) {
                let now = clocks.monotonic();
                assert!(now >= last, "{source:?}: {last} then {now}");
                last = now;
            }
            // What is read lies between two readings of the host, however long they are apart; what the
            // counter's rate is wrong by in this time is allowed for.
            const DRIFT: u64 = 1_000_000;
            let low = nanos(begin.elapsed()) - made;
            let read = clocks.monotonic() - 100 * SECOND;
            let high = nanos(begin.elapsed());
            assert!(
                low <= read + DRIFT && read <= high + DRIFT,
                "{source:?}: {low} {read} {high}"
            );
            // Set again, it goes on from there, and the time of day is what it was.
            clocks.set(Duration::from_secs(500));
            assert!(clocks.monotonic() - 500 * SECOND < SECOND);
            let low = nanos(now(HostClock::Realtime));
            let read = clocks.realtime();
            let high = nanos(now(HostClock::Realtime));
            assert!(
                low <= read + DRIFT && read <= high + DRIFT,
                "{source:?}: {low} {read} {high}"
            );
        }
    }

    #[test]
    fn whoever_continues_in_a_sandbox_that_was_made_ahead_needs_no_system_call() {
        let clocks = Clocks::with_source(Duration::ZERO, ClockSource::Counter);
        assert!(clocks.state.lock().line.is_none(), "nothing is known yet");
        let begin = Instant::now();
        let span = Duration::from_nanos(FIRST_SPAN);
        base_eventually::eventually("the span is over", || begin.elapsed() >= span);
        clocks.set(Duration::from_secs(500));
        assert!(clocks.state.lock().line.is_some());
    }
}
