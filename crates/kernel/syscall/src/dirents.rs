//! Listing directories: getdents64(2).

use base_abi::Errno;
use kernel_vfs::UserMemory;

use crate::call::{Args, Sys, SysResult};
use crate::entry::Entry;
use crate::rw::CHUNK;

pub(crate) const ENTRIES: &[Entry] = &[
    Entry::full(78, "getdents", "dpu", getdents),
    Entry::full(217, "getdents64", "dpu", getdents64),
];

fn getdents64(sys: &mut Sys<'_>, args: Args) -> SysResult {
    list(sys, args, |name, ino, kind, next| {
        let mut record = Vec::with_capacity(19 + name.len() + 8);
        record.extend_from_slice(&ino.to_le_bytes());
        record.extend_from_slice(&next.to_le_bytes());
        record.extend_from_slice(&[0, 0, kind]);
        record.extend_from_slice(name);
        record.push(0);
        record.resize(record.len().next_multiple_of(8), 0);
        record
    })
}

fn getdents(sys: &mut Sys<'_>, args: Args) -> SysResult {
    list(sys, args, |name, ino, kind, next| {
        let mut record = Vec::with_capacity(18 + name.len() + 10);
        record.extend_from_slice(&ino.to_le_bytes());
        record.extend_from_slice(&next.to_le_bytes());
        record.extend_from_slice(&[0, 0]);
        record.extend_from_slice(name);
        record.push(0);
        record.resize((record.len() + 1).next_multiple_of(8), 0);
        if let Some(last) = record.last_mut() {
            *last = kind;
        }
        record
    })
}

fn list(
    sys: &mut Sys<'_>,
    args: Args,
    encode: impl Fn(&[u8], u64, u8, u64) -> Vec<u8>,
) -> SysResult {
    let description = sys.files().get_file(args.i32(0))?;
    let room = usize::try_from(args.u32(2)).unwrap_or(0).min(CHUNK);
    let mut out = Vec::new();
    let mut full = false;
    description.read_dir(&mut |entry| {
        let mut record = encode(entry.name, entry.ino, entry.file_type as u8, entry.next);
        if out.len() + record.len() > room {
            full = true;
            return false;
        }
        let len = u16::try_from(record.len()).unwrap_or(u16::MAX);
        record[16..18].copy_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&record);
        true
    })?;
    if full && out.is_empty() {
        return Err(Errno::EINVAL.into());
    }
    sys.mm().write_bytes(args.u64(1), &out)?;
    Ok(out.len() as u64)
}
