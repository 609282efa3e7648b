//! The Lambda Runtime API (2018-06-01) that a guest's runtime polls, as a state
//! machine on byte streams: no sockets, no threads, no clock.
//!
//! The sandbox's kernel attaches it to a listening loopback socket of the guest
//! ([`proto_sandbox::RUNTIME_API_ADDRESS`]); each accepted connection becomes a
//! [`ConnectionId`]:
//!
//! ```text
//! guest bytes ──▶ Runtime::input ──▶ head ▶ body ▶ route ──▶ Runtime::next_event ──▶ node
//! guest bytes ◀── Runtime::output ◀── answers, held /next ◀── Runtime::deliver   ◀── node
//! ```
//!
//! A response is told when it is whole, or, if it streams, in pieces as far as a window allows: bytes
//! beyond it are not taken, so that a guest whose client stalls blocks in its own write.
//!
//! Everything a guest sends is bounded by [`RuntimeLimits`]; what is refused is refused
//! with the status and error type that AWS documents for the Runtime API
//! (developer guide, "Using the Lambda runtime API for custom runtimes").
#![forbid(unsafe_code)]

mod answer;
mod body;
mod connection;
mod event;
mod head;
mod limits;
mod request;
mod route;
mod runtime;
mod saved;
mod state;

pub use connection::ConnectionId;
pub use event::{Event, RuntimeEvent};
pub use limits::RuntimeLimits;
pub use runtime::{Busy, RuntimeApi};
pub use saved::{Inconsistent, Saved};
pub use state::Waiting;
