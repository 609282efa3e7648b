//! How tests wait for what another thread, task or process does and does not tell: they look, block a little and look again,
//! up to a limit, and fail with what they waited for. For tests only; `make lint` refuses loops of their own.
#![forbid(unsafe_code)]

use std::thread;
use std::time::{Duration, Instant};

/// Time between two looks: short beside what is waited for, long beside a look.
const PAUSE: Duration = Duration::from_millis(1);

/// How long a test waits at most: sixty seconds, or as many as `GUEST_PATIENCE` says where guests run slowly (emulated hardware).
#[must_use]
pub fn limit() -> Duration {
    let given = std::env::var("GUEST_PATIENCE").ok();
    Duration::from_secs(given.and_then(|text| text.parse().ok()).unwrap_or(60))
}

/// Waits until it `holds`.
///
/// # Panics
/// When it does not within [`limit`]; says `what` did not come about.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    eventually_some(what, || holds().then_some(()));
}

/// Waits until there is something to `look` at, and gives it.
///
/// # Panics
/// When there is nothing within [`limit`]; says `what` did not come about.
#[track_caller]
pub fn eventually_some<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        still_waiting(start, what);
        // Blocks as a sleep does; a wake-up that was meant for another wait only makes it look sooner.
        thread::park_timeout(PAUSE);
    }
}

/// [`eventually`] in a task: other tasks of its thread run meanwhile.
///
/// # Panics
/// When it does not hold within [`limit`]; says `what` did not come about.
pub async fn eventually_in_task(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !holds().await {
        still_waiting(start, what);
        tokio::time::sleep(PAUSE).await;
    }
}

#[track_caller]
fn still_waiting(start: Instant, what: &str) {
    assert!(
        start.elapsed() < limit(),
        "not within {:?}: {what}",
        limit()
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn what_another_thread_does_is_seen() {
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| done.store(true, Ordering::SeqCst));
            eventually("the thread ran", || done.load(Ordering::SeqCst));
        });
        assert_eq!(eventually_some("it is there", || Some(1)), 1);
    }

    #[tokio::test]
    async fn tasks_of_the_same_thread_run_meanwhile() {
        let task = tokio::spawn(async {});
        eventually_in_task("the task ran", async || task.is_finished()).await;
    }

    #[test]
    #[should_panic(expected = "a thing that never comes")]
    fn waiting_has_a_limit_and_says_for_what() {
        let past = Instant::now().checked_sub(limit());
        still_waiting(
            past.unwrap_or_else(Instant::now),
            "a thing that never comes",
        );
    }
}
