//! Every target with its stored inputs, and with mutations of them from a seed: some thousand a second, on the stable toolchain.
//!
//! A failure prints the seed and the number of the round, from which the input is made again, and the input itself.
//! `FUZZ_SEED` is another seed than the usual one, `FUZZ_SECONDS` another time than two seconds a target.

mod mutation;

use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fuzz_targets::Target;
use mutation::Rng;

/// The usual seed: the same in every run, so that a run that fails fails again.
const SEED: u64 = 0x5eed;
/// The usual time for a target.
const SECONDS: u64 = 2;
/// Longest time that one input may take.
const SLOW: Duration = Duration::from_secs(10);

fn given(name: &str, usual: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// The stored inputs of a target, by name.
fn stored(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../seeds");
    let entries = std::fs::read_dir(folder.join(target.name)).expect("its folder of inputs");
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    let read = |path: PathBuf| (path.clone(), std::fs::read(path).expect("an input"));
    paths.into_iter().map(read).collect()
}

/// Runs one input; `from` says how to make it again.
fn run(target: &Target, bytes: &[u8], from: &str) {
    let begun = Instant::now();
    let ended = catch_unwind(|| (target.run)(bytes));
    let printed = bytes.escape_ascii();
    assert!(
        ended.is_ok(),
        "{} fails with {from}: b\"{printed}\"",
        target.name
    );
    let took = begun.elapsed();
    assert!(
        took < SLOW,
        "{} takes {took:?} with {from}: b\"{printed}\"",
        target.name
    );
}

fn mutated(name: &str) {
    let found = fuzz_targets::TARGETS
        .iter()
        .find(|target| target.name == name);
    let target = found.expect("a target of this name");
    let inputs = stored(target);
    assert!(!inputs.is_empty(), "{name} has no stored inputs");
    for (path, bytes) in &inputs {
        run(target, bytes, &path.display().to_string());
    }
    let inputs: Vec<_> = inputs.into_iter().map(|(_, bytes)| bytes).collect();
    let seed = given("FUZZ_SEED", SEED);
    let until = Instant::now() + Duration::from_secs(given("FUZZ_SECONDS", SECONDS));
    let mut round = 0;
    while Instant::now() < until {
        let bytes = mutation::mutated(&inputs, &mut Rng::of(seed, round));
        run(target, &bytes, &format!("FUZZ_SEED={seed}, round {round}"));
        round += 1;
    }
    eprintln!("{name}: {round} rounds of seed {seed}");
}

macro_rules! targets {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                mutated(stringify!($name));
            }
        )*

        #[test]
        fn every_target_is_tested_and_has_a_program_for_cargo_fuzz() {
            let tested = [$(stringify!($name)),*];
            let listed: Vec<_> = fuzz_targets::TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(listed, tested);
            let programs = include_str!("../../Cargo.toml");
            for name in listed {
                assert!(programs.contains(&format!("name = \"{name}\"")), "{name} is not in fuzz/Cargo.toml");
            }
        }
    };
}

targets!(
    cmsg,
    elf,
    gateway,
    netlink,
    runtime_api,
    sandbox_frames,
    snapshot
);
