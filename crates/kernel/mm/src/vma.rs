//! One mapping: a range of addresses with one protection and one backing.

use std::fs::File as HostFile;
use std::os::linux::fs::MetadataExt;
use std::sync::Arc;

use base_abi::Errno;
use kernel_vfs::Description;
use platform_api::{Backing, MapOp, Protection, Sharing};

bitflags::bitflags! {
    /// What a mapping is besides its protection.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct VmaFlags: u32 {
        /// `MAP_NORESERVE`: never charged.
        const NORESERVE = 1;
        /// `MAP_GROWSDOWN` or the main stack: not charged, not data.
        const STACK = 1 << 1;
        /// Locked (mlock(2)); memory is never swapped here, so this is accounting.
        const LOCKED = 1 << 2;
        /// `MADV_DONTFORK`.
        const DONTFORK = 1 << 3;
        /// `MADV_WIPEONFORK`.
        const WIPEONFORK = 1 << 4;
        /// `MADV_DONTDUMP`.
        const DONTDUMP = 1 << 5;
        /// `MADV_HUGEPAGE`.
        const HUGEPAGE = 1 << 6;
        /// `MADV_NOHUGEPAGE`.
        const NOHUGEPAGE = 1 << 7;
        /// Charged to the commit budget. Set once it became writable and private.
        const ACCOUNTED = 1 << 8;
        /// Made by the kernel itself (`[vdso]`, `[vvar]`): cannot be resized or charged.
        const SPECIAL = 1 << 9;
        /// Not known to be there: part of a lazy file to which the platform gives no access, so that a fault asks for it.
        const ABSENT = 1 << 10;
    }
}

/// A file behind mappings. All parts of one mmap(2) call share it.
#[derive(Debug)]
pub struct MappedFile {
    /// The host file with the bytes.
    pub host: Arc<HostFile>,
    /// The open file description, kept as long as the mapping; `None` for shared anonymous and special memory.
    pub description: Option<KeptDescription>,
    /// What `/proc/<pid>/maps` shows.
    pub name: Arc<str>,
    /// Guest device number for `/proc/<pid>/maps`.
    pub dev: u64,
    /// Guest inode number for `/proc/<pid>/maps`.
    pub ino: u64,
    /// What tells the host file from all others, for futexes in shared mappings; zeros for private ones.
    pub identity: (u64, u64),
}

/// A description that a mapping holds on to.
#[derive(Clone)]
pub struct KeptDescription(pub Arc<Description>);

impl std::fmt::Debug for KeptDescription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Description")
    }
}

impl MappedFile {
    /// Takes the identity from the host file when the mapping is shared.
    ///
    /// # Errors
    /// What fstat(2) on the host says.
    pub(crate) fn new(
        host: Arc<HostFile>,
        description: Option<Arc<Description>>,
        name: Arc<str>,
        (dev, ino): (u64, u64),
        sharing: Sharing,
    ) -> Result<MappedFile, Errno> {
        let identity = match sharing {
            Sharing::Private => (0, 0),
            Sharing::Shared => {
                let meta = host.metadata()?;
                (meta.st_dev(), meta.st_ino())
            }
        };
        Ok(MappedFile {
            identity,
            host,
            description: description.map(KeptDescription),
            name,
            dev,
            ino,
        })
    }
}

/// What is behind a mapping.
#[derive(Clone, Debug)]
pub enum VmaBacking {
    /// Private zero pages.
    Anonymous,
    /// A range of a file from `offset` on, also for shared anonymous memory.
    File {
        /// The file.
        file: Arc<MappedFile>,
        /// Offset of the mapping's first byte.
        offset: u64,
        /// Private or shared.
        sharing: Sharing,
    },
}

impl VmaBacking {
    /// The same backing `delta` bytes further.
    pub(crate) fn advanced(&self, delta: u64) -> VmaBacking {
        let mut next = self.clone();
        if let VmaBacking::File { offset, .. } = &mut next {
            *offset = offset.saturating_add(delta);
        }
        next
    }

    /// In the platform's words.
    pub(crate) fn to_platform(&self) -> Backing {
        match self {
            VmaBacking::Anonymous => Backing::Anonymous,
            VmaBacking::File {
                file,
                offset,
                sharing,
            } => Backing::File {
                file: Arc::clone(&file.host),
                offset: *offset,
                sharing: *sharing,
            },
        }
    }

    fn continues(&self, len: u64, next: &VmaBacking) -> bool {
        match (self, next) {
            (VmaBacking::Anonymous, VmaBacking::Anonymous) => true,
            (
                VmaBacking::File {
                    file: a,
                    offset: at,
                    sharing: s,
                },
                VmaBacking::File {
                    file: b,
                    offset,
                    sharing,
                },
            ) => Arc::ptr_eq(a, b) && s == sharing && at.checked_add(len) == Some(*offset),
            _ => false,
        }
    }
}

/// A mapping.
#[derive(Clone, Debug)]
pub struct Vma {
    /// First byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
    /// Protection now.
    pub prot: Protection,
    /// Protection that mprotect(2) may give at most.
    pub max_prot: Protection,
    /// Everything else.
    pub flags: VmaFlags,
    /// What is behind it.
    pub backing: VmaBacking,
    /// `PR_SET_VMA_ANON_NAME`.
    pub anon_name: Option<Arc<str>>,
}

impl Vma {
    /// The change that maps the whole range afresh.
    pub(crate) fn map_op(&self) -> MapOp {
        MapOp::Map {
            addr: self.start,
            len: self.len(),
            prot: self.platform_prot(),
            backing: self.backing.to_platform(),
        }
    }

    /// The protection that the platform has.
    pub(crate) fn platform_prot(&self) -> Protection {
        self.prot_there(self.prot)
    }

    /// What the platform is to be given where the guest gets `prot`.
    pub(crate) fn prot_there(&self, prot: Protection) -> Protection {
        if self.flags.contains(VmaFlags::ABSENT) {
            Protection::empty()
        } else {
            prot
        }
    }

    /// The open file behind it, and where in it the first byte is.
    pub(crate) fn opened(&self) -> Option<(&Arc<Description>, u64)> {
        let VmaBacking::File { file, offset, .. } = &self.backing else {
            return None;
        };
        Some((&file.description.as_ref()?.0, *offset))
    }

    /// Bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.end - self.start
    }

    /// Never true for a mapping in a tree.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.end <= self.start
    }

    /// `MAP_SHARED`?
    #[must_use]
    pub fn shared(&self) -> bool {
        matches!(
            self.backing,
            VmaBacking::File {
                sharing: Sharing::Shared,
                ..
            }
        )
    }

    /// Private memory that starts as zeros?
    #[must_use]
    pub fn anonymous(&self) -> bool {
        matches!(self.backing, VmaBacking::Anonymous)
    }

    /// The file, if any.
    #[must_use]
    pub fn file(&self) -> Option<&Arc<MappedFile>> {
        match &self.backing {
            VmaBacking::Anonymous => None,
            VmaBacking::File { file, .. } => Some(file),
        }
    }

    /// Whether it counts towards `RLIMIT_DATA`: private, writable, no stack.
    #[must_use]
    pub fn is_data(&self) -> bool {
        !self.shared()
            && self.prot.contains(Protection::WRITE)
            && !self.flags.contains(VmaFlags::STACK)
    }

    /// Whether making it writable charges the commit budget.
    pub(crate) fn chargeable(&self) -> bool {
        !self.shared()
            && !self
                .flags
                .intersects(VmaFlags::NORESERVE | VmaFlags::STACK | VmaFlags::SPECIAL)
    }

    /// The part from `start` to `end`, which must lie within it.
    pub(crate) fn part(&self, start: u64, end: u64) -> Vma {
        Vma {
            start,
            end,
            backing: self.backing.advanced(start - self.start),
            ..self.clone()
        }
    }

    /// Whether `next` may be joined to its end.
    pub(crate) fn joins(&self, next: &Vma) -> bool {
        self.end == next.start
            && self.prot == next.prot
            && self.max_prot == next.max_prot
            && self.flags == next.flags
            && self.anon_name == next.anon_name
            && !self.flags.contains(VmaFlags::SPECIAL)
            && self.backing.continues(self.len(), &next.backing)
    }
}
