//! The names in a process's directory.

use std::sync::atomic::Ordering;

use kernel_vfs::{Errno, Path, Result};

use super::{Kind, Subject, Threads, descriptors, memory, status};
use crate::machine;
use crate::net;
use crate::synthetic::{Node, bytes, line, link, table, text, writable};

type Make = fn(&Subject) -> Result<String>;

/// A text about the subject.
fn about(subject: &Subject, make: Make) -> Node {
    let subject = subject.clone();
    text(move || make(&subject))
}

fn bytes_about(subject: &Subject, make: fn(&Subject) -> Result<Vec<u8>>) -> Node {
    let subject = subject.clone();
    bytes(move || make(&subject))
}

/// A link to a place of the subject's, by what the place is.
fn magic(subject: &Subject, place: fn(&Subject) -> Result<Path>) -> Node {
    let (shown, followed) = (subject.clone(), subject.clone());
    let read = move || {
        shown.check_access()?;
        let root = shown
            .source()?
            .caller()
            .map(|c| c.fs().read().root().clone());
        let place = place(&shown)?;
        let root = root.map_or_else(|| shown.task().map(|t| t.fs().read().root().clone()), Ok)?;
        Ok(place.text(&root))
    };
    let follow = move || {
        followed.check_access()?;
        place(&followed)
    };
    Node::magic(read, follow)
}

pub(super) fn entries(subject: &Subject, kind: Kind) -> Vec<(&'static str, Node)> {
    let mut all = vec![
        ("auxv", bytes_about(subject, memory::auxv).with_mode(0o400)),
        ("cgroup", line("0::/")),
        ("cmdline", bytes_about(subject, memory::cmdline)),
        ("comm", comm(subject)),
        ("coredump_filter", line("00000033")),
        ("cwd", magic(subject, |s| Ok(s.task()?.fs().read().cwd().clone()))),
        ("environ", bytes_about(subject, memory::environ).with_mode(0o400)),
        ("exe", magic(subject, executable)),
        ("fd", Node::directory(descriptors::Links(subject.clone())).with_mode(0o500)),
        ("fdinfo", Node::directory(descriptors::Infos(subject.clone()))),
        ("gid_map", line("         0          0 4294967295")),
        ("io", line("rchar: 0\nwchar: 0\nsyscr: 0\nsyscw: 0\nread_bytes: 0\nwrite_bytes: 0\ncancelled_write_bytes: 0").with_mode(0o400)),
        ("limits", about(subject, |s| {
            let limits = s.process.limits.read().clone();
            machine::limits(|r| {
                let limit = limits.get(r);
                (limit.soft, limit.hard)
            })
        })),
        ("loginuid", text(|| Ok(String::from("4294967295")))),
        ("maps", about(subject, |s| Ok(s.task()?.mm().maps_text()))),
        ("mountinfo", bytes_about(subject, |s| {
            let root = s.task()?.fs().read().root().clone();
            Ok(s.source()?.mounts().mountinfo(&root))
        })),
        ("mounts", bytes_about(subject, |s| {
            let root = s.task()?.fs().read().root().clone();
            Ok(s.source()?.mounts().mounts(&root))
        })),
        ("net", net::root(&subject.view)),
        ("ns", namespaces()),
        ("oom_adj", line("0")),
        ("oom_score", line("0")),
        ("oom_score_adj", oom_score_adj(subject)),
        ("personality", about(subject, |s| {
            Ok(format!("{:08x}\n", s.process.personality.load(Ordering::Relaxed)))
        })),
        ("root", magic(subject, |s| Ok(s.task()?.fs().read().root().clone()))),
        ("schedstat", line("0 0 0")),
        ("sessionid", text(|| Ok(String::from("4294967295")))),
        ("setgroups", line("allow")),
        ("smaps", about(subject, |s| Ok(s.task()?.mm().smaps_text()))),
        ("smaps_rollup", about(subject, memory::smaps_rollup)),
        ("stat", about(subject, status::stat)),
        ("statm", about(subject, status::statm)),
        ("status", about(subject, status::status)),
        ("syscall", about(subject, status::syscall)),
        ("timerslack_ns", about(subject, |s| {
            Ok(format!("{}\n", s.task()?.fields.lock().timer_slack.max(1)))
        })),
        ("uid_map", line("         0          0 4294967295")),
        ("wchan", text(|| Ok(String::from("0")))),
    ];
    if kind == Kind::Process {
        all.push(("task", Node::directory(Threads(subject.clone()))));
    }
    all
}

fn executable(subject: &Subject) -> Result<Path> {
    let exe = subject.task()?.mm().exe().ok_or(Errno::ENOENT)?;
    Path::of(&exe)
}

fn comm(subject: &Subject) -> Node {
    const LONGEST: usize = 15;
    let (reader, writer) = (subject.clone(), subject.clone());
    let read = move || {
        let name = reader.task.as_ref().map(|t| t.name()).unwrap_or_default();
        Ok(format!("{}\n", String::from_utf8_lossy(&name)))
    };
    writable(read, move |data| {
        let end = data.iter().position(|b| matches!(b, b'\n' | 0));
        let end = end.unwrap_or(data.len()).min(LONGEST);
        let name = data.get(..end).unwrap_or_default();
        writer.task()?.fields.lock().name = name.to_vec();
        Ok(())
    })
}

fn oom_score_adj(subject: &Subject) -> Node {
    let (reader, writer) = (subject.clone(), subject.clone());
    let read = move || {
        let value = reader.process.oom_score_adj.load(Ordering::Relaxed);
        Ok(format!("{value}\n"))
    };
    writable(read, move |data| {
        let text = std::str::from_utf8(data).map_err(|_| Errno::EINVAL)?;
        let value: i32 = text.trim().parse().map_err(|_| Errno::EINVAL)?;
        if !(-1000..=1000).contains(&value) {
            return Err(Errno::EINVAL);
        }
        writer.process.oom_score_adj.store(value, Ordering::Relaxed);
        Ok(())
    })
}

fn namespaces() -> Node {
    table(vec![
        ("cgroup", link("cgroup:[4026531835]")),
        ("ipc", link("ipc:[4026531839]")),
        ("mnt", link("mnt:[4026531841]")),
        ("net", link("net:[4026531840]")),
        ("pid", link("pid:[4026531836]")),
        ("pid_for_children", link("pid:[4026531836]")),
        ("time", link("time:[4026531834]")),
        ("user", link("user:[4026531837]")),
        ("uts", link("uts:[4026531838]")),
    ])
}
