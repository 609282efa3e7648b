//! The allow-list as a BPF program, put together by the compiler.
//!
//! Installing costs one system call and no computation but writing the process id
//! into the two places that compare with it.

use host_sys::filter::Instruction;

use crate::rule::{Check, Rule};

const LOAD_WORD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_ABOVE_OR_EQUAL: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const JUMP_ANY_BIT: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

const ALLOW: u32 = 0x7fff_0000; // SECCOMP_RET_ALLOW
const REFUSE: u32 = 0x0005_0000; // SECCOMP_RET_ERRNO
const KILL: u32 = 0x8000_0000; // SECCOMP_RET_KILL_PROCESS

const ARCH_X86_64: u32 = 0xc000_003e; // AUDIT_ARCH_X86_64
const X32_BIT: u32 = 0x4000_0000; // __X32_SYSCALL_BIT

// Offsets in `struct seccomp_data`.
const NR: u32 = 0;
const ARCH: u32 = 4;

/// Stands where the own process id is written at installation.
const OWN_PID: u32 = 0xffff_ff1d;

const fn instruction(code: u16, jump_true: u8, jump_false: u8, operand: u32) -> Instruction {
    Instruction {
        code,
        jump_true,
        jump_false,
        operand,
    }
}

const fn ret(action: u32) -> Instruction {
    instruction(RETURN, 0, 0, action)
}

/// The low half of an argument; all checked arguments are C `int`s or flags below 2^32.
const fn load_argument(index: u8) -> Instruction {
    instruction(LOAD_WORD, 0, 0, 16 + 8 * index as u32)
}

/// Instructions that decide a call once its number is known.
const fn body_len(check: &Check) -> usize {
    match check {
        Check::Any | Check::Refuse(_) => 1,
        Check::OneOf(_, values) => 1 + values.len() + 2,
        Check::Without(..) | Check::OwnPid(_) => 4,
        Check::With(..) => 5,
    }
}

/// Length of the whole program.
pub(crate) const fn program_len(rules: &[Rule]) -> usize {
    // Architecture, x32, number: 6; the last word: 1.
    let mut len = 7;
    let mut i = 0;
    while i < rules.len() {
        len += 1 + body_len(&rules[i].check);
        i += 1;
    }
    len
}

/// Puts the program together. `N` is [`program_len`] of the same rules.
pub(crate) const fn compile<const N: usize>(rules: &[Rule]) -> [Instruction; N] {
    let mut out = [ret(KILL); N];
    out[0] = instruction(LOAD_WORD, 0, 0, ARCH);
    out[1] = instruction(JUMP_EQUAL, 1, 0, ARCH_X86_64);
    // out[2] kills.
    out[3] = instruction(LOAD_WORD, 0, 0, NR);
    out[4] = instruction(JUMP_ABOVE_OR_EQUAL, 0, 1, X32_BIT);
    // out[5] kills.
    let mut at = 6;
    let mut i = 0;
    while i < rules.len() {
        let check = &rules[i].check;
        out[at] = instruction(JUMP_EQUAL, 0, body_len(check) as u8, rules[i].nr);
        at += 1;
        match *check {
            Check::Any => out[at] = ret(ALLOW),
            Check::Refuse(errno) => out[at] = ret(REFUSE | errno.raw() as u32),
            Check::OneOf(index, values) => {
                out[at] = load_argument(index);
                let mut v = 0;
                while v < values.len() {
                    // Over the remaining comparisons and the kill, to the allow.
                    let skip = (values.len() - v) as u8;
                    out[at + 1 + v] = instruction(JUMP_EQUAL, skip, 0, values[v].value);
                    v += 1;
                }
                out[at + 1 + v] = ret(KILL);
                out[at + 2 + v] = ret(ALLOW);
            }
            Check::Without(index, bits) => {
                out[at] = load_argument(index);
                out[at + 1] = instruction(JUMP_ANY_BIT, 0, 1, bits);
                out[at + 2] = ret(KILL);
                out[at + 3] = ret(ALLOW);
            }
            Check::With(index, bits) => {
                out[at] = load_argument(index);
                out[at + 1] = instruction(AND, 0, 0, bits);
                out[at + 2] = instruction(JUMP_EQUAL, 1, 0, bits);
                out[at + 3] = ret(KILL);
                out[at + 4] = ret(ALLOW);
            }
            Check::OwnPid(index) => {
                out[at] = load_argument(index);
                out[at + 1] = instruction(JUMP_EQUAL, 1, 0, OWN_PID);
                out[at + 2] = ret(KILL);
                out[at + 3] = ret(ALLOW);
            }
        }
        at += body_len(check);
        i += 1;
    }
    assert!(at + 1 == N, "program_len and compile disagree");
    out
}

/// A copy of the program that compares with this process id.
pub(crate) fn with_own_pid(program: &[Instruction], pid: u32) -> Vec<Instruction> {
    let mut out = program.to_vec();
    for step in &mut out {
        if step.code == JUMP_EQUAL && step.operand == OWN_PID {
            step.operand = pid;
        }
    }
    out
}
