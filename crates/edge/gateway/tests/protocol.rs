//! The protocol beyond what the real clients show: who may ask, what is not implemented, own paths.

mod support;

use std::sync::Arc;

use control_registry::{Registry, SnapshotPolicy};
use control_service::Service;
use edge_gateway::{BindError, Config, Gateway};
use edge_keys::{AccessKey, KeyRing};
use proto_lambda::{Operation, Support};
use proto_node::{LogKind, LogRecord};
use serde_json::json;
use support::{
    Double as _, Server,
    http::{ask, create, raw, request, zip_base64},
    scripted::Scripted,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

#[tokio::test]
async fn the_table_of_operations_is_what_is_served() {
    let (invoker, _heard) = Scripted::new();
    let server = Server::start(Config::default(), invoker).await;
    for route in Operation::table() {
        let path = format!("{}?{}", route.path.replace(['{', '}'], ""), route.query);
        let reply = ask(server.address, route.method.as_str(), &path, b"").await;
        let refused = reply.error() == (501, "NotImplementedException");
        assert_eq!(
            refused,
            route.support == Support::Absent,
            "{} {:?}",
            route.name,
            reply.error()
        );
    }
    let unknown = ask(server.address, "GET", "/2015-03-31/nothing", b"").await;
    assert_eq!(unknown.error(), (404, "UnknownOperationException"));
    assert_eq!(unknown.headers["x-amzn-requestid"].len(), 36);
    server.stop().await;
}

#[tokio::test]
async fn bodies_that_are_no_json_are_told_apart_from_wrong_values() {
    let (invoker, _heard) = Scripted::new();
    let server = Server::start(Config::default(), invoker).await;
    for body in [
        &b"{"[..],
        b"[]",
        b"{\"Timeout\": \"x\"}",
        b"{\"Code\": {\"ZipFile\": \"%\"}}",
        b"\xff",
    ] {
        let reply = ask(server.address, "POST", "/2015-03-31/functions", body).await;
        assert_eq!(
            reply.error(),
            (400, "SerializationException"),
            "{:?}",
            String::from_utf8_lossy(body)
        );
    }
    let empty = ask(server.address, "POST", "/2015-03-31/functions", b"").await;
    assert_eq!(empty.error(), (400, "ValidationException"));
    server.stop().await;
}

#[tokio::test]
async fn web_pages_are_turned_away() {
    let (invoker, _heard) = Scripted::new();
    let server = Server::start(Config::default(), invoker).await;
    let page = request(
        "GET",
        "/2015-03-31/functions",
        &[("origin", "http://evil.example")],
        b"",
    );
    assert_eq!(
        raw(server.address, &page).await.error(),
        (403, "AccessDeniedException")
    );
    let rebound =
        b"GET /2015-03-31/functions HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n";
    assert_eq!(
        raw(server.address, rebound).await.error(),
        (403, "AccessDeniedException")
    );
    server.stop().await;
}

#[tokio::test]
async fn other_addresses_than_loopback_need_keys() {
    let data = tempfile::tempdir().unwrap();
    let registry = Arc::new(
        Registry::open(control_registry::Config::new(data.path()))
            .await
            .unwrap(),
    );
    let (invoker, _heard) = Scripted::new();
    let listen = "0.0.0.0:0".parse().unwrap();
    let open = Config {
        listen,
        ..Config::default()
    };
    let service = Service::start(registry, Arc::new(invoker.parts()), Default::default()).await;
    let refused = Gateway::bind(open.clone(), Arc::clone(&service))
        .await
        .err();
    assert!(matches!(refused, Some(BindError::KeysRequired(_))));
    let keys = Some(keys());
    let signed = Config { keys, ..open };
    assert!(Gateway::bind(signed, service).await.is_ok());
}

fn keys() -> Arc<KeyRing> {
    Arc::new(KeyRing::of(vec![AccessKey {
        id: "AKID".to_owned(),
        secret: "secret".to_owned(),
        name: "default".to_owned(),
        account: None,
    }]))
}

#[tokio::test]
async fn with_keys_every_request_must_be_signed() {
    let (invoker, _heard) = Scripted::new();
    let keys = Some(keys());
    let server = Server::start(
        Config {
            keys,
            ..Config::default()
        },
        invoker,
    )
    .await;
    for path in [
        "/2015-03-31/functions",
        "/_rekindle/logs?function=f",
        "/_rekindle/metrics",
    ] {
        let reply = ask(server.address, "GET", path, b"").await;
        assert_eq!(reply.error(), (403, "MissingAuthenticationTokenException"));
    }
    let with = async |authorization: &str| {
        let headers = [
            ("authorization", authorization),
            ("x-amz-date", "20200101T000000Z"),
        ];
        let reply = raw(
            server.address,
            &request("GET", "/2015-03-31/functions", &headers, b""),
        )
        .await;
        (reply.status, reply.headers["x-amzn-errortype"].clone())
    };
    let signed = |id: &str, scope: &str| {
        format!(
            "AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders=host;x-amz-date, Signature=00ff"
        )
    };
    let scope = "20200101/us-east-1/lambda/aws4_request";
    assert_eq!(
        with("Bearer x").await,
        (403, "IncompleteSignatureException".to_owned())
    );
    assert_eq!(
        with("AWS4-HMAC-SHA256 Credential=x").await,
        (403, "IncompleteSignatureException".to_owned())
    );
    assert_eq!(
        with(&signed("nobody", scope)).await,
        (403, "UnrecognizedClientException".to_owned())
    );
    assert_eq!(
        with(&signed("AKID", scope)).await,
        (403, "InvalidSignatureException".to_owned()),
        "long expired"
    );
    assert_eq!(
        with(&signed("AKID", "20200101/x/s3/aws4_request")).await.1,
        "InvalidSignatureException"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_download_needs_its_token() {
    let (invoker, _heard) = Scripted::new();
    let server = Server::start(Config::default(), invoker).await;
    create(server.address, "f", "echo").await;
    let got = ask(server.address, "GET", "/2015-03-31/functions/f", b"")
        .await
        .json();
    let location = got["Code"]["Location"].as_str().unwrap().to_owned();
    let path = location.strip_prefix("http://localhost").unwrap();
    assert_eq!(
        ask(server.address, "GET", path, b"").await.headers["content-type"],
        "application/zip"
    );
    let without = path.split('?').next().unwrap();
    let longer = path.replace("expires=1", "expires=2");
    let other = path.replace("/f.zip", "/g.zip");
    for bad in [without, &longer, &other] {
        assert_eq!(
            ask(server.address, "GET", bad, b"").await.error(),
            (403, "AccessDeniedException"),
            "{bad}"
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn a_changed_function_is_forgotten_by_the_node() {
    let (invoker, mut heard) = Scripted::new();
    let server = Server::start(Config::default(), invoker).await;
    create(server.address, "f", "echo").await;
    let code = json!({ "ZipFile": zip_base64("new") }).to_string();
    let change = async |method: &str, path: &str, body: &str| {
        let path = format!("/2015-03-31/functions/f{path}");
        assert!(
            ask(server.address, method, &path, body.as_bytes())
                .await
                .status
                < 300
        );
    };
    change("PUT", "/code", &code).await;
    let first = heard.forgotten.recv().await.unwrap();
    change("PUT", "/configuration", "{\"Timeout\": 9}").await;
    let second = heard.forgotten.recv().await.unwrap();
    change("DELETE", "", "").await;
    let third = heard.forgotten.recv().await.unwrap();
    assert!(first != second && second != third && first != third);
    server.stop().await;
}

fn record(function: &str, message: &str) -> Arc<LogRecord> {
    Arc::new(LogRecord {
        timestamp_ms: 1,
        function: function.to_owned(),
        version: "$LATEST".to_owned(),
        group: format!("/aws/lambda/{function}"),
        stream: "2026/01/01/[$LATEST]0".to_owned(),
        request_id: None,
        kind: LogKind::Function,
        message: message.to_owned(),
    })
}

#[tokio::test]
async fn log_lines_are_kept_and_followed() {
    let (invoker, _heard) = Scripted::new();
    let service = control_service::Config {
        log_lines: 2,
        ..control_service::Config::default()
    };
    let (node, policy) = (Arc::clone(&invoker), SnapshotPolicy::Asked);
    let server = Server::with(Config::default(), node, policy, service).await;
    create(server.address, "f", "echo").await;
    let mut following = TcpStream::connect(server.address).await.unwrap();
    following
        .write_all(&request(
            "GET",
            "/_rekindle/logs?function=f&follow=true",
            &[],
            b"",
        ))
        .await
        .unwrap();
    let mut heard = String::new();
    let mut read_until = async |text: &str| {
        let mut buffer = [0; 4096];
        while !heard.contains(text) {
            let count = following.read(&mut buffer).await.unwrap();
            assert!(count > 0, "{heard}");
            heard.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        }
    };
    read_until("200 OK").await;
    for message in ["one", "two", "three"] {
        invoker.logs.send(record("f", message)).unwrap();
        invoker.logs.send(record("g", "other")).unwrap();
    }
    read_until("three").await;
    assert!(
        heard.contains("one") && heard.contains("two") && !heard.contains("other"),
        "{heard}"
    );
    drop(following);
    let kept = ask(server.address, "GET", "/_rekindle/logs?function=f", b"").await;
    let kept = String::from_utf8(kept.body).unwrap();
    assert!(
        !kept.contains("\"one\"") && kept.contains("\"two\"") && kept.contains("\"three\""),
        "{kept}"
    );
    let missing = ask(server.address, "GET", "/_rekindle/logs?function=g", b"").await;
    assert_eq!(missing.error(), (404, "ResourceNotFoundException"));
    server.stop().await;
}

#[tokio::test]
async fn metrics_are_text_for_prometheus() {
    let (invoker, _heard) = Scripted::new();
    let server = Server::start(Config::default(), invoker).await;
    let reply = ask(server.address, "GET", "/_rekindle/metrics", b"").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.headers["content-type"], base_telemetry::CONTENT_TYPE);
    let text = String::from_utf8(reply.body.to_vec()).unwrap();
    for line in [
        "# TYPE rekindle_invocations_total counter",
        "rekindle_invocations_total{start=\"warm\",outcome=\"success\"} ",
        "# TYPE rekindle_stage_seconds histogram",
        "rekindle_sandboxes{kind=\"instance\",state=\"idle\"} ",
        "rekindle_events_waiting ",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    server.stop().await;
}
