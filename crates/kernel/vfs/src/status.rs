//! How a file was opened: access mode and file status flags (open(2), fcntl(2)).

/// What the description was opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessMode {
    /// `O_RDONLY`.
    Read,
    /// `O_WRONLY`.
    Write,
    /// `O_RDWR`.
    ReadWrite,
    /// `O_PATH`: a place, not a file.
    Path,
}

impl AccessMode {
    /// From the flags of open(2).
    #[must_use]
    pub fn from_flags(flags: u32) -> AccessMode {
        if flags & base_abi::general::O_PATH != 0 {
            return AccessMode::Path;
        }
        match flags & base_abi::general::O_ACCMODE {
            0 => AccessMode::Read,
            1 => AccessMode::Write,
            _ => AccessMode::ReadWrite,
        }
    }

    /// A number for saved state.
    pub(crate) fn number(self) -> u8 {
        match self {
            AccessMode::Read => 0,
            AccessMode::Write => 1,
            AccessMode::ReadWrite => 2,
            AccessMode::Path => 3,
        }
    }

    pub(crate) fn from_number(number: u8) -> Option<AccessMode> {
        use AccessMode::{Path, Read, ReadWrite, Write};
        [Read, Write, ReadWrite, Path]
            .get(usize::from(number))
            .copied()
    }

    /// As flags of open(2).
    #[must_use]
    pub fn open_flags(self) -> u32 {
        match self {
            AccessMode::Read => base_abi::general::O_RDONLY,
            AccessMode::Write => base_abi::general::O_WRONLY,
            AccessMode::ReadWrite => base_abi::general::O_RDWR,
            AccessMode::Path => base_abi::general::O_PATH,
        }
    }

    /// May it be read?
    #[must_use]
    pub fn readable(self) -> bool {
        matches!(self, AccessMode::Read | AccessMode::ReadWrite)
    }

    /// May it be written?
    #[must_use]
    pub fn writable(self) -> bool {
        matches!(self, AccessMode::Write | AccessMode::ReadWrite)
    }
}

bitflags::bitflags! {
    /// File status flags that `F_SETFL` may change, plus those `F_GETFL` shows.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct StatusFlags: u32 {
        /// `O_APPEND`.
        const APPEND = 0o2000;
        /// `O_NONBLOCK`.
        const NONBLOCK = 0o4000;
        /// `O_DSYNC`.
        const DSYNC = 0o10000;
        /// `O_ASYNC`.
        const ASYNC = 0o20000;
        /// `O_DIRECT`.
        const DIRECT = 0o40000;
        /// `O_LARGEFILE`.
        const LARGEFILE = 0o100000;
        /// `O_DIRECTORY` (shown only).
        const DIRECTORY = 0o200000;
        /// `O_NOFOLLOW` (shown only).
        const NOFOLLOW = 0o400000;
        /// `O_NOATIME`.
        const NOATIME = 0o1000000;
        /// `O_PATH` (shown only).
        const PATH = 0o10000000;
    }
}
