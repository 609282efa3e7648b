//! From a captured instance to restored ones, and every way in which that does not work: the sandbox
//! is a stand-in that follows a script, everything else is real.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base_eventually::eventually_in_task;
use bytes::Bytes;
use node_agent::{Agent, AgentConfig, AgentError, SnapshotsError};
use node_snapshots::{ListedStatus, StoreError, StoreView};
use proto_node::{
    Body, Capacity as _, CodeRef, FunctionSpec, Invoke as _, InvokeHead, InvokeOutcome,
    InvokeResult, LogTail, MAX_RESPONSE_BYTES, NoSnapshot, Revision, Revisions as _, SnapStart,
    Stage, StartKind, Taken,
};
use proto_sandbox::Layer;

struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// An agent; waits until the last tasks of the one before have let go of the store.
    async fn agent(&self) -> Agent {
        let mut config = AgentConfig::new(self.path("node")).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts/sandbox.py");
        config.sandbox_command = vec![
            "/usr/bin/python3".into(),
            script.into(),
            self.directory.path().into(),
        ];
        config.layers = vec![Layer::Host];
        let mut started = None;
        // The last tasks of the one before may still hold the store.
        eventually_in_task("the agent starts", async || {
            match Agent::start(config.clone()) {
                Err(AgentError::Snapshots(SnapshotsError::Store(StoreError::Locked(_)))) => {}
                other => started = Some(other.unwrap()),
            }
            started.is_some()
        })
        .await;
        started.unwrap()
    }

    fn tell(&self, what: &str, how: &str) {
        std::fs::write(self.path(what), how).unwrap();
    }

    /// What the sandboxes did since the last look.
    fn did(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.path("log")).unwrap_or_default();
        let _ = std::fs::remove_file(self.path("log"));
        text.lines().map(str::to_owned).collect()
    }

    fn view(&self) -> StoreView {
        StoreView::open(&self.path("node/snapshots")).unwrap()
    }

    /// Some code that the agent has.
    fn code(&self) -> CodeRef {
        let code = CodeRef {
            sha256: "c0de".repeat(16),
            bytes: 1,
        };
        let tree = self.tree(&code);
        std::fs::create_dir_all(&tree).unwrap();
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        std::fs::write(tree.with_extension("boot"), boot.trim()).unwrap();
        code
    }

    /// Where the agent has that code unpacked.
    fn tree(&self, code: &CodeRef) -> PathBuf {
        self.path("node/code/trees").join(&code.sha256)
    }

    fn function(&self, revision: &str) -> Arc<FunctionSpec> {
        let variables = [("KEY", "s3cr3t-value"), ("REKINDLE_SECRETS", "KEY")];
        Arc::new(FunctionSpec {
            revision: Revision(revision.into()),
            name: "f".into(),
            version: "1".into(),
            arn: "arn:aws:lambda:us-east-1:000000000000:function:f".into(),
            account: "000000000000".into(),
            region: "us-east-1".into(),
            runtime: "python3".into(),
            handler: "app.handler".into(),
            architecture: "x86_64".into(),
            memory_mb: 128,
            timeout: Duration::from_secs(20),
            ephemeral_storage_mb: 512,
            environment: variables.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            code: self.code(),
            snap_start: SnapStart::On,
            isolation: Default::default(),
            platform: Default::default(),
            log_group: "/aws/lambda/f".into(),
        })
    }
}

async fn invoke(agent: &Agent, function: &Arc<FunctionSpec>) -> (StartKind, u64, InvokeOutcome) {
    let head = InvokeHead {
        request_id: "id".into(),
        invoked_arn: function.arn.clone(),
        client_context: None,
        trace_id: None,
        log_tail: LogTail::Tail,
        queue_time: Duration::from_secs(60),
    };
    let body = Body::whole(Bytes::from_static(b"1"));
    let reply = agent.invoke(Arc::clone(function), head, body, Taken::nobody());
    let outcome = reply
        .await
        .unwrap()
        .whole(MAX_RESPONSE_BYTES)
        .await
        .unwrap();
    let InvokeResult::Success(body) = &outcome.result else {
        panic!("{:?}", outcome.result)
    };
    let text = String::from_utf8(body.to_vec()).unwrap();
    let answered = text.trim_start_matches("{\"answered\": ").split(',').next();
    (outcome.start, answered.unwrap().parse().unwrap(), outcome)
}

/// A capture is put in place after its instance went on.
async fn settled(agent: &Agent, function: &Arc<FunctionSpec>) {
    let there = async || agent.has_snapshot(Arc::clone(function)).await;
    eventually_in_task("a snapshot is there", there).await;
}

/// Ends an agent with its instances; the next one starts anew.
async fn end(agent: Agent) {
    agent.drain(Duration::from_secs(5)).await;
    drop(agent);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_instance_is_captured_and_the_next_ones_are_restored() {
    let place = Place::new();
    let function = place.function("r1");
    let agent = place.agent().await;
    assert!(!agent.has_snapshot(Arc::clone(&function)).await);
    let (start, answered, _) = invoke(&agent, &function).await;
    assert_eq!((start, answered), (StartKind::Cold, 1));
    settled(&agent, &function).await;
    assert_eq!(place.did(), ["start", "capture"]);
    end(agent).await;

    let agent = place.agent().await;
    assert!(agent.has_snapshot(Arc::clone(&function)).await);
    let (start, answered, outcome) = invoke(&agent, &function).await;
    assert_eq!((start, answered), (StartKind::Restored, 42));
    assert_eq!(
        outcome.timings.of(Stage::Identity),
        Duration::from_millis(2)
    );
    assert!(String::from_utf8_lossy(&outcome.log_tail).contains("\tRestore Duration: "));
    let (start, answered, _) = invoke(&agent, &function).await;
    assert_eq!((start, answered), (StartKind::Warm, 43));
    assert_eq!(place.did(), ["restore well"]);
    let listed = place.view().list().remove(0);
    let about = listed.manifest.unwrap().about;
    assert_eq!(
        (about.function.as_str(), about.version.as_str()),
        ("f", "1")
    );
    assert_eq!(about.capture_us, 1500);

    // Another revision, and one that was not asked to be captured, have nothing of it.
    assert!(!agent.has_snapshot(place.function("r2")).await);
    let mut plain = Arc::unwrap_or_clone(place.function("r3"));
    plain.snap_start = SnapStart::Off;
    assert_eq!(invoke(&agent, &Arc::new(plain)).await.0, StartKind::Cold);
    assert_eq!(place.did(), ["start"]);
    agent.forget(function.revision.clone()).await;
    assert!(place.view().list().is_empty());
    // A server that was killed in the middle of a change told nobody to forget a revision.
    let left = place.function("r4");
    agent.prepare(Arc::clone(&left)).await.unwrap();
    agent.keep_only([left.revision.clone()].into()).await;
    assert!(agent.has_snapshot(Arc::clone(&left)).await);
    agent.keep_only([function.revision.clone()].into()).await;
    assert!(place.view().list().is_empty() && !agent.has_snapshot(Arc::clone(&left)).await);
    end(agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_is_no_good_is_followed_by_a_normal_start() {
    // How the restore ends; what becomes of the snapshot: is it in quarantine, is a new one made. One that may have
    // been killed is no proof; what breaks before its event is tried twice.
    for (how, quarantined, anew) in [
        ("damaged", true, true),
        ("die", false, false),
        ("break", true, false),
        ("foreign", false, true),
        ("host", false, false),
    ] {
        let place = Place::new();
        let function = place.function("r1");
        let agent = place.agent().await;
        invoke(&agent, &function).await;
        settled(&agent, &function).await;
        end(agent).await;
        place.did();
        place.tell("restore", how);
        let agent = place.agent().await;
        let (start, answered, _) = invoke(&agent, &function).await;
        assert_eq!((start, answered), (StartKind::Cold, 1), "{how}");
        if anew || !quarantined {
            settled(&agent, &function).await;
        }
        let restore = format!("restore {how}");
        let did: Vec<_> = place.did();
        let expected = match (how, anew) {
            ("break", _) => vec![restore.as_str(), &restore, "start"],
            (_, true) => vec![restore.as_str(), "start", "capture"],
            (_, false) => vec![restore.as_str(), "start"],
        };
        assert_eq!(did, expected);
        let all = place.view().list();
        let bad = |listed: &&node_snapshots::Listed| listed.status != ListedStatus::Ready;
        assert_eq!(
            all.iter().filter(bad).count(),
            usize::from(quarantined),
            "{how}"
        );
        end(agent).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_was_changed_on_disk_is_not_even_tried() {
    let place = Place::new();
    let function = place.function("r1");
    let agent = place.agent().await;
    invoke(&agent, &function).await;
    settled(&agent, &function).await;
    end(agent).await;
    place.did();
    let file = place.view().list()[0].directory.join("snapshot");
    std::fs::write(file, "state: 99 ").unwrap();
    let agent = place.agent().await;
    assert_eq!(invoke(&agent, &function).await.1, 1);
    settled(&agent, &function).await;
    assert_eq!(place.did(), ["start", "capture"]);
    end(agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_the_image_or_no_engine_means_no_snapshot_and_no_harm() {
    for how in ["secret", "unsupported"] {
        let place = Place::new();
        place.tell("capture", how);
        let agent = place.agent().await;
        let function = place.function("r1");
        assert_eq!(invoke(&agent, &function).await.1, 1);
        assert_eq!(place.did(), ["start", "capture"]);
        // What was refused is cleared away by its own task.
        let staging = place.path("node/snapshots/staging");
        eventually_in_task("it is cleared away", async || {
            std::fs::read_dir(&staging).unwrap().count() == 0
        })
        .await;
        assert!(
            !agent.has_snapshot(Arc::clone(&function)).await && place.view().list().is_empty(),
            "{how}"
        );
        // It is not asked again: a second instance of the revision starts without.
        agent.forget(Revision("none".into())).await;
        let other = Arc::clone(&function);
        let (first, second) = tokio::join!(invoke(&agent, &function), invoke(&agent, &other));
        assert!(first.1 + second.1 >= 3);
        assert!(!place.did().contains(&"capture".to_owned()));
        end(agent).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_was_prepared_has_its_snapshot_before_its_first_event() {
    let place = Place::new();
    let agent = place.agent().await;
    let function = place.function("r1");
    agent.prepare(Arc::clone(&function)).await.unwrap();
    assert!(agent.has_snapshot(Arc::clone(&function)).await);
    assert_eq!(
        (place.did(), agent.instances()),
        (vec!["start".into(), "capture".into()], 0)
    );
    let (start, answered, _) = invoke(&agent, &function).await;
    assert_eq!((start, answered), (StartKind::Restored, 42));
    // It starts without when none can be made, and whoever asks is told what is wrong with itself.
    place.tell("capture", "unsupported");
    let other = place.function("r2");
    place.did();
    let no_engine = Err(NoSnapshot::GivenUp("no engine".into()));
    assert_eq!(agent.prepare(Arc::clone(&other)).await, no_engine);
    assert_eq!(agent.prepare(Arc::clone(&other)).await, no_engine);
    assert_eq!(place.did(), ["start", "capture"], "not tried again");
    assert!(!agent.has_snapshot(Arc::clone(&other)).await);
    // What failed in the checks of what was written is told too.
    place.tell("capture", "secret");
    let leaky = agent.prepare(place.function("r4")).await;
    let Err(NoSnapshot::GivenUp(reason)) = leaky else {
        panic!("{leaky:?}")
    };
    assert!(
        reason.starts_with("the secret KEY is in the image"),
        "{reason}"
    );
    let mut impossible = Arc::unwrap_or_clone(place.function("r3"));
    impossible.runtime = "cobol".into();
    let failed = agent.prepare(Arc::new(impossible)).await;
    let Err(NoSnapshot::NotStarted(reason)) = failed else {
        panic!("{failed:?}")
    };
    assert!(reason.contains("no such runtime"), "{reason}");
    end(agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_knows_nothing_of_snapshots_is_captured_at_its_first_request_for_an_event() {
    let place = Place::new();
    place.tell("offer", "not");
    let bootstrap = place.tree(&place.code()).join("bootstrap");
    std::fs::write(&bootstrap, "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(&bootstrap, std::fs::Permissions::from_mode(0o755)).unwrap();
    let provided = |revision| {
        let mut function = Arc::unwrap_or_clone(place.function(revision));
        function.runtime = "provided.al2023".into();
        function.environment.clear();
        function
    };
    let agent = place.agent().await;
    let function = Arc::new(provided("r1"));
    agent.prepare(Arc::clone(&function)).await.unwrap();
    assert_eq!(place.did(), ["start", "capture"]);
    let (start, answered, _) = invoke(&agent, &function).await;
    assert_eq!((start, answered), (StartKind::Restored, 42));
    // An instance that is started by an event is captured on its way to it.
    let other = Arc::new(provided("r2"));
    let (start, answered, _) = invoke(&agent, &other).await;
    assert_eq!((start, answered), (StartKind::Cold, 1));
    settled(&agent, &other).await;
    place.did();
    // Our own runtimes say when they can be captured; and what one brings has its secrets from the start.
    let silent = agent.prepare(place.function("r3")).await;
    assert!(matches!(silent, Err(NoSnapshot::GivenUp(_))), "{silent:?}");
    let mut secretive = provided("r4");
    secretive.environment = place.function("r4").environment.clone();
    let kept = agent.prepare(Arc::new(secretive)).await;
    assert!(matches!(kept, Err(NoSnapshot::GivenUp(_))), "{kept:?}");
    assert_eq!(place.did(), ["start", "start"]);
    end(agent).await;
}

#[test]
fn variables_of_the_test_are_what_the_script_expects() {
    let place = Place::new();
    let secrets: BTreeMap<_, _> = place.function("r").secrets().into_iter().collect();
    assert_eq!(secrets["KEY"], "s3cr3t-value");
}
