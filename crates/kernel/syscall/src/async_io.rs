//! Signal-driven I/O: `F_SETOWN`, `F_SETSIG`, `O_ASYNC` (fcntl(2)), and the requests of ioctl(2) that mean the same.

use std::sync::{Arc, Weak};

use base_abi::structs::SigInfo;
use base_abi::{Errno, general as g};
use kernel_core::Kernel;
use kernel_core::signal::{Signal, siginfo};
use kernel_core::task::{Creds, Process};
use kernel_files::Inotify;
use kernel_files::pipe::PipeEnd;
use kernel_files::pty::{Master, Slave};
use kernel_net::SocketFile;
use kernel_vfs::{
    Description, Events, Notify, Owner, PollTable, SharedSettings, SignalDriven, StatusFlags,
    UserMemory,
};

use crate::System;
use crate::call::{Sys, SysResult};

/// `POLL_IN`, `_OUT`, `_ERR`, `_PRI`, `_HUP` of sigaction(2), with the `si_band` of each.
const CODES: [(Events, i32, u64); 5] = [
    (Events::IN, 1, 0x041),
    (Events::PRI, 5, 0x082),
    (Events::OUT, 2, 0x304),
    (Events::ERR, 4, 0x008),
    (Events::HUP, 6, 0x018),
];

/// Sends the signals of one description.
struct Teller {
    system: Weak<System>,
    settings: SharedSettings,
    /// What the description can be ready for.
    interest: Events,
}

impl Notify for Teller {
    fn notify(&self, events: Events) {
        let settings = *self.settings.lock();
        let (Some(system), Some(owner)) = (self.system.upgrade(), settings.owner) else {
            return;
        };
        if events.contains(Events::PRI) {
            tell(
                &system.kernel,
                owner,
                settings.uids,
                Signal::URG,
                siginfo::kernel(),
            );
        }
        let events = events & (self.interest | Events::ALWAYS);
        let Some(fd) = settings.on else { return };
        let Some((_, code, band)) = CODES.iter().find(|(event, ..)| events.intersects(*event))
        else {
            return;
        };
        let details = siginfo::ready(*code, *band, fd);
        let asked = Signal::new(settings.signal);
        let told =
            asked.is_some_and(|signal| tell(&system.kernel, owner, settings.uids, signal, details));
        if !told {
            tell(
                &system.kernel,
                owner,
                settings.uids,
                Signal::IO,
                siginfo::kernel(),
            );
        }
    }
}

/// Sends to everybody that the owner may tell (`sigio_perm` of Linux); false when the queue of a signal is full.
fn tell(
    kernel: &Kernel,
    owner: Owner,
    (uid, euid): (u32, u32),
    signal: Signal,
    info: SigInfo,
) -> bool {
    let may = |creds: &Creds| {
        euid == 0
            || [creds.uid, creds.suid]
                .iter()
                .any(|id| [uid, euid].contains(id))
    };
    if let Owner::Thread(tid) = owner {
        let task = kernel.tree.lock().task(tid).cloned();
        let task = task.filter(|task| may(&task.process().creds()));
        return task.is_none_or(|task| kernel.send_to_task(&task, signal, info));
    }
    let processes: Vec<Arc<Process>> = {
        let tree = kernel.tree.lock();
        let process = |pid: i32| tree.links(pid).map(|links| Arc::clone(&links.process));
        match owner {
            Owner::Group(group) => {
                let members = tree.group_members(group);
                members.iter().filter_map(|pid| process(*pid)).collect()
            }
            Owner::Thread(id) | Owner::Process(id) => process(id).into_iter().collect(),
        }
    };
    let mut all = true;
    for process in processes.iter().filter(|process| may(&process.creds())) {
        all &= kernel.send_to_process(process, signal, info);
    }
    all
}

/// Whether files of this kind send signals (`fasync` of Linux).
fn sends(description: &Description) -> bool {
    description.downcast::<PipeEnd>().is_some()
        || SocketFile::of(description).is_ok()
        || is_terminal(description)
        || description.downcast::<Inotify>().is_some()
}

fn is_terminal(description: &Description) -> bool {
    description.downcast::<Slave>().is_some() || description.downcast::<Master>().is_some()
}

/// Watches a description as its settings say: anew after each change, and after a restore.
pub(crate) fn watch(system: &Arc<System>, description: &Description) {
    let settings = description.signal_settings();
    let SignalDriven { owner, on, .. } = *settings.lock();
    if owner.is_none() || !sends(description) {
        description.set_signal_watch(None);
        return;
    }
    let mut interest = Events::PRI;
    if on.is_some() && description.access().readable() {
        interest |= Events::READABLE;
    }
    if on.is_some() && description.access().writable() {
        interest |= Events::WRITABLE;
    }
    let teller: Arc<dyn Notify> = Arc::new(Teller {
        system: Arc::downgrade(system),
        settings,
        interest,
    });
    let mut table = PollTable::waiting(Arc::clone(&teller), interest);
    description.file().poll(&mut table);
    description.set_signal_watch(Some((teller, table.into_registrations())));
}

/// `O_ASYNC` by `F_SETFL` or `FIOASYNC`; false when files of this kind send no signals.
pub(crate) fn switch(
    sys: &Sys<'_>,
    fd: i32,
    description: &Description,
    flags: StatusFlags,
) -> bool {
    let wanted = flags.contains(StatusFlags::ASYNC);
    if wanted == description.flags().contains(StatusFlags::ASYNC) {
        return true;
    }
    if !sends(description) {
        return false;
    }
    {
        let settings = description.signal_settings();
        let mut settings = settings.lock();
        settings.on = wanted.then_some(fd);
        if wanted && settings.owner.is_none() && is_terminal(description) {
            settings.owner = Some(Owner::Process(sys.task.pid()));
            settings.uids = uids(sys);
        }
    }
    let mut now = description.flags();
    now.set(StatusFlags::ASYNC, wanted);
    description.set_flags(now);
    watch(sys.system, description);
    true
}

fn uids(sys: &Sys<'_>) -> (u32, u32) {
    let creds = sys.process().creds();
    (creds.uid, creds.euid)
}

fn set_owner(sys: &Sys<'_>, description: &Description, owner: Option<Owner>) -> SysResult {
    if owner.is_some_and(|owner| !exists(sys, owner)) {
        return Err(Errno::ESRCH.into());
    }
    {
        let settings = description.signal_settings();
        let mut settings = settings.lock();
        settings.owner = owner;
        settings.uids = uids(sys);
    }
    watch(sys.system, description);
    Ok(0)
}

fn exists(sys: &Sys<'_>, owner: Owner) -> bool {
    let tree = sys.kernel().tree.lock();
    match owner {
        Owner::Thread(id) | Owner::Process(id) => {
            tree.task(id).is_some() || tree.links(id).is_some()
        }
        Owner::Group(id) => !tree.group_members(id).is_empty() || tree.links(id).is_some(),
    }
}

/// `F_SETOWN`, `FIOSETOWN` and `SIOCSPGRP`: a process, or a group as a negative number.
pub(crate) fn set_own(sys: &Sys<'_>, description: &Description, who: i32) -> SysResult {
    let owner = match who {
        0 => None,
        i32::MIN => return Err(Errno::EINVAL.into()),
        pid if pid > 0 => Some(Owner::Process(pid)),
        group => Some(Owner::Group(-group)),
    };
    set_owner(sys, description, owner)
}

/// The owner if there still is one.
fn owner(sys: &Sys<'_>, description: &Description) -> Option<Owner> {
    let settings = description.signals()?;
    settings.owner.filter(|owner| exists(sys, *owner))
}

/// `F_GETOWN`, `FIOGETOWN` and `SIOCGPGRP`.
pub(crate) fn get_own(sys: &Sys<'_>, description: &Description) -> i32 {
    match owner(sys, description) {
        None => 0,
        Some(Owner::Thread(id) | Owner::Process(id)) => id,
        Some(Owner::Group(id)) => -id,
    }
}

/// The commands of fcntl(2) that are about signals; `None` for others.
pub(crate) fn command(
    sys: &Sys<'_>,
    description: &Description,
    command: u32,
    arg: u64,
) -> Option<SysResult> {
    let low = u32::try_from(arg & u64::from(u32::MAX))
        .unwrap_or(0)
        .cast_signed();
    Some(match command {
        g::F_SETOWN => set_own(sys, description, low),
        g::F_GETOWN => Ok(i64::from(get_own(sys, description)).cast_unsigned()),
        g::F_SETOWN_EX => set_own_ex(sys, description, arg),
        g::F_GETOWN_EX => get_own_ex(sys, description, arg),
        g::F_SETSIG => set_signal(description, arg),
        g::F_GETSIG => {
            let signal = description.signals().map_or(0, |settings| settings.signal);
            Ok(u64::from(signal.cast_unsigned()))
        }
        _ => return None,
    })
}

fn set_signal(description: &Description, signal: u64) -> SysResult {
    let signal = i32::try_from(signal).map_err(|_| Errno::EINVAL)?;
    if signal != 0 && Signal::new(signal).is_none() {
        return Err(Errno::EINVAL.into());
    }
    description.signal_settings().lock().signal = signal;
    Ok(0)
}

/// `struct f_owner_ex`: kind and number.
fn set_own_ex(sys: &Sys<'_>, description: &Description, addr: u64) -> SysResult {
    let [kind, id]: [i32; 2] = sys.mm().read_obj(addr)?;
    let owner = match kind.cast_unsigned() {
        g::F_OWNER_TID => Owner::Thread(id),
        g::F_OWNER_PID => Owner::Process(id),
        g::F_OWNER_PGRP => Owner::Group(id),
        _ => return Err(Errno::EINVAL.into()),
    };
    set_owner(sys, description, (id != 0).then_some(owner))
}

fn get_own_ex(sys: &Sys<'_>, description: &Description, addr: u64) -> SysResult {
    let (kind, id) = match owner(sys, description) {
        None => (g::F_OWNER_TID, 0),
        Some(Owner::Thread(id)) => (g::F_OWNER_TID, id),
        Some(Owner::Process(id)) => (g::F_OWNER_PID, id),
        Some(Owner::Group(id)) => (g::F_OWNER_PGRP, id),
    };
    sys.mm().write_obj(addr, &[kind.cast_signed(), id])?;
    Ok(0)
}

/// `FIOSETOWN`, `SIOCSPGRP`, `FIOGETOWN` and `SIOCGPGRP`, which sockets have; `None` for other requests.
pub(crate) fn request(
    sys: &Sys<'_>,
    description: &Description,
    request: u32,
    arg: u64,
) -> Option<SysResult> {
    const FIOSETOWN: u32 = 0x8901;
    const SIOCSPGRP: u32 = 0x8902;
    const FIOGETOWN: u32 = 0x8903;
    const SIOCGPGRP: u32 = 0x8904;
    SocketFile::of(description).ok()?;
    let mm = sys.mm();
    Some(match request {
        FIOSETOWN | SIOCSPGRP => match mm.read_obj::<i32>(arg) {
            Ok(who) => set_own(sys, description, who),
            Err(errno) => Err(errno.into()),
        },
        FIOGETOWN | SIOCGPGRP => {
            let told = mm.write_bytes(arg, &get_own(sys, description).to_ne_bytes());
            told.map(|()| 0).map_err(Into::into)
        }
        _ => return None,
    })
}
