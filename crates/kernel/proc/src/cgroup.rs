//! The sandbox's control group, version 2: what runtimes size themselves by (cgroups(7)).

use crate::synthetic::{Node, line, table, text};
use crate::{Source, View, sysfs};

pub(crate) fn root(view: &View) -> Node {
    let mut entries = about_group(view);
    entries.extend(about_processors(view));
    entries.extend(about_memory(view));
    table(entries)
}

type Entries = Vec<(&'static str, Node)>;

/// A file that is made anew whenever it is opened.
fn made(view: &View, make: fn(&dyn Source) -> String) -> Node {
    let view = view.clone();
    text(move || Ok(make(view.source()?.as_ref())))
}

fn about_group(view: &View) -> Entries {
    vec![
        ("cgroup.controllers", line("cpuset cpu memory pids")),
        ("cgroup.events", line("populated 1\nfrozen 0")),
        ("cgroup.procs", made(view, processes)),
        (
            "cgroup.stat",
            line("nr_descendants 0\nnr_dying_descendants 0"),
        ),
        ("cgroup.subtree_control", line("")),
        ("cgroup.type", line("domain")),
        (
            "pids.current",
            made(view, |s| {
                format!("{}\n", s.kernel().tree.lock().task_count())
            }),
        ),
        (
            "pids.max",
            made(view, |s| format!("{}\n", s.kernel().config.max_tasks)),
        ),
    ]
}

fn about_processors(view: &View) -> Entries {
    let cpus = view.clone();
    vec![
        (
            "cpu.max",
            made(view, |s| {
                let period = 100_000;
                let processors = u64::from(s.kernel().config.cpus.max(1));
                format!("{} {period}\n", processors * period)
            }),
        ),
        (
            "cpu.stat",
            line(
                "usage_usec 0\nuser_usec 0\nsystem_usec 0\nnr_periods 0\nnr_throttled 0\nthrottled_usec 0",
            ),
        ),
        ("cpu.weight", line("100")),
        (
            "cpuset.cpus.effective",
            text(move || sysfs::cpu_list(&cpus)),
        ),
        ("cpuset.mems.effective", line("0")),
    ]
}

/// Bytes, no more than the limit: what is beyond it is about to be killed.
fn bounded(source: &dyn Source, bytes: u64) -> u64 {
    bytes.min(source.kernel().config.memory)
}

fn current(source: &dyn Source) -> String {
    format!("{}\n", bounded(source, source.memory_used().all))
}

fn peak(source: &dyn Source) -> String {
    format!("{}\n", bounded(source, source.memory_used().highest))
}

fn about_memory(view: &View) -> Entries {
    vec![
        ("memory.current", made(view, current)),
        (
            "memory.events",
            line("low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\noom_group_kill 0"),
        ),
        ("memory.high", line("max")),
        ("memory.low", line("0")),
        (
            "memory.max",
            made(view, |s| format!("{}\n", s.kernel().config.memory)),
        ),
        ("memory.min", line("0")),
        ("memory.peak", made(view, peak)),
        ("memory.stat", made(view, memory_stat)),
        ("memory.swap.current", line("0")),
        ("memory.swap.max", line("0")),
    ]
}

fn memory_stat(source: &dyn Source) -> String {
    let used = source.memory_used();
    let private = used.private;
    let shared = used.all.saturating_sub(private);
    // Shared memory counts as a file's pages, and lies in the lists of anonymous ones (cgroup-v2, "memory.stat").
    format!(
        "anon {private}\nfile {shared}\nkernel 0\nshmem {shared}\nfile_mapped {shared}\nfile_dirty 0\ninactive_anon 0\nactive_anon {}\ninactive_file 0\nactive_file 0\nunevictable 0\nslab 0\npgfault 0\npgmajfault 0\n",
        used.all
    )
}

fn processes(source: &dyn Source) -> String {
    let tree = source.kernel().tree.lock();
    let living = tree.processes().filter(|(_, links)| links.ended.is_none());
    living.map(|(pid, _)| format!("{pid}\n")).collect()
}
