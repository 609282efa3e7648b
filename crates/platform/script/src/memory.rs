//! Memory of one address space: ranges with their backing, and the private pages that were written.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;

use base_abi::Errno;
use platform_api::{Backing, MapOp, Protection, Sharing};

use crate::BOUNDS;

const PAGE: u64 = 4096;
/// Most ranges, as `vm.max_map_count`.
const MAX_RANGES: usize = 65_530;

#[derive(Clone)]
struct Range {
    len: u64,
    prot: Protection,
    backing: Backing,
}

impl Range {
    /// The part that starts `skip` bytes in.
    fn from(&self, skip: u64) -> Range {
        let mut part = self.clone();
        part.len -= skip;
        if let Backing::File { offset, .. } = &mut part.backing {
            *offset += skip;
        }
        part
    }
}

/// Copied by `fork`.
#[derive(Clone, Default)]
pub(crate) struct Memory {
    /// By first address; they do not overlap.
    ranges: BTreeMap<u64, Range>,
    /// Written private pages, by page address.
    pages: BTreeMap<u64, Box<[u8]>>,
}

impl Memory {
    /// Carries out one change.
    pub(crate) fn apply(&mut self, op: &MapOp) -> Result<(), Errno> {
        match op {
            MapOp::Map {
                addr,
                len,
                prot,
                backing,
            } => {
                check(*addr, *len)?;
                if matches!(backing, Backing::File { offset, .. } if !offset.is_multiple_of(PAGE)) {
                    return Err(Errno::EINVAL);
                }
                if self.ranges.len() >= MAX_RANGES {
                    return Err(Errno::ENOMEM);
                }
                self.remove(*addr, *len);
                self.ranges.insert(
                    *addr,
                    Range {
                        len: *len,
                        prot: *prot,
                        backing: backing.clone(),
                    },
                );
            }
            MapOp::Unmap { addr, len } => {
                check(*addr, *len)?;
                self.remove(*addr, *len);
            }
            MapOp::Protect { addr, len, prot } => {
                check(*addr, *len)?;
                self.isolate(*addr, *len)?;
                self.ranges
                    .range_mut(*addr..*addr + *len)
                    .for_each(|(_, range)| range.prot = *prot);
            }
            MapOp::Move {
                from,
                old_len,
                to,
                new_len,
            } => {
                check(*from, *old_len)?;
                check(*to, *new_len)?;
                self.shift(*from, *old_len, *to, *new_len)?;
            }
            MapOp::Touch { .. } | MapOp::Prefault { .. } => {}
            MapOp::Discard { addr, len } => {
                check(*addr, *len)?;
                self.isolate(*addr, *len)?;
                self.forget_pages(*addr, *len);
            }
        }
        Ok(())
    }

    /// Bytes of private pages that were written.
    pub(crate) fn private_bytes(&self) -> u64 {
        self.pages.len() as u64 * PAGE
    }

    /// Reads up to the first byte that is not readable.
    pub(crate) fn read(&self, addr: u64, buf: &mut [u8]) -> usize {
        let mut done = 0;
        while done < buf.len() {
            let Some((at, part)) = step(addr, done, buf.len()) else {
                break;
            };
            let Some(range) = self
                .find(at)
                .filter(|(_, range)| range.prot.contains(Protection::READ))
            else {
                break;
            };
            let Some(place) = buf.get_mut(done..done + part) else {
                break;
            };
            if !self.copy_out(at, range, place) {
                break;
            }
            done += part;
        }
        done
    }

    /// Writes up to the first byte that is not writable.
    pub(crate) fn write(&mut self, addr: u64, data: &[u8]) -> usize {
        let mut done = 0;
        while done < data.len() {
            let Some((at, part)) = step(addr, done, data.len()) else {
                break;
            };
            let Some(from) = data.get(done..done + part) else {
                break;
            };
            if !self.copy_in(at, from) {
                break;
            }
            done += part;
        }
        done
    }

    /// Copies from within one page.
    fn copy_out(&self, at: u64, (start, range): (u64, &Range), place: &mut [u8]) -> bool {
        let page = at & !(PAGE - 1);
        if let Some(bytes) = self.pages.get(&page) {
            let skip = (at - page) as usize;
            return bytes
                .get(skip..skip + place.len())
                .map(|from| place.copy_from_slice(from))
                .is_some();
        }
        match &range.backing {
            Backing::Anonymous => {
                place.fill(0);
                true
            }
            Backing::File { file, offset, .. } => {
                let len = file.metadata().map_or(0, |meta| meta.len());
                let from = offset + (at - start);
                if from & !(PAGE - 1) >= len {
                    return false;
                }
                place.fill(0);
                let have = usize::try_from(len.saturating_sub(from))
                    .unwrap_or(usize::MAX)
                    .min(place.len());
                place
                    .get_mut(..have)
                    .is_some_and(|place| file.read_exact_at(place, from).is_ok())
            }
        }
    }

    /// Copies into one page.
    fn copy_in(&mut self, at: u64, from: &[u8]) -> bool {
        let Some((start, range)) = self.find(at) else {
            return false;
        };
        if !range.prot.contains(Protection::WRITE) {
            return false;
        }
        if let Backing::File {
            file,
            offset,
            sharing: Sharing::Shared,
        } = &range.backing
        {
            let to = offset + (at - start);
            let len = file.metadata().map_or(0, |meta| meta.len());
            let room = usize::try_from(len.saturating_sub(to))
                .unwrap_or(usize::MAX)
                .min(from.len());
            return to & !(PAGE - 1) < len
                && from
                    .get(..room)
                    .is_some_and(|from| file.write_all_at(from, to).is_ok());
        }
        let page = at & !(PAGE - 1);
        if !self.pages.contains_key(&page) {
            let mut bytes = vec![0; PAGE as usize].into_boxed_slice();
            if !self.copy_out(page, (start, range), &mut bytes) {
                return false;
            }
            self.pages.insert(page, bytes);
        }
        let skip = (at - page) as usize;
        let place = self
            .pages
            .get_mut(&page)
            .and_then(|bytes| bytes.get_mut(skip..skip + from.len()));
        place.map(|place| place.copy_from_slice(from)).is_some()
    }

    fn find(&self, at: u64) -> Option<(u64, &Range)> {
        let (start, range) = self.ranges.range(..=at).next_back()?;
        (at - start < range.len).then_some((*start, range))
    }

    /// Makes a range boundary at `at`.
    fn split(&mut self, at: u64) {
        if let Some((start, range)) = self.find(at)
            && start < at
        {
            let tail = range.from(at - start);
            if let Some(head) = self.ranges.get_mut(&start) {
                head.len = at - start;
            }
            self.ranges.insert(at, tail);
        }
    }

    /// Makes boundaries at both ends of a span that must be mapped throughout.
    fn isolate(&mut self, addr: u64, len: u64) -> Result<(), Errno> {
        let mut at = addr;
        while at < addr + len {
            let (start, range) = self.find(at).ok_or(Errno::ENOMEM)?;
            at = start + range.len;
        }
        self.split(addr);
        self.split(addr + len);
        Ok(())
    }

    fn forget_pages(&mut self, addr: u64, len: u64) {
        self.pages
            .retain(|page, _| !(addr..addr + len).contains(page));
    }

    fn remove(&mut self, addr: u64, len: u64) {
        self.split(addr);
        self.split(addr + len);
        self.ranges
            .retain(|start, _| !(addr..addr + len).contains(start));
        self.forget_pages(addr, len);
    }

    fn shift(&mut self, from: u64, old_len: u64, to: u64, new_len: u64) -> Result<(), Errno> {
        let overlaps = from < to + new_len && to < from + old_len;
        if from != to && overlaps {
            return Err(Errno::EINVAL);
        }
        self.isolate(from, old_len).map_err(|_| Errno::EFAULT)?;
        if from == to
            && new_len > old_len
            && self
                .ranges
                .range(from + old_len..from + new_len)
                .next()
                .is_some()
        {
            return Err(Errno::ENOMEM);
        }
        let kept = old_len.min(new_len);
        if kept < old_len {
            self.remove(from + kept, old_len - kept);
        }
        let mut ranges: Vec<(u64, Range)> = self
            .ranges
            .range(from..from + kept)
            .map(|(start, range)| (start - from, range.clone()))
            .collect();
        let pages: Vec<(u64, Box<[u8]>)> = self
            .pages
            .range(from..from + kept)
            .map(|(page, bytes)| (page - from, bytes.clone()))
            .collect();
        self.remove(from, kept);
        self.remove(to, new_len);
        if let Some((_, last)) = ranges.last_mut() {
            last.len += new_len - kept;
        }
        self.ranges
            .extend(ranges.into_iter().map(|(skip, range)| (to + skip, range)));
        self.pages
            .extend(pages.into_iter().map(|(skip, bytes)| (to + skip, bytes)));
        Ok(())
    }
}

/// The part of a copy that lies in the page of byte `done`: its address and length.
fn step(addr: u64, done: usize, total: usize) -> Option<(u64, usize)> {
    let at = addr.checked_add(done as u64)?;
    Some((at, ((PAGE - at % PAGE) as usize).min(total - done)))
}

fn check(addr: u64, len: u64) -> Result<(), Errno> {
    let end = addr.checked_add(len).ok_or(Errno::EINVAL)?;
    if addr < BOUNDS.0 || end > BOUNDS.1 || len == 0 || !(addr | len).is_multiple_of(PAGE) {
        return Err(Errno::EINVAL);
    }
    Ok(())
}
