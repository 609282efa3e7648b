//! `docs/isolation.md` tells the sizes that the lists have.

use std::collections::BTreeSet;

use sandbox_confine::{Check, Guests, Rule, Value, allowed};

/// `linux/kvm.h`: the type of all requests of KVM, the second byte of a request.
const OF_KVM: u32 = 0xae;

fn is_made(rule: &&Rule) -> bool {
    !matches!(rule.check, Check::Refuse(_))
}

fn calls(guests: Guests, wanted: fn(&&Rule) -> bool) -> usize {
    let made = allowed(guests).iter().filter(is_made).filter(wanted);
    made.map(|rule| rule.nr).collect::<BTreeSet<_>>().len()
}

fn requests(guests: Guests) -> &'static [Value] {
    let rule = allowed(guests).iter().find(|rule| rule.name == "ioctl");
    match rule.map(|rule| rule.check) {
        Some(Check::OneOf(1, requests)) => requests,
        other => panic!("ioctl is not a list of requests: {other:?}"),
    }
}

#[test]
fn the_page_tells_the_size_of_each_surface() {
    let page = include_str!("../../../../docs/isolation.md");
    let row = |what: &str, wanted| {
        let [process, machine] =
            [Guests::Processes, Guests::Machine].map(|guests| calls(guests, wanted));
        format!("| {what} | {process} | {machine} |")
    };
    let of_kvm = requests(Guests::Machine)
        .iter()
        .filter(|request| request.value >> 8 & 0xff == OF_KVM)
        .count();
    let rows = [
        row("host system calls that the kernel process may make", |_| {
            true
        }),
        row("of these, with any arguments", |rule| {
            matches!(rule.check, Check::Any)
        }),
        format!(
            "| `ioctl` requests | {} | {}, {of_kvm} of them of KVM |",
            requests(Guests::Processes).len(),
            requests(Guests::Machine).len(),
        ),
    ];
    let missing: Vec<_> = rows.into_iter().filter(|row| !page.contains(row)).collect();
    assert!(
        missing.is_empty(),
        "docs/isolation.md should have: {missing:#?}"
    );
}
