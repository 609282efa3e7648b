//! Processes and threads of the host: what all sandboxes of one user may have together.
//!
//! Every sandbox may have as many as it was promised, but not all of them at once: numbers of processes are few, and a host without a free
//! one starts nothing any more. The host counts by user, in every process that is limited so, and answers `EAGAIN`, which
//! guests get from fork(2) and clone(2). It does not count for uid 0: there it is control groups that hold.

use std::path::Path;

use host_sys::rlimit::{self, Resource};

/// Of what there is, the part that sandboxes leave to everybody else: a quarter.
const LEFT: u64 = 4;

/// How many there may be: the least of what the host permits, without [`LEFT`].
#[must_use]
pub fn budget() -> u64 {
    let read = |name: &str| {
        let text = std::fs::read_to_string(Path::new("/proc/sys/kernel").join(name)).ok()?;
        text.trim().parse::<u64>().ok()
    };
    let own = rlimit::get(Resource::Tasks).map_or(u64::MAX, |(_, hard)| hard);
    let most = [read("pid_max"), read("threads-max"), Some(own)];
    part(most.into_iter().flatten().min().unwrap_or(u64::MAX))
}

fn part(most: u64) -> u64 {
    most - most / LEFT
}

/// Limits this process and all that come from it. Call it once, and before it has a user namespace of its own: what the host counts for the
/// user outside is bounded by the limit with which that was made.
pub(crate) fn limit() {
    let most = budget();
    // The host lets everybody lower a limit.
    let _ = rlimit::set(Resource::Tasks, most, most);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn something_is_left() {
        assert_eq!([0, 3, 4, 32_768].map(part), [0, 3, 3, 24_576]);
        assert!(part(u64::MAX) < u64::MAX);
        assert!(budget() > 0);
    }
}
