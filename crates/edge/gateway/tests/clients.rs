//! The clients that people use, against the gateway: boto3, the AWS CLI, the SDK for JavaScript.
//!
//! `tests/setup.sh` installs them with pinned versions; the scripts in `tests/clients` work
//! against any server that `AWS_ENDPOINT_URL` names.

mod support;

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
};

use edge_gateway::Config;
use edge_keys::{AccessKey, KeyFile, KeyRing};
use support::{Server, native::Native};
use tokio::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../..")
        .canonicalize()
        .unwrap()
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

async fn set_up() {
    let status = Command::new(root().join("tests/setup.sh"))
        .status()
        .await
        .unwrap();
    assert!(status.success(), "tests/setup.sh failed");
}

/// Runs a client with nothing of this machine's AWS settings, and expects it to say `ok`.
async fn drive(
    server: &Server,
    secret: &str,
    program: &Path,
    arguments: &[&Path],
) -> Result<(), String> {
    let output = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", "/nonexistent")
        .env("AWS_ENDPOINT_URL", format!("http://{}", server.address))
        .env("AWS_REGION", "us-east-1")
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", secret)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("NODE_CLIENTS", target().join("node-clients"))
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let told = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    if output.status.success() && told.contains(": ok") {
        Ok(())
    } else {
        Err(told)
    }
}

async fn boto3(server: &Server, secret: &str) -> Result<(), String> {
    let script = root().join("tests/clients/lambda_boto3.py");
    drive(
        server,
        secret,
        &target().join("venv/bin/python"),
        &[&script],
    )
    .await
}

async fn awscli(server: &Server, secret: &str) -> Result<(), String> {
    let script = root().join("tests/clients/lambda_awscli.sh");
    drive(
        server,
        secret,
        Path::new("sh"),
        &[&script, &target().join("venv/bin/aws")],
    )
    .await
}

async fn sdk_js(server: &Server, secret: &str) -> Result<(), String> {
    let script = root().join("tests/clients/lambda_sdk.mjs");
    drive(server, secret, Path::new("node"), &[&script]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn boto3_drives_every_operation() {
    set_up().await;
    let server = Server::start(Config::default(), Native::new()).await;
    boto3(&server, "any").await.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn awscli_drives_every_operation() {
    set_up().await;
    let server = Server::start(Config::default(), Native::new()).await;
    awscli(&server, "any").await.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sdk_for_javascript_drives_every_operation() {
    set_up().await;
    let server = Server::start(Config::default(), Native::new()).await;
    sdk_js(&server, "any").await.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_of_real_clients_are_checked() {
    set_up().await;
    let keys = vec![AccessKey {
        id: "test".to_owned(),
        secret: "right secret/+".to_owned(),
        name: "default".to_owned(),
        account: None,
    }];
    let server = Server::start(
        Config {
            keys: Some(Arc::new(KeyRing::of(keys))),
            ..Config::default()
        },
        Native::new(),
    )
    .await;
    boto3(&server, "right secret/+").await.unwrap();
    sdk_js(&server, "right secret/+").await.unwrap();
    awscli(&server, "right secret/+").await.unwrap();
    for told in [
        boto3(&server, "wrong").await,
        sdk_js(&server, "wrong").await,
        awscli(&server, "wrong").await,
    ] {
        assert!(
            told.unwrap_err()
                .contains("signature we calculated does not match")
        );
    }
    server.stop().await;
}

/// Asks once signed and once not; what it is told.
async fn ask(server: &Server, id: &str, secret: &str) -> String {
    let output = Command::new(target().join("venv/bin/python"))
        .arg(root().join("tests/clients/keys_boto3.py"))
        .env_clear()
        .env("HOME", "/nonexistent")
        .env("AWS_ENDPOINT_URL", format!("http://{}", server.address))
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", id)
        .env("AWS_SECRET_ACCESS_KEY", secret)
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_a_file_sign_and_no_others() {
    set_up().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys");
    let text = "[alice]\naws_access_key_id = ALICE\naws_secret_access_key = a/+=\n\
        [bob]\naws_access_key_id = BOB\naws_secret_access_key = b\n";
    std::fs::write(&path, text).unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&path, private).unwrap();
    let keys = Arc::new(KeyRing::open(&path).unwrap());
    let config = Config {
        keys: Some(keys),
        ..Config::default()
    };
    let server = Server::start(config, Native::new()).await;
    let unsigned = "unsigned: MissingAuthenticationTokenException";
    for (id, secret, told) in [
        ("ALICE", "a/+=", "ok"),
        ("BOB", "b", "ok"),
        ("BOB", "a/+=", "InvalidSignatureException"),
        ("STRANGER", "a/+=", "UnrecognizedClientException"),
    ] {
        let expected = format!("signed: {told}, {unsigned}");
        assert_eq!(ask(&server, id, secret).await, expected);
    }
    // What is revoked or made is known at once.
    KeyFile::open(&path).unwrap().revoke("alice").unwrap();
    let carol = KeyFile::open(&path).unwrap().create("carol", None).unwrap();
    for (id, secret, told) in [
        ("ALICE", "a/+=", "UnrecognizedClientException"),
        (carol.id.as_str(), carol.secret.as_str(), "ok"),
    ] {
        let expected = format!("signed: {told}, {unsigned}");
        assert_eq!(ask(&server, id, secret).await, expected);
    }
    server.stop().await;
}

/// What each request is answered, by what was done to it.
const TABLE: &str = "right: 200
wrong secret: 403 InvalidSignatureException
unknown key: 403 UnrecognizedClientException
expired by 6 minutes: 403 InvalidSignatureException
6 minutes ahead: 403 InvalidSignatureException
the same at once: 200, then 200
the same, only reads: 200, then 200
other body: 403 InvalidSignatureException
other account's key: 403 AccessDeniedException
other region: 403 InvalidSignatureException
unsigned x-amz header added: 403 IncompleteSignatureException
header beyond ASCII added: 403 IncompleteSignatureException
unsigned payload: 200
presigned: 200, then 200
presigned, reads: 200
presigned, expired: 403 InvalidSignatureException
presigned, changed: 403 InvalidSignatureException
none: 403 MissingAuthenticationTokenException
";

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_botocore_signs_are_taken_as_the_table_says() {
    set_up().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys");
    let create = |name, account| KeyFile::open(&path).unwrap().create(name, account).unwrap();
    let mine = create("mine", None);
    create("other", Some("111122223333"));
    let config = Config {
        keys: Some(Arc::new(KeyRing::open(&path).unwrap())),
        ..Config::default()
    };
    let server = Server::start(config, support::scripted::Scripted::new().0).await;
    let credentials = edge_keys::Credentials {
        key: mine,
        region: "us-east-1".to_owned(),
    };
    let creation = support::http::creation("table", "echo");
    let created = signed(&server, &credentials, "/2015-03-31/functions", &creation).await;
    assert_eq!(created.status, 201);
    let output = Command::new(target().join("venv/bin/python"))
        .arg(root().join("tests/clients/keys_table.py"))
        .arg(&path)
        .env_clear()
        .env("AWS_ENDPOINT_URL", format!("http://{}", server.address))
        .output()
        .await
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(told, TABLE);
    server.stop().await;
}

/// Sends a request signed as our own client signs.
async fn signed(
    server: &Server,
    credentials: &edge_keys::Credentials,
    path: &str,
    body: &[u8],
) -> support::http::Reply {
    let uri: http::Uri = format!("http://localhost{path}").parse().unwrap();
    let mut headers = http::HeaderMap::new();
    let now = std::time::SystemTime::now();
    edge_keys::sign(
        credentials,
        &http::Method::POST,
        &uri,
        &mut headers,
        body,
        now,
    );
    headers.remove("host");
    let headers: Vec<(&str, &str)> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    let request = support::http::request("POST", path, &headers, body);
    support::http::raw(server.address, &request).await
}
