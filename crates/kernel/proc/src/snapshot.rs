//! `/proc/rekindle/snapshot`: a program asks to be captured by writing to it, and reads what it is.
//!
//! A write (of anything) asks for a snapshot at this very point and returns when there is an answer,
//! in the original and in each clone. Reading answers `none` before any, then `captured` in the
//! original and `restored` in each clone. Where nobody takes snapshots a write fails with
//! `EOPNOTSUPP`, so that a program can tell and go on.

use kernel_fs::synthetic::Text;
use kernel_vfs::{Events, PollTable, Result};

use crate::View;
use crate::synthetic::{Node, table};

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
    let snapshot = Node::text(0o666, SnapshotFile(view.clone()));
    table(vec![("snapshot", snapshot)])
}

struct SnapshotFile(View);

impl Text for SnapshotFile {
    fn read(&self) -> Result<Vec<u8>> {
        let word = self.0.source()?.snapshot_state().word();
        Ok(format!("{word}\n").into_bytes())
    }

    fn write(&self, _: &[u8]) -> Result<()> {
        self.0.source()?.ask_snapshot()
    }

    fn poll(&self, table: &mut PollTable) -> Events {
        match self.0.source() {
            Ok(source) => source.poll_snapshot(table),
            Err(_) => Events::ERR,
        }
    }
}
