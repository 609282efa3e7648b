//! No row of the filter without a caller in the sandbox: `tools/code/callers.py` looks them up in the sources.

use std::collections::BTreeSet;
use std::process::Command;

use sandbox_confine::{Caller, Check, Guests, allowed};

fn callers(guests: Guests) -> impl Iterator<Item = (&'static str, Caller)> {
    allowed(guests).iter().flat_map(|rule| {
        let values = match rule.check {
            Check::OneOf(_, values) => values,
            _ => &[],
        };
        let of_values = values.iter().map(|value| (value.name, value.caller));
        std::iter::once((rule.name, rule.caller)).chain(of_values)
    })
}

fn look(arguments: &[&str]) -> (bool, String) {
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../../tools/code/callers.py"
    );
    let output = Command::new("python3")
        .args(["-B", script])
        .args(arguments)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

#[test]
fn every_row_has_a_caller() {
    let (fine, text) = look(&[]);
    assert!(fine, "{text}");
}

#[test]
fn the_script_sees_every_place_that_the_lists_name() {
    let (_, text) = look(&["--list"]);
    let seen: BTreeSet<&str> = text.lines().collect();
    for guests in [Guests::Processes, Guests::Machine] {
        for (name, caller) in callers(guests) {
            let Caller {
                file,
                function,
                code,
            } = caller;
            let line = format!("{file} {function} {code}");
            assert!(
                seen.contains(line.as_str()),
                "{name}: {line} is not among {seen:#?}"
            );
        }
    }
}
