//! Sockets inside the sandbox: unix domain sockets, TCP and UDP over the sandbox's own addresses,
//! route netlink. There is no host I/O in this crate: two endpoints share buffers.
//!
//! One [`NetStack`] is one network namespace. A [`Socket`] is reached from an open file description
//! through [`SocketFile`]. Nothing blocks: what cannot be done now is `EAGAIN` (or `EINPROGRESS`),
//! and whoever wants to wait polls.
//!
//! # Locks
//!
//! From outer to inner; a thread holds at most one lock of each line:
//!
//! 1. the rights ledger (descriptors in flight, [`rights`]);
//! 2. a socket's own state (`TcpSocket::state`, `UnixSocket::state`, …) — never two sockets at once:
//!    what needs both copies an `Arc` out of one before it takes the other;
//! 3. a [`link`]: the *single* lock that both endpoints of a connection share, so there is no order
//!    between endpoints to get wrong;
//! 4. name and port tables, options, budgets.
//!
//! Notifications and the dropping of descriptions happen with none of them held.
#![forbid(unsafe_code)]

mod address;
mod base;
mod caller;
pub mod cmsg;
mod config;
pub mod endpoint;
mod families;
mod inet;
mod interface;
mod limits;
mod link;
mod loopback;
mod message;
mod netlink;
mod option;
mod proc_text;
mod registry;
mod rights;
mod saved;
mod socket;
mod socket_file;
mod stack;
mod stream_buffer;
mod unix;

pub use address::{Address, UnixName};
pub use base::SocketBase;
pub use caller::{Caller, NoNames, Shutdown, SocketNames};
pub use config::StackConfig;
pub use inet::{NoOutbound, Outbound, OutboundRequest};
pub use limits::{Limits, MAX_BACKLOG};
pub use message::{Control, Incoming, MsgFlags, Outgoing, Ucred};
pub use option::Timeouts;
pub use socket::Socket;
pub use socket_file::SocketFile;
pub use stack::NetStack;

/// What every operation returns.
pub type Result<T> = std::result::Result<T, base_abi::Errno>;
