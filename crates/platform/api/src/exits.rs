//! How often guest code was left, by reason: what a platform costs is mostly this.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why guest code was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// A system call.
    Call,
    /// A page that the platform made present; the guest does not learn of it.
    Fill,
    /// A fault that the kernel turns into a signal.
    Fault,
    /// Somebody interrupted it.
    Interruption,
    /// The host had dropped a page, or left for reasons of its own.
    Host,
}

impl Exit {
    /// All of them.
    pub const ALL: [Exit; 5] = [
        Exit::Call,
        Exit::Fill,
        Exit::Fault,
        Exit::Interruption,
        Exit::Host,
    ];

    /// One word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Exit::Call => "call",
            Exit::Fill => "fill",
            Exit::Fault => "fault",
            Exit::Interruption => "interruption",
            Exit::Host => "host",
        }
    }
}

/// Counts of a platform, of all its address spaces.
#[derive(Debug, Default)]
pub struct ExitCounts([AtomicU64; Exit::ALL.len()]);

impl ExitCounts {
    /// One more.
    pub fn count(&self, exit: Exit) {
        if let Some(count) = self.0.get(exit as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// So many of each, in the order of [`Exit::ALL`].
    #[must_use]
    pub fn so_far(&self) -> [(Exit, u64); Exit::ALL.len()] {
        Exit::ALL.map(|exit| {
            let count = self.0.get(exit as usize);
            (exit, count.map_or(0, |count| count.load(Ordering::Relaxed)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_own_count() {
        let counts = ExitCounts::default();
        for (times, exit) in Exit::ALL.into_iter().enumerate() {
            for _ in 0..times {
                counts.count(exit);
            }
        }
        assert_eq!(counts.so_far().map(|(_, count)| count), [0, 1, 2, 3, 4]);
        assert_eq!(counts.so_far().map(|(exit, _)| exit), Exit::ALL);
    }
}
