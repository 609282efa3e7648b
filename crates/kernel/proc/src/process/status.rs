//! `/proc/<pid>/stat`, `statm`, `status` (proc_pid_stat(5), proc_pid_status(5)).

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use kernel_core::signal::{Disposition, Signal};
use kernel_core::task::{Resource, StopState, Task};
use kernel_mm::MmStats;
use kernel_vfs::Result;

use super::Subject;
use crate::machine::TICK;

/// A process's place among others, copied out of the tree.
struct Place {
    parent: i32,
    group: i32,
    session: i32,
    threads: Vec<Arc<Task>>,
    ended: bool,
    stopped: bool,
}

fn place(subject: &Subject) -> Result<Place> {
    let source = subject.source()?;
    let tree = source.kernel().tree.lock();
    let pid = subject.process.pid();
    let links = tree.links(pid);
    Ok(Place {
        parent: links.map_or(0, |l| l.parent),
        group: links.map_or(0, |l| l.group),
        session: links.map_or(0, |l| l.session),
        threads: tree.threads_of(pid),
        ended: links.is_none_or(|l| l.ended.is_some()),
        stopped: links.is_some_and(|l| matches!(l.stop, StopState::Stopped { .. })),
    })
}

fn state(subject: &Subject, place: &Place) -> (char, &'static str) {
    if place.ended || subject.task.is_none() {
        ('Z', "zombie")
    } else if place.stopped {
        ('T', "stopped")
    } else if subject
        .task
        .as_ref()
        .is_some_and(|t| t.blocked_call.lock().is_some())
    {
        ('S', "sleeping")
    } else {
        ('R', "running")
    }
}

fn name(subject: &Subject) -> String {
    let name = subject.task.as_ref().map(|t| t.name()).unwrap_or_default();
    String::from_utf8_lossy(&name).into_owned()
}

fn memory(subject: &Subject) -> Option<MmStats> {
    subject.task.as_ref().map(|t| t.mm().stats())
}

/// The field `tty_nr`: the low 32 bits of a device number hold both its parts.
fn tty_number(device: Option<u64>) -> u64 {
    device.map_or(0, |d| d & 0xffff_ffff)
}

/// Signals as sets: ignored and caught.
fn dispositions(subject: &Subject) -> (u64, u64) {
    subject.process.with_actions(|actions| {
        let mut sets = (0, 0);
        for signal in (1..=64).filter_map(Signal::new) {
            match actions.disposition(signal) {
                Disposition::Ignore => sets.0 |= signal.bit(),
                Disposition::Default(_) => {}
                _ => sets.1 |= signal.bit(),
            }
        }
        sets
    })
}

/// User and system ticks of the process, threads that ended included.
fn ticks(subject: &Subject, place: &Place) -> (u64, u64) {
    let ended = *subject.process.ended_times.lock();
    let user: u64 = place
        .threads
        .iter()
        .map(|t| t.user_time.load(Relaxed))
        .sum();
    let system: u64 = place
        .threads
        .iter()
        .map(|t| t.system_time.load(Relaxed))
        .sum();
    ((user + ended.user) / TICK, (system + ended.system) / TICK)
}

pub(super) fn stat(subject: &Subject) -> Result<String> {
    let place = place(subject)?;
    let memory = memory(subject).unwrap_or_default();
    let exec = subject.task.as_ref().map(|t| t.mm().exec_layout());
    let (user, system) = ticks(subject, &place);
    let children = *subject.process.children_times.lock();
    let (ignored, caught) = dispositions(subject);
    let fields = subject
        .task
        .as_ref()
        .map(|t| (t.fields.lock().nice, t.signals.lock().mask.0));
    let (nice, blocked) = fields.unwrap_or_default();
    let pending = subject.process.signals.lock().pending.set().0;
    let source = subject.source()?;
    let terminal = tty_number(source.terminal_of(place.session));
    let limit = subject.process.limit(Resource::Rss);
    let mut text = format!(
        "{} ({}) {} {} {} {} {terminal} -1 4194304 0 0 0 0 {user} {system} {} {} {} {nice} {} 0 {} {} {} {limit}",
        subject.tid,
        name(subject),
        state(subject, &place).0,
        place.parent,
        place.group,
        place.session,
        children.user / TICK,
        children.system / TICK,
        20 + nice,
        place.threads.len(),
        subject.process.started / TICK,
        memory.totals.mapped,
        memory.resident.all() / 4096,
    );
    let exec = exec.unwrap_or_default();
    let numbers = |text: &mut String, values: &[u64]| {
        for value in values {
            let _ = write!(text, " {value}");
        }
    };
    let code = [exec.start_code, exec.end_code, exec.start_stack];
    numbers(&mut text, &code);
    // Signal sets have 31 bits here; then wchan, nswap, cnswap, exit signal, processor, real-time, policy, delays.
    let low = |set: u64| set & 0x7fff_ffff;
    let _ = write!(
        text,
        " 0 0 {} {} {} {} 0 0 0 17 0 0 0 0 0 0",
        low(pending),
        low(blocked),
        low(ignored),
        low(caught)
    );
    let data = [exec.start_data, exec.end_data, exec.start_brk];
    numbers(&mut text, &data);
    let strings = [exec.arg_start, exec.arg_end, exec.env_start, exec.env_end];
    numbers(&mut text, &strings);
    text.push_str(" 0\n");
    Ok(text)
}

pub(super) fn statm(subject: &Subject) -> Result<String> {
    let memory = memory(subject).unwrap_or_default();
    let pages = |bytes: u64| bytes / 4096;
    Ok(format!(
        "{} {} {} {} 0 {} 0\n",
        pages(memory.totals.mapped),
        pages(memory.resident.all()),
        pages(memory.resident.shared),
        pages(memory.exe),
        pages(memory.totals.data + memory.totals.stack)
    ))
}

pub(super) fn status(subject: &Subject) -> Result<String> {
    let place = place(subject)?;
    let creds = subject.process.creds();
    let (letter, word) = state(subject, &place);
    let pid = subject.process.pid();
    let umask = subject
        .task
        .as_ref()
        .map_or(0o022, |t| t.fs().read().umask());
    let fd_room = subject.task.as_ref().map_or(0, |t| t.files().capacity());
    let groups: String = creds.groups.iter().map(|g| format!("{g} ")).collect();
    let mut text = format!(
        "Name:\t{}\nUmask:\t{umask:04o}\nState:\t{letter} ({word})\nTgid:\t{pid}\nNgid:\t0\nPid:\t{}\nPPid:\t{}\nTracerPid:\t0\n",
        name(subject),
        subject.tid,
        place.parent
    );
    let _ = write!(
        text,
        "Uid:\t{}\t{}\t{}\t{}\nGid:\t{}\t{}\t{}\t{}\nFDSize:\t{fd_room}\nGroups:\t{groups}\nNStgid:\t{pid}\nNSpid:\t{}\nNSpgid:\t{}\nNSsid:\t{}\nKthread:\t0\n",
        creds.uid,
        creds.euid,
        creds.suid,
        creds.fsuid,
        creds.gid,
        creds.egid,
        creds.sgid,
        creds.fsgid,
        subject.tid,
        place.group,
        place.session
    );
    if let Some(memory) = memory(subject) {
        push_memory(&mut text, &memory);
    }
    push_signals(&mut text, subject, &place);
    let _ = write!(
        text,
        "CapInh:\t{:016x}\nCapPrm:\t{:016x}\nCapEff:\t{:016x}\nCapBnd:\t{:016x}\nCapAmb:\t{:016x}\nNoNewPrivs:\t{}\nSeccomp:\t0\nSeccomp_filters:\t0\nSpeculation_Store_Bypass:\tthread vulnerable\n",
        creds.inheritable,
        creds.permitted,
        creds.effective,
        creds.bounding,
        creds.ambient,
        u8::from(creds.no_new_privs)
    );
    let cpus = subject.source()?.kernel().config.cpus.clamp(1, 64);
    let mask = u64::MAX >> (64 - cpus);
    let list = if cpus == 1 {
        String::from("0")
    } else {
        format!("0-{}", cpus - 1)
    };
    let _ = write!(
        text,
        "Cpus_allowed:\t{mask:x}\nCpus_allowed_list:\t{list}\nMems_allowed:\t1\nMems_allowed_list:\t0\nvoluntary_ctxt_switches:\t0\nnonvoluntary_ctxt_switches:\t0\n"
    );
    Ok(text)
}

fn push_memory(text: &mut String, memory: &MmStats) {
    let totals = memory.totals;
    let library = totals.exec.saturating_sub(memory.exe);
    let lines = [
        ("VmPeak", totals.mapped),
        ("VmSize", totals.mapped),
        ("VmLck", totals.locked),
        ("VmPin", 0),
        ("VmHWM", memory.highest),
        ("VmRSS", memory.resident.all()),
        ("RssAnon", memory.resident.private),
        ("RssFile", 0),
        ("RssShmem", memory.resident.shared),
        ("VmData", totals.data),
        ("VmStk", totals.stack),
        ("VmExe", memory.exe),
        ("VmLib", library),
        ("VmPTE", 0),
        ("VmSwap", 0),
        ("HugetlbPages", 0),
    ];
    for (name, bytes) in lines {
        let _ = writeln!(text, "{name}:\t{:>8} kB", bytes / 1024);
    }
    text.push_str("CoreDumping:\t0\nTHP_enabled:\t1\n");
}

fn push_signals(text: &mut String, subject: &Subject, place: &Place) {
    let (ignored, caught) = dispositions(subject);
    let own = subject.task.as_ref().map(|t| {
        let signals = t.signals.lock();
        (signals.pending.set().0, signals.mask.0)
    });
    let (pending, blocked) = own.unwrap_or_default();
    let (queued, shared) = {
        let signals = subject.process.signals.lock();
        (signals.pending.len(), signals.pending.set().0)
    };
    let limit = subject.process.limit(Resource::Sigpending);
    let _ = write!(
        text,
        "Threads:\t{}\nSigQ:\t{queued}/{limit}\nSigPnd:\t{pending:016x}\nShdPnd:\t{shared:016x}\nSigBlk:\t{blocked:016x}\nSigIgn:\t{ignored:016x}\nSigCgt:\t{caught:016x}\n",
        place.threads.len()
    );
}

/// The call a thread sleeps in, with its arguments.
pub(super) fn syscall(subject: &Subject) -> Result<String> {
    subject.check_access()?;
    let Some(call) = *subject.task()?.blocked_call.lock() else {
        return Ok(String::from("running\n"));
    };
    let mut text = call.nr.to_string();
    for arg in call.args {
        let _ = write!(text, " {arg:#x}");
    }
    text.push_str(" 0x0 0x0\n");
    Ok(text)
}
