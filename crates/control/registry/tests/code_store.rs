//! Archives in the code store.

mod zips;

use std::fs;

use control_registry::{CodeError, CodeStore};
use zips::zip_with;

#[test]
fn equal_zips_are_stored_once_and_removed_with_their_last_holder() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("code");
    // What a version before this one unpacked.
    fs::create_dir_all(root.join("unpacked/old")).unwrap();
    let store = CodeStore::open(&root).unwrap();
    assert!(!root.join("unpacked").exists());
    let zip = zip_with("a.py", "1");
    let first = store.put(&zip).unwrap();
    let second = store.put(&zip).unwrap();
    assert_eq!(first.archive(), second.archive());
    drop(first);
    assert!(store.collect().is_empty());
    assert_eq!(fs::read(second.archive()).unwrap(), zip);
    let (path, code) = (second.archive().to_owned(), second.reference());
    drop(second);
    assert_eq!(store.collect(), [code]);
    assert!(!path.exists());
    let refused = store.put(b"no zip");
    assert!(matches!(refused, Err(CodeError::Unpack(_))), "{refused:?}");
    for name in ["archives", "staging"] {
        assert_eq!(fs::read_dir(root.join(name)).unwrap().count(), 0, "{name}");
    }
}

#[test]
fn what_a_zip_unpacks_to_counts_and_is_known_after_a_start() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("code");
    let zeros = |count: usize, name: &str| zip_with(name, &"0".repeat(count));
    let store = CodeStore::with_limit(&root, 3 << 20).unwrap();
    // A thousandth of it as a zip.
    let zip = zeros(2 << 20, "a");
    assert!(zip.len() < 10_000);
    let first = store.put(&zip).unwrap();
    assert_eq!(first.unpacked(), 2 << 20);
    let (sha256, size) = (first.sha256().to_owned(), first.size());
    for store in [
        store,
        CodeStore::with_limit(&root, 3 << 20).unwrap(),
        CodeStore::with_limit(&root, 3 << 20).unwrap(),
    ] {
        let known = store.restore(&sha256, size, None).unwrap();
        assert_eq!(known.unpacked(), 2 << 20);
        let full = store.put(&zeros(1 << 20, "b"));
        assert!(matches!(full, Err(CodeError::Full)), "{full:?}");
        store.put(&zeros(1 << 10, "c")).unwrap();
        assert!(store.put(&zip).is_ok(), "it is there");
    }
}
