//! Copying between files: sendfile(2), copy_file_range(2); through pipes it is in [`splicing`](crate::splicing).

use std::sync::Arc;

use base_abi::Errno;
use kernel_core::task::OnSignal;
use kernel_vfs::{Description, Events, StatusFlags, Whence};

use crate::call::{Args, Stop, Sys, SysResult};
use crate::entry::Entry;
use crate::file_limit;
use crate::rw::{CHUNK, TRANSFER_MAX};

pub(crate) const ENTRIES: &[Entry] = &[
    Entry::full(40, "sendfile", "ddpu", sendfile),
    Entry::full(326, "copy_file_range", "dpdpux", copy_file_range),
];

/// Where one side of a copy reads or writes: its own offset, or one in guest memory.
pub(crate) struct Side {
    pub(crate) description: Arc<Description>,
    /// Where the offset is in guest memory; 0 for the description's own.
    pub(crate) pointer: u64,
    pub(crate) offset: Option<u64>,
}

impl Side {
    pub(crate) fn new(sys: &mut Sys<'_>, fd: i32, pointer: u64) -> Result<Side, Errno> {
        let description = sys.file(fd)?;
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

    pub(crate) fn read(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        match self.offset {
            Some(offset) => self.description.read_at(offset, buffer),
            None => self.description.read(buffer),
        }
    }

    pub(crate) fn write(&self, data: &[u8]) -> Result<usize, Errno> {
        match self.offset {
            Some(offset) => self.description.write_at(offset, data),
            None => self.description.write(data),
        }
    }

    pub(crate) fn advance(&mut self, n: usize) {
        self.offset = self.offset.map(|o| o + n as u64);
    }

    pub(crate) fn finish(&self, sys: &Sys<'_>) -> Result<(), Errno> {
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
