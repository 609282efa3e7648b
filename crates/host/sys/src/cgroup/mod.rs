//! A control group for one sandbox, made by whoever starts it (cgroups(7), versions 1 and 2).
//!
//! It is the second line: our kernel counts the guest's memory and tasks itself and
//! refuses in Linux terms; the group holds when that count is wrong.

mod leftover;
mod membership;
mod tree;

pub use leftover::{settle, sweep};
pub use tree::Tree;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use membership::Membership;

/// What the group may use at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory: the sandbox' own limit plus room for the kernel process.
    pub memory_bytes: u64,
    /// Host processes and threads.
    pub tasks: u32,
    /// Its part of the processors when others want them too; none for what every process has.
    pub cpu_weight: Option<CpuWeight>,
}

/// How much of the processors a group gets beside others, while there is not enough for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuWeight {
    /// In per cent of what one process of the host has.
    percent: u32,
}

impl CpuWeight {
    /// A weight in per cent of what one process of the host has.
    #[must_use]
    pub const fn percent(percent: u32) -> CpuWeight {
        CpuWeight { percent }
    }

    /// This many times as much, in per cent.
    #[must_use]
    pub fn times(self, percent: u32) -> CpuWeight {
        let scaled = u64::from(self.percent) * u64::from(percent) / 100;
        CpuWeight {
            percent: u32::try_from(scaled).unwrap_or(u32::MAX),
        }
    }

    /// `cpu.shares`: 1024 is one process; the host permits 2 to 262,144.
    fn v1(self) -> u64 {
        (u64::from(self.percent) * 1024 / 100).clamp(2, 262_144)
    }

    /// `cpu.weight`: 100 is one process; the host permits 1 to 10,000.
    fn v2(self) -> u32 {
        self.percent.clamp(1, 10_000)
    }
}

/// Whether a group is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupState {
    /// It is; the text names the controllers, each with its version.
    InForce(String),
    /// The host does not permit it, with its reason.
    Missing(String),
}

/// A control group that is removed when dropped; by then its processes must have ended.
#[derive(Debug)]
pub struct Group {
    directories: Vec<PathBuf>,
    procs_files: Vec<PathBuf>,
    /// The directory with the weight, and how it is written there.
    cpu: Option<(PathBuf, WeightFile)>,
    state: GroupState,
}

/// How a weight is told to the host.
#[derive(Clone, Copy, Debug)]
enum WeightFile {
    /// `cpu.shares`.
    V1,
    /// `cpu.weight`.
    V2,
}

impl WeightFile {
    fn setting(self, weight: CpuWeight) -> (&'static str, String) {
        match self {
            WeightFile::V1 => ("cpu.shares", weight.v1().to_string()),
            WeightFile::V2 => ("cpu.weight", weight.v2().to_string()),
        }
    }
}

impl Group {
    /// Makes a group called `name` beneath the caller's own, as far as the host permits.
    #[must_use]
    pub fn create(name: &str, limits: &Limits) -> Group {
        match membership::of_this_process() {
            Ok(memberships) => Group::beneath(&memberships, name, limits),
            Err(error) => Group::missing(error.to_string()),
        }
    }

    fn missing(reason: String) -> Group {
        Group {
            directories: Vec::new(),
            procs_files: Vec::new(),
            cpu: None,
            state: GroupState::Missing(reason),
        }
    }

    fn beneath(memberships: &[Membership], name: &str, limits: &Limits) -> Group {
        let mut group = Group::missing("no controllers for this user".to_owned());
        group.fill(memberships, name, limits);
        group
    }

    /// Gives it another part of the processors.
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`] where it has no weight, else what the host said.
    pub fn set_cpu_weight(&self, weight: CpuWeight) -> io::Result<()> {
        let (directory, file) = self.cpu.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        let (name, value) = file.setting(weight);
        fs::write(directory.join(name), value)
    }

    /// Whether it has a weight among those who want processors.
    #[must_use]
    pub fn has_cpu_weight(&self) -> bool {
        self.cpu.is_some()
    }

    /// The files with which a process of one thread [joins](join) the group: `cgroup.procs`, and `tasks` of version 1.
    #[must_use]
    pub fn procs_files(&self) -> &[PathBuf] {
        &self.procs_files
    }

    /// Whether it is in force, and over what.
    #[must_use]
    pub fn state(&self) -> &GroupState {
        &self.state
    }

    fn fill(&mut self, memberships: &[Membership], name: &str, limits: &Limits) {
        let mut held = Vec::new();
        for membership in memberships {
            let directory = membership.directory().join(name);
            match membership {
                Membership::V1 { controller, .. } => {
                    held.extend(self.try_v1(controller, &directory, limits));
                }
                Membership::V2 { .. } => held.extend(self.try_v2(&directory, limits)),
            }
        }
        if !held.is_empty() {
            self.state = GroupState::InForce(held.join(" "));
        }
    }

    fn try_v1(&mut self, controller: &str, directory: &Path, limits: &Limits) -> Option<String> {
        let memory = limits.memory_bytes.to_string();
        let tasks = limits.tasks.to_string();
        let settings: Vec<(&str, String)> = match controller {
            "memory" => vec![("memory.limit_in_bytes", memory)],
            "pids" => vec![("pids.max", tasks)],
            "cpu" => vec![WeightFile::V1.setting(limits.cpu_weight?)],
            _ => return None,
        };
        if !self.make(directory, &settings, "tasks") {
            return None;
        }
        if controller == "cpu" {
            self.cpu = Some((directory.to_owned(), WeightFile::V1));
        }
        Some(format!("{controller}/v1"))
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
            let setting = match (controller, limits.cpu_weight) {
                ("memory", _) => ("memory.max", limits.memory_bytes.to_string()),
                ("pids", _) => ("pids.max", limits.tasks.to_string()),
                ("cpu", Some(weight)) => WeightFile::V2.setting(weight),
                _ => continue,
            };
            settings.push(setting);
            names.push(format!("{controller}/v2"));
        }
        if names.is_empty() || !self.make(directory, &settings, "cgroup.procs") {
            return Vec::new();
        }
        if settings.iter().any(|(file, _)| *file == "cpu.weight") {
            self.cpu = Some((directory.to_owned(), WeightFile::V2));
        }
        names
    }

    /// Makes the directory and writes its settings; leaves nothing behind when one is refused.
    fn make(&mut self, directory: &Path, settings: &[(&str, String)], procs_file: &str) -> bool {
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
        self.procs_files.push(directory.join(procs_file));
        true
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        leftover::remove(&mut self.directories);
    }
}

/// Moves the calling thread, which must be the only one of its process, into the group of this [file](Group::procs_files).
///
/// A process that another one moves costs a grace period of the host kernel (milliseconds); a thread
/// that moves itself costs microseconds.
///
/// # Errors
/// What the host said.
pub fn join(procs_file: &Path) -> io::Result<()> {
    fs::write(procs_file, "0")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    const LIMITS: Limits = Limits {
        memory_bytes: 64 << 20,
        tasks: 16,
        cpu_weight: Some(CpuWeight::percent(200)),
    };

    #[test]
    fn weights_are_what_both_versions_permit() {
        let both = |percent| {
            let weight = CpuWeight::percent(percent);
            (weight.v1(), weight.v2())
        };
        assert_eq!(both(0), (2, 1));
        assert_eq!(both(100), (1024, 100));
        assert_eq!(both(8000), (81_920, 8000));
        assert_eq!(both(u32::MAX), (262_144, 10_000));
    }

    #[test]
    fn a_group_takes_who_joins_and_goes_when_dropped() {
        let group = Group::create(&format!("rekindle-test-{}", std::process::id()), &LIMITS);
        if let GroupState::Missing(reason) = group.state() {
            eprintln!("not tested: {reason}");
            return;
        }
        for procs_file in group.procs_files() {
            // The shell's own write of 0 moves the shell; what it then reads is its new membership.
            let script = format!(
                "echo 0 > '{}' && cat /proc/self/cgroup",
                procs_file.display()
            );
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
}
