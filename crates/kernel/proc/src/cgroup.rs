//! The sandbox's control group, version 2: what runtimes size themselves by (cgroups(7)).

use crate::synthetic::{Node, line, table, text};
use crate::{Source, View, machine, sysfs};

pub(crate) fn root(view: &View) -> Node {
    let about = |make: fn(&dyn Source) -> String| {
        let view = view.clone();
        text(move || Ok(make(view.source()?.as_ref())))
    };
    let cpus = view.clone();
    table(vec![
        ("cgroup.controllers", line("cpuset cpu memory pids")),
        ("cgroup.events", line("populated 1\nfrozen 0")),
        ("cgroup.procs", about(processes)),
        (
            "cgroup.stat",
            line("nr_descendants 0\nnr_dying_descendants 0"),
        ),
        ("cgroup.subtree_control", line("")),
        ("cgroup.type", line("domain")),
        (
            "cpu.max",
            about(|s| {
                let period = 100_000;
                format!(
                    "{} {period}\n",
                    u64::from(s.kernel().config.cpus.max(1)) * period
                )
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
        (
            "memory.current",
            about(|s| format!("{}\n", machine::memory(s).1 * 1024)),
        ),
        (
            "memory.events",
            line("low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\noom_group_kill 0"),
        ),
        ("memory.high", line("max")),
        ("memory.low", line("0")),
        (
            "memory.max",
            about(|s| format!("{}\n", s.kernel().config.memory)),
        ),
        ("memory.min", line("0")),
        (
            "memory.peak",
            about(|s| format!("{}\n", machine::memory(s).1 * 1024)),
        ),
        (
            "memory.stat",
            about(|s| {
                let used = machine::memory(s).1 * 1024;
                format!(
                    "anon {used}\nfile 0\nkernel 0\nshmem 0\nfile_mapped 0\nfile_dirty 0\ninactive_anon 0\nactive_anon {used}\ninactive_file 0\nactive_file 0\nunevictable 0\nslab 0\npgfault 0\npgmajfault 0\n"
                )
            }),
        ),
        ("memory.swap.current", line("0")),
        ("memory.swap.max", line("0")),
        (
            "pids.current",
            about(|s| format!("{}\n", s.kernel().tree.lock().task_count())),
        ),
        (
            "pids.max",
            about(|s| format!("{}\n", s.kernel().config.max_tasks)),
        ),
    ])
}

fn processes(source: &dyn Source) -> String {
    let tree = source.kernel().tree.lock();
    let living = tree.processes().filter(|(_, links)| links.ended.is_none());
    living.map(|(pid, _)| format!("{pid}\n")).collect()
}
