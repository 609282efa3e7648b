//! Snapshots that are no good or not to be: every event is answered, and none is worked on twice.

mod counted;
mod watched;

use std::fs;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use counted::{LARGE, Place, ask, shell};
use node_snapshots::{Config, KeyParts, MANIFEST_VERSION, Manifest, SnapshotKey, Store};
use sandbox_snapshot::Facts;
use watched::Server;

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
            let version = |number| format!("\"version\": {number},");
            text.replace(&version(MANIFEST_VERSION), &version(MANIFEST_VERSION + 1))
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

/// Has the store, whose server is gone, take in a snapshot that is like this one but for what `change` does to what it
/// is made of and to what the sandbox noted in it: signed with the server's own key.
fn signed_anew(data: &Path, change: impl FnOnce(&mut KeyParts, &mut Facts)) -> SnapshotKey {
    let store = Store::open(Config::new(data.join("node/snapshots"))).unwrap();
    let key = store.ready().remove(0);
    let opened = store.open_snapshot(&key).unwrap();
    let Manifest {
        mut parts, about, ..
    } = (*opened.manifest).clone();
    let mut from: &fs::File = &opened.files[0];
    let mut sections = sandbox_snapshot::read(from).unwrap();
    change(&mut parts, &mut sections.facts);
    // Its files are open.
    store.remove(&parts.key());
    let mut pending = store.begin(parts).unwrap();
    let mut to = pending.create("snapshot").unwrap();
    from.seek(SeekFrom::Start(0)).unwrap();
    let pages = io::copy(&mut from, &mut to).unwrap();
    sandbox_snapshot::write(to, pages, &sections).unwrap();
    pending.commit(about).unwrap()
}

/// As it comes with a disk that is moved to another machine, or from a machine that was given another processor.
#[test]
fn a_snapshot_of_another_processor_is_removed_and_the_event_is_answered() {
    let place = Place::new();
    let server = Server::start(&place.data());
    server.deploy(&place.code("one", ""), &["--fresh"]);
    server.logged(&["snapshot ready"]);
    let mine = only(server.ready());
    let key = mine.file_name().unwrap().to_owned();
    // The registers of its threads are of a kind that this processor does not have.
    server.kill();
    let foreign = signed_anew(&place.data(), |_, facts| facts.xcr0 |= 1 << 62);
    assert_eq!(key, foreign.as_str());
    let server = Server::start(&place.data());
    assert_eq!(only(server.ready()), mine);
    assert_eq!(ask(&server, "one", 1), "cold");
    let reason = "it needs a processor with the state components 0x4";
    server.logged(&["WARN", "a restore was refused", reason]);
    server.logged(&["snapshot ready"]);
    assert_eq!(ask(&server, "one", 2), "restored");
    // Its programs may have found an instruction that programs do not find here.
    server.kill();
    signed_anew(&place.data(), |_, facts| {
        facts.processor.push("amx_next".to_owned())
    });
    let server = Server::start(&place.data());
    assert_eq!(ask(&server, "one", 3), "cold");
    let reason = "its programs may use amx_next, which guests do not have here";
    server.logged(&["WARN", "a restore was refused", reason]);
    server.logged(&["snapshot ready"]);
    assert_eq!(ask(&server, "one", 4), "restored");
    // What it is made of says that it was taken on a processor that offers programs more, or less, or by another build.
    let lacks = |parts: &mut KeyParts| {
        let (_, rest) = parts.cpu.split_once(' ').unwrap();
        parts.cpu = rest.to_owned();
    };
    type Change<'a> = (&'a str, &'a dyn Fn(&mut KeyParts));
    let changes: [Change; 3] = [
        ("this processor lacks amx_next", &|parts| {
            parts.cpu += " amx_next"
        }),
        ("this processor offers more", &lacks),
        ("another build", &|parts| {
            parts.sandbox.insert_str(0, "/usr/bin/other:1:2:3.4 ")
        }),
    ];
    let mut server = server;
    for (event, (reason, change)) in (5..).zip(changes) {
        server.kill();
        let foreign = signed_anew(&place.data(), |parts, _| change(parts));
        fs::remove_dir_all(&mine).unwrap();
        server = Server::start(&place.data());
        server.logged(&["WARN", "a snapshot does not fit", foreign.as_str(), reason]);
        // It is made anew without an event.
        server.logged(&["snapshot ready"]);
        assert_eq!(only(server.ready()), mine);
        assert_eq!(ask(&server, "one", event), "restored");
    }
    assert_eq!(server.quarantined(), Vec::<String>::new());
}
