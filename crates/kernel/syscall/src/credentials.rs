//! User and group numbers, and capabilities (credentials(7), capabilities(7)).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use base_abi::Errno;
use base_abi::general::{
    _LINUX_CAPABILITY_VERSION_1, _LINUX_CAPABILITY_VERSION_2, _LINUX_CAPABILITY_VERSION_3,
    CAP_SETGID, CAP_SETPCAP, CAP_SETUID,
};
use kernel_core::task::{ALL_CAPABILITIES, Creds};
use kernel_vfs::UserMemory;

use crate::call::{Args, Sys, SysResult};
use crate::entry::Entry;

pub(crate) const ENTRIES: &[Entry] = &[
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
    Entry::full(125, "capget", "pp", capget),
    Entry::partial(126, "capset", "pp", capset, "acts on the whole process"),
];

/// The id that leaves things as they are.
const UNCHANGED: u32 = u32::MAX;
/// `NGROUPS_MAX`.
const MAX_GROUPS: usize = 65536;

/// Changes the credentials of the whole process.
fn change(sys: &Sys<'_>, f: impl FnOnce(&mut Creds) -> Result<(), Errno>) -> SysResult {
    let mut slot = sys.process().creds.write();
    let mut next = (**slot).clone();
    f(&mut next)?;
    next.adjust_capabilities(&slot);
    commit(sys, &mut slot, next)
}

/// Puts new credentials in place. Who became somebody else tells nobody of its memory, and forgets whom its parent's death was
/// to be told (`commit_creds`).
fn commit(sys: &Sys<'_>, slot: &mut Arc<Creds>, next: Creds) -> SysResult {
    let ids = |c: &Creds| [c.euid, c.egid, c.fsuid, c.fsgid];
    if ids(slot) != ids(&next) || next.permitted & !slot.permitted != 0 {
        sys.process().dumpable.store(0, Ordering::Relaxed);
        sys.task.fields.lock().parent_death_signal = None;
    }
    *slot = Arc::new(next);
    Ok(0)
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
    let mut slot = sys.process().creds.write();
    let mut next = (**slot).clone();
    let free = next.has(CAP_SETUID) || id == next.fsuid;
    if allowed(&[id], [next.uid, next.euid, next.suid], free).is_ok() {
        next.fsuid = pick(id, next.fsuid);
        next.adjust_file_capabilities(&slot);
        commit(sys, &mut slot, next)?;
    }
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
        .filter(|n| *n <= MAX_GROUPS)
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

/// Reads the header of capget(2); writes the preferred version back when it is not known.
fn capability_header(sys: &Sys<'_>, addr: u64) -> Result<(u32, i32), Errno> {
    let mm = sys.mm();
    let [version, pid] = mm.read_obj::<[u32; 2]>(addr)?;
    if ![
        _LINUX_CAPABILITY_VERSION_1,
        _LINUX_CAPABILITY_VERSION_2,
        _LINUX_CAPABILITY_VERSION_3,
    ]
    .contains(&version)
    {
        mm.write_obj(addr, &_LINUX_CAPABILITY_VERSION_3)?;
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
    if version != _LINUX_CAPABILITY_VERSION_1 {
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
    let count = if version == _LINUX_CAPABILITY_VERSION_1 {
        3
    } else {
        6
    };
    let mut words: Vec<u32> = sys.mm().read_slice(args.u64(1), count)?;
    words.resize(6, 0);
    let join = |i: usize| u64::from(words[i]) | (u64::from(words[i + 3]) << 32);
    let [effective, permitted, inheritable] = [0, 1, 2].map(|i| join(i) & ALL_CAPABILITIES);
    change(sys, |c| {
        let own = if c.has(CAP_SETPCAP) {
            c.bounding
        } else {
            c.permitted & c.bounding
        };
        let excess = permitted & !c.permitted
            | effective & !permitted
            | inheritable & !(c.inheritable | own);
        if excess != 0 {
            return Err(Errno::EPERM);
        }
        (c.effective, c.permitted, c.inheritable) = (effective, permitted, inheritable);
        c.ambient &= permitted & inheritable;
        Ok(())
    })
}
