//! Unix domain sockets (unix(7)).

mod datagram;
mod names;
mod packet;
mod saved;
mod stream;
mod stream_connect;
mod stream_rules;

use crate::option::DEFAULT_BUFFER;
pub(crate) use datagram::UnixDatagram;
pub(crate) use saved::{DatagramState, UnixState};
pub(crate) use stream::UnixSocket;

use std::sync::Arc;

use base_abi::{Errno, net};
use parking_lot::Mutex;

use crate::option::SocketOptions;
use crate::rights::{Ledger, Rights};
use crate::{Address, Caller, Outgoing, Result, SocketBase, Ucred, UnixName};

/// A socket's name, which its peers read too.
type NameCell = Arc<Mutex<UnixName>>;

/// What a message beyond this may not be (`sk_sndbuf - 32`).
const SEND_RESERVE: usize = 32;

fn unix_name(address: &Address) -> Result<&UnixName> {
    match address {
        Address::Unix(name) => Ok(name),
        _ => Err(Errno::EINVAL),
    }
}

/// Puts a message's descriptors in flight.
fn post_rights(ledger: &Arc<Ledger>, message: &Outgoing<'_>) -> Result<Option<Rights>> {
    if message.rights.is_empty() {
        return Ok(None);
    }
    ledger.post(&message.rights).map(Some)
}

/// Who a message says it is from.
fn sender(caller: &Caller<'_>, message: &Outgoing<'_>) -> Ucred {
    message.credentials.unwrap_or(caller.credentials)
}

/// Options common to both kinds; `peer` and `listening` are the socket's state, `error` takes its
/// pending error.
fn get_option(
    base: &SocketBase,
    level: u32,
    name: u32,
    peer: Ucred,
    listening: bool,
    error: impl FnOnce() -> Option<Errno>,
) -> Result<Vec<u8>> {
    if level != net::SOL_SOCKET {
        return Err(Errno::EOPNOTSUPP);
    }
    match name {
        net::SO_PEERCRED => Ok(peer.encode().to_vec()),
        net::SO_PEERGROUPS => Ok(Vec::new()),
        net::SO_ACCEPTCONN => Ok(crate::option::give(listening)),
        net::SO_ERROR => Ok(crate::option::give(error().map_or(0, Errno::raw))),
        // No security module, no labels.
        net::SO_PEERSEC => Err(Errno::ENOPROTOOPT),
        _ => base.get_option(name),
    }
}

fn set_option(
    base: &SocketBase,
    caller: &Caller<'_>,
    level: u32,
    name: u32,
    value: &[u8],
) -> Result<SocketOptions> {
    if level != net::SOL_SOCKET {
        return Err(Errno::EOPNOTSUPP);
    }
    let mut options = base.options.lock();
    match name {
        net::SO_REUSEPORT | net::SO_BINDTODEVICE => return Err(Errno::EOPNOTSUPP),
        _ => options.set(caller, name, value)?,
    }
    Ok(options.clone())
}
