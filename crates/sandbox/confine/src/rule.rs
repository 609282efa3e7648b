//! What a host call is allowed to look like, and who makes it.

use base_abi::Errno;

/// What the filter does with one host call.
#[derive(Clone, Copy, Debug)]
pub enum Check {
    /// Allowed with any arguments.
    Any,
    /// Not made, answered with this error number; the caller falls back.
    Refuse(Errno),
    /// Allowed when the low 32 bits of this argument are one of these.
    OneOf(u8, &'static [Value]),
    /// Allowed when none of these bits of the argument are set.
    Without(u8, u32),
    /// Allowed when all of these bits of the argument are set.
    With(u8, u32),
    /// Allowed when the argument is this process' own id.
    OwnPid(u8),
}

/// A place in the sources that makes a host call in a running sandbox, itself or through a library.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// The file, below `crates/`.
    pub file: &'static str,
    /// The function in it.
    pub function: &'static str,
    /// What stands there that makes the call.
    pub code: &'static str,
}

/// One value that an argument may have.
#[derive(Clone, Copy, Debug)]
pub struct Value {
    /// Its low 32 bits.
    pub value: u32,
    /// Name, as in the kernel's headers.
    pub name: &'static str,
    /// Who passes it.
    pub caller: Caller,
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
    /// Who makes it.
    pub caller: Caller,
}

pub(crate) const fn by(file: &'static str, function: &'static str, code: &'static str) -> Caller {
    Caller {
        file,
        function,
        code,
    }
}

pub(crate) const fn value(value: u32, name: &'static str, caller: Caller) -> Value {
    Value {
        value,
        name,
        caller,
    }
}

pub(crate) const fn rule(
    nr: u32,
    name: &'static str,
    check: Check,
    reason: &'static str,
    caller: Caller,
) -> Rule {
    Rule {
        nr,
        name,
        check,
        reason,
        caller,
    }
}
