//! An address space made of pages in this process: what a platform promises, without a guest.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use base_abi::Errno;
use parking_lot::Mutex;
use platform_api::{
    AddressSpace, ApplyError, Backing, Context, CpuState, Features, MapOp, PlatformError,
    Protection, Sharing,
};

pub(crate) const PAGE: u64 = 4096;

/// One page: its protection, what is behind it, and a private copy once written.
#[derive(Clone)]
pub(crate) struct Page {
    pub(crate) prot: Protection,
    backing: Backing,
    copy: Option<Arc<[u8; 4096]>>,
}

impl Page {
    fn bytes(&self) -> [u8; 4096] {
        if let Some(copy) = &self.copy {
            return **copy;
        }
        let mut bytes = [0; 4096];
        if let Backing::File { file, offset, .. } = &self.backing {
            let mut done = 0;
            while let Ok(n) = file.read_at(&mut bytes[done..], offset + done as u64)
                && n > 0
            {
                done += n;
            }
        }
        bytes
    }

    fn store(&mut self, bytes: [u8; 4096]) {
        match &self.backing {
            Backing::File {
                file,
                offset,
                sharing: Sharing::Shared,
            } => file.write_all_at(&bytes, *offset).expect("memory file"),
            _ => self.copy = Some(Arc::new(bytes)),
        }
    }
}

/// The fake. `refuse_after` counts changes down to one that fails.
#[derive(Default)]
pub(crate) struct FakeSpace {
    pub(crate) pages: Mutex<BTreeMap<u64, Page>>,
    pub(crate) refuse_after: Mutex<Option<usize>>,
}

pub(crate) fn features(min: u64, max: u64) -> Features {
    Features {
        min_address: min,
        max_address: max,
        xstate_size: 832,
        xcr0: 7,
        processor: platform_api::ProcessorFeatures::default(),
    }
}

fn shifted(backing: &Backing, by: u64) -> Backing {
    match backing {
        Backing::Anonymous => Backing::Anonymous,
        Backing::File {
            file,
            offset,
            sharing,
        } => Backing::File {
            file: Arc::clone(file),
            offset: offset + by,
            sharing: *sharing,
        },
    }
}

fn change(pages: &mut BTreeMap<u64, Page>, op: &MapOp) -> Result<(), Errno> {
    let range = |addr: u64, len: u64| {
        let aligned = addr.is_multiple_of(PAGE) && len.is_multiple_of(PAGE);
        assert!(aligned && len > 0, "{op:?}");
        (addr..addr + len).step_by(4096)
    };
    match op {
        MapOp::Map {
            addr,
            len,
            prot,
            backing,
        } => {
            // Every page is an entry here: no giants.
            if *len > 64 << 20 {
                return Err(Errno::ENOMEM);
            }
            for at in range(*addr, *len) {
                let page = Page {
                    prot: *prot,
                    backing: shifted(backing, at - addr),
                    copy: None,
                };
                pages.insert(at, page);
            }
        }
        MapOp::Unmap { addr, len } => range(*addr, *len).for_each(|at| {
            pages.remove(&at);
        }),
        MapOp::Protect { addr, len, prot } => {
            for at in range(*addr, *len) {
                pages.get_mut(&at).ok_or(Errno::ENOMEM)?.prot = *prot;
            }
        }
        MapOp::Touch { .. } | MapOp::Prefault { .. } => {}
        MapOp::Discard { addr, len } => {
            for at in range(*addr, *len) {
                pages.get_mut(&at).ok_or(Errno::ENOMEM)?.copy = None;
            }
        }
        MapOp::Move {
            from,
            old_len,
            to,
            new_len,
        } => {
            let mut moved = Vec::new();
            for at in range(*from, *old_len) {
                moved.push(pages.remove(&at).ok_or(Errno::EFAULT)?);
            }
            range(*to, *new_len).for_each(|at| {
                pages.remove(&at);
            });
            let first = moved.first().cloned().ok_or(Errno::EINVAL)?;
            for at in range(*to, *new_len) {
                let index = usize::try_from((at - to) / PAGE).expect("small");
                let page = moved.get(index).cloned().unwrap_or_else(|| Page {
                    prot: first.prot,
                    backing: shifted(&first.backing, at - to),
                    copy: None,
                });
                pages.insert(at, page);
            }
        }
    }
    Ok(())
}

impl AddressSpace for FakeSpace {
    fn apply(&self, ops: &[MapOp]) -> Result<(), ApplyError> {
        let mut pages = self.pages.lock();
        for (index, op) in ops.iter().enumerate() {
            let mut left = self.refuse_after.lock();
            if let Some(count) = left.as_mut() {
                if *count == 0 {
                    *left = None;
                    let errno = Errno::ENOMEM;
                    return Err(ApplyError { index, errno });
                }
                *count -= 1;
            }
            change(&mut pages, op).map_err(|errno| ApplyError { index, errno })?;
        }
        Ok(())
    }

    fn read(&self, addr: u64, buf: &mut [u8]) -> usize {
        let pages = self.pages.lock();
        for (done, byte) in buf.iter_mut().enumerate() {
            let at = addr.wrapping_add(done as u64);
            match pages.get(&(at & !(PAGE - 1))) {
                Some(page) if !page.prot.is_empty() => {
                    *byte = page.bytes()[(at % PAGE) as usize];
                }
                _ => return done,
            }
        }
        buf.len()
    }

    fn write(&self, addr: u64, data: &[u8]) -> usize {
        let mut pages = self.pages.lock();
        let mut done = 0;
        while done < data.len() {
            let at = addr.wrapping_add(done as u64);
            match pages.get_mut(&(at & !(PAGE - 1))) {
                Some(page) if page.prot.contains(Protection::WRITE) => {
                    let start = (at % PAGE) as usize;
                    let n = (4096 - start).min(data.len() - done);
                    let mut bytes = page.bytes();
                    bytes[start..start + n].copy_from_slice(&data[done..done + n]);
                    page.store(bytes);
                    done += n;
                }
                _ => return done,
            }
        }
        done
    }

    fn compare_exchange_u32(&self, _addr: u64, _current: u32, _new: u32) -> Result<u32, Errno> {
        Err(Errno::EFAULT)
    }

    fn fork(&self) -> Result<Arc<dyn AddressSpace>, PlatformError> {
        Ok(Arc::new(FakeSpace {
            pages: Mutex::new(self.pages.lock().clone()),
            refuse_after: Mutex::default(),
        }))
    }

    fn new_context(&self, _state: CpuState) -> Result<Box<dyn Context>, PlatformError> {
        Err(PlatformError::Gone)
    }

    fn resident_bytes(&self) -> u64 {
        let pages = self.pages.lock();
        pages.values().filter(|p| p.copy.is_some()).count() as u64 * PAGE
    }
}
