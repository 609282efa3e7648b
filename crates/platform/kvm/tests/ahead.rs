//! Pages that are put in place before anybody touches them: they cost no exit, and wrong hints do no harm.

use std::sync::Arc;

use platform_api::{Event, Exit, MapOp, Platform, Protection, Sharing};
use platform_conformance::code;
use platform_conformance::guest::{FREE, Guest, PAGE, RW, anonymous, file, mapping};
use platform_kvm::KvmPlatform;

/// Pages of the file: twice what one touch brings along.
const PAGES: u64 = 128;
const LEN: u64 = PAGES * PAGE;

fn machine() -> KvmPlatform {
    KvmPlatform::new().expect("this host makes virtual machines")
}

fn fills(platform: &KvmPlatform) -> u64 {
    let counts = platform.exits();
    counts
        .iter()
        .find(|(exit, _)| *exit == Exit::Fill)
        .map_or(0, |(_, n)| *n)
}

/// Fills that reading, and then writing, each page of a private mapping of a file takes.
fn used(platform: &KvmPlatform, hints: &[MapOp]) -> (u64, u64) {
    let guest = Guest::new(platform);
    // What the guest's own code and stack take.
    guest.run(code::load(), |r| r.rdi = platform_conformance::guest::DATA);
    guest.apply(&[mapping(
        FREE,
        LEN,
        RW,
        &file(&[7; LEN as usize]),
        Sharing::Private,
    )]);
    guest.apply(hints);
    let before = fills(platform);
    for page in 0..PAGES {
        let got = guest.run(code::load(), |r| r.rdi = FREE + page * PAGE);
        assert_eq!(got, u64::from_ne_bytes([7; 8]));
    }
    let read = fills(platform);
    for page in 0..PAGES {
        guest.run(code::store(), |r| {
            (r.rdi, r.rsi) = (FREE + page * PAGE, page)
        });
    }
    for page in 0..PAGES {
        assert_eq!(guest.word(FREE + page * PAGE), page);
    }
    (read - before, fills(platform) - read)
}

#[test]
fn pages_in_place_are_not_filled_one_by_one_on_kvm() {
    let platform = machine();
    let (addr, len) = (FREE, LEN);
    assert_eq!(used(&platform, &[]), (2, PAGES));
    assert_eq!(
        used(&platform, &[MapOp::Prefault { addr, len }]),
        (0, PAGES)
    );
    assert_eq!(used(&platform, &[MapOp::Touch { addr, len }]), (0, 0));
}

/// Recorded pages are those that a clone used, not those that were shown with them; they are what the file holds.
#[test]
fn pages_in_place_are_named_on_kvm() {
    let platform = machine();
    let guest = Guest::new(&platform);
    let map = mapping(FREE, LEN, RW, &file(&[7; LEN as usize]), Sharing::Private);
    guest.apply(&[map]);
    let shared = || {
        guest
            .space
            .shared_pages(0..u64::MAX)
            .expect("the platform knows")
    };
    assert_eq!(shared(), []);
    guest.run(code::load(), |r| r.rdi = FREE + 5 * PAGE);
    guest.run(code::load(), |r| r.rdi = FREE + 8 * PAGE);
    let one = |page: u64| FREE + page * PAGE..FREE + (page + 1) * PAGE;
    assert_eq!(shared(), [one(5), one(8)]);
    guest.apply(&[MapOp::Discard {
        addr: FREE,
        len: LEN,
    }]);
    assert_eq!(shared(), []);
    let (addr, len) = (FREE + 40 * PAGE, 2 * PAGE);
    guest.apply(&[MapOp::Prefault { addr, len }]);
    assert_eq!(shared(), std::slice::from_ref(&(addr..addr + len)));
    guest.apply(&[MapOp::Touch { addr, len: PAGE }]);
    assert_eq!(shared(), std::slice::from_ref(&(addr + PAGE..addr + len)));
}

/// A hint that names holes, memory without rights or without a file, and what is beyond a file's end changes nothing of what the guest sees.
#[test]
fn wrong_hints_do_no_harm_on_kvm() {
    let platform = machine();
    let guest = Guest::new(&platform);
    let short = file(&[7; PAGE as usize]);
    let closed = FREE + 32 * PAGE;
    let zeros = FREE + 64 * PAGE;
    guest.apply(&[
        mapping(FREE, 16 * PAGE, RW, &short, Sharing::Private),
        mapping(closed, PAGE, Protection::empty(), &short, Sharing::Private),
        anonymous(zeros, PAGE, RW),
    ]);
    let frames = guest.space.resident_bytes();
    for _ in 0..2 {
        let (addr, len) = (FREE, 1 << 30);
        guest.apply(&[MapOp::Prefault { addr, len }]);
    }
    assert_eq!(guest.space.resident_bytes(), frames);
    assert_eq!(
        guest.run(code::load(), |r| r.rdi = FREE),
        u64::from_ne_bytes([7; 8])
    );
    assert_eq!(guest.run(code::load(), |r| r.rdi = zeros), 0);
    for addr in [FREE + PAGE, FREE + 20 * PAGE, closed] {
        let event = guest.event(code::load(), |r| r.rdi = addr);
        assert!(matches!(event, Event::Fault(_)), "{addr:x}: {event:?}");
    }
    for addr in [0, u64::MAX - PAGE + 1, FREE + 1] {
        let hint = MapOp::Prefault { addr, len: PAGE };
        assert!(guest.space.apply(&[hint]).is_err(), "{addr:x}");
    }
}

/// What reads pages ahead is gone before the guest runs, and wrote none.
#[test]
fn nothing_is_left_of_the_visit_on_kvm() {
    let platform = machine();
    let guest = Guest::new(&platform);
    let (addr, len) = (FREE, LEN);
    let map = mapping(addr, len, RW, &file(&[7; LEN as usize]), Sharing::Private);
    guest.apply(&[map]);
    let before = guest.space.resident_bytes();
    for _ in 0..100 {
        guest.apply(&[MapOp::Prefault { addr, len }]);
    }
    assert_eq!(guest.space.resident_bytes(), before);
    let written = guest.space.written_pages(FREE..FREE + LEN);
    assert_eq!(written.expect("the platform knows"), []);
    let above = platform.features().max_address;
    for addr in [above, above + 64] {
        let event = guest.event(code::load(), |r| r.rdi = addr);
        assert!(matches!(event, Event::Fault(_)), "{addr:x}: {event:?}");
        let event = guest.event(code::load(), |r| r.rip = addr);
        assert!(matches!(event, Event::Fault(_)), "{addr:x}: {event:?}");
    }
    let child = guest.space.fork().expect("the host has room");
    assert_eq!(child.resident_bytes(), before);
}

/// A page that was put in place goes with its mapping, and with the file's end.
#[test]
fn pages_in_place_go_with_what_they_show_on_kvm() {
    let platform = machine();
    let guest = Guest::new(&platform);
    let shown = file(&[7; LEN as usize]);
    let (addr, len) = (FREE, LEN);
    let hint = [MapOp::Prefault { addr, len }];
    guest.apply(&[mapping(FREE, LEN, RW, &shown, Sharing::Private)]);
    guest.apply(&hint);
    guest.apply(&[mapping(
        FREE,
        LEN,
        RW,
        &file(&[8; LEN as usize]),
        Sharing::Private,
    )]);
    guest.apply(&hint);
    assert_eq!(
        guest.run(code::load(), |r| r.rdi = FREE),
        u64::from_ne_bytes([8; 8])
    );
    let none = Protection::empty();
    guest.apply(&[MapOp::Protect {
        addr,
        len,
        prot: none,
    }]);
    guest.apply(&hint);
    let event = guest.event(code::load(), |r| r.rdi = FREE);
    assert!(matches!(event, Event::Fault(_)), "{event:?}");
    guest.apply(&[mapping(FREE, LEN, RW, &shown, Sharing::Private)]);
    guest.apply(&hint);
    Arc::clone(&shown).set_len(PAGE).expect("it is ours");
    let event = guest.event(code::load(), |r| r.rdi = FREE + 8 * PAGE);
    assert!(matches!(event, Event::Fault(_)), "{event:?}");
    assert_eq!(
        guest.run(code::load(), |r| r.rdi = FREE),
        u64::from_ne_bytes([7; 8])
    );
}
