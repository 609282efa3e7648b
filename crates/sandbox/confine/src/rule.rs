//! What a host call is allowed to look like.

/// What the filter does with one host call.
#[derive(Clone, Copy, Debug)]
pub enum Check {
    /// Allowed with any arguments.
    Any,
    /// Not made, answered with this error number; the caller falls back.
    Refuse(u16),
    /// Allowed when the low 32 bits of this argument are one of these.
    OneOf(u8, &'static [u32]),
    /// Allowed when none of these bits of the argument are set.
    Without(u8, u32),
    /// Allowed when all of these bits of the argument are set.
    With(u8, u32),
    /// Allowed when the argument is this process' own id.
    OwnPid(u8),
}

/// One row of the allow-list.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Number in the 64-bit table.
    pub nr: u32,
    /// Name, as in the manual.
    pub name: &'static str,
    /// What the arguments must be.
    pub check: Check,
    /// Why the kernel process needs it.
    pub reason: &'static str,
}
