//! One word of a first-level page table (Intel SDM vol. 3, 4.5; AMD APM vol. 2, 5.4).
//!
//! An entry of zero is nothing. One that is not present may still hold a page that the guest may not touch now; the
//! address is stored inverted then, so that speculation past the missing present bit ends nowhere (L1TF).

use platform_api::Protection;

use crate::layout::FILES;

const PRESENT: u64 = 1;
const WRITE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
/// Ours: the page is a frame that this address space holds a reference of.
const OWNED: u64 = 1 << 9;
/// Ours: the frame was given the contents of a file's page, which nobody has changed unless it is dirty.
const COPIED: u64 = 1 << 10;
const NO_EXECUTE: u64 = 1 << 63;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// What an inner entry of the guest's half says; the last level decides.
pub(crate) const INNER: u64 = PRESENT | WRITE | USER | ACCESSED;
/// What an inner entry of the upper half says: ring 0 alone.
pub(crate) const UPPER_INNER: u64 = PRESENT | WRITE | ACCESSED;
/// Readable and executable in ring 0.
pub(crate) const UPPER_CODE: u64 = PRESENT | ACCESSED;
/// Readable and writable in ring 0.
pub(crate) const UPPER_DATA: u64 = PRESENT | WRITE | ACCESSED | DIRTY | NO_EXECUTE;
/// Readable in ring 0.
pub(crate) const UPPER_CONSTANT: u64 = PRESENT | ACCESSED | NO_EXECUTE;

/// Whether the address space holds a reference of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holding {
    /// A frame of its own, or one it shares with forks.
    Owned,
    /// A window on a file, or the frame of zeros.
    Borrowed,
}

/// Whether the page may be written without asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writing {
    /// Yes, where the protection allows; it counts as written.
    Now,
    /// Yes, where the protection allows; the processor notes when it is.
    Later,
    /// Not before it was copied.
    Never,
}

/// A word of a page table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Entry(pub(crate) u64);

impl Entry {
    pub(crate) fn new(page: u64, prot: Protection, holding: Holding, writing: Writing) -> Entry {
        let mut word = page & ADDRESS | USER | ACCESSED;
        if holding == Holding::Owned {
            word |= OWNED;
        }
        if writing == Writing::Now {
            word |= DIRTY;
        }
        Entry(word).with(prot, writing)
    }

    fn with(self, prot: Protection, writing: Writing) -> Entry {
        let mut word = self.0 & !(PRESENT | WRITE | NO_EXECUTE);
        if prot.contains(Protection::WRITE) && writing != Writing::Never {
            word |= WRITE;
        }
        if !prot.contains(Protection::EXEC) {
            word |= NO_EXECUTE;
        }
        if prot.is_empty() {
            // Not present: the address inverted.
            Entry(word ^ ADDRESS)
        } else {
            Entry(word | PRESENT)
        }
    }

    /// The same page under another protection.
    pub(crate) fn protected(self, prot: Protection, writing: Writing) -> Entry {
        let page = self.page();
        Entry(self.0 & !ADDRESS | page).with(prot, writing)
    }

    /// The same without the right to write.
    pub(crate) fn without_write(self) -> Entry {
        Entry(self.0 & !WRITE)
    }

    pub(crate) fn is_nothing(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn is_present(self) -> bool {
        self.0 & PRESENT != 0
    }

    pub(crate) fn is_writable(self) -> bool {
        self.0 & (PRESENT | WRITE) == PRESENT | WRITE
    }

    pub(crate) fn is_executable(self) -> bool {
        self.is_present() && self.0 & NO_EXECUTE == 0
    }

    pub(crate) fn is_owned(self) -> bool {
        self.0 & OWNED != 0
    }

    /// Whether the page was written since it became the address space's.
    pub(crate) fn is_written(self) -> bool {
        self.0 & (OWNED | DIRTY) == OWNED | DIRTY
    }

    /// Whether it shows a page of a file that was used since, or put in place to be. A copy that nobody has written is one.
    pub(crate) fn shows_a_used_file(self) -> bool {
        let used = PRESENT | ACCESSED;
        let copy = self.0 & (COPIED | DIRTY) == COPIED;
        let window = !self.is_owned() && self.page() >= FILES;
        self.0 & used == used && (copy || window)
    }

    /// A frame with the contents of the file's page that this shows, or would show; the processor notes when it is written.
    pub(crate) fn copied(self, frame: u64, prot: Protection) -> Entry {
        let used = self.0 & (PRESENT | ACCESSED) == PRESENT | ACCESSED;
        let copy = Entry::new(frame, prot, Holding::Owned, Writing::Later);
        let copy = if used { copy } else { copy.untouched() };
        Entry(copy.0 | COPIED)
    }

    /// The same page before anybody touched it: the processor notes when somebody does.
    pub(crate) fn untouched(self) -> Entry {
        Entry(self.0 & !ACCESSED)
    }

    /// Whether it is a frame that takes memory: one that was read or written, or is a copy.
    pub(crate) fn is_resident(self) -> bool {
        self.is_owned() && self.0 & (ACCESSED | DIRTY | COPIED) != 0
    }

    pub(crate) fn written(self) -> Entry {
        Entry(self.0 | DIRTY)
    }

    /// The guest-physical address.
    pub(crate) fn page(self) -> u64 {
        if self.is_present() {
            self.0 & ADDRESS
        } else {
            !self.0 & ADDRESS
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_without_rights_is_kept_but_not_named() {
        let entry = Entry::new(0x4000_3000, Protection::all(), Holding::Owned, Writing::Now);
        assert!(entry.is_writable() && entry.is_executable() && entry.is_written());
        let none = entry.protected(Protection::empty(), Writing::Now);
        assert!(!none.is_present() && none.is_written());
        assert_ne!(none.0 & ADDRESS, 0x4000_3000);
        assert_eq!(none.page(), 0x4000_3000);
        let read = none.protected(Protection::READ, Writing::Now);
        assert_eq!(read.page(), 0x4000_3000);
        assert!(read.is_present() && !read.is_writable() && !read.is_executable());
    }
}
