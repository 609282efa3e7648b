//! The HTTP server that speaks the Lambda API.
//!
//! ```text
//!   connection, with a seat ──▶ guard (who may ask) ──▶ route (which operation) ──▶ signature ──▶ body (bounded)
//!     ──▶ control/service ──▶ answer, or its error in AWS's words (refusal)
//! ```
//!
//! Everything that a client can make grow has a limit in [`Config`] or in [`proto_lambda::limits`]:
//! connections, header bytes, body bytes (of one request and of all at once), and every wait.
//!
//! Invariant: what is done to functions is decided in `control/service`; here HTTP is taken apart and put together.

#![forbid(unsafe_code)]

mod body;
mod call;
mod config;
mod connection;
mod dispatch;
mod download;
mod event;
mod event_stream;
mod fixed;
mod functions;
mod guard;
mod invoke;
mod invoke_stream;
mod logs;
mod metrics;
mod refusal;
mod refused_change;
mod respond;
mod seat;
mod server;
mod shared;
mod stall;
mod tls;
mod versions;

pub use config::Config;
pub use server::{BindError, Gateway};
pub use tls::{Tls, TlsError, read_tls};
