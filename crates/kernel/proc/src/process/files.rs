//! The names in a process's directory.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use kernel_vfs::{Errno, Path, Result};

use super::{Kind, Subject, Threads, descriptors, memory, status};
use crate::machine;
use crate::net;
use crate::synthetic::{Node, Table};

type Make = fn(&Subject) -> Result<String>;

/// A text about the subject.
fn text(subject: &Subject, make: Make) -> Node {
    let subject = subject.clone();
    Node::text(move || make(&subject))
}

fn bytes(subject: &Subject, make: fn(&Subject) -> Result<Vec<u8>>) -> Node {
    let subject = subject.clone();
    Node::bytes(move || make(&subject))
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
    Node::Magic(Arc::new(read), Arc::new(follow))
}

pub(super) fn entries(subject: &Subject, kind: Kind) -> Vec<(&'static str, Node)> {
    let mut all = vec![
        ("auxv", bytes(subject, memory::auxv).with_mode(0o400)),
        ("cgroup", Node::fixed("0::/")),
        ("cmdline", bytes(subject, memory::cmdline)),
        ("comm", comm(subject)),
        ("coredump_filter", Node::fixed("00000033")),
        ("cwd", magic(subject, |s| Ok(s.task()?.fs().read().cwd().clone()))),
        ("environ", bytes(subject, memory::environ).with_mode(0o400)),
        ("exe", magic(subject, executable)),
        ("fd", Node::Dir(Arc::new(descriptors::Links(subject.clone())))),
        ("fdinfo", Node::Dir(Arc::new(descriptors::Infos(subject.clone())))),
        ("gid_map", Node::fixed("         0          0 4294967295")),
        ("io", Node::fixed("rchar: 0\nwchar: 0\nsyscr: 0\nsyscw: 0\nread_bytes: 0\nwrite_bytes: 0\ncancelled_write_bytes: 0").with_mode(0o400)),
        ("limits", text(subject, |s| {
            let limits = s.process.limits.read().clone();
            machine::limits(|r| {
                let limit = limits.get(r);
                (limit.soft, limit.hard)
            })
        })),
        ("loginuid", Node::text(|| Ok(String::from("4294967295")))),
        ("maps", text(subject, |s| Ok(s.task()?.mm().maps_text()))),
        ("mountinfo", bytes(subject, |s| {
            let root = s.task()?.fs().read().root().clone();
            Ok(s.source()?.mounts().mountinfo(&root))
        })),
        ("mounts", bytes(subject, |s| {
            let root = s.task()?.fs().read().root().clone();
            Ok(s.source()?.mounts().mounts(&root))
        })),
        ("net", net::root(&subject.view)),
        ("ns", namespaces()),
        ("oom_adj", Node::fixed("0")),
        ("oom_score", Node::fixed("0")),
        ("oom_score_adj", oom_score_adj(subject)),
        ("personality", text(subject, |s| {
            Ok(format!("{:08x}\n", s.process.personality.load(Ordering::Relaxed)))
        })),
        ("root", magic(subject, |s| Ok(s.task()?.fs().read().root().clone()))),
        ("schedstat", Node::fixed("0 0 0")),
        ("sessionid", Node::text(|| Ok(String::from("4294967295")))),
        ("setgroups", Node::fixed("allow")),
        ("smaps", text(subject, |s| Ok(s.task()?.mm().smaps_text()))),
        ("smaps_rollup", text(subject, memory::smaps_rollup)),
        ("stat", text(subject, status::stat)),
        ("statm", text(subject, status::statm)),
        ("status", text(subject, status::status)),
        ("syscall", text(subject, status::syscall)),
        ("timerslack_ns", text(subject, |s| {
            Ok(format!("{}\n", s.task()?.fields.lock().timer_slack.max(1)))
        })),
        ("uid_map", Node::fixed("         0          0 4294967295")),
        ("wchan", Node::text(|| Ok(String::from("0")))),
    ];
    if kind == Kind::Process {
        all.push(("task", Node::Dir(Arc::new(Threads(subject.clone())))));
    }
    all
}

fn executable(subject: &Subject) -> Result<Path> {
    let exe = subject.task()?.mm().exe().ok_or(Errno::ENOENT)?;
    Path::of(&exe)
}

fn comm(subject: &Subject) -> Node {
    const LONGEST: usize = 15;
    let writer = subject.clone();
    let read = text(subject, |s| {
        let name = s.task.as_ref().map(|t| t.name()).unwrap_or_default();
        Ok(format!("{}\n", String::from_utf8_lossy(&name)))
    });
    read.with_mode(0o644).with_write(move |data| {
        let end = data
            .iter()
            .position(|b| matches!(b, b'\n' | 0))
            .unwrap_or(data.len());
        let name = data.get(..end.min(LONGEST)).unwrap_or_default();
        writer.task()?.fields.lock().name = name.to_vec();
        Ok(())
    })
}

fn oom_score_adj(subject: &Subject) -> Node {
    let writer = subject.clone();
    let read = text(subject, |s| {
        Ok(format!(
            "{}\n",
            s.process.oom_score_adj.load(Ordering::Relaxed)
        ))
    });
    read.with_mode(0o644).with_write(move |data| {
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
    Node::dir(Table::new(vec![
        ("cgroup", Node::link("cgroup:[4026531835]")),
        ("ipc", Node::link("ipc:[4026531839]")),
        ("mnt", Node::link("mnt:[4026531841]")),
        ("net", Node::link("net:[4026531840]")),
        ("pid", Node::link("pid:[4026531836]")),
        ("pid_for_children", Node::link("pid:[4026531836]")),
        ("time", Node::link("time:[4026531834]")),
        ("user", Node::link("user:[4026531837]")),
        ("uts", Node::link("uts:[4026531838]")),
    ]))
}
