//! A file that is to be executed.

use std::sync::Arc;

use kernel_vfs::Description;

/// A file to execute: opened, its execute permission checked.
#[derive(Clone)]
pub struct Program {
    /// Opened for reading.
    pub description: Arc<Description>,
    /// Its path for `/proc/<pid>/maps`.
    pub path: Arc<str>,
}
