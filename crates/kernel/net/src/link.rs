//! A connection: two endpoints and the bytes between them under one lock.
//!
//! What each protocol makes of it (errors, half close, readiness) is in `inet::tcp_rules` and
//! `unix::stream_rules`; here is only the state and the waking.

use std::sync::Arc;

use base_abi::Errno;
use kernel_vfs::save::{LoadError, ObjectId, Saver, Unsavable, decode, encode};
use kernel_vfs::{Events, WaitQueue};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::limits::Budget;
use crate::stream_buffer::{BufferState, StreamBuffer};

/// Which of the two endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The one that connected (or the first of a pair).
    Client,
    /// The one that was accepted (or the second of a pair).
    Server,
}

/// Urgent data (tcp(7), `MSG_OOB`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Urgent {
    /// Stream position the mark stands before.
    pub(crate) at: u64,
    /// The byte.
    pub(crate) byte: u8,
    /// Whether `MSG_OOB` read it already.
    pub(crate) taken: bool,
    /// Whether the byte is in the stream too (`SO_OOBINLINE`).
    pub(crate) in_line: bool,
}

/// One endpoint's part.
pub(crate) struct End {
    /// Bytes for this endpoint to read.
    pub(crate) incoming: StreamBuffer,
    /// `SO_SNDBUF` of this endpoint.
    pub(crate) send_buffer: usize,
    /// `SO_RCVBUF` of this endpoint.
    pub(crate) receive_buffer: usize,
    /// `SO_RCVLOWAT`.
    pub(crate) low_water: usize,
    /// `SO_OOBINLINE`.
    pub(crate) oob_in_line: bool,
    /// `RCV_SHUTDOWN`: no more data will be received.
    pub(crate) receive_shut: bool,
    /// `SEND_SHUTDOWN`: no more data may be sent.
    pub(crate) send_shut: bool,
    /// TCP: the peer's FIN arrived.
    pub(crate) finished: bool,
    /// TCP: the connection was reset.
    pub(crate) reset: bool,
    /// TCP: bytes that the other endpoint had not read when it was closed.
    pub(crate) never_read: usize,
    /// The socket is closed.
    pub(crate) closed: bool,
    /// Pending error (`SO_ERROR`).
    pub(crate) error: Option<Errno>,
    /// Urgent data for this endpoint.
    pub(crate) urgent: Option<Urgent>,
}

/// Buffer sizes and options an endpoint starts with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EndConfig {
    pub(crate) send_buffer: usize,
    pub(crate) receive_buffer: usize,
    pub(crate) low_water: usize,
    pub(crate) oob_in_line: bool,
}

/// One end as plain data.
#[derive(Serialize, Deserialize)]
struct EndState {
    incoming: BufferState,
    send_buffer: usize,
    receive_buffer: usize,
    low_water: usize,
    oob_in_line: bool,
    receive_shut: bool,
    send_shut: bool,
    finished: bool,
    reset: bool,
    closed: bool,
    error: Option<i32>,
    urgent: Option<(u64, u8, bool, bool)>,
}

impl End {
    fn saved(&self) -> Result<EndState, Unsavable> {
        Ok(EndState {
            incoming: self.incoming.saved()?,
            send_buffer: self.send_buffer,
            receive_buffer: self.receive_buffer,
            low_water: self.low_water,
            oob_in_line: self.oob_in_line,
            receive_shut: self.receive_shut,
            send_shut: self.send_shut,
            finished: self.finished,
            reset: self.reset,
            closed: self.closed,
            error: self.error.map(Errno::raw),
            urgent: self.urgent.map(|u| (u.at, u.byte, u.taken, u.in_line)),
        })
    }

    fn restored(state: EndState, budget: &Arc<Budget>) -> Result<End, LoadError> {
        let urgent = |(at, byte, taken, in_line)| Urgent {
            at,
            byte,
            taken,
            in_line,
        };
        Ok(End {
            incoming: StreamBuffer::restored(state.incoming, budget)?,
            send_buffer: state.send_buffer,
            receive_buffer: state.receive_buffer,
            low_water: state.low_water,
            oob_in_line: state.oob_in_line,
            receive_shut: state.receive_shut,
            send_shut: state.send_shut,
            finished: state.finished,
            reset: state.reset,
            never_read: 0,
            closed: state.closed,
            error: state.error.map(Errno::from_raw),
            urgent: state.urgent.map(urgent),
        })
    }

    fn new(config: EndConfig, budget: &Arc<Budget>) -> End {
        End {
            incoming: StreamBuffer::new(Arc::clone(budget)),
            send_buffer: config.send_buffer,
            receive_buffer: config.receive_buffer,
            low_water: config.low_water,
            oob_in_line: config.oob_in_line,
            receive_shut: false,
            send_shut: false,
            finished: false,
            reset: false,
            never_read: 0,
            closed: false,
            error: None,
            urgent: None,
        }
    }
}

/// Whom to wake after the lock is released.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    /// Those who wait on this endpoint.
    pub(crate) mine: Events,
    /// Those who wait on the other endpoint.
    pub(crate) peer: Events,
}

impl Wake {
    /// What changes when a connection ends.
    pub(crate) const END: Events = Events::READABLE
        .union(Events::WRITABLE)
        .union(Events::RDHUP)
        .union(Events::HUP)
        .union(Events::ERR);
}

/// The connection.
pub(crate) struct Link {
    ends: Mutex<[End; 2]>,
    queues: [WaitQueue; 2],
}

impl Link {
    /// Both ends as bytes.
    pub(crate) fn saved(&self) -> Result<Vec<u8>, Unsavable> {
        let ends = self.ends.lock();
        let [client, server] = &*ends;
        encode(&[client.saved()?, server.saved()?])
    }

    /// A connection whose sockets are still to come; they wake and wait by these queues.
    pub(crate) fn restored(
        bytes: &[u8],
        budget: &Arc<Budget>,
        queues: [WaitQueue; 2],
    ) -> Result<Arc<Link>, LoadError> {
        let [client, server]: [EndState; 2] = decode(bytes, "a connection")?;
        let ends = [
            End::restored(client, budget)?,
            End::restored(server, budget)?,
        ];
        Ok(Arc::new(Link {
            ends: Mutex::new(ends),
            queues,
        }))
    }

    /// A new connection; configurations and wait queues of the client first.
    pub(crate) fn new(
        budget: &Arc<Budget>,
        configs: [EndConfig; 2],
        queues: [WaitQueue; 2],
    ) -> Arc<Link> {
        Arc::new(Link {
            ends: Mutex::new(configs.map(|c| End::new(c, budget))),
            queues,
        })
    }

    /// Does something as one endpoint, then wakes whom it says. Descriptors taken out of buffers
    /// must leave `f` in its result, not be dropped in it.
    pub(crate) fn act<R>(
        &self,
        side: Side,
        f: impl FnOnce(&mut End, &mut End, &mut Wake) -> R,
    ) -> R {
        let mut wake = Wake::default();
        let result = {
            let mut ends = self.ends.lock();
            let [client, server] = &mut *ends;
            match side {
                Side::Client => f(client, server, &mut wake),
                Side::Server => f(server, client, &mut wake),
            }
        };
        let [client, server] = &self.queues;
        let (mine, peer) = match side {
            Side::Client => (client, server),
            Side::Server => (server, client),
        };
        if !wake.mine.is_empty() {
            mine.wake(wake.mine);
        }
        if !wake.peer.is_empty() {
            peer.wake(wake.peer);
        }
        result
    }
}

/// A link seen from one endpoint.
#[derive(Clone)]
pub(crate) struct LinkEnd {
    pub(crate) link: Arc<Link>,
    pub(crate) side: Side,
}

impl LinkEnd {
    /// See [`Link::act`].
    pub(crate) fn act<R>(&self, f: impl FnOnce(&mut End, &mut End, &mut Wake) -> R) -> R {
        self.link.act(self.side, f)
    }

    /// Takes the pending error.
    pub(crate) fn take_error(&self) -> Option<Errno> {
        self.act(|me, _, _| me.error.take())
    }
}

/// One end of a saved connection.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct LinkRef {
    pub(crate) link: ObjectId,
    pub(crate) server: bool,
}

impl LinkRef {
    pub(crate) fn save(
        end: &LinkEnd,
        saver: &mut Saver,
    ) -> std::result::Result<LinkRef, Unsavable> {
        Ok(LinkRef {
            link: saver.shared(&end.link, |_| end.link.saved())?,
            server: end.side == Side::Server,
        })
    }
}
