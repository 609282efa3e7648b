//! `rekindle doctor`: what this machine offers, found out by trying.

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use clap::Args;
use host_sys::cgroup::{CpuWeight, GroupState, Tree};
use host_sys::filter::action_available;
use host_sys::rlimit::{self, Resource};
use proto_sandbox::JailLayer;
use serde::Serialize;

use crate::failure::{ExitCode, Failure};
use crate::layers;
use crate::output::{Format, Table};

/// Arguments of `rekindle doctor`.
#[derive(Args, Clone, Debug)]
pub struct DoctorArgs {
    /// How to print.
    #[arg(short = 'o', long = "output", value_enum, default_value_t)]
    pub format: Format,
}

/// How good a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// There and used.
    Good,
    /// Not there; what depends on it is slower or has one layer less.
    Less,
    /// Not there, and nothing runs without it.
    Missing,
    /// For information.
    Info,
}

/// One thing looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub name: &'static str,
    /// How good it is.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
}

/// All findings.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Whether sandboxes can run here.
    pub usable: bool,
    /// In the order in which they matter.
    pub findings: Vec<Finding>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(&["", "what", "found"]);
        for finding in &self.findings {
            let mark = match finding.verdict {
                Verdict::Good => "ok",
                Verdict::Less => "less",
                Verdict::Missing => "MISSING",
                Verdict::Info => "",
            };
            table.row([mark, finding.name, &finding.found]);
        }
        writeln!(f, "{table}\n")?;
        f.write_str(if self.usable {
            "sandboxes can run here"
        } else {
            "sandboxes cannot run here: see MISSING"
        })
    }
}

/// What a try of the KVM platform came to.
#[derive(Clone, Debug)]
pub enum Kvm {
    /// Guests run.
    Works {
        /// Time of a guest's system call that does nothing.
        cost: Duration,
        /// What `--platform auto` puts up with.
        affordable: Duration,
    },
    /// There is none, or it does not run guests: why.
    Missing(String),
}

/// Looks at everything and prints it.
///
/// # Errors
/// [`ExitCode::Unsupported`] when no sandbox can run here.
pub fn doctor(args: &DoctorArgs, kvm: &Kvm) -> Result<(), Failure> {
    let report = examine(kvm);
    args.format
        .print(&report)
        .map_err(|error| Failure::from_error(ExitCode::Failed, &error))?;
    if report.usable {
        Ok(())
    } else {
        Err(
            Failure::new(ExitCode::Unsupported, "this machine cannot run sandboxes")
                .next("use Linux 5.15 or later with seccomp user notification and ptrace"),
        )
    }
}

/// Looks at everything.
#[must_use]
pub fn examine(kvm: &Kvm) -> Report {
    let mut findings = vec![kernel(), user_notification(), ptrace_scope()];
    findings.extend(held());
    findings.extend([autogroup(), platform_kvm(kvm)]);
    findings.extend([processors(), memory(), open_files(), tasks()]);
    findings.extend(interpreters());
    Report {
        usable: findings.iter().all(|f| f.verdict != Verdict::Missing),
        findings,
    }
}

fn finding(name: &'static str, verdict: Verdict, found: impl Into<String>) -> Finding {
    Finding {
        name,
        verdict,
        found: found.into(),
    }
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|s| s.trim().to_owned())
}

/// Major and minor number of the running kernel.
fn kernel_version() -> Option<(u32, u32)> {
    let release = read("/proc/sys/kernel/osrelease")?;
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn kernel() -> Finding {
    let release = read("/proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".to_owned());
    match kernel_version() {
        Some(version) if version >= (6, 6) => finding(
            "kernel",
            Verdict::Good,
            format!("{release}, synchronous wake-up"),
        ),
        Some(version) if version >= (5, 15) => finding(
            "kernel",
            Verdict::Less,
            format!(
                "{release}; from 6.6 system calls are about ten times faster (synchronous wake-up)"
            ),
        ),
        _ => finding(
            "kernel",
            Verdict::Missing,
            format!("{release}; 5.15 or later is needed"),
        ),
    }
}

/// `SECCOMP_RET_USER_NOTIF`.
const USER_NOTIF: u32 = 0x7fc0_0000;

fn user_notification() -> Finding {
    if action_available(USER_NOTIF) {
        finding("seccomp user notification", Verdict::Good, "available")
    } else {
        finding(
            "seccomp user notification",
            Verdict::Missing,
            "not available; the process platform needs it",
        )
    }
}

fn ptrace_scope() -> Finding {
    let name = "ptrace of own children";
    match read("/proc/sys/kernel/yama/ptrace_scope").as_deref() {
        None => finding(name, Verdict::Good, "not restricted"),
        Some("3") => finding(
            name,
            Verdict::Missing,
            "switched off (kernel.yama.ptrace_scope = 3)",
        ),
        Some("2") => finding(
            name,
            Verdict::Less,
            "for administrators only (kernel.yama.ptrace_scope = 2); works where user namespaces do",
        ),
        Some(scope) => finding(
            name,
            Verdict::Good,
            format!("allowed (ptrace_scope = {scope})"),
        ),
    }
}

/// What stands between a guest and this host.
fn held() -> Vec<Finding> {
    let held = match layers::look(&control_groups()) {
        Ok(held) => held,
        Err(why) => return vec![finding("jail", Verdict::Missing, why)],
    };
    let rows = held.into_iter().map(|held| {
        let title = held.layer.title();
        match held.state {
            JailLayer::InForce(detail) if detail.is_empty() => {
                finding(title, Verdict::Good, "in force")
            }
            JailLayer::InForce(detail) => finding(title, Verdict::Good, detail),
            JailLayer::Missing(reason) => {
                let remedy = held.layer.remedy();
                finding(
                    title,
                    Verdict::Less,
                    format!("{reason}; to have it: {remedy}"),
                )
            }
        }
    });
    rows.collect()
}

/// As a server would have them, which moves into a group of its own.
fn control_groups() -> GroupState {
    let name = format!("rekindle-doctor-{}", std::process::id());
    let tree = Tree::with_server(&format!("{name}-server"), CpuWeight::percent(100));
    tree.trial(&name)
}

/// The scheduler groups processes by login session: niceness tells among those of one session alone (sched(7)).
fn autogroup() -> Finding {
    let name = "scheduling by session";
    match read("/proc/sys/kernel/sched_autogroup_enabled").as_deref() {
        Some("1") => finding(
            name,
            Verdict::Info,
            "on (kernel.sched_autogroup_enabled): without a cpu control group, programs of other sessions are not told from guests",
        ),
        _ => finding(name, Verdict::Info, "off"),
    }
}

fn platform_kvm(kvm: &Kvm) -> Finding {
    let name = "platform kvm";
    match kvm {
        Kvm::Works { cost, affordable } => {
            let auto = if cost <= affordable { "kvm" } else { "process" };
            let found = format!(
                "works; a guest's system call costs {cost:.1?}, --platform auto takes {auto} (kvm up to {affordable:?})"
            );
            finding(name, Verdict::Good, found)
        }
        Kvm::Missing(why) => {
            let found = format!("{why}; --platform auto takes process");
            finding(name, Verdict::Info, found)
        }
    }
}

fn processors() -> Finding {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    finding("processors", Verdict::Info, count.to_string())
}

fn memory() -> Finding {
    let meminfo = read("/proc/meminfo").unwrap_or_default();
    let line = |name: &str| {
        meminfo
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .map(|rest| rest.trim().trim_end_matches(" kB"))
            .and_then(|kb| kb.parse::<u64>().ok())
            .unwrap_or(0)
            / 1024
    };
    finding(
        "memory",
        Verdict::Info,
        format!(
            "{} MB, {} MB available",
            line("MemTotal:"),
            line("MemAvailable:")
        ),
    )
}

fn open_files() -> Finding {
    match rlimit::get(Resource::OpenFiles) {
        Ok((_, hard)) if hard < 4096 => finding(
            "open files",
            Verdict::Less,
            format!("at most {hard}; raise it with ulimit -n"),
        ),
        Ok((_, hard)) => finding("open files", Verdict::Good, format!("at most {hard}")),
        Err(error) => finding("open files", Verdict::Info, error.to_string()),
    }
}

fn tasks() -> Finding {
    match rlimit::get(Resource::Tasks) {
        Ok((soft, _)) if soft < 1024 => finding(
            "processes and threads",
            Verdict::Less,
            format!("at most {soft}; raise it with ulimit -u"),
        ),
        Ok((u64::MAX, _)) => finding("processes and threads", Verdict::Good, "unlimited"),
        Ok((soft, _)) => finding(
            "processes and threads",
            Verdict::Good,
            format!("at most {soft}"),
        ),
        Err(error) => finding("processes and threads", Verdict::Info, error.to_string()),
    }
}

/// Interpreters that the `host` root file system would show.
fn interpreters() -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, program) in [("runtime python", "python3"), ("runtime nodejs", "node")] {
        let found = ["/usr/local/bin", "/usr/bin"]
            .iter()
            .map(|dir| Path::new(dir).join(program))
            .find(|path| path.exists());
        findings.push(match found {
            Some(path) => finding(name, Verdict::Good, version_of(&path)),
            None => finding(
                name,
                Verdict::Less,
                format!("no {program} in /usr/bin or /usr/local/bin"),
            ),
        });
    }
    findings
}

fn version_of(path: &Path) -> String {
    let version = Command::new(path)
        .arg("--version")
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default();
    format!("{} {version}", path.display())
}
