//! A control group for one sandbox, made by whoever starts it (cgroups(7), versions 1 and 2).
//!
//! It is the second line: our kernel counts the guest's memory and tasks itself and
//! refuses in Linux terms; the group holds when that count is wrong.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::layers::Layer;

/// What the group may use at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory: the sandbox' own limit plus room for the kernel process.
    pub memory_bytes: u64,
    /// Host processes and threads.
    pub tasks: u32,
    /// Processor time in thousandths of one processor; none for no limit.
    pub milli_cpus: Option<u32>,
}

/// A control group that is removed when dropped; by then its processes must have ended.
#[derive(Debug)]
pub struct Group {
    directories: Vec<PathBuf>,
    doors: Vec<PathBuf>,
    state: Layer,
}

/// Groups whose last process was still on its way out when they were dropped.
static LEFT: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Where control groups are mounted.
const MOUNT: &str = "/sys/fs/cgroup";

/// Period over which processor time is counted, in microseconds.
const CPU_PERIOD_US: u64 = 100_000;

impl Group {
    /// Makes a group called `name` beneath the caller's own, as far as the host permits.
    #[must_use]
    pub fn create(name: &str, limits: &Limits) -> Group {
        match Group::try_create(Path::new(MOUNT), name, limits) {
            Ok(group) => group,
            Err(error) => Group {
                directories: Vec::new(),
                doors: Vec::new(),
                state: Layer::missing(error),
            },
        }
    }

    /// The files with which a process of one thread [joins](join) the group.
    #[must_use]
    pub fn doors(&self) -> &[PathBuf] {
        &self.doors
    }

    /// Whether it is in force, and over what.
    #[must_use]
    pub fn state(&self) -> &Layer {
        &self.state
    }

    fn try_create(mount: &Path, name: &str, limits: &Limits) -> io::Result<Group> {
        let membership = fs::read_to_string("/proc/self/cgroup")?;
        let mut group = Group {
            directories: Vec::new(),
            doors: Vec::new(),
            state: Layer::missing("no controllers for this user"),
        };
        let mut held = Vec::new();
        for (controllers, path) in memberships(&membership) {
            if controllers.is_empty() {
                let directory = mount.join(path).join(name);
                held.extend(group.try_v2(&directory, limits));
            } else {
                for controller in controllers.split(',') {
                    let directory = mount.join(controller).join(path).join(name);
                    held.extend(group.try_v1(controller, directory, limits));
                }
            }
        }
        if !held.is_empty() {
            group.state = Layer::in_force(held.join(" "));
        }
        Ok(group)
    }

    fn try_v1(&mut self, controller: &str, directory: PathBuf, limits: &Limits) -> Option<String> {
        let memory = limits.memory_bytes.to_string();
        let tasks = limits.tasks.to_string();
        let settings: Vec<(&str, String)> = match controller {
            "memory" => vec![("memory.limit_in_bytes", memory)],
            "pids" => vec![("pids.max", tasks)],
            "cpu" => vec![(
                "cpu.cfs_quota_us",
                (u64::from(limits.milli_cpus?) * CPU_PERIOD_US / 1000).to_string(),
            )],
            _ => return None,
        };
        self.make(&directory, &settings, "tasks")
            .then(|| format!("{controller}/v1"))
    }

    fn try_v2(&mut self, directory: &Path, limits: &Limits) -> Vec<String> {
        // Offered controllers that are not enabled for children leave no files behind.
        let Ok(offered) = fs::read_to_string(
            directory
                .parent()
                .unwrap_or(directory)
                .join("cgroup.subtree_control"),
        ) else {
            return Vec::new();
        };
        let mut settings = Vec::new();
        let mut names = Vec::new();
        for controller in offered.split_whitespace() {
            let setting = match (controller, limits.milli_cpus) {
                ("memory", _) => ("memory.max", limits.memory_bytes.to_string()),
                ("pids", _) => ("pids.max", limits.tasks.to_string()),
                ("cpu", Some(milli)) => (
                    "cpu.max",
                    format!(
                        "{} {CPU_PERIOD_US}",
                        u64::from(milli) * CPU_PERIOD_US / 1000
                    ),
                ),
                _ => continue,
            };
            settings.push(setting);
            names.push(format!("{controller}/v2"));
        }
        if names.is_empty() || !self.make(directory, &settings, "cgroup.procs") {
            return Vec::new();
        }
        names
    }

    /// Makes the directory and writes its settings; leaves nothing behind when one is refused.
    fn make(&mut self, directory: &Path, settings: &[(&str, String)], door: &str) -> bool {
        if fs::create_dir(directory).is_err() {
            return false;
        }
        for (file, value) in settings {
            if fs::write(directory.join(file), value).is_err() {
                let _ = fs::remove_dir(directory);
                return false;
            }
        }
        self.directories.push(directory.to_owned());
        self.doors.push(directory.join(door));
        true
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        LEFT.lock().append(&mut self.directories);
        remove_left();
    }
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
    let Ok(membership) = fs::read_to_string("/proc/self/cgroup") else {
        return;
    };
    for (controllers, path) in memberships(&membership) {
        // The unnamed hierarchy of version 2 is the mount itself.
        for controller in controllers.split(',') {
            let parent = Path::new(MOUNT).join(controller).join(path);
            let Ok(entries) = fs::read_dir(parent) else {
                continue;
            };
            for entry in entries.flatten() {
                if owner(&entry.file_name().to_string_lossy(), name).is_some_and(has_ended) {
                    // Its processes may be on their way out.
                    LEFT.lock().push(entry.path());
                }
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

/// Controllers and path of each line of `/proc/self/cgroup` (cgroups(7)).
fn memberships(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let controllers = fields.next()?;
        Some((controllers, fields.next()?.trim_start_matches('/')))
    })
}

/// Moves the calling thread, which must be the only one of its process, through a [door](Group::doors).
///
/// A process that another one moves costs a grace period of the host kernel (milliseconds); a thread
/// that moves itself costs microseconds.
///
/// # Errors
/// What the host said.
pub fn join(door: &Path) -> io::Result<()> {
    fs::write(door, "0")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    const LIMITS: Limits = Limits {
        memory_bytes: 64 << 20,
        tasks: 16,
        milli_cpus: None,
    };

    #[test]
    fn a_group_takes_who_joins_and_goes_when_dropped() {
        let group = Group::create(&format!("rekindle-test-{}", std::process::id()), &LIMITS);
        if let Layer::Missing(reason) = group.state() {
            eprintln!("not tested: {reason}");
            return;
        }
        for door in group.doors() {
            // The shell's own write of 0 moves the shell; what it then reads is its new membership.
            let script = format!("echo 0 > '{}' && cat /proc/self/cgroup", door.display());
            let output = Command::new("/bin/sh").args(["-c", &script]).output();
            let output = output.unwrap();
            let told = String::from_utf8_lossy(&output.stdout);
            assert!(told.contains("rekindle-test-"), "{output:?}");
        }
        let directories = group.directories.clone();
        drop(group);
        for directory in directories {
            assert!(!directory.exists(), "{directory:?}");
        }
    }

    #[test]
    fn only_own_groups_are_swept() {
        assert_eq!(owner("rekindle-12-7", "rekindle"), Some(12));
        assert_eq!(owner("rekindle-run-12", "rekindle"), None);
        assert_eq!(owner("rekindle-run-12", "rekindle-run"), Some(12));
        assert_eq!(owner("rekindler-12", "rekindle"), None);
    }
}
