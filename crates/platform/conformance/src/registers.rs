//! Register state: reading, changing, preserving.

use platform_api::{CpuState, Event, Platform};

use crate::code;
use crate::guest::{CODE, DATA, Guest, STACK, report, start, syscall};

/// Offset of xmm0 in an XSAVE area; the others follow every 16 bytes.
const XMM: usize = 160;
const XSTATE_BV: usize = 512;
/// Offset of the upper halves of ymm in the standard format (CPUID.0DH.2:EBX, 576 on every processor so far).
const YMM_HIGH: usize = 576;
const FEATURE_SSE: u64 = 2;
const FEATURE_AVX: u64 = 4;

fn put(area: &mut [u8], at: usize, bytes: &[u8]) {
    area[at..at + bytes.len()].copy_from_slice(bytes);
}

fn features(area: &[u8]) -> u64 {
    u64::from_le_bytes(
        area[XSTATE_BV..XSTATE_BV + 8]
            .try_into()
            .expect("eight bytes"),
    )
}

/// What a context starts with is what it was given, before and after it runs.
pub fn first_state(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    let mut context = guest.context(code::call(), |r| (r.rax, r.rbx) = (5, 6));
    let state = context.state().expect("it lives").clone();
    assert_eq!(
        (state.regs.rip, state.regs.rsp, state.regs.rbx),
        (CODE + code::call(), STACK, 6)
    );
    assert_eq!(state.xstate.len(), platform.features().xstate_size);
    assert_eq!(syscall(&mut *context).nr, 5);
    let after = context.state().expect("it lives");
    assert_eq!(
        (after.regs.rip, after.regs.rsp, after.regs.rbx),
        (CODE + code::after_call(), STACK, 6)
    );
    assert_eq!(after.xstate.len(), platform.features().xstate_size);
    assert_eq!(platform.features().xcr0 & 3, 3);
}

/// Every general register can be read and written at a call.
pub fn general_registers_are_read_and_written(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    let mut context = guest.context(code::call(), |r| r.rax = 5);
    syscall(&mut *context);
    let regs = &mut context.state_mut().expect("it lives").regs;
    (regs.rax, regs.rbx, regs.rdx, regs.rsi, regs.rbp) = (1, 2, 3, 4, 5);
    (
        regs.r8, regs.r9, regs.r10, regs.r12, regs.r13, regs.r14, regs.r15,
    ) = (8, 9, 10, 12, 13, 14, 15);
    regs.gs_base = DATA;
    assert_eq!(report(&mut *context), 1);
    let regs = context.state().expect("it lives").regs;
    assert_eq!(
        (regs.rdi, regs.rbx, regs.rdx, regs.rsi, regs.rbp),
        (1, 2, 3, 4, 5)
    );
    assert_eq!(
        (
            regs.r8, regs.r9, regs.r10, regs.r12, regs.r13, regs.r14, regs.r15
        ),
        (8, 9, 10, 12, 13, 14, 15)
    );
    assert_eq!(regs.gs_base, DATA);
}

/// A return value that was set shows in the state, one that was not is `-ENOSYS`, and setting it later still counts.
pub fn pending_call_shows_its_return(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    let mut context = guest.context(code::call(), |r| r.rax = 5);
    syscall(&mut *context);
    context.set_return(17);
    assert_eq!(context.state().expect("it lives").regs.rax, 17);
    context.set_return(18);
    assert_eq!(report(&mut *context), 18);
    assert_eq!(context.state().expect("it lives").regs.rax as i64, -38);
    assert_eq!(report(&mut *context) as i64, -38);
}

/// The kernel can send a context elsewhere with other registers while a call is pending; the call is not made again.
pub fn sigreturn_style_change(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    let mut context = guest.context(code::chain(), |r| r.rax = 15);
    for round in 0..50u64 {
        syscall(&mut *context);
        let state = context.state_mut().expect("it lives");
        state.regs.rip = CODE + code::report();
        state.regs.rax = round;
        state.regs.rsp = STACK - 64;
        assert_eq!(report(&mut *context), round);
        assert_eq!(context.state().expect("it lives").regs.rsp, STACK - 64);
    }
}

/// Vector registers go in by state and out by instruction.
pub fn vectors_go_in_and_out(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    let mut context = guest.context(code::call(), |r| r.rax = 5);
    syscall(&mut *context);
    let state = context.state_mut().expect("it lives");
    for (index, fill) in [(0, 0xa0), (7, 0xa7), (15, 0xaf)] {
        put(&mut state.xstate, XMM + index * 16, &[fill; 16]);
    }
    let mut wanted = features(&state.xstate) | FEATURE_SSE;
    let wide = platform.features().xcr0 & FEATURE_AVX != 0;
    if wide {
        wanted |= FEATURE_AVX;
        put(&mut state.xstate, XMM + 16, &[0x11; 16]);
        put(&mut state.xstate, YMM_HIGH + 16, &[0x22; 16]);
    }
    put(&mut state.xstate, XSTATE_BV, &wanted.to_le_bytes());
    (state.regs.rip, state.regs.rdi) = (CODE + code::vectors_out(), DATA);
    report(&mut *context);
    let out = guest.bytes(DATA, 48);
    assert_eq!(
        (&out[..16], &out[16..32], &out[32..]),
        (&[0xa0; 16][..], &[0xa7; 16][..], &[0xaf; 16][..])
    );
    if wide {
        let state = context.state_mut().expect("it lives");
        (state.regs.rip, state.regs.rdi) = (CODE + code::wide_out(), DATA);
        report(&mut *context);
        assert_eq!(guest.bytes(DATA, 32), [[0x11; 16], [0x22; 16]].concat());
    }
}

/// Reading and writing back the whole state in a call changes nothing, nor does a call without that.
pub fn extended_state_is_preserved(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    let pattern: Vec<u8> = (0..32).collect();
    assert_eq!(guest.space.write(DATA, &pattern), 32);
    for look in [false, true] {
        let mut context = guest.context(code::vectors_through(), |r| r.rdi = DATA);
        syscall(&mut *context);
        if look {
            let state = context.state().expect("it lives").clone();
            assert_eq!(state.xstate[XMM..XMM + 16], pattern[..16]);
            *context.state_mut().expect("it lives") = state;
        }
        report(&mut *context);
        assert_eq!(guest.bytes(DATA + 64, 32), pattern);
        assert_eq!(guest.space.write(DATA + 64, &[0; 32]), 32);
    }
}

/// The thread pointer by state.
pub fn thread_pointer(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    guest.set_word(DATA + 8, 0xabcd);
    assert_eq!(
        guest.run(code::thread_pointer(), |r| r.fs_base = DATA + 8),
        0xabcd
    );
}

/// The thread pointer by instruction, which the state shows.
pub fn thread_pointer_by_instruction(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    guest.set_word(DATA + 8, 0xabcd);
    let mut context = guest.context(code::write_thread_pointer(), |r| r.rdi = DATA + 8);
    match context.run() {
        Event::Syscall(call) => {
            assert_eq!(call.args[0], 0xabcd);
            assert_eq!(context.state().expect("it lives").regs.fs_base, DATA + 8);
        }
        // Hosts without FSGSBASE.
        Event::Fault(fault) => assert_eq!(fault.kind, platform_api::FaultKind::Ill),
        other => panic!("{other:?}"),
    }
}

/// A new context has the vector state after `execve`, not somebody else's.
pub fn no_state_leaks_into_a_new_context(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    guest.run(code::vectors_out(), |r| r.rdi = DATA);
    let out = guest.bytes(DATA, 54);
    assert_eq!(out[..48], [0; 48]);
    assert_eq!(out[48..52], 0x1f80u32.to_le_bytes());
    assert_eq!(out[52..54], 0x37fu16.to_le_bytes());
}

/// Whatever a guest puts into a signal frame can come back as state: nothing breaks but the guest.
pub fn hostile_state_is_harmless(platform: &dyn Platform) {
    let guest = Guest::new(platform);
    let size = platform.features().xstate_size;
    let mut state = CpuState {
        xstate: vec![0xff; size],
        ..CpuState::default()
    };
    // All but the trap flag, which would stop it after its first instruction.
    state.regs.rflags = !0x100;
    (state.regs.fs_base, state.regs.gs_base) = (u64::MAX, 1 << 63);
    state.regs.rip = CODE + code::report();
    let mut context = guest
        .space
        .new_context(state.clone())
        .expect("a new context");
    report(&mut *context);
    for filler in [0u8, 0x55, 0xff] {
        let held = context.state_mut().expect("it lives");
        held.xstate = vec![filler; size];
        held.regs.rip = CODE + code::report();
        held.regs.rflags = state.regs.rflags;
        report(&mut *context);
    }
    for size in [0, 1, 512, 100_000] {
        context.state_mut().expect("it lives").xstate = vec![0; size];
        report(&mut *context);
        assert_eq!(
            context.state().expect("it lives").xstate.len(),
            platform.features().xstate_size
        );
    }
    let mut other = start(&*guest.space, code::report(), |r| r.rax = 3);
    assert_eq!(report(&mut *other), 3);
}
