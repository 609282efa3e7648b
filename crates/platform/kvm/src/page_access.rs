//! What somebody wants to do with a page, and why it cannot be had.

use platform_api::Protection;

use crate::entry::Entry;

/// What somebody wants to do with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    Read,
    Write,
    Execute,
}

/// Why a page cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Nothing is mapped there.
    Unmapped,
    /// The protection says no.
    Forbidden,
    /// The file ends before it.
    BeyondFile,
    /// The host or the machine has no room.
    NoMemory,
}

/// Whether an access is within a protection, as x86 has it: what can be written or executed can be read.
pub(crate) fn allows(prot: Protection, want: Want) -> bool {
    match want {
        Want::Read => !prot.is_empty(),
        Want::Write => prot.contains(Protection::WRITE),
        Want::Execute => prot.contains(Protection::EXEC),
    }
}

/// Whether an entry lets the processor do it already.
pub(crate) fn suffices(entry: Entry, want: Want) -> bool {
    match want {
        Want::Read => entry.is_present(),
        Want::Write => entry.is_writable(),
        Want::Execute => entry.is_executable(),
    }
}
