//! Programs that are captured in the middle and go on in another kernel.

#[path = "../guest/mod.rs"]
mod guest;
#[path = "../guest/moving.rs"]
mod moving;

mod files;
mod memory;
mod refused;
mod requests;
mod runtime_api;
mod sockets;
mod tasks;

const PAGE: u64 = 4096;
