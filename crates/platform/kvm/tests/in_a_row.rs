//! Memory that is written from its start to its end takes few exits, and nothing that was only brought along counts as used.

mod made;

use std::fs::File;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use platform_api::{Exit, Platform, Sharing};
use platform_conformance::code;
use platform_conformance::guest::{DATA, FREE, Guest, PAGE, RW, anonymous, file, mapping};
use platform_kvm::KvmPlatform;

const PAGES: u64 = 128;
const LEN: u64 = PAGES * PAGE;

fn fills(platform: &KvmPlatform) -> u64 {
    let counts = platform.exits();
    let fill = counts.iter().find(|(exit, _)| *exit == Exit::Fill);
    fill.map_or(0, |(_, n)| *n)
}

/// A guest that has its own code in place.
fn guest(platform: &KvmPlatform) -> Guest {
    let guest = Guest::new(platform);
    guest.run(code::load(), |r| r.rdi = DATA);
    guest
}

/// Writes the number of each of these pages into it; returns the fills that it took.
fn write(platform: &KvmPlatform, guest: &Guest, pages: impl Iterator<Item = u64>) -> u64 {
    let before = fills(platform);
    for page in pages {
        guest.run(code::store(), |r| {
            (r.rdi, r.rsi) = (at(page), page);
        });
    }
    fills(platform) - before
}

fn at(page: u64) -> u64 {
    FREE + page * PAGE
}

/// One run of these pages.
fn run(pages: Range<u64>) -> Vec<Range<u64>> {
    std::iter::once(at(pages.start)..at(pages.end)).collect()
}

fn written(guest: &Guest) -> Vec<Range<u64>> {
    let written = guest.space.written_pages(FREE..FREE + (1 << 30));
    written.expect("the platform knows")
}

/// A file that no guest can change: it is open for reading alone.
fn steady() -> Arc<File> {
    let own = file(&[7; LEN as usize]);
    let path = format!("/proc/self/fd/{}", own.as_raw_fd());
    Arc::new(File::open(path).expect("it is there"))
}

const SEVENS: u64 = u64::from_ne_bytes([7; 8]);

#[test]
fn zeros_come_a_table_at_a_time_on_kvm() {
    let platform = made::machine();
    let guest = guest(&platform);
    guest.apply(&[anonymous(FREE, 1 << 30, RW)]);
    let before = guest.space.resident_bytes();
    // 16, 32, 64, 128, 256, the rest of the first table, the second table.
    assert_eq!(write(&platform, &guest, 0..1024), 7);
    assert_eq!(write(&platform, &guest, 1024..1025), 1);
    assert_eq!(guest.space.resident_bytes() - before, 1025 * PAGE);
    assert_eq!(written(&guest), run(0..1025));
    assert_eq!(guest.word(at(700)), 700);
}

#[test]
fn zeros_here_and_there_bring_few_on_kvm() {
    let platform = made::machine();
    let guest = guest(&platform);
    guest.apply(&[anonymous(FREE, 1 << 30, RW)]);
    let places = || (0..32).map(|n| n * 40 % 97 * 64);
    assert_eq!(write(&platform, &guest, places()), 32);
    let near = places().flat_map(|page| page + 1..page + 16);
    assert_eq!(write(&platform, &guest, near), 0);
    let far = places().map(|page| page + 16);
    assert_eq!(write(&platform, &guest, far), 32);
}

#[test]
fn copies_are_made_ahead_of_who_writes_in_a_row_on_kvm() {
    let platform = made::machine();
    let guest = guest(&platform);
    guest.apply(&[mapping(FREE, LEN, RW, &steady(), Sharing::Private)]);
    let before = guest.space.resident_bytes();
    // The third in a row brings two; and these the one after them four.
    assert_eq!(write(&platform, &guest, 0..6), 4);
    assert_eq!(written(&guest), run(0..6));
    // Copies take memory, whoever uses them.
    assert_eq!(guest.space.resident_bytes() - before, 10 * PAGE);
    for page in 6..PAGES {
        assert_eq!(guest.run(code::load(), |r| r.rdi = at(page)), SEVENS);
    }
    assert_eq!(written(&guest), run(0..6));
    // What was only read is a page of the file to those who ask, copied or not.
    let shared = guest.space.shared_pages(FREE..FREE + LEN);
    assert_eq!(shared.expect("it knows"), run(6..PAGES));
    // 8, 16, 32, 32 and the rest.
    assert_eq!(write(&platform, &guest, 6..PAGES), 5);
    assert_eq!(written(&guest), run(0..PAGES));
    assert_eq!(guest.space.resident_bytes() - before, LEN);
    for page in 0..PAGES {
        assert_eq!(guest.word(at(page)), page);
        assert_eq!(guest.word(at(page) + 8), SEVENS);
    }
}

#[test]
fn nothing_is_copied_ahead_of_who_writes_here_and_there_on_kvm() {
    let platform = made::machine();
    let guest = guest(&platform);
    guest.apply(&[mapping(FREE, LEN, RW, &steady(), Sharing::Private)]);
    let before = guest.space.resident_bytes();
    let places = (0..PAGES / 8).map(|n| n * 56 % PAGES);
    assert_eq!(write(&platform, &guest, places), PAGES / 8);
    assert_eq!(guest.space.resident_bytes() - before, PAGES / 8 * PAGE);
}

/// A page that nobody wrote shows what the file has, also when that changes.
#[test]
fn what_may_change_is_not_copied_ahead_on_kvm() {
    let platform = made::machine();
    let guest = guest(&platform);
    let shown = file(&[7; LEN as usize]);
    guest.apply(&[mapping(FREE, LEN, RW, &shown, Sharing::Private)]);
    assert_eq!(write(&platform, &guest, 0..32), 32);
    std::os::unix::fs::FileExt::write_all_at(&*shown, &[8; LEN as usize], 0).expect("it is ours");
    assert_eq!(guest.word(at(31) + 8), SEVENS);
    assert_eq!(guest.word(at(32)), u64::from_ne_bytes([8; 8]));
}

#[test]
fn forks_copy_and_take_back_in_rows_on_kvm() {
    let platform = made::machine();
    let guest = guest(&platform);
    guest.apply(&[anonymous(FREE, LEN, RW)]);
    write(&platform, &guest, 0..64);
    let child = Guest {
        space: guest.space.fork().expect("the host has room"),
    };
    let numbers = 0..64;
    // 1, 1, 1 and 2, 1 and 4, 1 and 8.
    assert_eq!(write(&platform, &child, 0..19), 5);
    for page in numbers.clone() {
        child.run(code::store(), |r| (r.rdi, r.rsi) = (at(page), 1000));
    }
    for page in numbers.clone() {
        assert_eq!((guest.word(at(page)), child.word(at(page))), (page, 1000));
    }
    assert_eq!(written(&child), run(0..64));
    assert_eq!(written(&guest), run(0..64));
    drop(child);
    // Nobody else has them: 16, 32, the rest, and nothing is copied.
    assert_eq!(write(&platform, &guest, numbers), 3);
    assert_eq!(written(&guest), run(0..64));
}

/// Copies that nobody wrote are left to the file in a fork, and go with their mapping.
#[test]
fn copies_that_nobody_wrote_are_the_file_on_kvm() {
    let platform = made::machine();
    let guest = guest(&platform);
    guest.apply(&[mapping(FREE, LEN, RW, &steady(), Sharing::Private)]);
    let empty = guest.space.resident_bytes();
    write(&platform, &guest, 0..6);
    let child = Guest {
        space: guest.space.fork().expect("the host has room"),
    };
    assert_eq!(written(&child), run(0..6));
    // Nor has it the page that was only read before.
    assert_eq!(child.space.resident_bytes(), empty - PAGE + 6 * PAGE);
    assert_eq!(child.word(at(7)), SEVENS);
    assert_eq!(write(&platform, &child, 7..8), 1);
    assert_eq!(guest.word(at(7)), SEVENS);
    guest.apply(&[platform_api::MapOp::Discard {
        addr: FREE,
        len: LEN,
    }]);
    assert_eq!(guest.space.resident_bytes(), empty);
    assert_eq!((guest.word(at(3)), child.word(at(3))), (SEVENS, 3));
}
