//! Snapshots that are no good, and processes that die while snapshots are made or used: every event is answered, and
//! none is worked on twice.

mod watched;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::json;
use watched::{Server, children_of, kill};

/// A directory for a test: `data` for the server, the rest for code.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    /// The code of a function of this name that prints and returns its event, after `before`.
    fn code(&self, name: &str, before: &str) -> PathBuf {
        let directory = self.0.path().join(name);
        fs::create_dir(&directory).unwrap();
        let text = format!(
            "{before}\ndef handler(event, context):\n    print('worked on', event, flush=True)\n    return event\n"
        );
        fs::write(directory.join("app.py"), text).unwrap();
        directory
    }
}

/// Sends an event, expects it to be answered and worked on once, and tells how the instance began.
fn ask(server: &Server, function: &str, event: u32) -> String {
    let answer = server.invoke(function, &json!(event));
    assert_eq!(answer.body, json!(event));
    assert_eq!(server.printed(function, &format!("worked on {event}")), 1);
    answer.start
}

fn only(mut paths: Vec<PathBuf>) -> PathBuf {
    assert_eq!(paths.len(), 1, "{paths:?}");
    paths.remove(0)
}

fn flip(file: &Path, at: u64) {
    let file = fs::File::options()
        .read(true)
        .write(true)
        .open(file)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

/// The pid in the line that tells of a shell.
fn shell(server: &Server) -> u32 {
    let line = server.logged(&["a shell waits", "pid="]);
    let (_, rest) = line.split_once("pid=").unwrap();
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next();
    digits.unwrap().parse().unwrap()
}

#[test]
fn a_damaged_snapshot_goes_to_quarantine_and_the_event_is_answered() {
    let place = Place::new();
    let server = Server::start(&place.data());
    server.deploy(&place.code("one", ""), &["--fresh"]);
    shell(&server);
    let mine = only(server.ready());
    server.deploy(&place.code("two", "import json"), &["--fresh"]);
    shell(&server);
    let others = server
        .ready()
        .into_iter()
        .find(|path| *path != mine)
        .unwrap();
    assert_eq!(ask(&server, "one", 0), "restored");
    let bytes = fs::metadata(mine.join("snapshot")).unwrap().len();
    type Damage<'a> = (&'a str, &'a dyn Fn(&Path));
    let damages: [Damage; 6] = [
        ("should have", &|file| {
            let file = fs::File::options().write(true).open(file).unwrap();
            file.set_len(bytes / 2).unwrap();
        }),
        ("is not what was written", &|file| flip(file, 9)),
        ("is not what was written", &|file| flip(file, bytes / 2)),
        ("", &|file| {
            fs::copy(others.join("snapshot"), file).unwrap();
        }),
        ("", &|file| {
            let away = file.with_extension("away");
            fs::rename(file, &away).unwrap();
            fs::copy(others.join("snapshot"), file).unwrap();
            fs::remove_file(away).unwrap();
        }),
        ("cannot read snapshot", &|file| {
            fs::remove_file(file).unwrap()
        }),
    ];
    for (number, (reason, damage)) in damages.into_iter().enumerate() {
        let event = 10 * (number as u32 + 1);
        server.rest_of_the_log();
        damage(&mine.join("snapshot"));
        assert_eq!(ask(&server, "one", event), "cold", "damage {number}");
        server.logged(&["WARN", "goes to quarantine", reason]);
        let found = server.quarantined();
        assert_eq!(found.len(), number + 1);
        assert!(found.iter().any(|one| one.contains(reason)), "{found:?}");
        // The cold start made a new one.
        server.logged(&["snapshot ready"]);
        assert_eq!(
            ask(&server, "one", event + 1),
            "restored",
            "damage {number}"
        );
    }
    assert_eq!(ask(&server, "two", 1), "restored");
}

#[test]
fn a_snapshot_of_another_machine_or_with_another_manifest_is_not_even_opened() {
    let place = Place::new();
    let mut server = Server::start(&place.data());
    server.deploy(&place.code("one", ""), &[]);
    server.logged(&["snapshot ready"]);
    let mine = only(server.ready());
    type Edit<'a> = (&'a str, &'a dyn Fn(&str) -> String);
    let edits: [Edit; 4] = [
        ("was changed since", &|text| {
            text.replace("\"cpu\": \"", "\"cpu\": \"amx ")
        }),
        ("was changed since", &|text| {
            text.replace("\"version\": 1,", "\"version\": 2,")
        }),
        ("manifest cannot be read", &|text| {
            text[..text.len() / 2].to_owned()
        }),
        ("manifest cannot be read", &|_| String::new()),
    ];
    for (number, (reason, edit)) in edits.into_iter().enumerate() {
        server.kill();
        let path = mine.join("manifest.json");
        let text = fs::read_to_string(&path).unwrap();
        let edited = edit(&text);
        assert_ne!(text, edited);
        fs::write(&path, edited).unwrap();
        server = Server::start(&place.data());
        server.logged(&["WARN", "goes to quarantine", reason]);
        assert_eq!(server.quarantined().len(), number + 1);
        assert_eq!(ask(&server, "one", number as u32), "cold");
        server.logged(&["snapshot ready"]);
        assert_eq!(only(server.ready()), mine);
    }
    // One of another function, whole and signed, in its place.
    server.deploy(&place.code("two", "import json"), &[]);
    server.logged(&["snapshot ready"]);
    let others = server
        .ready()
        .into_iter()
        .find(|path| *path != mine)
        .unwrap();
    server.kill();
    for name in ["manifest.json", "snapshot"] {
        fs::copy(others.join(name), mine.join(name)).unwrap();
    }
    let server = Server::start(&place.data());
    server.logged(&["WARN", "goes to quarantine", "belongs to another snapshot"]);
    assert_eq!(ask(&server, "one", 100), "cold");
    assert_eq!(ask(&server, "two", 100), "restored");
}

#[test]
fn a_shell_that_was_killed_costs_nobody_an_event_or_a_snapshot() {
    let place = Place::new();
    let server = Server::start(&place.data());
    server.deploy(&place.code("one", ""), &["--fresh"]);
    for event in 0..3 {
        kill(shell(&server));
        assert_eq!(ask(&server, "one", event), "restored");
    }
    assert_eq!(server.quarantined(), Vec::<String>::new());
    assert_eq!(server.ready().len(), 1);
}

#[test]
fn an_image_with_a_secret_in_it_is_not_kept() {
    let place = Place::new();
    let server = Server::start(&place.data());
    let code = place.code("leaky", "KEEP = open('/var/task/settings').read().strip()");
    fs::write(code.join("settings"), "correct horse battery\n").unwrap();
    let variables = [
        "-e",
        "PASSWORD=correct horse battery",
        "-e",
        "REKINDLE_SECRETS=PASSWORD",
    ];
    server.deploy(&code, &variables);
    let line = server.logged(&[
        "WARN",
        "gives up on a snapshot",
        "the secret PASSWORD is in the image",
    ]);
    assert!(line.contains("leaky"), "{line}");
    let told = server.configuration("leaky");
    assert_eq!(told["State"], "Active");
    let reason = told["StateReason"].as_str().unwrap();
    assert!(
        reason.contains("the secret PASSWORD is in the image"),
        "{reason}"
    );
    assert_eq!(ask(&server, "leaky", 1), "cold");
    assert_eq!(ask(&server, "leaky", 2), "warm");
    server.nothing_in_staging();
    assert!(server.ready().is_empty() && server.quarantined().is_empty());
    let said = format!("{reason} {line} {}", server.rest_of_the_log().join(" "));
    assert!(!said.contains("horse"), "{said}");
}

/// An image that takes a while to write.
const LARGE: &str = "import random\nKEEP = random.Random(1).randbytes(96 << 20)";

#[test]
fn a_sandbox_that_is_killed_while_it_is_captured_costs_no_event() {
    let place = Place::new();
    let server = Server::start(&place.data());
    let deploying = server
        .deploying(&place.code("large", LARGE), &["--memory", "512"])
        .spawn();
    server.capturing();
    server.kill_children();
    let deployed = deploying.unwrap().wait().unwrap();
    assert!(deployed.success(), "{:#?}", server.rest_of_the_log());
    // It may have been written whole by then. If not, this server tries it no more: it could come to the same end.
    let start = ask(&server, "large", 1);
    assert!(start == "cold" || start == "restored", "{start}");
    server.nothing_in_staging();
    assert_eq!(server.quarantined(), Vec::<String>::new());
    let server = server.again();
    if ask(&server, "large", 2) == "cold" {
        server.logged(&["snapshot ready"]);
    }
    let server = server.again();
    assert_eq!(ask(&server, "large", 3), "restored");
}

#[test]
fn a_server_that_is_killed_while_it_captures_leaves_nothing() {
    let place = Place::new();
    let server = Server::start(&place.data());
    let mut deploying = server.deploying(&place.code("large", LARGE), &["--memory", "512"]);
    let deploying = std::thread::spawn(move || deploying.output());
    server.capturing();
    let children = server.children();
    assert!(!children.is_empty());
    let server = server.again();
    // Its server is gone; what it says of that is its own affair.
    deploying.join().unwrap().unwrap();
    assert!(server.staging().is_empty() && server.quarantined().is_empty());
    while children.iter().any(|child| child.alive()) {
        std::thread::yield_now();
    }
    assert_eq!(ask(&server, "large", 1), "cold");
    server.logged(&["snapshot ready"]);
    let server = server.again();
    assert_eq!(ask(&server, "large", 2), "restored");
    assert!(server.staging().is_empty());
}

#[test]
fn a_disk_that_is_full_costs_no_event() {
    let place = Place::new();
    let mount = place.data();
    fs::create_dir(&mount).unwrap();
    let Some(server) = Server::start_on_a_small_disk(&mount, 32 << 20) else {
        eprintln!("SKIPPED: a file system cannot be mounted here");
        return;
    };
    server.deploy(&place.code("large", LARGE), &["--memory", "512"]);
    server.logged(&["WARN", "a capture failed"]);
    assert_eq!(ask(&server, "large", 1), "cold");
    server.nothing_in_staging();
    assert!(server.ready().is_empty() && server.quarantined().is_empty());
    // There is room for a small one.
    server.deploy(&place.code("small", ""), &[]);
    server.logged(&["snapshot ready", "small"]);
    assert_eq!(ask(&server, "small", 1), "restored");
    assert_eq!(ask(&server, "large", 2), "warm");
}

#[test]
fn a_shell_whose_guest_process_was_killed_costs_nobody_an_event_or_a_snapshot() {
    let place = Place::new();
    let server = Server::start(&place.data());
    server.deploy(&place.code("one", ""), &["--fresh"]);
    for event in 0..3 {
        let stubs = children_of(shell(&server));
        assert!(!stubs.is_empty());
        stubs.iter().for_each(|stub| kill(stub.pid));
        assert_eq!(ask(&server, "one", event), "restored");
    }
    assert_eq!(server.quarantined(), Vec::<String>::new());
    assert_eq!(server.ready().len(), 1);
}

#[test]
fn a_guest_process_that_is_killed_while_it_is_captured_costs_no_event() {
    let place = Place::new();
    let server = Server::start(&place.data());
    let deploying = server
        .deploying(&place.code("large", LARGE), &["--memory", "512"])
        .spawn();
    server.capturing();
    for child in server.children() {
        children_of(child.pid)
            .iter()
            .for_each(|stub| kill(stub.pid));
    }
    assert!(deploying.unwrap().wait().unwrap().success());
    // It may have been done by then.
    let start = ask(&server, "large", 1);
    assert!(start == "cold" || start == "restored", "{start}");
    assert_eq!(ask(&server, "large", 2), "warm");
    server.nothing_in_staging();
    assert_eq!(server.quarantined(), Vec::<String>::new());
}

/// Nobody can know how far it came.
#[test]
fn an_event_whose_clone_is_killed_at_work_is_not_worked_on_again() {
    let place = Place::new();
    let server = Server::start(&place.data());
    let wait = "import builtins, signal\ndef print(*said, flush):\n    builtins.print(*said, flush=True)\n    \
        if said[1] == 1: signal.pause()";
    server.deploy(&place.code("one", wait), &[]);
    server.logged(&["snapshot ready"]);
    let event = server
        .command(&["invoke", "one", "1"])
        .stdout(Stdio::piped())
        .spawn();
    while server.printed("one", "worked on 1") == 0 {
        std::thread::yield_now();
    }
    server.kill_children();
    let failed = event.unwrap().wait_with_output().unwrap();
    assert!(!failed.status.success(), "{failed:?}");
    assert_eq!(ask(&server, "one", 2), "restored");
    assert_eq!(server.printed("one", "worked on 1"), 1);
    assert_eq!(server.quarantined(), Vec::<String>::new());
}

#[test]
fn a_clone_that_is_killed_while_it_is_restored_costs_no_event() {
    let place = Place::new();
    let server = Server::start(&place.data());
    let hook = "import signal, snapshot_restore_py\n@snapshot_restore_py.register_after_restore\ndef stay():\n    \
        if open('/proc/rekindle/snapshot').read().strip() != 'restored': return\n    \
        print('restoring', flush=True); signal.pause()";
    server.deploy(&place.code("one", hook), &[]);
    server.logged(&["snapshot ready"]);
    let event = server
        .command(&["invoke", "one", "1"])
        .stdout(Stdio::piped())
        .spawn();
    while server.printed("one", "restoring") == 0 {
        std::thread::yield_now();
    }
    server.kill_children();
    let answered = event.unwrap().wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&answered.stdout).trim(), "1");
    assert_eq!(server.printed("one", "worked on 1"), 1);
    server.logged(&["WARN", "goes to quarantine"]);
    assert_eq!((server.quarantined().len(), server.ready().len()), (1, 0));
    assert_eq!(ask(&server, "one", 2), "warm");
}

#[test]
fn a_server_that_is_killed_while_a_clone_is_at_work_leaves_nothing() {
    let place = Place::new();
    let server = Server::start(&place.data());
    let wait = "import builtins, signal\ndef print(*said, flush):\n    builtins.print(*said, flush=True)\n    \
        if said[1] == 1: signal.pause()";
    server.deploy(&place.code("one", wait), &["--fresh"]);
    server.logged(&["snapshot ready"]);
    let mut invoking = server.command(&["invoke", "one", "1"]);
    let at_work = std::thread::spawn(move || invoking.output());
    while server.printed("one", "worked on 1") == 0 {
        std::thread::yield_now();
    }
    let processes: Vec<_> = server
        .children()
        .into_iter()
        .flat_map(|child| [children_of(child.pid), vec![child]].concat())
        .collect();
    assert!(processes.len() >= 2);
    let server = server.again();
    assert!(!at_work.join().unwrap().unwrap().status.success());
    while processes.iter().any(|process| process.alive()) {
        std::thread::yield_now();
    }
    assert_eq!(ask(&server, "one", 2), "restored");
    assert_eq!(ask(&server, "one", 3), "restored");
    assert!(server.staging().is_empty() && server.quarantined().is_empty());
}
