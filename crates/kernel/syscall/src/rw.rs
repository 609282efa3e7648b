//! Reading, writing, seeking: read(2), write(2), pread(2), lseek(2); those of several parts are in [`vectors`](crate::vectors).

use base_abi::Errno;
use base_abi::page::PAGE_SIZE;
use base_abi::structs::Iovec;
use kernel_core::task::OnSignal;
use kernel_net::SocketFile;
use kernel_vfs::{Description, Events, Whence};

use crate::call::{Args, Stop, Sys, SysResult};
use crate::entry::Entry;
use crate::file_limit;

pub(crate) const ENTRIES: &[Entry] = &[
    Entry::full(0, "read", "dpu", read),
    Entry::full(1, "write", "dpu", write),
    Entry::full(17, "pread64", "dpud", pread64),
    Entry::full(18, "pwrite64", "dpud", pwrite64),
    Entry::full(8, "lseek", "ddd", lseek),
];

/// Most bytes moved at a time: bounds the kernel's own memory.
pub(crate) const CHUNK: usize = 256 << 10;

/// Bytes of a page.
const PAGE: usize = PAGE_SIZE as usize;

/// Linux's own bound of one transfer.
pub(crate) const TRANSFER_MAX: usize = 0x7fff_f000;

fn read(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let description = sys.file(args.i32(0))?;
    if let Ok(socket) = SocketFile::of(&description) {
        let part = Iovec {
            base: args.u64(1),
            len: args.u64(2),
        };
        return crate::socket_io::read(sys, &description, socket, &[part]);
    }
    read_into(sys, &description, args.u64(1), args.usize(2), None)
}

fn pread64(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let offset = u64::try_from(args.i64(3)).map_err(|_| Errno::EINVAL)?;
    let description = sys.file(args.i32(0))?;
    read_into(sys, &description, args.u64(1), args.usize(2), Some(offset))
}

/// The kernel's own memory for one transfer: on the stack for small ones.
struct Room {
    stack: [u8; 4096],
    heap: Vec<u8>,
}

impl Room {
    fn new(len: usize) -> Room {
        let stack = [0; 4096];
        let heap = if len > stack.len() {
            vec![0; len.min(CHUNK)]
        } else {
            Vec::new()
        };
        Room { stack, heap }
    }

    fn bytes(&mut self) -> &mut [u8] {
        if self.heap.is_empty() {
            &mut self.stack
        } else {
            &mut self.heap
        }
    }
}

/// A transfer that fails in the middle gives what was moved before.
pub(crate) fn what_was_done(done: usize, errno: Errno) -> SysResult {
    if done > 0 {
        Ok(done as u64)
    } else {
        Err(errno.into())
    }
}

/// Reads chunk by chunk; only the first may wait, later ones end the transfer.
pub(crate) fn read_into(
    sys: &mut Sys<'_>,
    description: &Description,
    addr: u64,
    len: usize,
    at: Option<u64>,
) -> SysResult {
    let len = len.min(TRANSFER_MAX);
    let mut room = Room::new(len);
    // What came before a wait for more of a lazy file.
    let mut done = usize::try_from(sys.restart.progress).unwrap_or(0).min(len);
    loop {
        let room = room.bytes();
        let want = (len - done).min(room.len());
        let buffer = &mut room[..want];
        let offset = at.map(|o| o.saturating_add(done as u64));
        let mut attempt = |_: &mut Sys<'_>| match offset {
            Some(offset) => description.read_at(offset, buffer),
            None => description.read(buffer),
        };
        let mut got = Err(Stop::Errno(Errno::EAGAIN));
        if done > 0 {
            got = attempt(sys).map_err(Stop::Errno);
        }
        // All of a lazy file is waited for, as of any file on a disk.
        let missing = matches!(got, Err(Stop::Errno(Errno::EAGAIN)));
        if missing && (done == 0 || description.file().lazy()) {
            let on_signal = OnSignal::Restart;
            got = sys.blocking(description, Events::READABLE, on_signal, &mut attempt);
        }
        let n = match got {
            Ok(n) => n,
            Err(Stop::Block(mut blocked)) if done > 0 => {
                sys.restart.progress = done as u64;
                blocked.on_signal = OnSignal::Partial;
                return Err(Stop::Block(blocked));
            }
            Err(_) if done > 0 => return Ok(done as u64),
            Err(stop) => return Err(stop),
        };
        let to = addr.wrapping_add(done as u64);
        let given = sys.mm().write_some(to, &room[..n]).unwrap_or(0);
        done += given;
        if given < n {
            // What has no memory to go to stays in the file.
            if at.is_none() {
                description.put_back(&room[given..n]);
            }
            return what_was_done(done, Errno::EFAULT);
        }
        // A short count ends it: streams give what they have. A lazy file gives what is there already.
        let ended = n == 0 || (n < want && !description.file().lazy());
        if ended || done >= len || !description.file().seekable() {
            sys.restart.progress = 0;
            return Ok(done as u64);
        }
    }
}

fn write(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let description = sys.file(args.i32(0))?;
    let (addr, len) = (args.u64(1), args.usize(2));
    if let Ok(socket) = SocketFile::of(&description) {
        let part = Iovec {
            base: addr,
            len: args.u64(2),
        };
        return crate::socket_io::write(sys, &description, socket, &[part]);
    }
    write_from(
        sys,
        &description,
        len,
        Where::Offset,
        |sys, done, buffer| sys.mm().read_prefix(addr.wrapping_add(done as u64), buffer),
    )
}

fn pwrite64(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let offset = u64::try_from(args.i64(3)).map_err(|_| Errno::EINVAL)?;
    let description = sys.file(args.i32(0))?;
    let (addr, len) = (args.u64(1), args.usize(2));
    let at = Where::At(offset);
    write_from(sys, &description, len, at, |sys, done, buffer| {
        sys.mm().read_prefix(addr.wrapping_add(done as u64), buffer)
    })
}

/// Where a write goes.
#[derive(Clone, Copy)]
pub(crate) enum Where {
    /// To the file offset, which moves.
    Offset,
    At(u64),
    /// To the end; the file offset stays.
    End,
    /// To the end, where the file offset is then.
    EndAndOffset,
}

impl Where {
    fn after(self, done: usize) -> Where {
        match self {
            Where::At(offset) => Where::At(offset.saturating_add(done as u64)),
            other => other,
        }
    }

    /// The offset it begins at, if it is not that of the description.
    fn begins(self, description: &Description) -> Option<u64> {
        match self {
            Where::Offset => None,
            Where::At(offset) => Some(offset),
            Where::End | Where::EndAndOffset => description.file().size().ok(),
        }
    }

    fn write(self, description: &Description, data: &[u8]) -> Result<usize, Errno> {
        match self {
            Where::Offset => description.write(data),
            Where::At(offset) => description.write_at(offset, data),
            Where::End => description.write_end(data),
            Where::EndAndOffset => {
                let n = description.write_end(data)?;
                if description.file().seekable() {
                    description.seek(0, Whence::End)?;
                }
                Ok(n)
            }
        }
    }
}

/// What a write refuses before it looks at the guest's memory.
pub(crate) fn check_write(description: &Description, at: Where) -> Result<(), Errno> {
    if matches!(at, Where::At(_) | Where::End) && !description.file().seekable() {
        return Err(Errno::ESPIPE);
    }
    if description.access().writable() {
        Ok(())
    } else {
        Err(Errno::EBADF)
    }
}

/// What a read refuses before it looks at the guest's memory.
pub(crate) fn check_read(description: &Description, at: Option<u64>) -> Result<(), Errno> {
    if at.is_some() && !description.file().seekable() {
        return Err(Errno::ESPIPE);
    }
    if description.access().readable() {
        Ok(())
    } else {
        Err(Errno::EBADF)
    }
}

/// Writes chunk by chunk. A blocking descriptor takes all before the call returns; what went
/// already is remembered over sleeps. `fetch` fills as much as the guest's memory has.
pub(crate) fn write_from(
    sys: &mut Sys<'_>,
    description: &Description,
    len: usize,
    at: Where,
    mut fetch: impl FnMut(&mut Sys<'_>, usize, &mut [u8]) -> Result<usize, Errno>,
) -> SysResult {
    check_write(description, at)?;
    let len = len.min(TRANSFER_MAX);
    let mut done = usize::try_from(sys.restart.progress)
        .unwrap_or(usize::MAX)
        .min(len);
    let mut room = Room::new(len);
    loop {
        let room = room.bytes();
        let at = at.after(done);
        let start = at.begins(description);
        let allowed = match file_limit::room(sys, description, start, len - done) {
            Ok(allowed) => allowed,
            Err(errno) => return what_was_done(done, errno),
        };
        let limited = allowed < len - done;
        let want = allowed.min(room.len());
        let chunk = &mut room[..want];
        let fetched = match fetch(sys, done, chunk) {
            Ok(n) if n == want => n,
            Ok(n) if description.file().seekable() => n,
            // Streams take pages, or nothing (`pipe_write` of Linux).
            Ok(n) => n - n % PAGE,
            Err(errno) if kernel_mm::missing(&sys.mm()) => return Err(errno.into()),
            Err(_) => 0,
        };
        if fetched == 0 && want > 0 {
            return what_was_done(done, Errno::EFAULT);
        }
        let chunk = &chunk[..fetched];
        let written = sys.blocking(description, Events::WRITABLE, OnSignal::Restart, |_| {
            at.write(description, chunk)
        });
        match written {
            Ok(n) => {
                done += n;
                sys.restart.progress = done as u64;
                // A write over `RLIMIT_FSIZE` ends there, without a signal.
                if done >= len || n == 0 || (limited && n == allowed) {
                    return Ok(done as u64);
                }
                if n < fetched && description.nonblocking() {
                    return Ok(done as u64);
                }
            }
            Err(Stop::Block(mut blocked)) => {
                if done > 0 {
                    blocked.on_signal = OnSignal::Partial;
                }
                return Err(Stop::Block(blocked));
            }
            Err(_) if done > 0 => return Ok(done as u64),
            Err(Stop::Errno(Errno::EPIPE)) => {
                sys.raise_sigpipe();
                return Err(Errno::EPIPE.into());
            }
            Err(stop) => return Err(stop),
        }
    }
}

fn lseek(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let description = sys.files().get_file(args.i32(0))?;
    let whence = match args.u32(2) {
        0 => Whence::Set,
        1 => Whence::Current,
        2 => Whence::End,
        3 => Whence::Data,
        4 => Whence::Hole,
        _ => return Err(Errno::EINVAL.into()),
    };
    Ok(description.seek(args.i64(1), whence)?)
}
