//! `/proc` and `/sys` as the machine's own tools read them in a sandbox.

mod guest;

use kernel_core::task::ExitStatus;

fn shell(script: &str) -> String {
    let outcome = guest::run(&["/bin/sh", "-c", script], "");
    assert_eq!(outcome.status, Some(ExitStatus::Code(0)), "{outcome:?}");
    outcome.output
}

#[test]
fn status_tells_of_the_process() {
    let text = shell("cat /proc/self/status");
    assert!(text.starts_with("Name:\tcat\n"), "{text}");
    assert!(text.contains("\nState:\tR (running)\n"), "{text}");
    assert!(text.contains("\nThreads:\t1\n"), "{text}");
}
