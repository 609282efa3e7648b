//! The file system of pseudo-terminals, `/dev/pts`, and the drivers of `/dev/ptmx` and `/dev/tty` (pts(4), tty(4)).

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use base_abi::device;
use base_abi::structs::Timespec;
use kernel_vfs::{
    Attr, DirEntry, Driver, Errno, File, FileSystem, FileType, FsStat, Inode, Result, SetAttr,
};
use parking_lot::Mutex;

use super::job::JobControl;
use super::sides::{Master, Slave};
use super::terminal::Terminal;
use crate::clock::{Clock, ClockId, timespec};

/// Group `tty` of every distribution.
const TTY_GROUP: u32 = 5;
/// `major` of pseudo-terminal slaves.
const SLAVE_MAJOR: u32 = 136;
/// Inode number of the root; `ptmx` is 2, slave n is n + 3, as Linux numbers them.
const ROOT_INO: u64 = 1;
const PTMX_INO: u64 = 2;
const FIRST_SLAVE_INO: u64 = 3;

/// Owner and permission of a slave node.
#[derive(Clone, Copy, Debug)]
struct Node {
    mode: u32,
    uid: u32,
    gid: u32,
    made: Timespec,
}

struct Entry {
    terminal: Arc<Terminal>,
    node: Node,
}

/// The file system of `/dev/pts`.
pub struct DevPts {
    me: Weak<DevPts>,
    dev: u64,
    limit: u32,
    jobs: Arc<dyn JobControl>,
    clock: Arc<dyn Clock>,
    terminals: Mutex<BTreeMap<u32, Entry>>,
}

impl DevPts {
    /// A file system with device number `dev` and at most `limit` terminals.
    #[must_use]
    pub fn new(
        dev: u64,
        limit: u32,
        jobs: Arc<dyn JobControl>,
        clock: Arc<dyn Clock>,
    ) -> Arc<DevPts> {
        Arc::new_cyclic(|me| DevPts {
            me: Weak::clone(me),
            dev,
            limit,
            jobs,
            clock,
            terminals: Mutex::default(),
        })
    }

    /// Device number of `/dev/ptmx`, for [`Drivers::register`](kernel_vfs::Drivers::register).
    pub const PTMX: u64 = device::make(5, 2);

    /// Makes a terminal, owned by `uid`, and its master (open(2) of `/dev/ptmx`).
    ///
    /// # Errors
    /// `ENOSPC` when there are too many.
    pub fn open_master(&self, inode: Option<Arc<dyn Inode>>, uid: u32) -> Result<Arc<Master>> {
        let mut terminals = self.terminals.lock();
        let free = (0..self.limit).find(|i| !terminals.contains_key(i));
        let index = free.ok_or(Errno::ENOSPC)?;
        let terminal = Terminal::new(Some(index), Arc::clone(&self.jobs), Arc::clone(&self.clock));
        let node = Node {
            mode: 0o620,
            uid,
            gid: TTY_GROUP,
            made: timespec(self.clock.now(ClockId::Realtime)),
        };
        let entry = Entry {
            terminal: Arc::clone(&terminal),
            node,
        };
        terminals.insert(index, entry);
        drop(terminals);
        let fs = Weak::clone(&self.me);
        let forget = move || {
            if let Some(fs) = fs.upgrade() {
                let gone = fs.terminals.lock().remove(&index);
                drop(gone);
            }
        };
        Ok(Master::new(terminal, inode, Box::new(forget)))
    }

    /// Opens the other side of a master (`TIOCGPTPEER`).
    ///
    /// # Errors
    /// As [`Slave::open`]; `EIO` when the node is gone.
    pub fn open_peer(&self, master: &Master, flags: u32) -> Result<Arc<Slave>> {
        let index = master.terminal().index().ok_or(Errno::EIO)?;
        let inode = self.slave(index).map_err(|_| Errno::EIO)?;
        Slave::open(master.terminal(), Some(inode), flags)
    }

    fn slave(&self, index: u32) -> Result<Arc<dyn Inode>> {
        let terminals = self.terminals.lock();
        let entry = terminals.get(&index).ok_or(Errno::ENOENT)?;
        Ok(Arc::new(SlaveInode {
            fs: self.strong()?,
            index,
            terminal: Arc::clone(&entry.terminal),
        }))
    }

    fn strong(&self) -> Result<Arc<DevPts>> {
        self.me.upgrade().ok_or(Errno::EIO)
    }
}

impl FileSystem for DevPts {
    fn name(&self) -> &'static str {
        "devpts"
    }

    fn root(&self) -> Arc<dyn Inode> {
        Arc::new(Root(Weak::clone(&self.me), self.dev))
    }

    fn dev(&self) -> u64 {
        self.dev
    }

    fn stat(&self) -> FsStat {
        FsStat {
            magic: u64::from(base_abi::general::DEVPTS_SUPER_MAGIC),
            block_size: 4096,
            ..FsStat::default()
        }
    }
}

impl Driver for DevPts {
    fn open(&self, inode: &Arc<dyn Inode>, _flags: u32) -> Result<Arc<dyn File>> {
        let user = self.jobs.caller().user;
        Ok(self.open_master(Some(Arc::clone(inode)), user)?)
    }
}

/// The directory `/dev/pts`.
struct Root(Weak<DevPts>, u64);

impl Root {
    fn devpts(&self) -> Result<Arc<DevPts>> {
        self.0.upgrade().ok_or(Errno::EIO)
    }
}

impl Inode for Root {
    fn fs(&self) -> Arc<dyn FileSystem> {
        match self.0.upgrade() {
            Some(fs) => fs,
            None => Arc::new(Unmounted(self.1)),
        }
    }

    fn attr(&self) -> Result<Attr> {
        Ok(Attr {
            dev: self.1,
            ino: ROOT_INO,
            mode: FileType::Directory.mode_bits() | 0o755,
            nlink: 2,
            ..Attr::default()
        })
    }

    fn volatile(&self) -> bool {
        true
    }

    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        let fs = self.devpts()?;
        if name == b"ptmx" {
            return Ok(Arc::new(PtmxInode(fs)));
        }
        let name = std::str::from_utf8(name).map_err(|_| Errno::ENOENT)?;
        let index: u32 = name.parse().map_err(|_| Errno::ENOENT)?;
        if index.to_string() != name {
            return Err(Errno::ENOENT);
        }
        fs.slave(index)
    }

    fn open(self: Arc<Self>, _flags: u32) -> Result<Arc<dyn File>> {
        let inode: Arc<dyn Inode> = self.clone();
        Ok(Arc::new(Listing {
            fs: self.devpts()?,
            inode,
        }))
    }
}

/// What is left of a file system that was dropped while a directory of it is open.
struct Unmounted(u64);

impl FileSystem for Unmounted {
    fn name(&self) -> &'static str {
        "devpts"
    }

    fn root(&self) -> Arc<dyn Inode> {
        Arc::new(Root(Weak::new(), self.0))
    }

    fn dev(&self) -> u64 {
        self.0
    }

    fn stat(&self) -> FsStat {
        FsStat::default()
    }
}

/// An open `/dev/pts`.
struct Listing {
    fs: Arc<DevPts>,
    inode: Arc<dyn Inode>,
}

impl File for Listing {
    fn inode(&self) -> Option<&Arc<dyn Inode>> {
        Some(&self.inode)
    }

    fn pollable(&self) -> bool {
        false
    }

    fn seekable(&self) -> bool {
        true
    }

    fn read_at(&self, _offset: u64, _buf: &mut [u8]) -> Result<usize> {
        Err(Errno::EISDIR)
    }

    /// Positions: 0 `.`, 1 `..`, 2 `ptmx`, n + 3 slave n.
    fn read_dir(&self, from: u64, emit: &mut dyn FnMut(DirEntry<'_>) -> bool) -> Result<()> {
        let fixed: [(&[u8], u64, FileType); 3] = [
            (b".", ROOT_INO, FileType::Directory),
            (b"..", ROOT_INO, FileType::Directory),
            (b"ptmx", PTMX_INO, FileType::CharDevice),
        ];
        for (position, (name, ino, file_type)) in (0..).zip(fixed) {
            let next = position + 1;
            if position >= from
                && !emit(DirEntry {
                    name,
                    ino,
                    file_type,
                    next,
                })
            {
                return Ok(());
            }
        }
        let indices: Vec<u32> = self.fs.terminals.lock().keys().copied().collect();
        for index in indices {
            let ino = u64::from(index) + FIRST_SLAVE_INO;
            let name = index.to_string();
            let entry = DirEntry {
                name: name.as_bytes(),
                ino,
                file_type: FileType::CharDevice,
                next: ino + 1,
            };
            if ino >= from && !emit(entry) {
                break;
            }
        }
        Ok(())
    }
}

/// `/dev/pts/ptmx`.
struct PtmxInode(Arc<DevPts>);

impl Inode for PtmxInode {
    fn fs(&self) -> Arc<dyn FileSystem> {
        self.0.clone()
    }

    fn attr(&self) -> Result<Attr> {
        Ok(Attr {
            dev: self.0.dev,
            ino: PTMX_INO,
            mode: FileType::CharDevice.mode_bits() | 0o666,
            nlink: 1,
            rdev: DevPts::PTMX,
            ..Attr::default()
        })
    }

    fn open(self: Arc<Self>, _flags: u32) -> Result<Arc<dyn File>> {
        let fs = Arc::clone(&self.0);
        let user = fs.jobs.caller().user;
        Ok(fs.open_master(Some(self), user)?)
    }
}

/// `/dev/pts/N`.
struct SlaveInode {
    fs: Arc<DevPts>,
    index: u32,
    terminal: Arc<Terminal>,
}

impl Inode for SlaveInode {
    fn fs(&self) -> Arc<dyn FileSystem> {
        self.fs.clone()
    }

    fn attr(&self) -> Result<Attr> {
        let terminals = self.fs.terminals.lock();
        // A node whose terminal is gone stays open with what it had.
        let node = terminals.get(&self.index).map_or(
            Node {
                mode: 0o620,
                uid: 0,
                gid: TTY_GROUP,
                made: Timespec::default(),
            },
            |entry| entry.node,
        );
        Ok(Attr {
            dev: self.fs.dev,
            ino: u64::from(self.index) + FIRST_SLAVE_INO,
            mode: FileType::CharDevice.mode_bits() | node.mode,
            nlink: 1,
            uid: node.uid,
            gid: node.gid,
            rdev: device::make(SLAVE_MAJOR, self.index),
            atime: node.made,
            mtime: node.made,
            ctime: node.made,
            ..Attr::default()
        })
    }

    fn set_attr(&self, change: &SetAttr) -> Result<()> {
        let mut terminals = self.fs.terminals.lock();
        let node = &mut terminals.get_mut(&self.index).ok_or(Errno::EIO)?.node;
        node.mode = change.mode.map_or(node.mode, |m| m & 0o7777);
        node.uid = change.uid.unwrap_or(node.uid);
        node.gid = change.gid.unwrap_or(node.gid);
        Ok(())
    }

    fn open(self: Arc<Self>, flags: u32) -> Result<Arc<dyn File>> {
        let terminal = Arc::clone(&self.terminal);
        Ok(Slave::open(&terminal, Some(self), flags)?)
    }
}

/// The driver of `/dev/tty`: the caller's controlling terminal.
pub struct TtyDriver(Arc<dyn JobControl>);

impl TtyDriver {
    /// Device number of `/dev/tty`.
    pub const TTY: u64 = device::make(5, 0);

    /// Asks `jobs` whose terminal it is.
    #[must_use]
    pub fn new(jobs: Arc<dyn JobControl>) -> Arc<TtyDriver> {
        Arc::new(TtyDriver(jobs))
    }
}

impl Driver for TtyDriver {
    fn open(&self, inode: &Arc<dyn Inode>, flags: u32) -> Result<Arc<dyn File>> {
        let terminal = self.0.controlling_terminal().ok_or(Errno::ENXIO)?;
        let flags = flags | base_abi::general::O_NOCTTY;
        Ok(Slave::open(&terminal, Some(Arc::clone(inode)), flags)?)
    }
}
