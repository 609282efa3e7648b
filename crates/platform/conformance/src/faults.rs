//! Faults: which kind, where, and that they can be resolved.

use platform_api::{Event, Fault, FaultKind, MapOp, Platform, Protection, Registers, Sharing};

use crate::code;
use crate::guest::{CODE, DATA, FREE, Guest, PAGE, RW, anonymous, file, mapping, report, syscall};

const SEGV_MAPERR: i32 = 1;
const SEGV_ACCERR: i32 = 2;

fn fault(guest: &Guest, offset: u64, set: impl FnOnce(&mut Registers)) -> Fault {
    match guest.event(offset, set) {
        Event::Fault(fault) => fault,
        other => panic!("expected a fault, got {other:?}"),
    }
}

/// Reading where nothing is.
pub fn unmapped_read(platform: &dyn Platform) {
    let got = fault(&Guest::new(platform), code::load(), |r| r.rdi = FREE + 8);
    assert_eq!(
        (got.kind, got.code, got.addr),
        (FaultKind::Segv, SEGV_MAPERR, FREE + 8)
    );
}

/// Writing where nothing is.
pub fn unmapped_write(platform: &dyn Platform) {
    let got = fault(&Guest::new(platform), code::store(), |r| r.rdi = 8);
    assert_eq!(
        (got.kind, got.code, got.addr),
        (FaultKind::Segv, SEGV_MAPERR, 8)
    );
}

/// Writing to code.
pub fn write_to_read_only(platform: &dyn Platform) {
    let got = fault(&Guest::new(platform), code::store(), |r| r.rdi = CODE);
    assert_eq!(
        (got.kind, got.code, got.addr),
        (FaultKind::Segv, SEGV_ACCERR, CODE)
    );
}

/// Executing data.
pub fn execution_of_data(platform: &dyn Platform) {
    let got = fault(&Guest::new(platform), code::jump(), |r| r.rdi = DATA);
    assert_eq!(
        (got.kind, got.code, got.addr),
        (FaultKind::Segv, SEGV_ACCERR, DATA)
    );
}

/// Touching a mapped page beyond the end of its file.
pub fn beyond_the_file(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    guest.apply(&[mapping(
        FREE,
        2 * PAGE,
        RW,
        &file(b"one page"),
        Sharing::Shared,
    )]);
    let got = fault(&guest, code::load(), |r| r.rdi = FREE + PAGE);
    assert_eq!((got.kind, got.addr), (FaultKind::Bus, FREE + PAGE));
}

/// `ud2`.
pub fn undefined_instruction(platform: &dyn Platform) {
    let got = fault(&Guest::new(platform), code::undefined(), |_| {});
    assert_eq!(
        (got.kind, got.addr),
        (FaultKind::Ill, CODE + code::undefined())
    );
}

/// `hlt` is a general protection fault.
pub fn privileged_instruction(platform: &dyn Platform) {
    assert_eq!(
        fault(&Guest::new(platform), code::privileged(), |_| {}).kind,
        FaultKind::Segv
    );
}

/// `div` by zero.
pub fn division_by_zero(platform: &dyn Platform) {
    let got = fault(&Guest::new(platform), code::divide(), |_| {});
    // FPE_INTDIV
    assert_eq!((got.kind, got.code), (FaultKind::Fpe, 1));
}

/// `int3` stops after the instruction, and the guest goes on from there.
pub fn breakpoint(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    let mut context = guest.context(code::breakpoint(), |_| {});
    match context.run() {
        Event::Fault(fault) => assert_eq!(fault.kind, FaultKind::Trap),
        other => panic!("{other:?}"),
    }
    assert_eq!(
        context.state().expect("it lives").regs.rip,
        CODE + code::breakpoint() + 1
    );
    assert_eq!(report(&mut *context), 7);
}

/// The trap flag stops after an instruction; clearing it lets the guest go on.
pub fn single_step(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    let mut context = guest.context(code::step(), |_| {});
    match context.run() {
        Event::Fault(fault) => assert_eq!(fault.kind, FaultKind::Trap),
        other => panic!("{other:?}"),
    }
    context.state_mut().expect("it lives").regs.rflags &= !0x100;
    assert_eq!(report(&mut *context), 7);
}

/// The upper half of the address space is not the guest's.
pub fn kernel_address(platform: &dyn Platform) {
    let got = fault(&Guest::new(platform), code::load(), |r| {
        r.rdi = 0xffff_ffff_8100_0000
    });
    assert_eq!(got.kind, FaultKind::Segv);
}

/// An address that is none.
pub fn non_canonical_address(platform: &dyn Platform) {
    let got = fault(&Guest::new(platform), code::store(), |r| {
        r.rdi = 0x8000_0000_0000_0000
    });
    assert_eq!(got.kind, FaultKind::Segv);
}

/// Jumping into the upper half, by instruction and by register state.
pub fn jump_to_kernel(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    for to in [0xffff_ffff_8100_0000u64, 0x8000_0000_0000_0000] {
        assert_eq!(
            fault(&guest, code::jump(), |r| r.rdi = to).kind,
            FaultKind::Segv
        );
        assert_eq!(fault(&guest, 0, |r| r.rip = to).kind, FaultKind::Segv);
    }
}

/// After the kernel maps what was missing, the instruction is executed again.
pub fn mapping_resolves_a_fault(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    let mut context = guest.context(code::store(), |r| (r.rdi, r.rsi) = (FREE, 77));
    assert!(matches!(context.run(), Event::Fault(_)));
    guest.apply(&[anonymous(FREE, PAGE, Protection::READ)]);
    match context.run() {
        Event::Fault(fault) => assert_eq!((fault.code, fault.addr), (SEGV_ACCERR, FREE)),
        other => panic!("{other:?}"),
    }
    guest.apply(&[MapOp::Protect {
        addr: FREE,
        len: PAGE,
        prot: RW,
    }]);
    assert_eq!(report(&mut *context), 0);
    assert_eq!(guest.word(FREE), 77);
}

/// Faults and calls alternate on one context.
pub fn fault_then_call(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    let mut context = guest.context(code::fault_loop(), |r| r.r12 = FREE);
    for _ in 0..200 {
        assert_eq!(syscall(&mut *context).nr, 4001);
        context.set_return(0);
        match context.run() {
            Event::Fault(fault) => assert_eq!(fault.addr, FREE),
            other => panic!("{other:?}"),
        }
        context.state_mut().expect("it lives").regs.rip = CODE + code::fault_loop();
    }
}
