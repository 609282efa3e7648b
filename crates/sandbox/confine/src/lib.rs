//! The jail around the kernel process.
//!
//! The guest never reaches the host, our kernel does: were it taken over, this is
//! what still stands between the attacker and the machine. The kernel process opens what it needs,
//! then seals itself; see [`jail`].
//!
//! Invariant: sealing probes nothing and compiles nothing; the filter is a constant.
#![forbid(unsafe_code)]

mod calls;
mod files;
mod filter;
pub mod jail;
mod layers;
mod machine;
mod rule;
pub mod tasks;
mod values;

pub use calls::ALLOWED;
pub use jail::Guests;
pub use layers::Layers;
pub use machine::ALLOWED_WITH_MACHINE;
pub use rule::{Caller, Check, Rule, Value};

use host_sys::filter::Instruction;

const PROGRAM_LEN: usize = filter::program_len(ALLOWED);

/// The filter, compiled ahead.
static PROGRAM: [Instruction; PROGRAM_LEN] = filter::compile(ALLOWED);

const MACHINE_PROGRAM_LEN: usize = filter::program_len(ALLOWED_WITH_MACHINE);

/// The same for guests in a virtual machine.
static MACHINE_PROGRAM: [Instruction; MACHINE_PROGRAM_LEN] = filter::compile(ALLOWED_WITH_MACHINE);

/// The calls that the filter allows.
#[must_use]
pub fn allowed(guests: Guests) -> &'static [Rule] {
    match guests {
        Guests::Processes => ALLOWED,
        Guests::Machine => ALLOWED_WITH_MACHINE,
    }
}

/// The filter as it is installed in a process with this id: for tests and for `doctor`.
#[must_use]
pub fn program_for(guests: Guests, pid: u32) -> Vec<Instruction> {
    let program: &[Instruction] = match guests {
        Guests::Processes => &PROGRAM,
        Guests::Machine => &MACHINE_PROGRAM,
    };
    filter::with_own_pid(program, pid)
}
