//! Where tests find the checkout and what is built, and how they set up what they need.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// The checkout.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../..")
        .canonicalize()
        .unwrap()
}

/// Where built things go.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Runs one of the scripts that install or build what tests need.
pub(crate) fn set_up(script: &str, arguments: &[&Path]) {
    let status = Command::new(root().join(script))
        .args(arguments)
        .status()
        .unwrap();
    assert!(status.success(), "{script} failed");
}
