//! Works for a process that Landlock restricts, if the restriction comes before the platform.

use std::os::fd::AsFd;

use landlock::{ABI, Access, AccessFs, PathBeneath, Ruleset, RulesetAttr, RulesetCreatedAttr};
use platform_conformance::code;
use platform_conformance::guest::{DATA, Guest};
use platform_process::ProcessPlatform;

fn restrict() {
    let somewhere = std::fs::File::open("/usr").expect("a directory");
    let ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(ABI::V3))
        .and_then(Ruleset::create)
        .expect("a rule set");
    let ruleset = ruleset
        .add_rule(PathBeneath::new(somewhere.as_fd(), AccessFs::ReadFile))
        .expect("a rule");
    ruleset.restrict_self().expect("restricted");
}

#[test]
fn restricted_first() {
    restrict();
    let platform = ProcessPlatform::new().expect("a platform");
    let guest = Guest::new(&platform);
    assert_eq!(guest.run(code::report(), |r| r.rax = 3), 3);
    let child = Guest {
        space: guest.space.fork().expect("a fork"),
    };
    assert_eq!(child.run(code::load(), |r| r.rdi = DATA), 0);
}
