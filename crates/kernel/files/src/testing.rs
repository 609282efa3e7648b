//! Fakes shared by the tests of this crate: a clock that is moved by hand, a waiter that counts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use kernel_vfs::{Events, Notify};
use parking_lot::Mutex;

use crate::clock::{Alarm, Clock, ClockId};

type Armed = Arc<Mutex<Option<(u64, Weak<dyn Notify>)>>>;

pub(crate) struct FakeClock {
    now: AtomicU64,
    armed: Mutex<Vec<Armed>>,
}

struct Disarm(Armed);

impl Drop for Disarm {
    fn drop(&mut self) {
        *self.0.lock() = None;
    }
}

impl FakeClock {
    pub(crate) fn new(now: u64) -> Arc<FakeClock> {
        Arc::new(FakeClock {
            now: AtomicU64::new(now),
            armed: Mutex::new(Vec::new()),
        })
    }

    pub(crate) fn advance(&self, by: u64) {
        let now = self.now.fetch_add(by, Ordering::SeqCst) + by;
        let due: Vec<_> = {
            let armed = self.armed.lock();
            let ripe = |a: &Armed| {
                let mut slot = a.lock();
                if slot.as_ref().is_some_and(|(d, _)| *d <= now) {
                    slot.take()
                } else {
                    None
                }
            };
            armed.iter().filter_map(ripe).collect()
        };
        for (_, target) in due {
            if let Some(target) = target.upgrade() {
                target.notify(Events::empty());
            }
        }
    }
}

impl Clock for FakeClock {
    fn now(&self, _clock: ClockId) -> u64 {
        self.now.load(Ordering::SeqCst)
    }

    fn arm(&self, _clock: ClockId, deadline: u64, target: Weak<dyn Notify>) -> Alarm {
        let armed = Arc::new(Mutex::new(Some((deadline, target))));
        self.armed.lock().push(Arc::clone(&armed));
        Alarm::new(Disarm(armed))
    }
}

#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn new() -> Arc<Counter> {
        Arc::default()
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl Notify for Counter {
    fn notify(&self, _events: Events) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}
