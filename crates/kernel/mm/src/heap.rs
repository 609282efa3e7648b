//! brk(2).

use base_abi::Errno;
use base_abi::page::page_ceil;
use kernel_vfs::Result;
use platform_api::Protection;

use crate::mm::{Mm, State};
use crate::vma::{Vma, VmaBacking, VmaFlags};

impl Mm {
    /// Moves the end of the heap if that is possible; returns where it ends then. `0` asks only.
    pub fn brk(&self, wanted: u64) -> u64 {
        let mut state = self.lock();
        if wanted >= state.exec.start_brk && self.move_brk(&mut state, wanted).is_ok() {
            state.brk = wanted;
        }
        state.brk
    }

    fn move_brk(&self, state: &mut State, wanted: u64) -> Result<()> {
        let old = page_ceil(state.brk).ok_or(Errno::ENOMEM)?;
        let new = page_ceil(wanted).ok_or(Errno::ENOMEM)?;
        let data = state.exec.end_data.saturating_sub(state.exec.start_data);
        let heap = wanted - state.exec.start_brk;
        if wanted > state.brk && heap.saturating_add(data) > state.limits.data {
            return Err(Errno::ENOMEM);
        }
        if new < old {
            return self.take_out(state, new, old).map(drop);
        }
        if new == old {
            return Ok(());
        }
        if new > state.layout.max || old < state.layout.min || !state.tree.free(old, new) {
            return Err(Errno::ENOMEM);
        }
        state.may_add(1)?;
        let heap = Vma {
            start: old,
            end: new,
            prot: Protection::READ | Protection::WRITE,
            max_prot: Protection::all(),
            flags: VmaFlags::empty(),
            backing: VmaBacking::Anonymous,
            anon_name: None,
        };
        self.install(state, heap, false).map(drop)
    }
}
