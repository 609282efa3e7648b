//! How a unix connection behaves: what one endpoint's sends, receives and endings do to the other.
//! Every function here runs under the lock of the connection.

use std::sync::Arc;

use base_abi::Errno;
use kernel_vfs::{Description, Events};

use super::SEND_RESERVE;
use crate::link::{End, LinkEnd, Wake};
use crate::rights::Rights;
use crate::{MsgFlags, Result, Shutdown, Ucred};

const WRITABLE: Events = Events::WRITABLE.union(Events::WRBAND);

/// What was received. Descriptors taken out of flight must leave the lock before they are landed.
#[derive(Default)]
pub(super) struct Taken {
    pub(super) copied: usize,
    pub(super) length: usize,
    pub(super) truncated: bool,
    pub(super) credentials: Option<Ucred>,
    pub(super) rights: Option<Rights>,
    /// Copies of descriptors still in flight (`MSG_PEEK`).
    pub(super) peeked: Vec<Arc<Description>>,
}

/// At most a quarter of the buffer is used (`unix_writable`).
fn writable(me: &End, peer: &End) -> bool {
    peer.incoming.used().saturating_mul(4) <= me.send_buffer
}

/// Sends bytes of a stream: as many as fit.
pub(super) fn send(
    (me, peer, wake): (&mut End, &mut End, &mut Wake),
    data: &[u8],
    credentials: Ucred,
    rights: &mut Option<Rights>,
) -> Result<usize> {
    if me.send_shut || peer.closed || peer.receive_shut {
        return Err(Errno::EPIPE);
    }
    if data.is_empty() {
        return Ok(0);
    }
    let room = me.send_buffer.saturating_sub(peer.incoming.used());
    let fits = data.get(..data.len().min(room)).unwrap_or_default();
    if fits.is_empty() {
        return Err(Errno::EAGAIN);
    }
    peer.incoming.push_run(fits, credentials, rights)?;
    wake.peer |= Events::READABLE;
    Ok(fits.len())
}

/// Sends one record, wholly.
pub(super) fn send_record(
    (me, peer, wake): (&mut End, &mut End, &mut Wake),
    data: &[u8],
    credentials: Ucred,
    rights: &mut Option<Rights>,
) -> Result<usize> {
    if let Some(error) = me.error.take() {
        return Err(error);
    }
    if data.len() > me.send_buffer.saturating_sub(SEND_RESERVE) {
        return Err(Errno::EMSGSIZE);
    }
    if me.send_shut || peer.closed || peer.receive_shut {
        return Err(Errno::EPIPE);
    }
    if peer.incoming.used() >= me.send_buffer {
        return Err(Errno::EAGAIN);
    }
    peer.incoming.push_record(data, credentials, rights)?;
    wake.peer |= Events::READABLE;
    Ok(data.len())
}

/// Receives bytes of a stream. Runs with descriptors end the read, as do, for a receiver of
/// credentials, bytes of another sender.
pub(super) fn receive(
    (me, peer, wake): (&mut End, &mut End, &mut Wake),
    buf: &mut [u8],
    flags: MsgFlags,
    passes_credentials: bool,
) -> Result<Taken> {
    if me.incoming.is_empty() {
        return nothing(me);
    }
    let head = me.incoming.head();
    let mut taken = Taken::default();
    let mut with_rights = None;
    for (index, mark) in me.incoming.marks().enumerate() {
        let other = taken.credentials.is_some_and(|c| c != mark.credentials);
        if (index > 0 && taken.copied == buf.len()) || (passes_credentials && other) {
            break;
        }
        taken.credentials.get_or_insert(mark.credentials);
        let left = usize::try_from(mark.end - head).unwrap_or(0) - taken.copied;
        taken.copied += left.min(buf.len() - taken.copied);
        if mark.rights.is_some() {
            with_rights = Some(index);
            break;
        }
    }
    taken.length = taken.copied;
    let place = buf.get_mut(..taken.copied).unwrap_or_default();
    me.incoming.copy_out(0, place);
    if flags.contains(MsgFlags::PEEK) {
        taken.peeked = peek_rights(me, with_rights);
        return Ok(taken);
    }
    let was_writable = writable(peer, me);
    if let Some(index) = with_rights {
        taken.rights = me.incoming.take_mark_rights(index);
    }
    me.incoming.consume(taken.copied);
    if !was_writable && writable(peer, me) {
        wake.peer |= WRITABLE;
    }
    Ok(taken)
}

/// Receives one record; what does not fit is lost.
pub(super) fn receive_record(
    (me, peer, wake): (&mut End, &mut End, &mut Wake),
    buf: &mut [u8],
    flags: MsgFlags,
) -> Result<Taken> {
    if let Some(error) = me.error.take() {
        return Err(error);
    }
    let length = me.incoming.record_len();
    let was_writable = writable(peer, me);
    let peek = flags.contains(MsgFlags::PEEK);
    let Some(mark) = me.incoming.mark() else {
        return nothing(me);
    };
    let credentials = Some(mark.credentials);
    let rights = if peek { None } else { mark.rights.take() };
    let copied = length.min(buf.len());
    let place = buf.get_mut(..copied).unwrap_or_default();
    me.incoming.copy_out(0, place);
    let peeked = if peek {
        peek_rights(me, Some(0))
    } else {
        Vec::new()
    };
    if !peek {
        me.incoming.consume_record();
        if !was_writable && writable(peer, me) {
            wake.peer |= WRITABLE;
        }
    }
    Ok(Taken {
        copied,
        length: if flags.contains(MsgFlags::TRUNC) {
            length
        } else {
            copied
        },
        truncated: copied < length,
        credentials,
        rights,
        peeked,
    })
}

fn peek_rights(me: &End, index: Option<usize>) -> Vec<Arc<Description>> {
    let mark = index.and_then(|i| me.incoming.marks().nth(i));
    let rights = mark.and_then(|m| m.rights.as_ref());
    rights
        .map(|r| r.descriptions().to_vec())
        .unwrap_or_default()
}

fn nothing(me: &mut End) -> Result<Taken> {
    if let Some(error) = me.error.take() {
        return Err(error);
    }
    if me.receive_shut {
        return Ok(Taken::default());
    }
    Err(Errno::EAGAIN)
}

/// shutdown(2): what one side closes the other sees.
pub(super) fn shutdown((me, peer, wake): (&mut End, &mut End, &mut Wake), how: Shutdown) {
    if how.reads() {
        me.receive_shut = true;
        peer.send_shut = true;
    }
    if how.writes() {
        me.send_shut = true;
        peer.receive_shut = true;
    }
    wake.mine |= Wake::END;
    wake.peer |= Wake::END;
}

/// close(2): unread bytes (or never having been accepted) reset the peer. Returns the descriptors
/// that nobody will receive.
pub(super) fn close(
    (me, peer, wake): (&mut End, &mut End, &mut Wake),
    accepted: Accepted,
) -> Vec<Rights> {
    if me.closed {
        return Vec::new();
    }
    me.closed = true;
    me.send_shut = true;
    me.receive_shut = true;
    peer.send_shut = true;
    peer.receive_shut = true;
    if !me.incoming.is_empty() || accepted == Accepted::No {
        peer.error = Some(Errno::ECONNRESET);
    }
    wake.peer |= Wake::END;
    me.incoming.clear()
}

/// Whether the closing end was ever handed to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accepted {
    Yes,
    No,
}

/// Readiness (`unix_poll`).
pub(super) fn events(me: &End, peer: &End) -> Events {
    let mut events = Events::empty();
    if me.error.is_some() {
        events |= Events::ERR;
    }
    if me.receive_shut && me.send_shut {
        events |= Events::HUP;
    }
    if me.receive_shut {
        events |= Events::RDHUP | Events::READABLE;
    }
    if !me.incoming.is_empty() {
        events |= Events::READABLE;
    }
    // Writable also when the other side is gone: then writing says so.
    if writable(me, peer) {
        events |= WRITABLE;
    }
    events
}

/// Closes an end; what waited in its queue is dropped where no lock is held.
#[must_use]
pub(super) fn hang_up(end: &LinkEnd, accepted: Accepted) -> Vec<Rights> {
    end.act(|me, peer, wake| close((me, peer, wake), accepted))
}
