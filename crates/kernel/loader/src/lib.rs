//! execve(2) without the task: finds what is behind a program (`#!` lines, ELF, its
//! interpreter), maps it into a fresh [`Mm`](kernel_mm::Mm) and builds the initial stack.
//!
//! Everything read from a program is bounded and checked; no program makes this crate panic.
//! A failed load leaves a half-filled `Mm`, which the caller drops; the old one is untouched.
#![forbid(unsafe_code)]

mod elf;
mod load;
mod program;
mod read;
mod script;
mod segments;
mod stack;

pub use load::{ExecIdentity, ExecRequest, Loaded, VdsoPages, load};
pub use program::Program;
pub use stack::{CpuWords, argument_limit};
