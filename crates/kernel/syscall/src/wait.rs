//! Waiting for children: wait4(2), waitid(2).

use base_abi::Errno;
use base_abi::general::{
    __WALL, __WCLONE, __WNOTHREAD, P_ALL, P_PGID, P_PID, P_PIDFD, WCONTINUED, WEXITED, WNOHANG,
    WNOWAIT, WUNTRACED,
};
use kernel_core::signal::Signal;
use kernel_core::task::{Descent, ExitStatus, Links, OnSignal, Pid, StopState, TimesUsed, Tree};
use kernel_vfs::UserMemory;

use crate::call::{Args, Sys, SysResult};
use crate::entry::Entry;
use crate::usage::rusage_bytes;

pub(crate) const ENTRIES: &[Entry] = &[
    Entry::full(61, "wait4", "dpxp", wait4),
    Entry::full(247, "waitid", "ddpxp", waitid),
];

/// Which children a call is about.
#[derive(Clone, Copy)]
enum Which {
    Any,
    Pid(Pid),
    Group(Pid),
}

/// What a wait found.
#[derive(Clone, Copy)]
struct Found {
    pid: Pid,
    uid: u32,
    /// The status word of wait(2).
    status: u32,
    code: i32,
    /// `si_status`.
    value: i32,
    times: TimesUsed,
}

fn wait4(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let options = args.u32(2);
    if options & !(WNOHANG | WUNTRACED | WCONTINUED | __WNOTHREAD | __WALL | __WCLONE) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let which = match args.i32(0) {
        -1 => Which::Any,
        0 => Which::Group(own_group(sys)),
        i32::MIN => return Err(Errno::ESRCH.into()),
        pid if pid < 0 => Which::Group(-pid),
        pid => Which::Pid(pid),
    };
    let Some(found) = wait(sys, which, options | WEXITED)? else {
        return Ok(0);
    };
    let mm = sys.mm();
    if args.u64(1) != 0 {
        mm.write_bytes(args.u64(1), &found.status.to_le_bytes())?;
    }
    if args.u64(3) != 0 {
        mm.write_bytes(args.u64(3), &rusage_bytes(found.times))?;
    }
    Ok(u64::from(found.pid.cast_unsigned()))
}

fn waitid(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let options = args.u32(3);
    let known =
        WNOHANG | WUNTRACED | WEXITED | WCONTINUED | WNOWAIT | __WNOTHREAD | __WALL | __WCLONE;
    if options & !known != 0 || options & (WEXITED | WUNTRACED | WCONTINUED) == 0 {
        return Err(Errno::EINVAL.into());
    }
    let id = args.i32(1);
    let which = match args.u32(0) {
        P_ALL => Which::Any,
        P_PID if id > 0 => Which::Pid(id),
        P_PGID if id >= 0 => Which::Group(if id == 0 { own_group(sys) } else { id }),
        P_PIDFD => Which::Pid(crate::pidfd::pid_of(sys, id)?),
        _ => return Err(Errno::EINVAL.into()),
    };
    let found = wait(sys, which, options)?;
    let mm = sys.mm();
    if args.u64(2) != 0 {
        let mut info = [0u8; 128];
        if let Some(found) = found {
            info[0..4].copy_from_slice(&Signal::CHLD.number().to_le_bytes());
            info[8..12].copy_from_slice(&found.code.to_le_bytes());
            info[16..20].copy_from_slice(&found.pid.to_le_bytes());
            info[20..24].copy_from_slice(&found.uid.to_le_bytes());
            info[24..28].copy_from_slice(&found.value.to_le_bytes());
        }
        mm.write_bytes(args.u64(2), &info)?;
    }
    if let (Some(found), true) = (found, args.u64(4) != 0) {
        mm.write_bytes(args.u64(4), &rusage_bytes(found.times))?;
    }
    Ok(0)
}

fn own_group(sys: &Sys<'_>) -> Pid {
    sys.kernel()
        .tree
        .lock()
        .links(sys.task.pid())
        .map_or(0, |l| l.group)
}

fn wait(sys: &mut Sys<'_>, which: Which, options: u32) -> Result<Option<Found>, crate::Stop> {
    let process = sys.process().clone();
    sys.wait_for(&process.child_queue, OnSignal::Restart, |sys| {
        let ending = sys.kernel().ending.lock();
        let mut tree = sys.kernel().tree.lock();
        match look(&mut tree, sys.task.pid(), which, options) {
            Look::Found(found) => {
                drop(tree);
                drop(ending);
                if options & WNOWAIT == 0 && is_end(found.code) {
                    let mut times = sys.process().children_times.lock();
                    times.user += found.times.user;
                    times.system += found.times.system;
                }
                Ok(Some(Some(found)))
            }
            Look::NotYet if options & WNOHANG != 0 => Ok(Some(None)),
            Look::NotYet => Ok(None),
            Look::NoChild => Err(Errno::ECHILD.into()),
        }
    })
}

fn is_end(code: i32) -> bool {
    (1..=3).contains(&code)
}

enum Look {
    Found(Found),
    NotYet,
    NoChild,
}

fn look(tree: &mut Tree, parent: Pid, which: Which, options: u32) -> Look {
    let Some(own) = tree.links(parent) else {
        return Look::NoChild;
    };
    let children: Vec<Pid> = own.children.iter().copied().collect();
    // Only to know of which orphans it is no news that they end: see `Tree::is_unclaimed`.
    if let (Which::Any, Some(own)) = (which, tree.links_mut(parent)) {
        own.collects = true;
    }
    let mut eligible = false;
    for pid in children {
        let Some(links) = tree.links_mut(pid) else {
            continue;
        };
        if !matches(links, pid, which, options) {
            continue;
        }
        eligible = true;
        if links.descent == Descent::Adopted {
            links.descent = Descent::Awaited;
        }
        if let Some(found) = take_report(links, pid, options) {
            if is_end(found.code) && options & WNOWAIT == 0 {
                tree.reap(pid);
            }
            return Look::Found(found);
        }
    }
    if eligible {
        Look::NotYet
    } else {
        Look::NoChild
    }
}

fn matches(links: &Links, pid: Pid, which: Which, options: u32) -> bool {
    let is_clone_child = links.exit_signal != Some(kernel_core::signal::Signal::CHLD);
    if options & __WALL == 0 && is_clone_child != (options & __WCLONE != 0) {
        return false;
    }
    match which {
        Which::Any => true,
        Which::Pid(wanted) => pid == wanted,
        Which::Group(group) => links.group == group,
    }
}

fn take_report(links: &mut Links, pid: Pid, options: u32) -> Option<Found> {
    let uid = links.process.creds().uid;
    let children = *links.process.children_times.lock();
    let own = *links.process.ended_times.lock();
    let times = TimesUsed {
        user: own.user + children.user,
        system: own.system + children.system,
    };
    let found = |status: u32, code: i32, value: i32| Found {
        pid,
        uid,
        status,
        code,
        value,
        times,
    };
    if let Some(status) = links.ended {
        if options & WEXITED == 0 {
            return None;
        }
        return Some(match status {
            ExitStatus::Code(code) => found(status.encode(), 1, i32::from(code)),
            ExitStatus::Signal { number, core } => {
                found(status.encode(), if core { 3 } else { 2 }, i32::from(number))
            }
        });
    }
    match links.stop {
        StopState::Stopped {
            signal,
            reported: false,
        } if options & WUNTRACED != 0 => {
            if options & WNOWAIT == 0 {
                links.stop = StopState::Stopped {
                    signal,
                    reported: true,
                };
            }
            let number = signal.number();
            Some(found((number.cast_unsigned() << 8) | 0x7f, 5, number))
        }
        StopState::Continued if options & WCONTINUED != 0 => {
            if options & WNOWAIT == 0 {
                links.stop = StopState::Running;
            }
            Some(found(0xffff, 6, 18))
        }
        _ => None,
    }
}
