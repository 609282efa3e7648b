//! Functions through the registry, without HTTP.

mod zips;

use bytes::Bytes;
use control_registry::{
    ChangeError, CodeError, Config, DeleteError, FindError, OpenError, Phase, Registry, StoreError,
};
use proto_lambda::{
    CreateFunctionRequest, FunctionCode, FunctionRef, FunctionState, LastUpdateStatus,
    TagResourceRequest, UpdateFunctionCodeRequest, UpdateFunctionConfigurationRequest, Zip, limits,
};
use serde_json::json;
use zips::{text_in, zip_with};

fn named(name: &str) -> FunctionRef {
    FunctionRef::parse(name, limits::NAMESPACED_NAME_CHARS).unwrap()
}

fn request(name: &str, content: &str) -> CreateFunctionRequest {
    let body = json!({
        "FunctionName": name, "Role": "arn:aws:iam::123456789012:role/r",
        "Runtime": "python3.11", "Handler": "app.handler", "Environment": {"Variables": {"KEY": "value"}},
    });
    let mut request: CreateFunctionRequest = serde_json::from_value(body).unwrap();
    let zip_file = Some(Zip(Bytes::from(zip_with("app.py", content))));
    request.code = Some(FunctionCode {
        zip_file,
        ..FunctionCode::default()
    });
    request
}

fn new_code(content: &str) -> UpdateFunctionCodeRequest {
    let zip_file = Some(Zip(Bytes::from(zip_with("app.py", content))));
    let code = FunctionCode {
        zip_file,
        ..FunctionCode::default()
    };
    UpdateFunctionCodeRequest {
        code,
        ..UpdateFunctionCodeRequest::default()
    }
}

async fn open() -> (tempfile::TempDir, Registry) {
    let directory = tempfile::tempdir().unwrap();
    let registry = Registry::open(Config::new(directory.path())).await.unwrap();
    (directory, registry)
}

#[tokio::test]
async fn a_function_is_pending_once_and_active_ever_after() {
    let (_directory, registry) = open().await;
    let created = registry.create(request("f", "1")).await.unwrap();
    assert_eq!(created.state, Some(FunctionState::Pending));
    assert_eq!(created.state_reason_code, Some("Creating"));
    assert_eq!(
        created.function_arn,
        "arn:aws:lambda:us-east-1:000000000000:function:f"
    );
    let function = registry.find(&named("f")).unwrap();
    let settled = function.configuration(None, Phase::Settled);
    assert_eq!(settled.state, Some(FunctionState::Active));
    assert_eq!(
        settled.last_update_status,
        Some(LastUpdateStatus::Successful)
    );
    assert_ne!(settled.revision_id, created.revision_id);
    let text = text_in(function.code.archive(), "app.py");
    assert_eq!(text, "1");
    assert_eq!(function.spec.environment["KEY"], "value");
}

#[tokio::test]
async fn names_are_taken_once_and_places_must_match() {
    let (_directory, registry) = open().await;
    let _ = registry.create(request("f", "1")).await.unwrap();
    let again = registry.create(request("f", "2")).await.unwrap_err();
    assert!(matches!(again, ChangeError::Exists(name) if name == "f"));
    let elsewhere = registry
        .find(&named("arn:aws:lambda:eu-west-1:000000000000:function:f"))
        .unwrap_err();
    let (wanted, ours) = ("eu-west-1".to_owned(), "us-east-1".to_owned());
    assert_eq!(elsewhere, FindError::OtherRegion { wanted, ours });
    let not_found = |arn: &str| FindError::NotFound {
        arn: arn.to_owned(),
    };
    let stranger = registry
        .find(&named("111111111111:function:f"))
        .unwrap_err();
    assert_eq!(
        stranger,
        not_found("arn:aws:lambda:us-east-1:111111111111:function:f")
    );
    let version = registry.find(&named("f:3")).unwrap_err();
    assert_eq!(
        version,
        not_found("arn:aws:lambda:us-east-1:000000000000:function:f:3")
    );
    assert!(registry.create(request("g:1", "1")).await.is_err());
}

#[tokio::test]
async fn an_update_retires_the_revision_and_its_code() {
    let (directory, registry) = open().await;
    let _ = registry.create(request("f", "old")).await.unwrap();
    let before = registry.find(&named("f")).unwrap();
    let (answer, retired) = registry
        .update_code(&named("f"), new_code("new"))
        .await
        .unwrap();
    let retired = retired.unwrap();
    assert_eq!(
        answer.last_update_status,
        Some(LastUpdateStatus::InProgress)
    );
    assert_eq!(retired.revision, before.spec.revision);
    assert!(before.code.archive().exists(), "a node may still want it");
    let old = (before.code.reference(), before.code.archive().to_owned());
    drop(before);
    assert_eq!(registry.collect(retired).await, [old.0]);
    assert!(!old.1.exists());
    let after = registry.find(&named("f")).unwrap();
    assert_eq!(text_in(after.code.archive(), "app.py"), "new");
    assert_eq!(
        std::fs::read_dir(directory.path().join("code/archives"))
            .unwrap()
            .count(),
        1
    );
}

#[tokio::test]
async fn a_dry_run_checks_and_changes_nothing() {
    let (_directory, registry) = open().await;
    let _ = registry.create(request("f", "old")).await.unwrap();
    let before = registry.find(&named("f")).unwrap().record.clone();
    let dry = |code: UpdateFunctionCodeRequest| UpdateFunctionCodeRequest {
        dry_run: Some(true),
        ..code
    };
    let (_, retired) = registry
        .update_code(&named("f"), dry(new_code("new")))
        .await
        .unwrap();
    assert!(retired.is_none());
    let mut bad = dry(new_code("new"));
    bad.code.zip_file = Some(Zip(Bytes::from_static(b"no zip")));
    let refused = registry.update_code(&named("f"), bad).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "Could not unzip uploaded file. Please check your file, then try to upload again."
    );
    assert!(matches!(refused, ChangeError::Code(CodeError::Unpack(_))));
    assert_eq!(registry.find(&named("f")).unwrap().record, before);
}

#[tokio::test]
async fn a_stale_revision_id_changes_nothing() {
    let (_directory, registry) = open().await;
    let created = registry.create(request("f", "1")).await.unwrap();
    let update = |revision: &str| UpdateFunctionConfigurationRequest {
        timeout: Some(9),
        revision_id: Some(revision.to_owned()),
        ..UpdateFunctionConfigurationRequest::default()
    };
    let stale = registry
        .update_configuration(&named("f"), update(&created.revision_id))
        .await
        .unwrap_err();
    assert!(matches!(stale, ChangeError::Revision(_)));
    let latest = registry
        .find(&named("f"))
        .unwrap()
        .record
        .revision_id
        .clone();
    let (answer, retired) = registry
        .update_configuration(&named("f"), update(&latest))
        .await
        .unwrap();
    registry.collect(retired).await;
    assert_eq!(answer.timeout, 9);
    assert!(registry.find(&named("f")).unwrap().code.archive().exists());
}

#[tokio::test]
async fn pages_follow_one_another() {
    let (_directory, registry) = open().await;
    for name in ["d", "b", "a", "c", "e"] {
        let _ = registry.create(request(name, "same")).await.unwrap();
    }
    let mut names = Vec::new();
    let mut marker = None;
    loop {
        let page = registry.list(marker.as_deref(), 2, None).unwrap();
        assert!(
            page.functions.len() <= 2
                && page
                    .functions
                    .iter()
                    .all(|function| function.state.is_none())
        );
        names.extend(
            page.functions
                .into_iter()
                .map(|function| function.function_name),
        );
        marker = page.next_marker;
        if marker.is_none() {
            break;
        }
    }
    assert_eq!(names, ["a", "b", "c", "d", "e"]);
    assert!(registry.list(Some("!"), 2, None).is_err());
    let all = registry.list(None, 50, Some("ALL")).unwrap();
    assert!(all.functions[0].function_arn.ends_with(":a:$LATEST"));
}

#[tokio::test]
async fn tags_are_kept_apart_from_the_revision_that_runs() {
    let (_directory, registry) = open().await;
    let arn = registry
        .create(request("f", "1"))
        .await
        .unwrap()
        .function_arn;
    let revision = registry.find(&named("f")).unwrap().spec.revision.clone();
    let tags = |pairs: &[(&str, &str)]| TagResourceRequest {
        tags: Some(
            pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        ),
    };
    registry
        .tag(&arn, tags(&[("a", "1"), ("b", "2")]))
        .await
        .unwrap();
    registry.untag(&arn, &["a".to_owned()]).await.unwrap();
    assert_eq!(
        registry.tags(&arn).unwrap(),
        [("b".to_owned(), "2".to_owned())].into()
    );
    assert_eq!(registry.find(&named("f")).unwrap().spec.revision, revision);
    let full: Vec<(String, String)> = (0..50).map(|i| (format!("k{i}"), String::new())).collect();
    let request = TagResourceRequest {
        tags: Some(full.into_iter().collect()),
    };
    let refused = registry.tag(&arn, request).await.unwrap_err();
    let text = "Number of tags exceeds resource tag limit.";
    assert!(matches!(refused, ChangeError::Shape(error) if error.message == text));
    assert!(registry.tags("f").is_err());
    assert!(registry.untag(&arn, &[]).await.is_err());
}

#[tokio::test]
async fn everything_is_there_after_opening_again() {
    let (directory, registry) = open().await;
    let _ = registry.create(request("f", "1")).await.unwrap();
    let _ = registry.create(request("g", "2")).await.unwrap();
    let f = registry.find(&named("f")).unwrap().record.clone();
    let g = registry.delete(&named("g")).await.unwrap();
    drop(g); // The process "dies" before the code is collected.
    let locked = Registry::open(Config::new(directory.path())).await.err();
    assert!(
        matches!(locked, Some(OpenError::Store(StoreError::Locked))),
        "one server per data directory"
    );
    drop(registry);
    let registry = Registry::open(Config::new(directory.path())).await.unwrap();
    assert_eq!(registry.find(&named("f")).unwrap().record, f);
    assert!(registry.find(&named("g")).is_err());
    assert_eq!(
        std::fs::read_dir(directory.path().join("code/archives"))
            .unwrap()
            .count(),
        1
    );
}

#[tokio::test]
async fn deleting_by_latest_is_refused() {
    let (_directory, registry) = open().await;
    let _ = registry.create(request("f", "1")).await.unwrap();
    let refused = registry.delete(&named("f:$LATEST")).await.unwrap_err();
    assert!(matches!(refused, DeleteError::Latest));
    let retired = registry.delete(&named("f")).await.unwrap();
    for revision in retired {
        registry.collect(revision).await;
    }
    let gone = registry.delete(&named("f")).await.unwrap_err();
    assert!(matches!(gone, DeleteError::Find(_)));
    assert_eq!(
        registry.account_settings(10).account_usage.function_count,
        0
    );
}
