//! What follows from a change: preparing, retiring, forgetting.

mod support;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use serde_json::{Value, json};
use support::{Asked, World, named};

/// What comes of all preparations that have begun.
async fn settled(world: &World, name: &str) {
    let function = world.service.registry().find(&named(name)).unwrap();
    function.settled().await;
}

#[tokio::test]
async fn a_replaced_revision_is_retired_when_the_new_one_is_ready() {
    let mut world = World::new(Duration::ZERO).await;
    world.create("f", "old").await;
    let old = world.revision("f");
    world.update("f", "slow").await;
    assert_eq!(world.asked().await, Asked::Prepare("old".into()));
    assert_eq!(world.asked().await, Asked::Prepare("slow".into()));
    world.asked_nothing();
    world.node.release.add_permits(1);
    assert_eq!(world.asked().await, Asked::Forget(old));
}

#[tokio::test]
async fn nothing_stays_of_a_function_that_is_deleted_while_it_is_prepared() {
    let mut world = World::new(Duration::ZERO).await;
    world.create("f", "slow").await;
    let revision = world.revision("f");
    assert_eq!(world.asked().await, Asked::Prepare("slow".into()));
    world.service.delete(named("f")).await.unwrap();
    let mut asked = BTreeSet::new();
    for _ in 0..3 {
        asked.insert(format!("{:?}", world.asked().await));
    }
    let logs = Asked::RemoveLogs("f".into());
    let forget = Asked::Forget(revision);
    assert_eq!(asked, [&logs, &forget].map(|one| format!("{one:?}")).into());
    world.node.release.add_permits(1);
    assert_eq!(world.asked().await, forget, "once more, for the snapshot");
}

#[tokio::test]
async fn a_node_that_falls_over_leaves_no_function_pending() {
    let world = World::new(Duration::from_secs(60)).await;
    world.create("f", "fatal").await;
    let reason = "The function starts without a snapshot: the server's log has the reason";
    assert_eq!(world.state("f").await, json!(["Active", null, reason]));
}

#[tokio::test]
async fn a_snapshot_that_is_made_again_at_a_start_settles_readiness() {
    let world = World::new(Duration::from_secs(60)).await;
    world.create("good", "good").await;
    world.create("bad", "broken").await;
    let World { data, service, .. } = world;
    drop(service);
    let mut world = World::on(data, Duration::ZERO).await;
    let active = json!(["Active", Value::Null, Value::Null]);
    assert_eq!(world.state("bad").await, active);
    let outdated: BTreeSet<_> = ["good", "bad"].map(|name| world.revision(name)).into();
    *world.node.outdated.lock().unwrap() = outdated;
    let again = tokio::spawn(Arc::clone(&world.service).prepare_again());
    let asked: BTreeSet<_> = [world.asked().await, world.asked().await]
        .map(|asked| format!("{asked:?}"))
        .into();
    let both = ["good", "broken"].map(|one| format!("{:?}", Asked::Prepare(one.into())));
    assert_eq!(asked, both.into());
    again.await.unwrap();
    assert_eq!(world.state("good").await, active);
    let failed = json!(["Active", "FunctionError", "no such module"]);
    assert_eq!(world.state("bad").await, failed);
}

#[tokio::test]
async fn a_revision_replaced_while_its_snapshot_is_made_again_leaves_none() {
    let world = World::new(Duration::ZERO).await;
    world.create("f", "slow").await;
    world.node.release.add_permits(1);
    settled(&world, "f").await;
    let World { data, service, .. } = world;
    drop(service);
    let mut world = World::on(data, Duration::ZERO).await;
    let old = world.revision("f");
    *world.node.outdated.lock().unwrap() = [old.clone()].into();
    let again = tokio::spawn(Arc::clone(&world.service).prepare_again());
    assert_eq!(world.asked().await, Asked::Prepare("slow".into()));
    world.update("f", "new").await;
    assert_eq!(world.asked().await, Asked::Prepare("new".into()));
    assert_eq!(world.asked().await, Asked::Forget(old.clone()));
    world.node.release.add_permits(1);
    assert_eq!(
        world.asked().await,
        Asked::Forget(old),
        "for the late snapshot"
    );
    again.await.unwrap();
}
