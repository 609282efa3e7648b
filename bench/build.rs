//! Compiles the guest program to a static executable, which the library then carries within itself.
//!
//! That way a benchmark needs nothing but the one binary at run time.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=guest");
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let out = PathBuf::from(variable("OUT_DIR")).join("guest");
    if !compile(&out, &["-C", "target-feature=+crt-static"]) {
        // A machine without the static C library; the figure of a static program is then one of a dynamic one.
        println!("cargo::warning=no static C library: the benchmark guest is linked dynamically");
        assert!(compile(&out, &[]), "the benchmark guest does not compile");
    }
}

fn compile(out: &Path, link: &[&str]) -> bool {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let target = std::env::var("TARGET").unwrap_or_default();
    Command::new(rustc)
        .args(["--edition", "2024", "--crate-name", "guest", "--target"])
        .arg(target)
        .args(["-O", "-C", "strip=symbols", "-C", "panic=abort"])
        .args(link)
        .arg("-o")
        .arg(out)
        .arg("guest/main.rs")
        .status()
        .is_ok_and(|status| status.success())
}
