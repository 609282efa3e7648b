//! `/proc/sys` (proc_sys(5)).

use kernel_files::inotify::MAX_QUEUED;
use kernel_files::pipe::MAX_CAPACITY;

use crate::synthetic::{Node, line, text, uncounted as table};
use crate::{View, machine, uuid};

/// A setting that is read; writing it is accepted without effect for root, as in a container that may not.
fn fixed(text: impl Into<String>) -> Node {
    line(text)
}

pub(crate) fn root(view: &View, boot_id: String) -> Node {
    table(vec![
        ("fs", files()),
        ("kernel", kernel(view, boot_id)),
        ("net", net()),
        ("user", table(vec![("max_user_namespaces", fixed("0"))])),
        ("vm", memory()),
    ])
}

fn kernel(view: &View, boot_id: String) -> Node {
    let (host, release, version, threads) =
        (view.clone(), view.clone(), view.clone(), view.clone());
    table(vec![
        ("cap_last_cap", fixed("40")),
        ("core_pattern", fixed("core")),
        ("core_uses_pid", fixed("0")),
        ("domainname", fixed("(none)")),
        (
            "hostname",
            text(move || Ok(format!("{}\n", host.source()?.kernel().config.hostname))),
        ),
        ("msgmax", fixed("8192")),
        ("msgmnb", fixed("16384")),
        ("msgmni", fixed("32000")),
        ("ngroups_max", fixed("65536")),
        (
            "osrelease",
            text(move || Ok(format!("{}\n", release.source()?.release()))),
        ),
        ("ostype", fixed("Linux")),
        ("overflowgid", fixed("65534")),
        ("overflowuid", fixed("65534")),
        ("panic", fixed("0")),
        ("perf_event_paranoid", fixed("4")),
        ("pid_max", fixed(machine::PIDS.to_string())),
        (
            "pty",
            table(vec![("max", fixed("256")), ("nr", fixed("0"))]),
        ),
        ("random", random(view, boot_id)),
        ("randomize_va_space", fixed("2")),
        ("sem", fixed("32000\t1024000000\t500\t32000")),
        ("shmall", fixed("18446744073692774399")),
        ("shmmax", fixed("18446744073692774399")),
        ("shmmni", fixed("4096")),
        ("tainted", fixed("0")),
        (
            "threads-max",
            text(move || Ok(format!("{}\n", threads.source()?.kernel().config.max_tasks))),
        ),
        ("unprivileged_bpf_disabled", fixed("2")),
        (
            "version",
            text(move || Ok(format!("{}\n", version.source()?.version()))),
        ),
        ("yama", table(vec![("ptrace_scope", fixed("1"))])),
    ])
}

fn random(view: &View, boot_id: String) -> Node {
    let fresh = view.clone();
    table(vec![
        ("boot_id", fixed(boot_id)),
        ("entropy_avail", fixed("256")),
        ("poolsize", fixed("256")),
        (
            "uuid",
            text(move || Ok(format!("{}\n", uuid(fresh.source()?.kernel())))),
        ),
    ])
}

fn memory() -> Node {
    table(vec![
        ("drop_caches", fixed("0")),
        ("max_map_count", fixed("65530")),
        ("mmap_min_addr", fixed("65536")),
        ("nr_hugepages", fixed("0")),
        ("overcommit_memory", fixed("0")),
        ("overcommit_ratio", fixed("50")),
        ("panic_on_oom", fixed("0")),
        ("swappiness", fixed("60")),
    ])
}

fn files() -> Node {
    table(vec![
        ("aio-max-nr", fixed("65536")),
        ("aio-nr", fixed("0")),
        ("epoll", table(vec![("max_user_watches", fixed("262144"))])),
        ("file-max", fixed("65536")),
        ("file-nr", fixed("1024\t0\t65536")),
        (
            "inotify",
            table(vec![
                ("max_queued_events", fixed(MAX_QUEUED.to_string())),
                ("max_user_instances", fixed("128")),
                ("max_user_watches", fixed("8192")),
            ]),
        ),
        ("nr_open", fixed("1048576")),
        ("pipe-max-size", fixed(MAX_CAPACITY.to_string())),
        ("pipe-user-pages-hard", fixed("0")),
        ("pipe-user-pages-soft", fixed("16384")),
        // What is not enforced is not told.
        ("protected_fifos", fixed("0")),
        ("protected_hardlinks", fixed("1")),
        ("protected_regular", fixed("0")),
        ("protected_symlinks", fixed("0")),
        ("suid_dumpable", fixed("0")),
    ])
}

fn net() -> Node {
    let conf = || {
        let one = || table(vec![("disable_ipv6", fixed("0"))]);
        table(vec![("all", one()), ("default", one()), ("lo", one())])
    };
    table(vec![
        (
            "core",
            table(vec![
                ("netdev_max_backlog", fixed("1000")),
                ("optmem_max", fixed("131072")),
                ("rmem_default", fixed("212992")),
                ("rmem_max", fixed("212992")),
                ("somaxconn", fixed("4096")),
                ("wmem_default", fixed("212992")),
                ("wmem_max", fixed("212992")),
            ]),
        ),
        (
            "ipv4",
            table(vec![
                ("ip_forward", fixed("0")),
                ("ip_local_port_range", fixed("32768\t60999")),
                ("ip_local_reserved_ports", fixed("")),
                ("ip_unprivileged_port_start", fixed("1024")),
                ("tcp_available_congestion_control", fixed("reno cubic")),
                ("tcp_congestion_control", fixed("cubic")),
                ("tcp_fin_timeout", fixed("60")),
                ("tcp_keepalive_intvl", fixed("75")),
                ("tcp_keepalive_probes", fixed("9")),
                ("tcp_keepalive_time", fixed("7200")),
                ("tcp_max_syn_backlog", fixed("1024")),
                ("tcp_rmem", fixed("4096\t131072\t6291456")),
                ("tcp_sack", fixed("1")),
                ("tcp_syn_retries", fixed("6")),
                ("tcp_timestamps", fixed("1")),
                ("tcp_tw_reuse", fixed("2")),
                ("tcp_wmem", fixed("4096\t16384\t4194304")),
            ]),
        ),
        ("ipv6", table(vec![("conf", conf())])),
        ("unix", table(vec![("max_dgram_qlen", fixed("512"))])),
    ])
}
