//! Code in a node's own directory: whole or not there.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;

use bytes::Bytes;
use node_code::CodeStore;
use proto_node::{Body, BodyBroken, CodeError, CodeRef, Revision};
use sha2::{Digest, Sha256};
use zip::{ZipWriter, write::SimpleFileOptions};

fn zip_with(text: &str) -> (CodeRef, Bytes) {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    writer
        .start_file("app.py", SimpleFileOptions::default())
        .unwrap();
    writer.write_all(text.as_bytes()).unwrap();
    named(writer.finish().unwrap().into_inner())
}

fn named(zip: Vec<u8>) -> (CodeRef, Bytes) {
    let digest = Sha256::digest(&zip);
    let code = CodeRef {
        sha256: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        bytes: zip.len() as u64,
    };
    (code, Bytes::from(zip))
}

fn entries(path: &Path) -> usize {
    fs::read_dir(path).unwrap().count()
}

#[tokio::test]
async fn code_is_there_when_it_was_put_and_after_a_restart() {
    let place = tempfile::tempdir().unwrap();
    let store = CodeStore::open(place.path()).unwrap();
    let (code, zip) = zip_with("one");
    assert!(!store.has(&code));
    store.put(&code, Body::whole(zip.clone())).await.unwrap();
    store.put(&code, Body::whole(zip.clone())).await.unwrap();
    let text = || fs::read_to_string(store.tree(&code).join("app.py")).unwrap();
    assert!(store.has(&code) && text() == "one");
    let again = CodeStore::open(place.path()).unwrap();
    assert!(again.has(&code));
    // Made in another boot, it may have lost bytes.
    fs::write(store.tree(&code).with_extension("boot"), "another").unwrap();
    fs::write(store.tree(&code).join("app.py"), "").unwrap();
    let after = CodeStore::open(place.path()).unwrap();
    assert!(!after.has(&code));
    after.put(&code, Body::whole(zip)).await.unwrap();
    assert!(after.has(&code) && text() == "one");
}

#[tokio::test]
async fn what_is_not_what_it_is_called_is_refused_and_leaves_nothing() {
    let place = tempfile::tempdir().unwrap();
    let store = CodeStore::open(place.path()).unwrap();
    let (code, zip) = zip_with("one");
    let mut other = zip.to_vec();
    other[40] ^= 1;
    let longer = [&zip[..], b"x"].concat();
    for wrong in [other, longer, zip[1..].to_vec(), Vec::new()] {
        let put = store.put(&code, Body::whole(wrong.into())).await;
        assert_eq!(put, Err(CodeError::Differs));
    }
    let (writer, body) = Body::pipe(1);
    drop(writer);
    let broken = store.put(&code, body).await;
    assert_eq!(broken, Err(CodeError::Broken(BodyBroken::Gone)));
    let (text, bytes) = named(b"no zip".to_vec());
    let refused = store.put(&text, Body::whole(bytes)).await;
    assert!(matches!(refused, Err(CodeError::Refused(_))), "{refused:?}");
    for sha256 in ["../../etc", "", &"A".repeat(64)] {
        let odd = CodeRef {
            sha256: sha256.to_owned(),
            bytes: 1,
        };
        assert_eq!(
            store.put(&odd, Body::empty()).await,
            Err(CodeError::Differs)
        );
        assert!(!store.has(&odd));
        store.remove(&odd);
    }
    assert_eq!(entries(&place.path().join("trees")), 0);
    assert_eq!(entries(&place.path().join("staging")), 0);
    assert!(!store.has(&code));
}

#[tokio::test]
async fn code_goes_with_its_last_user() {
    let place = tempfile::tempdir().unwrap();
    let store = CodeStore::open(place.path()).unwrap();
    let (one, zip_one) = zip_with("one");
    let (two, zip_two) = zip_with("two");
    store.put(&one, Body::whole(zip_one)).await.unwrap();
    store.put(&two, Body::whole(zip_two)).await.unwrap();
    let revision = Revision("r".into());
    assert!(store.use_by(&one, &revision));
    store.remove(&one);
    assert!(store.tree(&one).is_dir(), "it is used");
    store.forget(&revision);
    assert!(!store.tree(&one).exists() && !store.use_by(&one, &revision));
    store.keep_only(&BTreeSet::from([two.clone()]));
    assert!(store.has(&two));
    store.keep_only(&BTreeSet::new());
    assert!(!store.has(&two));
    assert_eq!(entries(&place.path().join("trees")), 0);
    assert_eq!(entries(&place.path().join("staging")), 0);
}

/// What a process leaves that was killed between any two steps.
#[tokio::test]
async fn half_made_trees_do_not_count() {
    let place = tempfile::tempdir().unwrap();
    let (code, zip) = zip_with("one");
    let half = place.path().join("trees").join(&code.sha256);
    fs::create_dir_all(&half).unwrap();
    fs::create_dir_all(place.path().join("staging/x")).unwrap();
    for mark in [None, Some(""), Some("part of the boot id")] {
        if let Some(mark) = mark {
            fs::write(half.with_extension("boot"), mark).unwrap();
        }
        let store = CodeStore::open(place.path()).unwrap();
        assert_eq!(entries(&place.path().join("staging")), 0);
        assert!(!store.has(&code) && !store.use_by(&code, &Revision("r".into())));
    }
    let store = CodeStore::open(place.path()).unwrap();
    store.put(&code, Body::whole(zip)).await.unwrap();
    assert!(half.join("app.py").is_file());
}
