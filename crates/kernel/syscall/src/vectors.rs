//! Reading and writing several parts at once: readv(2), writev(2), preadv(2), pwritev(2), preadv2(2), pwritev2(2).

use base_abi::Errno;
use kernel_net::SocketFile;
use kernel_vfs::{Events, PollTable};

use crate::call::{Args, Stop, Sys, SysResult};
use crate::entry::Entry;
use crate::rw::{Where, check_read, check_write, read_into, what_was_done, write_from};

pub(crate) const ENTRIES: &[Entry] = &[
    Entry::full(19, "readv", "dpd", readv),
    Entry::full(20, "writev", "dpd", writev),
    Entry::full(295, "preadv", "dpdd", preadv),
    Entry::full(296, "pwritev", "dpdd", pwritev),
    Entry::full(327, "preadv2", "dpddxx", preadv),
    Entry::partial(
        328,
        "pwritev2",
        "dpddxx",
        pwritev,
        "no RWF_NOAPPEND, no RWF_ATOMIC",
    ),
];

fn readv(sys: &mut Sys<'_>, args: Args) -> SysResult {
    read_vector(sys, args, None)
}

fn preadv(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let (at, flags) = vector_offset(sys, args)?;
    if flags & !KNOWN != 0 {
        check_read(&*sys.file(args.i32(0))?, at)?;
        return Err(Errno::EOPNOTSUPP.into());
    }
    let result = read_vector(sys, args, at);
    hurried(sys, flags, result)
}

/// `RWF_NOWAIT` and `RWF_APPEND` (preadv2(2)).
const NOWAIT: u32 = 0x8;
const APPEND: u32 = 0x10;
/// The flags that preadv2(2) and pwritev2(2) know: these, and `RWF_HIPRI`, `_DSYNC`, `_SYNC`, which ask for nothing here.
const KNOWN: u32 = 0x7 | NOWAIT | APPEND;

/// Where the call begins, and its flags. preadv2 and pwritev2 take -1 for "the file offset".
fn vector_offset(sys: &Sys<'_>, args: Args) -> Result<(Option<u64>, u32), Errno> {
    let v2 = matches!(sys.nr, 327 | 328);
    let flags = if v2 { args.u32(5) } else { 0 };
    let at = match args.i64(3) {
        -1 if v2 => None,
        offset => Some(u64::try_from(offset).map_err(|_| Errno::EINVAL)?),
    };
    Ok((at, flags))
}

/// With `RWF_NOWAIT` a call does not wait: it gives what it has.
fn hurried(sys: &mut Sys<'_>, flags: u32, result: SysResult) -> SysResult {
    match result {
        Err(Stop::Block(_)) if flags & NOWAIT != 0 => {
            let done = usize::try_from(sys.restart.progress).unwrap_or(0);
            what_was_done(done, Errno::EAGAIN)
        }
        other => other,
    }
}

fn read_vector(sys: &mut Sys<'_>, args: Args, at: Option<u64>) -> SysResult {
    let description = sys.file(args.i32(0))?;
    check_read(&description, at)?;
    let count = usize::try_from(args.i32(2)).map_err(|_| Errno::EINVAL)?;
    let parts = sys.mm().read_iovecs(args.u64(1), count)?;
    if parts.iter().all(|part| part.len == 0) {
        return Ok(0);
    }
    if let (Ok(socket), None) = (SocketFile::of(&description), at) {
        return crate::socket_io::read(sys, &description, socket, &parts);
    }
    let mut done = 0u64;
    for part in parts.iter().filter(|p| p.len > 0) {
        let len = usize::try_from(part.len).unwrap_or(usize::MAX);
        let offset = at.map(|o| o.saturating_add(done));
        // Later parts must not wait: what was read counts.
        let file = description.file();
        let ready = done == 0
            || file.seekable()
            || file.poll(&mut PollTable::look()).intersects(Events::IN);
        if !ready {
            break;
        }
        let got = read_into(sys, &description, part.base, len, offset);
        match got {
            Ok(n) => {
                done += n;
                if n < part.len {
                    break;
                }
            }
            // What came of a part that is not all there counts.
            Err(Stop::Block(_)) if done > 0 => {
                done += std::mem::take(&mut sys.restart.progress);
                break;
            }
            Err(_) if done > 0 => break,
            Err(stop) => return Err(stop),
        }
    }
    Ok(done)
}

fn writev(sys: &mut Sys<'_>, args: Args) -> SysResult {
    write_vector(sys, args, Where::Offset)
}

fn pwritev(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let (at, flags) = vector_offset(sys, args)?;
    let at = match (at, flags & APPEND) {
        (None, 0) => Where::Offset,
        (Some(at), 0) => Where::At(at),
        (None, _) => Where::EndAndOffset,
        (Some(_), _) => Where::End,
    };
    if flags & !KNOWN != 0 {
        check_write(&*sys.file(args.i32(0))?, at)?;
        return Err(Errno::EOPNOTSUPP.into());
    }
    let result = write_vector(sys, args, at);
    hurried(sys, flags, result)
}

fn write_vector(sys: &mut Sys<'_>, args: Args, at: Where) -> SysResult {
    let description = sys.file(args.i32(0))?;
    check_write(&description, at)?;
    let count = usize::try_from(args.i32(2)).map_err(|_| Errno::EINVAL)?;
    let parts = sys.mm().read_iovecs(args.u64(1), count)?;
    if parts.iter().all(|part| part.len == 0) {
        return Ok(0);
    }
    if let (Ok(socket), false) = (SocketFile::of(&description), matches!(at, Where::At(_))) {
        return crate::socket_io::write(sys, &description, socket, &parts);
    }
    let total: u64 = parts.iter().map(|p| p.len).sum();
    let len = usize::try_from(total).unwrap_or(usize::MAX);
    write_from(sys, &description, len, at, |sys, done, buffer| {
        sys.mm().gather_prefix(&parts, done as u64, buffer)
    })
}
