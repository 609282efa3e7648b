//! Deadlines: one thread that notifies whoever armed them.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use kernel_files::{Alarm, Clock, ClockId};
use kernel_vfs::{Events, Notify};
use parking_lot::{Condvar, Mutex};

use crate::clocks::{Clocks, GuestClock};

/// Most deadlines armed at once. A sandbox has fewer timers than this; beyond it a deadline is
/// notified at once, which is early and therefore harmless.
const MAX_ARMED: usize = 1 << 20;

/// The deadlines of a sandbox. Its thread starts with the first one.
#[derive(Clone)]
pub struct TimerService(Arc<Owner>);

/// Ends the thread when the last clone of the service is gone.
struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.heap.lock().stop = true;
        self.0.changed.notify_one();
    }
}

struct Shared {
    clocks: Arc<Clocks>,
    heap: Mutex<Heap>,
    changed: Condvar,
}

#[derive(Default)]
struct Heap {
    next_id: u64,
    /// By monotonic deadline, then by id.
    armed: BTreeMap<(u64, u64), Entry>,
    /// Where entries are that were armed for another time, by id.
    moved: BTreeMap<u64, u64>,
    /// Nothing comes due.
    held: bool,
    /// The same, for guests that stand still and go on in the same time.
    still: bool,
    running: bool,
    stop: bool,
}

struct Entry {
    clock: GuestClock,
    deadline: u64,
    target: Weak<dyn Notify>,
}

impl TimerService {
    /// A service on the sandbox's clocks.
    #[must_use]
    pub fn new(clocks: Arc<Clocks>) -> TimerService {
        TimerService(Arc::new(Owner(Arc::new(Shared {
            clocks,
            heap: Mutex::default(),
            changed: Condvar::new(),
        }))))
    }

    /// The clocks.
    #[must_use]
    pub fn clocks(&self) -> &Arc<Clocks> {
        &self.0.0.clocks
    }

    /// Notifies `target` once when `clock` shows `deadline` nanoseconds, from another thread;
    /// dropping the handle disarms.
    #[must_use]
    pub fn arm(&self, clock: GuestClock, deadline: u64, target: Weak<dyn Notify>) -> TimerHandle {
        let key = self.0.0.insert(Entry {
            clock,
            deadline,
            target,
        });
        TimerHandle {
            shared: Arc::downgrade(&self.0.0),
            key,
        }
    }

    /// Lets nothing come due until [`go_on`](TimerService::go_on): for a sandbox that is made ahead of the moment
    /// in which it continues.
    pub fn hold(&self) {
        self.0.0.heap.lock().held = true;
    }

    /// Sets the monotonic clock, before any guest has seen it, and lets deadlines come due. Those of the
    /// real-time clock, which went on meanwhile, are looked at anew.
    pub fn go_on(&self, monotonic: Duration) {
        let shared = &self.0.0;
        shared.clocks.set(monotonic);
        let mut heap = shared.heap.lock();
        heap.held = false;
        let of_day = |entry: &Entry| entry.clock == GuestClock::Realtime;
        let keys = heap.armed.iter().filter(|(_, entry)| of_day(entry));
        let keys: Vec<_> = keys.map(|(key, _)| *key).collect();
        for (at, id) in keys {
            if let Some(entry) = heap.armed.remove(&(at, id)) {
                let at = shared.monotonic(&entry);
                heap.armed.insert((at, id), entry);
                heap.moved.insert(id, at);
            }
        }
        shared.changed.notify_one();
    }

    /// Lets nothing come due while guests stand still: a frozen sandbox takes no processor time.
    pub fn stand_still(&self) {
        self.0.0.heap.lock().still = true;
    }

    /// Undoes [`stand_still`](TimerService::stand_still): what came due meanwhile does so now.
    pub fn move_on(&self) {
        let mut heap = self.0.0.heap.lock();
        let was = std::mem::replace(&mut heap.still, false);
        if was && !heap.armed.is_empty() {
            self.0.0.changed.notify_one();
        }
    }

    /// How many deadlines are armed.
    #[must_use]
    pub fn armed(&self) -> usize {
        self.0.0.heap.lock().armed.len()
    }
}

impl Clock for TimerService {
    fn now(&self, clock: ClockId) -> u64 {
        self.0.0.clocks.now(guest_clock(clock))
    }

    fn arm(&self, clock: ClockId, deadline: u64, target: Weak<dyn Notify>) -> Alarm {
        Alarm::new(TimerService::arm(
            self,
            guest_clock(clock),
            deadline,
            target,
        ))
    }
}

fn guest_clock(clock: ClockId) -> GuestClock {
    match clock {
        ClockId::Realtime => GuestClock::Realtime,
        ClockId::Monotonic => GuestClock::Monotonic,
        ClockId::Boottime => GuestClock::Boottime,
    }
}

impl Shared {
    fn insert(self: &Arc<Self>, entry: Entry) -> (u64, u64) {
        let monotonic = self.monotonic(&entry);
        let mut heap = self.heap.lock();
        let id = heap.next_id;
        heap.next_id += 1;
        // Too many: the oldest rule is broken in the harmless direction.
        let at = if heap.armed.len() < MAX_ARMED {
            monotonic
        } else {
            0
        };
        let first = heap.armed.first_key_value().is_none_or(|(k, _)| at < k.0);
        heap.armed.insert((at, id), entry);
        if !heap.running {
            heap.running = true;
            let shared = Arc::clone(self);
            let thread = std::thread::Builder::new().name(String::from("timers"));
            if let Err(error) = thread.spawn(move || shared.run()) {
                tracing::error!(%error, "no thread for timers");
                heap.running = false;
            }
        } else if first {
            self.changed.notify_one();
        }
        (at, id)
    }

    /// The monotonic time at which the entry is due by what its clock shows now.
    fn monotonic(&self, entry: &Entry) -> u64 {
        match entry.clock {
            GuestClock::Monotonic | GuestClock::Boottime => entry.deadline,
            GuestClock::Realtime => {
                let left = entry.deadline.saturating_sub(self.clocks.realtime());
                self.clocks.monotonic().saturating_add(left)
            }
        }
    }

    /// Runs until the service is gone.
    fn run(self: Arc<Self>) {
        loop {
            let mut due = Vec::new();
            let mut heap = self.heap.lock();
            // Read under the lock: what it showed while time was held counts no more.
            let now = self.clocks.monotonic();
            if heap.stop {
                return;
            }
            if heap.held || heap.still {
                self.changed.wait(&mut heap);
                continue;
            }
            while let Some(first) = heap.armed.first_entry()
                && first.key().0 <= now
            {
                due.push(first.remove());
            }
            if due.is_empty() {
                match heap.armed.first_key_value().map(|(key, _)| key.0) {
                    None => self.changed.wait(&mut heap),
                    Some(at) => {
                        let at = self.clocks.host_instant(GuestClock::Monotonic, at);
                        self.changed.wait_until(&mut heap, at);
                    }
                }
                continue;
            }
            drop(heap);
            for entry in due {
                if let Some(target) = entry.target.upgrade() {
                    target.notify(Events::IN);
                }
            }
        }
    }
}

/// Keeps a deadline armed.
pub struct TimerHandle {
    shared: Weak<Shared>,
    key: (u64, u64),
}

impl Drop for TimerHandle {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            let mut heap = shared.heap.lock();
            let (at, id) = self.key;
            let at = heap.moved.remove(&id).unwrap_or(at);
            heap.armed.remove(&(at, id));
        }
    }
}

impl std::fmt::Debug for TimerHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TimerHandle(at {} ns)", self.key.0)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    struct Teller(mpsc::Sender<u64>, u64);

    impl Notify for Teller {
        fn notify(&self, _events: Events) {
            let _ = self.0.send(self.1);
        }
    }

    fn service() -> TimerService {
        TimerService::new(Arc::new(Clocks::new(Duration::ZERO)))
    }

    #[test]
    fn deadlines_come_in_order_and_not_early() {
        let service = service();
        let (tell, told) = mpsc::channel();
        let start = service.clocks().monotonic();
        let tellers: Vec<Arc<dyn Notify>> = [30, 10, 20, 0]
            .map(|ms| Arc::new(Teller(tell.clone(), ms)) as Arc<dyn Notify>)
            .into();
        let _handles: Vec<_> = tellers
            .iter()
            .zip([30, 10, 20, 0])
            .map(|(t, ms)| {
                let at = start + ms * 1_000_000;
                service.arm(GuestClock::Monotonic, at, Arc::downgrade(t))
            })
            .collect();
        for expected in [0, 10, 20, 30] {
            assert_eq!(told.recv(), Ok(expected));
            let now = service.clocks().monotonic();
            assert!(now >= start + expected * 1_000_000);
        }
        assert_eq!(service.armed(), 0);
    }

    #[test]
    fn what_is_held_comes_due_when_it_goes_on() {
        const MS: u64 = 1_000_000;
        let service = service();
        let (tell, told) = mpsc::channel();
        let [of_day, steady] =
            [1, 2].map(|id| Arc::new(Teller(tell.clone(), id)) as Arc<dyn Notify>);
        service.hold();
        // An hour passes in the clock that will be set back.
        service.clocks().set(Duration::from_secs(3600));
        let at = service.clocks().realtime() + 10 * MS;
        let first = service.arm(GuestClock::Realtime, at, Arc::downgrade(&of_day));
        let second = service.arm(GuestClock::Monotonic, 40 * MS, Arc::downgrade(&steady));
        service.go_on(Duration::ZERO);
        assert_eq!(told.recv(), Ok(1));
        assert_eq!(told.recv(), Ok(2));
        assert!(service.clocks().monotonic() >= 40 * MS);
        drop((first, second));
        assert_eq!(service.armed(), 0);
        assert!(service.0.0.heap.lock().moved.is_empty());
    }

    #[test]
    fn what_comes_due_while_guests_stand_still_is_told_when_they_move_on() {
        let service = service();
        let (tell, told) = mpsc::channel();
        let [first, second] =
            [1, 2].map(|id| Arc::new(Teller(tell.clone(), id)) as Arc<dyn Notify>);
        service.stand_still();
        let now = service.clocks().monotonic();
        let handles = [(&second, now + 1), (&first, now)]
            .map(|(teller, at)| service.arm(GuestClock::Monotonic, at, Arc::downgrade(teller)));
        // One that a restore holds as well is not let go by the other.
        service.hold();
        service.move_on();
        assert!(told.try_recv().is_err());
        service.stand_still();
        service.go_on(Duration::from_secs(1));
        assert!(told.try_recv().is_err());
        assert_eq!(service.armed(), 2);
        service.move_on();
        assert_eq!((told.recv(), told.recv()), (Ok(1), Ok(2)));
        drop(handles);
    }

    #[test]
    fn a_dropped_handle_never_notifies() {
        let service = service();
        let (tell, told) = mpsc::channel();
        let first: Arc<dyn Notify> = Arc::new(Teller(tell.clone(), 1));
        let second: Arc<dyn Notify> = Arc::new(Teller(tell, 2));
        let now = service.clocks().realtime();
        let handle = service.arm(
            GuestClock::Realtime,
            now + 5_000_000,
            Arc::downgrade(&first),
        );
        let later = service.arm(
            GuestClock::Realtime,
            now + 20_000_000,
            Arc::downgrade(&second),
        );
        drop(handle);
        assert_eq!(told.recv(), Ok(2));
        assert!(told.try_recv().is_err());
        drop(later);
    }
}
