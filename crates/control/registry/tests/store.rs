//! What every store must do, whatever keeps the records. A new backend is one more `#[tokio::test]` at the end.

use std::{path::Path, sync::Arc};

use control_registry::{AliasRecord, FunctionRecord, SqliteStore, Store, StoreError};
use serde_json::json;

/// Opens the store that keeps its data in a directory.
type Open = fn(&Path) -> Result<Arc<dyn Store>, StoreError>;

fn record(name: &str, revision_id: &str, version: Option<u64>) -> FunctionRecord {
    let record = json!({
        "record_version": 1, "name": name, "version": version, "role": "r", "runtime": "python3.11",
        "handler": "app.handler", "description": "ü\n\"'; --", "timeout": 3, "memory_mb": 128,
        "ephemeral_storage_mb": 512, "environment": {"A": "b"}, "tracing_mode": "PassThrough",
        "snap_start_apply_on": "None", "logging": {}, "tags": {}, "code_sha256": "00", "code_size": 1,
        "revision_id": revision_id, "revision": revision_id, "last_modified_ms": 1,
    });
    serde_json::from_value(record).unwrap()
}

fn alias(name: &str, version: u64) -> AliasRecord {
    AliasRecord {
        function: "f".to_owned(),
        name: name.to_owned(),
        version: Some(version),
        description: String::new(),
        additional: Some((1, 0.25)),
        revision_id: "r".to_owned(),
    }
}

/// Names with revision ids, versions, and aliases with versions, in the order in which they are loaded.
async fn content(store: &dyn Store) -> (Vec<String>, Vec<String>, Vec<String>) {
    let stored = store.load().await.unwrap();
    let functions = stored.functions.iter();
    let versions = stored.versions.iter();
    let aliases = stored.aliases.iter();
    (
        functions
            .map(|one| format!("{} {}", one.name, one.revision_id))
            .collect(),
        versions
            .map(|one| format!("{} {}", one.name, one.version_text()))
            .collect(),
        aliases
            .map(|one| format!("{} {}", one.name, one.version.unwrap()))
            .collect(),
    )
}

async fn suite(open: Open) {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).unwrap();
    assert_eq!(content(&*store).await, Default::default());
    functions_are_added_replaced_and_removed_once(&*store).await;
    versions_and_aliases_go_with_their_function(&*store).await;
    nothing_is_half_done(&*store).await;
    what_was_acknowledged_is_there_after_opening_again(open, store, directory.path()).await;
}

async fn functions_are_added_replaced_and_removed_once(store: &dyn Store) {
    let changed = |result| matches!(result, Err(StoreError::Changed));
    let first = record("f", "1", None);
    store.insert(first.clone(), None).await.unwrap();
    assert_eq!(store.load().await.unwrap().functions, [first]);
    let again = store.insert(record("f", "2", None), None).await;
    assert!(matches!(again, Err(StoreError::Exists)));
    let second = || record("f", "2", None);
    assert!(changed(store.replace(second(), "0".into(), None).await));
    store.replace(second(), "1".into(), None).await.unwrap();
    assert!(changed(store.replace(second(), "1".into(), None).await));
    assert!(changed(store.remove("f".into(), "1".into()).await));
    assert!(changed(store.remove("g".into(), "2".into()).await));
    assert_eq!(content(store).await.0, ["f 2"]);
    store.remove("f".into(), "2".into()).await.unwrap();
    assert!(changed(store.remove("f".into(), "2".into()).await));
    assert_eq!(content(store).await, Default::default());
}

async fn versions_and_aliases_go_with_their_function(store: &dyn Store) {
    let version = |number| Some(record("f", "v", Some(number)));
    let latest = |id: &str| record("f", id, None);
    store.insert(latest("1"), version(1)).await.unwrap();
    store.insert(record("e", "1", None), None).await.unwrap();
    let replacing = store.replace(latest("2"), "1".into(), version(10));
    replacing.await.unwrap();
    let replacing = store.replace(latest("3"), "2".into(), version(9));
    replacing.await.unwrap();
    for (name, number) in [("z", 1), ("a", 1), ("z", 9)] {
        store.put_alias(alias(name, number)).await.unwrap();
    }
    let all = content(store).await;
    assert_eq!(all.0, ["e 1", "f 3"]);
    assert_eq!(all.1, ["f 1", "f 9", "f 10"], "by number");
    assert_eq!(all.2, ["a 1", "z 9"]);
    assert_eq!(store.load().await.unwrap().aliases[1], alias("z", 9));
    store.remove_version("f".into(), 9).await.unwrap();
    let gone = store.remove_version("f".into(), 9).await;
    assert!(matches!(gone, Err(StoreError::Changed)));
    store.remove_alias("f".into(), "a".into()).await.unwrap();
    store.remove_alias("f".into(), "a".into()).await.unwrap();
    let all = content(store).await;
    assert_eq!(
        (all.1, all.2),
        (vec!["f 1".into(), "f 10".into()], vec!["z 9".into()])
    );
    store.remove("f".into(), "3".into()).await.unwrap();
    store.remove("e".into(), "1".into()).await.unwrap();
    assert_eq!(content(store).await, Default::default());
}

async fn nothing_is_half_done(store: &dyn Store) {
    let version = || Some(record("f", "v", Some(1)));
    let latest = |id: &str| record("f", id, None);
    store.insert(latest("1"), version()).await.unwrap();
    // A number that is taken: neither the version nor the function with it.
    let refused = store.replace(latest("2"), "1".into(), version()).await;
    assert!(refused.is_err());
    let refused = store
        .insert(latest("3"), Some(record("f", "v", Some(2))))
        .await;
    assert!(matches!(refused, Err(StoreError::Exists)));
    let all = content(store).await;
    assert_eq!(
        (all.0, all.1),
        (vec!["f 1".to_owned()], vec!["f 1".to_owned()])
    );
}

async fn what_was_acknowledged_is_there_after_opening_again(
    open: Open,
    store: Arc<dyn Store>,
    directory: &Path,
) {
    store.put_alias(alias("live", 1)).await.unwrap();
    let before = content(&*store).await;
    assert!(matches!(open(directory), Err(StoreError::Locked)));
    drop(store);
    let store = open(directory).unwrap();
    assert_eq!(content(&*store).await, before);
}

#[tokio::test]
async fn sqlite_does_what_every_store_must() {
    suite(|directory| {
        let store = SqliteStore::open(&directory.join("registry.sqlite"))?;
        Ok(Arc::new(store))
    })
    .await;
}
