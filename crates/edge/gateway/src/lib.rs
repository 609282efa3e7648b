//! The HTTP server that speaks the Lambda API.
//!
//! ```text
//!   connection ──▶ guard (who may ask) ──▶ route (which operation) ──▶ body (bounded) ──▶ signature
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
mod keys;
mod logs;
mod metrics;
mod refusal;
mod refused_change;
mod respond;
mod server;
mod shared;
mod signature;
mod stall;
mod versions;

pub use config::{AccessKey, Config};
pub use keys::{KeysError, read_keys};
pub use server::{BindError, Gateway};
pub use signature::verify as verify_signature;
