//! What stands behind device nodes and fifos: drivers by device number.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::{Errno, File, FileType, Inode, Result};

/// Opens device nodes of one number, or all fifos.
pub trait Driver: Send + Sync {
    /// Opens the node; `flags` are those of open(2).
    ///
    /// # Errors
    /// `ENXIO`, `EAGAIN` to wait, whatever the device says.
    fn open(&self, inode: &Arc<dyn Inode>, flags: u32) -> Result<Arc<dyn File>>;
}

/// The drivers of a kernel.
#[derive(Default)]
pub struct Drivers {
    fifo: RwLock<Option<Arc<dyn Driver>>>,
    devices: RwLock<HashMap<(FileType, u64), Arc<dyn Driver>>>,
}

impl Drivers {
    /// Puts a driver behind a device number (`base_abi::device::make`).
    pub fn register(&self, kind: FileType, rdev: u64, driver: Arc<dyn Driver>) {
        self.devices.write().insert((kind, rdev), driver);
    }

    /// Puts the pipes behind fifos; they find their pipe by [`Inode::id`].
    pub fn register_fifo(&self, driver: Arc<dyn Driver>) {
        *self.fifo.write() = Some(driver);
    }

    /// Opens a special file. Inodes without a driver open themselves.
    pub(crate) fn open(
        &self,
        inode: &Arc<dyn Inode>,
        kind: FileType,
        flags: u32,
    ) -> Result<Arc<dyn File>> {
        let driver = match kind {
            FileType::Fifo => self.fifo.read().clone(),
            _ => {
                let rdev = inode.attr().map_err(|_| Errno::ENXIO)?.rdev;
                self.devices.read().get(&(kind, rdev)).cloned()
            }
        };
        match driver {
            Some(driver) => driver.open(inode, flags),
            None => Arc::clone(inode).open(flags),
        }
    }
}
