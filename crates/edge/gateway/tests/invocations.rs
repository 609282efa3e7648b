//! Invocations whose function, node or client does not behave.

mod support;

use std::sync::Arc;

use edge_gateway::Config;
use support::{
    Server,
    http::{Reply, ask, create, invoke, raw, request},
    scripted::Scripted,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const HANG: &str = "/2015-03-31/functions/hang/invocations";

#[tokio::test]
async fn a_client_that_hangs_up_disturbs_nothing() {
    let (invoker, mut heard) = Scripted::new();
    let server = Server::start(Config::default(), Arc::clone(&invoker)).await;
    create(server.address, "hang", "hang").await;
    create(server.address, "other", "echo").await;
    let mut client = TcpStream::connect(server.address).await.unwrap();
    client
        .write_all(&request("POST", HANG, &[], b"1"))
        .await
        .unwrap();
    assert_eq!(heard.events.recv().await, Some("started"));
    drop(client);
    assert_eq!(invoke(server.address, "other", b"[1]").await.body, b"[1]");
    invoker.release.add_permits(1);
    assert_eq!(
        heard.events.recv().await,
        Some("finished"),
        "the event runs to its end"
    );
    server.stop().await;
}

#[tokio::test]
async fn an_event_that_meets_an_update_is_run_by_the_new_revision() {
    let (invoker, mut heard) = Scripted::new();
    let server = Server::start(Config::default(), Arc::clone(&invoker)).await;
    let address = server.address;
    create(address, "f", "forgotten").await;
    let invoking = tokio::spawn(invoke(address, "f", b"[7]"));
    assert_eq!(heard.events.recv().await, Some("started"));
    let path = "/2015-03-31/functions/f/configuration";
    assert_eq!(
        ask(address, "PUT", path, b"{\"Handler\": \"echo\"}")
            .await
            .status,
        200
    );
    invoker.release.add_permits(1);
    let reply = invoking.await.unwrap();
    assert_eq!((reply.status, reply.body), (200, b"[7]".to_vec()));
    server.stop().await;
}

#[tokio::test]
async fn stopping_lets_an_invocation_finish() {
    let (invoker, mut heard) = Scripted::new();
    let server = Server::start(Config::default(), Arc::clone(&invoker)).await;
    let address = server.address;
    create(address, "hang", "hang").await;
    let mut client = TcpStream::connect(address).await.unwrap();
    client
        .write_all(&request("POST", HANG, &[], b"1"))
        .await
        .unwrap();
    assert_eq!(heard.events.recv().await, Some("started"));
    let stopping = tokio::spawn(server.stop());
    let refused = async || std::net::TcpStream::connect(address).is_err();
    base_eventually::eventually_in_task("it accepts no more", refused).await;
    invoker.release.add_permits(1);
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert_eq!(Reply::parse(&answer).body, b"\"released\"");
    stopping.await.unwrap();
}

#[tokio::test]
async fn what_the_function_does_wrong_is_an_answer() {
    let (invoker, _heard) = Scripted::new();
    let server = Server::start(Config::default(), invoker).await;
    for (name, handler) in [
        ("t", "timeout"),
        ("e", "exit"),
        ("big", "answer.6291557"),
        ("max", "answer.6291556"),
    ] {
        create(server.address, name, handler).await;
    }
    let failed = async |name: &str| {
        let reply = invoke(server.address, name, b"").await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.headers["x-amz-function-error"], "Unhandled");
        assert_eq!(reply.headers["x-amz-executed-version"], "$LATEST");
        let id = reply.headers["x-amzn-requestid"].clone();
        let body = reply.json();
        (
            body["errorType"].to_string(),
            body["errorMessage"].as_str().unwrap().replace(&id, "ID"),
        )
    };
    let text = "RequestId: ID Error: Task timed out after 3.00 seconds";
    assert_eq!(
        failed("t").await,
        ("\"Sandbox.Timedout\"".into(), text.into())
    );
    let text = "RequestId: ID Error: Runtime exited with error: exit status 127";
    assert_eq!(
        failed("e").await,
        ("\"Runtime.ExitError\"".into(), text.into())
    );
    let text = "Response payload size exceeded maximum allowed payload size (6291556 bytes).";
    assert_eq!(
        failed("big").await,
        ("\"Function.ResponseSizeTooLarge\"".into(), text.into())
    );
    let reply = invoke(server.address, "max", b"").await;
    assert_eq!((reply.status, reply.body.len()), (200, 6_291_556));
    assert!(!reply.headers.contains_key("x-amz-function-error"));
    let timing = &reply.headers["server-timing"];
    assert!(timing.starts_with("start;desc=warm, invoke;dur="));
    assert!(timing.ends_with(", exits;desc=\"call 12 fill 3\""));
    assert_eq!(reply.headers["x-rekindle-start"], "warm");
    assert!(!reply.headers.contains_key("x-rekindle-restore-ms"));
    create(server.address, "restored", "restored").await;
    let reply = invoke(server.address, "restored", b"").await;
    assert_eq!(reply.headers["x-rekindle-start"], "restored");
    assert_eq!(reply.headers["x-rekindle-restore-ms"], "3.070");
    server.stop().await;
}

#[tokio::test]
async fn what_the_node_cannot_do_is_an_error() {
    let (invoker, _heard) = Scripted::new();
    let server = Server::start(Config::default(), invoker).await;
    for handler in ["busy", "broken", "panic", "no-runtime"] {
        create(server.address, handler, handler).await;
    }
    let busy = invoke(server.address, "busy", b"").await;
    assert_eq!(busy.error(), (429, "TooManyRequestsException"));
    assert_eq!(busy.json()["message"], "Rate Exceeded.");
    assert_eq!(busy.json()["Reason"], "ConcurrentInvocationLimitExceeded");
    let broken = invoke(server.address, "broken", b"").await;
    assert_eq!(broken.error(), (500, "ServiceException"));
    assert!(!String::from_utf8_lossy(&broken.body).contains("secret"));
    assert_eq!(
        invoke(server.address, "panic", b"").await.error(),
        (500, "ServiceException")
    );
    let missing = invoke(server.address, "no-runtime", b"").await;
    assert_eq!(missing.error(), (502, "InvalidRuntimeException"));
    assert!(
        missing.json()["Message"]
            .as_str()
            .unwrap()
            .contains("no python3.11 here")
    );
    server.stop().await;
}

#[tokio::test]
async fn events_must_be_json_however_deep() {
    let (invoker, _heard) = Scripted::new();
    let server = Server::start(Config::default(), invoker).await;
    create(server.address, "f", "echo").await;
    let deep = [vec![b'['; 500_000], vec![b']'; 500_000]].concat();
    assert_eq!(invoke(server.address, "f", &deep).await.status, 200);
    for bad in [
        &b"{"[..],
        b"nope",
        b"\"\xff\"",
        b"1 2",
        b"{\"a\":}",
        &deep[..500_000],
    ] {
        let reply = invoke(server.address, "f", bad).await;
        assert_eq!(reply.error(), (400, "InvalidRequestContentException"));
        let message = reply.json()["message"].as_str().unwrap().to_owned();
        assert!(
            message.starts_with("Could not parse request body into json: "),
            "{message}"
        );
    }
    assert_eq!(invoke(server.address, "f", b"").await.body, b"{}");
    server.stop().await;
}

#[tokio::test]
async fn headers_of_an_invocation_are_checked() {
    let (invoker, _heard) = Scripted::new();
    let server = Server::start(Config::default(), invoker).await;
    create(server.address, "f", "echo").await;
    let path = "/2015-03-31/functions/f/invocations";
    let with = async |headers: &[(&str, &str)]| {
        raw(server.address, &request("POST", path, headers, b"1")).await
    };
    let reply = with(&[("x-amz-invocation-type", "Sometimes")]).await;
    assert_eq!(reply.error(), (400, "ValidationException"));
    assert_eq!(
        reply.json()["message"],
        "1 validation error detected: Value 'Sometimes' at 'invocationType' failed to satisfy constraint: \
         Member must satisfy enum value set: [Event, RequestResponse, DryRun]"
    );
    assert_eq!(
        with(&[("x-amz-log-type", "All")]).await.error(),
        (400, "ValidationException")
    );
    let tail = with(&[("x-amz-log-type", "Tail")]).await;
    assert_eq!(
        tail.headers["x-amz-log-result"].len(),
        4096_usize.div_ceil(3) * 4
    );
    let trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
    assert_eq!(
        with(&[("x-amzn-trace-id", trace)]).await.headers["x-amzn-trace-id"],
        trace
    );
    let long = "A".repeat(3584);
    assert_eq!(
        with(&[("x-amz-client-context", &long)]).await.error(),
        (400, "InvalidParameterValueException")
    );
    assert_eq!(
        with(&[("x-amz-client-context", "MQ==")]).await.error(),
        (400, "InvalidRequestContentException")
    );
    assert_eq!(
        with(&[("x-amz-tenant-id", "t")]).await.error(),
        (400, "InvalidParameterValueException")
    );
    server.stop().await;
}

/// Creates a function whose versions start from snapshots and publishes the first.
async fn publish(address: std::net::SocketAddr, handler: &str) -> Reply {
    let mut body: serde_json::Value =
        serde_json::from_slice(&support::http::creation(handler, handler)).unwrap();
    body["Publish"] = true.into();
    body["SnapStart"] = serde_json::json!({ "ApplyOn": "PublishedVersions" });
    let body = body.to_string();
    ask(address, "POST", "/2015-03-31/functions", body.as_bytes()).await
}

/// A version's configuration.
async fn version(address: std::net::SocketAddr, name: &str) -> serde_json::Value {
    let path = format!("/2015-03-31/functions/{name}/configuration?Qualifier=1");
    ask(address, "GET", &path, b"").await.json()
}

#[tokio::test]
async fn a_published_version_is_active_when_its_snapshot_is_made_or_given_up() {
    let (invoker, mut heard) = Scripted::new();
    let server = Server::start(Config::default(), Arc::clone(&invoker)).await;
    let address = server.address;
    assert_eq!(publish(address, "echo").await.json()["State"], "Pending");
    let echo = version(address, "echo").await;
    assert_eq!(echo["State"], "Active");
    let on = serde_json::json!({ "ApplyOn": "PublishedVersions", "OptimizationStatus": "On" });
    assert_eq!(echo["SnapStart"], on);
    let path = "/2015-03-31/functions/echo/versions";
    let listed = ask(address, "GET", path, b"").await.json();
    let status = |at: usize| &listed["Versions"][at]["SnapStart"]["OptimizationStatus"];
    assert_eq!((status(0), status(1)), (&"Off".into(), &"On".into()));

    publish(address, "unprepared").await;
    let unprepared = version(address, "unprepared").await;
    assert_eq!(unprepared["State"], "Active");
    assert_eq!(unprepared["SnapStart"]["OptimizationStatus"], "Off");
    assert_eq!(
        unprepared["StateReason"],
        "Runtime.ImportModuleError: no app"
    );
    assert_eq!(unprepared["StateReasonCode"], "FunctionError");

    let publishing = tokio::spawn(publish(address, "slow"));
    assert_eq!(heard.events.recv().await, Some("preparing"));
    let slow = version(address, "slow").await;
    assert_eq!(
        (&slow["State"], &slow["StateReasonCode"]),
        (&"Pending".into(), &"Creating".into())
    );
    let path = "/2015-03-31/functions/slow/invocations?Qualifier=1";
    let refused = ask(address, "POST", path, b"1").await;
    assert_eq!(refused.error(), (409, "SnapStartNotReadyException"));
    assert!(
        refused.json()["Message"]
            .as_str()
            .unwrap()
            .starts_with("Lambda is initializing")
    );
    // $LATEST is another thing.
    assert_eq!(invoke(address, "slow", b"1").await.status, 200);
    invoker.release.add_permits(1);
    assert_eq!(publishing.await.unwrap().status, 201);
    assert_eq!(ask(address, "POST", path, b"1").await.status, 200);
    server.stop().await;
}
