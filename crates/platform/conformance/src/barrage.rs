//! Interruptions without end that leave the guest time to get on.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use platform_api::Interrupt;

/// How many interruptions a context may see for each step that it makes. Without a limit there would be no step where entering the
/// guest takes longer than a thread's turn on its processor, as on one that is emulated and short of time.
const EACH: u32 = 4;

/// What a thread that runs a context counts while others interrupt it. Their threads end when it is dropped.
pub struct Barrage {
    /// Interruptions that may still be seen.
    left: AtomicU32,
}

impl Barrage {
    /// One that begins with the first step's interruptions.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            left: AtomicU32::new(EACH),
        })
    }

    /// The context made a step.
    pub fn step(&self) {
        self.left.fetch_add(EACH, Relaxed);
    }

    /// The context was interrupted.
    pub fn interrupted(&self) {
        let _ = self
            .left
            .fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
    }
}

/// Interrupts until `barrage` is gone.
pub fn keep_interrupting(barrage: &Weak<Barrage>, interrupt: &dyn Interrupt) {
    while let Some(barrage) = barrage.upgrade() {
        if barrage.left.load(Relaxed) > 0 {
            interrupt.interrupt();
        }
        drop(barrage);
        std::thread::yield_now();
    }
}
