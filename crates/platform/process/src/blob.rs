//! The code page of a stub: position-independent, registers only.
//!
//! It uses no stack and reads no memory that a guest can write: the only loads are from the command pages, which
//! are read-only in the stub. What it reports it reports in registers, which the host kernel hands to us.
//! A guest can jump anywhere into it; then its own filter makes ordinary guest calls of the `syscall`
//! instructions here.

use crate::filters::{self, Instruction};
use crate::layout::{CALL_DONE, CALL_PARK, CODE, CODE_LEN, COMMAND_SWAP, COMMANDS};

core::arch::global_asm!(
    r#"
    .pushsection .rodata.platform_process_blob, "a", @progbits
    .balign 16
    .hidden platform_process_blob_start
    .globl platform_process_blob_start
platform_process_blob_start:

    # A system call at the tracer's or an owner's bidding; it does not return here.
    .hidden platform_process_blob_gadget
    .globl platform_process_blob_gadget
platform_process_blob_gadget:
    syscall
    ud2

    # First stub: forget everything that was inherited. r12 = CODE, r13 = end of CODE, r14 = TASK_END - r13
    .hidden platform_process_blob_teardown
    .globl platform_process_blob_teardown
platform_process_blob_teardown:
    mov eax, 11
    xor edi, edi
    mov rsi, r12
    syscall
    test rax, rax
    jnz 1f
    mov eax, 11
    mov rdi, r13
    mov rsi, r14
    syscall
    test rax, rax
    jz platform_process_blob_spawner
1:  mov edi, 20                         # what is left would be the guest's to read: end instead
    mov eax, 231
    syscall
    jmp 1b

    # Spawner: one system call for every resumption, registers set by the tracer.
    .hidden platform_process_blob_spawner
    .globl platform_process_blob_spawner
platform_process_blob_spawner:
    int3
    .hidden platform_process_blob_spawner_call
    .globl platform_process_blob_spawner_call
platform_process_blob_spawner_call:
    syscall
    jmp platform_process_blob_spawner

    # Mapper: starts with the installation of its filter in the registers.
    .hidden platform_process_blob_mapper
    .globl platform_process_blob_mapper
platform_process_blob_mapper:
    syscall
    int3
    xor edi, edi
    xor esi, esi
    xor edx, edx
2:  mov eax, {done}                     # report: rdi = commands done, rsi = -errno or 0, rdx = value
    syscall
    movabs r12, {commands}
    mov r13, [r12]                      # how many
    add r12, 64
    xor ebx, ebx
3:  cmp rbx, r13
    jae 4f
    mov rax, [r12]
    cmp rax, {swap}
    je 6f
    mov rdi, [r12 + 8]
    mov rsi, [r12 + 16]
    mov rdx, [r12 + 24]
    mov r10, [r12 + 32]
    mov r8, [r12 + 40]
    mov r9, [r12 + 48]
    syscall
    cmp rax, -4095
    jae 5f
    inc rbx
    add r12, 64
    jmp 3b
4:  xor eax, eax
5:  mov rdi, rbx
    mov rsi, rax
    xor edx, edx
    jmp 2b
6:  mov rdi, [r12 + 8]
    mov eax, [r12 + 16]
    mov ecx, [r12 + 24]
    .hidden platform_process_blob_swap
    .globl platform_process_blob_swap
platform_process_blob_swap:
    lock cmpxchg [rdi], ecx
    mov edx, eax
    mov edi, 1
    xor esi, esi
    jmp 2b
    # The tracer sends the mapper here when the swap faulted.
    .hidden platform_process_blob_swap_fault
    .globl platform_process_blob_swap_fault
platform_process_blob_swap_fault:
    xor edi, edi
    mov rsi, -14
    xor edx, edx
    jmp 2b

    # Guest thread: starts with the installation of its filter in the registers.
    .hidden platform_process_blob_context
    .globl platform_process_blob_context
platform_process_blob_context:
    syscall
    int3
7:  mov eax, {park}
    syscall
    jmp 7b

    .hidden platform_process_blob_end
    .globl platform_process_blob_end
platform_process_blob_end:
    .popsection
    "#,
    done = const CALL_DONE,
    park = const CALL_PARK,
    swap = const COMMAND_SWAP,
    commands = const COMMANDS,
);

unsafe extern "C" {
    static platform_process_blob_start: u8;
    static platform_process_blob_gadget: u8;
    static platform_process_blob_teardown: u8;
    static platform_process_blob_spawner_call: u8;
    static platform_process_blob_mapper: u8;
    static platform_process_blob_swap: u8;
    static platform_process_blob_swap_fault: u8;
    static platform_process_blob_context: u8;
    static platform_process_blob_end: u8;
}

macro_rules! address {
    ($(#[$doc:meta])* $name:ident = $symbol:ident) => {
        $(#[$doc])*
        pub(crate) fn $name() -> u64 {
            CODE + (&raw const $symbol as u64 - &raw const platform_process_blob_start as u64)
        }
    };
}

address!(/** `syscall`, then an undefined instruction. */ gadget = platform_process_blob_gadget);
address!(/** Where the first stub ends its Rust life. */ teardown = platform_process_blob_teardown);
address!(/** The spawner's `syscall`. */ spawner_call = platform_process_blob_spawner_call);
address!(/** Start of a mapper thread. */ mapper = platform_process_blob_mapper);
address!(/** The instruction of the mapper that may fault. */ swap = platform_process_blob_swap);
address!(/** Where the mapper goes when it did. */ swap_fault = platform_process_blob_swap_fault);
address!(/** Start of a guest thread. */ context = platform_process_blob_context);

/// Offset of the first filter program's descriptor in the page.
const PROGRAMS: usize = 0x400;

/// Address of the `struct sock_fprog` of guest threads.
pub(crate) const GUEST_PROGRAM: u64 = CODE + PROGRAMS as u64;
/// Address of the `struct sock_fprog` of mappers.
pub(crate) const MAPPER_PROGRAM: u64 = CODE + PROGRAMS as u64 + 16;

/// The page as it will be in every stub: code, then the filter programs.
pub(crate) fn page() -> Box<[u8; CODE_LEN as usize]> {
    let mut page = Box::new([0u8; CODE_LEN as usize]);
    let start = &raw const platform_process_blob_start;
    let len = &raw const platform_process_blob_end as usize - start as usize;
    assert!(len <= PROGRAMS);
    // SAFETY: needed to read code that the assembler placed; both symbols delimit one read-only object of `len` bytes.
    let code = unsafe { std::slice::from_raw_parts(start, len) };
    page[..len].copy_from_slice(code);
    let mut at = PROGRAMS + 32;
    for (index, program) in [filters::guest(), filters::mapper()].iter().enumerate() {
        let head = PROGRAMS + index * 16;
        page[head..head + 2].copy_from_slice(&(program.len() as u16).to_le_bytes());
        page[head + 8..head + 16].copy_from_slice(&(CODE + at as u64).to_le_bytes());
        for instruction in program {
            page[at..at + 8].copy_from_slice(&Instruction::to_bytes(*instruction));
            at += 8;
        }
    }
    page
}
