//! Files of memory without a name (memfd_create(2)).
//!
//! The contents are a host memory file, which mappings share; the host enforces seals on every way to it.

use std::fs::File as HostFile;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;

use base_abi::general::{FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE};
use base_abi::structs::Stat;
use host_sys::{memory_file, seal};
use kernel_vfs::save::{FileState, LoadError, Saved, Saver, Unsavable, decode};
use kernel_vfs::{Errno, File, FileType, Owned, Ownership, Result, SetAttr};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::budget::{Budget, Charge};

/// `F_SEAL_SEAL`.
const SEAL_SEAL: i32 = 1;
/// `F_SEAL_EXEC`.
const SEAL_EXEC: i32 = 0x20;
/// Every seal there is.
const SEAL_ALL: i32 = 0x3f;
/// Longest name (memfd_create(2)).
pub const NAME_MAX: usize = 249;

/// Whether seals may be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealing {
    /// Plain: sealed against seals from the start.
    Forbidden,
    /// `MFD_ALLOW_SEALING`.
    Allowed,
    /// `MFD_NOEXEC_SEAL`: not executable, and that is sealed.
    NoExec,
}

struct Body {
    host: Arc<HostFile>,
    name: String,
    owner: Ownership,
    /// `MFD_NOEXEC_SEAL`: no chmod(2) makes it executable.
    unexecutable: bool,
    ino: u64,
    /// Bytes the host holds for it; also serialises growth.
    charge: Mutex<Charge>,
}

/// A memory file; reopening shares the contents.
#[derive(Clone)]
pub struct MemFd(Arc<Body>);

/// Bytes of one memory file that a snapshot holds.
const SAVED_MAX: u64 = 64 << 20;

/// What a snapshot keeps.
#[derive(Serialize, Deserialize)]
struct MemFdState {
    name: String,
    owned: Owned,
    unexecutable: bool,
    ino: u64,
    seals: u32,
    content: Vec<u8>,
}

impl MemFd {
    /// Kind of its saved state.
    pub const KIND: &'static str = "memfd";

    /// Builds it from saved state.
    ///
    /// # Errors
    /// What is wrong with the state, or the host's refusal.
    pub fn load(bytes: &[u8], budget: &Budget) -> std::result::Result<Arc<MemFd>, LoadError> {
        let state: MemFdState = decode(bytes, "a memory file")?;
        let sealing = if state.unexecutable {
            Sealing::NoExec
        } else {
            Sealing::Allowed
        };
        let owner = [state.owned.uid, state.owned.gid];
        let failed = || LoadError::failed("memory file");
        let file = MemFd::new(&state.name, sealing, budget, state.ino, owner).map_err(failed())?;
        file.0.owner.restore(state.owned);
        let mut done = 0;
        while let Some(rest) = state.content.get(done..).filter(|r| !r.is_empty()) {
            let n = file.write_at(done as u64, rest).map_err(failed())?;
            done += n.max(1);
        }
        let seals = state.seals & !SEAL_EXEC.cast_unsigned();
        if seals != 0 {
            file.add_seals(seals).map_err(failed())?;
        }
        Ok(file)
    }

    fn saved(&self) -> std::result::Result<MemFdState, Unsavable> {
        let failed = |_| Unsavable::new(self.anonymous_name());
        let len = self.0.host.metadata().map_err(failed)?.len();
        if len > SAVED_MAX {
            return Err(Unsavable::new(self.anonymous_name()));
        }
        let mut content = vec![0; usize::try_from(len).unwrap_or(0)];
        self.0.host.read_exact_at(&mut content, 0).map_err(failed)?;
        let seals = self.seals();
        Ok(MemFdState {
            name: self.0.name.clone(),
            owned: self.0.owner.get(),
            unexecutable: self.0.unexecutable,
            ino: self.0.ino,
            seals: seals.map_err(|_| Unsavable::new(self.anonymous_name()))?,
            content,
        })
    }

    /// Another file of the same memory.
    #[must_use]
    pub fn again(&self) -> Arc<MemFd> {
        Arc::new(self.clone())
    }

    /// The number that a saved state stands under.
    ///
    /// # Errors
    /// [`LoadError::Malformed`].
    pub fn saved_id(
        state: &FileState,
    ) -> std::result::Result<kernel_vfs::save::ObjectId, LoadError> {
        decode(&state.bytes, "a memory file")
    }

    /// An empty file of this user and group whose pages are charged to `bytes`.
    ///
    /// # Errors
    /// `EINVAL` for a long name, `ENOMEM`, `EMFILE` of the host.
    pub fn new(
        name: &str,
        sealing: Sealing,
        bytes: &Budget,
        ino: u64,
        [uid, gid]: [u32; 2],
    ) -> Result<Arc<MemFd>> {
        if name.len() > NAME_MAX {
            return Err(Errno::EINVAL);
        }
        let host = seal::create_sealable("guest-memfd")?;
        let (mode, seals) = match sealing {
            Sealing::Forbidden => (0o777, SEAL_SEAL),
            Sealing::Allowed => (0o777, 0),
            Sealing::NoExec => (0o666, 0),
        };
        seal::add_seals(&host, seals)?;
        Ok(Arc::new(MemFd(Arc::new(Body {
            host: Arc::new(host),
            name: String::from(name),
            owner: Ownership::new(Owned { mode, uid, gid }),
            unexecutable: sealing == Sealing::NoExec,
            ino,
            charge: Mutex::new(bytes.charge(0)?),
        }))))
    }

    /// Whether these are seals and the file takes more, as [`add_seals`](MemFd::add_seals) finds it before it looks at who writes.
    ///
    /// # Errors
    /// As [`seals`](MemFd::seals).
    pub fn may_be_sealed(&self, seals: u32) -> Result<bool> {
        let known = i32::try_from(seals).is_ok_and(|s| s & !SEAL_ALL == 0);
        Ok(known && self.seals()? & SEAL_SEAL.cast_unsigned() == 0)
    }

    /// Device and inode number of the host file with the contents, which its mappings go by.
    ///
    /// # Errors
    /// What fstat(2) on the host says.
    pub fn identity(&self) -> Result<(u64, u64)> {
        let host = self.0.host.metadata()?;
        Ok((host.dev(), host.ino()))
    }

    /// `F_ADD_SEALS`; whether the guest's own mappings write is the caller's matter.
    ///
    /// # Errors
    /// `EPERM`, `EBUSY`, `EINVAL`.
    pub fn add_seals(&self, seals: u32) -> Result<()> {
        let seals = i32::try_from(seals).ok().filter(|s| s & !SEAL_ALL == 0);
        let seals = seals.ok_or(Errno::EINVAL)?;
        Ok(seal::add_seals(&self.0.host, seals)?)
    }

    /// `F_GET_SEALS`.
    ///
    /// # Errors
    /// None that the host gives for memory files.
    pub fn seals(&self) -> Result<u32> {
        let mut seals = seal::seals(&self.0.host)?;
        if self.0.unexecutable {
            seals |= SEAL_EXEC;
        }
        Ok(seals.cast_unsigned())
    }

    fn held(&self) -> Result<u64> {
        Ok(self.0.host.metadata()?.blocks().saturating_mul(512))
    }
}

impl File for MemFd {
    fn stat(&self) -> Result<Stat> {
        let host = self.0.host.metadata()?;
        Ok(self.0.owner.fill(Stat {
            dev: 1,
            ino: self.0.ino,
            nlink: 0,
            mode: FileType::Regular.mode_bits(),
            size: i64::try_from(host.len()).unwrap_or(i64::MAX),
            blksize: 4096,
            blocks: i64::try_from(host.blocks()).unwrap_or(i64::MAX),
            ..Stat::default()
        }))
    }

    fn set_attr(&self, change: &SetAttr) -> Result<()> {
        let executable = change.mode.is_some_and(|mode| mode & 0o111 != 0);
        if executable && self.0.unexecutable {
            return Err(Errno::EPERM);
        }
        self.0.owner.change(change);
        Ok(())
    }

    fn seekable(&self) -> bool {
        true
    }

    fn pollable(&self) -> bool {
        false
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        Ok(self.0.host.read_at(buf, offset)?)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<usize> {
        let mut charge = self.0.charge.lock();
        let most = self.held()?.saturating_add(data.len() as u64);
        if charge.resize(most).is_err() {
            return Err(Errno::ENOSPC);
        }
        let written = self.0.host.write_at(data, offset);
        // Giving back cannot fail, and what mappings dirtied meanwhile was charged as memory.
        let _ = charge.resize(self.held()?.min(most));
        Ok(written?)
    }

    fn memory_file(&self) -> Result<Arc<HostFile>> {
        Ok(Arc::clone(&self.0.host))
    }

    fn truncate(&self, len: u64) -> Result<()> {
        let mut charge = self.0.charge.lock();
        self.0.host.set_len(len)?;
        let held = self.held()?.min(charge.amount());
        let _ = charge.resize(held);
        Ok(())
    }

    fn allocate(&self, mode: u32, offset: u64, len: u64) -> Result<()> {
        let end = offset
            .checked_add(len)
            .filter(|end| i64::try_from(*end).is_ok());
        let end = end.ok_or(Errno::EFBIG)?;
        if mode == FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE {
            return Ok(memory_file::punch_hole(&self.0.host, offset, len)?);
        }
        if mode & !FALLOC_FL_KEEP_SIZE != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        // Pages are given on first use; only the length is part of the promise we can keep.
        if mode == 0 && end > self.0.host.metadata()?.len() {
            self.0.host.set_len(end)?;
        }
        Ok(())
    }

    fn reopen(&self, _flags: u32) -> Result<Arc<dyn File>> {
        Ok(Arc::new(self.clone()))
    }

    fn save(&self, saver: &mut Saver) -> std::result::Result<Saved, Unsavable> {
        let id = saver.shared(&self.0, |_| kernel_vfs::save::encode(&self.saved()?))?;
        Saved::state(MemFd::KIND, &id)
    }

    fn anonymous_name(&self) -> String {
        format!("/memfd:{} (deleted)", self.0.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(sealing: Sealing) -> Arc<MemFd> {
        MemFd::new("x", sealing, &Budget::new(1 << 20), 1, [0; 2]).unwrap()
    }

    #[test]
    fn reads_and_writes_like_a_regular_file() {
        let file = file(Sealing::Allowed);
        assert_eq!(file.write_at(10, b"hello"), Ok(5));
        let mut buf = [9; 20];
        assert_eq!(file.read_at(8, &mut buf), Ok(7));
        assert_eq!(&buf[..7], b"\0\0hello");
        assert_eq!(file.size(), Ok(15));
        let again = file.reopen(0).unwrap();
        file.truncate(11).unwrap();
        assert_eq!(again.size(), Ok(11));
        assert_eq!(file.anonymous_name(), "/memfd:x (deleted)");
    }

    #[test]
    fn seals_hold() {
        let file = file(Sealing::Allowed);
        file.truncate(4096).unwrap();
        assert_eq!(file.seals(), Ok(0));
        file.add_seals(2 | 4).unwrap();
        assert_eq!(file.truncate(0), Err(Errno::EPERM));
        assert_eq!(file.truncate(8192), Err(Errno::EPERM));
        assert_eq!(file.write_at(0, b"x"), Ok(1));
        file.add_seals(8 | 1).unwrap();
        assert_eq!(file.write_at(0, b"x"), Err(Errno::EPERM));
        assert_eq!(file.add_seals(2), Err(Errno::EPERM));
        assert_eq!(file.seals(), Ok(15));
        assert_eq!(file.add_seals(0x1000), Err(Errno::EINVAL));
        assert_eq!(
            super::tests::file(Sealing::Forbidden).add_seals(2),
            Err(Errno::EPERM)
        );
    }

    #[test]
    fn bytes_are_bounded_and_returned() {
        let bytes = Budget::new(1 << 16);
        let file = MemFd::new("", Sealing::Forbidden, &bytes, 1, [0; 2]).unwrap();
        assert_eq!(file.write_at(0, &[1; 1 << 15]), Ok(1 << 15));
        assert_eq!(file.write_at(1 << 20, &[1; 1 << 16]), Err(Errno::ENOSPC));
        file.truncate(1 << 30).unwrap();
        file.truncate(0).unwrap();
        assert_eq!(bytes.used(), 0);
    }
}
