//! Moving bytes between files: sendfile(2), copy_file_range(2), splice(2), tee(2), vmsplice(2).

use std::sync::Arc;

use base_abi::Errno;
use kernel_core::task::OnSignal;
use kernel_vfs::{Description, Events, StatusFlags, Whence};

use crate::call::{Args, Stop, Sys, SysResult};
use crate::entry::Entry;
use crate::fds::pipe_of;
use crate::file_limit;
use crate::rw::{CHUNK, TRANSFER_MAX, read_vector, write_vector};

pub(crate) const ENTRIES: &[Entry] = &[
    Entry::full(40, "sendfile", "ddpu", sendfile),
    Entry::full(326, "copy_file_range", "dpdpux", copy_file_range),
    Entry::partial(275, "splice", "dpdpux", splice, "copies"),
    Entry::partial(276, "tee", "ddux", tee, "copies"),
    Entry::partial(278, "vmsplice", "dpux", vmsplice, "copies"),
];

/// Where one side of a copy reads or writes: its own offset, or one in guest memory.
struct Side {
    description: Arc<Description>,
    pointer: u64,
    offset: Option<u64>,
}

impl Side {
    fn new(sys: &Sys<'_>, fd: i32, pointer: u64) -> Result<Side, Errno> {
        let description = sys.files().get_file(fd)?;
        let offset = match pointer {
            0 => None,
            at => {
                let value: i64 = sys.mm().read_obj(at)?;
                Some(u64::try_from(value).map_err(|_| Errno::EINVAL)?)
            }
        };
        Ok(Side {
            description,
            pointer,
            offset,
        })
    }

    fn read(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        match self.offset {
            Some(offset) => self.description.read_at(offset, buffer),
            None => self.description.read(buffer),
        }
    }

    fn write(&self, data: &[u8]) -> Result<usize, Errno> {
        match self.offset {
            Some(offset) => self.description.write_at(offset, data),
            None => self.description.write(data),
        }
    }

    fn advance(&mut self, n: usize) {
        self.offset = self.offset.map(|o| o + n as u64);
    }

    fn finish(&self, sys: &Sys<'_>) -> Result<(), Errno> {
        match self.offset {
            Some(offset) => sys.mm().write_obj(self.pointer, &offset),
            None => Ok(()),
        }
    }

    /// Gives back what could not be written on.
    fn unread(&self, n: usize) {
        if self.offset.is_none() && self.description.file().seekable() && n > 0 {
            let back = i64::try_from(n).unwrap_or(0);
            let _ = self.description.seek(-back, Whence::Current);
        }
    }
}

fn sendfile(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let out = Side::new(sys, args.i32(0), 0)?;
    let source = Side::new(sys, args.i32(1), args.u64(2))?;
    if !source.description.file().seekable() {
        return Err(Errno::EINVAL.into());
    }
    copy(sys, source, out, args.usize(3))
}

fn copy_file_range(sys: &mut Sys<'_>, args: Args) -> SysResult {
    if args.u32(5) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let source = Side::new(sys, args.i32(0), args.u64(1))?;
    let out = Side::new(sys, args.i32(2), args.u64(3))?;
    for side in [&source, &out] {
        let kind = side.description.file().stat()?.mode & 0o170_000;
        if kind == 0o040_000 {
            return Err(Errno::EISDIR.into());
        }
        if kind != 0o100_000 {
            return Err(Errno::EINVAL.into());
        }
    }
    if out.description.flags().contains(StatusFlags::APPEND) {
        return Err(Errno::EBADF.into());
    }
    // One write as to the limit of a file's length, where sendfile(2) is many.
    let len = args.usize(4).min(TRANSFER_MAX);
    let len = file_limit::room(sys, &out.description, out.offset, len)?;
    copy(sys, source, out, len)
}

/// Moves bytes from one file to another through a bounded buffer.
fn copy(sys: &mut Sys<'_>, mut source: Side, mut out: Side, len: usize) -> SysResult {
    if !source.description.access().readable() || !out.description.access().writable() {
        return Err(Errno::EBADF.into());
    }
    let len = len.min(TRANSFER_MAX);
    let mut done = usize::try_from(sys.restart.progress).unwrap_or(0);
    let mut buffer = vec![0u8; len.min(CHUNK)];
    while done < len {
        let want = match file_limit::room(
            sys,
            &out.description,
            out.offset,
            (len - done).min(buffer.len()),
        ) {
            Ok(want) => want,
            Err(_) if done > 0 => break,
            Err(errno) => return Err(errno.into()),
        };
        let from = Arc::clone(&source.description);
        let got = sys.blocking(&from, Events::READABLE, OnSignal::Restart, |_| {
            source.read(&mut buffer[..want])
        });
        let n = match got {
            Ok(0) => break,
            Ok(n) => n,
            Err(_) if done > 0 => break,
            Err(stop) => return Err(stop),
        };
        let target = Arc::clone(&out.description);
        let written = sys.blocking(&target, Events::WRITABLE, OnSignal::Restart, |_| {
            out.write(&buffer[..n])
        });
        match written {
            Ok(w) => {
                source.unread(n - w.min(n));
                source.advance(w);
                out.advance(w);
                done += w;
                sys.restart.progress = done as u64;
            }
            Err(Stop::Block(mut blocked)) => {
                source.unread(n);
                source.finish(sys)?;
                if done > 0 {
                    blocked.on_signal = OnSignal::Partial;
                }
                return Err(Stop::Block(blocked));
            }
            Err(stop) => {
                source.unread(n);
                if done > 0 {
                    break;
                }
                if matches!(stop, Stop::Errno(Errno::EPIPE)) {
                    sys.raise_sigpipe();
                }
                return Err(stop);
            }
        }
    }
    source.finish(sys)?;
    out.finish(sys)?;
    Ok(done as u64)
}

const SPLICE_NONBLOCK: u32 = 2;

fn splice(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let mut source = Side::new(sys, args.i32(0), args.u64(1))?;
    let mut out = Side::new(sys, args.i32(2), args.u64(3))?;
    if !source.description.access().readable() || !out.description.access().writable() {
        return Err(Errno::EBADF.into());
    }
    let (from, to) = (pipe_of(&source.description), pipe_of(&out.description));
    let len = args.usize(4).min(TRANSFER_MAX);
    let (waits_on, events) = match (&from, &to) {
        (None, None) => return Err(Errno::EINVAL.into()),
        (Some(_), _) if args.u64(1) != 0 => return Err(Errno::ESPIPE.into()),
        (_, Some(_)) if args.u64(3) != 0 => return Err(Errno::ESPIPE.into()),
        (Some(_), _) => (Arc::clone(&source.description), Events::READABLE),
        (None, Some(_)) => (Arc::clone(&out.description), Events::WRITABLE),
    };
    let wanted = len;
    let len = match to {
        Some(_) => len,
        None => file_limit::room(sys, &out.description, out.offset, len)?,
    };
    let nonblocking = args.u32(5) & SPLICE_NONBLOCK != 0;
    let moved = {
        let attempt = |_: &mut Sys<'_>| match (&from, &to) {
            (Some(from), Some(to)) => from.splice_pipe(to, len),
            (Some(from), None) => from.splice_to(len, &mut |data| out.write(data)),
            (None, Some(to)) => to.splice_from(len, &mut |buffer| source.read(buffer)),
            (None, None) => Err(Errno::EINVAL),
        };
        if nonblocking {
            attempt(sys).map_err(Stop::Errno)?
        } else {
            sys.blocking(&waits_on, events, OnSignal::Restart, attempt)?
        }
    };
    source.advance(moved);
    out.advance(moved);
    let left = from.as_ref().is_some_and(|from| !from.is_empty());
    if moved == len && len < wanted && left {
        // The next page found the limit of the file's length: only the signal tells.
        let _ = file_limit::room(sys, &out.description, out.offset, 1);
    }
    source.finish(sys)?;
    out.finish(sys)?;
    Ok(moved as u64)
}

fn tee(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let source = sys.files().get_file(args.i32(0))?;
    let out = sys.files().get_file(args.i32(1))?;
    let (from, to) = (
        pipe_of(&source).ok_or(Errno::EINVAL)?,
        pipe_of(&out).ok_or(Errno::EINVAL)?,
    );
    let len = args.usize(2).min(TRANSFER_MAX);
    if args.u32(3) & SPLICE_NONBLOCK != 0 {
        return Ok(from.tee(&to, len)? as u64);
    }
    let n = sys.blocking(&source, Events::READABLE, OnSignal::Restart, |_| {
        from.tee(&to, len)
    })?;
    Ok(n as u64)
}

fn vmsplice(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let description = sys.files().get_file(args.i32(0))?;
    pipe_of(&description).ok_or(Errno::EBADF)?;
    if description.access().writable() {
        write_vector(sys, args, None)
    } else {
        read_vector(sys, args, None)
    }
}
