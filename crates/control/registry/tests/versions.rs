//! Versions and aliases on disk: what was published survives, and its code with it.

mod zips;

use bytes::Bytes;
use control_registry::{AliasError, Config, FindError, Registry};
use proto_lambda::{
    CreateAliasRequest, CreateFunctionRequest, FunctionCode, FunctionRef, PublishVersionRequest,
    UpdateFunctionCodeRequest, Zip, limits,
};
use serde_json::json;
use zips::{text_in, zip_with};

fn named(name: &str) -> FunctionRef {
    FunctionRef::parse(name, limits::NAMESPACED_NAME_CHARS).unwrap()
}

fn code(content: &str) -> FunctionCode {
    FunctionCode {
        zip_file: Some(Zip(Bytes::from(zip_with("app.py", content)))),
        ..FunctionCode::default()
    }
}

fn request(name: &str, content: &str) -> CreateFunctionRequest {
    let body = json!({
        "FunctionName": name, "Role": "arn:aws:iam::123456789012:role/r", "Publish": true,
        "Runtime": "python3.11", "Handler": "app.handler", "Tags": {"team": "a"},
    });
    CreateFunctionRequest {
        code: Some(code(content)),
        ..serde_json::from_value(body).unwrap()
    }
}

fn alias(json: serde_json::Value) -> CreateAliasRequest {
    serde_json::from_value(json).unwrap()
}

/// The code of a version as an instance would see it.
fn content(registry: &Registry, name: &str) -> String {
    let function = registry.find(&named(name)).unwrap();
    text_in(function.code.archive(), "app.py")
}

#[tokio::test]
async fn versions_and_aliases_survive_a_restart_and_keep_their_code() {
    let directory = tempfile::tempdir().unwrap();
    let registry = Registry::open(Config::new(directory.path())).await.unwrap();
    let _ = registry.create(request("f", "one")).await.unwrap();
    let update = UpdateFunctionCodeRequest {
        code: code("two"),
        ..Default::default()
    };
    let (_, retired) = registry.update_code(&named("f"), update).await.unwrap();
    registry.collect(retired.unwrap()).await;
    let split = json!({
        "Name": "live", "FunctionVersion": "1", "RoutingConfig": {"AdditionalVersionWeights": {"2": 0.5}},
    });
    let missing = registry
        .create_alias(&named("f"), alias(split.clone()))
        .await;
    let arn = |error| match error {
        AliasError::Find(FindError::NotFound { arn }) => arn,
        other => panic!("{other:?}"),
    };
    assert!(arn(missing.unwrap_err()).ends_with(":function:f:2"));
    let _ = registry
        .publish_version(&named("f"), PublishVersionRequest::default())
        .await
        .unwrap();
    let made = registry
        .create_alias(&named("f"), alias(split))
        .await
        .unwrap();
    let before = registry.find(&named("f:1")).unwrap().record.clone();
    assert!(before.tags.is_empty());
    drop(registry);

    let registry = Registry::open(Config::new(directory.path())).await.unwrap();
    assert_eq!(registry.find(&named("f:1")).unwrap().record, before);
    assert_eq!(content(&registry, "f:1"), "one");
    assert_eq!(content(&registry, "f:2"), "two");
    assert_eq!(registry.alias(&named("f"), "live").unwrap(), made);
    let served = |chance| {
        let draw = control_registry::Draw::Chance(chance);
        let function = registry.route(&named("f:live"), draw).unwrap();
        function.spec.version.clone()
    };
    assert_eq!((served(0.0), served(0.5)), ("2".to_owned(), "1".to_owned()));
    // Numbers are never used twice.
    let again = registry
        .publish_version(&named("f"), PublishVersionRequest::default())
        .await
        .unwrap();
    assert_eq!(again.version, "2", "nothing has changed");

    let retired = registry.delete(&named("f")).await.unwrap();
    assert_eq!(retired.len(), 3);
    for revision in retired {
        registry.collect(revision).await;
    }
    let archives = directory.path().join("code/archives");
    assert_eq!(std::fs::read_dir(archives).unwrap().count(), 0);
    drop(registry);
    let registry = Registry::open(Config::new(directory.path())).await.unwrap();
    let _ = registry.create(request("f", "new")).await.unwrap();
    assert!(registry.find(&named("f:2")).is_err());
    assert!(registry.alias(&named("f"), "live").is_err());
}

#[tokio::test]
async fn a_number_is_not_given_again_after_its_version_is_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let registry = Registry::open(Config::new(directory.path())).await.unwrap();
    let _ = registry.create(request("f", "one")).await.unwrap();
    let deleted = registry.delete(&named("f:1")).await.unwrap();
    assert_eq!(deleted.len(), 1);
    assert!(registry.delete(&named("f:1")).await.unwrap().is_empty());
    let published = registry
        .publish_version(&named("f"), PublishVersionRequest::default())
        .await
        .unwrap();
    assert_eq!(published.version, "2");
    assert_eq!(registry.account_settings(1).account_usage.function_count, 1);
}

#[tokio::test]
async fn a_database_from_before_versions_is_brought_up_to_date() {
    let directory = tempfile::tempdir().unwrap();
    let registry = Registry::open(Config::new(directory.path())).await.unwrap();
    let mut plain = request("old", "one");
    plain.publish = None;
    let _ = registry.create(plain).await.unwrap();
    drop(registry);
    let database = rusqlite::Connection::open(directory.path().join("registry.sqlite")).unwrap();
    database
        .execute_batch(
            "DROP TABLE version; DROP TABLE alias; PRAGMA user_version = 1;
             UPDATE function SET record = json_remove(record, '$.last_version');",
        )
        .unwrap();
    drop(database);
    let registry = Registry::open(Config::new(directory.path())).await.unwrap();
    let published = registry
        .publish_version(&named("old"), PublishVersionRequest::default())
        .await
        .unwrap();
    assert_eq!(published.version, "1");
    assert_eq!(content(&registry, "old:1"), "one");
}
