//! prctl(2): what a thread says of itself and of its process.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use base_abi::Errno;
use base_abi::general::{CAP_LAST_CAP, CAP_SETPCAP};
use base_abi::prctl as p;
use kernel_core::signal::Signal;
use kernel_core::task::{Creds, securebits};
use kernel_vfs::UserMemory;

use crate::call::{Args, Sys, SysResult};
use crate::entry::Entry;

pub(crate) const ENTRIES: &[Entry] = &[Entry::partial(
    157,
    "prctl",
    "dxxxx",
    prctl,
    "the options that libraries use; others answer EINVAL",
)];

/// `TASK_COMM_LEN`: a name with its zero byte.
const NAME_BYTES: usize = 16;
/// Longest name of a mapping with its zero byte (`ANON_VMA_NAME_MAX_LEN`).
const MAPPING_NAME_BYTES: usize = 80;
/// What `PR_SET_TIMERSLACK` with 0 goes back to: 50 µs.
const DEFAULT_SLACK_NANOS: u64 = 50_000;

fn prctl(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let value = args.u64(1);
    match args.u32(0) {
        p::PR_SET_NAME => set_name(sys, value),
        p::PR_GET_NAME => get_name(sys, value),
        p::PR_SET_PDEATHSIG => set_parent_death_signal(sys, value),
        p::PR_GET_PDEATHSIG => {
            let signal = sys.task.fields.lock().parent_death_signal;
            write_int(sys, value, signal.map_or(0, Signal::number))
        }
        p::PR_GET_DUMPABLE => Ok(u64::from(sys.process().dumpable.load(Relaxed))),
        p::PR_SET_DUMPABLE => {
            let on = flag(value)?;
            sys.process().dumpable.store(u32::from(on), Relaxed);
            Ok(0)
        }
        p::PR_SET_NO_NEW_PRIVS if value == 1 && unused(args, 2) => {
            change(sys, |creds| creds.no_new_privs = true)
        }
        p::PR_GET_NO_NEW_PRIVS if unused(args, 1) => {
            Ok(u64::from(sys.process().creds().no_new_privs))
        }
        p::PR_SET_CHILD_SUBREAPER => {
            if let Some(links) = sys.kernel().tree.lock().links_mut(sys.task.pid()) {
                links.subreaper = value != 0;
            }
            Ok(0)
        }
        p::PR_GET_CHILD_SUBREAPER => {
            let tree = sys.kernel().tree.lock();
            let set = tree.links(sys.task.pid()).is_some_and(|l| l.subreaper);
            drop(tree);
            write_int(sys, value, i32::from(set))
        }
        p::PR_SET_TIMERSLACK => {
            let slack = if value == 0 {
                DEFAULT_SLACK_NANOS
            } else {
                value
            };
            sys.task.fields.lock().timer_slack = slack;
            Ok(0)
        }
        p::PR_GET_TIMERSLACK => Ok(sys.task.fields.lock().timer_slack.max(1)),
        p::PR_CAPBSET_READ => Ok((sys.process().creds().bounding >> capability(value)?) & 1),
        p::PR_CAPBSET_DROP => drop_from_bounding_set(sys, value),
        p::PR_SET_KEEPCAPS => {
            let on = flag(value)?;
            keep_capabilities(sys, on)
        }
        p::PR_GET_KEEPCAPS => {
            let kept = sys.process().creds().secure(securebits::KEEP_CAPS);
            Ok(u64::from(kept))
        }
        p::PR_CAP_AMBIENT => ambient(sys, args),
        p::PR_SET_SECUREBITS => set_securebits(sys, value),
        p::PR_GET_SECUREBITS => Ok(u64::from(sys.process().creds().securebits)),
        // No filter, and huge pages are the host's affair.
        p::PR_GET_SECCOMP => Ok(0),
        p::PR_SET_THP_DISABLE if unused(args, 2) => Ok(0),
        p::PR_GET_THP_DISABLE if unused(args, 1) => Ok(0),
        p::PR_SET_VMA => set_mapping_name(sys, args),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// Whether arguments from this one on are 0, as options ask that may once use them.
fn unused(args: Args, from: usize) -> bool {
    (from..5).all(|index| args.u64(index) == 0)
}

/// 0 or 1.
fn flag(value: u64) -> Result<bool, Errno> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Errno::EINVAL),
    }
}

fn capability(value: u64) -> Result<u32, Errno> {
    let number = u32::try_from(value).ok();
    number
        .filter(|number| *number <= CAP_LAST_CAP)
        .ok_or(Errno::EINVAL)
}

fn write_int(sys: &Sys<'_>, at: u64, value: i32) -> SysResult {
    sys.mm().write_obj(at, &value)?;
    Ok(0)
}

fn change(sys: &Sys<'_>, change: impl FnOnce(&mut Creds)) -> SysResult {
    let mut slot = sys.process().creds.write();
    let mut creds = (**slot).clone();
    change(&mut creds);
    *slot = Arc::new(creds);
    Ok(0)
}

fn set_name(sys: &Sys<'_>, at: u64) -> SysResult {
    let mm = sys.mm();
    let mut name = mm.read_cstr(at, NAME_BYTES).or_else(|_| {
        let mut raw = [0u8; NAME_BYTES];
        mm.read_bytes(at, &mut raw).map(|()| raw.to_vec())
    })?;
    name.truncate(NAME_BYTES - 1);
    sys.task.fields.lock().name = name;
    Ok(0)
}

fn get_name(sys: &Sys<'_>, at: u64) -> SysResult {
    let mut out = [0u8; NAME_BYTES];
    let name = sys.task.name();
    let len = name.len().min(NAME_BYTES - 1);
    out[..len].copy_from_slice(&name[..len]);
    sys.mm().write_bytes(at, &out)?;
    Ok(0)
}

fn set_parent_death_signal(sys: &Sys<'_>, value: u64) -> SysResult {
    let signal = match value {
        0 => None,
        number => {
            let signal = i32::try_from(number).ok().and_then(Signal::new);
            Some(signal.ok_or(Errno::EINVAL)?)
        }
    };
    sys.task.fields.lock().parent_death_signal = signal;
    Ok(0)
}

fn drop_from_bounding_set(sys: &Sys<'_>, value: u64) -> SysResult {
    let capability = capability(value)?;
    if !sys.process().creds().has(CAP_SETPCAP) {
        return Err(Errno::EPERM.into());
    }
    change(sys, |creds| creds.bounding &= !(1 << capability))
}

/// `PR_SET_KEEPCAPS`, until the next execve(2).
fn keep_capabilities(sys: &Sys<'_>, on: bool) -> SysResult {
    const BIT: u32 = securebits::KEEP_CAPS;
    if sys.process().creds().secure(BIT << 1) {
        return Err(Errno::EPERM.into());
    }
    change(sys, |creds| {
        creds.securebits = (creds.securebits & !BIT) | if on { BIT } else { 0 };
    })
}

/// `PR_SET_SECUREBITS`: what is locked stays as it is.
fn set_securebits(sys: &Sys<'_>, value: u64) -> SysResult {
    let known = securebits::ALL | securebits::LOCKS;
    let new = u32::try_from(value).ok().filter(|bits| bits & !known == 0);
    let new = new.ok_or(Errno::EPERM)?;
    let creds = sys.process().creds();
    let locks = creds.securebits & securebits::LOCKS;
    let changed = (locks >> 1) & (creds.securebits ^ new);
    if changed != 0 || locks & !new != 0 || !creds.has(CAP_SETPCAP) {
        return Err(Errno::EPERM.into());
    }
    change(sys, |creds| creds.securebits = new)
}

/// `PR_CAP_AMBIENT`: what programs keep that are no files with capabilities.
fn ambient(sys: &Sys<'_>, args: Args) -> SysResult {
    let action = u32::try_from(args.u64(1)).map_err(|_| Errno::EINVAL)?;
    if action == p::PR_CAP_AMBIENT_CLEAR_ALL {
        if !unused(args, 2) {
            return Err(Errno::EINVAL.into());
        }
        return change(sys, |creds| creds.ambient = 0);
    }
    let bit = 1 << capability(args.u64(2))?;
    if !unused(args, 3) {
        return Err(Errno::EINVAL.into());
    }
    let creds = sys.process().creds();
    match action {
        p::PR_CAP_AMBIENT_IS_SET => Ok(u64::from(creds.ambient & bit != 0)),
        p::PR_CAP_AMBIENT_LOWER => change(sys, |creds| creds.ambient &= !bit),
        p::PR_CAP_AMBIENT_RAISE => {
            let has = creds.permitted & creds.inheritable & bit != 0;
            if !has || creds.secure(securebits::NO_CAP_AMBIENT_RAISE) {
                return Err(Errno::EPERM.into());
            }
            change(sys, |creds| creds.ambient |= bit)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

/// `PR_SET_VMA_ANON_NAME`: where, how long, and the name or nothing.
fn set_mapping_name(sys: &Sys<'_>, args: Args) -> SysResult {
    let mm = sys.mm();
    let name = match args.u64(4) {
        0 => None,
        at => Some(mm.read_cstr(at, MAPPING_NAME_BYTES)?),
    };
    let name = name.map(|name| String::from_utf8_lossy(&name).into_owned());
    mm.set_name(args.u64(2), args.u64(3), name.as_deref())?;
    Ok(0)
}
