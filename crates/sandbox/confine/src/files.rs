//! Landlock: of the whole file system, only the image layers can be read (landlock(7)).

use std::os::fd::BorrowedFd;

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus,
};
use proto_sandbox::JailLayer;

/// Restricts the process to reading beneath these directories, and names in and below `listed` ones.
pub(crate) fn restrict(read_only: &[BorrowedFd<'_>], listed: &[BorrowedFd<'_>]) -> JailLayer {
    match apply(read_only, listed) {
        Ok(RulesetStatus::FullyEnforced) => JailLayer::in_force("read-only layers"),
        Ok(RulesetStatus::PartiallyEnforced) => {
            JailLayer::in_force("read-only layers, as far as this kernel knows them")
        }
        Ok(RulesetStatus::NotEnforced) => JailLayer::missing("the host kernel has it not enabled"),
        Err(error) => JailLayer::missing(error),
    }
}

fn apply(
    read_only: &[BorrowedFd<'_>],
    listed: &[BorrowedFd<'_>],
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
    for directory in listed {
        ruleset = ruleset.add_rule(PathBeneath::new(directory, AccessFs::ReadDir))?;
    }
    Ok(ruleset.restrict_self()?.ruleset)
}
