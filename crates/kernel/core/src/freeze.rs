//! Stopping every task at once: no guest instruction runs while frozen.
//!
//! Each task publishes whether it may run guest code. `freeze` raises a flag, kicks
//! those that do and waits for the last; a task that wakes from a wait looks at
//! the flag before it goes on. Sleeping tasks are left asleep, so freezing an
//! idle instance touches nobody.
//!
//! Each task that stands still does so at a [`Place`] of its own, so that nobody passes another on the way out:
//! [`Freezer::thaw`] wakes all of them, and none waits for a lock. [`Freezer::thaw_in_turn`] wakes one after the other.
//!
//! Lock order: `standing`, then that of a place; `lock` alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::Thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// One more beginning in [`Freezer::running`]; what is below counts those that run now.
const ENTERED: u64 = 1 << 32;

/// The freeze switch of a kernel.
#[derive(Default)]
pub struct Freezer {
    wanted: AtomicBool,
    /// Tasks that run, and above them in steps of [`ENTERED`] how often one began to.
    running: AtomicU64,
    asked: AtomicU64,
    answers: AtomicUsize,
    lock: Mutex<()>,
    stopped: Condvar,
    /// Somebody waits in [`Freezer::wait_active`].
    watched: AtomicBool,
    active: Condvar,
    /// Tasks that stand still, at most one place each.
    standing: Mutex<Vec<Arc<Place>>>,
}

/// Where one task stands still.
struct Place {
    thread: Thread,
    released: AtomicBool,
    /// How far its turn has come, if it has one.
    turn: Mutex<Progress>,
    turn_over: Condvar,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// It goes with all others.
    None,
    Given,
    Over,
}

impl Place {
    fn of_this_thread() -> Arc<Place> {
        Arc::new(Place {
            thread: std::thread::current(),
            released: AtomicBool::new(false),
            turn: Mutex::new(Progress::None),
            turn_over: Condvar::new(),
        })
    }

    fn release(&self) {
        self.released.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }

    /// Releases it alone, and waits until it has run.
    fn give_turn(&self, longest: Duration) {
        let mut turn = self.turn.lock();
        *turn = Progress::Given;
        self.release();
        let deadline = Instant::now() + longest;
        while *turn == Progress::Given {
            if self.turn_over.wait_until(&mut turn, deadline).timed_out() {
                return;
            }
        }
    }
}

/// Says that a task is thawed alone, one after the other: whoever has it drops it when the task has run, or sleeps.
#[must_use = "the next task waits for the end of it"]
pub struct ThawTicket(Arc<Place>);

impl Drop for ThawTicket {
    fn drop(&mut self) {
        *self.0.turn.lock() = Progress::Over;
        self.0.turn_over.notify_one();
    }
}

/// How often tasks had begun to run at a look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Activity(u64);

/// Some task did not stop in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{running} tasks did not stop in time")]
pub struct NotFrozen {
    /// How many.
    pub running: usize,
}

impl Freezer {
    /// A task is about to run; waits while frozen.
    pub fn enter(&self) {
        self.count_in();
        self.checkpoint();
    }

    /// As [`enter`](Freezer::enter), for a task that passes a checkpoint of its own next.
    pub fn count_in(&self) {
        let before = self.running.fetch_add(ENTERED + 1, Ordering::SeqCst);
        if before.is_multiple_of(ENTERED) && self.watched.load(Ordering::SeqCst) {
            let _guard = self.lock.lock();
            self.active.notify_all();
        }
    }

    /// A task stops running (sleeps or ends).
    pub fn leave(&self) {
        if self.running.fetch_sub(1, Ordering::SeqCst) % ENTERED == 1 && self.wanted() {
            let _guard = self.lock.lock();
            self.stopped.notify_all();
        }
    }

    /// A running task passes here: it waits if a freeze is wanted.
    pub fn checkpoint(&self) {
        drop(self.checkpoint_with(&mut |_| {}));
    }

    /// As [`checkpoint`](Freezer::checkpoint); whenever a frozen kernel asks its tasks where they stand,
    /// `answer` is called with the number of the question. Gives the task's ticket if it was thawed in turn.
    pub fn checkpoint_with(&self, answer: &mut dyn FnMut(u64)) -> Option<ThawTicket> {
        let mut turn = None;
        while self.wanted() {
            turn = None;
            let place = Place::of_this_thread();
            {
                let mut standing = self.standing.lock();
                // It is lowered under this lock: whoever thaws finds the place, or it is not taken.
                if !self.wanted() {
                    break;
                }
                standing.push(Arc::clone(&place));
            }
            self.leave();
            let mut seen = 0;
            while !place.released.load(Ordering::SeqCst) {
                let asked = self.asked.load(Ordering::SeqCst);
                if asked == seen {
                    std::thread::park();
                    continue;
                }
                seen = asked;
                answer(asked);
            }
            self.count_in();
            if *place.turn.lock() == Progress::Given {
                turn = Some(ThawTicket(place));
            }
        }
        turn
    }

    /// Whether a freeze is wanted or done.
    #[must_use]
    pub fn wanted(&self) -> bool {
        self.wanted.load(Ordering::SeqCst)
    }

    /// Freezes; `kick` makes running tasks come to a checkpoint.
    ///
    /// # Errors
    /// When tasks still run after `limit`; the freeze stays wanted.
    pub fn freeze(&self, limit: Duration, kick: impl FnOnce()) -> Result<(), NotFrozen> {
        self.wanted.store(true, Ordering::SeqCst);
        if self.running() > 0 {
            kick();
        }
        let deadline = Instant::now() + limit;
        let mut guard = self.lock.lock();
        while self.running() > 0 {
            if self.stopped.wait_until(&mut guard, deadline).timed_out() {
                let running = self.running();
                return if running == 0 {
                    Ok(())
                } else {
                    Err(NotFrozen { running })
                };
            }
        }
        Ok(())
    }

    /// Asks all tasks of a frozen kernel where they stand and waits for `expected` answers; `kick` wakes
    /// those that sleep in a call. Gives the number of the question.
    ///
    /// # Errors
    /// When answers are missing after `limit`.
    pub fn ask(
        &self,
        expected: usize,
        limit: Duration,
        kick: impl FnOnce(),
    ) -> Result<u64, NotFrozen> {
        let deadline = Instant::now() + limit;
        let number = {
            let _guard = self.lock.lock();
            self.answers.store(0, Ordering::SeqCst);
            self.asked.fetch_add(1, Ordering::SeqCst) + 1
        };
        for place in self.standing.lock().iter() {
            place.thread.unpark();
        }
        kick();
        let mut guard = self.lock.lock();
        loop {
            let missing = expected.saturating_sub(self.answers.load(Ordering::SeqCst));
            if missing == 0 {
                return Ok(number);
            }
            if self.stopped.wait_until(&mut guard, deadline).timed_out() {
                return Err(NotFrozen { running: missing });
            }
        }
    }

    /// A task has said where it stands. Whoever answers an older question counts for nothing: it will be asked again.
    pub fn answered(&self, number: u64) {
        let _guard = self.lock.lock();
        if self.asked.load(Ordering::SeqCst) == number {
            self.answers.fetch_add(1, Ordering::SeqCst);
            self.stopped.notify_all();
        }
    }

    /// Tasks that run now.
    fn running(&self) -> usize {
        (self.running.load(Ordering::SeqCst) % ENTERED) as usize
    }

    /// A look at what runs, for [`Freezer::wait_active`]: it comes back for whatever runs now or begins to afterwards.
    #[must_use]
    pub fn activity(&self) -> Activity {
        let running = self.running.load(Ordering::SeqCst);
        let entries = running / ENTERED;
        Activity(if running.is_multiple_of(ENTERED) {
            entries
        } else {
            entries.wrapping_sub(1)
        })
    }

    /// Waits until something has run, or runs, that `seen` has not seen to its end, but no longer than `limit`. Whether it does.
    pub fn wait_active(&self, seen: Activity, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut guard = self.lock.lock();
        self.watched.store(true, Ordering::SeqCst);
        let active = || self.running.load(Ordering::SeqCst) / ENTERED != seen.0;
        while !active() {
            if self.active.wait_until(&mut guard, deadline).timed_out() {
                break;
            }
        }
        self.watched.store(false, Ordering::SeqCst);
        active()
    }

    /// Lets everything run again: wakes all tasks that stand still, and waits for none.
    pub fn thaw(&self) {
        for place in self.lift() {
            place.release();
        }
    }

    /// As [`thaw`](Freezer::thaw), but wakes a task only when the one before has run guest code, or
    /// sleeps, or neither `longest` after it was woken. Comes back when all have had their turn.
    pub fn thaw_in_turn(&self, longest: Duration) {
        for place in self.lift() {
            place.give_turn(longest);
        }
    }

    /// Nothing is frozen any more; who stands still is to be released.
    fn lift(&self) -> Vec<Arc<Place>> {
        let mut standing = self.standing.lock();
        self.wanted.store(false, Ordering::SeqCst);
        std::mem::take(&mut *standing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    #[test]
    fn an_answer_to_an_older_question_is_none() {
        let freezer = Freezer::default();
        let first = freezer.ask(0, Duration::ZERO, || {}).unwrap();
        let late = freezer.ask(1, Duration::ZERO, || freezer.answered(first));
        assert_eq!(late, Err(NotFrozen { running: 1 }));
        let asked = |number| freezer.answered(number);
        let next = freezer.ask(1, Duration::ZERO, || asked(first + 2));
        assert_eq!(next, Ok(first + 2));
    }

    /// Threads that stand still and note what they find when they go on.
    fn stand(
        freezer: &Arc<Freezer>,
        go_on: impl Fn(Option<ThawTicket>) + Send + Sync + 'static,
    ) -> Vec<std::thread::JoinHandle<()>> {
        freezer.freeze(Duration::ZERO, || {}).unwrap();
        let go_on = Arc::new(go_on);
        let threads = (0..8).map(|_| {
            let (freezer, go_on) = (Arc::clone(freezer), Arc::clone(&go_on));
            std::thread::spawn(move || {
                freezer.count_in();
                go_on(freezer.checkpoint_with(&mut |_| {}));
                freezer.leave();
            })
        });
        let threads = threads.collect();
        base_eventually::eventually("all stand", || freezer.standing.lock().len() == 8);
        threads
    }

    fn all_end(threads: Vec<std::thread::JoinHandle<()>>) {
        for thread in threads {
            thread.join().unwrap();
        }
    }

    #[test]
    fn in_turn_none_goes_on_before_the_last_one_has_run() {
        let freezer = Arc::new(Freezer::default());
        let (inside, gone) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counts = (Arc::clone(&inside), Arc::clone(&gone));
        let threads = stand(&freezer, move |turn| {
            assert_eq!(counts.0.fetch_add(1, Ordering::SeqCst), 0);
            std::thread::yield_now();
            counts.0.fetch_sub(1, Ordering::SeqCst);
            counts.1.fetch_add(1, Ordering::SeqCst);
            assert!(turn.is_some());
        });
        freezer.thaw_in_turn(Duration::from_secs(20));
        assert_eq!(gone.load(Ordering::SeqCst), 8);
        all_end(threads);
    }

    #[test]
    fn at_once_all_go_on_together_and_none_has_a_turn() {
        let freezer = Arc::new(Freezer::default());
        let all = std::sync::Barrier::new(8);
        let threads = stand(&freezer, move |turn| {
            assert!(turn.is_none());
            all.wait();
        });
        freezer.thaw();
        all_end(threads);
    }

    #[test]
    fn who_never_comes_back_keeps_the_others_for_its_turn_only() {
        let freezer = Arc::new(Freezer::default());
        let all = std::sync::Barrier::new(8);
        let threads = stand(&freezer, move |turn| {
            all.wait();
            drop(turn);
        });
        freezer.thaw_in_turn(Duration::from_millis(1));
        all_end(threads);
    }

    #[test]
    fn who_waits_for_a_task_that_runs_hears_of_whatever_ran_since() {
        let freezer = Freezer::default();
        let idle = freezer.activity();
        assert!(!freezer.wait_active(idle, Duration::ZERO));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| freezer.wait_active(idle, Duration::from_secs(20)));
            base_eventually::eventually("it waits", || freezer.watched.load(Ordering::SeqCst));
            freezer.enter();
            assert!(waiting.join().unwrap());
        });
        // What still runs at a look may do more afterwards.
        let busy = freezer.activity();
        assert!(freezer.wait_active(busy, Duration::ZERO));
        freezer.leave();
        assert!(freezer.wait_active(busy, Duration::ZERO));
        // So may what began and came to rest between two waits.
        let rest = freezer.activity();
        assert!(!freezer.wait_active(rest, Duration::ZERO));
        freezer.enter();
        freezer.leave();
        assert!(freezer.wait_active(rest, Duration::ZERO));
        assert!(!freezer.wait_active(freezer.activity(), Duration::ZERO));
    }

    #[test]
    fn nothing_moves_while_frozen_and_all_moves_after() {
        let freezer = Arc::new(Freezer::default());
        let steps = Arc::new(AtomicU64::new(0));
        let end = Arc::new(AtomicBool::new(false));
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let (freezer, steps, end) =
                    (Arc::clone(&freezer), Arc::clone(&steps), Arc::clone(&end));
                std::thread::spawn(move || {
                    freezer.enter();
                    while !end.load(Ordering::SeqCst) {
                        steps.fetch_add(1, Ordering::SeqCst);
                        freezer.checkpoint();
                    }
                    freezer.leave();
                })
            })
            .collect();
        for _ in 0..50 {
            freezer.freeze(Duration::from_secs(10), || {}).unwrap();
            let before = steps.load(Ordering::SeqCst);
            std::thread::yield_now();
            assert_eq!(steps.load(Ordering::SeqCst), before);
            freezer.thaw();
        }
        end.store(true, Ordering::SeqCst);
        all_end(threads);
    }
}
