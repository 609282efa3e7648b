//! Guest memory: what the kernel sees, what mappings do.

use std::os::unix::fs::FileExt;
use std::sync::Arc;

use base_abi::Errno;
use platform_api::{ApplyError, Backing, Event, MapOp, Platform, Protection, Sharing};

use crate::code;
use crate::guest::{CODE, DATA, FREE, Guest, PAGE, RW, anonymous, file, mapping, report};

/// A read ends before the first page that the guest could not read.
pub fn reads_stop_at_inaccessible(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    guest.apply(&[
        anonymous(FREE, 4 * PAGE, RW),
        MapOp::Protect {
            addr: FREE + 2 * PAGE,
            len: PAGE,
            prot: Protection::empty(),
        },
    ]);
    let mut buf = vec![1; 4 * PAGE as usize];
    assert_eq!(
        guest.space.read(FREE + 100, &mut buf),
        2 * PAGE as usize - 100
    );
    assert_eq!(guest.space.read(FREE + 2 * PAGE, &mut buf), 0);
    assert_eq!(guest.space.read(FREE + 8 * PAGE, &mut buf), 0);
    assert_eq!(guest.space.read(FREE, &mut []), 0);
    assert_eq!(guest.space.read(FREE + 3 * PAGE, &mut buf), PAGE as usize);
}

/// A write ends before the first page that the guest could not write.
pub fn writes_stop_at_read_only(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    guest.apply(&[
        anonymous(FREE, 3 * PAGE, RW),
        MapOp::Protect {
            addr: FREE + PAGE,
            len: PAGE,
            prot: Protection::READ,
        },
    ]);
    let data = vec![7; 2 * PAGE as usize];
    assert_eq!(guest.space.write(FREE + 10, &data), PAGE as usize - 10);
    assert_eq!(guest.space.write(FREE + PAGE, &data), 0);
    assert_eq!(guest.bytes(FREE + PAGE, 4), [0; 4]);
    assert_eq!(guest.space.write(CODE, &[0]), 0);
}

/// Addresses outside the platform's bounds are nobody's.
pub fn no_access_outside_the_guest(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    let mut buf = [0; 64];
    for addr in [
        0,
        platform.features().max_address,
        platform.features().max_address - 8,
        0x7fff_ffff_f000,
        1 << 63,
        u64::MAX - 8,
        u64::MAX,
    ] {
        assert_eq!(guest.space.read(addr, &mut buf), 0, "{addr:x}");
        assert_eq!(guest.space.write(addr, &buf), 0, "{addr:x}");
    }
}

/// Anonymous memory starts as zero for kernel and guest.
pub fn anonymous_is_zero(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    guest.apply(&[anonymous(FREE, PAGE, RW)]);
    assert_eq!(guest.bytes(FREE, PAGE as usize), vec![0; PAGE as usize]);
    assert_eq!(guest.run(code::load(), |r| r.rdi = FREE), 0);
}

/// Writes to a private mapping stay in it; the file shows through elsewhere.
pub fn private_file_is_copied_on_write(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    let shared = file(&[b'a'; 8192]);
    guest.apply(&[mapping(FREE, 2 * PAGE, RW, &shared, Sharing::Private)]);
    assert_eq!(guest.word(FREE), u64::from_le_bytes([b'a'; 8]));
    guest.run(code::store(), |r| (r.rdi, r.rsi) = (FREE, 1));
    assert_eq!(guest.space.write(FREE + 8, &[2]), 1);
    assert_eq!((guest.word(FREE), guest.bytes(FREE + 8, 1)), (1, vec![2]));
    let mut buf = [0; 16];
    shared.read_exact_at(&mut buf, 0).expect("reading works");
    assert_eq!(buf, [b'a'; 16]);
    shared
        .write_all_at(b"bbbbbbbb", PAGE)
        .expect("writing works");
    assert_eq!(guest.word(FREE + PAGE), u64::from_le_bytes([b'b'; 8]));
}

/// A shared mapping and the file are one.
pub fn shared_file_is_coherent(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    let shared = file(&[0; 4096]);
    guest.apply(&[
        mapping(FREE, PAGE, RW, &shared, Sharing::Shared),
        mapping(
            FREE + PAGE,
            PAGE,
            Protection::READ,
            &shared,
            Sharing::Shared,
        ),
    ]);
    guest.run(code::store(), |r| (r.rdi, r.rsi) = (FREE + 16, 99));
    assert_eq!(guest.run(code::load(), |r| r.rdi = FREE + PAGE + 16), 99);
    let mut buf = [0; 8];
    shared.read_exact_at(&mut buf, 16).expect("reading works");
    assert_eq!(u64::from_le_bytes(buf), 99);
    shared
        .write_all_at(&7u64.to_le_bytes(), 16)
        .expect("writing works");
    assert_eq!(guest.run(code::load(), |r| r.rdi = FREE + 16), 7);
    let other = Guest::new(platform);
    other.apply(&[mapping(FREE, PAGE, RW, &shared, Sharing::Shared)]);
    other.run(code::store(), |r| (r.rdi, r.rsi) = (FREE + 16, 8));
    assert_eq!(guest.word(FREE + 16), 8);
}

/// Protection decides what kernel and guest can do.
pub fn protection_changes(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    guest.apply(&[anonymous(FREE, PAGE, RW)]);
    guest.set_word(FREE, 5);
    guest.apply(&[MapOp::Protect {
        addr: FREE,
        len: PAGE,
        prot: Protection::empty(),
    }]);
    assert!(matches!(
        guest.event(code::load(), |r| r.rdi = FREE),
        Event::Fault(_)
    ));
    guest.apply(&[MapOp::Protect {
        addr: FREE,
        len: PAGE,
        prot: Protection::READ,
    }]);
    assert_eq!(guest.run(code::load(), |r| r.rdi = FREE), 5);
    assert!(matches!(
        guest.event(code::store(), |r| r.rdi = FREE),
        Event::Fault(_)
    ));
    // Code that was just written, as a JIT does.
    guest.apply(&[MapOp::Protect {
        addr: FREE,
        len: PAGE,
        prot: Protection::all(),
    }]);
    assert_eq!(guest.space.write(FREE, &[0x0f, 0x05]), 2);
    assert!(
        matches!(guest.event(0, |r| (r.rip, r.rax) = (FREE, 42)), Event::Syscall(call) if call.nr == 42 && call.ip == FREE + 2)
    );
}

/// What was unmapped is gone; unmapping nothing is fine.
pub fn unmapping(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    guest.apply(&[
        anonymous(FREE, 3 * PAGE, RW),
        MapOp::Unmap {
            addr: FREE + PAGE,
            len: PAGE,
        },
        MapOp::Unmap {
            addr: FREE + PAGE,
            len: PAGE,
        },
    ]);
    assert_eq!(guest.space.read(FREE, &mut [0; 8192]), PAGE as usize);
    assert!(
        matches!(guest.event(code::load(), |r| r.rdi = FREE + PAGE), Event::Fault(f) if f.code == 1)
    );
    assert_eq!(guest.word(FREE + 2 * PAGE), 0);
}

/// Discarded anonymous memory is zero again.
pub fn discard_zeroes(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    guest.apply(&[anonymous(FREE, 2 * PAGE, RW)]);
    guest.set_word(FREE, 5);
    guest.set_word(FREE + PAGE, 6);
    guest.apply(&[MapOp::Discard {
        addr: FREE,
        len: PAGE,
    }]);
    assert_eq!((guest.word(FREE), guest.word(FREE + PAGE)), (0, 6));
}

/// Discarded private file pages read as the file.
pub fn discard_rereads_the_file(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    guest.apply(&[mapping(
        FREE,
        PAGE,
        RW,
        &file(&[b'f'; 64]),
        Sharing::Private,
    )]);
    guest.set_word(FREE, 5);
    guest.apply(&[MapOp::Discard {
        addr: FREE,
        len: PAGE,
    }]);
    assert_eq!(guest.word(FREE), u64::from_le_bytes([b'f'; 8]));
}

/// Moving takes the contents along and replaces what was at the destination.
pub fn moving(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    guest.apply(&[
        anonymous(FREE, 2 * PAGE, RW),
        anonymous(FREE + 16 * PAGE, 2 * PAGE, RW),
    ]);
    guest.set_word(FREE, 5);
    guest.set_word(FREE + PAGE, 6);
    guest.set_word(FREE + 17 * PAGE, 9);
    guest.apply(&[MapOp::Move {
        from: FREE,
        old_len: 2 * PAGE,
        to: FREE + 16 * PAGE,
        new_len: 2 * PAGE,
    }]);
    assert_eq!(
        (guest.word(FREE + 16 * PAGE), guest.word(FREE + 17 * PAGE)),
        (5, 6)
    );
    assert_eq!(guest.space.read(FREE, &mut [0]), 0);
}

/// A range can change its length in place and while moving.
pub fn growing_and_shrinking(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    guest.apply(&[anonymous(FREE, 2 * PAGE, RW)]);
    guest.set_word(FREE, 5);
    guest.apply(&[MapOp::Move {
        from: FREE,
        old_len: 2 * PAGE,
        to: FREE,
        new_len: 8 * PAGE,
    }]);
    assert_eq!((guest.word(FREE), guest.word(FREE + 7 * PAGE)), (5, 0));
    guest.apply(&[MapOp::Move {
        from: FREE,
        old_len: 8 * PAGE,
        to: FREE,
        new_len: PAGE,
    }]);
    assert_eq!(guest.space.read(FREE + PAGE, &mut [0]), 0);
    guest.apply(&[MapOp::Move {
        from: FREE,
        old_len: PAGE,
        to: FREE + 32 * PAGE,
        new_len: 4 * PAGE,
    }]);
    assert_eq!(
        (guest.word(FREE + 32 * PAGE), guest.word(FREE + 35 * PAGE)),
        (5, 0)
    );
}

/// A new mapping replaces parts of old ones.
pub fn replacing(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    guest.apply(&[anonymous(FREE, 3 * PAGE, RW)]);
    guest.set_word(FREE, 5);
    guest.set_word(FREE + PAGE, 6);
    guest.apply(&[mapping(
        FREE + PAGE,
        PAGE,
        Protection::READ,
        &file(&[b'r'; 8]),
        Sharing::Private,
    )]);
    assert_eq!(
        (guest.word(FREE), guest.word(FREE + PAGE)),
        (5, u64::from_le_bytes([b'r'; 8]))
    );
}

/// 64 GiB without access cost nothing and can be opened in pieces.
pub fn large_reservation(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    let at = 0x10_0000_0000;
    guest.apply(&[anonymous(at, 64 << 30, Protection::empty())]);
    guest.apply(&[MapOp::Protect {
        addr: at + (32 << 30),
        len: PAGE,
        prot: RW,
    }]);
    guest.run(code::store(), |r| (r.rdi, r.rsi) = (at + (32 << 30), 3));
    assert_eq!(guest.word(at + (32 << 30)), 3);
    assert_eq!(guest.space.read(at, &mut [0]), 0);
}

/// Batches longer than any buffer of the platform.
pub fn long_batches(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    let ops: Vec<MapOp> = (0..1000)
        .map(|n| anonymous(FREE + n * 2 * PAGE, PAGE, RW))
        .collect();
    guest.apply(&ops);
    for n in [0, 254, 255, 256, 510, 511, 999] {
        guest.set_word(FREE + n * 2 * PAGE, n);
    }
    let ops: Vec<MapOp> = (0..1000)
        .map(|n| MapOp::Unmap {
            addr: FREE + n * 2 * PAGE,
            len: PAGE,
        })
        .collect();
    guest.apply(&ops);
    assert_eq!(guest.space.read(FREE + 999 * 2 * PAGE, &mut [0]), 0);
    guest.apply(&[]);
}

/// More files in one batch than the platform may keep open, and the same files again.
pub fn many_files_in_a_batch(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    let files: Vec<_> = (0..100u64).map(|n| file(&n.to_le_bytes())).collect();
    for _ in 0..2 {
        let map = |(n, f): (usize, &Arc<std::fs::File>)| {
            mapping(FREE + n as u64 * PAGE, PAGE, RW, f, Sharing::Private)
        };
        guest.apply(&files.iter().enumerate().map(map).collect::<Vec<_>>());
        for n in 0..100 {
            assert_eq!(guest.word(FREE + n * PAGE), n);
        }
    }
    drop(files);
    guest.apply(&[mapping(FREE, PAGE, RW, &file(&[9; 8]), Sharing::Private)]);
    assert_eq!(
        (guest.word(FREE), guest.word(FREE + PAGE)),
        (u64::from_le_bytes([9; 8]), 1)
    );
}

/// A refused change is named; those before it stay, those after it are not tried.
pub fn failed_change_is_named(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    let ops = [
        anonymous(FREE, PAGE, RW),
        MapOp::Protect {
            addr: FREE + PAGE,
            len: PAGE,
            prot: RW,
        },
        anonymous(FREE + 4 * PAGE, PAGE, RW),
    ];
    assert_eq!(
        guest.space.apply(&ops),
        Err(ApplyError {
            index: 1,
            errno: Errno::ENOMEM
        })
    );
    assert_eq!(guest.word(FREE), 0);
    assert_eq!(guest.space.read(FREE + 4 * PAGE, &mut [0]), 0);
    let far = Backing::File {
        file: file(&[1]),
        offset: 12,
        sharing: Sharing::Private,
    };
    let bad = MapOp::Map {
        addr: FREE,
        len: PAGE,
        prot: RW,
        backing: far,
    };
    assert_eq!(
        guest
            .space
            .apply(&[anonymous(FREE + PAGE, PAGE, RW), bad])
            .map_err(|e| e.index),
        Err(1)
    );
    assert_eq!(guest.word(FREE + PAGE), 0);
}

/// Changes outside the platform's bounds are refused, so that a mistake above cannot reach the platform's own pages.
pub fn own_pages_are_refused(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    let top = platform.features().max_address;
    for (addr, len) in [
        (top, PAGE),
        (top - PAGE, 2 * PAGE),
        (0, PAGE),
        (0x7fff_ff00_0000, PAGE),
        (u64::MAX - 4095, PAGE),
        (FREE, u64::MAX - 4095),
    ] {
        let refused = |op: MapOp| assert!(guest.space.apply(&[op]).is_err(), "{addr:x} {len:x}");
        refused(anonymous(addr, len, RW));
        refused(MapOp::Unmap { addr, len });
        refused(MapOp::Protect {
            addr,
            len,
            prot: RW,
        });
        refused(MapOp::Discard { addr, len });
        refused(MapOp::Move {
            from: addr,
            old_len: len,
            to: FREE,
            new_len: PAGE,
        });
        refused(MapOp::Move {
            from: DATA,
            old_len: PAGE,
            to: addr,
            new_len: len,
        });
    }
    assert_eq!(
        report(&mut *guest.context(code::report(), |r| r.rax = 1)),
        1
    );
}

/// The swap happens only on equality and returns what was there.
pub fn compare_exchange(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    guest.set_word(DATA, 0x7777_7777_0000_0005);
    assert_eq!(guest.space.compare_exchange_u32(DATA, 4, 9), Ok(5));
    assert_eq!(
        guest.space.compare_exchange_u32(DATA, 5, 0xffff_fff0),
        Ok(5)
    );
    assert_eq!(
        guest.space.compare_exchange_u32(DATA, 0xffff_fff0, 1),
        Ok(0xffff_fff0)
    );
    assert_eq!(guest.word(DATA), 0x7777_7777_0000_0001);
}

/// Words that cannot be changed say `EFAULT`, again and again, and nothing else breaks.
pub fn compare_exchange_faults(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    for _ in 0..20 {
        for addr in [
            FREE,
            CODE,
            DATA + 2,
            0,
            1 << 63,
            u64::MAX - 3,
            platform.features().max_address,
        ] {
            assert_eq!(
                guest.space.compare_exchange_u32(addr, 0, 1),
                Err(Errno::EFAULT),
                "{addr:x}"
            );
        }
        assert_eq!(guest.space.compare_exchange_u32(DATA, 0, 0), Ok(0));
    }
}

/// Touched memory counts as resident.
pub fn resident_grows(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    let before = guest.space.resident_bytes();
    guest.apply(&[anonymous(FREE, 4 << 20, RW)]);
    assert_eq!(guest.space.write(FREE, &vec![1; 4 << 20]), 4 << 20);
    assert!(guest.space.resident_bytes() >= before + (3 << 20));
}

/// Pages of a file that were put in place ahead are what the file holds, and nobody wrote them; writing one copies it.
pub fn prefault_shares(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    let (addr, len) = (FREE, 4 * PAGE);
    let file = file(&[7; 4 * PAGE as usize]);
    let map = mapping(addr, len, RW, &file, Sharing::Private);
    guest.apply(&[map, MapOp::Prefault { addr, len }]);
    assert_eq!(guest.bytes(addr, len as usize), [7; 4 * PAGE as usize]);
    let shared = guest.space.shared_pages(FREE..FREE + 4 * PAGE);
    let shared = shared.expect("the host says");
    let all = addr..addr + len;
    assert!(shared.is_empty() || shared == std::slice::from_ref(&all));
    guest.run(code::store(), |r| (r.rdi, r.rsi) = (FREE + PAGE, 9));
    assert_eq!(guest.word(FREE + PAGE), 9);
    let shared = guest.space.shared_pages(FREE + PAGE..FREE + 2 * PAGE);
    assert_eq!(shared.expect("the host says"), []);
}

/// Pages that the guest or the kernel wrote are named, also those next to one that faulted; a fork has them.
pub fn written_pages_are_named(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    guest.apply(&[anonymous(FREE, 32 * PAGE, RW)]);
    for page in [0, 1, 2, 7] {
        guest.run(code::store(), |r| {
            (r.rdi, r.rsi) = (FREE + page * PAGE, page + 1)
        });
    }
    guest.set_word(FREE + 20 * PAGE, 21);
    let written = guest
        .space
        .written_pages(FREE..FREE + 32 * PAGE)
        .expect("the host says");
    let child = guest.space.fork().expect("a fork");
    for page in [0, 1, 2, 7, 20] {
        let at = FREE + page * PAGE;
        assert!(
            written.iter().any(|run| run.contains(&at)),
            "{page}: {written:x?}"
        );
        let mut word = [0; 8];
        assert_eq!(child.read(at, &mut word), 8);
        assert_eq!(u64::from_le_bytes(word), page + 1);
    }
}
