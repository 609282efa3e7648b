//! A snapshot that was read and understood, or why it is not restored here.

use std::fs::File;
use std::sync::Arc;

use kernel_mm::SavedMemory;
use kernel_syscall::snapshot::{SavedKernel, VERSION};
use kernel_vfs::save::LoadError;
use platform_api::Features;
use proto_sandbox::RefusalKind;
use sandbox_snapshot::{CapturedAt, Facts, FormatError, Sections};

/// Features that a refusal names.
const MISSING: usize = 8;

/// Why a snapshot is not restored: what to do about it, and a text for a person.
pub(crate) struct NotRestored(pub(crate) RefusalKind, pub(crate) String);

/// A snapshot whose bytes were understood.
pub(crate) struct Parsed {
    pub(crate) kernel: SavedKernel,
    pub(crate) memory: SavedMemory,
    /// What the workload saved of itself.
    pub(crate) workload: Vec<u8>,
    pub(crate) captured_at: CapturedAt,
}

/// Reads a snapshot of a processor like this one, whose pages are in these files.
pub(crate) fn parse(images: &[Arc<File>], features: &Features) -> Result<Parsed, NotRestored> {
    let Some(own) = images.first() else {
        return Err(NotRestored(
            RefusalKind::Host,
            "no snapshot came along".to_owned(),
        ));
    };
    let sections: Sections = sandbox_snapshot::read(own).map_err(|error| {
        let kind = match &error {
            FormatError::Io(_) => RefusalKind::Host,
            FormatError::Version(_) => RefusalKind::Foreign,
            FormatError::Magic | FormatError::Section | FormatError::Facts => RefusalKind::Damaged,
        };
        NotRestored(kind, error.to_string())
    })?;
    fits(&sections.facts, features)?;
    let (wanted, given) = (sections.facts.images, images.len());
    if usize::try_from(wanted).ok() != Some(given) {
        let reason = format!("its pages are in {wanted} files, and {given} came along");
        return Err(NotRestored(RefusalKind::Damaged, reason));
    }
    let kernel = SavedKernel::parse(&sections.kernel).map_err(|e| of_load(&e))?;
    let memory = SavedMemory::parse(&sections.memory).map_err(|e| of_load(&e))?;
    if usize::try_from(kernel.address_spaces()).ok() != Some(memory.spaces()) {
        let reason = "kernel state and memory do not belong together";
        return Err(NotRestored(RefusalKind::Damaged, reason.to_owned()));
    }
    Ok(Parsed {
        kernel,
        memory,
        workload: sections.runtime_api,
        captured_at: sections.facts.captured_at,
    })
}

fn fits(facts: &Facts, features: &Features) -> Result<(), NotRestored> {
    let foreign = |what: String| Err(NotRestored(RefusalKind::Foreign, what));
    if facts.kernel_state != VERSION {
        return foreign(format!(
            "its kernel state has version {}, and {VERSION} is known",
            facts.kernel_state
        ));
    }
    if facts.xcr0 != features.xcr0 || facts.xstate_size != features.xstate_size as u64 {
        return foreign(format!(
            "it needs a processor with the state components {:#x} in {} bytes, and guests have {:#x} in {} here",
            facts.xcr0, facts.xstate_size, features.xcr0, features.xstate_size
        ));
    }
    let found = facts.processor.iter().map(String::as_str);
    let missing: Vec<_> = found
        .filter(|name| !features.processor.has(name))
        .take(MISSING)
        .collect();
    if !missing.is_empty() {
        let missing = missing.join(" ");
        return foreign(format!(
            "its programs may use {missing}, which guests do not have here"
        ));
    }
    if facts.max_address != features.max_address {
        return foreign("its address space is laid out differently".to_owned());
    }
    Ok(())
}

/// Why saved state is not loaded.
pub(crate) fn of_load(error: &LoadError) -> NotRestored {
    let kind = match error {
        LoadError::Malformed(_) | LoadError::UnknownKind(_) => RefusalKind::Damaged,
        LoadError::Differs(_) => RefusalKind::Foreign,
        LoadError::Failed { .. } => RefusalKind::Host,
    };
    NotRestored(kind, error.to_string())
}
