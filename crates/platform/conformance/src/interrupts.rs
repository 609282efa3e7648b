//! Stopping a context from outside.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use base_eventually::eventually;
use platform_api::{Event, Fault, FaultKind, Platform};

use crate::barrage::Barrage;
use crate::code;
use crate::guest::{CODE, DATA, FREE, Guest, report, syscall};

/// Interruptions between two looks at whether the guests have ended.
const BURST: usize = 10_000;

/// A guest that makes no calls is stopped once it is known to run.
pub fn busy_loop(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    std::thread::scope(|scope| {
        let (send, receive) = mpsc::channel();
        let guest = &guest;
        scope.spawn(move || {
            let mut context = guest.context(code::spin(), |r| (r.rdi, r.rsi) = (DATA, DATA + 8));
            send.send(context.interrupter()).expect("the test listens");
            assert_eq!(context.run(), Event::Interrupted);
            let rip = context.state().expect("it lives").regs.rip;
            assert!((CODE..CODE + 4096).contains(&rip));
            let count = guest.word(DATA);
            assert_eq!(guest.word(DATA), count, "an interrupted guest stands still");
        });
        let interrupt = receive.recv().expect("a handle");
        eventually("the guest counts", || guest.word(DATA) != 0);
        interrupt.interrupt();
    });
}

/// An interruption before the first run is not lost.
pub fn before_first_run(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    let mut context = guest.context(code::report(), |r| r.rax = 5);
    context.interrupter().interrupt();
    assert_eq!(context.run(), Event::Interrupted);
    assert_eq!(context.state().expect("it lives").regs.rax, 5);
    assert_eq!(report(&mut *context), 5);
}

/// An interruption after an event is kept for the next run, and no guest instruction is executed before.
pub fn between_runs(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    let mut context = guest.context(code::fault_loop(), |r| r.r12 = FREE);
    syscall(&mut *context);
    context.set_return(0);
    assert!(matches!(context.run(), Event::Fault(_)));
    context.interrupter().interrupt();
    assert_eq!(context.run(), Event::Interrupted);
    assert!(matches!(
        context.run(),
        Event::Fault(Fault { addr: FREE, .. })
    ));
}

/// A pending call stays pending over an interruption: its return value can be set before or after.
pub fn during_a_pending_call(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    for state_too in [false, true] {
        let mut context = guest.context(code::call(), |r| r.rax = 1);
        syscall(&mut *context);
        context.set_return(5);
        context.interrupter().interrupt();
        assert_eq!(context.run(), Event::Interrupted);
        if state_too {
            assert_eq!(context.state().expect("it lives").regs.rax, 5);
        }
        context.set_return(6);
        assert_eq!(report(&mut *context), 6);
    }
}

/// Many interruptions before a run are one.
pub fn only_once(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    let mut context = guest.context(code::report(), |r| r.rax = 5);
    let interrupt = context.interrupter();
    (0..10).for_each(|_| interrupt.interrupt());
    assert_eq!(context.run(), Event::Interrupted);
    assert_eq!(report(&mut *context), 5);
}

/// After an interruption, with or without a look at its state, the guest computes on as if nothing had been.
pub fn guest_goes_on(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    let seen = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let (send, receive) = mpsc::channel();
        let (guest, seen) = (&guest, &seen);
        let at_work = Arc::new(());
        let watched = Arc::downgrade(&at_work);
        scope.spawn(move || {
            let _at_work = at_work;
            let mut context = guest.context(code::spin(), |r| (r.rdi, r.rsi) = (DATA, DATA + 8));
            send.send(context.interrupter()).expect("the test listens");
            let last = loop {
                match context.run() {
                    Event::Interrupted => {
                        if seen.fetch_add(1, Ordering::SeqCst) % 2 == 0 {
                            let regs = context.state().expect("it lives").regs;
                            assert!(regs.rax.wrapping_sub(guest.word(DATA)) <= 1);
                        }
                    }
                    Event::Syscall(call) => break call.args[0],
                    other => panic!("{other:?}"),
                }
            };
            assert_eq!(last, guest.word(DATA));
        });
        let interrupt = receive.recv().expect("a handle");
        for round in 1..=100 {
            interrupt.interrupt();
            eventually("it saw the interruption", || {
                assert!(watched.strong_count() > 0, "its thread has ended");
                seen.load(Ordering::SeqCst) >= round
            });
        }
        guest.set_word(DATA + 8, 1);
    });
}

/// Interruptions from several threads at a context that makes calls: every call is reported exactly once.
pub fn from_many_threads(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    std::thread::scope(|scope| {
        let (send, receive) = mpsc::channel();
        let guest = &guest;
        let (barrage, shots) = Barrage::begin();
        scope.spawn(move || {
            let mut context = guest.context(code::chain(), |r| r.rax = 1000);
            for _ in 0..2 {
                send.send(context.interrupter()).expect("the test listens");
            }
            let mut next = 1000;
            while next < 6000 {
                match context.run() {
                    Event::Interrupted => {
                        if next % 3 == 0 {
                            context.state().expect("it lives");
                        }
                    }
                    Event::Syscall(call) => {
                        assert_eq!(call.nr, next);
                        next += 1;
                        barrage.step();
                        context.set_return(next as i64);
                    }
                    other => panic!("{other:?}"),
                }
            }
        });
        for _ in 0..2 {
            let interrupt = receive.recv().expect("a handle");
            let shots = shots.clone();
            scope.spawn(move || shots.send(&*interrupt));
        }
    });
}

/// Each interruption ends a run, however it falls between the platform's steps.
pub fn no_interruption_is_lost(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    std::thread::scope(|scope| {
        let (send, receive) = mpsc::channel();
        let (go, gone) = mpsc::channel();
        let guest = &guest;
        scope.spawn(move || {
            let mut context = guest.context(code::spin(), |r| (r.rdi, r.rsi) = (DATA, DATA + 8));
            send.send(context.interrupter()).expect("the test listens");
            for _ in 0..1000 {
                go.send(()).expect("the test listens");
                assert_eq!(context.run(), Event::Interrupted);
            }
        });
        let interrupt = receive.recv().expect("a handle");
        let mut spins = 0u32;
        while gone.recv().is_ok() {
            // Different moments of the run that begins now.
            spins = spins.wrapping_mul(1_103_515_245).wrapping_add(12345);
            for _ in 0..spins >> 18 {
                std::hint::spin_loop();
            }
            interrupt.interrupt();
        }
    });
}

/// Faults of several contexts at a time all reach their owners.
pub fn faults_of_many_threads_arrive(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    // One that was interrupted before it ever ran must not count as one that runs, nor its end as an end.
    let mut fresh = guest.context(code::report(), |_| {});
    fresh.interrupter().interrupt();
    assert_eq!(fresh.run(), Event::Interrupted);
    drop(fresh);
    std::thread::scope(|scope| {
        for id in 0..8u64 {
            let guest = &guest;
            scope.spawn(move || {
                let at = FREE + id * 4096;
                let mut context = guest.context(code::load(), |r| r.rdi = at);
                for _ in 0..300 {
                    match context.run() {
                        Event::Fault(fault) => assert_eq!(fault.addr, at),
                        other => panic!("{other:?}"),
                    }
                }
            });
        }
    });
}

/// Faults of several kinds and contexts at a time, which are interrupted all the while: each is what its own instruction does.
pub fn each_fault_is_of_its_own_context(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    std::thread::scope(|scope| {
        let (send, receive) = mpsc::channel();
        let guest = &guest;
        // All of it is gone when the threads have ended, however they do.
        let at_work = Arc::new(());
        let watched = Arc::downgrade(&at_work);
        for id in 0..8u64 {
            let (send, at_work) = (send.clone(), at_work.clone());
            scope.spawn(move || {
                let at = FREE + id * 4096 + id;
                let (offset, kind, addr) = match id % 4 {
                    0 => (code::load(), FaultKind::Segv, Some(at)),
                    1 => (code::store(), FaultKind::Segv, Some(at)),
                    2 => (code::jump(), FaultKind::Segv, Some(at)),
                    _ => (code::undefined(), FaultKind::Ill, None),
                };
                let mut context = guest.context(offset, |r| r.rdi = at);
                send.send(context.interrupter()).expect("the test listens");
                drop(send);
                let mut faults = 0;
                while faults < 100 {
                    match context.run() {
                        Event::Interrupted => {}
                        Event::Fault(fault) => {
                            let addr = addr.unwrap_or(CODE + offset);
                            assert_eq!((fault.kind, fault.addr), (kind, addr));
                            let rip = &mut context.state_mut().expect("it lives").regs.rip;
                            assert_eq!(*rip, if id % 4 == 2 { at } else { CODE + offset });
                            *rip = CODE + offset;
                            faults += 1;
                        }
                        other => panic!("{other:?}"),
                    }
                }
                drop(at_work);
            });
        }
        drop((send, at_work));
        let interrupts: Vec<_> = receive.iter().collect();
        eventually("all guests ended", || {
            for interrupt in interrupts.iter().cycle().take(BURST) {
                interrupt.interrupt();
            }
            watched.strong_count() == 0
        });
    });
}
