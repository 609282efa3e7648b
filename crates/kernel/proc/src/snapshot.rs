//! `/proc/rekindle/snapshot`: a program asks to be captured by writing to it, and reads what it is.
//!
//! A write (of anything) asks for a snapshot at this very point. Reading answers `none` before any,
//! then `captured` in the original and `restored` in each clone. Where nobody takes snapshots a
//! write fails with `EOPNOTSUPP`, so that a program can tell and go on.

use kernel_vfs::Result;

use crate::View;
use crate::synthetic::{Node, shared, table};

/// What a program is with regard to snapshots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SnapshotState {
    /// No snapshot was taken since its start.
    #[default]
    None,
    /// The original of a snapshot, which went on.
    Captured,
    /// Restored from one.
    Restored,
}

impl SnapshotState {
    /// The word that a program reads.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Captured => "captured",
            Self::Restored => "restored",
        }
    }
}

pub(crate) fn directory(view: &View) -> Node {
    let (reader, writer) = (view.clone(), view.clone());
    let snapshot = shared(
        move || Ok(format!("{}\n", reader.source()?.snapshot_state().word())),
        move |_: &[u8]| -> Result<()> { writer.source()?.ask_snapshot() },
    );
    table(vec![("snapshot", snapshot)])
}
