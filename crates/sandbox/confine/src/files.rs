//! Landlock: of the whole file system, only the image layers can be read (landlock(7)).

use std::os::fd::BorrowedFd;

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus,
};

use crate::layers::Layer;

/// Restricts the process to reading (or, where asked for, writing) beneath these directories.
pub(crate) fn restrict(read_only: &[BorrowedFd<'_>], writable: &[BorrowedFd<'_>]) -> Layer {
    match apply(read_only, writable) {
        Ok(RulesetStatus::FullyEnforced) => Layer::in_force("read-only layers"),
        Ok(RulesetStatus::PartiallyEnforced) => {
            Layer::in_force("read-only layers, as far as this kernel knows them")
        }
        Ok(RulesetStatus::NotEnforced) => Layer::missing("the host kernel has it not enabled"),
        Err(error) => Layer::missing(error),
    }
}

fn apply(
    read_only: &[BorrowedFd<'_>],
    writable: &[BorrowedFd<'_>],
) -> Result<RulesetStatus, RulesetError> {
    let known = ABI::V3;
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(known))?
        .create()?;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    for directory in read_only {
        ruleset = ruleset.add_rule(PathBeneath::new(directory, read))?;
    }
    let write = AccessFs::from_all(known) & !AccessFs::Execute;
    for directory in writable {
        ruleset = ruleset.add_rule(PathBeneath::new(directory, write))?;
    }
    Ok(ruleset.restrict_self()?.ruleset)
}

/// Whether the host kernel has Landlock enabled.
#[must_use]
pub fn landlock_available() -> bool {
    // Asking for full enforcement of the first version fails where there is none.
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1))
        .and_then(Ruleset::create)
        .is_ok()
}
