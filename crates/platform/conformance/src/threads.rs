//! Several contexts of one address space at a time.

use std::sync::Barrier;

use platform_api::{Event, Platform};

use crate::code;
use crate::guest::{DATA, FREE, Guest, PAGE, RW, anonymous, report, syscall};

/// Two contexts that wait for each other in busy loops can only finish together.
pub fn run_in_parallel(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    std::thread::scope(|scope| {
        // 0 -> 1 by the one, 1 -> 2 by the other.
        scope.spawn(|| guest.run(code::turn(), |r| (r.rdi, r.rsi, r.rdx) = (DATA, 1, 2)));
        scope.spawn(|| guest.run(code::turn(), |r| (r.rdi, r.rsi, r.rdx) = (DATA, 0, 1)));
    });
    assert_eq!(guest.word(DATA), 2);
}

/// Guest atomics are atomic across contexts, and against the kernel's compare and swap.
pub fn add_atomically(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    const ADDS: u64 = 20_000;
    const SWAPS: u32 = 200;
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| guest.run(code::add(), |r| (r.rdi, r.rsi) = (DATA, ADDS)));
        }
        scope.spawn(|| {
            for _ in 0..SWAPS {
                let mut seen = 0;
                loop {
                    match guest
                        .space
                        .compare_exchange_u32(DATA, seen, seen.wrapping_add(1))
                        .expect("a word")
                    {
                        found if found == seen => break,
                        found => seen = found,
                    }
                }
            }
        });
    });
    assert_eq!(guest.word(DATA), 2 * ADDS + u64::from(SWAPS));
}

/// More contexts than processors, each with its own registers and calls.
pub fn many(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    std::thread::scope(|scope| {
        for id in 0..24u64 {
            let guest = &guest;
            scope.spawn(move || {
                let mut context = guest.context(code::chain(), |r| r.rax = id * 1000);
                for call in 0..300 {
                    assert_eq!(syscall(&mut *context).nr, id * 1000 + call);
                    context.set_return((id * 1000 + call + 1) as i64);
                }
            });
        }
    });
}

/// A mapping made by one thread is there for a context that runs on another.
pub fn mapping_is_seen_by_all(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    let mapped = Barrier::new(2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut context = guest.context(code::call(), |r| r.rax = 1);
            syscall(&mut *context);
            mapped.wait();
            let regs = &mut context.state_mut().expect("it lives").regs;
            (regs.rip, regs.rdi) = (crate::guest::CODE + code::load(), FREE);
            assert_eq!(report(&mut *context), 0);
        });
        scope.spawn(|| {
            guest.apply(&[anonymous(FREE, PAGE, RW)]);
            mapped.wait();
        });
    });
}

/// Contexts that end do not disturb one that spins, which is stopped at last.
pub fn end_while_others_run(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    std::thread::scope(|scope| {
        let spinning =
            scope.spawn(|| guest.event(code::spin(), |r| (r.rdi, r.rsi) = (DATA, DATA + 8)));
        for n in 0..20 {
            assert_eq!(guest.run(code::report(), |r| r.rax = n), n);
            assert!(matches!(
                guest.event(code::undefined(), |_| {}),
                Event::Fault(_)
            ));
        }
        guest.set_word(DATA + 8, 1);
        assert!(matches!(spinning.join(), Ok(Event::Syscall(_))));
    });
}
