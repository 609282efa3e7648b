//! Events that meet changes of their function.

mod support;

use std::{sync::Arc, time::Duration};

use control_service::{AdmitError, InvokeError};
use proto_lambda::FunctionRef;
use serde_json::json;
use support::{Asked, World, creation, event, named};

const LONG: Duration = Duration::from_secs(60);

fn invoked(handler: &str) -> Asked {
    Asked::Invoke(handler.to_owned())
}

fn prepared(handler: &str) -> Asked {
    Asked::Prepare(handler.to_owned())
}

#[tokio::test]
async fn an_event_turned_away_by_an_update_is_run_by_the_new_revision() {
    let mut world = World::new(LONG).await;
    world.create("f", "full").await;
    assert_eq!(world.asked().await, prepared("full"));
    let admission = world.service.admit(named("f")).unwrap();
    let service = Arc::clone(&world.service);
    let running = tokio::spawn(async move { service.invoke(admission, event()).await });
    assert_eq!(world.asked().await, invoked("full"));
    world.update("f", "new").await;
    world.node.release.add_permits(1);
    let outcome = running.await.unwrap().unwrap();
    assert_eq!(outcome.executed_version, "$LATEST");
    assert_eq!(world.asked().await, prepared("new"));
}

#[tokio::test]
async fn an_event_turned_away_without_a_change_is_not_tried_again() {
    let mut world = World::new(LONG).await;
    world.create("f", "full").await;
    world.node.release.add_permits(1);
    let error = world.invoke("f").await.unwrap_err();
    assert!(matches!(
        error,
        InvokeError::Node(proto_node::InvokeError::Throttled(_))
    ));
    assert_eq!(world.asked().await, prepared("full"));
    assert_eq!(world.asked().await, invoked("full"));
    world.asked_nothing();
}

#[tokio::test]
async fn an_event_whose_function_is_deleted_meanwhile_has_its_own_error() {
    let mut world = World::new(LONG).await;
    let creating = tokio::spawn({
        let service = Arc::clone(&world.service);
        async move { service.create(creation("f", "slow")).await }
    });
    assert_eq!(world.asked().await, prepared("slow"));
    let admission = world.service.admit(named("f")).unwrap();
    let service = Arc::clone(&world.service);
    let waiting = tokio::spawn(async move { service.invoke(admission, event()).await });
    world.service.delete(named("f")).await.unwrap();
    world.node.release.add_permits(1);
    let error = waiting.await.unwrap().unwrap_err();
    assert!(matches!(error, InvokeError::Gone(_)), "{error:?}");
    creating.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_revision_before_stands_in_until_the_new_one_is_ready() {
    let mut world = World::new(Duration::ZERO).await;
    world.create("f", "old").await;
    world.update("f", "slow").await;
    assert_eq!(world.invoke("f").await.unwrap(), "old");
    world.node.release.add_permits(1);
    let function = world.service.registry().find(&named("f")).unwrap();
    function.settled().await;
    assert_eq!(world.invoke("f").await.unwrap(), "slow");
    for asked in ["old", "slow"].map(prepared) {
        assert_eq!(world.asked().await, asked);
    }
}

#[tokio::test]
async fn an_event_of_a_new_function_waits_for_it_but_not_for_ever() {
    let mut world = World::new(Duration::ZERO).await;
    world.create("f", "slow").await;
    assert_eq!(world.asked().await, prepared("slow"));
    assert_eq!(world.invoke("f").await.unwrap(), "slow");
    assert_eq!(world.state("f").await[0], "Pending");
    world.node.release.add_permits(1);
}

#[tokio::test]
async fn a_caller_that_leaves_takes_no_event_with_it() {
    let mut world = World::new(LONG).await;
    world.create("f", "wait").await;
    assert_eq!(world.asked().await, prepared("wait"));
    let admission = world.service.admit(named("f")).unwrap();
    let service = Arc::clone(&world.service);
    let running = tokio::spawn(async move { service.invoke(admission, event()).await });
    assert_eq!(world.asked().await, invoked("wait"));
    running.abort();
    let _ = running.await;
    world.node.release.add_permits(2);
    assert_eq!(world.invoke("f").await.unwrap(), "wait");
    // Permits are given in the order of asking, so the first event has had its own.
    assert_eq!(world.node.release.available_permits(), 0);
}

#[tokio::test]
async fn a_streamed_answer_keeps_its_function_until_it_is_let_go() {
    let mut world = World::new(LONG).await;
    world.create("f", "old").await;
    assert_eq!(world.asked().await, prepared("old"));
    let function = world.service.registry().find(&named("f")).unwrap();
    let held = Arc::downgrade(&function);
    drop(function);
    let admission = world.service.admit(named("f")).unwrap();
    let reply = world.service.stream(admission, event()).await.unwrap();
    world.service.delete(named("f")).await.unwrap();
    assert!(held.upgrade().is_some());
    let unread = async || {
        let text = world.service.exposition(&[]).await;
        let count = text
            .lines()
            .find_map(|line| line.strip_prefix("rekindle_streams_unread_total "));
        count.unwrap().parse::<u64>().unwrap()
    };
    let before = unread().await;
    drop(reply);
    assert!(held.upgrade().is_none());
    assert_eq!(unread().await, before + 1);
}

#[tokio::test]
async fn a_version_with_snap_start_takes_no_event_before_its_snapshot() {
    let mut world = World::new(Duration::ZERO).await;
    let mut request = creation("f", "slow");
    request.publish = Some(true);
    request.snap_start = serde_json::from_value(json!({"ApplyOn": "PublishedVersions"})).unwrap();
    world.service.create(request).await.unwrap();
    let version = || -> FunctionRef { named("f").qualified(Some("1")).unwrap() };
    let refused = world.service.admit(version()).unwrap_err();
    assert!(matches!(refused, AdmitError::NotReady));
    assert!(world.service.admit(named("f")).is_ok());
    world.node.release.add_permits(2);
    let function = world.service.registry().find(&version()).unwrap();
    function.settled().await;
    assert!(world.service.admit(version()).is_ok());
    assert!(matches!(
        world.service.admit(named("g")),
        Err(AdmitError::Unknown(_))
    ));
    assert_eq!(world.asked().await, prepared("slow"));
}
