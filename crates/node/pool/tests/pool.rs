//! Instances from launch to end, with sandboxes that follow a script.

mod capacity;
mod scripted;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base_eventually::eventually_in_task;
use proto_node::{
    Begun, InvokeError, InvokeResult, Isolation, LogKind, LogTail, NoSnapshot, Stage, StartKind,
    Taken, ThrottleReason, Unheard,
};
use scripted::{Script, Scripted, fault, function, invoke, invoke_one, pool};

#[tokio::test]
async fn the_second_event_is_warm_and_the_log_reads_as_on_aws() {
    let launcher = Scripted::new(Script::Obey);
    let pool = pool(&launcher, 4);
    let mut live = pool.logs().subscribe();
    let cold = invoke(&pool, "1").await.unwrap();
    assert_eq!(
        (cold.start, &cold.result),
        (StartKind::Cold, &InvokeResult::Success("1".into()))
    );
    assert!(
        cold.timings
            .0
            .iter()
            .any(|stage| stage.stage == Stage::RuntimeInit)
    );
    assert_eq!(cold.exits, [("call".to_owned(), 12)].into());
    let tail = String::from_utf8(cold.log_tail.to_vec()).unwrap();
    let lines: Vec<_> = tail.lines().collect();
    assert_eq!(
        &lines[..3],
        [
            "START RequestId: id Version: $LATEST",
            "working",
            "END RequestId: id"
        ]
    );
    assert!(
        lines[3].starts_with("REPORT RequestId: id\tDuration: ")
            && lines[3].contains("\tMax Memory Used: 30 MB\tInit Duration: ")
    );
    assert_eq!(lines.len(), 4);

    let warm = invoke(&pool, "2").await.unwrap();
    assert_eq!(
        (warm.start, launcher.launched.load(Ordering::SeqCst)),
        (StartKind::Warm, 1)
    );
    assert!(warm.exits.is_empty());
    assert!(!String::from_utf8_lossy(&warm.log_tail).contains("Init Duration"));

    let first = live.try_recv().unwrap();
    assert_eq!(
        (first.kind, first.request_id.as_deref()),
        (LogKind::Platform, None)
    );
    assert!(
        first
            .message
            .starts_with("INIT_START Runtime Version: python:3.11\tRuntime Version ARN: ")
    );
    assert_eq!(live.try_recv().unwrap().message, "loaded");
    assert_eq!(live.try_recv().unwrap().request_id.as_deref(), Some("id"));
    assert!(first.stream.contains("/[$LATEST]"));
}

#[tokio::test]
async fn events_at_once_get_instances_of_their_own_up_to_the_limit() {
    let launcher = Scripted::new(Script::Obey);
    let pool = pool(&launcher, 2);
    let all = tokio::join!(
        invoke(&pool, "nap"),
        invoke(&pool, "nap"),
        invoke(&pool, "nap"),
        invoke(&pool, "nap"),
        invoke(&pool, "nap")
    );
    let results = [all.0, all.1, all.2, all.3, all.4];
    let throttled =
        |r: &&Result<_, _>| matches!(r, Err(InvokeError::Throttled(ThrottleReason::Concurrency)));
    assert_eq!(
        results.iter().filter(throttled).count(),
        3,
        "two wait at most, and none started yet"
    );
    assert_eq!(launcher.launched.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn ends_of_every_kind_are_told_and_the_next_event_gets_a_new_instance() {
    let launcher = Scripted::new(Script::Obey);
    let pool = pool(&launcher, 4);
    for (event, error_type, message) in [
        (
            "exit",
            "Runtime.ExitError",
            "RequestId: id Error: Runtime exited with error: exit status 7",
        ),
        (
            "exit 0",
            "Runtime.ExitError",
            "RequestId: id Error: Runtime exited without providing a reason",
        ),
        (
            "segfault",
            "Runtime.ExitError",
            "RequestId: id Error: Runtime exited with error: signal: segmentation fault",
        ),
        (
            "oom",
            "Runtime.OutOfMemory",
            "RequestId: id Error: Runtime exited with error: signal: killed",
        ),
    ] {
        let (got_type, got, outcome) = fault(&pool, event).await;
        assert_eq!((got_type.as_str(), got.as_str()), (error_type, message));
        let tail = String::from_utf8(outcome.log_tail.to_vec()).unwrap();
        assert!(
            tail.contains(&format!("{message}\n{error_type}\nEND ")),
            "{tail}"
        );
        assert!(
            tail.contains(&format!("Status: error\tError Type: {error_type}")),
            "{tail}"
        );
        assert!(matches!(
            invoke(&pool, "1").await.unwrap().result,
            InvokeResult::Success(_)
        ));
    }
    assert!(matches!(
        invoke(&pool, "vanish").await,
        Err(InvokeError::Sandbox(_))
    ));
}

#[tokio::test]
async fn failed_events_leave_the_instance_alive() {
    let launcher = Scripted::new(Script::Obey);
    let pool = pool(&launcher, 4);
    invoke(&pool, "raise").await.unwrap();
    let (error_type, message, _) = fault(&pool, "large").await;
    assert_eq!(error_type, "Function.ResponseSizeTooLarge");
    assert!(message.contains("(6291556 bytes)"));
    assert_eq!(invoke(&pool, "1").await.unwrap().start, StartKind::Warm);
    assert_eq!(launcher.launched.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_takes_too_long_is_ended() {
    let launcher = Scripted::new(Script::Obey);
    let pool = pool(&launcher, 4);
    let (error_type, message, outcome) = fault(&pool, "hang").await;
    assert_eq!(error_type, "Sandbox.Timedout");
    assert_eq!(
        message,
        "RequestId: id Error: Task timed out after 3.00 seconds"
    );
    let tail = String::from_utf8(outcome.log_tail.to_vec()).unwrap();
    assert!(
        tail.contains("Z id Task timed out after 3.00 seconds\n"),
        "{tail}"
    );
    assert!(tail.contains("Status: timeout"));
    assert!(tail.contains("Max Memory Used: 40 MB"), "{tail}");
    assert_eq!(invoke(&pool, "1").await.unwrap().start, StartKind::Cold);
}

#[tokio::test(start_paused = true)]
async fn an_answer_does_not_wait_for_a_runtime_that_lingers() {
    let launcher = Scripted::new(Script::Obey);
    let pool = pool(&launcher, 4);
    let outcome = invoke(&pool, "linger").await.unwrap();
    assert_eq!(outcome.result, InvokeResult::Success("1".into()));
    assert_eq!(
        invoke(&pool, "1").await.unwrap().start,
        StartKind::Cold,
        "the first still lingers"
    );
}

#[tokio::test]
async fn init_failures_are_told_to_the_event() {
    let launcher = Scripted::new(Script::InitError);
    let (error_type, _, outcome) = fault(&pool(&launcher, 1), "1").await;
    assert_eq!((error_type.as_str(), outcome.start), ("X", StartKind::Cold));
    let launcher = Scripted::new(Script::ExitAtInit);
    let (_, message, _) = fault(&pool(&launcher, 1), "1").await;
    assert_eq!(
        message,
        "RequestId: id Error: Runtime exited with error: exit status 3"
    );
    let launcher = Scripted::new(Script::Unavailable);
    let refused = invoke(&pool(&launcher, 1), "1").await;
    assert!(matches!(
        refused,
        Err(InvokeError::RuntimeUnavailable { .. })
    ));
}

#[tokio::test]
async fn a_failed_init_is_tried_again_inside_the_event() {
    let launcher = Scripted::new(Script::FirstInitError);
    let pool = pool(&launcher, 1);
    let mut live = pool.logs().subscribe();
    let outcome = invoke(&pool, "1").await.unwrap();
    assert_eq!(outcome.result, InvokeResult::Success("1".into()));
    live.try_recv().unwrap();
    let report = live.try_recv().unwrap().message.clone();
    assert!(
        report.ends_with("Phase: init\tStatus: error\tError Type: Runtime.ImportModuleError"),
        "{report}"
    );
    assert_eq!(invoke(&pool, "2").await.unwrap().start, StartKind::Warm);

    // Not a third time; and what cannot get better is not tried again.
    for (script, launches) in [
        (Script::InitError, 2),
        (Script::ExitAtInit, 2),
        (Script::Unavailable, 1),
        (Script::HookFails, 1),
    ] {
        let launcher = Scripted::new(script);
        let _ = invoke(&scripted::pool(&launcher, 1), "1").await;
        assert_eq!(launcher.launched.load(Ordering::SeqCst), launches);
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_init_is_tried_again_inside_the_event() {
    let launcher = Scripted::new(Script::SlowFirstInit);
    let pool = pool(&launcher, 1);
    let mut live = pool.logs().subscribe();
    assert_eq!(
        invoke(&pool, "1").await.unwrap().result,
        InvokeResult::Success("1".into())
    );
    live.try_recv().unwrap();
    let report = live.try_recv().unwrap();
    assert!(
        report.message.starts_with("INIT_REPORT Init Duration: ")
            && report.message.ends_with("Phase: init\tStatus: timeout"),
        "{}",
        report.message
    );
    assert_eq!(invoke(&pool, "2").await.unwrap().start, StartKind::Warm);

    let launcher = Scripted::new(Script::SlowInit);
    let (error_type, _, _) = fault(&scripted::pool(&launcher, 1), "1").await;
    assert_eq!(
        (
            error_type.as_str(),
            launcher.launched.load(Ordering::SeqCst)
        ),
        ("Sandbox.Timedout", 2)
    );
}

#[tokio::test]
async fn a_flood_of_log_is_cut_with_a_count() {
    let launcher = Scripted::new(Script::Obey);
    let pool = pool(&launcher, 1);
    let mut live = pool.logs().subscribe();
    let outcome = invoke(&pool, "flood").await.unwrap();
    assert!(outcome.log_tail.len() <= 4096);
    // A subscriber that lags loses records, counts among them: what is left must still be mostly "dropped".
    let (mut kept, mut dropped) = (0, 0u64);
    loop {
        match live.try_recv() {
            Ok(record) if record.message.starts_with("LOGS_DROPPED Dropped Bytes: ") => {
                dropped += record
                    .message
                    .split(' ')
                    .nth(3)
                    .unwrap()
                    .parse::<u64>()
                    .unwrap();
            }
            Ok(record) => kept += record.message.len(),
            Err(tokio::sync::broadcast::error::TryRecvError::Lagged(_)) => {}
            Err(_) => break,
        }
    }
    assert!(kept < 8 << 20 && dropped > kept as u64, "{kept} {dropped}");
}

#[tokio::test]
async fn forgetting_stops_idle_instances_and_later_events() {
    let launcher = Scripted::new(Script::Obey);
    let pool = pool(&launcher, 4);
    invoke(&pool, "1").await.unwrap();
    assert_eq!(launcher.alive.load(Ordering::SeqCst), 1);
    pool.forget(&function().revision).await;
    assert_eq!(launcher.alive.load(Ordering::SeqCst), 0);
    assert!(matches!(
        invoke(&pool, "1").await,
        Err(InvokeError::Throttled(_))
    ));
}

#[tokio::test]
async fn idle_instances_end_after_a_while() {
    let launcher = Scripted::new(Script::Obey);
    let limits = node_pool::decide::Limits {
        idle: Duration::ZERO,
        ..Default::default()
    };
    let config = node_pool::PoolConfig {
        limits,
        ..Default::default()
    };
    let hub = std::sync::Arc::new(node_logs::LogHub::new(None));
    let pool = node_pool::Pool::new(launcher.clone(), hub, config);
    invoke(&pool, "1").await.unwrap();
    eventually_in_task("it has ended", async || pool.instances() == 0).await;
    assert_eq!(launcher.alive.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn shutdown_ends_everything() {
    let launcher = Scripted::new(Script::Obey);
    let pool = pool(&launcher, 4);
    let mut running = Box::pin(invoke(&pool, "hang"));
    assert!(stays_pending(&mut running).await);
    pool.shutdown(Duration::ZERO).await;
    assert!(matches!(running.await, Err(InvokeError::ShuttingDown)));
    assert!(matches!(
        invoke(&pool, "1").await,
        Err(InvokeError::ShuttingDown)
    ));
    assert_eq!(launcher.alive.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn dropping_the_pool_ends_everything() {
    let launcher = Scripted::new(Script::Obey);
    let pool = pool(&launcher, 4);
    assert!(stays_pending(&mut Box::pin(invoke(&pool, "hang"))).await);
    assert_eq!(launcher.alive.load(Ordering::SeqCst), 1);
    drop(pool);
    eventually_in_task("all have ended", async || {
        launcher.alive.load(Ordering::SeqCst) == 0
    })
    .await;
}

/// Lets the future run until it waits for something that will not come.
async fn stays_pending<F: Future + Unpin>(future: &mut F) -> bool {
    for _ in 0..100 {
        let polled = std::future::poll_fn(|context| {
            std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(context).is_pending())
        });
        if !polled.await {
            return false;
        }
        tokio::task::yield_now().await;
    }
    true
}

#[tokio::test]
async fn a_restored_instance_says_so_in_its_lines_and_in_its_outcome() {
    let launcher = Scripted::new(Script::Restored);
    let pool = pool(&launcher, 4);
    let mut live = pool.logs().subscribe();
    let first = invoke(&pool, "1").await.unwrap();
    assert_eq!(first.start, StartKind::Restored);
    assert_eq!(first.timings.of(Stage::Identity), Duration::from_millis(3));
    assert!(first.restore.is_some() && invoke(&pool, "2").await.unwrap().restore.is_none());
    let tail = String::from_utf8(first.log_tail.to_vec()).unwrap();
    assert!(tail.contains("\tMax Memory Used: 30 MB\tRestore Duration: "));
    assert!(tail.contains(" ms\tBilled Restore Duration: ") && !tail.contains("Init Duration"));
    let mut said = std::iter::from_fn(|| live.try_recv().ok()).map(|record| record.message.clone());
    let begin = "RESTORE_START Runtime Version: python:3.11\tRuntime Version ARN: ";
    assert!(said.next().unwrap().starts_with(begin));
    let report = said
        .find(|line| line.starts_with("RESTORE_REPORT "))
        .unwrap();
    assert!(report.starts_with("RESTORE_REPORT Restore Duration: ") && report.ends_with(" ms"));
    assert_eq!(invoke(&pool, "2").await.unwrap().start, StartKind::Warm);
}

#[tokio::test]
async fn a_hook_that_fails_after_restore_is_told_as_on_aws() {
    let launcher = Scripted::new(Script::HookFails);
    let pool = pool(&launcher, 4);
    let mut live = pool.logs().subscribe();
    let (error_type, message, _) = fault(&pool, "1").await;
    assert_eq!(
        (error_type.as_str(), message.as_str()),
        ("Runtime.AfterRestoreError", "m")
    );
    let said: Vec<_> = std::iter::from_fn(|| live.try_recv().ok()).collect();
    let report = said
        .iter()
        .find(|record| record.message.starts_with("RESTORE_REPORT "))
        .unwrap();
    let end = "\tStatus: error\tError Type: Runtime.AfterRestoreError";
    assert!(report.message.ends_with(end), "{}", report.message);
}

#[tokio::test]
async fn whoever_waits_for_a_snapshot_that_is_not_taken_goes_on() {
    let launcher = Scripted::new(Script::RestorePoint);
    let pool = pool(&launcher, 4);
    assert_eq!(invoke(&pool, "1").await.unwrap().start, StartKind::Cold);
}

#[tokio::test]
async fn whoever_is_to_be_captured_goes_on_whatever_became_of_it() {
    for (script, told) in [
        (Script::Captured, "kept 5ms"),
        (Script::CapturedLate, "kept 5ms"),
        (Script::Silent, "kept 5ms"),
        (Script::NotCaptured, "Busy: a file lock"),
    ] {
        let launcher = Scripted::new(script);
        let pool = pool(&launcher, 4);
        let mut live = pool.logs().subscribe();
        assert_eq!(invoke(&pool, "1").await.unwrap().start, StartKind::Cold);
        assert_eq!(*launcher.captures.lock(), [told]);
        let said = std::iter::from_fn(|| live.try_recv().ok());
        assert_eq!(said.filter(|r| r.message == "just before").count(), 1);
        assert_eq!(invoke(&pool, "2").await.unwrap().start, StartKind::Warm);
        assert_eq!(launcher.captures.lock().len(), 1);
    }
}

#[tokio::test]
async fn events_that_are_kept_apart_have_an_instance_each() {
    let launcher = Scripted::new(Script::Restored);
    let pool = pool(&launcher, 4);
    let mut fresh = Arc::unwrap_or_clone(function());
    fresh.isolation = Isolation::PerEvent;
    let fresh = Arc::new(fresh);
    // The last of them goes on after its answer, for nobody.
    for (nth, event) in ["1", "raise", "linger"].into_iter().enumerate() {
        let outcome = invoke_one(&pool, Arc::clone(&fresh), event).await.unwrap();
        assert_eq!(outcome.start, StartKind::Restored);
        assert_eq!(launcher.launched.load(Ordering::SeqCst), nth + 1);
    }
    pool.forget(&fresh.revision).await;
    assert_eq!(launcher.alive.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn an_event_whose_clone_breaks_before_it_is_served_by_another() {
    let launcher = Scripted::new(Script::Killed);
    let pool = pool(&launcher, 4);
    let outcome = invoke(&pool, "1").await.unwrap();
    assert_eq!(outcome.start, StartKind::Restored);
    assert_eq!(outcome.result, InvokeResult::Success("1".into()));
    let told = launcher.captures.lock().clone();
    assert!(
        told[0].starts_with("spoilt") && told[1] == "came up" && told.len() == 2,
        "{told:?}"
    );
}

#[tokio::test]
async fn a_platform_that_is_not_there_is_told_once_and_no_snapshot_is_blamed() {
    let launcher = Scripted::new(Script::NoPlatform);
    let refused = invoke(&pool(&launcher, 4), "1").await;
    let Err(InvokeError::PlatformUnavailable { reason }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(reason, "no /dev/kvm");
    assert_eq!(launcher.launched.load(Ordering::SeqCst), 1);
    assert!(launcher.captures.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_event_that_a_clone_has_begun_with_is_given_to_no_other() {
    for script in [Script::EndsBegun, Script::BegunUnheard] {
        let launcher = Scripted::new(script);
        let pool = pool(&launcher, 4);
        let refused = invoke(&pool, "1").await;
        assert!(
            matches!(refused, Err(InvokeError::Sandbox(_))),
            "{refused:?}"
        );
        assert_eq!(launcher.launched.load(Ordering::SeqCst), 1);
        // It is over and done with.
        pool.forget(&function().revision).await;
        assert_eq!(launcher.alive.load(Ordering::SeqCst), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_want_the_log_has_the_answer_before_the_turn_is_over() {
    let launcher = Scripted::new(Script::Obey);
    let pool = pool(&launcher, 1);
    let began = tokio::time::Instant::now();
    let request = |payload| scripted::request(payload, LogTail::None);
    let reply = pool.invoke(function(), request("linger")).await.unwrap();
    let outcome = reply.whole(100).await.unwrap();
    assert_eq!(outcome.result, InvokeResult::Success("1".into()));
    assert_eq!(began.elapsed(), Duration::ZERO);
    // An event that follows waits for that instance, for a moment, and then for room.
    let second = pool.invoke(function(), request("2"));
    let waiting = tokio::time::timeout(Duration::from_millis(249), second).await;
    assert!(waiting.is_err());
    assert_eq!(launcher.launched.load(Ordering::SeqCst), 1);

    let launcher = Scripted::new(Script::Obey);
    let pool = scripted::pool(&launcher, 4);
    for event in ["1", "2", "3"] {
        pool.invoke(function(), request(event)).await.unwrap();
    }
    assert_eq!(
        launcher.launched.load(Ordering::SeqCst),
        1,
        "one after the other"
    );
}

#[tokio::test]
async fn an_event_whose_clones_break_before_it_is_served_by_a_start_from_the_beginning() {
    let launcher = Scripted::new(Script::Spoilt);
    let pool = pool(&launcher, 4);
    let mut live = pool.logs().subscribe();
    let outcome = invoke(&pool, "1").await.unwrap();
    assert_eq!((outcome.start, outcome.restore), (StartKind::Cold, None));
    assert_eq!(outcome.result, InvokeResult::Success("1".into()));
    let spoilt = launcher.captures.lock().clone();
    assert!(
        spoilt.iter().all(|one| one.contains("Runtime.ExitError")),
        "{spoilt:?}"
    );
    assert_eq!(spoilt.len(), 2);
    let said: Vec<_> = std::iter::from_fn(|| live.try_recv().ok()).collect();
    let kinds = ["RESTORE_START", "RESTORE_REPORT", "INIT_START", "START"];
    let at = |kind: &str| {
        said.iter()
            .position(|r| r.message.starts_with(kind))
            .unwrap()
    };
    assert!(kinds.windows(2).all(|two| at(two[0]) < at(two[1])));
}

#[tokio::test]
async fn an_event_whose_instance_ends_in_its_capture_is_served_by_another() {
    let launcher = Scripted::new(Script::EndsInCapture);
    let pool = pool(&launcher, 4);
    let why = "the sandbox ended while it was captured";
    let prepared = pool.prepare(function()).await;
    assert_eq!(prepared, Err(NoSnapshot::GivenUp(why.to_owned())));
    launcher.captures.lock().clear();
    let outcome = invoke(&pool, "1").await.unwrap();
    assert_eq!(outcome.start, StartKind::Cold);
    assert_eq!(outcome.result, InvokeResult::Success("1".into()));
    assert_eq!(*launcher.captures.lock(), [format!("Guest: {why}")]);
    assert_eq!(launcher.launched.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_program_handles_the_events_that_warm_it_up_before_it_is_captured() {
    let launcher = Scripted::new(Script::Silent);
    let pool = pool(&launcher, 4);
    let mut live = pool.logs().subscribe();
    let mut warm = Arc::unwrap_or_clone(function());
    let events = "[{\"n\": 1}, 2]".to_owned();
    warm.environment.insert("REKINDLE_WARM_UP".into(), events);
    let outcome = invoke_one(&pool, Arc::new(warm), "3").await.unwrap();
    assert_eq!(outcome.result, InvokeResult::Success("3".into()));
    let mut said = std::iter::from_fn(|| live.try_recv().ok()).map(|record| record.message.clone());
    let before = said.by_ref().take_while(|line| line != "just before");
    assert_eq!(before.filter(|line| line == "working").count(), 2);
    assert_eq!(said.filter(|line| line == "working").count(), 1);
    // One that does not come to its end is the last try.
    let launcher = Scripted::new(Script::Silent);
    let pool = scripted::pool(&launcher, 4);
    let mut warm = Arc::unwrap_or_clone(function());
    warm.timeout = Duration::from_millis(1);
    let events = "[{\"hangs\": true}]".to_owned();
    warm.environment.insert("REKINDLE_WARM_UP".into(), events);
    let prepared = pool.prepare(Arc::new(warm)).await;
    let why = "an event for warming it up failed".to_owned();
    assert_eq!(prepared, Err(NoSnapshot::GivenUp(why)));
}

/// Whoever counts on a node's word must not hear it of an event that no instance got.
#[tokio::test(start_paused = true)]
async fn an_event_is_told_to_be_taken_once_and_only_if_an_instance_gets_it() {
    let launcher = Scripted::new(Script::Obey);
    let pool = scripted::pool(&launcher, 1);
    let (told, hears) = std::sync::mpsc::channel();
    let event = |payload, wait| {
        let told = told.clone();
        let mut event = scripted::request(payload, LogTail::Tail);
        event.head.queue_time = wait;
        event.taken = Taken::new(move || told.send(payload).map_err(|_| Unheard));
        event
    };
    let minute = Duration::from_secs(60);
    pool.invoke(function(), event("1", minute)).await.unwrap();
    pool.invoke(function(), event("2", minute)).await.unwrap();
    assert_eq!(hears.try_iter().collect::<Vec<_>>(), ["1", "2"]);
    let none = scripted::pool(&launcher, 0);
    let turned_away = none.invoke(function(), event("3", Duration::ZERO)).await;
    assert!(matches!(turned_away, Err(InvokeError::Throttled(_))));
    assert_eq!(hears.try_iter().count(), 0);
}

/// One that ran all the same could run a second time elsewhere.
#[tokio::test(start_paused = true)]
async fn an_event_that_nobody_would_hear_of_does_not_begin_and_keeps_no_instance() {
    for script in [Script::Obey, Script::Restored] {
        let launcher = Scripted::new(script);
        let pool = scripted::pool(&launcher, 1);
        // The first comes with the instance's start, the second to one that waits.
        for unheard in ["1", "3"] {
            let mut event = scripted::request(unheard, LogTail::Tail);
            event.taken = Taken::new(|| Err(Unheard));
            let turned_away = pool.invoke(function(), event).await.map(|_| ());
            let lost = InvokeError::NodeLost { begun: Begun::No };
            assert_eq!(turned_away, Err(lost));
            let heard = scripted::invoke(&pool, "2").await.unwrap();
            assert_eq!(heard.result, InvokeResult::Success("2".into()));
        }
    }
}
