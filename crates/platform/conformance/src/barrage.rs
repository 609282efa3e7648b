//! Interruptions as fast as they can be sent, but so many for each step of the guest: it gets on however slowly it is entered, and
//! nobody spins meanwhile.

use std::sync::{Arc, Condvar, Mutex};

use platform_api::Interrupt;

/// Interruptions for each step. Without a limit there would be no step where entering the guest takes longer than a
/// thread's turn on its processor, as on one that is emulated and short of time.
const EACH: u32 = 4;

/// What a thread that runs a context holds while others interrupt it. They end when it is dropped.
pub struct Barrage(Arc<Shots>);

/// What they hold.
#[derive(Default)]
pub struct Shots {
    /// Interruptions that may still be sent; none once the barrage is over.
    left: Mutex<Option<u32>>,
    changed: Condvar,
}

impl Barrage {
    /// One with the interruptions of the first step.
    pub fn begin() -> (Self, Arc<Shots>) {
        let shots = Arc::new(Shots::default());
        shots.change(|_| Some(EACH));
        (Self(shots.clone()), shots)
    }

    /// The context made a step.
    pub fn step(&self) {
        self.0
            .change(|left| left.map(|left| left.saturating_add(EACH)));
    }
}

impl Drop for Barrage {
    fn drop(&mut self) {
        self.0.change(|_| None);
    }
}

impl Shots {
    fn change(&self, to: impl FnOnce(Option<u32>) -> Option<u32>) {
        let mut left = self.left.lock().expect("no panic holds it");
        *left = to(*left);
        self.changed.notify_all();
    }

    /// Interrupts until the barrage is over.
    pub fn send(&self, interrupt: &dyn Interrupt) {
        loop {
            let left = self.left.lock().expect("no panic holds it");
            let mut left = self
                .changed
                .wait_while(left, |left| *left == Some(0))
                .expect("no panic holds it");
            let Some(more) = &mut *left else { return };
            *more -= 1;
            drop(left);
            interrupt.interrupt();
        }
    }
}
