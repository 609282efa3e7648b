//! Snapshots of functions on this machine's disk: whole, authentic, within a budget.
//!
//! ```text
//!            begin                    commit                    open
//!   absent ─────────▶ pending ──────────────────────▶ ready ───────────▶ files for a restore
//!      ▲                 │ dropped, or kill -9           │ damaged, foreign, or refused by a restore
//!      └─────────────────┘                               ▼
//!                                                   quarantined, with its reason
//!
//!   snapshots/
//!     key                 32 bytes, 0600: authenticates what is below
//!     lock                held by the one process that may change things on its own
//!     staging/<uuid>/     being written, or on its way out; emptied at start
//!     ready/<key>/        manifest.json and the files that it names; renamed into place whole
//!     quarantine/<key>.<uuid>/   a snapshot that was no good, with reason.json
//! ```
//!
//! A snapshot is named by what went into it ([`KeyParts`]): whoever would make the same finds it.
//! What is in place is whole, because a directory comes there by one rename after its files are
//! synced; `kill -9` at any moment leaves only work in `staging`.
//!
//! A snapshot may lie over another one ([`Base`]) that holds the pages it does not: it names that by key and
//! keyed hash, is refused without it, and keeps it from being evicted.
//!
//! Invariant: a file is handed out only after its keyed hash was checked, and only by the
//! descriptor through which it was read for that.
//! Invariant: what must go ([`decide_evictions`]) is decided without I/O.
#![forbid(unsafe_code)]

mod authentic;
mod config;
mod cpu;
mod directory;
mod error;
mod evict;
mod index;
mod key;
mod manifest;
mod metrics;
mod pending;
mod ready;
mod scan;
mod store;
mod view;

pub use authentic::{KeyError, ServiceKey};
pub use config::Config;
pub use cpu::CpuFeatures;
pub use error::StoreError;
pub use evict::{Entry, Incoming, NoRoom, decide_evictions};
pub use key::{KeyParts, SnapshotKey};
pub use manifest::{About, Base, FileRecord, MANIFEST_VERSION, MAX_LAYERS, Manifest};
pub use metrics::METRICS;
pub use pending::Pending;
pub use ready::{Opened, Unusable};
pub use scan::{Finding, MIN_SECRET_BYTES, ScanError, Scanner};
pub use store::{SnapshotState, Store};
pub use view::{Listed, ListedStatus, StoreView};
