//! What the pool does of what is decided about shells, preparations and targets, with sandboxes that follow a script.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::scripted::{Script, Scripted, function, invoke, invoke_one, pool};
use base_eventually::eventually_in_task;
use node_pool::Pool;
use proto_node::{CapacityGroup, CapacityKind, Isolation, NoSnapshot, StartKind, TargetError};

fn of_kind(pool: &Pool, kind: CapacityKind) -> Option<CapacityGroup> {
    let groups = pool.capacity().groups;
    groups.into_iter().find(|group| group.kind == kind)
}

fn idle(pool: &Pool, kind: CapacityKind) -> u32 {
    of_kind(pool, kind).map_or(0, |group| group.idle)
}

#[tokio::test]
async fn a_start_comes_up_in_the_shell_that_was_made_behind_the_one_before() {
    let launcher = Scripted::new(Script::Restored);
    let pool = pool(&launcher, 4);
    let mut fresh = Arc::unwrap_or_clone(function());
    fresh.isolation = Isolation::PerEvent;
    let fresh = Arc::new(fresh);
    for nth in 0..3 {
        let outcome = invoke_one(&pool, Arc::clone(&fresh), "1").await.unwrap();
        assert_eq!(outcome.start, StartKind::Restored);
        assert_eq!(launcher.in_shells.load(Ordering::SeqCst), nth);
        eventually_in_task("a shell waits", async || {
            idle(&pool, CapacityKind::Shell) > 0
        })
        .await;
    }
    let shells = of_kind(&pool, CapacityKind::Shell).unwrap();
    assert_eq!(
        shells.memory_mb,
        3 * u64::from(shells.idle + shells.starting)
    );
    pool.forget(&fresh.revision).await;
    assert!(launcher.shells.lock().is_empty() && pool.capacity().groups.is_empty());
}

#[tokio::test]
async fn instances_that_a_target_asks_for_wait_for_events() {
    let launcher = Scripted::new(Script::Obey);
    let pool = pool(&launcher, 4);
    pool.target(function(), CapacityKind::Instance, 2).unwrap();
    eventually_in_task("both wait", async || {
        idle(&pool, CapacityKind::Instance) == 2
    })
    .await;
    invoke(&pool, "1").await.unwrap();
    assert_eq!(launcher.launched.load(Ordering::SeqCst), 2);
    let preparations = pool.target(function(), CapacityKind::Preparation, 1);
    let kind = TargetError::Kind(CapacityKind::Preparation);
    assert_eq!(preparations, Err(kind));
    let many = pool.target(function(), CapacityKind::Instance, 5);
    assert_eq!(many, Err(TargetError::TooMany(4)));
    pool.forget(&function().revision).await;
    assert_eq!(launcher.alive.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_preparation_ends_with_its_function_and_with_whoever_waits_for_it() {
    let launcher = Scripted::new(Script::SlowInit);
    let pool = Arc::new(pool(&launcher, 4));
    let prepare = || {
        let pool = Arc::clone(&pool);
        tokio::spawn(async move { pool.prepare(function()).await })
    };
    let starts =
        async || of_kind(&pool, CapacityKind::Preparation).is_some_and(|group| group.starting == 1);
    let nobody = prepare();
    eventually_in_task("it starts", starts).await;
    // Another of the same function waits for its end.
    let waits = prepare();
    eventually_in_task("it waits", async || {
        of_kind(&pool, CapacityKind::Preparation).is_some_and(|group| group.waiting == 1)
    })
    .await;
    nobody.abort();
    assert!(nobody.await.is_err());
    eventually_in_task("its turn has come", async || {
        of_kind(&pool, CapacityKind::Preparation).is_some_and(|group| group.waiting == 0)
    })
    .await;
    assert!(starts().await);
    eventually_in_task("it is launched", async || {
        launcher.launched.load(Ordering::SeqCst) == 2
    })
    .await;
    pool.forget(&function().revision).await;
    assert_eq!(launcher.alive.load(Ordering::SeqCst), 0);
    let told = waits.await.unwrap();
    assert!(matches!(told, Err(NoSnapshot::NotStarted(_))), "{told:?}");
    let told = pool.prepare(function()).await;
    let why = "its function was replaced or deleted".to_owned();
    assert_eq!(told, Err(NoSnapshot::NotStarted(why)));
}
