//! Files as Linux has them.
#![forbid(unsafe_code)]
