//! Moving bytes through pipes: splice(2), tee(2), vmsplice(2).

use std::sync::Arc;

use base_abi::Errno;
use kernel_core::task::OnSignal;
use kernel_files::pipe::{Moved, Stuck};
use kernel_vfs::{Description, Events, StatusFlags};

use crate::call::{Args, Sys, SysResult};
use crate::copying::Side;
use crate::entry::Entry;
use crate::fds::pipe_of;
use crate::file_limit;
use crate::rw::{CHUNK, TRANSFER_MAX};

pub(crate) const ENTRIES: &[Entry] = &[
    Entry::partial(275, "splice", "dpdpux", splice, "copies"),
    Entry::partial(276, "tee", "ddux", tee, "copies"),
    Entry::partial(278, "vmsplice", "dpux", vmsplice, "copies"),
];

/// `SPLICE_F_NONBLOCK`: the pipes are not waited for.
const SPLICE_NONBLOCK: u32 = 2;
/// `SPLICE_F_MOVE`, `_NONBLOCK`, `_MORE`, `_GIFT`.
const SPLICE_ALL: u32 = 0xf;

/// A file of a transfer, and whether the call waits for it.
struct Party<'a> {
    description: &'a Arc<Description>,
    patience: Patience,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    Waits,
    Never,
}

impl Patience {
    fn unless(hurried: impl IntoIterator<Item = bool>) -> Patience {
        if hurried.into_iter().any(|reason| reason) {
            Patience::Never
        } else {
            Patience::Waits
        }
    }
}

/// Moves what can be moved; while nothing can, waits for the side that is not ready.
fn move_between(
    sys: &mut Sys<'_>,
    (source, target): (Party<'_>, Party<'_>),
    mut attempt: impl FnMut(&mut Sys<'_>) -> Moved,
) -> SysResult {
    let mut table = sys.waiting_table(Events::empty());
    let (mut source_waits, mut target_waits) = (false, false);
    // The third attempt is made when each side was not ready once: it waits for both.
    for _ in 0..3 {
        let (party, events, waits) = match attempt(sys) {
            Ok(moved) => return Ok(moved as u64),
            Err(Stuck::Failed(errno)) => {
                if errno == Errno::EPIPE {
                    sys.raise_sigpipe();
                }
                return Err(errno.into());
            }
            Err(Stuck::Source) => (&source, Events::READABLE, &mut source_waits),
            Err(Stuck::Target) => (&target, Events::WRITABLE, &mut target_waits),
        };
        if party.patience == Patience::Never {
            return Err(Errno::EAGAIN.into());
        }
        if std::mem::replace(waits, true) {
            break;
        }
        table.set_interest(events);
        party.description.file().poll(&mut table);
    }
    Err(sys.block(table, OnSignal::Restart))
}

/// Which waits a splice(2) makes (`do_splice` of Linux): for a pipe unless the call says so, or between two pipes one of their
/// descriptions; for another file as its description says.
fn patience(source: &Side, out: &Side, flags: u32) -> (Patience, Patience) {
    let now = flags & SPLICE_NONBLOCK != 0;
    let (from, to) = (&source.description, &out.description);
    let either = from.nonblocking() || to.nonblocking();
    match (pipe_of(from).is_some(), pipe_of(to).is_some()) {
        (true, true) => (
            Patience::unless([now, either]),
            Patience::unless([now, either]),
        ),
        (true, false) => (
            Patience::unless([now]),
            Patience::unless([to.nonblocking()]),
        ),
        (false, _) => (
            Patience::unless([now, from.nonblocking()]),
            Patience::unless([now, to.nonblocking()]),
        ),
    }
}

/// What splice(2) refuses.
fn check_splice(source: &Side, out: &Side) -> Result<(), Errno> {
    let (from, to) = (&source.description, &out.description);
    if !from.access().readable() || !to.access().writable() {
        return Err(Errno::EBADF);
    }
    let pipes = (pipe_of(from).is_some(), pipe_of(to).is_some());
    let strays = |side: &Side| side.offset.is_some() && !side.description.file().seekable();
    match pipes {
        (false, false) => Err(Errno::EINVAL),
        (true, _) if source.pointer != 0 => Err(Errno::ESPIPE),
        (_, true) if out.pointer != 0 => Err(Errno::ESPIPE),
        _ if strays(source) || strays(out) => Err(Errno::EINVAL),
        (true, false) if to.flags().contains(StatusFlags::APPEND) => Err(Errno::EINVAL),
        _ => Ok(()),
    }
}

fn splice(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let (len, flags) = (args.usize(4).min(TRANSFER_MAX), args.u32(5));
    if len == 0 {
        return Ok(0);
    }
    if flags & !SPLICE_ALL != 0 {
        return Err(Errno::EINVAL.into());
    }
    let mut source = Side::new(sys, args.i32(0), args.u64(1))?;
    let mut out = Side::new(sys, args.i32(2), args.u64(3))?;
    check_splice(&source, &out)?;
    let (from, to) = (pipe_of(&source.description), pipe_of(&out.description));
    let wanted = len;
    let len = match to {
        Some(_) => len,
        None => file_limit::room(sys, &out.description, out.offset, len)?,
    };
    let (source_waits, out_waits) = patience(&source, &out, flags);
    let parties = (
        Party {
            description: &source.description,
            patience: source_waits,
        },
        Party {
            description: &out.description,
            patience: out_waits,
        },
    );
    let moved = move_between(sys, parties, |_| match (&from, &to) {
        (Some(from), Some(to)) => from.splice_pipe(to, len),
        (Some(from), None) => from.splice_to(len, &mut |data| out.write(data)),
        (None, Some(to)) => to.splice_from(len, &mut |buffer| source.read(buffer)),
        (None, None) => Err(Stuck::Failed(Errno::EINVAL)),
    })?;
    let n = usize::try_from(moved).unwrap_or(0);
    source.advance(n);
    out.advance(n);
    let left = from.as_ref().is_some_and(|from| !from.is_empty());
    if n == len && len < wanted && left {
        // The next page found the limit of the file's length: only the signal tells.
        let _ = file_limit::room(sys, &out.description, out.offset, 1);
    }
    source.finish(sys)?;
    out.finish(sys)?;
    Ok(moved)
}

fn tee(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let (len, flags) = (args.usize(2).min(TRANSFER_MAX), args.u32(3));
    if flags & !SPLICE_ALL != 0 {
        return Err(Errno::EINVAL.into());
    }
    if len == 0 {
        return Ok(0);
    }
    let source = sys.file(args.i32(0))?;
    let out = sys.file(args.i32(1))?;
    if !source.access().readable() || !out.access().writable() {
        return Err(Errno::EBADF.into());
    }
    let (from, to) = (
        pipe_of(&source).ok_or(Errno::EINVAL)?,
        pipe_of(&out).ok_or(Errno::EINVAL)?,
    );
    let now = flags & SPLICE_NONBLOCK != 0;
    let patience = Patience::unless([now, source.nonblocking(), out.nonblocking()]);
    let party = |description| Party {
        description,
        patience,
    };
    move_between(sys, (party(&source), party(&out)), |_| from.tee(&to, len))
}

fn vmsplice(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let flags = args.u32(3);
    if flags & !SPLICE_ALL != 0 {
        return Err(Errno::EINVAL.into());
    }
    let description = sys.file(args.i32(0))?;
    pipe_of(&description).ok_or(Errno::EBADF)?;
    let count = args.usize(2);
    let parts = sys.mm().read_iovecs(args.u64(1), count)?;
    let total = parts.iter().fold(0u64, |sum, p| sum.saturating_add(p.len));
    let total = usize::try_from(total).unwrap_or(TRANSFER_MAX);
    if total == 0 {
        return Ok(0);
    }
    // Only the call says that it does not wait (`wait_for_space` of Linux).
    let party = || Party {
        description: &description,
        patience: Patience::unless([flags & SPLICE_NONBLOCK != 0]),
    };
    let mm = sys.mm();
    let mut room = vec![0; total.min(CHUNK)];
    if description.access().writable() {
        let mut done = 0;
        return move_between(sys, (party(), party()), |_| {
            loop {
                let want = room.len().min(total - done);
                let n = mm.gather_prefix(&parts, done as u64, &mut room[..want])?;
                match pipe_write(&description, &room[..n]) {
                    Ok(w) => done += w,
                    Err(stuck) if done == 0 => return Err(stuck),
                    Err(_) => return Ok(done),
                }
                if done >= total || n < want {
                    return Ok(done);
                }
            }
        });
    }
    move_between(sys, (party(), party()), |_| {
        let n = description.read(&mut room).map_err(|errno| match errno {
            Errno::EAGAIN => Stuck::Source,
            errno => Stuck::Failed(errno),
        })?;
        let given = mm.scatter(&parts, &room[..n]);
        if given < n {
            description.put_back(&room[given..n]);
        }
        if given == 0 && n > 0 {
            return Err(Stuck::Failed(Errno::EFAULT));
        }
        Ok(given)
    })
}

fn pipe_write(description: &Description, data: &[u8]) -> Moved {
    description.write(data).map_err(|errno| match errno {
        Errno::EAGAIN => Stuck::Target,
        errno => Stuck::Failed(errno),
    })
}
