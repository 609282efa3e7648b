//! One line of the system call table: number, name, argument shapes, handler, support level, caveat.

use crate::call::{Args, Sys, SysResult};

/// A handler. Run again with the same arguments after every wake-up.
pub type Handler = fn(&mut Sys<'_>, Args) -> SysResult;

/// How much of a call's documented behaviour is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// As in its man page, as far as a guest without real devices can tell.
    Full,
    /// The caveat says what is missing.
    Partial,
    /// Answers as Linux does where the feature is not there or not permitted.
    Refused,
}

/// One system call.
#[derive(Clone, Copy)]
pub struct Entry {
    /// Number in the x86-64 table.
    pub nr: u32,
    /// Name in its man page.
    pub name: &'static str,
    /// One letter an argument, for `--strace`: `d` signed, `x` hex, `o` octal, `u` unsigned,
    /// `p` address, `s` string.
    pub shape: &'static str,
    /// What runs.
    pub handler: Handler,
    /// Support level.
    pub support: Support,
    /// What differs from the man page, empty when nothing does.
    pub caveat: &'static str,
}

impl Entry {
    /// A fully supported call.
    #[must_use]
    pub const fn full(nr: u32, name: &'static str, shape: &'static str, handler: Handler) -> Entry {
        Entry {
            nr,
            name,
            shape,
            handler,
            support: Support::Full,
            caveat: "",
        }
    }

    /// A call with something missing.
    #[must_use]
    pub const fn partial(
        nr: u32,
        name: &'static str,
        shape: &'static str,
        handler: Handler,
        caveat: &'static str,
    ) -> Entry {
        Entry {
            nr,
            name,
            shape,
            handler,
            support: Support::Partial,
            caveat,
        }
    }

    /// A call that is answered with an error on purpose.
    #[must_use]
    pub const fn refused(
        nr: u32,
        name: &'static str,
        shape: &'static str,
        handler: Handler,
        caveat: &'static str,
    ) -> Entry {
        Entry {
            nr,
            name,
            shape,
            handler,
            support: Support::Refused,
            caveat,
        }
    }
}
