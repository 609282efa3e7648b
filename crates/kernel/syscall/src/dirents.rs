//! Listing directories: getdents64(2).

use base_abi::Errno;

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
    let description = sys.file(args.i32(0))?;
    let room = usize::try_from(args.u32(2)).unwrap_or(0).min(CHUNK);
    let mut out = Vec::new();
    // Where each record ends in the list, and in the directory.
    let mut ends = Vec::new();
    let mut full = false;
    let begin = description.offset();
    description.read_dir(&mut |entry| {
        let mut record = encode(entry.name, entry.ino, entry.file_type as u8, entry.next);
        if out.len() + record.len() > room {
            full = true;
            return false;
        }
        let len = u16::try_from(record.len()).unwrap_or(u16::MAX);
        record[16..18].copy_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&record);
        ends.push((out.len(), entry.next));
        true
    })?;
    if full && out.is_empty() {
        return Err(Errno::EINVAL.into());
    }
    let given = sys.mm().write_some(args.u64(1), &out).unwrap_or(0);
    if given == out.len() {
        return Ok(given as u64);
    }
    // Records that have no memory to go to come again.
    let whole = ends.iter().take_while(|(end, _)| *end <= given).last();
    let (len, position) = whole.copied().unwrap_or((0, begin));
    description.list_from(position);
    match len {
        0 => Err(Errno::EFAULT.into()),
        len => Ok(len as u64),
    }
}
