//! What clients see of a function while its first snapshot is made.

mod support;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use control_registry::SnapshotPolicy;
use edge_gateway::Config;
use serde_json::{Value, json};
use support::{
    Server,
    http::{ask, create, creation, invoke},
    scripted::{Heard, Scripted},
};

/// A gateway all of whose functions start from snapshots, and which keeps nobody waiting for `wait`.
async fn start(wait: Duration) -> (Server, Arc<Scripted>, Heard) {
    let (invoker, heard) = Scripted::new();
    let service = control_service::Config {
        queue_wait: wait,
        ..control_service::Config::default()
    };
    let node = Arc::clone(&invoker);
    let policy = SnapshotPolicy::Always;
    let server = Server::with(Config::default(), node, policy, service).await;
    (server, invoker, heard)
}

async fn configuration(address: SocketAddr, name: &str) -> Value {
    let path = format!("/2015-03-31/functions/{name}/configuration");
    ask(address, "GET", &path, b"").await.json()
}

#[tokio::test]
async fn a_new_function_is_pending_until_its_snapshot_is_made_and_its_events_wait() {
    let (server, invoker, mut heard) = start(Duration::from_secs(60)).await;
    let address = server.address;
    let creating = tokio::spawn(create(address, "f", "slow"));
    assert_eq!(heard.events.recv().await, Some("preparing"));
    let pending = configuration(address, "f").await;
    assert_eq!(pending["State"], "Pending");
    assert_eq!(pending["StateReasonCode"], "Creating");
    assert_eq!(pending["LastUpdateStatus"], Value::Null);
    let tags = json!({"Tags": {"a": "b"}}).to_string();
    let path = "/2017-03-31/tags/arn:aws:lambda:us-east-1:000000000000:function:f";
    assert_eq!(
        ask(address, "POST", path, tags.as_bytes()).await.status,
        204
    );
    assert_eq!(configuration(address, "f").await["State"], "Pending");
    let invoking = tokio::spawn(invoke(address, "f", b"[1]"));
    invoker.release.add_permits(1);
    assert_eq!(creating.await.unwrap().json()["State"], "Pending");
    assert_eq!(invoking.await.unwrap().body, b"[1]");
    let active = configuration(address, "f").await;
    assert_eq!(active["State"], "Active");
    assert_eq!(active["StateReason"], Value::Null);
    assert_eq!(active["LastUpdateStatus"], "Successful");
    // Nobody asked for SnapStart, so AWS's words say no more.
    let off = json!({ "ApplyOn": "None", "OptimizationStatus": "Off" });
    assert_eq!(active["SnapStart"], off);
    server.stop().await;
}

#[tokio::test]
async fn the_revision_before_serves_until_the_snapshot_of_an_update_is_made() {
    let (server, invoker, mut heard) = start(Duration::ZERO).await;
    let address = server.address;
    create(address, "f", "answer.3").await;
    let path = "/2015-03-31/functions/f/configuration";
    let updating = tokio::spawn(ask(address, "PUT", path, br#"{"Handler": "slow"}"#));
    assert_eq!(heard.events.recv().await, Some("preparing"));
    let changed = configuration(address, "f").await;
    assert_eq!(
        (&changed["State"], &changed["Handler"]),
        (&"Active".into(), &"slow".into())
    );
    assert_eq!(changed["LastUpdateStatus"], "InProgress");
    assert_eq!(changed["LastUpdateStatusReasonCode"], "Creating");
    assert_eq!(invoke(address, "f", b"[2]").await.body, b"111");
    let second = ask(address, "PUT", path, br#"{"Handler": "echo"}"#).await;
    assert_eq!(second.error(), (409, "ResourceConflictException"));
    assert!(heard.forgotten.try_recv().is_err(), "it is still of use");
    invoker.release.add_permits(1);
    assert_eq!(updating.await.unwrap().status, 200);
    assert_eq!(invoke(address, "f", b"[2]").await.body, b"[2]");
    assert!(heard.forgotten.recv().await.is_some());
    let settled = configuration(address, "f").await;
    assert_eq!(settled["LastUpdateStatus"], "Successful");
    // Where nobody is kept waiting, an event of a new function starts it without its snapshot.
    let creating = tokio::spawn(create(address, "g", "slow"));
    assert_eq!(heard.events.recv().await, Some("preparing"));
    assert_eq!(invoke(address, "g", b"[3]").await.body, b"[3]");
    invoker.release.add_permits(1);
    creating.await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn a_function_without_snapshot_is_active_and_says_why() {
    let (server, _invoker, _heard) = start(Duration::ZERO).await;
    let address = server.address;
    create(address, "f", "uncapturable").await;
    let without = configuration(address, "f").await;
    assert_eq!(without["State"], "Active");
    assert_eq!(
        without["StateReason"],
        "The function starts without a snapshot: a socket is in the way"
    );
    assert_eq!(without["StateReasonCode"], Value::Null);
    assert_eq!(invoke(address, "f", b"[1]").await.body, b"[1]");
    create(address, "g", "unprepared").await;
    let unprepared = configuration(address, "g").await;
    assert_eq!(unprepared["StateReasonCode"], "FunctionError");
    // One that does not want any has nothing to tell, and is not even tried.
    let mut plain: Value = serde_json::from_slice(&creation("h", "unprepared")).unwrap();
    plain["Environment"] = json!({ "Variables": { "REKINDLE_SNAPSHOT": "off" } });
    let path = "/2015-03-31/functions";
    ask(address, "POST", path, plain.to_string().as_bytes()).await;
    assert_eq!(
        configuration(address, "h").await["StateReason"],
        Value::Null
    );
    server.stop().await;
}

#[tokio::test]
async fn nothing_stays_of_a_function_that_is_deleted_while_it_is_prepared() {
    let (server, invoker, mut heard) = start(Duration::ZERO).await;
    let address = server.address;
    let creating = tokio::spawn(create(address, "f", "slow"));
    assert_eq!(heard.events.recv().await, Some("preparing"));
    let deleted = ask(address, "DELETE", "/2015-03-31/functions/f", b"").await;
    assert_eq!(deleted.status, 204);
    let first = heard.forgotten.recv().await;
    invoker.release.add_permits(1);
    assert_eq!(
        heard.forgotten.recv().await,
        first,
        "once more, for the snapshot"
    );
    creating.await.unwrap();
    server.stop().await;
}
