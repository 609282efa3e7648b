//! What reads bytes from outside, each as a function of bytes that panics when a promise is broken.
//!
//! The same functions are run by `cargo fuzz run NAME` (`fuzz/`, by hand, with coverage) and by `tests/mutations.rs` (stable toolchain,
//! a few seconds each, in `make test`). To add one: a file here, a row in [`TARGETS`], inputs in `fuzz/seeds/NAME`, a file in
//! `fuzz/fuzz_targets` with its entry in `fuzz/Cargo.toml`.
#![forbid(unsafe_code)]

mod cmsg;
mod elf;
mod gateway;
mod netlink;
mod runtime_api;
mod sandbox_frames;
mod snapshot;

/// One reader of bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of its folder in `fuzz/seeds`.
    pub name: &'static str,
    /// Reads the bytes; panics when it breaks a promise.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    target("cmsg", cmsg::run),
    target("elf", elf::run),
    target("gateway", gateway::run),
    target("netlink", netlink::run),
    target("runtime_api", runtime_api::run),
    target("sandbox_frames", sandbox_frames::run),
    target("snapshot", snapshot::run),
];

const fn target(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run }
}

/// Runs the target of this name.
///
/// # Panics
/// When there is none, and when it breaks a promise.
pub fn run(name: &str, bytes: &[u8]) {
    let found = TARGETS.iter().find(|target| target.name == name);
    let found = found.expect("a target of this name is in the list");
    (found.run)(bytes);
}
