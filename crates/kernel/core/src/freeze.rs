//! Stopping every task at once: no guest instruction runs while frozen.
//!
//! Each task publishes whether it may run guest code. `freeze` raises a flag, kicks
//! those that do and waits for the last; a task that wakes from a wait looks at
//! the flag before it goes on. Sleeping tasks are left asleep, so freezing an
//! idle instance touches nobody.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// The freeze switch of a kernel.
#[derive(Default)]
pub struct Freezer {
    wanted: AtomicBool,
    running: AtomicUsize,
    asked: AtomicU64,
    answers: AtomicUsize,
    lock: Mutex<()>,
    stopped: Condvar,
    thawed: Condvar,
}

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
        self.running.fetch_add(1, Ordering::SeqCst);
    }

    /// A task stops running (sleeps or ends).
    pub fn leave(&self) {
        if self.running.fetch_sub(1, Ordering::SeqCst) == 1 && self.wanted() {
            let _guard = self.lock.lock();
            self.stopped.notify_all();
        }
    }

    /// A running task passes here: it waits if a freeze is wanted.
    pub fn checkpoint(&self) {
        self.checkpoint_with(&mut |_| {});
    }

    /// As [`checkpoint`](Freezer::checkpoint); whenever a frozen kernel asks its tasks where they stand,
    /// `answer` is called with the number of the question.
    pub fn checkpoint_with(&self, answer: &mut dyn FnMut(u64)) {
        while self.wanted() {
            self.leave();
            let mut seen = 0;
            let mut guard = self.lock.lock();
            while self.wanted() {
                let asked = self.asked.load(Ordering::SeqCst);
                if asked == seen {
                    self.thawed.wait(&mut guard);
                    continue;
                }
                seen = asked;
                drop(guard);
                answer(asked);
                guard = self.lock.lock();
            }
            drop(guard);
            self.running.fetch_add(1, Ordering::SeqCst);
        }
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
        if self.running.load(Ordering::SeqCst) > 0 {
            kick();
        }
        let deadline = Instant::now() + limit;
        let mut guard = self.lock.lock();
        while self.running.load(Ordering::SeqCst) > 0 {
            if self.stopped.wait_until(&mut guard, deadline).timed_out() {
                let running = self.running.load(Ordering::SeqCst);
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
            let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
            self.thawed.notify_all();
            number
        };
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

    /// Waits until nothing is frozen.
    pub fn wait_thawed(&self) {
        let mut guard = self.lock.lock();
        while self.wanted() {
            self.thawed.wait(&mut guard);
        }
    }

    /// Lets everything run again.
    pub fn thaw(&self) {
        let _guard = self.lock.lock();
        self.wanted.store(false, Ordering::SeqCst);
        self.thawed.notify_all();
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
        for thread in threads {
            thread.join().unwrap();
        }
    }
}
