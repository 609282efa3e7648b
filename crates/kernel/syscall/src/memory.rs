//! Memory: mmap and its family, locking, advice, protection keys, NUMA policy.

use std::sync::Arc;

use base_abi::Errno;
use base_abi::device;
use base_abi::general::{
    MADV_COLD, MADV_COLLAPSE, MADV_PAGEOUT, MADV_WILLNEED, MAP_ANONYMOUS, MAP_PRIVATE, MAP_TYPE,
    MS_ASYNC, PROT_WRITE,
};
use base_abi::page::page_aligned;
use kernel_core::task::{OnSignal, Task};
use kernel_mm::{Advice, LockAll, MapRequest, Mm, Source};
use kernel_vfs::{Events, FileType, Path, UserMemory};

use crate::call::{Args, Stop, Sys, SysResult};
use crate::entry::Entry;

/// The device number of `/dev/zero`.
const ZERO: u64 = device::make(1, 5);

const ONE_NODE: &str = "one memory node: policies are accepted and change nothing";
const NO_KEYS: &str = "as on a processor without protection keys";

pub(crate) const ENTRIES: &[Entry] = &[
    Entry::full(9, "mmap", "pxxxdx", mmap),
    Entry::full(10, "mprotect", "pxx", |s, a| {
        done(s.mm().protect(a.u64(0), a.u64(1), a.u32(2)))
    }),
    Entry::full(11, "munmap", "px", |s, a| {
        done(s.mm().unmap(a.u64(0), a.u64(1)))
    }),
    Entry::full(12, "brk", "p", |s, a| Ok(s.mm().brk(a.u64(0)))),
    Entry::full(25, "mremap", "pxxxp", |s, a| {
        let to = a.u64(4);
        Ok(s.mm().remap(a.u64(0), a.u64(1), a.u64(2), a.u32(3), to)?)
    }),
    Entry::full(26, "msync", "pxx", msync),
    Entry::partial(
        27,
        "mincore",
        "pxp",
        |s, a| done(s.mm().mincore(a.u64(0), a.u64(1), a.u64(2))),
        "every accessible page counts as resident",
    ),
    Entry::partial(
        28,
        "madvise",
        "pxd",
        |s, a| advise(&s.mm(), a.u64(0), a.u64(1), a.u32(2)),
        "hints about paging are accepted without effect; no guard regions",
    ),
    Entry::full(149, "mlock", "px", |s, a| {
        done(s.mm().mlock(a.u64(0), a.u64(1)))
    }),
    Entry::full(325, "mlock2", "pxx", mlock2),
    Entry::full(150, "munlock", "px", |s, a| {
        done(s.mm().munlock(a.u64(0), a.u64(1)))
    }),
    Entry::full(151, "mlockall", "x", mlockall),
    Entry::full(152, "munlockall", "", |s, _| {
        s.mm().munlock_all();
        Ok(0)
    }),
    Entry::refused(
        216,
        "remap_file_pages",
        "pxxxx",
        |_, _| Err(Errno::EINVAL.into()),
        "deprecated in Linux 3.16",
    ),
    Entry::partial(237, "mbind", "pxxpxx", mbind, ONE_NODE),
    Entry::partial(238, "set_mempolicy", "dpx", set_mempolicy, ONE_NODE),
    Entry::partial(239, "get_mempolicy", "ppxpx", get_mempolicy, ONE_NODE),
    Entry::partial(256, "migrate_pages", "dxpp", |_, _| Ok(0), ONE_NODE),
    Entry::partial(279, "move_pages", "dxpppx", move_pages, ONE_NODE),
    Entry::partial(
        450,
        "set_mempolicy_home_node",
        "pxxx",
        |_, _| Ok(0),
        ONE_NODE,
    ),
    Entry::partial(329, "pkey_mprotect", "pxxd", pkey_mprotect, NO_KEYS),
    Entry::refused(
        330,
        "pkey_alloc",
        "xx",
        |_, _| Err(Errno::ENOSPC.into()),
        NO_KEYS,
    ),
    Entry::refused(
        331,
        "pkey_free",
        "d",
        |_, _| Err(Errno::EINVAL.into()),
        NO_KEYS,
    ),
    Entry::partial(
        440,
        "process_madvise",
        "dpuxx",
        process_madvise,
        "MADV_COLD, PAGEOUT, WILLNEED and COLLAPSE, as Linux allows for others",
    ),
    Entry::refused(
        447,
        "memfd_secret",
        "x",
        |_, _| Err(Errno::ENOSYS.into()),
        "as when secretmem is not enabled",
    ),
];

fn done(result: kernel_vfs::Result<()>) -> SysResult {
    Ok(result.map(|()| 0)?)
}

fn mmap(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let (flags, offset) = (args.u32(3), args.u64(5));
    if !page_aligned(offset) {
        return Err(Errno::EINVAL.into());
    }
    let source = if flags & MAP_ANONYMOUS != 0 {
        Source::Anonymous
    } else {
        file_source(sys, args.i32(4), offset)?
    };
    let request = MapRequest {
        addr: args.u64(0),
        len: args.u64(1),
        prot: args.u32(2),
        flags,
        source,
    };
    let Source::File { description, .. } = &request.source else {
        return Ok(sys.mm().map(request)?);
    };
    if !description.file().lazy() {
        return match sys.mm().map(request.clone()) {
            Err(Errno::ENODEV) => Ok(sys.mm().map(zeroes(request)?)?),
            other => Ok(other?),
        };
    }
    let lazy = Arc::clone(description);
    sys.blocking(&lazy, Events::READABLE, OnSignal::Restart, |sys| {
        sys.mm().map(request.clone())
    })
}

/// `/dev/zero` is mapped as nothing is (`mmap_zero` of Linux).
///
/// # Errors
/// `ENODEV` for every other file; `EACCES` for what its descriptor may not do.
fn zeroes(request: MapRequest) -> Result<MapRequest, Errno> {
    let Source::File { description, .. } = &request.source else {
        return Err(Errno::ENODEV);
    };
    let stat = description.file().stat()?;
    let device = FileType::from_mode(stat.mode) == Some(FileType::CharDevice);
    if !device || stat.rdev != ZERO {
        return Err(Errno::ENODEV);
    }
    let access = description.access();
    let shared = request.flags & MAP_TYPE != MAP_PRIVATE;
    let writes = shared && request.prot & PROT_WRITE != 0;
    if !access.readable() || (writes && !access.writable()) {
        return Err(Errno::EACCES);
    }
    Ok(MapRequest {
        source: Source::Anonymous,
        ..request
    })
}

fn file_source(sys: &mut Sys<'_>, fd: i32, offset: u64) -> Result<Source, Errno> {
    let description = sys.file_or_place(fd)?;
    let path: Arc<str> = match Path::of(&description) {
        Ok(place) => {
            let fs = sys.fs();
            let text = place.text(fs.read().root());
            String::from_utf8_lossy(&text).into()
        }
        Err(_) => description.file().anonymous_name().into(),
    };
    Ok(Source::File {
        description,
        path,
        offset,
    })
}

fn msync(sys: &mut Sys<'_>, args: Args) -> SysResult {
    // Linux takes no flags at all as MS_ASYNC.
    let flags = if args.u32(2) == 0 {
        MS_ASYNC
    } else {
        args.u32(2)
    };
    done(sys.mm().sync(args.u64(0), args.u64(1), flags))
}

fn advise(mm: &Mm, addr: u64, len: u64, advice: u32) -> SysResult {
    done(mm.advise(addr, len, Advice::from_raw(advice)?))
}

fn mlock2(sys: &mut Sys<'_>, args: Args) -> SysResult {
    const ONFAULT: u32 = 1;
    if args.u32(2) & !ONFAULT != 0 {
        return Err(Errno::EINVAL.into());
    }
    done(sys.mm().mlock(args.u64(0), args.u64(1)))
}

fn mlockall(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let what = LockAll::from_bits(args.u32(0)).ok_or(Errno::EINVAL)?;
    if what.is_empty() || what == LockAll::ONFAULT {
        return Err(Errno::EINVAL.into());
    }
    done(sys.mm().mlock_all(what))
}

fn pkey_mprotect(sys: &mut Sys<'_>, args: Args) -> SysResult {
    if args.i32(3) != -1 {
        return Err(Errno::EINVAL.into());
    }
    done(sys.mm().protect(args.u64(0), args.u64(1), args.u32(2)))
}

/// Policies of set_mempolicy(2) without their mode flags.
const POLICY_MODES: u32 = 7;
/// `MPOL_F_STATIC_NODES`, `RELATIVE_NODES`, `NUMA_BALANCING`.
const POLICY_FLAGS: u32 = 0xe000;

fn checked_policy(mode: u32) -> Result<(), Errno> {
    if mode & !POLICY_FLAGS >= POLICY_MODES {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

fn mbind(sys: &mut Sys<'_>, args: Args) -> SysResult {
    checked_policy(args.u32(2))?;
    let (addr, len) = (args.u64(0), args.u64(1));
    if !page_aligned(addr) || addr.checked_add(len).is_none() {
        return Err(Errno::EINVAL.into());
    }
    if len > 0 && sys.mm().vma_at(addr).is_none() {
        return Err(Errno::EFAULT.into());
    }
    Ok(0)
}

fn set_mempolicy(_: &mut Sys<'_>, args: Args) -> SysResult {
    checked_policy(args.u32(0))?;
    Ok(0)
}

fn get_mempolicy(sys: &mut Sys<'_>, args: Args) -> SysResult {
    const NODE: u64 = 1;
    const ADDR: u64 = 2;
    const MEMS_ALLOWED: u64 = 4;
    let (mode, mask, max_node, flags) = (args.u64(0), args.u64(1), args.u64(2), args.u64(4));
    if flags & !(NODE | ADDR | MEMS_ALLOWED) != 0
        || (flags & MEMS_ALLOWED != 0 && flags & (NODE | ADDR) != 0)
    {
        return Err(Errno::EINVAL.into());
    }
    let mm = sys.mm();
    if flags & ADDR != 0 && mm.vma_at(args.u64(3)).is_none() {
        return Err(Errno::EFAULT.into());
    }
    if mode != 0 {
        // The default policy, and node 0.
        mm.write_obj(mode, &0u32)?;
    }
    if mask != 0 {
        let bytes = usize::try_from(max_node.min(4096).div_ceil(64) * 8).unwrap_or(0);
        let mut nodes = vec![0u8; bytes];
        if let (Some(first), true) = (nodes.first_mut(), flags & MEMS_ALLOWED != 0) {
            *first = 1;
        }
        mm.write_bytes(mask, &nodes)?;
    }
    Ok(0)
}

fn move_pages(sys: &mut Sys<'_>, args: Args) -> SysResult {
    /// As many as Linux takes at once.
    const MOST: u64 = (1 << 20) - 1;
    let (count, pages, status) = (args.u64(1), args.u64(2), args.u64(4));
    if count > MOST {
        return Err(Errno::E2BIG.into());
    }
    let mm = sys.mm();
    for index in 0..count {
        let at = |base: u64, size: u64| base.checked_add(index * size).ok_or(Errno::EFAULT);
        let page: u64 = mm.read_obj(at(pages, 8)?)?;
        let node = match mm.vma_at(page) {
            Some(_) => 0,
            None => -Errno::EFAULT.raw(),
        };
        mm.write_obj(at(status, 4)?, &node)?;
    }
    Ok(0)
}

fn process_madvise(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let advice = args.u32(3);
    if args.u64(4) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let parts = sys.mm().read_iovecs(args.u64(1), args.usize(2))?;
    let pid = crate::pidfd::pid_of(sys, args.i32(0))?;
    let target = main_thread(sys, pid)?;
    // One's own process takes everything since Linux 6.13.
    if !matches!(
        advice,
        MADV_WILLNEED | MADV_COLD | MADV_PAGEOUT | MADV_COLLAPSE
    ) && pid != sys.task.pid()
    {
        return Err(Errno::EINVAL.into());
    }
    let mm = target.mm();
    let mut advised = 0;
    for part in parts {
        let outcome = advise(&mm, part.base, part.len, advice);
        match outcome {
            Ok(_) => advised += part.len,
            Err(_) if advised > 0 => break,
            Err(stop) => return Err(stop),
        }
    }
    Ok(advised)
}

fn main_thread(sys: &Sys<'_>, pid: i32) -> Result<Arc<Task>, Stop> {
    let threads = sys.kernel().tree.lock().threads_of(pid);
    threads
        .into_iter()
        .next()
        .ok_or_else(|| Errno::ESRCH.into())
}
