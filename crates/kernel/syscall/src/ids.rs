//! Identities: process, thread, group, session, user and group numbers, capabilities,
//! resource limits and usage.

use std::sync::Arc;

use base_abi::Errno;
use kernel_core::task::{Creds, Process, Resource, Rlimit, TimesUsed};
use kernel_vfs::UserMemory;

use crate::call::{Args, Sys, SysResult};
use crate::cpu_time::{task_times, times_of_process};
use crate::entry::Entry;

pub(crate) const ENTRIES: &[Entry] = &[
    Entry::full(39, "getpid", "", getpid),
    Entry::full(186, "gettid", "", gettid),
    Entry::full(110, "getppid", "", getppid),
    Entry::full(102, "getuid", "", |s, _| {
        Ok(u64::from(s.process().creds().uid))
    }),
    Entry::full(104, "getgid", "", |s, _| {
        Ok(u64::from(s.process().creds().gid))
    }),
    Entry::full(107, "geteuid", "", |s, _| {
        Ok(u64::from(s.process().creds().euid))
    }),
    Entry::full(108, "getegid", "", |s, _| {
        Ok(u64::from(s.process().creds().egid))
    }),
    Entry::full(105, "setuid", "u", setuid),
    Entry::full(106, "setgid", "u", setgid),
    Entry::full(113, "setreuid", "uu", setreuid),
    Entry::full(114, "setregid", "uu", setregid),
    Entry::full(117, "setresuid", "uuu", setresuid),
    Entry::full(118, "getresuid", "ppp", getresuid),
    Entry::full(119, "setresgid", "uuu", setresgid),
    Entry::full(120, "getresgid", "ppp", getresgid),
    Entry::full(122, "setfsuid", "u", setfsuid),
    Entry::full(123, "setfsgid", "u", setfsgid),
    Entry::full(115, "getgroups", "dp", getgroups),
    Entry::full(116, "setgroups", "dp", setgroups),
    Entry::full(109, "setpgid", "dd", setpgid),
    Entry::full(111, "getpgrp", "", |s, _| pgid_of(s, 0)),
    Entry::full(121, "getpgid", "d", |s, a| pgid_of(s, a.i32(0))),
    Entry::full(112, "setsid", "", setsid),
    Entry::full(124, "getsid", "d", getsid),
    Entry::full(125, "capget", "pp", capget),
    Entry::partial(126, "capset", "pp", capset, "acts on the whole process"),
    Entry::full(97, "getrlimit", "dp", getrlimit),
    Entry::full(160, "setrlimit", "dp", setrlimit),
    Entry::full(302, "prlimit64", "ddpp", prlimit64),
    Entry::full(98, "getrusage", "dp", getrusage),
    Entry::full(100, "times", "p", times),
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

/// Changes the credentials of the whole process.
fn change(sys: &Sys<'_>, f: impl FnOnce(&mut Creds) -> Result<(), Errno>) -> SysResult {
    let mut slot = sys.process().creds.write();
    let mut next = (**slot).clone();
    f(&mut next)?;
    next.adjust_capabilities(&slot);
    *slot = Arc::new(next);
    Ok(0)
}

const CAP_SETGID: u32 = 6;
const CAP_SETUID: u32 = 7;
const CAP_SYS_RESOURCE: u32 = 24;
const UNCHANGED: u32 = u32::MAX;

fn setuid(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let id = valid(args.u32(0))?;
    change(sys, |c| {
        if c.has(CAP_SETUID) {
            (c.uid, c.suid) = (id, id);
        } else if id != c.uid && id != c.suid {
            return Err(Errno::EPERM);
        }
        (c.euid, c.fsuid) = (id, id);
        Ok(())
    })
}

fn setgid(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let id = valid(args.u32(0))?;
    change(sys, |c| {
        if c.has(CAP_SETGID) {
            (c.gid, c.sgid) = (id, id);
        } else if id != c.gid && id != c.sgid {
            return Err(Errno::EPERM);
        }
        (c.egid, c.fsgid) = (id, id);
        Ok(())
    })
}

fn valid(id: u32) -> Result<u32, Errno> {
    if id == UNCHANGED {
        Err(Errno::EINVAL)
    } else {
        Ok(id)
    }
}

/// Each new id must be one of the current three unless privileged (setresuid(2)).
fn allowed(ids: &[u32], current: [u32; 3], privileged: bool) -> Result<(), Errno> {
    let fine = privileged
        || ids
            .iter()
            .all(|id| *id == UNCHANGED || current.contains(id));
    if fine { Ok(()) } else { Err(Errno::EPERM) }
}

fn pick(new: u32, old: u32) -> u32 {
    if new == UNCHANGED { old } else { new }
}

fn setresuid(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let ids = [args.u32(0), args.u32(1), args.u32(2)];
    change(sys, |c| {
        allowed(&ids, [c.uid, c.euid, c.suid], c.has(CAP_SETUID))?;
        (c.uid, c.euid, c.suid) = (
            pick(ids[0], c.uid),
            pick(ids[1], c.euid),
            pick(ids[2], c.suid),
        );
        c.fsuid = c.euid;
        Ok(())
    })
}

fn setresgid(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let ids = [args.u32(0), args.u32(1), args.u32(2)];
    change(sys, |c| {
        allowed(&ids, [c.gid, c.egid, c.sgid], c.has(CAP_SETGID))?;
        (c.gid, c.egid, c.sgid) = (
            pick(ids[0], c.gid),
            pick(ids[1], c.egid),
            pick(ids[2], c.sgid),
        );
        c.fsgid = c.egid;
        Ok(())
    })
}

fn setreuid(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let (real, effective) = (args.u32(0), args.u32(1));
    change(sys, |c| {
        let privileged = c.has(CAP_SETUID);
        if !privileged && real != UNCHANGED && real != c.uid && real != c.euid {
            return Err(Errno::EPERM);
        }
        allowed(&[effective], [c.uid, c.euid, c.suid], privileged)?;
        let old = c.uid;
        (c.uid, c.euid) = (pick(real, c.uid), pick(effective, c.euid));
        if real != UNCHANGED || (effective != UNCHANGED && effective != old) {
            c.suid = c.euid;
        }
        c.fsuid = c.euid;
        Ok(())
    })
}

fn setregid(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let (real, effective) = (args.u32(0), args.u32(1));
    change(sys, |c| {
        let privileged = c.has(CAP_SETGID);
        if !privileged && real != UNCHANGED && real != c.gid && real != c.egid {
            return Err(Errno::EPERM);
        }
        allowed(&[effective], [c.gid, c.egid, c.sgid], privileged)?;
        let old = c.gid;
        (c.gid, c.egid) = (pick(real, c.gid), pick(effective, c.egid));
        if real != UNCHANGED || (effective != UNCHANGED && effective != old) {
            c.sgid = c.egid;
        }
        c.fsgid = c.egid;
        Ok(())
    })
}

fn setfsuid(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let old = sys.process().creds().fsuid;
    let id = args.u32(0);
    let _ = change(sys, |c| {
        allowed(
            &[id],
            [c.uid, c.euid, c.suid],
            c.has(CAP_SETUID) || id == c.fsuid,
        )?;
        c.fsuid = pick(id, c.fsuid);
        Ok(())
    });
    Ok(u64::from(old))
}

fn setfsgid(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let old = sys.process().creds().fsgid;
    let id = args.u32(0);
    let _ = change(sys, |c| {
        allowed(
            &[id],
            [c.gid, c.egid, c.sgid],
            c.has(CAP_SETGID) || id == c.fsgid,
        )?;
        c.fsgid = pick(id, c.fsgid);
        Ok(())
    });
    Ok(u64::from(old))
}

fn write_three(sys: &Sys<'_>, args: Args, ids: [u32; 3]) -> SysResult {
    for (index, id) in ids.iter().enumerate() {
        sys.mm().write_bytes(args.u64(index), &id.to_le_bytes())?;
    }
    Ok(0)
}

fn getresuid(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let c = sys.process().creds();
    write_three(sys, args, [c.uid, c.euid, c.suid])
}

fn getresgid(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let c = sys.process().creds();
    write_three(sys, args, [c.gid, c.egid, c.sgid])
}

fn getgroups(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let groups = sys.process().creds().groups.clone();
    let room = usize::try_from(args.i32(0)).map_err(|_| Errno::EINVAL)?;
    if room != 0 {
        if room < groups.len() {
            return Err(Errno::EINVAL.into());
        }
        sys.mm().write_slice(args.u64(1), &groups)?;
    }
    Ok(groups.len() as u64)
}

fn setgroups(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let count = usize::try_from(args.i32(0))
        .ok()
        .filter(|n| *n <= 65536)
        .ok_or(Errno::EINVAL)?;
    if !sys.process().creds().has(CAP_SETGID) {
        return Err(Errno::EPERM.into());
    }
    let groups: Vec<u32> = if count == 0 {
        Vec::new()
    } else {
        sys.mm().read_slice(args.u64(1), count)?
    };
    change(sys, |c| {
        c.groups = groups;
        Ok(())
    })
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

const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// Reads the header of capget(2); writes the preferred version back when it is not known.
fn capability_header(sys: &Sys<'_>, addr: u64) -> Result<(u32, i32), Errno> {
    let mm = sys.mm();
    let [version, pid] = mm.read_obj::<[u32; 2]>(addr)?;
    if ![0x1998_0330, 0x2007_1026, CAPABILITY_VERSION_3].contains(&version) {
        mm.write_obj(addr, &CAPABILITY_VERSION_3)?;
        return Err(Errno::EINVAL);
    }
    Ok((version, pid.cast_signed()))
}

fn capget(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let (version, pid) = match capability_header(sys, args.u64(0)) {
        Err(Errno::EINVAL) if args.u64(1) == 0 => return Ok(0),
        other => other?,
    };
    let creds = match pid {
        p if p < 0 => return Err(Errno::EINVAL.into()),
        0 => sys.process().creds(),
        p => sys
            .kernel()
            .tree
            .lock()
            .task(p)
            .ok_or(Errno::ESRCH)?
            .process()
            .creds(),
    };
    if args.u64(1) == 0 {
        return Ok(0);
    }
    let low = |v: u64| u32::try_from(v & 0xffff_ffff).unwrap_or(0);
    let high = |v: u64| low(v >> 32);
    let sets = [creds.effective, creds.permitted, creds.inheritable];
    let mut words: Vec<u32> = sets.iter().map(|s| low(*s)).collect();
    if version != 0x1998_0330 {
        words.extend(sets.iter().map(|s| high(*s)));
    }
    sys.mm().write_slice(args.u64(1), &words)?;
    Ok(0)
}

fn capset(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let (version, pid) = capability_header(sys, args.u64(0))?;
    if pid != 0 && pid != sys.task.tid() {
        return Err(Errno::EPERM.into());
    }
    let count = if version == 0x1998_0330 { 3 } else { 6 };
    let mut words: Vec<u32> = sys.mm().read_slice(args.u64(1), count)?;
    words.resize(6, 0);
    let join = |i: usize| u64::from(words[i]) | (u64::from(words[i + 3]) << 32);
    let (effective, permitted, inheritable) = (join(0), join(1), join(2));
    change(sys, |c| {
        let excess = permitted & !c.permitted
            | effective & !permitted
            | inheritable & !(c.inheritable | c.permitted);
        if excess != 0 {
            return Err(Errno::EPERM);
        }
        (c.effective, c.permitted, c.inheritable) = (effective, permitted, inheritable);
        c.ambient &= permitted & inheritable;
        Ok(())
    })
}

fn limit_words(limit: Rlimit) -> [u64; 2] {
    [limit.soft, limit.hard]
}

fn getrlimit(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let resource = Resource::new(u64::from(args.u32(0))).ok_or(Errno::EINVAL)?;
    let limit = sys.process().limits.read().get(resource);
    sys.mm().write_obj(args.u64(1), &limit_words(limit))?;
    Ok(0)
}

fn setrlimit(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let resource = Resource::new(u64::from(args.u32(0))).ok_or(Errno::EINVAL)?;
    let new = sys.mm().read_obj::<[u64; 2]>(args.u64(1))?;
    let process = Arc::clone(sys.process());
    set_limit(sys, &process, resource, new)
}

fn set_limit(
    sys: &Sys<'_>,
    process: &Process,
    resource: Resource,
    [soft, hard]: [u64; 2],
) -> SysResult {
    if soft > hard {
        return Err(Errno::EINVAL.into());
    }
    let mut limits = process.limits.write();
    if hard > limits.get(resource).hard && !sys.process().creds().has(CAP_SYS_RESOURCE) {
        return Err(Errno::EPERM.into());
    }
    if resource == Resource::Nofile && hard > 1 << 20 {
        return Err(Errno::EPERM.into());
    }
    limits.set(resource, Rlimit { soft, hard });
    drop(limits);
    if let Some(task) = sys.kernel().tree.lock().threads_of(process.pid()).first() {
        sys.system.apply_limit(task, resource, soft);
    }
    Ok(0)
}

fn prlimit64(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let resource = Resource::new(u64::from(args.u32(1))).ok_or(Errno::EINVAL)?;
    let process = match args.i32(0) {
        0 => Arc::clone(sys.process()),
        pid => Arc::clone(
            sys.kernel()
                .tree
                .lock()
                .task(pid)
                .ok_or(Errno::ESRCH)?
                .process(),
        ),
    };
    let (own, other) = (sys.process().creds(), process.creds());
    if own.uid != other.uid && !own.has(CAP_SYS_RESOURCE) {
        return Err(Errno::EPERM.into());
    }
    let old = process.limits.read().get(resource);
    if args.u64(2) != 0 {
        let new = sys.mm().read_obj::<[u64; 2]>(args.u64(2))?;
        set_limit(sys, &process, resource, new)?;
    }
    if args.u64(3) != 0 {
        sys.mm().write_obj(args.u64(3), &limit_words(old))?;
    }
    Ok(0)
}

/// CPU time of the caller's process.
#[must_use]
pub(crate) fn process_times(sys: &Sys<'_>) -> TimesUsed {
    times_of_process(sys.kernel(), sys.task.pid())
}

/// `struct rusage` with the two times filled in.
#[must_use]
pub(crate) fn rusage_bytes(times: TimesUsed) -> [u8; 144] {
    let mut out = [0u8; 144];
    for (index, nanoseconds) in [times.user, times.system].into_iter().enumerate() {
        let at = index * 16;
        out[at..at + 8].copy_from_slice(&(nanoseconds / 1_000_000_000).to_le_bytes());
        out[at + 8..at + 16].copy_from_slice(&(nanoseconds % 1_000_000_000 / 1000).to_le_bytes());
    }
    out
}

fn getrusage(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let times = match args.i32(0) {
        0 => process_times(sys),
        -1 => *sys.process().children_times.lock(),
        1 => task_times(sys.task),
        _ => return Err(Errno::EINVAL.into()),
    };
    let mut bytes = rusage_bytes(times);
    let resident = sys.mm().stats().resident / 1024;
    bytes[32..40].copy_from_slice(&resident.to_le_bytes());
    sys.mm().write_bytes(args.u64(1), &bytes)?;
    Ok(0)
}

fn times(sys: &mut Sys<'_>, args: Args) -> SysResult {
    const TICK: u64 = 10_000_000;
    if args.u64(0) != 0 {
        let own = process_times(sys);
        let children = *sys.process().children_times.lock();
        let words = [
            own.user / TICK,
            own.system / TICK,
            children.user / TICK,
            children.system / TICK,
        ];
        sys.mm().write_obj(args.u64(0), &words)?;
    }
    Ok(sys.now() / TICK)
}
