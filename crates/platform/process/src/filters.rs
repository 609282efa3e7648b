//! The seccomp programs of the threads in a stub (classic BPF over `struct seccomp_data`).

use crate::layout::CALL_DONE;

/// `struct sock_filter`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Instruction {
    code: u16,
    if_true: u8,
    if_false: u8,
    k: u32,
}

impl Instruction {
    /// As the host kernel reads it.
    pub(crate) fn to_bytes(self) -> [u8; 8] {
        let [c0, c1] = self.code.to_le_bytes();
        let [k0, k1, k2, k3] = self.k.to_le_bytes();
        [c0, c1, self.if_true, self.if_false, k0, k1, k2, k3]
    }
}

const OFFSET_NR: u32 = 0;
const OFFSET_ARCH: u32 = 4;
const ARCH_X86_64: u32 = 0xc000_003e;
const X32_BIT: u32 = 0x4000_0000;

const ALLOW: u32 = 0x7fff_0000;
const NOTIFY: u32 = 0x7fc0_0000;
const NO_SUCH_CALL: u32 = 0x0005_0000 | libc::ENOSYS as u32;
const KILL_PROCESS: u32 = 0x8000_0000;

/// `BPF_LD | BPF_W | BPF_ABS`
fn load(offset: u32) -> Instruction {
    Instruction {
        code: 0x20,
        if_true: 0,
        if_false: 0,
        k: offset,
    }
}

/// `BPF_JMP | BPF_JEQ | BPF_K`
fn if_equal(k: u32, if_true: u8, if_false: u8) -> Instruction {
    Instruction {
        code: 0x15,
        if_true,
        if_false,
        k,
    }
}

/// `BPF_JMP | BPF_JSET | BPF_K`
fn if_set(k: u32, if_true: u8, if_false: u8) -> Instruction {
    Instruction {
        code: 0x45,
        if_true,
        if_false,
        k,
    }
}

/// `BPF_RET | BPF_K`
fn result(k: u32) -> Instruction {
    Instruction {
        code: 0x06,
        if_true: 0,
        if_false: 0,
        k,
    }
}

/// Guest threads: every 64-bit system call is suspended and asked about; other entries do not exist.
pub(crate) fn guest() -> Vec<Instruction> {
    vec![
        load(OFFSET_ARCH),
        if_equal(ARCH_X86_64, 0, 3),
        load(OFFSET_NR),
        if_set(X32_BIT, 1, 0),
        result(NOTIFY),
        result(NO_SUCH_CALL),
    ]
}

/// Mappers: they change mappings and report; anything else would mean that our own code page was changed.
pub(crate) fn mapper() -> Vec<Instruction> {
    let natively = [
        libc::SYS_mmap,
        libc::SYS_munmap,
        libc::SYS_mprotect,
        libc::SYS_mremap,
        libc::SYS_madvise,
        libc::SYS_close,
    ];
    let mut program = vec![
        load(OFFSET_ARCH),
        if_equal(ARCH_X86_64, 1, 0),
        result(KILL_PROCESS),
        load(OFFSET_NR),
    ];
    program.extend([if_equal(CALL_DONE, 0, 1), result(NOTIFY)]);
    for nr in natively {
        program.extend([if_equal(nr as u32, 0, 1), result(ALLOW)]);
    }
    program.push(result(KILL_PROCESS));
    program
}
