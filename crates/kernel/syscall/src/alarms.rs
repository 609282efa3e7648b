//! The clock of timer files and terminals: one host thread that tells when deadlines have come.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kernel_files::{Alarm, Clock, ClockId};
use kernel_vfs::{Events, Notify};
use parking_lot::{Condvar, Mutex};

/// Monotonic nanoseconds and a number that tells equal ones apart.
type Due = (u64, u64);

#[derive(Default)]
struct State {
    due: BTreeMap<Due, Weak<dyn Notify>>,
    next_id: u64,
    running: bool,
    stopped: bool,
}

struct Shared {
    started: Instant,
    state: Mutex<State>,
    changed: Condvar,
}

/// Guest time since `started`, with alarms.
pub(crate) struct AlarmClock(Arc<Shared>);

impl AlarmClock {
    /// A clock whose monotonic zero is `started`.
    pub(crate) fn new(started: Instant) -> Arc<AlarmClock> {
        Arc::new(AlarmClock(Arc::new(Shared {
            started,
            state: Mutex::default(),
            changed: Condvar::new(),
        })))
    }
}

impl Shared {
    fn monotonic(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The alarm thread: notifies what is due, sleeps until the next deadline.
    fn ring(&self) {
        let mut state = self.state.lock();
        while !state.stopped {
            let now = self.monotonic();
            let later = state.due.split_off(&(now.saturating_add(1), 0));
            let due = std::mem::replace(&mut state.due, later);
            if !due.is_empty() {
                parking_lot::MutexGuard::unlocked(&mut state, || {
                    let targets = due.into_values().filter_map(|t| t.upgrade());
                    targets.for_each(|t| t.notify(Events::empty()));
                });
                continue;
            }
            match state.due.keys().next().map(|(at, _)| at - now) {
                Some(nanoseconds) => {
                    let timeout = Duration::from_nanos(nanoseconds);
                    self.changed.wait_for(&mut state, timeout);
                }
                None => self.changed.wait(&mut state),
            }
        }
    }
}

impl Clock for AlarmClock {
    fn now(&self, clock: ClockId) -> u64 {
        match clock {
            ClockId::Monotonic | ClockId::Boottime => self.0.monotonic(),
            ClockId::Realtime => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH);
                u64::try_from(since.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
            }
        }
    }

    fn arm(&self, clock: ClockId, deadline: u64, target: Weak<dyn Notify>) -> Alarm {
        let left = deadline.saturating_sub(self.now(clock));
        let at = self.0.monotonic().saturating_add(left);
        let mut state = self.0.state.lock();
        let id = state.next_id;
        state.next_id += 1;
        state.due.insert((at, id), target);
        if !state.running {
            let shared = Arc::clone(&self.0);
            let thread = std::thread::Builder::new().name(String::from("alarms"));
            match thread.spawn(move || shared.ring()) {
                Ok(_) => state.running = true,
                Err(error) => tracing::error!(%error, "no thread for timers"),
            }
        }
        drop(state);
        self.0.changed.notify_one();
        Alarm::new(Disarm {
            shared: Arc::downgrade(&self.0),
            due: (at, id),
        })
    }
}

impl Drop for AlarmClock {
    fn drop(&mut self) {
        self.0.state.lock().stopped = true;
        self.0.changed.notify_one();
    }
}

struct Disarm {
    shared: Weak<Shared>,
    due: Due,
}

impl Drop for Disarm {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            let gone = shared.state.lock().due.remove(&self.due);
            drop(gone);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bell(std::sync::mpsc::SyncSender<()>);

    impl Notify for Bell {
        fn notify(&self, _events: Events) {
            let _ = self.0.try_send(());
        }
    }

    #[test]
    fn a_deadline_rings_and_a_dropped_alarm_does_not() {
        let clock = AlarmClock::new(Instant::now());
        let (send, rang) = std::sync::mpsc::sync_channel(4);
        let bell: Arc<dyn Notify> = Arc::new(Bell(send));
        let now = clock.now(ClockId::Monotonic);
        let never = clock.arm(ClockId::Monotonic, now + 1_000_000, Arc::downgrade(&bell));
        drop(never);
        let _kept = clock.arm(ClockId::Realtime, 0, Arc::downgrade(&bell));
        assert!(rang.recv_timeout(Duration::from_secs(10)).is_ok());
        let later = clock.now(ClockId::Monotonic) + 2_000_000;
        let _later = clock.arm(ClockId::Boottime, later, Arc::downgrade(&bell));
        assert!(rang.recv_timeout(Duration::from_secs(10)).is_ok());
        assert!(clock.now(ClockId::Monotonic) >= later);
        assert!(rang.try_recv().is_err());
    }
}
