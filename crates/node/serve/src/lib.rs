//! A node on a socket: serves `proto-wire` for whatever implements the seam.
//!
//! ```text
//!   Listener ──▶ door (who is it, for what) ──▶ side connection: kept by its session, written to by Taken
//!                                           └─▶ main connection: HTTP/2 ──▶ answers (a call each) ──▶ Node
//! ```
//!
//! Who may come in: on a Unix socket the user that runs the node, and root; on TCP who has the token.
//!
//! Limits: connections, lines, calls of one connection, messages, bytes on their way, and the time to come in.

#![forbid(unsafe_code)]

mod answers;
mod door;
mod exchange;
mod exposed;
mod listen;
mod server;
mod side;

pub use door::{Token, TokenError};
pub use exposed::{Exposed, Exposition};
pub use listen::{ListenAddress, ListenError};
pub use server::Server;
