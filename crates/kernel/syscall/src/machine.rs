//! Calls about the machine: what it is called, how much of it there is, random numbers, the processor's bases.

use std::sync::atomic::Ordering::Relaxed;

use base_abi::Errno;
use base_abi::general::{GRND_INSECURE, GRND_NONBLOCK, GRND_RANDOM};
use kernel_vfs::UserMemory;

use crate::Look;
use crate::call::{Args, Stop, Sys, SysResult};
use crate::entry::Entry;

pub(crate) const ENTRIES: &[Entry] = &[
    Entry::full(63, "uname", "p", uname),
    Entry::full(99, "sysinfo", "p", sysinfo),
    Entry::full(318, "getrandom", "pux", getrandom),
    Entry::partial(158, "arch_prctl", "xp", arch_prctl, "FS and GS bases only"),
    Entry::partial(
        135,
        "personality",
        "x",
        personality,
        "stored, without effect",
    ),
    Entry::full(309, "getcpu", "ppp", getcpu),
];

fn uname(sys: &mut Sys<'_>, args: Args) -> SysResult {
    const FIELD: usize = 65;
    let mut out = [0u8; FIELD * 6];
    let host = sys.kernel().config.hostname.clone();
    let fields = [
        "Linux",
        host.as_str(),
        crate::RELEASE,
        crate::VERSION,
        "x86_64",
        "(none)",
    ];
    for (slot, text) in out.chunks_mut(FIELD).zip(fields) {
        let n = text.len().min(FIELD - 1);
        slot[..n].copy_from_slice(&text.as_bytes()[..n]);
    }
    sys.mm().write_bytes(args.u64(0), &out)?;
    Ok(0)
}

fn sysinfo(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let total = sys.kernel().config.memory;
    let used = sys.system.memory_use(Look::Closely).guest.min(total);
    let tasks = u16::try_from(sys.kernel().tree.lock().task_count()).unwrap_or(u16::MAX);
    let mut out = [0u8; 112];
    let mut put = |at: usize, value: u64| out[at..at + 8].copy_from_slice(&value.to_le_bytes());
    put(0, sys.now() / 1_000_000_000);
    put(32, total);
    put(40, total - used);
    out[80..82].copy_from_slice(&tasks.to_le_bytes());
    out[104..108].copy_from_slice(&1u32.to_le_bytes());
    sys.mm().write_bytes(args.u64(0), &out)?;
    Ok(0)
}

fn getrandom(sys: &mut Sys<'_>, args: Args) -> SysResult {
    const SOURCES: u32 = GRND_RANDOM | GRND_INSECURE;
    let flags = args.u32(2);
    if flags & !(GRND_NONBLOCK | SOURCES) != 0 || flags & SOURCES == SOURCES {
        return Err(Errno::EINVAL.into());
    }
    let len = args.usize(1).min(32 << 20);
    let mm = sys.mm();
    let mut chunk = [0u8; 4096];
    let mut done = 0;
    while done < len {
        let n = (len - done).min(chunk.len());
        sys.kernel().rng.fill(&mut chunk[..n]);
        match mm.write_some(args.u64(0).wrapping_add(done as u64), &chunk[..n]) {
            Ok(given) => done += given,
            Err(errno) if done == 0 => return Err(errno.into()),
            Err(_) => break,
        }
    }
    Ok(done as u64)
}

fn arch_prctl(sys: &mut Sys<'_>, args: Args) -> SysResult {
    const SET_GS: u32 = 0x1001;
    const SET_FS: u32 = 0x1002;
    const GET_FS: u32 = 0x1003;
    const GET_GS: u32 = 0x1004;
    let value = args.u64(1);
    let limit = sys.kernel().platform.features().max_address;
    match args.u32(0) {
        SET_FS | SET_GS if value >= limit => Err(Errno::EPERM.into()),
        SET_FS => {
            let cpu = sys.cpu.state_mut().map_err(|e| e.errno())?;
            cpu.regs.fs_base = value;
            cpu.regs.rax = 0;
            Err(Stop::Resume)
        }
        SET_GS => {
            let cpu = sys.cpu.state_mut().map_err(|e| e.errno())?;
            cpu.regs.gs_base = value;
            cpu.regs.rax = 0;
            Err(Stop::Resume)
        }
        GET_FS | GET_GS => {
            let regs = sys.cpu.state().map_err(|e| e.errno())?.regs;
            let base = if args.u32(0) == GET_FS {
                regs.fs_base
            } else {
                regs.gs_base
            };
            sys.mm().write_bytes(value, &base.to_le_bytes())?;
            Ok(0)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

fn personality(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let slot = &sys.process().personality;
    let old = slot.load(Relaxed);
    if args.u32(0) != u32::MAX {
        slot.store(args.u32(0), Relaxed);
    }
    Ok(u64::from(old))
}

fn getcpu(sys: &mut Sys<'_>, args: Args) -> SysResult {
    for at in [args.u64(0), args.u64(1)] {
        if at != 0 {
            sys.mm().write_obj(at, &0u32)?;
        }
    }
    Ok(0)
}
