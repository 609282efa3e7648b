//! Between a node and its zygote: a small process of one thread, ready to be a sandbox, that
//! divides for each one that is wanted.
//!
//! ```text
//! node                                zygote
//!   Fork + socket, standard error ──▶
//!         ◀───────────────────────── Forked{pid} | Failed
//! ```
//!
//! The child is the node's, not the zygote's: the node waits for it, and it dies with the node. From
//! then on its socket speaks [`crate::ToSandbox`] and [`crate::FromSandbox`].

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A message to the zygote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToZygote {
    /// Make a sandbox process. Descriptors: its socket, its standard error.
    Fork {
        /// Files of a control group that it joins first, if it can.
        join: Vec<PathBuf>,
    },
}

impl ToZygote {
    /// Descriptors that come with each message.
    pub const DESCRIPTORS: usize = 2;
}

/// What the zygote answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromZygote {
    /// A sandbox process that waits for its first message.
    Forked {
        /// Its number where node and zygote live.
        pid: i32,
    },
    /// The host did not let it.
    Failed {
        /// For a person.
        reason: String,
    },
}
