//! What hostile code in ring 3 does to the machine it runs in: it faults, and everybody else goes on.

mod made;

use std::time::{Duration, Instant};

use made::machine;
use platform_api::{Backing, Context, CpuState, Event, Fault, FaultKind, MapOp, Protection};
use platform_conformance::barrage::Barrage;
use platform_conformance::guest::{Guest, report};
use platform_kvm::KvmPlatform;

/// Where the attacks' own code is.
const AT: u64 = 0x2000_0000;
/// The upper half: stub, interrupt table and the pages of vCPUs, as an attacker would guess them.
const UPPER: u64 = 0xffff_ff80_0000_0000;
const STUB: u64 = UPPER + 0x4000;
const VCPU_PAGE: u64 = UPPER + 0x1_0000;

/// A guest that runs these bytes.
fn context(guest: &Guest, code: &[u8], set: impl FnOnce(&mut CpuState)) -> Box<dyn Context> {
    guest.apply(&[MapOp::Map {
        addr: AT,
        len: 4096,
        prot: Protection::all(),
        backing: Backing::Anonymous,
    }]);
    assert_eq!(guest.space.write(AT, code), code.len());
    let mut state = CpuState::default();
    state.regs.rip = AT;
    state.regs.rsp = platform_conformance::guest::STACK;
    set(&mut state);
    guest.space.new_context(state).expect("a context")
}

fn attack(guest: &Guest, code: &[u8]) -> Event {
    context(guest, code, |_| {}).run()
}

fn expect_fault(event: Event, what: &str) -> Fault {
    match event {
        Event::Fault(fault) => fault,
        other => panic!("{what}: {other:?}"),
    }
}

/// The machine still serves others.
fn still_there(platform: &KvmPlatform) {
    let guest = Guest::new(platform);
    let code = platform_conformance::code::report();
    assert_eq!(report(&mut *guest.context(code, |r| r.rax = 11)), 11);
}

#[test]
fn privileged_instructions_fault_on_kvm() {
    let platform = machine();
    let guest = Guest::new(&platform);
    let instructions: [(&str, &[u8]); 18] = [
        ("hlt", &[0xf4]),
        ("cli", &[0xfa]),
        ("sti", &[0xfb]),
        ("in", &[0xe4, 0x80]),
        ("out", &[0xe6, 0x80]),
        ("rdmsr", &[0x0f, 0x32]),
        ("wrmsr", &[0x0f, 0x30]),
        ("mov from cr0", &[0x0f, 0x20, 0xc0]),
        ("mov from cr3", &[0x0f, 0x20, 0xd8]),
        ("mov to cr3", &[0x0f, 0x22, 0xd8]),
        ("mov to cr4", &[0x0f, 0x22, 0xe0]),
        ("mov to dr7", &[0x0f, 0x23, 0xf8]),
        ("clts", &[0x0f, 0x06]),
        ("invd", &[0x0f, 0x08]),
        ("swapgs", &[0x0f, 0x01, 0xf8]),
        ("lgdt", &[0x0f, 0x01, 0x14, 0x24]),
        ("lidt", &[0x0f, 0x01, 0x1c, 0x24]),
        ("xsetbv", &[0x0f, 0x01, 0xd1]),
    ];
    for (name, code) in instructions {
        let fault = expect_fault(attack(&guest, code), name);
        let kind = fault.kind;
        assert!(
            matches!(kind, FaultKind::Segv | FaultKind::Ill),
            "{name}: {fault:?}"
        );
    }
    still_there(&platform);
}

#[test]
fn machine_instructions_do_not_reach_the_host_on_kvm() {
    let platform = machine();
    let guest = Guest::new(&platform);
    // vmcall, vmmcall, vmxon-like, monitor, sysret, sysexit, ud0, an endless prefix.
    let instructions: [&[u8]; 7] = [
        &[0x0f, 0x01, 0xc1],
        &[0x0f, 0x01, 0xd9],
        &[0x0f, 0x01, 0xd8],
        &[0x0f, 0x01, 0xc8],
        &[0x48, 0x0f, 0x07],
        &[0x0f, 0x35],
        &[0x66; 16],
    ];
    for code in instructions {
        expect_fault(attack(&guest, code), "a machine's instruction");
    }
    still_there(&platform);
}

#[test]
fn every_interrupt_number_is_a_fault_on_kvm() {
    let platform = machine();
    let guest = Guest::new(&platform);
    for number in 0..=255u8 {
        expect_fault(attack(&guest, &[0xcd, number]), &format!("int {number}"));
    }
    still_there(&platform);
}

#[test]
fn the_upper_half_is_neither_read_nor_written_on_kvm() {
    let platform = machine();
    let guest = Guest::new(&platform);
    // mov rax, [rdi]; mov [rdi], rax; jmp rdi
    for code in [&[0x48, 0x8b, 0x07][..], &[0x48, 0x89, 0x07], &[0xff, 0xe7]] {
        for to in [
            UPPER,
            STUB + 0x10,
            STUB + 0x100,
            UPPER + 0x5000,
            VCPU_PAGE,
            VCPU_PAGE + 0xf80,
            u64::MAX - 7,
        ] {
            let event = context(&guest, code, |s| s.regs.rdi = to).run();
            let fault = expect_fault(event, "the upper half");
            assert_eq!(fault.kind, FaultKind::Segv, "{to:x}");
        }
    }
    still_there(&platform);
}

/// Jumping where `syscall` goes is at most a system call.
#[test]
fn the_way_in_is_no_way_further_on_kvm() {
    let platform = machine();
    let guest = Guest::new(&platform);
    match context(&guest, &[0xff, 0xe7], |s| s.regs.rdi = STUB).run() {
        Event::Fault(fault) => assert_eq!(fault.kind, FaultKind::Segv),
        Event::Syscall(_) => {}
        other => panic!("{other:?}"),
    }
    still_there(&platform);
}

/// `iretq` and far returns to ring 0 selectors, the task register, null and beyond the table.
#[test]
fn forged_selectors_fault_on_kvm() {
    let platform = machine();
    let guest = Guest::new(&platform);
    // push selector; push address; retfq
    for selector in [0u8, 0x08, 0x10, 0x18, 0x23, 0x2b, 0x40, 0x48, 0x50, 0x78] {
        let code = [0x6a, selector, 0x6a, 0x00, 0x48, 0xcb];
        expect_fault(attack(&guest, &code), "a far return");
        // push ss; push rsp; push flags; push selector; push address; iretq
        let code = [
            0x6a, 0x2b, 0x54, 0x6a, 0x02, 0x6a, selector, 0x6a, 0x00, 0x48, 0xcf,
        ];
        expect_fault(attack(&guest, &code), "a return from an interrupt");
        // mov ss, ax
        let event = context(&guest, &[0x8e, 0xd0, 0x0f, 0x0b], |s| {
            s.regs.rax = u64::from(selector)
        })
        .run();
        expect_fault(event, "a stack segment");
    }
    still_there(&platform);
}

#[test]
fn strange_stacks_are_the_guests_own_matter_on_kvm() {
    let platform = machine();
    let guest = Guest::new(&platform);
    for stack in [
        0,
        1,
        7,
        1 << 47,
        (1 << 47) - 1,
        1 << 63,
        u64::MAX,
        u64::MAX - 7,
        VCPU_PAGE + 0xf00,
    ] {
        // ud2 and syscall do not touch the guest's stack; push does.
        let event = context(&guest, &[0x0f, 0x0b], |s| s.regs.rsp = stack).run();
        assert_eq!(expect_fault(event, "ud2").kind, FaultKind::Ill);
        let mut calling = context(&guest, &[0x0f, 0x05], |s| {
            (s.regs.rsp, s.regs.rax) = (stack, 39)
        });
        assert!(matches!(calling.run(), Event::Syscall(call) if call.nr == 39));
        assert_eq!(calling.state().expect("it lives").regs.rsp, stack);
        let event = context(&guest, &[0x50, 0x0f, 0x0b], |s| s.regs.rsp = stack).run();
        expect_fault(event, "push");
    }
    still_there(&platform);
}

/// With the trap flag set the stub is not stepped: the call arrives, then the step after it.
#[test]
fn stepping_over_a_call_on_kvm() {
    let platform = machine();
    let guest = Guest::new(&platform);
    // nop; syscall; nop; nop
    let mut stepping = context(&guest, &[0x90, 0x0f, 0x05, 0x90, 0x90], |s| {
        (s.regs.rflags, s.regs.rax) = (0x100, 39);
    });
    let mut calls = 0;
    for _ in 0..6 {
        match stepping.run() {
            Event::Fault(fault) => assert_eq!(fault.kind, FaultKind::Trap),
            Event::Syscall(call) => {
                assert_eq!((call.nr, call.ip), (39, AT + 3));
                calls += 1;
                stepping.set_return(0);
            }
            other => panic!("{other:?}"),
        }
        if stepping.state().expect("it lives").regs.rip >= AT + 5 {
            break;
        }
    }
    assert_eq!(calls, 1);
    still_there(&platform);
}

/// A page that is code and data at once, and changes under its own feet.
#[test]
fn code_that_writes_itself_on_kvm() {
    let platform = machine();
    let guest = Guest::new(&platform);
    // mov byte ptr [rip + 1], 42; mov eax, imm32 (patched); syscall
    let code = [0xc6, 0x05, 0x01, 0, 0, 0, 42, 0xb8, 0, 0, 0, 0, 0x0f, 0x05];
    let event = attack(&guest, &code);
    assert!(
        matches!(event, Event::Syscall(call) if call.nr == 42),
        "{event:?}"
    );
}

/// However many interruptions come in between, an `int3` is one trap, neither none nor two.
#[test]
fn no_trap_is_lost_to_an_interruption_on_kvm() {
    let platform = machine();
    let guest = Guest::new(&platform);
    let mut context = context(&guest, &[0xcc], |_| {});
    let interrupt = context.interrupter();
    let until = end_of_storm();
    let (barrage, shots) = Barrage::begin();
    std::thread::scope(|scope| {
        scope.spawn(move || shots.send(&*interrupt));
        // Over when this ends, however it does.
        let barrage = barrage;
        let mut traps = 0;
        while traps < 2000 || Instant::now() < until {
            match context.run() {
                Event::Fault(fault) => {
                    assert_eq!(fault.kind, FaultKind::Trap);
                    let rip = context.state().expect("it lives").regs.rip;
                    assert_eq!(rip, AT + 1);
                    traps += 1;
                    barrage.step();
                    context.state_mut().expect("it lives").regs.rip = AT;
                }
                Event::Interrupted => {
                    let rip = context.state().expect("it lives").regs.rip;
                    assert_eq!(rip, AT, "after {traps} traps one is lost");
                }
                other => panic!("{other:?}"),
            }
        }
    });
}

/// When a storm may end: `STORM_SECONDS` from now, at once where that is not set.
fn end_of_storm() -> Instant {
    let given = std::env::var("STORM_SECONDS").ok();
    let seconds = given.and_then(|text| text.parse().ok()).unwrap_or(0);
    Instant::now() + Duration::from_secs(seconds)
}

/// Faults, calls and interruptions of many threads at a time, for a while; a neighbour in the same machine computes on.
#[test]
fn a_storm_is_weathered_on_kvm() {
    let platform = machine();
    let (attacker, neighbour) = (Guest::new(&platform), Guest::new(&platform));
    attacker.apply(&[MapOp::Map {
        addr: AT,
        len: 4096,
        prot: Protection::all(),
        backing: Backing::Anonymous,
    }]);
    // syscall; ud2; int3; mov [0], eax
    let code = [0x0f, 0x05, 0x0f, 0x0b, 0xcc, 0x89, 0x04, 0x25, 0, 0, 0, 0];
    assert_eq!(attacker.space.write(AT, &code), code.len());
    let end = end_of_storm();
    std::thread::scope(|scope| {
        for thread in 0..32u64 {
            let attacker = &attacker;
            scope.spawn(move || {
                let mut state = CpuState::default();
                state.regs.rip = AT + [0, 2, 4, 5][thread as usize % 4];
                let mut context = attacker.space.new_context(state).expect("a context");
                let interrupt = context.interrupter();
                let mut round = 0;
                while round < 200 || Instant::now() < end {
                    round += 1;
                    if round % 7 == thread % 7 {
                        interrupt.interrupt();
                    }
                    let event = context.run();
                    assert!(event != Event::Gone, "{event:?}");
                    context.state_mut().expect("it lives").regs.rip =
                        AT + [0, 2, 4, 5][thread as usize % 4];
                }
            });
        }
        let mut value = 0;
        while value < 100 || Instant::now() < end {
            value += 1;
            let code = platform_conformance::code::report();
            assert_eq!(
                report(&mut *neighbour.context(code, |r| r.rax = value)),
                value
            );
        }
    });
    still_there(&platform);
}
