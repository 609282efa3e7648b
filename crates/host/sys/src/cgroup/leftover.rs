//! Groups that could not be removed yet: their last process was still on its way out.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::membership;

/// Groups that are to go.
static LEFT: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Removes these as soon as their last process has gone.
pub(super) fn remove(directories: &mut Vec<PathBuf>) {
    LEFT.lock().append(directories);
    remove_left();
}

/// Whether none is left. A group whose killed process is still on its way out cannot be removed yet.
fn remove_left() -> bool {
    let mut left = LEFT.lock();
    left.retain(|directory| match fs::remove_dir(directory) {
        Err(error) => error.kind() != io::ErrorKind::NotFound,
        Ok(()) => false,
    });
    left.is_empty()
}

/// Waits at most this long until all dropped and swept groups are removed.
#[expect(
    clippy::disallowed_methods,
    reason = "the host tells nobody when the last process of a version 1 group has gone"
)]
pub fn settle(limit: Duration) {
    let deadline = Instant::now() + limit;
    while !remove_left() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Removes the groups that an ended process called `NAME-<its pid>-…` left behind when it was killed; those that still
/// hold a process later, with others that are dropped or by [`settle`].
pub fn sweep(name: &str) {
    let Ok(memberships) = membership::of_this_process() else {
        return;
    };
    for membership in memberships {
        let Ok(entries) = fs::read_dir(membership.directory()) else {
            continue;
        };
        for entry in entries.flatten() {
            if owner(&entry.file_name().to_string_lossy(), name).is_some_and(has_ended) {
                // Its processes may be on their way out.
                LEFT.lock().push(entry.path());
            }
        }
    }
    remove_left();
}

/// The process that made the group `directory`, if its name says that it is one of ours.
fn owner(directory: &str, name: &str) -> Option<u32> {
    let rest = directory.strip_prefix(name)?.strip_prefix('-')?;
    rest.split('-').next()?.parse().ok()
}

fn has_ended(pid: u32) -> bool {
    !Path::new("/proc").join(pid.to_string()).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_groups_are_swept() {
        assert_eq!(owner("rekindle-12-7", "rekindle"), Some(12));
        assert_eq!(owner("rekindle-run-12", "rekindle"), None);
        assert_eq!(owner("rekindle-run-12", "rekindle-run"), Some(12));
        assert_eq!(owner("rekindler-12", "rekindle"), None);
    }
}
