//! The life of snapshots: made, found, replaced, evicted, quarantined, and never half there.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use node_snapshots::{
    About, Config, KeyError, KeyParts, ListedStatus, Opened, Scanner, SnapshotKey, SnapshotState,
    Store, StoreError, StoreView, Unusable,
};

fn parts(subject: &str) -> KeyParts {
    KeyParts {
        subject: subject.into(),
        code: "c0de".into(),
        program: vec!["/usr/bin/python3".into()],
        sandbox: String::new(),
        images: Vec::new(),
        state_version: 1,
        cpu: "sse2".into(),
    }
}

fn about(function: &str) -> About {
    About {
        function: function.into(),
        version: "1".into(),
        runtime: "python3.11".into(),
        created_ms: 1,
        capture_us: 2,
    }
}

fn open(directory: &Path) -> Arc<Store> {
    Store::open(Config::new(directory)).unwrap()
}

/// Makes a snapshot of two files.
fn make(store: &Arc<Store>, subject: &str, memory: &[u8]) -> SnapshotKey {
    let mut pending = store.begin(parts(subject)).unwrap();
    pending
        .create("state")
        .unwrap()
        .write_all(b"state")
        .unwrap();
    pending.create("memory").unwrap().write_all(memory).unwrap();
    pending.commit(about(subject)).unwrap()
}

fn memory(opened: &Opened) -> Vec<u8> {
    let length = usize::try_from(opened.manifest.files[1].bytes).unwrap();
    let mut bytes = vec![0; length];
    opened.files[1].read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// Every file below a directory, by name.
fn files(directory: &Path) -> Vec<String> {
    let mut all = Vec::new();
    let mut left = vec![directory.to_owned()];
    while let Some(path) = left.pop() {
        for entry in fs::read_dir(path).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                left.push(path);
            } else {
                all.push(path.strip_prefix(directory).unwrap().display().to_string());
            }
        }
    }
    all.sort();
    all
}

#[test]
fn what_was_committed_is_there_after_a_restart_and_nothing_else_is() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let key = make(&store, "a", b"memory of a");
    let given_up = store.begin(parts("b")).unwrap();
    assert_eq!(store.state(given_up.key()), SnapshotState::Pending);
    let mut left_behind = store.begin(parts("c")).unwrap();
    left_behind
        .create("memory")
        .unwrap()
        .write_all(b"x")
        .unwrap();
    assert!(matches!(store.begin(parts("c")), Err(StoreError::Pending)));
    drop(given_up);
    assert_eq!(store.state(&parts("b").key()), SnapshotState::Absent);
    // As a killed process would leave it.
    std::mem::forget(left_behind);
    assert!(matches!(
        Store::open(Config::new(directory.path())),
        Err(StoreError::Locked(_))
    ));
    // The pending one holds the store; a new process would not have it.
    let lost = tempfile::tempdir().unwrap();
    copy(directory.path(), lost.path());
    let store = open(lost.path());
    assert_eq!(store.ready(), std::slice::from_ref(&key));
    assert_eq!(memory(&store.open_snapshot(&key).unwrap()), b"memory of a");
    let expected = [
        "key",
        "lock",
        &format!("ready/{key}/.used"),
        &format!("ready/{key}/manifest.json"),
        &format!("ready/{key}/memory"),
        &format!("ready/{key}/state"),
    ];
    assert_eq!(files(lost.path()), expected);
    for name in &expected[..1] {
        let mode = fs::metadata(lost.path().join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let mode = fs::metadata(lost.path().join(expected[4]))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_snapshot_that_is_there_is_not_made_again_and_may_go_under_those_who_restore() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let key = make(&store, "a", b"first");
    let old = store.open_snapshot(&key).unwrap();
    // One who looked before the first was there comes too late.
    assert!(matches!(store.begin(parts("a")), Err(StoreError::Ready)));
    assert_eq!(store.state(&key), SnapshotState::Ready);
    store.remove(&key);
    assert_eq!(make(&store, "a", b"second"), key);
    assert_eq!(memory(&old), b"first");
    assert_eq!(memory(&store.open_snapshot(&key).unwrap()), b"second");
    store.remove(&key);
    assert_eq!(memory(&old), b"first");
    assert!(matches!(store.open_snapshot(&key), Err(Unusable::Absent)));
    assert_eq!(files(directory.path()), ["key", "lock"]);
}

#[test]
fn what_was_edited_swapped_or_cut_short_goes_to_quarantine() {
    let directory = tempfile::tempdir().unwrap();
    type Hurt<'a> = &'a dyn Fn(&Path, &Path);
    let damage: [(&str, Hurt<'_>); 6] = [
        (
            "the content of memory is not what was written",
            &|path, _| {
                let file = fs::File::options()
                    .write(true)
                    .open(path.join("memory"))
                    .unwrap();
                file.write_all_at(b"X", 3).unwrap();
            },
        ),
        ("memory has 2 bytes and should have 6", &|path, _| {
            fs::File::options()
                .write(true)
                .open(path.join("memory"))
                .unwrap()
                .set_len(2)
                .unwrap();
        }),
        ("cannot read memory", &|path, _| {
            fs::remove_file(path.join("memory")).unwrap()
        }),
        ("cannot read memory", &|path, _| {
            fs::remove_file(path.join("memory")).unwrap();
            std::os::unix::fs::symlink("/etc/passwd", path.join("memory")).unwrap();
        }),
        (
            "the content of memory is not what was written",
            &|path, other| {
                // Of another snapshot of the same service, and of the same length.
                fs::copy(other.join("memory"), path.join("memory")).unwrap();
            },
        ),
        (
            "the content of state is not what was written",
            &|path, _| {
                fs::write(path.join("state"), "STATE").unwrap();
            },
        ),
    ];
    for (number, (reason, hurt)) in damage.into_iter().enumerate() {
        let path = directory.path().join(number.to_string());
        let store = open(&path);
        let key = make(&store, "a", b"memory");
        let other = make(&store, "b", b"MEMORY");
        // Checked once already: a later change must be noticed all the same.
        store.open_snapshot(&key).unwrap();
        let ready = path.join("ready");
        hurt(&ready.join(key.as_str()), &ready.join(other.as_str()));
        match store.open_snapshot(&key) {
            Err(Unusable::Quarantined(told)) => assert_eq!(told, reason),
            // Removed files were open: what was checked is still whole, unless it is looked at anew.
            Ok(opened) => assert_eq!(memory(&opened), b"memory"),
            Err(Unusable::Absent) => {}
            Err(Unusable::Io(error)) => panic!("{error}"),
        }
        drop(store);
        // And so it is after a restart.
        let store = open(&path);
        match store.open_snapshot(&key) {
            Err(Unusable::Quarantined(told)) => assert_eq!(told, reason),
            Err(Unusable::Absent) => {
                assert_eq!(store.state(&key), SnapshotState::Quarantined(reason.into()))
            }
            Err(Unusable::Io(error)) => panic!("{error}"),
            Ok(_) => panic!("{reason}: it was handed out"),
        }
        assert_eq!(memory(&store.open_snapshot(&other).unwrap()), b"MEMORY");
    }
}

#[test]
fn a_manifest_that_was_forged_or_moved_is_not_believed() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let (a, b) = (make(&store, "a", b"aa"), make(&store, "b", b"bb"));
    drop(store);
    let ready = directory.path().join("ready");
    let manifest = ready.join(a.as_str()).join("manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("python3.11", "python3.99")).unwrap();
    // A whole snapshot under another's name.
    let c = parts("c").key();
    fs::rename(ready.join(b.as_str()), ready.join(c.as_str())).unwrap();
    let store = open(directory.path());
    let reason = "the manifest was not written by this service, or was changed since";
    assert_eq!(store.state(&a), SnapshotState::Quarantined(reason.into()));
    let reason = "the manifest belongs to another snapshot";
    assert_eq!(store.state(&c), SnapshotState::Quarantined(reason.into()));
    assert!(store.ready().is_empty());
    // A good one makes the bad one forgotten.
    make(&store, "a", b"aa");
    assert_eq!(store.state(&a), SnapshotState::Ready);
}

#[test]
fn a_snapshot_of_another_service_is_refused() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let key = make(&open(theirs.path()), "a", b"memory");
    drop(open(ours.path()));
    let place = format!("ready/{key}");
    fs::create_dir(ours.path().join(&place)).unwrap();
    copy(&theirs.path().join(&place), &ours.path().join(&place));
    assert!(matches!(
        open(ours.path()).state(&key),
        SnapshotState::Quarantined(_)
    ));
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()));
    let key = directory.path().join("key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    let refused = Store::open(Config::new(directory.path())).unwrap_err();
    assert!(matches!(
        refused,
        StoreError::Key(KeyError::Exposed { mode: 0o640, .. })
    ));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&key, "short").unwrap();
    let refused = Store::open(Config::new(directory.path())).unwrap_err();
    assert!(matches!(refused, StoreError::Key(KeyError::Damaged(_))));
}

#[test]
fn the_budget_is_kept_by_what_was_not_used_for_longest() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config {
        budget_bytes: 3000,
        quarantined: 2,
        ..Config::new(directory.path())
    };
    let store = Store::open(config).unwrap();
    let keys: Vec<_> = ["a", "b", "c"]
        .map(|name| make(&store, name, &[b'x'; 900]))
        .into();
    // Time passes in milliseconds: `a` is used in a later one than the others were made.
    let before = std::time::SystemTime::now();
    while before.elapsed().unwrap().as_millis() < 2 {}
    store.open_snapshot(&keys[0]).unwrap();
    let d = make(&store, "d", &[b'x'; 900]);
    assert_eq!(store.state(&keys[1]), SnapshotState::Absent);
    assert_eq!(store.ready().len(), 3);
    assert!(
        [&keys[0], &keys[2], &d]
            .iter()
            .all(|key| store.state(key) == SnapshotState::Ready)
    );
    let mut large = store.begin(parts("large")).unwrap();
    large
        .create("memory")
        .unwrap()
        .write_all(&[0; 4000])
        .unwrap();
    assert!(matches!(
        large.commit(about("large")),
        Err(StoreError::NoRoom(_))
    ));
    assert_eq!(store.ready().len(), 3);
    // Quarantine is bounded and goes before what is of use.
    for key in [&keys[0], &keys[2], &d] {
        store.quarantine(key, "no good");
    }
    assert_eq!(
        fs::read_dir(directory.path().join("quarantine"))
            .unwrap()
            .count(),
        2
    );
    assert_eq!(
        store.state(&d),
        SnapshotState::Quarantined("no good".into())
    );
    make(&store, "e", &[b'x'; 2900]);
    assert_eq!(
        fs::read_dir(directory.path().join("quarantine"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn a_secret_in_the_image_is_found_before_the_commit() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let mut pending = store.begin(parts("a")).unwrap();
    pending
        .create("state")
        .unwrap()
        .write_all(b"state")
        .unwrap();
    let mut image = vec![0; 3 << 20];
    image.extend(b"postgres://user:hunter2-hunter2@db/");
    pending.create("memory").unwrap().write_all(&image).unwrap();
    let scanner = Scanner::new([("DB_PASSWORD", "hunter2-hunter2")]).unwrap();
    let (file, finding) = pending.find_secret(&scanner).unwrap().unwrap();
    assert_eq!(
        (file.as_str(), finding.name.as_str()),
        ("memory", "DB_PASSWORD")
    );
    assert_eq!(finding.offset, (3 << 20) + 16);
    drop(pending);
    assert_eq!(files(directory.path()), ["key", "lock"]);
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let mut pending = store.begin(parts("a")).unwrap();
    for name in [
        "",
        "../x",
        "a/b",
        ".used",
        "manifest.json",
        "reason.json",
        "Ä",
    ] {
        assert!(
            matches!(pending.create(name), Err(StoreError::FileName(_))),
            "{name}"
        );
    }
    pending.create("memory").unwrap();
    assert!(pending.create("memory").is_err());
}

#[test]
fn somebody_else_may_look_and_delete_while_it_is_in_use() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let (a, b) = (make(&store, "a", b"aa"), make(&store, "b", b"bb"));
    store.open_snapshot(&a).unwrap();
    store.quarantine(&b, "no good");
    let view = StoreView::open(directory.path()).unwrap();
    let all = view.list();
    assert_eq!(all.len(), 2);
    assert_eq!((&all[0].key, &all[0].status), (&a, &ListedStatus::Ready));
    assert_eq!(all[0].manifest.as_ref().unwrap().about.function, "a");
    let reason = "no good".into();
    assert_eq!(
        (&all[1].key, &all[1].status),
        (&b, &ListedStatus::Quarantined { reason })
    );
    assert_eq!(view.find(&a.as_str()[..12]).len(), 1);
    assert_eq!(view.verify(&all[0]), None);
    let state = directory.path().join(format!("ready/{a}/state"));
    let text = fs::read_to_string(&state).unwrap();
    fs::write(&state, "STATE").unwrap();
    assert!(
        view.verify(&all[0])
            .unwrap()
            .contains("the content of state")
    );
    fs::write(&state, text).unwrap();
    view.remove(&all[0]).unwrap();
    assert!(matches!(store.open_snapshot(&a), Err(Unusable::Absent)));
    assert_eq!(store.state(&a), SnapshotState::Absent);
    let mut left = String::new();
    let quarantined = view.list().remove(0).directory.join("reason.json");
    fs::File::open(quarantined)
        .unwrap()
        .read_to_string(&mut left)
        .unwrap();
    assert!(left.contains("no good"));
}

/// Makes a snapshot that lies over another.
fn make_over(store: &Arc<Store>, subject: &str, base: &SnapshotKey, memory: &[u8]) -> SnapshotKey {
    let base = store.open_snapshot(base).unwrap();
    let mut pending = store.begin(parts(subject)).unwrap();
    pending.over(&base).unwrap();
    pending.create("memory").unwrap().write_all(memory).unwrap();
    pending.commit(about(subject)).unwrap()
}

fn contents(opened: &Opened) -> Vec<String> {
    let read = |file: &Arc<fs::File>| {
        let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        String::from_utf8(bytes).unwrap()
    };
    opened.files.iter().map(read).collect()
}

#[test]
fn a_snapshot_is_opened_with_those_that_it_lies_over_even_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let template = make(&store, "template", b"interpreter");
    let middle = make_over(&store, "middle", &template, b"modules");
    let top = make_over(&store, "top", &middle, b"function");
    let expected = ["function", "modules", "state", "interpreter"];
    assert_eq!(contents(&store.open_snapshot(&top).unwrap()), expected);
    drop(store);
    let store = open(directory.path());
    let opened = store.open_snapshot(&top).unwrap();
    assert_eq!(contents(&opened), expected);
    assert_eq!(opened.layers(), 3);
    let bases: Vec<_> = opened.bases.iter().map(|base| base.key.clone()).collect();
    assert_eq!(bases, [middle.clone(), template]);
    // As many as one restore may need, and no more.
    let last = make_over(&store, "last", &top, b"x");
    let mut pending = store.begin(parts("more")).unwrap();
    let refused = pending.over(&store.open_snapshot(&last).unwrap());
    assert!(matches!(refused, Err(StoreError::TooManyLayers)));
}

type Spoil = dyn Fn(&Arc<Store>, &Path, &SnapshotKey);

#[test]
fn without_what_it_lies_over_a_snapshot_goes_to_quarantine() {
    let spoil: [(&str, &Spoil); 3] = [
        ("is no good", &|_, directory, base| {
            let file = directory.join(format!("ready/{base}/memory"));
            fs::write(file, b"interpretex").unwrap();
        }),
        ("is no more", &|_, directory, base| {
            fs::remove_dir_all(directory.join(format!("ready/{base}"))).unwrap();
        }),
        ("was made anew", &|store, directory, base| {
            // By somebody else, so that what lies over it is not told.
            fs::remove_dir_all(directory.join(format!("ready/{base}"))).unwrap();
            assert!(matches!(store.open_snapshot(base), Err(Unusable::Absent)));
            make(store, "template", b"another interpreter");
        }),
    ];
    for (what, spoil) in spoil {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path());
        let base = make(&store, "template", b"interpreter");
        let top = make_over(&store, "top", &base, b"function");
        store.open_snapshot(&top).unwrap();
        spoil(&store, directory.path(), &base);
        match store.open_snapshot(&top) {
            Err(Unusable::Quarantined(reason)) => assert!(reason.contains(what), "{reason}"),
            other => panic!("{what}: {other:?}"),
        }
        assert!(
            matches!(store.state(&top), SnapshotState::Quarantined(_)),
            "{what}"
        );
        if what == "is no good" {
            assert!(matches!(store.state(&base), SnapshotState::Quarantined(_)));
        }
    }
}

#[test]
fn what_lies_over_a_snapshot_goes_before_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let base = make(&store, "template", b"interpreter");
    let (one, two) = (
        make_over(&store, "one", &base, b"1"),
        make_over(&store, "two", &base, b"2"),
    );
    let other = make(&store, "other", b"x");
    store.remove(&one);
    assert_eq!(store.state(&base), SnapshotState::Ready);
    store.remove(&base);
    assert_eq!(store.state(&two), SnapshotState::Absent);
    assert_eq!(store.ready(), std::slice::from_ref(&other));
    // Not put in place over what went away meanwhile.
    let base = make(&store, "template", b"interpreter");
    let mut pending = store.begin(parts("late")).unwrap();
    pending.over(&store.open_snapshot(&base).unwrap()).unwrap();
    pending.create("memory").unwrap().write_all(b"l").unwrap();
    store.remove(&base);
    let refused = pending.commit(about("late"));
    assert!(matches!(refused, Err(StoreError::BaseGone(gone)) if gone == base));
    // And the same for somebody else who looks.
    let base = make(&store, "template", b"interpreter");
    let top = make_over(&store, "top", &base, b"t");
    let view = StoreView::open(directory.path()).unwrap();
    let listed = |key: &SnapshotKey| view.find(key.as_str()).remove(0);
    assert_eq!(view.verify(&listed(&top)), None);
    fs::write(
        directory.path().join(format!("ready/{base}/manifest.json")),
        b"{}",
    )
    .unwrap();
    assert!(view.verify(&listed(&top)).is_some());
    view.remove(&listed(&base)).unwrap();
    assert!(view.find(top.as_str()).is_empty());
    assert!(matches!(store.open_snapshot(&top), Err(Unusable::Absent)));
}

#[test]
fn the_budget_takes_nothing_that_others_lie_over() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(Config {
        budget_bytes: 90,
        ..Config::new(directory.path())
    })
    .unwrap();
    let base = make(&store, "template", &[b't'; 35]);
    let one = make_over(&store, "one", &base, &[b'1'; 20]);
    let two = make_over(&store, "two", &base, &[b'2'; 40]);
    assert_eq!(store.state(&base), SnapshotState::Ready);
    assert_eq!(store.state(&one), SnapshotState::Absent);
    assert_eq!(store.state(&two), SnapshotState::Ready);
}

#[test]
fn what_clones_use_at_once_is_known_after_a_restart_and_goes_with_the_snapshot() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let key = make(&store, "a", b"memory");
    assert!(store.open_snapshot(&key).unwrap().hot.is_empty());
    store.learn(&key, &[1; 17]);
    store.learn(&key, &[2; 34]);
    // Too much of it, and of a snapshot that is none.
    store.learn(&key, &vec![3; (64 << 10) + 1]);
    store.learn(&parts("b").key(), &[4; 17]);
    assert_eq!(store.open_snapshot(&key).unwrap().hot[..], [2; 34]);
    assert_eq!(store.open_known(&key).unwrap().hot[..], [2; 34]);
    drop(store);
    let store = open(directory.path());
    let opened = store.open_snapshot(&key).unwrap();
    assert_eq!(opened.hot[..], [2; 34]);
    assert_eq!(memory(&opened), b"memory");
    store.remove(&key);
    assert_eq!(files(directory.path()), ["key", "lock"]);
    make(&store, "a", b"memory");
    assert!(store.open_snapshot(&key).unwrap().hot.is_empty());
}
