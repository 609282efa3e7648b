//! What all files of one kernel share.

use std::sync::Arc;

use crate::{Drivers, FileLocks};

/// What all files of one kernel share.
#[derive(Default)]
pub struct Vfs {
    /// Watches below inotify.
    pub notify: crate::notify::Notifications,
    /// Advisory locks.
    pub locks: Arc<FileLocks>,
    /// Drivers of special files.
    pub drivers: Drivers,
}
