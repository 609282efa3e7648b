//! The two sides of a terminal as files.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base_abi::structs::Stat;
use kernel_vfs::{Events, File, Inode, PollTable, Result, StatusFlags, UserMemory};

use super::Terminal;
use super::control::Side;
use super::terminal::Patience;
use crate::anon::anon_stat;

/// Releases what the master holds in its file system when it goes.
pub(super) type OnClose = Box<dyn Fn() + Send + Sync>;

/// A descriptor of `/dev/ptmx`.
pub struct Master {
    terminal: Arc<Terminal>,
    inode: Option<Arc<dyn Inode>>,
    on_close: OnClose,
    open: AtomicBool,
}

impl Master {
    pub(super) fn new(
        terminal: Arc<Terminal>,
        inode: Option<Arc<dyn Inode>>,
        on_close: OnClose,
    ) -> Arc<Master> {
        Arc::new(Master {
            terminal,
            inode,
            on_close,
            open: AtomicBool::new(true),
        })
    }

    /// The terminal it drives.
    #[must_use]
    pub fn terminal(&self) -> &Arc<Terminal> {
        &self.terminal
    }

    fn close(&self) {
        if self.open.swap(false, Ordering::Relaxed) {
            self.terminal.hang_up();
            (self.on_close)();
        }
    }
}

impl File for Master {
    fn save(
        &self,
        _saver: &mut kernel_vfs::save::Saver,
    ) -> std::result::Result<kernel_vfs::save::Saved, kernel_vfs::save::Unsavable> {
        Err(kernel_vfs::save::Unsavable::new("a pseudo-terminal"))
    }

    fn inode(&self) -> Option<&Arc<dyn Inode>> {
        self.inode.as_ref()
    }

    fn read_at(&self, _offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.terminal.master_read(buf)
    }

    fn write_at(&self, _offset: u64, data: &[u8]) -> Result<usize> {
        self.terminal.master_write(data)
    }

    fn poll(&self, table: &mut PollTable) -> Events {
        self.terminal.master_poll(table)
    }

    fn ioctl(&self, memory: &dyn UserMemory, request: u32, arg: u64) -> Result<u64> {
        self.terminal.control(Side::Master, memory, request, arg)
    }

    fn release(&self) {
        self.close();
    }

    fn fd_info(&self) -> String {
        self.terminal
            .index()
            .map_or_else(String::new, |i| format!("tty-index:\t{i}\n"))
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        self.close();
    }
}

/// A program's descriptor of a terminal.
pub struct Slave {
    terminal: Arc<Terminal>,
    inode: Option<Arc<dyn Inode>>,
    nonblocking: AtomicBool,
    open: AtomicBool,
}

impl Slave {
    /// Opens the terminal with the flags of open(2), for the node `inode`.
    ///
    /// # Errors
    /// As [`Terminal::open_slave`].
    pub fn open(
        terminal: &Arc<Terminal>,
        inode: Option<Arc<dyn Inode>>,
        flags: u32,
    ) -> Result<Arc<Slave>> {
        terminal.open_slave()?;
        if flags & base_abi::general::O_NOCTTY == 0 {
            terminal.adopt();
        }
        Ok(Arc::new(Slave {
            terminal: Arc::clone(terminal),
            inode,
            nonblocking: AtomicBool::new(flags & base_abi::general::O_NONBLOCK != 0),
            open: AtomicBool::new(true),
        }))
    }

    /// The terminal.
    #[must_use]
    pub fn terminal(&self) -> &Arc<Terminal> {
        &self.terminal
    }

    fn close(&self) {
        if self.open.swap(false, Ordering::Relaxed) {
            self.terminal.close_slave();
        }
    }
}

impl File for Slave {
    fn save(
        &self,
        _saver: &mut kernel_vfs::save::Saver,
    ) -> std::result::Result<kernel_vfs::save::Saved, kernel_vfs::save::Unsavable> {
        Err(kernel_vfs::save::Unsavable::new("a terminal"))
    }

    fn inode(&self) -> Option<&Arc<dyn Inode>> {
        self.inode.as_ref()
    }

    fn stat(&self) -> Result<Stat> {
        match &self.inode {
            Some(inode) => inode.attr().map(|a| a.to_stat()),
            None => Ok(Stat {
                mode: kernel_vfs::FileType::CharDevice.mode_bits() | 0o620,
                ..anon_stat(0)
            }),
        }
    }

    fn read_at(&self, _offset: u64, buf: &mut [u8]) -> Result<usize> {
        let patience = Patience::of(self.nonblocking.load(Ordering::Relaxed));
        self.terminal.slave_read(buf, patience)
    }

    fn write_at(&self, _offset: u64, data: &[u8]) -> Result<usize> {
        self.terminal.slave_write(data)
    }

    fn poll(&self, table: &mut PollTable) -> Events {
        self.terminal.slave_poll(table)
    }

    fn ioctl(&self, memory: &dyn UserMemory, request: u32, arg: u64) -> Result<u64> {
        self.terminal.control(Side::Slave, memory, request, arg)
    }

    fn flags_changed(&self, flags: StatusFlags) {
        let nonblocking = flags.contains(StatusFlags::NONBLOCK);
        self.nonblocking.store(nonblocking, Ordering::Relaxed);
    }

    fn release(&self) {
        self.close();
    }
}

impl Drop for Slave {
    fn drop(&mut self) {
        self.close();
    }
}
