//! Bytes between guest memory and sockets, waiting as the descriptor, the flags and the socket's
//! timeouts say.

use std::sync::Arc;
use std::time::Duration;

use base_abi::structs::Iovec;
use base_abi::{Errno, net};
use kernel_core::task::{CalledFile, OnSignal};
use kernel_mm::Mm;
use kernel_net::{Address, Control, Incoming, MsgFlags, Outgoing, Socket, Ucred};
use kernel_vfs::{Description, Events, Fd, PollTable};

use crate::call::{Stop, Sys, SysResult};
use crate::sockaddr::as_caller;

/// Bytes of a stream moved at a time.
const CHUNK: usize = 256 << 10;
/// More than any datagram can have.
const MAX_DATAGRAM: usize = 16 << 20;

/// Whether and how long a call waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    pub(crate) nonblocking: bool,
    pub(crate) timeout: Option<Duration>,
}

impl Waiting {
    /// As receiving calls and accept(2) do.
    pub(crate) fn to_receive(description: &Description, socket: &Arc<dyn Socket>) -> Waiting {
        Waiting {
            nonblocking: description.nonblocking(),
            timeout: socket.base().timeouts().receive,
        }
    }

    /// As sending calls and connect(2) do.
    pub(crate) fn to_send(description: &Description, socket: &Arc<dyn Socket>) -> Waiting {
        Waiting {
            nonblocking: description.nonblocking(),
            timeout: socket.base().timeouts().send,
        }
    }

    /// With the flags of the call.
    pub(crate) fn with(self, flags: MsgFlags) -> Waiting {
        Waiting {
            nonblocking: self.nonblocking || flags.contains(MsgFlags::DONTWAIT),
            ..self
        }
    }
}

/// Tries; on `EAGAIN` registers with what `queue` names, tries again, and sleeps.
///
/// # Errors
/// `attempt`'s own, [`Stop::Block`], `EAGAIN` after the timeout.
pub(crate) fn wait<T>(
    sys: &mut Sys<'_>,
    how: Waiting,
    queue: impl Fn(&Sys<'_>, &mut PollTable),
    mut attempt: impl FnMut(&mut Sys<'_>) -> Result<T, Errno>,
) -> Result<T, Stop> {
    match attempt(sys) {
        Err(Errno::EAGAIN) if !how.nonblocking => {}
        other => return other.map_err(Stop::Errno),
    }
    let timeout = how
        .timeout
        .map(|t| u64::try_from(t.as_nanos()).unwrap_or(u64::MAX));
    sys.set_timeout(timeout);
    let mut table = sys.waiting_table(Events::all());
    queue(sys, &mut table);
    match attempt(sys) {
        Err(Errno::EAGAIN) if sys.timed_out() => Err(Errno::EAGAIN.into()),
        Err(Errno::EAGAIN) => {
            // A call with a timeout is not begun anew after a handler (signal(7)).
            let timed = how.timeout.is_some();
            let on_signal = if timed {
                OnSignal::Interrupt
            } else {
                OnSignal::Restart
            };
            Err(sys.block(table, on_signal))
        }
        other => other.map_err(Stop::Errno),
    }
}

/// Makes a sleep in the middle of a transfer give what was done when a handler runs.
fn partial(stop: Stop, done: usize) -> Stop {
    match stop {
        Stop::Block(mut blocked) if done > 0 => {
            blocked.on_signal = OnSignal::Partial;
            Stop::Block(blocked)
        }
        stop => stop,
    }
}

fn total(parts: &[Iovec]) -> usize {
    let sum = parts.iter().fold(0u64, |sum, p| sum.saturating_add(p.len));
    usize::try_from(sum).unwrap_or(usize::MAX)
}

/// The parts without their first `skip` bytes.
fn without(parts: &[Iovec], skip: usize) -> Vec<Iovec> {
    let mut skip = skip as u64;
    let mut rest = Vec::with_capacity(parts.len());
    for part in parts {
        let cut = skip.min(part.len);
        skip -= cut;
        if part.len > cut {
            rest.push(Iovec {
                base: part.base.wrapping_add(cut),
                len: part.len - cut,
            });
        }
    }
    rest
}

fn gather(mm: &Mm, parts: &[Iovec], skip: usize, max: usize) -> Result<Vec<u8>, Errno> {
    mm.gather(&without(parts, skip), max)
}

/// What goes with the bytes of a sending call.
#[derive(Default)]
pub(crate) struct Sending {
    pub(crate) flags: MsgFlags,
    pub(crate) to: Option<Address>,
    /// Open files that go along, and the numbers they were named by.
    pub(crate) rights: Vec<(Fd, Arc<Description>)>,
    pub(crate) credentials: Option<Ucred>,
    pub(crate) hops: Option<u8>,
    pub(crate) class: Option<u8>,
}

fn is_stream(socket: &Arc<dyn Socket>) -> bool {
    socket.base().kind == net::SOCK_STREAM
}

/// write(2) and writev(2) on a socket.
pub(crate) fn write(
    sys: &mut Sys<'_>,
    description: &Arc<Description>,
    socket: &Arc<dyn Socket>,
    parts: &[Iovec],
) -> SysResult {
    let how = Waiting::to_send(description, socket);
    send(sys, how, socket, parts, &Sending::default())
}

/// Sends the bytes of the parts: a stream all of them unless it may not wait, others as one message.
/// How much went is remembered over sleeps.
///
/// # Errors
/// Those of send(2).
pub(crate) fn send(
    sys: &mut Sys<'_>,
    how: Waiting,
    socket: &Arc<dyn Socket>,
    parts: &[Iovec],
    sending: &Sending,
) -> SysResult {
    let len = total(parts);
    let stream = is_stream(socket);
    if !stream && len > MAX_DATAGRAM {
        return Err(Errno::EMSGSIZE.into());
    }
    let mut done = usize::try_from(sys.restart.progress)
        .unwrap_or(len)
        .min(len);
    loop {
        let mm = sys.mm();
        let most = if stream { CHUNK } else { len };
        let data = match gather(&mm, parts, done, most) {
            Ok(data) => data,
            Err(_) if done > 0 => return Ok(done as u64),
            Err(errno) => return Err(errno.into()),
        };
        let last = done + data.len() >= len;
        match send_chunk(sys, how, socket, &data, sending, (done == 0, last)) {
            Ok(n) => {
                done += n;
                sys.restart.progress = done as u64;
                if done >= len || !stream || n == 0 {
                    return Ok(done as u64);
                }
            }
            Err(stop @ Stop::Block(_)) => {
                keep_rights(sys, sending);
                return Err(partial(stop, done));
            }
            Err(_) if done > 0 => return Ok(done as u64),
            Err(stop) => {
                let broken = matches!(stop, Stop::Errno(Errno::EPIPE));
                if broken && stream && !sending.flags.contains(MsgFlags::NOSIGNAL) {
                    sys.raise_sigpipe();
                }
                return Err(stop);
            }
        }
    }
}

/// A call that waits stays with the files that it sends.
fn keep_rights(sys: &mut Sys<'_>, sending: &Sending) {
    if sending.rights.is_empty() {
        return;
    }
    let called = |(fd, description): &(Fd, Arc<Description>)| CalledFile {
        fd: *fd,
        interest: Events::empty(),
        description: Arc::clone(description),
    };
    let all = sending.rights.iter().map(called);
    sys.restart.files.keep_many(all.collect());
}

fn send_chunk(
    sys: &mut Sys<'_>,
    how: Waiting,
    socket: &Arc<dyn Socket>,
    data: &[u8],
    sending: &Sending,
    (first, last): (bool, bool),
) -> Result<usize, Stop> {
    let mut flags = sending.flags;
    if !last {
        flags -= MsgFlags::OOB;
    }
    let queue = |sys: &Sys<'_>, table: &mut PollTable| {
        as_caller(sys, |c| {
            let _ = socket.poll_send(c, sending.to.as_ref(), table);
        });
    };
    wait(sys, how, queue, |sys| {
        let message = Outgoing {
            data,
            flags,
            to: sending.to.clone(),
            rights: if first {
                let rights = sending.rights.iter();
                rights.map(|(_, file)| Arc::clone(file)).collect()
            } else {
                Vec::new()
            },
            credentials: sending.credentials,
            hops: sending.hops,
            class: sending.class,
        };
        as_caller(sys, |caller| socket.send(caller, message))
    })
}

/// read(2) and readv(2) on a socket.
pub(crate) fn read(
    sys: &mut Sys<'_>,
    description: &Arc<Description>,
    socket: &Arc<dyn Socket>,
    parts: &[Iovec],
) -> SysResult {
    let how = Waiting::to_receive(description, socket);
    if total(parts) == 0 && is_stream(socket) {
        return Ok(0);
    }
    receive(sys, how, socket, parts, MsgFlags::empty()).map(|i| i.length as u64)
}

/// Receives into the parts. With `MSG_WAITALL` a stream fills them all; how far it is, is
/// remembered over sleeps.
///
/// # Errors
/// Those of recv(2).
pub(crate) fn receive(
    sys: &mut Sys<'_>,
    how: Waiting,
    socket: &Arc<dyn Socket>,
    parts: &[Iovec],
    flags: MsgFlags,
) -> Result<Incoming, Stop> {
    let room = total(parts);
    let stream = is_stream(socket);
    let whole = stream && flags.contains(MsgFlags::WAITALL) && !flags.contains(MsgFlags::PEEK);
    let mut done = 0;
    if whole {
        done = usize::try_from(sys.restart.progress)
            .unwrap_or(room)
            .min(room);
    }
    let most = if stream { CHUNK } else { MAX_DATAGRAM };
    // The queues of errors never wait (`inet_recv_error` of Linux).
    let inet = matches!(socket.base().domain, net::AF_INET | net::AF_INET6);
    let errors = inet && flags.contains(MsgFlags::ERRQUEUE);
    let mut buffer = vec![0; (room - done).min(most)];
    loop {
        let want = (room - done).min(most);
        let place = buffer.get_mut(..want).unwrap_or_default();
        // What was received already must not wait for more, unless all was asked for.
        let patience = Waiting {
            nonblocking: how.nonblocking || errors || (done > 0 && !whole),
            ..how
        };
        let queue = |_: &Sys<'_>, table: &mut PollTable| {
            let _ = socket.poll(table);
        };
        let got = wait(sys, patience, queue, |_| socket.recv(place, flags));
        let mut incoming = match got {
            Ok(incoming) => incoming,
            Err(stop @ Stop::Block(_)) => return Err(partial(stop, done)),
            Err(_) if done > 0 => return Ok(stream_end(done)),
            Err(stop) => return Err(stop),
        };
        let bytes = buffer.get(..incoming.copied).unwrap_or_default();
        let given = sys.mm().scatter(&without(parts, done), bytes);
        if let Some(rest) = bytes.get(given..).filter(|rest| !rest.is_empty()) {
            if !stream {
                return Err(Errno::EFAULT.into());
            }
            if !flags.intersects(MsgFlags::PEEK | MsgFlags::OOB) {
                socket.put_back(rest, rights_to_keep(&mut incoming, given));
            }
            incoming.length = done + given;
            return match incoming.length {
                0 => Err(Errno::EFAULT.into()),
                _ => Ok(incoming),
            };
        }
        if !stream || flags.intersects(MsgFlags::PEEK | MsgFlags::OOB) {
            return Ok(incoming);
        }
        let n = incoming.length;
        done += n;
        incoming.length = done;
        if whole {
            sys.restart.progress = done as u64;
        }
        let more = n > 0 && done < room && (whole || n == want);
        if !more || !incoming.control.is_empty() {
            return Ok(incoming);
        }
    }
}

/// What came with bytes of which the receiver has room for this many: without any it stays with them.
fn rights_to_keep(incoming: &mut Incoming, given: usize) -> Vec<Arc<Description>> {
    if given > 0 {
        return Vec::new();
    }
    let take = |control| match control {
        Control::Rights(rights) => Some(rights),
        _ => None,
    };
    let control = std::mem::take(&mut incoming.control).into_iter();
    control.filter_map(take).flatten().collect()
}

fn stream_end(done: usize) -> Incoming {
    Incoming {
        copied: done,
        length: done,
        ..Incoming::default()
    }
}
