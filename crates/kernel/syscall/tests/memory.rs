//! Memory calls made by one script natively and in a sandbox.

mod guest;

use std::process::Command;

const SCRIPT: &str = include_str!("scripts/memory.py");

#[test]
fn a_script_sees_what_it_sees_on_linux() {
    let place = tempfile::tempdir().unwrap();
    let native = Command::new("/usr/bin/python3")
        .args(["-c", SCRIPT])
        .current_dir(place.path())
        .output()
        .expect("python3 of the machine");
    assert!(native.status.success(), "{native:?}");
    let theirs = String::from_utf8_lossy(&native.stdout);
    let ours = guest::run(&["/usr/bin/python3", "-c", SCRIPT], "").expect_success();
    assert_eq!(ours, theirs);
}
