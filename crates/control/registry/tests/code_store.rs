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
