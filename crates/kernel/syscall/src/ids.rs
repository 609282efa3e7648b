//! Numbers of processes, threads, groups and sessions.

use base_abi::Errno;

use crate::call::{Args, Sys, SysResult};
use crate::entry::Entry;

pub(crate) const ENTRIES: &[Entry] = &[
    Entry::full(39, "getpid", "", getpid),
    Entry::full(186, "gettid", "", gettid),
    Entry::full(110, "getppid", "", getppid),
    Entry::full(109, "setpgid", "dd", setpgid),
    Entry::full(111, "getpgrp", "", |s, _| pgid_of(s, 0)),
    Entry::full(121, "getpgid", "d", |s, a| pgid_of(s, a.i32(0))),
    Entry::full(112, "setsid", "", setsid),
    Entry::full(124, "getsid", "d", getsid),
    Entry::full(218, "set_tid_address", "p", set_tid_address),
];

fn number(pid: i32) -> u64 {
    u64::from(pid.cast_unsigned())
}

fn getpid(sys: &mut Sys<'_>, _: Args) -> SysResult {
    Ok(number(sys.task.pid()))
}

fn gettid(sys: &mut Sys<'_>, _: Args) -> SysResult {
    Ok(number(sys.task.tid()))
}

fn getppid(sys: &mut Sys<'_>, _: Args) -> SysResult {
    Ok(number(
        sys.kernel()
            .tree
            .lock()
            .links(sys.task.pid())
            .map_or(0, |l| l.parent),
    ))
}

fn set_tid_address(sys: &mut Sys<'_>, args: Args) -> SysResult {
    sys.task.fields.lock().clear_child_tid = args.u64(0);
    Ok(number(sys.task.tid()))
}

fn setpgid(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let own = sys.task.pid();
    let pid = if args.i32(0) == 0 { own } else { args.i32(0) };
    let group = if args.i32(1) == 0 { pid } else { args.i32(1) };
    if group < 0 || pid < 0 {
        return Err(Errno::EINVAL.into());
    }
    let mut tree = sys.kernel().tree.lock();
    let own_session = tree.links(own).map_or(0, |l| l.session);
    let target = tree
        .links(pid)
        .filter(|l| l.ended.is_none())
        .ok_or(Errno::ESRCH)?;
    if pid != own && target.parent != own {
        return Err(Errno::ESRCH.into());
    }
    if target.session != own_session || target.session == pid {
        return Err(Errno::EPERM.into());
    }
    if pid != own && target.execed {
        return Err(Errno::EACCES.into());
    }
    let known = group == pid
        || tree
            .processes()
            .any(|(_, l)| l.group == group && l.session == own_session);
    if !known {
        return Err(Errno::EPERM.into());
    }
    if let Some(links) = tree.links_mut(pid) {
        links.group = group;
    }
    Ok(0)
}

fn pgid_of(sys: &mut Sys<'_>, pid: i32) -> SysResult {
    let pid = if pid == 0 { sys.task.pid() } else { pid };
    Ok(number(
        sys.kernel()
            .tree
            .lock()
            .links(pid)
            .ok_or(Errno::ESRCH)?
            .group,
    ))
}

fn getsid(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let pid = if args.i32(0) == 0 {
        sys.task.pid()
    } else {
        args.i32(0)
    };
    Ok(number(
        sys.kernel()
            .tree
            .lock()
            .links(pid)
            .ok_or(Errno::ESRCH)?
            .session,
    ))
}

fn setsid(sys: &mut Sys<'_>, _: Args) -> SysResult {
    let pid = sys.task.pid();
    {
        let mut tree = sys.kernel().tree.lock();
        if !tree.group_members(pid).is_empty() {
            return Err(Errno::EPERM.into());
        }
        if let Some(links) = tree.links_mut(pid) {
            links.group = pid;
            links.session = pid;
        }
    }
    Ok(number(pid))
}
