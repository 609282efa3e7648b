//! `rekindle snapshot` on a store that was filled by hand.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};

use node_snapshots::{About, Config, CpuFeatures, KeyParts, SnapshotKey, Store};
use serde_json::Value;

fn rekindle(data: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rekindle"))
        .arg("snapshot")
        .args(arguments)
        .arg("--data")
        .arg(data)
        .env_remove("REKINDLE_DATA")
        .output()
        .unwrap()
}

fn told(output: &Output) -> (bool, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (
        output.status.success(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

fn make(data: &Path, function: &str, cpu: &str) -> SnapshotKey {
    let store = Store::open(Config::new(data.join("node/snapshots"))).unwrap();
    let parts = KeyParts {
        subject: function.into(),
        code: String::new(),
        program: vec!["/usr/bin/python3".into()],
        sandbox: String::new(),
        images: Vec::new(),
        state_version: 1,
        cpu: cpu.into(),
    };
    let mut pending = store.begin(parts).unwrap();
    pending
        .create("memory")
        .unwrap()
        .write_all(&[7; 5000])
        .unwrap();
    let about = About {
        function: function.into(),
        version: "3".into(),
        runtime: "python3.11".into(),
        created_ms: 1,
        capture_us: 1500,
    };
    pending.commit(about).unwrap()
}

#[test]
fn snapshots_are_listed_told_about_checked_and_deleted() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path();
    let here = CpuFeatures::of_this_machine().unwrap().to_text();
    let hello = make(data, "hello", &here);
    let foreign = make(data, "foreign", &format!("{here} no_such_feature"));
    let (good, table, _) = told(&rekindle(data, &["ls"]));
    assert!(good && table.starts_with("key "), "{table}");
    assert_eq!(table.lines().count(), 3);
    let row = table.lines().find(|line| line.contains("hello")).unwrap();
    for part in [&hello.as_str()[..12], "3", "python3.11", "ready"] {
        assert!(row.contains(part), "{row}");
    }
    let (_, json, _) = told(&rekindle(data, &["ls", "-o", "json"]));
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 2);
    assert!(
        json.as_array()
            .unwrap()
            .iter()
            .any(|one| one["key"] == hello.as_str())
    );

    let (good, text, _) = told(&rekindle(data, &["inspect", &hello.as_str()[..10]]));
    assert!(
        good && text.contains("hello:3") && text.contains("has all that it needs"),
        "{text}"
    );
    assert!(
        text.contains("1.5 ms") && text.contains("file memory"),
        "{text}"
    );
    let (_, text, _) = told(&rekindle(data, &["inspect", foreign.as_str()]));
    assert!(text.contains("lacks no_such_feature"), "{text}");

    let (good, text, _) = told(&rekindle(data, &["verify"]));
    assert!(good && text.matches("whole").count() == 2, "{text}");
    let memory = data.join(format!("node/snapshots/ready/{hello}/memory"));
    std::fs::write(&memory, [8; 5000]).unwrap();
    let (good, text, errors) = told(&rekindle(data, &["verify", hello.as_str()]));
    assert!(
        !good && text.contains("the content of memory is not what was written"),
        "{text}"
    );
    assert!(errors.contains("1 of the snapshots"), "{errors}");
    let (_, json, _) = told(&rekindle(data, &["verify", "-o", "json"]));
    let json: Value = serde_json::from_str(&json).unwrap();
    let faults = json
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| !one["fault"].is_null());
    assert_eq!(faults.count(), 1);

    let (good, text, _) = told(&rekindle(data, &["rm", hello.as_str()]));
    assert!(
        good && text.starts_with(&format!("deleted {}", &hello.as_str()[..12])),
        "{text}"
    );
    assert!(!memory.exists());
    let (good, _, errors) = told(&rekindle(data, &["rm", hello.as_str()]));
    assert!(
        !good && errors.contains("no snapshot has a key"),
        "{errors}"
    );
    let (good, _, errors) = told(&rekindle(data, &["inspect", ""]));
    assert!(!good && errors.contains("give more digits"), "{errors}");
}

#[test]
fn a_directory_without_snapshots_is_no_error_to_list() {
    let place = tempfile::tempdir().unwrap();
    let (good, text, _) = told(&rekindle(place.path(), &["ls"]));
    assert!(good && text == "no snapshots\n", "{text}");
    let (_, json, _) = told(&rekindle(place.path(), &["ls", "-o", "json"]));
    assert_eq!(
        serde_json::from_str::<Value>(&json).unwrap(),
        serde_json::json!([])
    );
    let (good, _, errors) = told(&rekindle(place.path(), &["inspect", "abc"]));
    assert!(
        !good && errors.contains("there are no snapshots in"),
        "{errors}"
    );
    assert_eq!(
        std::fs::read_dir(place.path()).unwrap().count(),
        0,
        "looking makes nothing"
    );
}
