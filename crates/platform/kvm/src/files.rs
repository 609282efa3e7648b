//! Windows on host files: parts of files that the machine sees as guest-physical memory.
//!
//! A file has one set of windows for all address spaces, made where it is first touched. The host's page cache is behind
//! them, so that instances share what none of them writes.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Weak};

use base_abi::Errno;
use parking_lot::Mutex;

use crate::guest_memory::{Access, GuestMemory};
use crate::layout::{CHUNK, FILES, FILES_LEN};
use crate::slots::Slots;

/// Known files above which those that nobody maps any more are looked for.
const MANY_FILES: usize = 1024;

/// What makes two open files the same: device, inode, and whether guests may write.
type Identity = (u64, u64, Access);

#[derive(Debug, Default)]
struct Places {
    /// Chunks that were never used begin here.
    next: u64,
    free: Vec<u64>,
}

/// All windows of a machine. Lock order: address space, `known`, a file's `chunks`, `places`.
#[derive(Debug)]
pub(crate) struct Windows {
    memory: Arc<GuestMemory>,
    slots: Arc<Slots>,
    known: Mutex<HashMap<Identity, Weak<Mapped>>>,
    places: Mutex<Places>,
}

/// A file that some address space maps.
#[derive(Debug)]
pub(crate) struct Mapped {
    windows: Arc<Windows>,
    pub(crate) file: Arc<File>,
    access: Access,
    /// No guest can change it: this process has it for reading alone.
    steady: bool,
    /// Where parts of it are: number of the chunk, guest-physical address.
    chunks: Mutex<BTreeMap<u64, u64>>,
}

impl Windows {
    pub(crate) fn new(memory: Arc<GuestMemory>, slots: Arc<Slots>) -> Windows {
        Windows {
            memory,
            slots,
            known: Mutex::default(),
            places: Mutex::default(),
        }
    }

    /// The windows of a file.
    pub(crate) fn of(
        self: &Arc<Windows>,
        file: &Arc<File>,
        access: Access,
    ) -> Result<Arc<Mapped>, Errno> {
        let metadata = file.metadata().map_err(|e| Errno::from_io(&e))?;
        if !metadata.is_file() {
            return Err(Errno::ENODEV);
        }
        let identity = (metadata.dev(), metadata.ino(), access);
        let mut known = self.known.lock();
        if let Some(mapped) = known.get(&identity).and_then(Weak::upgrade) {
            return Ok(mapped);
        }
        let mapped = Arc::new(Mapped {
            windows: self.clone(),
            file: file.clone(),
            access,
            steady: !is_writable(file),
            chunks: Mutex::default(),
        });
        if known.len() >= MANY_FILES {
            known.retain(|_, mapped| mapped.strong_count() > 0);
        }
        known.insert(identity, Arc::downgrade(&mapped));
        Ok(mapped)
    }

    fn take_place(&self) -> Result<u64, Errno> {
        let mut places = self.places.lock();
        if let Some(place) = places.free.pop() {
            return Ok(place);
        }
        let place = FILES + places.next * CHUNK;
        if place >= FILES + FILES_LEN {
            return Err(Errno::ENOMEM);
        }
        self.slots.ensure(place)?;
        places.next += 1;
        Ok(place)
    }
}

impl Mapped {
    /// The guest-physical address of a page of the file.
    pub(crate) fn page(&self, offset: u64) -> Result<u64, Errno> {
        let chunk = offset / CHUNK;
        let mut chunks = self.chunks.lock();
        if let Some(place) = chunks.get(&chunk) {
            return Ok(place + offset % CHUNK);
        }
        let place = self.windows.take_place()?;
        let memory = &self.windows.memory;
        if let Err(error) = memory.map_file(place, CHUNK, &self.file, chunk * CHUNK, self.access) {
            self.windows.places.lock().free.push(place);
            return Err(Errno::from_io(&error));
        }
        chunks.insert(chunk, place);
        Ok(place + offset % CHUNK)
    }

    /// Whether guests may write it.
    pub(crate) fn access(&self) -> Access {
        self.access
    }

    /// Whether a copy of a page stays what the file has.
    pub(crate) fn is_steady(&self) -> bool {
        self.steady
    }

    /// Bytes of the file now; 0 when the host does not say.
    pub(crate) fn len(&self) -> u64 {
        self.file.metadata().map_or(0, |metadata| metadata.len())
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        for place in self.chunks.get_mut().values() {
            self.windows.memory.unmap_file(*place, CHUNK);
            self.windows.places.lock().free.push(*place);
        }
    }
}

/// Whether guests can be given a file to write: it was opened for that, and no seal forbids it (fcntl(2), `F_ADD_SEALS`).
pub(crate) fn is_writable(file: &File) -> bool {
    let ask = |request| {
        // SAFETY: needed for calls std does not have; both requests take no pointers, and the descriptor is open.
        unsafe { libc::fcntl(file.as_raw_fd(), request) }
    };
    let flags = ask(libc::F_GETFL);
    // Files that cannot have seals answer -1.
    let seals = ask(libc::F_GET_SEALS).max(0);
    flags >= 0
        && flags & libc::O_ACCMODE == libc::O_RDWR
        && seals & (libc::F_SEAL_WRITE | libc::F_SEAL_FUTURE_WRITE) == 0
}
