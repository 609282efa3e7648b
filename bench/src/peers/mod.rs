//! What we are compared with.

pub(crate) mod hyper;
pub(crate) mod ptrace;
