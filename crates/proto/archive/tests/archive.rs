//! Zips, good and bad.

mod zips;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use proptest::prelude::*;
use proto_archive::{MAX_ENTRIES, UnpackError, check, unpack};
use zips::{Entry, zip_of, zip_with};

fn file(content: &str, mode: u32) -> Entry {
    Entry::File(content.as_bytes().to_vec(), mode)
}

/// Who looks and who unpacks must be of one opinion.
fn refusal(zip: &[u8]) -> UnpackError {
    let place = tempfile::tempdir().unwrap();
    let checked = check(zip).unwrap_err();
    let unpacked = unpack(zip, &place.path().join("tree")).unwrap_err();
    assert_eq!(checked.to_string(), unpacked.to_string());
    checked
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn files_links_and_modes_come_out() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("tree");
    let zip = zip_of(&[
        ("bootstrap", file("#!/bin/sh\n", 0o700)),
        ("lib/data.txt", file("data", 0o600)),
        ("lib/set-id", file("x", 0o4711)),
        ("empty/", Entry::Directory),
        ("current", Entry::Link("lib/data.txt".into())),
    ]);
    check(&zip).unwrap();
    unpack(&zip, &root).unwrap();
    assert_eq!(mode(&root.join("bootstrap")), 0o755);
    assert_eq!(mode(&root.join("lib/data.txt")), 0o644);
    assert_eq!(
        mode(&root.join("lib/set-id")),
        0o755,
        "set-user-id bits are dropped"
    );
    assert_eq!(mode(&root.join("lib")), 0o755);
    assert!(root.join("empty").is_dir());
    assert_eq!(
        fs::read_link(root.join("current")).unwrap(),
        Path::new("lib/data.txt")
    );
    assert_eq!(fs::read_to_string(root.join("current")).unwrap(), "data");
}

#[test]
fn what_is_no_zip_is_refused() {
    for bytes in [
        &b""[..],
        b"hello",
        b"PK\x03\x04 and then nothing",
        &[0; 70_000],
    ] {
        assert!(
            matches!(refusal(bytes), UnpackError::NotZip),
            "{} bytes",
            bytes.len()
        );
    }
    let empty = zip_of(&[]);
    assert!(matches!(refusal(&empty), UnpackError::Empty));
    // A byte of the content differs from its checksum.
    let mut damaged = zip_with("a.txt", &"abc".repeat(100));
    damaged[40] ^= 0xff;
    assert!(matches!(refusal(&damaged), UnpackError::NotZip));
}

#[test]
fn a_bomb_is_refused_by_what_it_declares() {
    let zeros = vec![0; 64 << 20];
    let entries: Vec<_> = ["a", "b", "c", "d"]
        .into_iter()
        .map(|name| (name, Entry::File(zeros.clone(), 0o644)))
        .collect();
    let bomb = zip_of(&entries);
    assert!(bomb.len() < 2 << 20);
    let error = refusal(&bomb);
    assert_eq!(
        error.to_string(),
        "Unzipped size must be smaller than 262144000 bytes"
    );
}

#[test]
fn a_bomb_that_lies_about_its_size_is_refused() {
    let mut bomb = zip_of(&[("a", Entry::File(vec![0; 251 << 20], 0o644))]);
    // The uncompressed size is at 24 in the central header and at 22 in the local one (APPNOTE.TXT 4.3).
    let central = bomb
        .windows(4)
        .position(|window| window == b"PK\x01\x02")
        .unwrap();
    for at in [central + 24, 22] {
        bomb[at..at + 4].copy_from_slice(&10_u32.to_le_bytes());
    }
    assert!(matches!(
        refusal(&bomb),
        UnpackError::TooLarge | UnpackError::NotZip
    ));
}

#[test]
fn too_many_entries_are_refused() {
    let names: Vec<String> = (0..=MAX_ENTRIES).map(|i| i.to_string()).collect();
    let entries: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), Entry::File(Vec::new(), 0o644)))
        .collect();
    assert!(matches!(
        refusal(&zip_of(&entries)),
        UnpackError::TooManyEntries
    ));
}

/// The zip writer refuses to write some names, so they are patched in.
fn zip_with_raw_name(name: &str) -> Vec<u8> {
    let placeholder = "@".repeat(name.len());
    let mut zip = zip_with(&placeholder, "x");
    while let Some(at) = zip
        .windows(name.len())
        .position(|window| window == placeholder.as_bytes())
    {
        zip[at..at + name.len()].copy_from_slice(name.as_bytes());
    }
    zip
}

#[test]
fn names_that_leave_the_root_are_refused() {
    for name in ["../evil", "a/../../evil", "/etc/evil", "a/.."] {
        let error = refusal(&zip_with_raw_name(name));
        assert!(
            matches!(error, UnpackError::UnsafeName { .. }),
            "{name}: {error}"
        );
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn links_that_leave_the_root_are_refused() {
    for target in ["/etc/passwd", "../../outside", "..", "sub/../../x"] {
        let zip = zip_of(&[
            ("sub/file", file("x", 0o644)),
            ("link", Entry::Link(target.into())),
        ]);
        let error = refusal(&zip);
        assert!(
            matches!(error, UnpackError::UnsafeLink { .. }),
            "{target}: {error}"
        );
    }
    let through = zip_of(&[
        ("link", Entry::Link("sub".into())),
        ("link/file", file("x", 0o644)),
    ]);
    assert!(matches!(refusal(&through), UnpackError::Conflict { .. }));
}

/// Everything beneath `root`, links not followed.
fn walk(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![root.to_owned()];
    while let Some(directory) = todo.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                todo.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found
}

fn any_path() -> impl Strategy<Value = String> {
    proptest::collection::vec(
        prop_oneof![Just("a"), Just("b"), Just("c"), Just(".."), Just(".")],
        1..5,
    )
    .prop_map(|parts| parts.join("/"))
}

fn any_entry() -> impl Strategy<Value = (String, Entry)> {
    let kind = prop_oneof![
        any_path().prop_map(Entry::Link),
        Just(Entry::Directory),
        (proptest::collection::vec(any::<u8>(), 0..20), 0..0o7777_u32)
            .prop_map(|(content, mode)| Entry::File(content, mode)),
    ];
    (any_path(), kind)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_is_accepted_stays_inside(entries in proptest::collection::vec(any_entry(), 1..12)) {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("tree");
        fs::write(directory.path().join("secret"), "outside").unwrap();
        let mut named: Vec<(&str, Entry)> = Vec::new();
        for (name, entry) in &entries {
            // The writer refuses equal names.
            if !named.iter().any(|(other, _)| other.trim_end_matches('/') == name.trim_end_matches('/')) {
                named.push((name, entry.clone()));
            }
        }
        let zip = zip_of(&named);
        let unpacked = unpack(&zip, &root);
        prop_assert_eq!(unpacked.is_ok(), check(&zip).is_ok());
        if unpacked.is_ok() {
            let root = root.canonicalize().unwrap();
            for path in walk(&root) {
                prop_assert_eq!(mode(&path) & 0o7022 & !0o022, 0, "no special bits");
                if let Ok(real) = path.canonicalize() {
                    prop_assert!(real.starts_with(&root), "{} leads to {}", path.display(), real.display());
                }
            }
        }
        let others = fs::read_dir(directory.path()).unwrap().flatten();
        let others = others.filter(|entry| entry.file_name() != "tree");
        prop_assert_eq!(others.count(), 1);
    }

    #[test]
    fn no_bytes_make_unpacking_fall_over(
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let place = tempfile::tempdir().unwrap();
        let mut zip = zip_of(&[
            ("lib/x", Entry::File(b"some content".to_vec(), 0o755)),
            ("l", Entry::Link("lib/x".into())),
        ]);
        for (at, value) in flips {
            let at = at.index(zip.len());
            zip[at] = value;
        }
        prop_assert_eq!(check(&zip).is_ok(), unpack(&zip, &place.path().join("a")).is_ok());
        zip.truncate(cut.index(zip.len()));
        prop_assert_eq!(check(&zip).is_ok(), unpack(&zip, &place.path().join("b")).is_ok());
    }
}

#[test]
fn what_the_disk_has_no_room_for_is_not_begun() {
    let directory = tempfile::tempdir().unwrap();
    proto_archive::check_room(directory.path(), 0).unwrap();
    let refused = proto_archive::check_room(directory.path(), u64::MAX / 2);
    assert!(matches!(refused, Err(UnpackError::NoRoom { .. })));
}
