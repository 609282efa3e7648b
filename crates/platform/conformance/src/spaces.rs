//! Address spaces: separate, forked, short-lived.

use platform_api::{Event, Platform, Sharing};

use crate::code;
use crate::guest::{DATA, FREE, Guest, PAGE, RW, file, mapping, report, syscall};

/// The same address in two spaces is two words.
pub fn are_separate(platform: &dyn Platform) {
    let (one, two) = (Guest::new(platform), Guest::new(platform));
    one.run(code::store(), |r| (r.rdi, r.rsi) = (DATA, 1));
    two.run(code::store(), |r| (r.rdi, r.rsi) = (DATA, 2));
    assert_eq!((one.word(DATA), two.word(DATA)), (1, 2));
}

/// A fork has the contents of that moment, and then its own; contexts stay behind.
pub fn fork_copies(platform: &dyn Platform) {
    let parent = Guest::new(platform);
    parent.set_word(DATA, 1);
    let mut context = parent.context(code::chain(), |r| r.rax = 57);
    syscall(&mut *context);
    let child = Guest {
        space: parent.space.fork().expect("a fork"),
    };
    parent.set_word(DATA, 2);
    assert_eq!(child.word(DATA), 1);
    child.run(code::store(), |r| (r.rdi, r.rsi) = (DATA, 3));
    assert_eq!((parent.word(DATA), child.word(DATA)), (2, 3));
    let state = context.state().expect("it lives").clone();
    let mut copy = child.space.new_context(state).expect("a new context");
    copy.set_return(0);
    context.set_return(77);
    assert_eq!((syscall(&mut *copy).nr, syscall(&mut *context).nr), (0, 77));
}

/// Shared mappings stay shared over a fork.
pub fn fork_shares_shared_files(platform: &dyn Platform) {
    let parent = Guest::new(platform);
    parent.apply(&[mapping(FREE, PAGE, RW, &file(&[0; 8]), Sharing::Shared)]);
    let child = Guest {
        space: parent.space.fork().expect("a fork"),
    };
    child.run(code::store(), |r| (r.rdi, r.rsi) = (FREE, 5));
    assert_eq!(parent.run(code::load(), |r| r.rdi = FREE), 5);
}

/// Generations, after whose elders are gone.
pub fn fork_of_fork(platform: &dyn Platform) {
    let mut guest = Guest::new(platform);
    for generation in 1..20 {
        guest.set_word(DATA, generation);
        guest = Guest {
            space: guest.space.fork().expect("a fork"),
        };
        assert_eq!(guest.run(code::load(), |r| r.rdi = DATA), generation);
    }
}

/// Files that the parent mapped can be mapped by the child, and new ones too.
pub fn fork_keeps_files(platform: &dyn Platform) {
    let parent = Guest::new(platform);
    let old = file(&[1; 8]);
    parent.apply(&[mapping(FREE, PAGE, RW, &old, Sharing::Private)]);
    let child = Guest {
        space: parent.space.fork().expect("a fork"),
    };
    let new = file(&[2; 8]);
    for guest in [&parent, &child] {
        guest.apply(&[
            mapping(FREE, PAGE, RW, &new, Sharing::Private),
            mapping(FREE + PAGE, PAGE, RW, &old, Sharing::Private),
        ]);
        assert_eq!(
            (guest.word(FREE), guest.word(FREE + PAGE)),
            (u64::from_le_bytes([2; 8]), u64::from_le_bytes([1; 8]))
        );
    }
}

/// Hundreds of address spaces, one after the other and some at a time.
pub fn many_come_and_go(platform: &dyn Platform) {
    let mut alive = std::collections::VecDeque::new();
    for n in 0..200 {
        let guest = Guest::new(platform);
        assert_eq!(guest.run(code::report(), |r| r.rax = n), n);
        alive.push_back(guest);
        if alive.len() > 8 {
            alive.pop_front();
        }
    }
}

/// Contexts end in every state; the address space serves the next one.
pub fn context_goes_and_space_stays(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    for _ in 0..5 {
        drop(guest.context(code::call(), |_| {}));
        let mut context = guest.context(code::call(), |r| r.rax = 1);
        syscall(&mut *context);
        drop(context);
        let mut context = guest.context(code::call(), |r| r.rax = 60);
        syscall(&mut *context);
        drop(context);
        let mut context = guest.context(code::undefined(), |_| {});
        assert!(matches!(context.run(), Event::Fault(_)));
        drop(context);
        let mut context = guest.context(code::spin(), |r| (r.rdi, r.rsi) = (DATA, DATA + 8));
        context.interrupter().interrupt();
        assert_eq!(context.run(), Event::Interrupted);
        drop(context);
        assert_eq!(guest.run(code::report(), |r| r.rax = 3), 3);
    }
}

/// When the address space goes, what is left of its contexts says so.
pub fn space_goes_and_context_is_gone(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    let mut called = guest.context(code::call(), |r| r.rax = 1);
    syscall(&mut *called);
    let mut stated = guest.context(code::call(), |r| r.rax = 1);
    syscall(&mut *stated);
    stated.state_mut().expect("it lives").regs.rbx = 1;
    let mut fresh = guest.context(code::call(), |_| {});
    drop(guest);
    assert_eq!(called.run(), Event::Gone);
    assert_eq!(called.run(), Event::Gone);
    assert!(called.state().is_err());
    assert_eq!(stated.run(), Event::Gone);
    assert_eq!(fresh.run(), Event::Gone);
    let next = Guest::new(platform);
    assert_eq!(report(&mut *next.context(code::report(), |r| r.rax = 1)), 1);
}
