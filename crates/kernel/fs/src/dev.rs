//! The nodes of `/dev`, and the drivers of null, zero, full, random and urandom.

use std::sync::Arc;

use base_abi::device;
use kernel_vfs::{
    Credentials, Driver, Drivers, Errno, File, FileType, Inode, NewNode, Result, Whence,
};

use crate::{Budget, RootAttr, TmpFs};

/// Where random bytes come from; the kernel reseeds it after a restore.
pub trait Entropy: Send + Sync {
    /// Fills the buffer.
    fn fill(&self, buf: &mut [u8]);
}

impl<F: Fn(&mut [u8]) + Send + Sync> Entropy for F {
    fn fill(&self, buf: &mut [u8]) {
        self(buf);
    }
}

/// Device numbers with drivers elsewhere: terminals.
pub const TTY: u64 = device::make(5, 0);
/// `/dev/console`.
pub const CONSOLE: u64 = device::make(5, 1);
/// `/dev/ptmx`, also below `pts`.
pub const PTMX: u64 = device::make(5, 2);

const MEMORY: u32 = 1;

#[derive(Clone, Copy)]
enum Kind {
    Null,
    Zero,
    Full,
    Random,
}

const NODES: [(&[u8], u32, Kind); 5] = [
    (b"null", 3, Kind::Null),
    (b"zero", 5, Kind::Zero),
    (b"full", 7, Kind::Full),
    (b"random", 8, Kind::Random),
    (b"urandom", 9, Kind::Random),
];

/// Makes the file system of `/dev` and puts its drivers in place. `shm`, `pts` and `mqueue` are
/// empty directories to mount on; `tty`, `console` and `ptmx` are nodes whose drivers others register.
///
/// # Errors
/// `ENOSPC` when the budget does not hold some twenty inodes.
pub fn dev_fs(budget: Budget, drivers: &Drivers, entropy: Arc<dyn Entropy>) -> Result<Arc<TmpFs>> {
    let fs = TmpFs::new(budget, RootAttr::default())?;
    let root = kernel_vfs::FileSystem::root(fs.as_ref());
    let who = Credentials::default();
    for (name, minor, kind) in NODES {
        let rdev = device::make(MEMORY, minor);
        root.create(
            name,
            NewNode::Special(FileType::CharDevice, rdev),
            0o666,
            &who,
        )?;
        let driver = PlainDevice {
            kind,
            entropy: Arc::clone(&entropy),
        };
        drivers.register(FileType::CharDevice, rdev, Arc::new(driver));
    }
    for (name, rdev, mode) in [
        (&b"tty"[..], TTY, 0o666),
        (b"console", CONSOLE, 0o600),
        (b"ptmx", PTMX, 0o666),
    ] {
        let node = NewNode::Special(FileType::CharDevice, rdev);
        root.create(name, node, mode, &who)?;
    }
    for (name, mode) in [(&b"shm"[..], 0o1777), (b"pts", 0o755), (b"mqueue", 0o1777)] {
        root.create(name, NewNode::Directory, mode, &who)?;
    }
    for (name, target) in [
        (&b"fd"[..], &b"/proc/self/fd"[..]),
        (b"stdin", b"/proc/self/fd/0"),
        (b"stdout", b"/proc/self/fd/1"),
        (b"stderr", b"/proc/self/fd/2"),
    ] {
        root.create(name, NewNode::Symlink(target), 0o777, &who)?;
    }
    Ok(fs)
}

struct PlainDevice {
    kind: Kind,
    entropy: Arc<dyn Entropy>,
}

impl Driver for PlainDevice {
    fn open(&self, inode: &Arc<dyn Inode>, _flags: u32) -> Result<Arc<dyn File>> {
        Ok(Arc::new(OpenDevice {
            inode: Arc::clone(inode),
            kind: self.kind,
            entropy: Arc::clone(&self.entropy),
        }))
    }
}

struct OpenDevice {
    inode: Arc<dyn Inode>,
    kind: Kind,
    entropy: Arc<dyn Entropy>,
}

impl File for OpenDevice {
    fn inode(&self) -> Option<&Arc<dyn Inode>> {
        Some(&self.inode)
    }

    fn seekable(&self) -> bool {
        true
    }

    fn size(&self) -> Result<u64> {
        Ok(0)
    }

    fn seek_data_or_hole(&self, _offset: u64, _whence: Whence) -> Result<u64> {
        Ok(0)
    }

    fn read_at(&self, _offset: u64, buf: &mut [u8]) -> Result<usize> {
        match self.kind {
            Kind::Null => return Ok(0),
            Kind::Zero | Kind::Full => buf.fill(0),
            Kind::Random => self.entropy.fill(buf),
        }
        Ok(buf.len())
    }

    /// What is written to the random devices is not mixed in: a guest cannot steer other random numbers.
    fn write_at(&self, _offset: u64, data: &[u8]) -> Result<usize> {
        match self.kind {
            Kind::Full => Err(Errno::ENOSPC),
            _ => Ok(data.len()),
        }
    }

    fn append(&self, data: &[u8]) -> Result<(usize, u64)> {
        self.write_at(0, data).map(|n| (n, 0))
    }
}
