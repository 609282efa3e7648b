//! A node that does what a function's handler says, so that every outcome can be had at will.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use super::Double;
use bytes::Bytes;
use proto_node::{
    Body, BoxFuture, FunctionFault, FunctionSpec, Invoke, InvokeError, InvokeHead, InvokeOutcome,
    InvokeResult, LogRecord, LogSubscription, Logs, MAX_RESPONSE_BYTES, NoSnapshot, Parts, Reply,
    Revision, Revisions, Stage, StartKind, Taken, ThrottleReason, Timings,
};
use tokio::sync::{Semaphore, broadcast, mpsc};

/// Handlers: `answer.N` answers N bytes, `hang` waits for [`Scripted::release`], `forgotten` is turned
/// away after it, `busy`, `broken`, `panic`,
/// `timeout`, `exit` fail as they say; `stream…` streams, see [`super::streaming`]; everything else answers the event.
pub(crate) struct Scripted {
    /// Tells each event that `hang` has taken, and when it ends.
    pub(crate) events: mpsc::UnboundedSender<&'static str>,
    /// Each permit lets one `hang` go on.
    pub(crate) release: Arc<Semaphore>,
    /// Tells each revision that is to be forgotten.
    pub(crate) forgotten: mpsc::UnboundedSender<Revision>,
    /// Revisions that have a snapshot; `unprepared` and `uncapturable` ones never get one, `slow` ones
    /// wait for `release`.
    pub(crate) captured: Mutex<BTreeSet<Revision>>,
    pub(crate) logs: broadcast::Sender<Arc<LogRecord>>,
    /// Tells of each stream that is let go how many bytes of it were asked for.
    pub(crate) streamed: mpsc::UnboundedSender<u64>,
}

/// What a test hears from [`Scripted`].
pub(crate) struct Heard {
    pub(crate) events: mpsc::UnboundedReceiver<&'static str>,
    pub(crate) forgotten: mpsc::UnboundedReceiver<Revision>,
    pub(crate) streamed: mpsc::UnboundedReceiver<u64>,
}

impl Scripted {
    pub(crate) fn new() -> (Arc<Self>, Heard) {
        let (events, events_heard) = mpsc::unbounded_channel();
        let (forgotten, forgotten_heard) = mpsc::unbounded_channel();
        let (streamed, streamed_heard) = mpsc::unbounded_channel();
        let logs = broadcast::channel(64).0;
        let invoker = Self {
            events,
            release: Arc::new(Semaphore::new(0)),
            forgotten,
            captured: Mutex::default(),
            logs,
            streamed,
        };
        (
            Arc::new(invoker),
            Heard {
                events: events_heard,
                forgotten: forgotten_heard,
                streamed: streamed_heard,
            },
        )
    }

    async fn result(
        &self,
        function: &FunctionSpec,
        event: &InvokeHead,
        payload: &Bytes,
    ) -> Result<InvokeResult, InvokeError> {
        let id = &event.request_id;
        let answer = |bytes: Bytes| Ok(InvokeResult::Success(bytes));
        match function.handler.as_str() {
            "hang" => {
                let _ = self.events.send("started");
                self.release.acquire().await.unwrap().forget();
                let _ = self.events.send("finished");
                answer(Bytes::from_static(b"\"released\""))
            }
            "forgotten" => {
                let _ = self.events.send("started");
                self.release.acquire().await.unwrap().forget();
                Err(InvokeError::Throttled(ThrottleReason::Concurrency))
            }
            "busy" => Err(InvokeError::Throttled(ThrottleReason::Concurrency)),
            "broken" => Err(InvokeError::Sandbox("a secret path".to_owned())),
            "no-runtime" => Err(InvokeError::RuntimeUnavailable {
                runtime: function.runtime.clone(),
                reason: "no python3.11 here".to_owned(),
            }),
            "panic" => panic!("the node fell over"),
            "timeout" => Ok(InvokeResult::Fault(FunctionFault::timed_out(
                id,
                function.timeout,
            ))),
            "exit" => Ok(InvokeResult::Fault(FunctionFault::exited(
                id,
                Some("exit status 127"),
            ))),
            other => match other.strip_prefix("answer.") {
                Some(count) => answer(Bytes::from(vec![b'1'; count.parse().unwrap()])),
                None => answer(payload.clone()),
            },
        }
    }
}

impl Double for Arc<Scripted> {
    fn parts(self) -> Parts {
        Parts {
            invoke: Arc::clone(&self) as _,
            revisions: Arc::clone(&self) as _,
            logs: self,
            ..Parts::default()
        }
    }
}

impl Invoke for Scripted {
    fn invoke(
        &self,
        function: Arc<FunctionSpec>,
        event: InvokeHead,
        body: Body,
        taken: Taken,
    ) -> BoxFuture<'_, Result<Reply, InvokeError>> {
        Box::pin(async move {
            let started = Instant::now();
            let payload = body.read(MAX_RESPONSE_BYTES).await.unwrap();
            let _ = taken.tell();
            if let Some(kind) = function.handler.strip_prefix("stream") {
                return Ok(super::streaming::reply(self, &function, kind));
            }
            let result = self.result(&function, &event, &payload).await?;
            let mut timings = Timings::default();
            timings.push(Stage::Invoke, started.elapsed());
            Ok(Reply::from_outcome(InvokeOutcome {
                result,
                executed_version: function.version.clone(),
                log_tail: Bytes::from(vec![b'x'; 10_000]),
                start: match function.handler.as_str() {
                    "restored" => StartKind::Restored,
                    _ => StartKind::Warm,
                },
                restore: (function.handler == "restored").then(|| Duration::from_micros(3070)),
                exits: [("call".to_owned(), 12), ("fill".to_owned(), 3)].into(),
                timings,
            }))
        })
    }
}

impl Revisions for Scripted {
    fn forget(&self, revision: Revision) -> BoxFuture<'_, ()> {
        let _ = self.forgotten.send(revision);
        Box::pin(async {})
    }

    fn prepare(&self, function: Arc<FunctionSpec>) -> BoxFuture<'_, Result<(), NoSnapshot>> {
        Box::pin(async move {
            match function.handler.as_str() {
                "unprepared" => {
                    let reason = "Runtime.ImportModuleError: no app".to_owned();
                    return Err(NoSnapshot::NotStarted(reason));
                }
                "uncapturable" => {
                    return Err(NoSnapshot::GivenUp("a socket is in the way".to_owned()));
                }
                "slow" => {
                    let _ = self.events.send("preparing");
                    self.release.acquire().await.unwrap().forget();
                }
                _ => {}
            }
            let revision = function.revision.clone();
            self.captured.lock().unwrap().insert(revision);
            Ok(())
        })
    }

    fn has_snapshot(&self, function: Arc<FunctionSpec>) -> BoxFuture<'_, bool> {
        let has = self.captured.lock().unwrap().contains(&function.revision);
        Box::pin(async move { has })
    }

    fn outdated(&self) -> BoxFuture<'_, BTreeSet<Revision>> {
        Box::pin(async { BTreeSet::new() })
    }

    fn keep_only(&self, _: BTreeSet<Revision>) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

impl Logs for Scripted {
    fn subscribe(&self) -> LogSubscription {
        LogSubscription::new(self.logs.subscribe())
    }

    fn stored_logs(&self, _: &str, _: usize) -> BoxFuture<'_, Vec<LogRecord>> {
        Box::pin(async { Vec::new() })
    }

    fn remove_logs(&self, _: &str) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}
