//! Address spaces of a captured kernel: what they need of the new one.

use std::fs::File;
use std::sync::Arc;

use kernel_mm::{CommitBudget, Mm, MmLimits, SavedMemory, Surroundings, UNLIMITED};
use kernel_vfs::save::{LoadError, Loader};

use super::MmId;
use crate::System;
use crate::exec::MAX_MAPPINGS;

/// Builds an address space of [`SavedKernel::load`](super::SavedKernel::load), whose pages are in `snapshots`: the
/// snapshot's own, then those that it lies over.
///
/// # Errors
/// What does not fit.
pub fn load_space(
    system: &System,
    saved: &mut SavedMemory,
    snapshots: &[Arc<File>],
    number: MmId,
    loader: &Loader,
) -> Result<Arc<Mm>, LoadError> {
    let platform = &system.kernel.platform;
    let space = platform.new_address_space();
    let space = space.map_err(|e| LoadError::failed("an address space")(e.errno()))?;
    let around = Surroundings {
        snapshots,
        special: &|name| {
            let pages = system.vdso.as_ref()?;
            let name = ["[vvar]", "[vdso]"].into_iter().find(|n| *n == name)?;
            Some((Arc::clone(&pages.memory), name))
        },
        features: platform.features(),
        shared: &system.memory.shared,
        limits: &|| MmLimits {
            max_map_count: MAX_MAPPINGS,
            budget: Arc::new(CommitBudget::new(UNLIMITED)),
            shared: Arc::clone(&system.memory.shared),
            aslr_seed: system.kernel.rng.u64(),
            ..MmLimits::default()
        },
    };
    saved.load(number, space, &around, loader).map(Arc::new)
}
