//! Files at the top of `/proc` that tell about the machine.

use std::fmt::Write;

use kernel_core::task::{PID_MAX, Resource};
use kernel_vfs::Result;

use crate::synthetic::{Node, line, link, text};
use crate::{Source, View};

/// Nanoseconds in a hundredth of a second, the unit of `USER_HZ`.
pub(crate) const TICK: u64 = 10_000_000;
const SECOND: u64 = 1_000_000_000;

/// Memory of the sandbox in KiB: all there is, and what guests hold.
pub(crate) fn memory(source: &dyn Source) -> (u64, u64) {
    let total = source.kernel().config.memory / 1024;
    (total, (source.memory_used().all / 1024).min(total))
}

pub(crate) fn entries(view: &View) -> Vec<(&'static str, Node)> {
    let about = |make: fn(&dyn Source) -> String| {
        let view = view.clone();
        text(move || Ok(make(view.source()?.as_ref())))
    };
    vec![
        (
            "cgroups",
            text(|| {
                Ok(String::from(
                    "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpuset\t0\t1\t1\ncpu\t0\t1\t1\nmemory\t0\t1\t1\npids\t0\t1\t1\n",
                ))
            }),
        ),
        ("cmdline", line("quiet")),
        ("consoles", text(|| Ok(String::new()))),
        ("cpuinfo", about(cpuinfo)),
        (
            "devices",
            line(
                "Character devices:\n  1 mem\n  5 /dev/tty\n  5 /dev/console\n  5 /dev/ptmx\n136 pts\n\nBlock devices:",
            ),
        ),
        ("diskstats", text(|| Ok(String::new()))),
        (
            "filesystems",
            text(|| {
                Ok(["sysfs", "tmpfs", "proc", "cgroup2", "devpts", "overlay"]
                    .iter()
                    .fold(String::new(), |all, name| all + "nodev\t" + name + "\n"))
            }),
        ),
        ("interrupts", line("           CPU0")),
        ("loadavg", about(loadavg)),
        ("locks", text(|| Ok(String::new()))),
        ("meminfo", about(meminfo)),
        ("misc", text(|| Ok(String::new()))),
        ("modules", text(|| Ok(String::new()))),
        ("mounts", link("self/mounts")),
        ("net", link("self/net")),
        ("partitions", line("major minor  #blocks  name\n")),
        ("stat", about(stat)),
        (
            "swaps",
            line("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority"),
        ),
        ("uptime", about(uptime)),
        ("version", about(version)),
        ("vmstat", about(vmstat)),
    ]
}

fn version(source: &dyn Source) -> String {
    let (release, version) = (source.release(), source.version());
    format!("Linux version {release} (rekindle@rekindle) (rustc) {version}\n")
}

fn uptime(source: &dyn Source) -> String {
    let up = source.monotonic();
    let shown = format!("{}.{:02}", up / SECOND, up % SECOND / TICK);
    format!("{shown} {shown}\n")
}

/// Threads that run now, and all.
fn tasks(source: &dyn Source) -> (usize, usize) {
    let tree = source.kernel().tree.lock();
    let running = tree.tasks().filter(|t| t.blocked_call.lock().is_none());
    (running.count().max(1), tree.task_count())
}

fn loadavg(source: &dyn Source) -> String {
    let (running, all) = tasks(source);
    let last = source
        .kernel()
        .tree
        .lock()
        .processes()
        .map(|(pid, _)| pid)
        .last();
    format!("0.00 0.00 0.00 {running}/{all} {}\n", last.unwrap_or(1))
}

fn meminfo(source: &dyn Source) -> String {
    let (total, used) = memory(source);
    let free = total - used;
    let lines = [
        ("MemTotal", total),
        ("MemFree", free),
        ("MemAvailable", free),
        ("Buffers", 0),
        ("Cached", 0),
        ("SwapCached", 0),
        ("Active", used),
        ("Inactive", 0),
        ("Active(anon)", used),
        ("Inactive(anon)", 0),
        ("Active(file)", 0),
        ("Inactive(file)", 0),
        ("Unevictable", 0),
        ("Mlocked", 0),
        ("SwapTotal", 0),
        ("SwapFree", 0),
        ("Dirty", 0),
        ("Writeback", 0),
        ("AnonPages", used),
        ("Mapped", 0),
        ("Shmem", 0),
        ("KReclaimable", 0),
        ("Slab", 0),
        ("SReclaimable", 0),
        ("SUnreclaim", 0),
        ("KernelStack", 0),
        ("PageTables", 0),
        ("CommitLimit", total),
        ("Committed_AS", used),
        ("VmallocTotal", 34_359_738_367),
        ("VmallocUsed", 0),
        ("VmallocChunk", 0),
    ];
    let mut text = String::new();
    for (name, kib) in lines {
        let _ = writeln!(text, "{:<16}{kib:>8} kB", format!("{name}:"));
    }
    text.push_str("HugePages_Total:       0\nHugePages_Free:        0\nHugePages_Rsvd:        0\n");
    text.push_str(
        "HugePages_Surp:        0\nHugepagesize:       2048 kB\nHugetlb:               0 kB\n",
    );
    text
}

/// User and system time of all living and ended threads, in ticks.
fn times(source: &dyn Source) -> (u64, u64) {
    use std::sync::atomic::Ordering::Relaxed;
    let tree = source.kernel().tree.lock();
    let mut sum = (0, 0);
    for task in tree.tasks() {
        sum.0 += task.user_time.load(Relaxed);
        sum.1 += task.system_time.load(Relaxed);
    }
    for (_, links) in tree.processes() {
        let ended = *links.process.ended_times.lock();
        sum.0 += ended.user;
        sum.1 += ended.system;
    }
    (sum.0 / TICK, sum.1 / TICK)
}

fn stat(source: &dyn Source) -> String {
    let cpus = u64::from(source.kernel().config.cpus.max(1));
    let (user, system) = times(source);
    let up = source.monotonic() / TICK;
    let idle = (up * cpus).saturating_sub(user + system);
    let mut text = format!("cpu  {user} 0 {system} {idle} 0 0 0 0 0 0\n");
    for cpu in 0..cpus {
        let (user, system, idle) = (user / cpus, system / cpus, idle / cpus);
        let _ = writeln!(text, "cpu{cpu} {user} 0 {system} {idle} 0 0 0 0 0 0");
    }
    let boot = source.realtime().saturating_sub(source.monotonic()) / SECOND;
    let (running, all) = tasks(source);
    let _ = write!(
        text,
        "intr 0\nctxt 0\nbtime {boot}\nprocesses {all}\nprocs_running {running}\nprocs_blocked 0\nsoftirq 0 0 0 0 0 0 0 0 0 0 0\n"
    );
    text
}

fn vmstat(source: &dyn Source) -> String {
    let (total, used) = memory(source);
    format!(
        "nr_free_pages {}\nnr_anon_pages {}\npgpgin 0\npgpgout 0\npswpin 0\npswpout 0\npgfault 0\npgmajfault 0\noom_kill 0\n",
        (total - used) / 4,
        used / 4
    )
}

/// Features by their names in `/proc/cpuinfo`, as the processor has them.
fn cpu_flags() -> String {
    macro_rules! flags {
        ($($name:literal => $feature:tt),* $(,)?) => {
            [$(($name, std::arch::is_x86_feature_detected!($feature))),*]
        };
    }
    let flags = flags! {
        "ssse3" => "ssse3", "fma" => "fma", "cx16" => "cmpxchg16b", "sse4_1" => "sse4.1",
        "sse4_2" => "sse4.2", "movbe" => "movbe", "popcnt" => "popcnt", "aes" => "aes",
        "xsave" => "xsave", "avx" => "avx", "f16c" => "f16c", "rdrand" => "rdrand",
        "abm" => "lzcnt", "bmi1" => "bmi1", "avx2" => "avx2", "bmi2" => "bmi2", "adx" => "adx",
        "rdseed" => "rdseed", "sha_ni" => "sha", "avx512f" => "avx512f", "avx512dq" => "avx512dq",
        "avx512bw" => "avx512bw", "avx512vl" => "avx512vl", "avx512cd" => "avx512cd",
        "pclmulqdq" => "pclmulqdq", "vpclmulqdq" => "vpclmulqdq", "vaes" => "vaes", "gfni" => "gfni",
    };
    let always = "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 ht syscall nx pdpe1gb rdtscp lm constant_tsc rep_good nopl cpuid pni lahf_lm";
    let found = flags.iter().filter(|(_, on)| *on).map(|(name, _)| *name);
    found.fold(String::from(always), |all, name| all + " " + name)
}

fn cpuinfo(source: &dyn Source) -> String {
    let flags = cpu_flags();
    let cpus = source.kernel().config.cpus.max(1);
    let mut text = String::new();
    for cpu in 0..cpus {
        let _ = write!(
            text,
            "processor\t: {cpu}\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 143\nmodel name\t: Virtual CPU\nstepping\t: 0\ncpu MHz\t\t: 2000.000\ncache size\t: 32768 KB\nphysical id\t: 0\nsiblings\t: {cpus}\ncore id\t\t: {cpu}\ncpu cores\t: {cpus}\napicid\t\t: {cpu}\ninitial apicid\t: {cpu}\nfpu\t\t: yes\nfpu_exception\t: yes\ncpuid level\t: 31\nwp\t\t: yes\nflags\t\t: {flags}\nbugs\t\t:\nbogomips\t: 4000.00\nclflush size\t: 64\ncache_alignment\t: 64\naddress sizes\t: 46 bits physical, 48 bits virtual\npower management:\n\n"
        );
    }
    text
}

/// `/proc/<pid>/limits`.
pub(crate) fn limits(get: impl Fn(Resource) -> (u64, u64)) -> Result<String> {
    let rows = [
        ("Max cpu time", Resource::Cpu, "seconds"),
        ("Max file size", Resource::Fsize, "bytes"),
        ("Max data size", Resource::Data, "bytes"),
        ("Max stack size", Resource::Stack, "bytes"),
        ("Max core file size", Resource::Core, "bytes"),
        ("Max resident set", Resource::Rss, "bytes"),
        ("Max processes", Resource::Nproc, "processes"),
        ("Max open files", Resource::Nofile, "files"),
        ("Max locked memory", Resource::Memlock, "bytes"),
        ("Max address space", Resource::As, "bytes"),
        ("Max file locks", Resource::Locks, "locks"),
        ("Max pending signals", Resource::Sigpending, "signals"),
        ("Max msgqueue size", Resource::Msgqueue, "bytes"),
        ("Max nice priority", Resource::Nice, ""),
        ("Max realtime priority", Resource::Rtprio, ""),
        ("Max realtime timeout", Resource::Rttime, "us"),
    ];
    let shown = |value: u64| match value {
        u64::MAX => String::from("unlimited"),
        value => value.to_string(),
    };
    let mut text = format!(
        "{:<25} {:<20} {:<20} {:<10}\n",
        "Limit", "Soft Limit", "Hard Limit", "Units"
    );
    for (name, resource, unit) in rows {
        let (soft, hard) = get(resource);
        let _ = writeln!(
            text,
            "{name:<25} {:<20} {:<20} {unit:<10}",
            shown(soft),
            shown(hard)
        );
    }
    Ok(text)
}

/// The largest process number plus one, as `pid_max` says.
pub(crate) const PIDS: i32 = PID_MAX;
