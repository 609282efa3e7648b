//! What the contexts and the handle of an address space share: its pages, its end, who runs in it.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base_abi::Errno;
use parking_lot::Mutex;
use platform_api::PlatformError;

use crate::areas::{Areas, Behind};
use crate::entry::Entry;
use crate::files::Mapped;
use crate::interrupt::ThreadHandle;
use crate::layout::{GUEST_END, PAGE};
use crate::machine::Machine;
use crate::page_access::Want;
use crate::state::{State, read_pages};
use crate::streams::Streams;
use crate::tables::Tree;

/// What contexts and the handle of an address space share.
pub(crate) struct Space {
    pub(crate) machine: Arc<Machine>,
    pub(crate) state: Mutex<State>,
    /// What goes into CR3.
    pub(crate) root: u64,
    dead: AtomicBool,
    /// Contexts that may be running. Lock order: alone.
    handles: Mutex<Vec<Arc<ThreadHandle>>>,
}

impl Space {
    pub(crate) fn new(machine: Arc<Machine>, areas: Areas) -> Result<Arc<Space>, PlatformError> {
        machine.clean_up();
        let tree = Tree::new(machine.tables.clone()).map_err(no_room)?;
        Ok(Arc::new(Space {
            machine,
            root: tree.root(),
            state: Mutex::new(State {
                areas,
                tree,
                streams: Streams::default(),
            }),
            dead: AtomicBool::new(false),
            handles: Mutex::default(),
        }))
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    /// Ends the address space for its contexts.
    pub(crate) fn kill(&self) {
        self.dead.store(true, Ordering::SeqCst);
        for handle in self.handles.lock().iter() {
            handle.kick();
        }
    }

    pub(crate) fn enter(&self, handle: &Arc<ThreadHandle>) {
        self.handles.lock().push(handle.clone());
        self.machine.enter(handle);
    }

    pub(crate) fn leave(&self, handle: &Arc<ThreadHandle>) {
        let mut handles = self.handles.lock();
        if let Some(at) = handles.iter().position(|other| Arc::ptr_eq(handle, other)) {
            handles.swap_remove(at);
        }
        drop(handles);
        self.machine.leave(handle);
    }

    /// Copies `len` bytes page by page; `copy` gets where a page is and how much of it is wanted.
    pub(crate) fn each_page(
        &self,
        addr: u64,
        len: usize,
        want: Want,
        mut copy: impl FnMut(&State, u64, Entry, Range<usize>) -> usize,
    ) -> usize {
        let len = within(addr, len);
        let mut state = self.state.lock();
        let mut done = 0;
        while done < len {
            let at = addr + done as u64;
            let room = (PAGE - at % PAGE) as usize;
            let part = done..len.min(done + room);
            let Ok(entry) = state.resolve(&self.machine, at, want) else {
                break;
            };
            let wanted = part.len();
            let copied = copy(&state, at, entry, part);
            done += copied;
            if copied < wanted {
                break;
            }
        }
        done
    }

    /// Reads guest memory as the guest could.
    pub(crate) fn read(&self, addr: u64, buf: &mut [u8]) -> usize {
        let len = buf.len();
        self.each_page(addr, len, Want::Read, |state, at, entry, part| {
            let Some(buf) = buf.get_mut(part) else {
                return 0;
            };
            if entry.is_owned() {
                self.machine.vm.memory.read(entry.page() + at % PAGE, buf);
                return buf.len();
            }
            buf.fill(0);
            let Some((mapped, offset)) = shown(state, at) else {
                return buf.len();
            };
            match read_pages(&mapped.file, offset, buf) {
                Ok(()) => buf.len(),
                Err(_) => 0,
            }
        })
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        // Nothing runs here any more: contexts hold the space.
        let state = self.state.get_mut();
        let gone = state.clear(&(0..GUEST_END));
        gone.without_borrowed().forget(&self.machine);
    }
}

pub(crate) fn no_room(errno: Errno) -> PlatformError {
    PlatformError::Host {
        what: "make page tables",
        source: std::io::Error::from_raw_os_error(errno.raw()),
    }
}

/// The file and offset that a borrowed page of an address shows.
pub(crate) fn shown(state: &State, addr: u64) -> Option<(Arc<Mapped>, u64)> {
    let (start, area) = state.areas.at(addr)?;
    match &area.behind {
        Behind::File { mapped, offset, .. } => Some((mapped.clone(), offset + (addr - start))),
        Behind::Zeros => None,
    }
}

/// How much of a range lies in the guest's part.
pub(crate) fn within(addr: u64, len: usize) -> usize {
    usize::try_from(GUEST_END.saturating_sub(addr)).map_or(0, |room| room.min(len))
}
