//! Opening files by path: open(2), openat2(2), creat(2).

use base_abi::Errno;
use base_abi::general as g;
use kernel_vfs::{FdFlags, OpenHow, Resolve, UserMemory};

use crate::call::{Args, Sys, SysResult};
use crate::entry::Entry;
use crate::fds::fd_value;
use crate::paths::AT_FDCWD;

pub(crate) const ENTRIES: &[Entry] = &[
    Entry::full(2, "open", "sxo", open),
    Entry::full(257, "openat", "dsxo", openat),
    Entry::full(437, "openat2", "dspu", openat2),
    Entry::full(85, "creat", "so", creat),
    Entry::refused(
        303,
        "name_to_handle_at",
        "dsppx",
        |_, _| Err(Errno::EOPNOTSUPP.into()),
        "no file handles",
    ),
    Entry::refused(
        304,
        "open_by_handle_at",
        "dpx",
        |_, _| Err(Errno::EPERM.into()),
        "no file handles",
    ),
];

fn open(sys: &mut Sys<'_>, args: Args) -> SysResult {
    open_at(
        sys,
        AT_FDCWD,
        args.u64(0),
        args.u32(1),
        args.u32(2),
        Resolve::empty(),
    )
}

fn openat(sys: &mut Sys<'_>, args: Args) -> SysResult {
    open_at(
        sys,
        args.i32(0),
        args.u64(1),
        args.u32(2),
        args.u32(3),
        Resolve::empty(),
    )
}

fn creat(sys: &mut Sys<'_>, args: Args) -> SysResult {
    open_at(
        sys,
        AT_FDCWD,
        args.u64(0),
        g::O_CREAT | g::O_WRONLY | g::O_TRUNC,
        args.u32(1),
        Resolve::empty(),
    )
}

fn openat2(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let size = args.usize(3);
    if size < 24 {
        return Err(Errno::EINVAL.into());
    }
    if size > 4096 {
        return Err(Errno::E2BIG.into());
    }
    let mut raw = vec![0u8; size];
    sys.mm().read_bytes(args.u64(2), &mut raw)?;
    if raw[24..].iter().any(|b| *b != 0) {
        return Err(Errno::E2BIG.into());
    }
    let [flags, mode, resolve]: [u64; 3] = sys.mm().read_obj(args.u64(2))?;
    let flags = u32::try_from(flags).map_err(|_| Errno::EINVAL)?;
    let creates = flags & (g::O_CREAT | (g::__O_TMPFILE)) != 0;
    let mode = u32::try_from(mode)
        .ok()
        .filter(|m| m & !0o7777 == 0)
        .ok_or(Errno::EINVAL)?;
    if mode != 0 && !creates {
        return Err(Errno::EINVAL.into());
    }
    let resolve = Resolve::from_bits(resolve).ok_or(Errno::EINVAL)?;
    if resolve.contains(Resolve::BENEATH | Resolve::IN_ROOT) {
        return Err(Errno::EINVAL.into());
    }
    open_at(sys, args.i32(0), args.u64(1), flags, mode, resolve)
}

fn open_at(
    sys: &mut Sys<'_>,
    fd: i32,
    addr: u64,
    flags: u32,
    mode: u32,
    resolve: Resolve,
) -> SysResult {
    let path = sys.read_path(addr)?;
    let flags = flags | g::O_LARGEFILE;
    let opened = sys.with_at(fd, &path, |at, fs, _| {
        let mode = mode & 0o7777 & !fs.umask();
        at.open(
            &path,
            OpenHow {
                flags,
                mode,
                resolve,
            },
        )
    });
    let description = match opened {
        Err(Errno::EAGAIN) if flags & g::O_NONBLOCK == 0 => return wait_for_fifo(sys),
        other => other?,
    };
    let close = if flags & g::O_CLOEXEC != 0 {
        FdFlags::CLOEXEC
    } else {
        FdFlags::empty()
    };
    let limit = sys.nofile();
    Ok(fd_value(sys.files().insert(description, close, limit)?))
}

/// Opening a fifo waits for its other end (fifo(7)); the driver keeps this thread's half-open end.
fn wait_for_fifo(sys: &mut Sys<'_>) -> SysResult {
    let mut table = sys.waiting_table(kernel_vfs::Events::all());
    if sys.system.objects.fifos.poll(&mut table) {
        // The other end came in between: do not sleep, ask again.
        sys.task.parker.unpark();
    }
    Err(sys.block(table, kernel_core::task::OnSignal::Restart))
}
