//! The register file of one guest thread.

/// General registers of x86-64 in user mode, in `user_regs_struct` order without
/// the segment selectors, which guests cannot change usefully.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[expect(missing_docs, reason = "register names are the architecture's own")]
pub struct Registers {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub rip: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub fs_base: u64,
    pub gs_base: u64,
}

/// Everything that `fork` copies and a signal frame saves.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CpuState {
    /// General registers. Implementations sanitise `rflags` and canonical addresses.
    pub regs: Registers,
    /// The extended state as a standard-format XSAVE area of
    /// [`Features::xstate_size`](crate::Features::xstate_size) bytes; empty means the
    /// state after `execve` (all components initial, MXCSR 0x1f80, FCW 0x37f).
    pub xstate: Vec<u8>,
}
