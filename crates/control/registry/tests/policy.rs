//! Which functions start from snapshots: the server's policy, and what the function says about it.

mod zips;

use bytes::Bytes;
use control_registry::{Config, Readiness, Registry, SnapshotPolicy};
use proto_lambda::{CreateFunctionRequest, FunctionCode, FunctionRef, Zip, limits};
use proto_node::{Isolation, PlatformDemand, SnapStart};
use serde_json::{Value, json};
use zips::zip_with;

fn request(name: &str, more: &Value) -> CreateFunctionRequest {
    let mut body = json!({
        "FunctionName": name, "Role": "arn:aws:iam::123456789012:role/r", "Publish": true,
        "Runtime": "python3.11", "Handler": "app.handler",
    });
    let more = more.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(more);
    CreateFunctionRequest {
        code: Some(FunctionCode {
            zip_file: Some(Zip(Bytes::from(zip_with("app.py", "1")))),
            ..FunctionCode::default()
        }),
        ..serde_json::from_value(body).unwrap()
    }
}

/// Whether `$LATEST` and the version of a function start from snapshots under a policy.
async fn starts(policy: SnapshotPolicy, more: &Value) -> [bool; 2] {
    let directory = tempfile::tempdir().unwrap();
    let config = Config {
        snapshots: policy,
        ..Config::new(directory.path())
    };
    let registry = Registry::open(config).await.unwrap();
    let _ = registry.create(request("f", more)).await.unwrap();
    let restored = |name| {
        let named = FunctionRef::parse(name, limits::NAMESPACED_NAME_CHARS).unwrap();
        let function = registry.find(&named).unwrap();
        let on = function.spec.snap_start == SnapStart::On;
        // Whoever is to start from one waits for it, and whoever is not does not.
        assert_eq!(function.readiness() == Readiness::Preparing, on);
        assert_eq!(function.begin_preparing(), on);
        assert!(!function.begin_preparing(), "once");
        on
    };
    [restored("f"), restored("f:1")]
}

fn variables(variables: Value) -> Value {
    json!({ "Environment": { "Variables": variables } })
}

#[tokio::test]
async fn the_servers_policy_holds_unless_the_function_says_otherwise() {
    use SnapshotPolicy::{Always, Asked, Never};
    let snap_start = json!({ "SnapStart": { "ApplyOn": "PublishedVersions" } });
    let on = variables(json!({ "REKINDLE_SNAPSHOT": "on" }));
    let off = variables(json!({ "REKINDLE_SNAPSHOT": "off" }));
    let fresh = variables(json!({ "REKINDLE_FRESH": "true" }));
    let mut own = variables(json!({ "KEY": "s3cr3t-value", "REKINDLE_SECRETS": "KEY" }));
    let secretive = own.clone();
    own["Runtime"] = "provided.al2023".into();
    for (what, always, asked) in [
        (&json!({}), [true, true], [false, false]),
        (&snap_start, [true, true], [false, true]),
        (&on, [true, true], [true, true]),
        (&fresh, [true, true], [true, true]),
        (&off, [false, false], [false, false]),
        (&secretive, [true, true], [false, false]),
        (&own, [false, false], [false, false]),
    ] {
        assert_eq!(starts(Always, what).await, always, "{what}");
        assert_eq!(starts(Asked, what).await, asked, "{what}");
        assert_eq!(starts(Never, what).await, [false, false], "{what}");
    }
}

#[tokio::test]
async fn what_was_prepared_before_a_restart_is_not_waited_for_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config {
        snapshots: SnapshotPolicy::Always,
        ..Config::new(directory.path())
    };
    let registry = Registry::open(config.clone()).await.unwrap();
    let fresh = variables(json!({ "REKINDLE_FRESH": "true", "REKINDLE_PLATFORM": "kvm" }));
    let _ = registry.create(request("f", &fresh)).await.unwrap();
    drop(registry);
    let registry = Registry::open(config).await.unwrap();
    for function in registry.versions_of("f") {
        assert_eq!(function.readiness(), Readiness::Ready);
        assert_eq!(function.spec.snap_start, SnapStart::On);
        assert_eq!(function.spec.isolation, Isolation::PerEvent);
        assert_eq!(function.spec.platform, PlatformDemand::Kvm);
        assert!(!function.begin_preparing());
    }
}
