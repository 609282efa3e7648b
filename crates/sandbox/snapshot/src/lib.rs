//! The file format of a captured sandbox (described for people in `docs/snapshot-format.md`).
//!
//! ```text
//! 0       header, one page: magic, version, where the sections are
//! 4096    pages of guest memory, page aligned; holes are zeros
//! …       sections: facts, kernel state, address spaces, Runtime API
//! ```
//!
//! The header is written last: a file without it is no snapshot. Whether the bytes are those that were
//! written is the business of whoever stores the file (a keyed hash of all of it); here nothing is
//! believed that could be wrong.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use serde::{Deserialize, Serialize};

/// Version of the layout described here.
pub const VERSION: u32 = 3;
/// Where pages begin.
pub const PAGES: u64 = 4096;
/// Bytes of a section that are read at all.
pub const MAX_SECTION: u64 = 512 << 20;

const MAGIC: [u8; 8] = *b"rekindle";
const SECTIONS: usize = 4;
/// Magic, version, number of sections, then offset and length of each, all little-endian.
const HEADER: usize = 8 + 4 + 4 + SECTIONS * 16;

/// What the sandbox was, as far as it decides where it can be restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Version of the kernel's state.
    pub kernel_state: u32,
    /// Processor state components in use (XCR0).
    pub xcr0: u64,
    /// Bytes of a thread's XSAVE area.
    pub xstate_size: u64,
    /// Listed features of the processor that the guest could find, by name.
    pub processor: Vec<String>,
    /// One past the highest guest address.
    pub max_address: u64,
    /// Files with its pages: this one, and those that it lies over.
    pub images: u32,
    /// The guest asked for the snapshot itself, or waits in `restore/next`, or for an event.
    pub captured_at: CapturedAt,
}

/// Where the guest stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CapturedAt {
    /// In `restore/next`.
    RestorePoint,
    /// In a write to `/proc/rekindle/snapshot`, or it is no function.
    Asked,
    /// Waiting for an event.
    Ready,
    /// In `template/next`: it is no function yet.
    Template,
}

/// Everything but the pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sections {
    /// Where it fits.
    pub facts: Facts,
    /// Kernel state, for `kernel-syscall`.
    pub kernel: Vec<u8>,
    /// Address spaces, for `kernel-mm`.
    pub memory: Vec<u8>,
    /// The Runtime API, for `sandbox-api`; empty for what is no function.
    pub runtime_api: Vec<u8>,
}

/// Why a file is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// It could not be read.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It does not begin as one.
    #[error("it is no snapshot")]
    Magic,
    /// Written by another version.
    #[error("its format has version {0}, and {VERSION} is known")]
    Version(u32),
    /// A section lies outside the file or is too long.
    #[error("a section is not where it should be")]
    Section,
    /// The facts cannot be read.
    #[error("its facts cannot be read")]
    Facts,
}

/// Puts the sections behind the pages, which end at `pages_end`, and makes the file a snapshot. Its length.
///
/// # Errors
/// What pwrite(2) says; `InvalidData` for a section that could not be read back.
pub fn write(file: &File, pages_end: u64, sections: &Sections) -> io::Result<u64> {
    let facts = postcard::to_stdvec(&sections.facts).map_err(io::Error::other)?;
    let parts: [&[u8]; SECTIONS] = [
        &facts,
        &sections.kernel,
        &sections.memory,
        &sections.runtime_api,
    ];
    let mut header = Vec::with_capacity(HEADER);
    header.extend(MAGIC);
    header.extend(VERSION.to_le_bytes());
    header.extend((SECTIONS as u32).to_le_bytes());
    let mut at = pages_end.max(PAGES);
    for part in parts {
        let len = part.len() as u64;
        if len > MAX_SECTION {
            return Err(io::ErrorKind::InvalidData.into());
        }
        file.write_all_at(part, at)?;
        header.extend(at.to_le_bytes());
        header.extend(len.to_le_bytes());
        at += len;
    }
    file.write_all_at(&header, 0)?;
    Ok(at)
}

/// Reads everything but the pages.
///
/// # Errors
/// [`FormatError`].
pub fn read(file: &File) -> Result<Sections, FormatError> {
    let length = file.metadata()?.len();
    let mut header = [0; HEADER];
    file.read_exact_at(&mut header, 0).map_err(short)?;
    let mut rest = header.as_slice();
    if take::<8>(&mut rest)? != MAGIC {
        return Err(FormatError::Magic);
    }
    let version = u32::from_le_bytes(take(&mut rest)?);
    if version != VERSION {
        return Err(FormatError::Version(version));
    }
    if u32::from_le_bytes(take(&mut rest)?) != SECTIONS as u32 {
        return Err(FormatError::Section);
    }
    let mut parts = Vec::with_capacity(SECTIONS);
    for _ in 0..SECTIONS {
        let at = u64::from_le_bytes(take(&mut rest)?);
        let len = u64::from_le_bytes(take(&mut rest)?);
        let end = at.checked_add(len).filter(|end| *end <= length);
        if at < PAGES || end.is_none() || len > MAX_SECTION {
            return Err(FormatError::Section);
        }
        let mut part = vec![0; usize::try_from(len).map_err(|_| FormatError::Section)?];
        file.read_exact_at(&mut part, at)?;
        parts.push(part);
    }
    let mut parts = parts.into_iter();
    let mut next = || parts.next().unwrap_or_default();
    let facts = match postcard::take_from_bytes(&next()) {
        Ok((facts, [])) => facts,
        _ => return Err(FormatError::Facts),
    };
    Ok(Sections {
        facts,
        kernel: next(),
        memory: next(),
        runtime_api: next(),
    })
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], FormatError> {
    let (first, rest) = bytes.split_first_chunk::<N>().ok_or(FormatError::Magic)?;
    *bytes = rest;
    Ok(*first)
}

/// A file shorter than a header is no snapshot, whatever else reading says.
fn short(error: io::Error) -> FormatError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => FormatError::Magic,
        _ => FormatError::Io(error),
    }
}
