//! The table of all system calls: number, name, handler, support level, caveat.

use std::sync::OnceLock;

use crate::call::{Args, Sys, SysResult};

/// A handler. Run again with the same arguments after every wake-up.
pub type Handler = fn(&mut Sys<'_>, Args) -> SysResult;

/// How much of a call's documented behaviour is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// As in its man page, as far as a guest without real devices can tell.
    Full,
    /// The caveat says what is missing.
    Partial,
    /// Answers as Linux does where the feature is not there or not permitted.
    Refused,
}

/// One system call.
#[derive(Clone, Copy)]
pub struct Entry {
    /// Number in the x86-64 table.
    pub nr: u32,
    /// Name in its man page.
    pub name: &'static str,
    /// One letter an argument, for `--strace`: `d` signed, `x` hex, `o` octal, `u` unsigned,
    /// `p` address, `s` string.
    pub shape: &'static str,
    /// What runs.
    pub handler: Handler,
    /// Support level.
    pub support: Support,
    /// What differs from the man page, empty when nothing does.
    pub caveat: &'static str,
}

impl Entry {
    /// A fully supported call.
    #[must_use]
    pub const fn full(nr: u32, name: &'static str, shape: &'static str, handler: Handler) -> Entry {
        Entry {
            nr,
            name,
            shape,
            handler,
            support: Support::Full,
            caveat: "",
        }
    }

    /// A call with something missing.
    #[must_use]
    pub const fn partial(
        nr: u32,
        name: &'static str,
        shape: &'static str,
        handler: Handler,
        caveat: &'static str,
    ) -> Entry {
        Entry {
            nr,
            name,
            shape,
            handler,
            support: Support::Partial,
            caveat,
        }
    }

    /// A call that is answered with an error on purpose.
    #[must_use]
    pub const fn refused(
        nr: u32,
        name: &'static str,
        shape: &'static str,
        handler: Handler,
        caveat: &'static str,
    ) -> Entry {
        Entry {
            nr,
            name,
            shape,
            handler,
            support: Support::Refused,
            caveat,
        }
    }
}

/// The families, one file each.
const FAMILIES: &[&[Entry]] = &[
    crate::attributes::ENTRIES,
    crate::clone::ENTRIES,
    crate::copying::ENTRIES,
    crate::dirents::ENTRIES,
    crate::epoll::ENTRIES,
    crate::event_files::ENTRIES,
    crate::exec::ENTRIES,
    crate::exit::ENTRIES,
    crate::fds::ENTRIES,
    crate::futex::ENTRIES,
    crate::ids::ENTRIES,
    crate::inotify::ENTRIES,
    crate::ioctl::ENTRIES,
    crate::locks::ENTRIES,
    crate::memory::ENTRIES,
    crate::messages::ENTRIES,
    crate::misc::ENTRIES,
    crate::names::ENTRIES,
    crate::open::ENTRIES,
    crate::paths::ENTRIES,
    crate::pidfd::ENTRIES,
    crate::poll::ENTRIES,
    crate::rw::ENTRIES,
    crate::sigcalls::ENTRIES,
    crate::sockets::ENTRIES,
    crate::stat::ENTRIES,
    crate::storage::ENTRIES,
    crate::time::ENTRIES,
    crate::timer_calls::ENTRIES,
    crate::wait::ENTRIES,
    crate::xattr::ENTRIES,
];

/// One past the highest number looked up.
const SIZE: usize = 512;

/// All entries, by number.
#[must_use]
pub fn entries() -> Vec<&'static Entry> {
    let mut all: Vec<&'static Entry> = FAMILIES.iter().flat_map(|f| f.iter()).collect();
    all.sort_by_key(|e| e.nr);
    all
}

/// The entry of a number.
#[must_use]
pub fn lookup(nr: u64) -> Option<&'static Entry> {
    static TABLE: OnceLock<[Option<&'static Entry>; SIZE]> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        let mut table = [None; SIZE];
        for entry in FAMILIES.iter().flat_map(|f| f.iter()) {
            if let Some(slot) = usize::try_from(entry.nr)
                .ok()
                .and_then(|n| table.get_mut(n))
            {
                *slot = Some(entry);
            }
        }
        table
    });
    usize::try_from(nr)
        .ok()
        .and_then(|n| table.get(n).copied().flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unique_and_in_range() {
        let all = entries();
        assert!(
            all.windows(2).all(|pair| pair[0].nr != pair[1].nr),
            "a number stands twice"
        );
        assert!(all.iter().all(|e| (e.nr as usize) < SIZE));
    }
}
