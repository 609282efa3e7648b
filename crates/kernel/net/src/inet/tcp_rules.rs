//! How a TCP connection behaves: what one endpoint's sends, receives and endings do to the other.
//!
//! There are no packets; a segment arrives when it is sent. Every function here runs under the
//! lock of the connection.

use base_abi::Errno;
use kernel_vfs::Events;

use crate::link::{End, Urgent, Wake};
use crate::option::TcpState;
use crate::{Incoming, MsgFlags, Result, Shutdown};

type Ends<'a> = (&'a mut End, &'a mut End, &'a mut Wake);

/// What may wait at the receiver: both sides' buffers together.
fn capacity(sender: &End, receiver: &End) -> usize {
    sender.send_buffer.saturating_add(receiver.receive_buffer)
}

/// At least a third of the buffer is free (`sk_stream_is_writeable`).
fn writable(sender: &End, receiver: &End) -> bool {
    let capacity = capacity(sender, receiver);
    receiver.incoming.used() <= capacity - capacity / 3 || receiver.closed
}

/// The state of one endpoint.
pub(super) fn state(me: &End) -> TcpState {
    match (me.send_shut, me.finished) {
        _ if me.reset => TcpState::Close,
        (false, false) => TcpState::Established,
        (false, true) => TcpState::CloseWait,
        (true, false) => TcpState::FinWait2,
        (true, true) => TcpState::Close,
    }
}

/// A reset arrives.
fn reset(end: &mut End) {
    if end.closed || state(end) == TcpState::Close {
        return;
    }
    end.error = Some(if end.finished && !end.send_shut {
        Errno::EPIPE
    } else {
        Errno::ECONNRESET
    });
    end.reset = true;
    end.send_shut = true;
    end.receive_shut = true;
}

/// A FIN arrives.
fn finish(end: &mut End) {
    end.finished = true;
    end.receive_shut = true;
}

/// send(2).
pub(super) fn send((me, peer, wake): Ends<'_>, data: &[u8], flags: MsgFlags) -> Result<usize> {
    if me.send_shut || me.error.is_some() {
        return Err(me.error.take().unwrap_or(Errno::EPIPE));
    }
    if data.is_empty() {
        return Ok(0);
    }
    if peer.closed {
        // The other side has no socket any more and answers with a reset.
        reset(me);
        wake.mine |= Wake::END;
        return Ok(data.len().min(me.send_buffer));
    }
    if peer.send_shut && peer.receive_shut {
        // Data for a side that shut both directions resets the connection on both sides.
        reset(peer);
        reset(me);
        wake.mine |= Wake::END;
        wake.peer |= Wake::END;
        return Ok(data.len().min(me.send_buffer));
    }
    let room = capacity(me, peer).saturating_sub(peer.incoming.used());
    let fits = data.get(..data.len().min(room)).unwrap_or_default();
    let whole = fits.len() == data.len();
    let Some((last, before)) = fits.split_last() else {
        return Err(Errno::EAGAIN);
    };
    if !flags.contains(MsgFlags::OOB) || !whole {
        peer.incoming.push(fits)?;
        wake.peer |= Events::READABLE;
        return Ok(fits.len());
    }
    // The last byte is the urgent one.
    peer.incoming
        .push(if peer.oob_in_line { fits } else { before })?;
    let behind = u64::from(peer.oob_in_line);
    peer.urgent = Some(Urgent {
        at: peer.incoming.tail() - behind,
        byte: *last,
        taken: false,
        in_line: peer.oob_in_line,
    });
    wake.peer |= Events::READABLE | Events::PRI;
    Ok(fits.len())
}

/// recv(2).
pub(super) fn receive(
    (me, peer, wake): Ends<'_>,
    buf: &mut [u8],
    flags: MsgFlags,
) -> Result<Incoming> {
    if flags.contains(MsgFlags::OOB) {
        return receive_urgent(me, buf, flags);
    }
    let readable = me.incoming.len();
    if readable == 0 {
        return nothing(me);
    }
    let mut n = readable.min(buf.len());
    if let Some(urgent) = me.urgent {
        let head = me.incoming.head();
        if urgent.at > head {
            // A read stops at the urgent mark.
            n = n.min(usize::try_from(urgent.at - head).unwrap_or(n));
        } else if !flags.contains(MsgFlags::PEEK) && n > 0 {
            me.urgent = None;
        }
    }
    let mut incoming = Incoming::stream(n);
    if flags.contains(MsgFlags::TRUNC) {
        incoming.copied = 0; // Linux drops the bytes instead of copying them.
    } else {
        me.incoming
            .copy_out(0, buf.get_mut(..n).unwrap_or_default());
    }
    if !flags.contains(MsgFlags::PEEK) {
        let was_writable = writable(peer, me);
        me.incoming.consume(n);
        if !was_writable && writable(peer, me) {
            wake.peer |= Events::WRITABLE;
        }
    }
    Ok(incoming)
}

fn nothing(me: &mut End) -> Result<Incoming> {
    if me.finished {
        return Ok(Incoming::default());
    }
    if let Some(error) = me.error.take() {
        return Err(error);
    }
    if me.receive_shut {
        return Ok(Incoming::default());
    }
    Err(Errno::EAGAIN)
}

fn receive_urgent(me: &mut End, buf: &mut [u8], flags: MsgFlags) -> Result<Incoming> {
    let Some(urgent) = me.urgent.as_mut().filter(|u| !u.taken && !u.in_line) else {
        return Err(Errno::EINVAL);
    };
    urgent.taken = !flags.contains(MsgFlags::PEEK);
    let copied = buf.len().min(1);
    if let Some(place) = buf.first_mut() {
        *place = urgent.byte;
    }
    let mut incoming = Incoming::stream(copied);
    incoming.flags = MsgFlags::OOB;
    Ok(incoming)
}

/// Whether the next byte follows the urgent mark (`SIOCATMARK`).
pub(super) fn at_mark(me: &End) -> bool {
    me.urgent.is_some_and(|u| u.at == me.incoming.head())
}

/// shutdown(2).
pub(super) fn shutdown((me, peer, wake): Ends<'_>, how: Shutdown) -> Result<()> {
    if state(me) == TcpState::Close {
        return Err(Errno::ENOTCONN);
    }
    if how.reads() {
        me.receive_shut = true;
    }
    if how.writes() && !me.send_shut {
        me.send_shut = true;
        finish(peer);
        wake.peer |= Wake::END;
    }
    wake.mine |= Wake::END;
    Ok(())
}

/// How a connection is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// close(2): a FIN, or a reset when bytes were left unread.
    Orderly,
    /// A reset in any case (`SO_LINGER` of 0, never accepted, `AF_UNSPEC`).
    Abort,
}

/// close(2).
pub(super) fn close((me, peer, wake): Ends<'_>, ending: Ending) {
    if me.closed {
        return;
    }
    me.closed = true;
    let unread = !me.incoming.is_empty();
    peer.never_read = me.incoming.len();
    if state(me) != TcpState::Close && (unread || ending == Ending::Abort) {
        reset(peer);
    } else if !me.send_shut {
        finish(peer);
    }
    me.send_shut = true;
    me.receive_shut = true;
    // No descriptors travel over TCP: there is nothing to close here.
    drop(me.incoming.clear());
    wake.peer |= Wake::END;
}

/// Readiness (`tcp_poll`).
pub(super) fn events(me: &End, peer: &End) -> Events {
    let mut events = Events::empty();
    if (me.send_shut && me.receive_shut) || state(me) == TcpState::Close {
        events |= Events::HUP;
    }
    if me.receive_shut {
        events |= Events::READABLE | Events::RDHUP;
    }
    if me.incoming.len() >= me.low_water.max(1) {
        events |= Events::READABLE;
    }
    if me.send_shut || writable(me, peer) {
        events |= Events::WRITABLE;
    }
    if me.urgent.is_some_and(|u| !u.taken) {
        events |= Events::PRI;
    }
    if me.error.is_some() {
        events |= Events::ERR;
    }
    events
}

/// Bytes that wait in this endpoint's own buffer, not yet in the receiver's.
pub(super) fn unsent(peer: &End) -> usize {
    peer.incoming.len().saturating_sub(peer.receive_buffer)
}
