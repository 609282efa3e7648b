//! A control group for one sandbox, made by whoever starts it (cgroups(7), versions 1 and 2).
//!
//! It is the second line: our kernel counts the guest's memory and tasks itself and
//! refuses in Linux terms; the group holds when that count is wrong.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

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
    state: Layer,
}

/// Period over which processor time is counted, in microseconds.
const CPU_PERIOD_US: u64 = 100_000;

impl Group {
    /// Makes a group called `name` beneath the caller's own, as far as the host permits.
    #[must_use]
    pub fn create(name: &str, limits: &Limits) -> Group {
        match Group::try_create(Path::new("/sys/fs/cgroup"), name, limits) {
            Ok(group) => group,
            Err(error) => Group {
                directories: Vec::new(),
                state: Layer::missing(error),
            },
        }
    }

    /// Moves a process into the group. Its threads and later children follow.
    ///
    /// # Errors
    /// What the host said.
    pub fn add(&self, pid: u32) -> io::Result<()> {
        for directory in &self.directories {
            fs::write(directory.join("cgroup.procs"), pid.to_string())?;
        }
        Ok(())
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
            state: Layer::missing("no controllers for this user"),
        };
        let mut held = Vec::new();
        for line in membership.lines() {
            let mut fields = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
                continue;
            };
            let path = path.trim_start_matches('/');
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
        self.make(&directory, &settings)
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
        if names.is_empty() || !self.make(directory, &settings) {
            return Vec::new();
        }
        names
    }

    /// Makes the directory and writes its settings; leaves nothing behind when one is refused.
    fn make(&mut self, directory: &Path, settings: &[(&str, String)]) -> bool {
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
        true
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for directory in &self.directories {
            // Fails while a killed process is still on its way out; the directory is then empty and harmless.
            let _ = fs::remove_dir(directory);
        }
    }
}
