//! Some of CPython's own tests, natively against a sandbox, case by case. `make test-cpython` runs all that are compared.

mod place;

use std::process::Command;

use place::{root, set_up};

/// Modules that are quick and touch much of the kernel.
const MODULES: [&str; 14] = [
    "test_os",
    "test_posix",
    "test_fileio",
    "test_tempfile",
    "test_shutil",
    "test_pathlib",
    "test_mmap",
    "test_fcntl",
    "test_thread",
    "test_epoll",
    "test_select",
    "test_uuid",
    "test_random",
    "test_fork1",
];

#[test]
fn cases_that_pass_natively_pass_in_a_sandbox() {
    set_up("tests/cpython.sh", &[]);
    let output = Command::new("/usr/bin/python3")
        .arg(root().join("guests/cpython/compare.py"))
        .args(["--rekindle", env!("CARGO_BIN_EXE_rekindle"), "--verbose"])
        .args(MODULES)
        .output()
        .unwrap();
    let table = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{table}\n{errors}");
}
