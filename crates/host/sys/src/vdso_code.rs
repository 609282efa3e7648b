//! Machine code that guests run to read the clock without a system call.
//!
//! The code is position independent and finds its data page at a fixed distance before
//! itself ([`DATA_DISTANCE`]). It never runs in this process outside tests; callers copy
//! [`bytes`] into an image that they map into guests behind the data page.
//!
//! The data page holds 64-bit words, written by the kernel under a sequence lock:
//!
//! | word | meaning |
//! |---|---|
//! | 0 | sequence: odd while the kernel writes |
//! | 1 | 1 when the counter may be used, else every call is a system call |
//! | 2 | counter at the base |
//! | 3 | nanoseconds a tick, times 2^32 |
//! | 4 | monotonic nanoseconds at the base |
//! | 16 + clock | what to add to the monotonic time for each clock id below 12 |

use core::arch::global_asm;
use std::sync::OnceLock;

/// Bytes from the start of the data page to the start of the code: a page, and the head of the image.
pub const DATA_DISTANCE: usize = 4096 + HEAD_LEN;

/// Bytes of the image before the code.
pub const HEAD_LEN: usize = 0x800;

/// Clock ids that the code answers from the data page: `REALTIME`, `MONOTONIC`, `MONOTONIC_RAW`,
/// both `COARSE` ones, `BOOTTIME` and `TAI`.
pub const CLOCKS: u32 = 0x8f3;

// Registers: only those that a C function may change. Every function is a leaf that keeps the stack
// as it is. `rekindle_vdso_read` takes the clock id in edi and leaves nanoseconds in rax, or jumps to
// r11 when a system call is needed; it keeps rdi and rsi.
global_asm!(
    r#"
    .pushsection .rodata.rekindle_vdso, "a", @progbits
    .balign 64
    .globl rekindle_vdso_start
    .hidden rekindle_vdso_start
rekindle_vdso_start:

    .balign 32
rekindle_vdso_read:
    cmp edi, 11
    ja 9f
    mov eax, {clocks}
    bt eax, edi
    jnc 9f
    lea r8, [rip + rekindle_vdso_start - {distance}]
    mov edi, edi
2:
    mov r9, [r8]
    test r9b, 1
    jnz 3f
    cmp qword ptr [r8 + 8], 1
    jne 9f
    lfence
    rdtsc
    shl rdx, 32
    or rax, rdx
    xor edx, edx
    sub rax, [r8 + 16]
    cmovb rax, rdx
    mul qword ptr [r8 + 24]
    shrd rax, rdx, 32
    add rax, [r8 + 32]
    add rax, [r8 + 128 + rdi * 8]
    cmp r9, [r8]
    jne 2b
    ret
3:
    pause
    jmp 2b
9:
    add rsp, 8
    jmp r11

    .balign 32
    .globl rekindle_vdso_clock_gettime
    .hidden rekindle_vdso_clock_gettime
rekindle_vdso_clock_gettime:
    lea r11, [rip + 8f]
    call rekindle_vdso_read
    mov ecx, 1000000000
    xor edx, edx
    div rcx
    mov [rsi], rax
    mov [rsi + 8], rdx
    xor eax, eax
    ret
8:
    mov eax, 228
    syscall
    ret

    .balign 32
    .globl rekindle_vdso_gettimeofday
    .hidden rekindle_vdso_gettimeofday
rekindle_vdso_gettimeofday:
    test rdi, rdi
    jz 4f
    mov r10, rdi
    xor edi, edi
    lea r11, [rip + 8f]
    call rekindle_vdso_read
    mov ecx, 1000000000
    xor edx, edx
    div rcx
    mov [r10], rax
    mov rax, rdx
    xor edx, edx
    mov ecx, 1000
    div rcx
    mov [r10 + 8], rax
4:
    test rsi, rsi
    jz 5f
    mov qword ptr [rsi], 0
5:
    xor eax, eax
    ret
8:
    mov rdi, r10
    mov eax, 96
    syscall
    ret

    .balign 32
    .globl rekindle_vdso_time
    .hidden rekindle_vdso_time
rekindle_vdso_time:
    mov r10, rdi
    xor edi, edi
    lea r11, [rip + 8f]
    call rekindle_vdso_read
    mov ecx, 1000000000
    xor edx, edx
    div rcx
    test r10, r10
    jz 5f
    mov [r10], rax
5:
    ret
8:
    mov rdi, r10
    mov eax, 201
    syscall
    ret

    .balign 32
    .globl rekindle_vdso_clock_getres
    .hidden rekindle_vdso_clock_getres
rekindle_vdso_clock_getres:
    mov eax, 229
    syscall
    ret

    .balign 32
    .globl rekindle_vdso_getcpu
    .hidden rekindle_vdso_getcpu
rekindle_vdso_getcpu:
    mov eax, 309
    syscall
    ret

    .globl rekindle_vdso_end
    .hidden rekindle_vdso_end
rekindle_vdso_end:
    .popsection
    "#,
    clocks = const CLOCKS,
    distance = const DATA_DISTANCE,
);

unsafe extern "C" {
    static rekindle_vdso_start: u8;
    static rekindle_vdso_end: u8;
    static rekindle_vdso_clock_gettime: u8;
    static rekindle_vdso_gettimeofday: u8;
    static rekindle_vdso_time: u8;
    static rekindle_vdso_clock_getres: u8;
    static rekindle_vdso_getcpu: u8;
}

/// One function of the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name in C, without the `__vdso_` that Linux puts before it.
    pub name: &'static str,
    /// Its first byte within [`bytes`].
    pub offset: usize,
}

/// The machine code.
#[must_use]
pub fn bytes() -> &'static [u8] {
    let start = &raw const rekindle_vdso_start;
    let len = (&raw const rekindle_vdso_end).addr() - start.addr();
    // SAFETY: needed to see assembled code as data; both labels delimit one block of this program's
    // read-only data, which is never changed and lives as long as the program.
    unsafe { std::slice::from_raw_parts(start, len) }
}

/// The functions in it.
#[must_use]
pub fn functions() -> [Function; 5] {
    let start = (&raw const rekindle_vdso_start).addr();
    let function = |name, at: *const u8| Function {
        name,
        offset: at.addr() - start,
    };
    [
        function("clock_gettime", &raw const rekindle_vdso_clock_gettime),
        function("gettimeofday", &raw const rekindle_vdso_gettimeofday),
        function("time", &raw const rekindle_vdso_time),
        function("clock_getres", &raw const rekindle_vdso_clock_getres),
        function("getcpu", &raw const rekindle_vdso_getcpu),
    ]
}

/// Whether the time stamp counter runs at one rate on all processors, whatever sleeps: CPUID says so
/// and Linux itself keeps time with it. The answer is kept: ask once while `/sys` can be read.
#[must_use]
pub fn counter_is_steady() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| counter_is_invariant() && host_keeps_time_with_counter())
}

fn counter_is_invariant() -> bool {
    const INVARIANT: u32 = 1 << 8;
    // Every x86-64 processor has the instruction.
    let leaf = core::arch::x86_64::__cpuid;
    leaf(0x8000_0000).eax >= 0x8000_0007 && leaf(0x8000_0007).edx & INVARIANT != 0
}

fn host_keeps_time_with_counter() -> bool {
    let source = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let source = std::fs::read_to_string(source).unwrap_or_default();
    matches!(
        source.trim(),
        "tsc" | "kvm-clock" | "hyperv_clocksource_tsc_page"
    )
}
