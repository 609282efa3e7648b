//! Nodes as control sees them: supplied with code, near or far, one or several.
//!
//! ```text
//!   service ──▶ Nodes ── choose (pure: a view of all nodes) ──▶ Supplied ──▶ Remote ──▶ Link ══ proto-wire ══▶ node
//!                 │                                              gives code    one node    two connections
//!                 └── keeper, one for each node: connects, tells it what there is, follows its log, looks at it
//! ```
//!
//! What becomes of an event whose node is lost:
//!
//! ```text
//!   the main connection broke ──▶ side connection at its end? ──no, within a limit──▶ unknown: an error
//!                                       │ yes
//!                                       ▼
//!                                 its number was there? ──yes──▶ begun: an error
//!                                       └──no──▶ not begun: another node runs it
//! ```
//!
//! Invariant: choosing and the health of nodes read no clock and do no I/O.

#![forbid(unsafe_code)]

mod address;
mod choose;
mod health;
mod ledger;
mod link;
mod member;
mod nodes;
mod remote;
mod roles;
mod run;
mod sum;
mod supplied;

pub use address::{Address, AddressError};
pub use nodes::Nodes;
pub use remote::Remote;
pub use supplied::Supplied;
