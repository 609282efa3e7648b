//! The HTTP server that speaks the Lambda API.
//!
//! ```text
//!   connection ──▶ guard (who may ask) ──▶ route (which operation) ──▶ body (bounded) ──▶ signature
//!     ──▶ registry: create, get, list, update, delete, tags
//!     ──▶ node:     invoke
//! ```
//!
//! Everything that a client can make grow has a limit in [`Config`] or in [`proto_lambda::limits`]:
//! connections, header bytes, body bytes (of one request and of all at once), and every wait.
//!
//! Invariant: an invocation runs on a task of its own, so a client that goes away disturbs nothing.

#![forbid(unsafe_code)]

mod body;
mod call;
mod config;
mod connection;
mod dispatch;
mod download;
mod fixed;
mod functions;
mod guard;
mod invoke;
mod log_history;
mod logs;
mod prepare;
mod respond;
mod server;
mod signature;
mod stall;
mod versions;

pub use config::{AccessKey, Config};
pub use server::{BindError, Gateway};
