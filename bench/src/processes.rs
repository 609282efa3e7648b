//! What a server's sandboxes are on the host: their processes and memory, as /proc tells.
//!
//! A sandbox is a child of the server with what is below it: the kernel's process, and, but for virtual machines, stubs, in
//! which guest code runs. A sandbox whose stubs have no memory to speak of has not run its guest: it waits to be restored. The
//! zygote, which sandboxes are made from, is none.

use std::collections::BTreeMap;
use std::fs;

use serde::Serialize;

const PAGE_KB: u64 = 4;

/// End of the field that names a stub: the process platform calls them so.
const STUB: &str = "(guest";

/// The process that sandboxes are made from calls itself so.
const ZYGOTE: &str = "(zygote";

/// Names of threads that run a guest's begin so.
const TASK: &str = "task-";

/// Nanoseconds of a processor that any guest has had once it ran, and none before.
const GUEST_TIME: u64 = 1_000_000;

/// Memory that any guest's stub has once it ran, and none before.
const GUEST_PAGES: u64 = 1 << 20 >> 12;

/// One sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sandbox {
    /// The process of the kernel, and what it made of the same program.
    pub(crate) kernel: Vec<u32>,
    pub(crate) stubs: Vec<u32>,
    /// Clock ticks from the host's start to its own.
    started: u64,
}

impl Sandbox {
    /// Whether a guest runs in it, or did.
    pub(crate) fn occupied(&self) -> bool {
        let pages = |pid: &u32| {
            let statm = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
            statm.split(' ').nth(1).and_then(|word| word.parse().ok())
        };
        if self.stubs.is_empty() {
            return self.kernel.iter().any(|pid| ran_a_guest(*pid));
        }
        self.stubs
            .iter()
            .filter_map(pages)
            .any(|pages: u64| pages > GUEST_PAGES)
    }
}

/// Whether a thread of the kernel's process that runs a guest thread in a virtual machine did so: one that waits for its first
/// instruction has used next to no time (`/proc/<pid>/schedstat`, Linux' sched-stats.rst).
fn ran_a_guest(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    threads.into_iter().flatten().flatten().any(|thread| {
        let read = |name: &str| fs::read_to_string(thread.path().join(name)).unwrap_or_default();
        let time = read("schedstat");
        let time = time.split(' ').next().and_then(|word| word.parse().ok());
        read("comm").starts_with(TASK) && time.is_some_and(|time: u64| time > GUEST_TIME)
    })
}

/// The sandboxes of the server with this process, the newest last.
pub(crate) fn sandboxes(server: u32) -> Vec<Sandbox> {
    let mut children: BTreeMap<u32, Vec<(u32, Stat)>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        if let Some(stat) = Stat::parse(&stat) {
            children.entry(stat.parent).or_default().push((pid, stat));
        }
    }
    let of_server = children.get(&server).cloned().unwrap_or_default();
    let mut found: Vec<Sandbox> = of_server
        .into_iter()
        .filter(|(_, stat)| !stat.is_zygote)
        .map(|(first, stat)| {
            let mut sandbox = Sandbox {
                kernel: vec![first],
                stubs: Vec::new(),
                started: stat.started,
            };
            let mut parents = vec![first];
            while let Some(parent) = parents.pop() {
                for (pid, stat) in children.get(&parent).into_iter().flatten() {
                    if stat.is_stub {
                        sandbox.stubs.push(*pid);
                    } else {
                        sandbox.kernel.push(*pid);
                    }
                    parents.push(*pid);
                }
            }
            sandbox
        })
        .collect();
    found.sort_by_key(|sandbox| (sandbox.started, sandbox.kernel.clone()));
    found
}

/// What a process is, by proc_pid_stat(5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    is_stub: bool,
    is_zygote: bool,
    /// Clock ticks from the host's start to its own.
    started: u64,
}

impl Stat {
    /// Fields 2, 4 and 22; the name, which comes in brackets, may hold anything.
    fn parse(stat: &str) -> Option<Stat> {
        let (name, rest) = stat.rsplit_once(')')?;
        let mut fields = rest.split_whitespace();
        Some(Stat {
            parent: fields.nth(1)?.parse().ok()?,
            is_stub: name.ends_with(STUB),
            is_zygote: name.ends_with(ZYGOTE),
            started: fields.nth(17)?.parse().ok()?,
        })
    }
}

/// Memory of some processes together, in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Memory {
    /// Each page shared among as many as have it.
    pub(crate) pss_kb: u64,
    /// Pages that nobody else has, written to.
    pub(crate) private_dirty_kb: u64,
    pub(crate) rss_kb: u64,
}

impl Memory {
    pub(crate) fn of(processes: &[u32]) -> Memory {
        let mut sum = Memory::default();
        for pid in processes {
            // One that has just ended has none.
            let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
            sum.add(&Memory::parse(&text));
        }
        sum
    }

    fn parse(rollup: &str) -> Memory {
        let field = |name: &str| {
            let line = rollup.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        Memory {
            pss_kb: field("Pss:").unwrap_or(0),
            private_dirty_kb: field("Private_Dirty:").unwrap_or(0),
            rss_kb: field("Rss:").unwrap_or(0),
        }
    }

    pub(crate) fn add(&mut self, other: &Memory) {
        self.pss_kb += other.pss_kb;
        self.private_dirty_kb += other.private_dirty_kb;
        self.rss_kb += other.rss_kb;
    }

    pub(crate) fn clean_pages(&self) -> u64 {
        self.rss_kb.saturating_sub(self.private_dirty_kb) / PAGE_KB
    }

    pub(crate) fn dirty_pages(&self) -> u64 {
        self.private_dirty_kb / PAGE_KB
    }
}

/// Mappings of some processes together.
pub(crate) fn mappings(processes: &[u32]) -> u64 {
    let count = |pid: &u32| {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        maps.lines().count() as u64
    };
    processes.iter().map(count).sum()
}

/// Memory of the host that is still to be had, in KiB.
pub(crate) fn available_kb() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_brackets_hides_no_field() {
        let rest = "S 7 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4321 9 9";
        let stat = |name: &str| Stat::parse(&format!("12 ({name}) {rest}")).unwrap();
        assert_eq!((stat("a) b (c").parent, stat("a) b (c").started), (7, 4321));
        assert!(stat("guest").is_stub && !stat("guests").is_stub);
        assert_eq!(Stat::parse("12 (a"), None);
    }

    #[test]
    fn a_rollup_is_read_by_its_names() {
        let text = "00400000-7fff ---p 00000000 00:00 0 [rollup]\nRss:    900 kB\nPss:     500 kB\nPss_Dirty:  1 kB\nPrivate_Dirty:   300 kB\n";
        let memory = Memory::parse(text);
        assert_eq!(
            (memory.pss_kb, memory.private_dirty_kb, memory.rss_kb),
            (500, 300, 900)
        );
        assert_eq!((memory.clean_pages(), memory.dirty_pages()), (150, 75));
        assert_eq!(Memory::parse(""), Memory::default());
    }

    #[test]
    fn children_of_a_process_are_found_with_theirs() {
        let mut child = std::process::Command::new("/bin/cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let found = sandboxes(std::process::id());
        assert!(
            found
                .iter()
                .any(|sandbox| sandbox.kernel == [child.id()] && sandbox.stubs.is_empty())
        );
        assert!(
            Memory::of(&[child.id()]).rss_kb > 0
                && mappings(&[child.id()]) > 0
                && available_kb() > 0
        );
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
