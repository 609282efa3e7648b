//! A service over a registry of its own and a node that does what the test says.

#![allow(
    dead_code,
    reason = "not every test that shares this module needs all of it"
)]

use std::{
    collections::BTreeSet,
    io::{Cursor, Write},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use control_registry::{Registry, SnapshotPolicy};
use control_service::{Config, Event, InvokeError, Service};
use proto_lambda::{CreateFunctionRequest, FunctionCode, FunctionRef, Zip, limits};
use proto_node::{
    Body, BoxFuture, Code, CodeError, CodeRef, FunctionSpec, Invoke, InvokeHead, InvokeOutcome,
    InvokeResult, LogRecord, LogSubscription, LogTail, Logs, NoSnapshot, Nothing, Parts, Reply,
    Revision, Revisions, StartKind, Taken, ThrottleReason, Timings,
};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};

/// What the node was asked, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// To prepare a function with this handler.
    Prepare(String),
    /// To run an event with this handler.
    Invoke(String),
    /// To forget a revision.
    Forget(Revision),
    /// To keep no other revisions.
    KeepOnly(usize),
    /// To drop the log of a function.
    RemoveLogs(String),
}

/// Handlers: `slow` is prepared once [`Self::release`] lets it, `broken` cannot be, `fatal` fells the
/// preparation; `wait` runs once `release` lets it, `full` is turned away after it. All others answer their handler.
pub(crate) struct Node {
    asked: mpsc::UnboundedSender<Asked>,
    pub(crate) release: Semaphore,
    /// Revisions whose snapshots do not fit any more.
    pub(crate) outdated: Mutex<BTreeSet<Revision>>,
}

impl Node {
    fn ask(&self, asked: Asked) {
        let _ = self.asked.send(asked);
    }

    async fn released(&self) {
        self.release.acquire().await.unwrap().forget();
    }
}

impl Invoke for Node {
    fn invoke(
        &self,
        function: Arc<FunctionSpec>,
        _: InvokeHead,
        _: Body,
        _: Taken,
    ) -> BoxFuture<'_, Result<Reply, proto_node::InvokeError>> {
        Box::pin(async move {
            self.ask(Asked::Invoke(function.handler.clone()));
            match function.handler.as_str() {
                "wait" => self.released().await,
                "full" => {
                    self.released().await;
                    let reason = ThrottleReason::Concurrency;
                    return Err(proto_node::InvokeError::Throttled(reason));
                }
                _ => {}
            }
            Ok(Reply::from_outcome(InvokeOutcome {
                result: InvokeResult::Success(function.handler.clone().into()),
                executed_version: function.version.clone(),
                log_tail: Bytes::new(),
                start: StartKind::Warm,
                restore: None,
                exits: [].into(),
                timings: Timings::default(),
            }))
        })
    }
}

impl Revisions for Node {
    fn forget(&self, revision: Revision) -> BoxFuture<'_, ()> {
        self.ask(Asked::Forget(revision));
        Box::pin(async {})
    }

    fn keep_only(&self, revisions: BTreeSet<Revision>) -> BoxFuture<'_, ()> {
        self.ask(Asked::KeepOnly(revisions.len()));
        Box::pin(async {})
    }

    fn prepare(&self, function: Arc<FunctionSpec>) -> BoxFuture<'_, Result<(), NoSnapshot>> {
        Box::pin(async move {
            self.ask(Asked::Prepare(function.handler.clone()));
            match function.handler.as_str() {
                "slow" => self.released().await,
                "broken" => return Err(NoSnapshot::NotStarted("no such module".to_owned())),
                "fatal" => panic!("the node fell over"),
                _ => {}
            }
            Ok(())
        })
    }

    fn has_snapshot(&self, _: Arc<FunctionSpec>) -> BoxFuture<'_, bool> {
        Box::pin(async { true })
    }

    fn outdated(&self) -> BoxFuture<'_, BTreeSet<Revision>> {
        let outdated = self.outdated.lock().unwrap().clone();
        Box::pin(async { outdated })
    }
}

/// It has all code, so that nothing of its being handed over comes between what a test looks at.
impl Code for Node {
    fn has_code(&self, _: CodeRef) -> BoxFuture<'_, bool> {
        Box::pin(async { true })
    }

    fn put_code(&self, _: CodeRef, _: Body) -> BoxFuture<'_, Result<(), CodeError>> {
        Box::pin(async { Ok(()) })
    }

    fn remove_code(&self, _: CodeRef) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    fn keep_code(&self, _: BTreeSet<CodeRef>) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

impl Logs for Node {
    fn subscribe(&self) -> LogSubscription {
        Nothing.subscribe()
    }

    fn stored_logs(&self, _: &str, _: usize) -> BoxFuture<'_, Vec<LogRecord>> {
        Box::pin(async { Vec::new() })
    }

    fn remove_logs(&self, function: &str) -> BoxFuture<'_, ()> {
        self.ask(Asked::RemoveLogs(function.to_owned()));
        Box::pin(async {})
    }
}

/// A service whose functions start from snapshots.
pub(crate) struct World {
    pub(crate) service: Arc<Service>,
    pub(crate) node: Arc<Node>,
    asked: mpsc::UnboundedReceiver<Asked>,
    pub(crate) data: tempfile::TempDir,
}

impl World {
    /// Nobody is kept waiting for longer than `wait`.
    pub(crate) async fn new(wait: Duration) -> Self {
        Self::on(tempfile::tempdir().unwrap(), wait).await
    }

    /// Over what a service before it left.
    pub(crate) async fn on(data: tempfile::TempDir, wait: Duration) -> Self {
        let registry = Registry::open(control_registry::Config {
            snapshots: SnapshotPolicy::Always,
            ..control_registry::Config::new(data.path())
        });
        let (sender, asked) = mpsc::unbounded_channel();
        let node = Arc::new(Node {
            asked: sender,
            release: Semaphore::new(0),
            outdated: Mutex::default(),
        });
        let config = Config {
            queue_wait: wait,
            answer_wait: wait,
            ..Config::default()
        };
        let registry = Arc::new(registry.await.unwrap());
        let parts = Parts {
            invoke: Arc::clone(&node) as _,
            revisions: Arc::clone(&node) as _,
            code: Arc::clone(&node) as _,
            logs: Arc::clone(&node) as _,
            ..Parts::default()
        };
        let service = Service::start(registry, Arc::new(parts), config).await;
        let mut world = Self {
            service,
            node,
            asked,
            data,
        };
        assert!(matches!(world.asked().await, Asked::KeepOnly(_)));
        world
    }

    /// The next thing that the node is asked.
    pub(crate) async fn asked(&mut self) -> Asked {
        self.asked.recv().await.unwrap()
    }

    /// That nothing more was asked until now.
    pub(crate) fn asked_nothing(&mut self) {
        assert!(self.asked.try_recv().is_err());
    }

    pub(crate) async fn create(&self, name: &str, handler: &str) {
        self.service.create(creation(name, handler)).await.unwrap();
    }

    /// Gives a function another handler.
    pub(crate) async fn update(&self, name: &str, handler: &str) {
        let request = serde_json::from_value(json!({ "Handler": handler })).unwrap();
        let updating = self.service.update_configuration(named(name), request);
        updating.await.unwrap();
    }

    /// The handler that ran an event.
    pub(crate) async fn invoke(&self, name: &str) -> Result<String, InvokeError> {
        let admission = self.service.admit(named(name)).unwrap();
        match self.service.invoke(admission, event()).await?.result {
            InvokeResult::Success(body) => Ok(String::from_utf8(body.to_vec()).unwrap()),
            InvokeResult::Fault(fault) => panic!("{fault:?}"),
        }
    }

    pub(crate) fn revision(&self, name: &str) -> Revision {
        let function = self.service.registry().find(&named(name)).unwrap();
        function.record.revision.clone()
    }

    /// State, reason code and reason of a function, as text.
    pub(crate) async fn state(&self, name: &str) -> Value {
        let found = self.service.configuration(&named(name)).await.unwrap();
        let all = serde_json::to_value(found).unwrap();
        json!([all["State"], all["StateReasonCode"], all["StateReason"]])
    }
}

pub(crate) fn event() -> Event {
    Event {
        request_id: "id".to_owned(),
        payload: Bytes::from_static(b"{}"),
        client_context: None,
        trace_id: None,
        log_tail: LogTail::None,
    }
}

pub(crate) fn named(name: &str) -> FunctionRef {
    FunctionRef::parse(name, limits::NAMESPACED_NAME_CHARS).unwrap()
}

pub(crate) fn creation(name: &str, handler: &str) -> CreateFunctionRequest {
    let body = json!({
        "FunctionName": name, "Role": "arn:aws:iam::123456789012:role/r",
        "Runtime": "python3.11", "Handler": handler,
    });
    let mut request: CreateFunctionRequest = serde_json::from_value(body).unwrap();
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    writer.start_file("app.py", options).unwrap();
    writer.write_all(name.as_bytes()).unwrap();
    let zip = writer.finish().unwrap().into_inner();
    request.code = Some(FunctionCode {
        zip_file: Some(Zip(zip.into())),
        ..FunctionCode::default()
    });
    request
}
