//! What can be done with functions, whoever asks: creating, updating, publishing, preparing, retiring,
//! and invoking them as they are now.
//!
//! ```text
//!   edge (HTTP, command line, timer …) ──▶ Service ──▶ control/registry   what there is
//!                                             │
//!                                             └──────▶ proto/node         who prepares and runs it
//! ```
//!
//! A revision goes this way, and [`Service`] is who moves it along:
//!
//! ```text
//!   made ──▶ preparing ──▶ settled ──▶ replaced or deleted ──▶ retired: forgotten by the node, code collected
//!              │ its events: the revision before it stands in, or they wait
//! ```
//!
//! Invariant: nothing here knows HTTP. Errors are enums of what can happen; their texts for clients are the edge's.
//!
//! Invariant: a change and an invocation run on tasks of their own, so a caller that goes away leaves nothing half done.

#![forbid(unsafe_code)]

mod change;
mod error;
mod held;
mod invoke;
mod log_history;
mod look;
mod metrics;
mod prepare;
mod service;

pub use error::{AdmitError, Interrupted, InvokeError, NotChanged};
pub use held::{HELD, note};
pub use invoke::{Admission, Event};
pub use log_history::LogHistory;
pub use look::Description;
pub use metrics::METRICS;
pub use service::{Config, Service};
