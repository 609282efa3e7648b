//! The table of all system calls: the entries of every family, looked up by number.

use std::sync::OnceLock;

use crate::entry::Entry;

/// The families, one file each.
const FAMILIES: &[&[Entry]] = &[
    crate::attributes::ENTRIES,
    crate::clone::ENTRIES,
    crate::copying::ENTRIES,
    crate::credentials::ENTRIES,
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
    crate::machine::ENTRIES,
    crate::membarrier::ENTRIES,
    crate::memory::ENTRIES,
    crate::messages::ENTRIES,
    crate::names::ENTRIES,
    crate::open::ENTRIES,
    crate::paths::ENTRIES,
    crate::pidfd::ENTRIES,
    crate::poll::ENTRIES,
    crate::prctl::ENTRIES,
    crate::refused::ENTRIES,
    crate::rw::ENTRIES,
    crate::scheduling::ENTRIES,
    crate::sigcalls::ENTRIES,
    crate::sockets::ENTRIES,
    crate::splicing::ENTRIES,
    crate::stat::ENTRIES,
    crate::storage::ENTRIES,
    crate::time::ENTRIES,
    crate::timer_calls::ENTRIES,
    crate::unshare::ENTRIES,
    crate::usage::ENTRIES,
    crate::vectors::ENTRIES,
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
