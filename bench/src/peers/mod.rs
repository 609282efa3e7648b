//! What we are compared with.

pub(crate) mod floor;
pub(crate) mod hyper;
pub(crate) mod native;
pub(crate) mod ptrace;
