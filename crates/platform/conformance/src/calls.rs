//! System calls: what arrives, what goes back, which entries exist.

use platform_api::{Event, FaultKind, Platform};

use crate::code;
use crate::guest::{CODE, DATA, Guest, report, syscall};

const ENOSYS: u64 = -38i64 as u64;

/// Six arguments, the number, and the address after the instruction.
pub fn number_arguments_and_address(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    let mut context = guest.context(code::call(), |r| {
        (r.rax, r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9) =
            (321, 1, u64::MAX, 3, 1 << 63, 5, 0x1234_5678_9abc_def0);
    });
    let call = syscall(&mut *context);
    assert_eq!(call.nr, 321);
    assert_eq!(
        call.args,
        [1, u64::MAX, 3, 1 << 63, 5, 0x1234_5678_9abc_def0]
    );
    assert_eq!(call.ip, CODE + code::after_call());
}

/// A value with all bits in use reaches `rax`.
pub fn returned_value_arrives(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    let mut context = guest.context(code::call(), |r| r.rax = 1);
    syscall(&mut *context);
    context.set_return(0x7edc_ba98_7654_3210);
    assert_eq!(report(&mut *context), 0x7edc_ba98_7654_3210);
}

/// Negative error numbers arrive as they are.
pub fn errors_arrive(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    for errno in [1i64, 4, 11, 38, 133, 4095] {
        let mut context = guest.context(code::call(), |r| r.rax = 1);
        syscall(&mut *context);
        context.set_return(-errno);
        assert_eq!(report(&mut *context) as i64, -errno);
    }
}

/// Thousands of calls in a row, each answered with the next number.
pub fn many_calls(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    let mut context = guest.context(code::chain(), |r| r.rax = 1000);
    for number in 1000..6000 {
        assert_eq!(syscall(&mut *context).nr, number);
        context.set_return(number as i64 + 1);
    }
}

/// Registers that a call preserves are preserved.
pub fn registers_survive_a_call(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    let mut context = guest.context(code::call(), |r| {
        (r.rax, r.rbx, r.rbp, r.r12, r.r13, r.r14, r.r15, r.rdx) = (1, 2, 3, 4, 5, 6, 7, 8);
    });
    syscall(&mut *context);
    context.set_return(9);
    assert_eq!(report(&mut *context), 9);
    let regs = context.state().expect("it lives").regs;
    assert_eq!(
        (
            regs.rbx, regs.rbp, regs.r12, regs.r13, regs.r14, regs.r15, regs.rdx
        ),
        (2, 3, 4, 5, 6, 7, 8)
    );
}

/// `int 0x80` answers `ENOSYS` or faults; it never becomes a 64-bit call.
pub fn thirty_two_bit_entry_does_not_exist(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    // 20 is getpid in the 32-bit table.
    match guest.event(code::int80(), |r| r.rax = 20) {
        Event::Syscall(call) => assert_eq!((call.nr, call.args[0]), (code::REPORT, ENOSYS)),
        Event::Fault(fault) => assert_eq!(fault.kind, FaultKind::Segv),
        other => panic!("{other:?}"),
    }
}

/// Numbers with the x32 bit answer `ENOSYS` without being reported.
pub fn x32_calls_do_not_exist(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    for number in [0x4000_0000, 0x4000_0027, 0x4000_01ff, 0xffff_ffff] {
        assert_eq!(guest.run(code::call(), |r| r.rax = number), ENOSYS);
    }
}

/// Code that calls into the old vsyscall page gets its call served, or a fault at that page.
pub fn vsyscall_page_is_a_call_or_a_fault(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    let page = 0xffff_ffff_ff60_0000;
    let mut context = guest.context(code::call_address(), |r| (r.rdi, r.rsi) = (page, 0));
    match context.run() {
        // 96 is gettimeofday
        Event::Syscall(call) => {
            assert_eq!(call.nr, 96);
            context.set_return(5);
            assert_eq!(report(&mut *context), 5);
        }
        Event::Fault(fault) => assert_eq!((fault.kind, fault.addr), (FaultKind::Segv, page)),
        other => panic!("{other:?}"),
    }
}

/// `uretprobe` and `uprobe`: x86-64 Linux lets them pass every filter (since 6.12 and 6.18). Called from anywhere but a
/// trampoline of the host kernel, which no guest has, they raise `SIGILL` or answer `ENXIO`, natively and here.
const UNFILTERED: std::ops::RangeInclusive<u64> = 335..=336;

/// Every number of the 64-bit table and some beyond arrive here, whatever they mean to the host.
pub fn every_number_is_reported(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    let mut context = guest.context(code::chain(), |r| {
        (r.rdi, r.rsi, r.rdx) = (DATA, DATA, DATA);
    });
    let mut numbers = (0..600)
        .filter(|number| !UNFILTERED.contains(number))
        .peekable();
    while let Some(number) = numbers.next() {
        assert_eq!(syscall(&mut *context).nr, number);
        context.set_return(numbers.peek().map_or(0, |next| *next as i64));
    }
    for number in UNFILTERED {
        match guest.event(code::call(), |r| r.rax = number) {
            Event::Fault(fault) => assert_eq!(fault.kind, FaultKind::Ill),
            Event::Syscall(call) if call.nr == number => {}
            // ENXIO or ENOSYS
            Event::Syscall(call) => assert!([-6, -38].contains(&(call.args[0] as i64)), "{call:?}"),
            other => panic!("{other:?}"),
        }
    }
}

/// `arch_prctl(ARCH_SET_FS)` continued natively sets the thread pointer; platforms that cannot say so.
pub fn native_continuation_sets_fs(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    guest.set_word(DATA + 64, 0xfeed);
    let mut context = guest.context(code::call(), |r| {
        (r.rax, r.rdi, r.rsi) = (158, 0x1002, DATA + 64)
    });
    assert_eq!(syscall(&mut *context).nr, 158);
    if !context.continue_natively() {
        context.set_return(0);
        context.state_mut().expect("it lives").regs.fs_base = DATA + 64;
    }
    assert_eq!(report(&mut *context), 0);
    assert_eq!(context.state().expect("it lives").regs.fs_base, DATA + 64);
}
