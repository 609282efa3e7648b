//! Guest code: position-independent snippets, copied into guest memory by [`Guest`](crate::guest::Guest).
//!
//! A snippet that computes something ends by reporting it: system call [`REPORT`] with the value as first argument, forever.

/// System call number with which snippets report; Linux has no such call.
pub const REPORT: u64 = 4000;

core::arch::global_asm!(
    r#"
    .pushsection .rodata.platform_conformance_code, "a", @progbits
    .balign 64
    .macro snippet name
    .balign 16
    .hidden platform_conformance_\name
    .globl platform_conformance_\name
platform_conformance_\name:
    .endm

    snippet start
    # The call that the registers say, then a report of what it returned.
    snippet call
    syscall
    .hidden platform_conformance_after_call
    .globl platform_conformance_after_call
platform_conformance_after_call:
    jmp platform_conformance_report
    # Reports rax.
    snippet report
    mov rdi, rax
    mov eax, 4000
    syscall
    jmp platform_conformance_report
    # Calls that leave rax alone: the returned value is the next number.
    snippet chain
    syscall
    jmp platform_conformance_chain
    snippet int80
    int 0x80
    jmp platform_conformance_report
    # Reads / writes / executes at rdi.
    snippet load
    mov rax, [rdi]
    jmp platform_conformance_report
    snippet store
    mov [rdi], rsi
    xor eax, eax
    jmp platform_conformance_report
    snippet jump
    jmp rdi
    # `call rdi` with a return address on the stack
    snippet call_address
    call rdi
    jmp platform_conformance_report
    snippet undefined
    ud2
    snippet privileged
    hlt
    snippet divide
    xor edx, edx
    xor ecx, ecx
    mov eax, 1
    div ecx
    snippet breakpoint
    int3
    mov eax, 7
    jmp platform_conformance_report
    snippet step
    pushfq
    or qword ptr [rsp], 0x100
    popfq
    nop
    nop
    mov eax, 7
    jmp platform_conformance_report
    # Counts at [rdi] until [rsi] is not zero; reports the count.
    snippet spin
    xor eax, eax
2:  inc rax
    mov [rdi], rax
    cmp dword ptr [rsi], 0
    je 2b
    jmp platform_conformance_report
    # Adds one to [rdi] atomically, rsi times.
    snippet add
    lock add dword ptr [rdi], 1
    dec rsi
    jnz platform_conformance_add
    xor eax, eax
    jmp platform_conformance_report
    # Waits until [rdi] is rsi, then stores rdx there.
    snippet turn
    mov rax, rdi
3:  cmp [rdi], esi
    jne 3b
    mov [rdi], edx
    jmp platform_conformance_report
    # xmm0, xmm7, xmm15 to [rdi]
    snippet vectors_out
    movdqu [rdi], xmm0
    movdqu [rdi + 16], xmm7
    movdqu [rdi + 32], xmm15
    stmxcsr [rdi + 48]
    fnstcw [rdi + 52]
    jmp platform_conformance_report
    # [rdi] to xmm0 and xmm7, then a call, then back to [rdi + 64]
    snippet vectors_through
    movdqu xmm0, [rdi]
    movdqu xmm7, [rdi + 16]
    mov r12, rdi
    mov eax, 4001
    syscall
    movdqu [r12 + 64], xmm0
    movdqu [r12 + 80], xmm7
    jmp platform_conformance_report
    # ymm1 to [rdi]
    snippet wide_out
    vmovdqu [rdi], ymm1
    vzeroupper
    jmp platform_conformance_report
    snippet thread_pointer
    mov rax, fs:[0]
    jmp platform_conformance_report
    snippet write_thread_pointer
    wrfsbase rdi
    mov rax, fs:[0]
    jmp platform_conformance_report
    # A fault at rdi forever, with how often it did not fault in rax
    snippet fault_loop
    mov eax, 4001
    syscall
    mov rcx, [r12]
    jmp platform_conformance_fault_loop
    snippet end
    .popsection
    .purgem snippet
    "#
);

macro_rules! snippets {
    ($($(#[$doc:meta])* $name:ident = $symbol:ident),+ $(,)?) => {
        unsafe extern "C" {
            $(static $symbol: u8;)+
            static platform_conformance_start: u8;
            static platform_conformance_end: u8;
        }
        $(
            $(#[$doc])*
            #[must_use]
            pub fn $name() -> u64 {
                &raw const $symbol as u64 - &raw const platform_conformance_start as u64
            }
        )+
    };
}

snippets! {
    /// Makes the call in the registers, then reports its return value.
    call = platform_conformance_call,
    /// The instruction after that call.
    after_call = platform_conformance_after_call,
    /// Reports `rax`.
    report = platform_conformance_report,
    /// Uses each return value as the next call's number.
    chain = platform_conformance_chain,
    /// Enters through `int 0x80`, then reports `rax`.
    int80 = platform_conformance_int80,
    /// Reads the word at `rdi` and reports it.
    load = platform_conformance_load,
    /// Writes `rsi` to `rdi`.
    store = platform_conformance_store,
    /// Jumps to `rdi`.
    jump = platform_conformance_jump,
    /// Calls the function at `rdi` and reports what it returned.
    call_address = platform_conformance_call_address,
    /// An undefined instruction.
    undefined = platform_conformance_undefined,
    /// A privileged instruction.
    privileged = platform_conformance_privileged,
    /// Divides by zero.
    divide = platform_conformance_divide,
    /// A breakpoint, then reports 7.
    breakpoint = platform_conformance_breakpoint,
    /// Sets the trap flag (needs a stack), then reports 7.
    step = platform_conformance_step,
    /// Counts at `[rdi]` until `[rsi]` is not zero.
    spin = platform_conformance_spin,
    /// Adds one to `[rdi]` atomically, `rsi` times.
    add = platform_conformance_add,
    /// Waits until `[rdi]` is `esi`, then stores `edx` there.
    turn = platform_conformance_turn,
    /// Stores `xmm0 xmm7 xmm15 mxcsr fcw` at `rdi`.
    vectors_out = platform_conformance_vectors_out,
    /// Loads `xmm0 xmm7` from `rdi`, calls 4001, stores them at `rdi + 64`.
    vectors_through = platform_conformance_vectors_through,
    /// Stores `ymm1` at `rdi`.
    wide_out = platform_conformance_wide_out,
    /// Reports the word at `fs:0`.
    thread_pointer = platform_conformance_thread_pointer,
    /// Sets the thread pointer to `rdi` by instruction, then reports the word at `fs:0`.
    write_thread_pointer = platform_conformance_write_thread_pointer,
    /// Calls 4001, then reads `[r12]`, forever.
    fault_loop = platform_conformance_fault_loop,
}

/// All snippets, to be placed at the start of a page.
#[must_use]
pub fn bytes() -> &'static [u8] {
    let start = &raw const platform_conformance_start;
    let len = &raw const platform_conformance_end as usize - start as usize;
    // SAFETY: needed to read code that the assembler placed; both symbols delimit one read-only object of `len` bytes.
    unsafe { std::slice::from_raw_parts(start, len) }
}
