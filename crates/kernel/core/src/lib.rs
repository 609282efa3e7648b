//! The heart of the user-space kernel.
#![forbid(unsafe_code)]
