//! Where the groups of a server's sandboxes are made, and a group for the server itself among them.
//!
//! ```text
//!   the group that the server was started in
//!   ├── NAME-<pid>-server   the server itself, favoured
//!   ├── NAME-<pid>-0        a sandbox each
//!   └── NAME-<pid>-1
//! ```
//!
//! Version 1 has this for the processor alone: the server's memory and tasks stay where they are counted. Version 2 asks
//! for it: a group whose children have controllers holds no process itself (cgroups(7), "no internal processes").

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::leftover;
use super::membership::{self, Membership};
use super::{CpuWeight, Group, GroupState, Limits, WeightFile};

/// Controllers of version 2 that sandboxes' groups use.
const WANTED: [&str; 3] = ["cpu", "memory", "pids"];

/// The group that this process was started in, in each hierarchy. Dropping it takes the process back there.
#[derive(Debug)]
pub struct Tree {
    memberships: Vec<Membership>,
    /// Groups of the server, and those that it came from.
    moved: Vec<(PathBuf, PathBuf)>,
    state: GroupState,
}

impl Tree {
    /// Moves this process into a group of its own called `name` with this weight, as far as the host permits. Moving a
    /// process with threads costs milliseconds.
    #[must_use]
    pub fn with_server(name: &str, weight: CpuWeight) -> Tree {
        let mut tree = Tree {
            memberships: Vec::new(),
            moved: Vec::new(),
            state: GroupState::Missing("no cpu controller for this user".to_owned()),
        };
        match membership::of_this_process() {
            Ok(memberships) => tree.memberships = memberships,
            Err(error) => tree.state = GroupState::Missing(error.to_string()),
        }
        let mut moved = Vec::new();
        for membership in &tree.memberships {
            let set = match membership {
                Membership::V1 {
                    controller,
                    directory,
                } if controller == "cpu" => {
                    set_v1(directory, name, weight).map(|leaf| (leaf, "cpu/v1"))
                }
                Membership::V1 { .. } => continue,
                Membership::V2 { directory } => match set_v2(directory, name, weight) {
                    Some(set) => set.map(|leaf| (leaf, "cpu/v2")),
                    None => continue,
                },
            };
            match set {
                Ok((leaf, held)) => {
                    moved.push((leaf, membership.directory().to_owned()));
                    tree.state = GroupState::InForce(held.to_owned());
                }
                Err(error) => {
                    tree.state = GroupState::Missing(format!(
                        "{}: {error}",
                        membership.directory().display()
                    ));
                }
            }
        }
        tree.moved = moved;
        tree
    }

    /// Whether the server has a weight of its own.
    #[must_use]
    pub fn state(&self) -> &GroupState {
        &self.state
    }

    /// What a group of a sandbox would have in force: one called `name` is made and removed.
    #[must_use]
    pub fn trial(&self, name: &str) -> GroupState {
        let limits = Limits {
            memory_bytes: 1 << 30,
            tasks: 64,
            cpu_weight: Some(CpuWeight::percent(100)),
        };
        self.group(name, &limits).state().clone()
    }

    /// Makes a group called `name` beside the server's.
    #[must_use]
    pub fn group(&self, name: &str, limits: &Limits) -> Group {
        let mut group = Group::beneath(&self.memberships, name, limits);
        if !group.has_cpu_weight() {
            // What could not get a group must not run as favoured as the server.
            let homes = self.moved.iter().map(|(_, home)| procs_file(home));
            group.procs_files.extend(homes);
        }
        group
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        for (leaf, home) in self.moved.drain(..) {
            let _ = enter(&home);
            leftover::remove(&mut vec![leaf]);
        }
    }
}

/// The file that moves a thread of version 1, a process of version 2.
fn procs_file(group: &Path) -> PathBuf {
    let of_threads = group.join("tasks");
    if of_threads.exists() {
        of_threads
    } else {
        group.join("cgroup.procs")
    }
}

/// Moves this process with all its threads.
fn enter(group: &Path) -> io::Result<()> {
    fs::write(group.join("cgroup.procs"), "0")
}

fn set_v1(home: &Path, name: &str, weight: CpuWeight) -> io::Result<PathBuf> {
    make(home, name, WeightFile::V1, weight)
}

/// None where the host offers no processor weight to this group.
fn set_v2(home: &Path, name: &str, weight: CpuWeight) -> Option<io::Result<PathBuf>> {
    let offered = fs::read_to_string(home.join("cgroup.controllers")).ok()?;
    let offered: Vec<&str> = offered
        .split_whitespace()
        .filter(|controller| WANTED.contains(controller))
        .collect();
    offered.contains(&"cpu").then(|| {
        // It gets its weight when the group above gives its children that controller, which it may not while it holds a process.
        let leaf = home.join(name);
        fs::create_dir(&leaf)?;
        let enable: Vec<String> = offered.iter().map(|name| format!("+{name}")).collect();
        let (file, value) = WeightFile::V2.setting(weight);
        let set = enter(&leaf)
            .and_then(|()| fs::write(home.join("cgroup.subtree_control"), enable.join(" ")))
            .and_then(|()| fs::write(leaf.join(file), value));
        if let Err(error) = set {
            let _ = enter(home);
            let _ = fs::remove_dir(&leaf);
            return Err(error);
        }
        Ok(leaf)
    })
}

fn make(home: &Path, name: &str, file: WeightFile, weight: CpuWeight) -> io::Result<PathBuf> {
    let leaf = home.join(name);
    fs::create_dir(&leaf)?;
    let (file, value) = file.setting(weight);
    if let Err(error) = fs::write(leaf.join(file), value).and_then(|()| enter(&leaf)) {
        let _ = fs::remove_dir(&leaf);
        return Err(error);
    }
    Ok(leaf)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        memory_bytes: 64 << 20,
        tasks: 16,
        cpu_weight: Some(CpuWeight::percent(200)),
    };

    fn memberships_of_this_process() -> String {
        fs::read_to_string("/proc/self/cgroup").unwrap()
    }

    #[test]
    fn the_server_moves_in_and_back_and_groups_are_made_beside_it() {
        let before = memberships_of_this_process();
        let name = format!("rekindle-tree-{}", std::process::id());
        let tree = Tree::with_server(&format!("{name}-server"), CpuWeight::percent(10_000));
        if let GroupState::Missing(reason) = tree.state() {
            eprintln!("not tested: {reason}");
            assert_eq!(memberships_of_this_process(), before);
            return;
        }
        assert!(memberships_of_this_process().contains(&format!("{name}-server")));
        let group = tree.group(&name, &LIMITS);
        let (directory, file) = group.cpu.clone().unwrap();
        let (leaf, home) = &tree.moved[0];
        assert_eq!(
            (directory.parent(), leaf.parent()),
            (Some(&**home), Some(&**home))
        );
        let weight = |directory: &Path| {
            let (name, _) = file.setting(CpuWeight::percent(100));
            let text = fs::read_to_string(directory.join(name)).unwrap();
            text.trim().parse::<u64>().unwrap()
        };
        assert_eq!(weight(leaf), weight(&directory) * 50);
        group.set_cpu_weight(CpuWeight::percent(100)).unwrap();
        assert_eq!(weight(leaf), weight(&directory) * 100);
        drop(group);
        drop(tree);
        assert_eq!(memberships_of_this_process(), before);
    }

    #[test]
    fn what_gets_no_group_with_a_weight_is_not_favoured_with_the_server() {
        let tree = Tree::with_server(
            &format!("rekindle-alone-{}-server", std::process::id()),
            CpuWeight::percent(10_000),
        );
        let unweighted = Limits {
            cpu_weight: None,
            ..LIMITS
        };
        let group = tree.group(
            &format!("rekindle-alone-{}", std::process::id()),
            &unweighted,
        );
        for (leaf, home) in &tree.moved {
            assert!(
                !group
                    .procs_files()
                    .iter()
                    .any(|file| file.starts_with(leaf))
            );
            assert!(group.procs_files().contains(&procs_file(home)));
        }
    }
}
