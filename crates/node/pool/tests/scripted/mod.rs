//! A launcher whose sandboxes do what the test says, without a process.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use node_logs::LogHub;
use node_pool::decide::{InstanceId, Limits};
use node_pool::{
    Arrival, Capture, CapturePoint, First, LaunchError, Launcher, Link, NoShell, Pool, PoolConfig,
    TakeFirst,
};
use parking_lot::Mutex;
use proto_node::{
    BoxFuture, CodeRef, FunctionSpec, InvokeError, InvokeHead, InvokeOutcome, InvokeResult,
    LogTail, MAX_RESPONSE_BYTES, Revision, StartKind, Taken,
};
use proto_sandbox::{
    EventHead, ExitReason, FailureKind, FromSandbox, GuestExit, LogStream, Message, Outcome,
    PIECE_BYTES, RefusalKind, RestoreStage, RestoreTime, STREAM_WINDOW, StageName, ToSandbox,
};
use tokio::sync::{Notify, mpsc};

/// What a sandbox does at its start and with each event, by the event's text.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Script {
    /// Initialises, then obeys its events.
    Obey,
    /// Never initialises.
    SlowInit,
    /// Initialises only from the second launch on.
    SlowFirstInit,
    /// Reports an init error at the first launch only.
    FirstInitError,
    /// Reports an init error.
    InitError,
    /// Exits during initialisation.
    ExitAtInit,
    /// Comes back from a snapshot.
    Restored,
    /// Comes back from a snapshot two times, and ends; the third starts from the beginning.
    Spoilt,
    /// Comes back from a snapshot each time, and ends the first time.
    Killed,
    /// Comes back from a snapshot with an event, and ends when it has begun.
    EndsBegun,
    /// The same, and what it said is not heard before it is ended for taking too long.
    BegunUnheard,
    /// Is to come back from a snapshot, and the platform is not there.
    NoPlatform,
    /// Comes back from a snapshot; its hook fails.
    HookFails,
    /// Stops where a snapshot could be taken, until it is told to go on.
    RestorePoint,
    /// Asks to be captured, is, and goes on.
    Captured,
    /// Says nothing of snapshots, and is captured when it asks for its first event.
    Silent,
    /// As `Silent`, but the sandbox ends when it is captured.
    EndsInCapture,
    /// Asks to be captured and cannot be.
    NotCaptured,
    /// Asks to be captured and is ready before it is.
    CapturedLate,
    /// Cannot be launched.
    Unavailable,
}

const BEGUN: FromSandbox = FromSandbox::Begun {
    nanoseconds: 1,
    at: 0,
};

pub(crate) struct Scripted {
    script: Script,
    /// What became of captures, in order.
    pub(crate) captures: Arc<Mutex<Vec<String>>>,
    pub(crate) launched: AtomicUsize,
    /// Bytes of streamed responses that were sent.
    pub(crate) streamed: Arc<AtomicUsize>,
    pub(crate) alive: Arc<AtomicUsize>,
    /// Shells that wait, and how many launches found one.
    pub(crate) shells: Mutex<BTreeSet<InstanceId>>,
    pub(crate) in_shells: AtomicUsize,
}

impl Scripted {
    pub(crate) fn new(script: Script) -> Arc<Self> {
        Arc::new(Self {
            script,
            captures: Arc::default(),
            launched: AtomicUsize::new(0),
            streamed: Arc::default(),
            alive: Arc::default(),
            shells: Mutex::default(),
            in_shells: AtomicUsize::new(0),
        })
    }
}

struct ScriptedCapture(Arc<Mutex<Vec<String>>>);

impl Capture for ScriptedCapture {
    fn max_bytes(&self) -> u64 {
        1 << 20
    }

    fn descriptors(&self) -> io::Result<Vec<OwnedFd>> {
        Ok(vec![File::open("/dev/null")?.into()])
    }

    fn keep(self: Box<Self>, stood_still: Duration) -> BoxFuture<'static, Result<(), String>> {
        self.0.lock().push(format!("kept {stood_still:?}"));
        Box::pin(async { Ok(()) })
    }

    fn give_up(self: Box<Self>, kind: RefusalKind, reason: &str) {
        self.0.lock().push(format!("{kind:?}: {reason}"));
    }
}

struct ScriptedLink {
    script: Script,
    nth: usize,
    answers: mpsc::WeakUnboundedSender<Message<FromSandbox>>,
    resume: Arc<Notify>,
    events: mpsc::UnboundedSender<(EventHead, Bytes)>,
    credits: mpsc::UnboundedSender<u64>,
    messages: mpsc::UnboundedReceiver<Message<FromSandbox>>,
    /// Said in time to be heard at its end.
    last: Option<FromSandbox>,
    alive: Arc<AtomicUsize>,
}

impl Drop for ScriptedLink {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

/// How the `nth` sandbox of a script comes up.
fn start(script: Script, nth: usize) -> StartKind {
    match script {
        Script::Restored
        | Script::HookFails
        | Script::Killed
        | Script::NoPlatform
        | Script::EndsBegun
        | Script::BegunUnheard => StartKind::Restored,
        Script::Spoilt if nth < 2 => StartKind::Restored,
        _ => StartKind::Cold,
    }
}

impl ScriptedLink {
    /// Its last words, although its guest works on.
    fn stop(&mut self) {
        if let Some(answers) = self.answers.upgrade() {
            let head = FromSandbox::Exited {
                status: GuestExit::Signal(9),
                reason: ExitReason::Stopped,
                max_memory_bytes: 40 << 20,
            };
            let payload = Vec::new();
            let _ = answers.send(Message { head, payload });
        }
        self.messages.close();
    }
}

impl Link for ScriptedLink {
    fn start(&self) -> StartKind {
        start(self.script, self.nth)
    }

    fn send(&mut self, head: ToSandbox, payload: Bytes) -> BoxFuture<'_, io::Result<()>> {
        match head {
            ToSandbox::Event(head) => drop(self.events.send((head, payload))),
            ToSandbox::Credit { bytes, .. } => drop(self.credits.send(bytes)),
            ToSandbox::Resume { .. } => self.resume.notify_one(),
            ToSandbox::Stop => self.stop(),
            _ => {}
        }
        Box::pin(async { Ok(()) })
    }

    fn send_with(
        &mut self,
        head: ToSandbox,
        descriptors: Vec<OwnedFd>,
    ) -> BoxFuture<'_, io::Result<()>> {
        assert!(matches!(head, ToSandbox::Capture(_)), "{head:?}");
        assert_eq!(descriptors.len(), head.descriptors());
        if self.script == Script::EndsInCapture {
            self.messages.close();
            return Box::pin(async { Ok(()) });
        }
        let head = match self.script {
            Script::Captured | Script::CapturedLate | Script::Silent => FromSandbox::Captured {
                bytes: 1000,
                nanoseconds: 5_000_000,
            },
            _ => FromSandbox::Refused {
                kind: RefusalKind::Guest,
                reason: "a file lock".to_owned(),
            },
        };
        if let Some(answers) = self.answers.upgrade() {
            let log = FromSandbox::Log {
                stream: LogStream::Stdout,
                dropped: 0,
            };
            let late = (self.script == Script::CapturedLate).then_some((FromSandbox::Ready, ""));
            let said = [(log, "just before\n")].into_iter().chain(late);
            for (head, payload) in said.chain([(head, "")]) {
                let payload = payload.as_bytes().to_vec();
                let _ = answers.send(Message { head, payload });
            }
        }
        Box::pin(async { Ok(()) })
    }

    fn receive(&mut self) -> BoxFuture<'_, io::Result<Option<Message<FromSandbox>>>> {
        Box::pin(async { Ok(self.messages.recv().await) })
    }

    fn end_now(&mut self) -> BoxFuture<'_, ()> {
        if let (Some(head), Some(answers)) = (self.last.take(), self.answers.upgrade()) {
            let payload = Vec::new();
            let _ = answers.send(Message { head, payload });
        }
        self.messages.close();
        Box::pin(async {})
    }

    fn kill(self: Box<Self>) -> BoxFuture<'static, String> {
        Box::pin(async { String::new() })
    }
}

impl Launcher for Scripted {
    fn launch<'a>(
        &'a self,
        function: &'a FunctionSpec,
        _stream: &'a str,
        shell: Option<InstanceId>,
        take_first: TakeFirst<'a>,
    ) -> BoxFuture<'a, Result<Box<dyn Link>, LaunchError>> {
        let nth = self.launched.fetch_add(1, Ordering::SeqCst);
        if let Some(shell) = shell {
            assert!(self.shells.lock().remove(&shell), "it was made");
            self.in_shells.fetch_add(1, Ordering::SeqCst);
        }
        if self.script == Script::Unavailable {
            let runtime = function.runtime.clone();
            let error = LaunchError::RuntimeUnavailable {
                runtime,
                reason: "none".into(),
            };
            return Box::pin(async { Err(error) });
        }
        let (events, received) = mpsc::unbounded_channel();
        let (credits, credited) = mpsc::unbounded_channel();
        let heard = Heard {
            events: received,
            credits: credited,
            streamed: Arc::clone(&self.streamed),
        };
        let (sender, messages) = mpsc::unbounded_channel();
        let resume = Arc::new(Notify::new());
        let answers = sender.downgrade();
        let out = Out(sender, Arc::clone(&resume));
        let restored = start(self.script, nth) == StartKind::Restored;
        let first = restored.then(take_first).flatten();
        tokio::spawn(play(self.script, (nth, first), heard, out));
        self.alive.fetch_add(1, Ordering::SeqCst);
        let alive = Arc::clone(&self.alive);
        let link: Box<dyn Link> = Box::new(ScriptedLink {
            script: self.script,
            nth,
            answers,
            resume,
            events,
            credits,
            messages,
            last: (self.script == Script::BegunUnheard).then_some(BEGUN),
            alive,
        });
        Box::pin(async { Ok(link) })
    }

    fn make_shell<'a>(
        &'a self,
        id: InstanceId,
        _function: &'a FunctionSpec,
    ) -> BoxFuture<'a, Result<(), NoShell>> {
        let made = match self.script {
            Script::Restored => {
                self.shells.lock().insert(id);
                Ok(())
            }
            _ => Err(NoShell::NoSnapshot),
        };
        Box::pin(async { made })
    }

    fn drop_shell(&self, id: InstanceId) -> BoxFuture<'_, ()> {
        assert!(self.shells.lock().remove(&id), "it was made");
        Box::pin(async {})
    }

    fn capture<'a>(
        &'a self,
        _function: &'a FunctionSpec,
        moment: CapturePoint,
    ) -> BoxFuture<'a, Option<Box<dyn Capture>>> {
        let captures = Arc::clone(&self.captures);
        let wanted = match self.script {
            Script::Captured | Script::NotCaptured | Script::CapturedLate => {
                moment == CapturePoint::Asked
            }
            Script::Silent => moment == CapturePoint::FirstEvent,
            Script::EndsInCapture => captures.lock().is_empty(),
            _ => false,
        };
        Box::pin(
            async move { wanted.then(|| Box::new(ScriptedCapture(captures)) as Box<dyn Capture>) },
        )
    }

    fn spoilt<'a>(&'a self, _: &'a FunctionSpec, reason: &'a str) -> BoxFuture<'a, ()> {
        self.captures.lock().push(format!("spoilt: {reason}"));
        Box::pin(async {})
    }

    fn came_up(&self, _: &FunctionSpec) {
        self.captures.lock().push("came up".to_owned());
    }

    fn runtime_version(&self, _: &FunctionSpec) -> String {
        "python:3.11".into()
    }
}

/// What a sandbox hears.
struct Heard {
    events: mpsc::UnboundedReceiver<(EventHead, Bytes)>,
    credits: mpsc::UnboundedReceiver<u64>,
    streamed: Arc<AtomicUsize>,
}

impl Heard {
    /// Sends a response in pieces as far as it is let; `ends` says how it is over.
    async fn stream(&mut self, out: &Out, request_id: &str, pieces: usize, ends: Ends) {
        let request_id = request_id.to_owned();
        let head = FromSandbox::ResponseHead {
            request_id: request_id.clone(),
            content_type: Some("text/x".into()),
        };
        out.say(head, b"");
        let mut window = STREAM_WINDOW;
        for number in 0..pieces {
            let piece = vec![u8::try_from(number % 256).unwrap(); PIECE_BYTES];
            while window < PIECE_BYTES as u64 && ends != Ends::Overrun {
                let Some(bytes) = self.credits.recv().await else {
                    return;
                };
                window += bytes;
            }
            window = window.saturating_sub(PIECE_BYTES as u64);
            self.streamed.fetch_add(PIECE_BYTES, Ordering::SeqCst);
            let request_id = request_id.clone();
            out.say(FromSandbox::ResponsePiece { request_id }, &piece);
        }
        let (failure, body) = match ends {
            Ends::Never => std::future::pending().await,
            Ends::Well | Ends::Overrun => (None, &b""[..]),
            Ends::Badly => (
                Some(Outcome::Function { error_type: None }),
                &b"{\"e\":1}"[..],
            ),
        };
        let end = FromSandbox::ResponseEnd {
            request_id,
            failure,
            exits: [("call".to_owned(), 12)].into(),
        };
        out.say(end, body);
    }
}

/// How a streamed response is over.
#[derive(Clone, Copy, PartialEq)]
enum Ends {
    Well,
    Badly,
    Never,
    /// It does not wait for credit.
    Overrun,
}

struct Out(mpsc::UnboundedSender<Message<FromSandbox>>, Arc<Notify>);

impl Out {
    fn say(&self, head: FromSandbox, payload: &[u8]) {
        let _ = self.0.send(Message {
            head,
            payload: payload.to_vec(),
        });
    }

    fn exit(&self, status: GuestExit, reason: ExitReason) {
        self.say(
            FromSandbox::Exited {
                status,
                reason,
                max_memory_bytes: 1 << 20,
            },
            b"",
        );
    }
}

async fn play(script: Script, (nth, first): (usize, Option<First>), mut heard: Heard, out: Out) {
    for name in [
        StageName::Sandbox,
        StageName::RootFs,
        StageName::Exec,
        StageName::RuntimeInit,
    ] {
        out.say(
            FromSandbox::Stage {
                name,
                nanoseconds: 1000,
            },
            b"",
        );
    }
    match script {
        Script::NoPlatform => {
            let message = "no /dev/kvm".to_owned();
            let kind = FailureKind::Platform;
            return out.say(FromSandbox::Failed { kind, message }, b"");
        }
        Script::SlowInit => std::future::pending::<()>().await,
        Script::SlowFirstInit if nth == 0 => std::future::pending::<()>().await,
        Script::InitError | Script::FirstInitError if script == Script::InitError || nth == 0 => {
            let error_type = Some("Runtime.ImportModuleError".to_owned());
            out.say(
                FromSandbox::InitError { error_type },
                b"{\"errorType\":\"X\"}",
            );
            return;
        }
        Script::Restored | Script::HookFails | Script::EndsBegun | Script::BegunUnheard => {
            let stage = RestoreStage::Identity;
            let times = [2_000_000, 1_000_000]
                .map(|nanoseconds| RestoreTime { stage, nanoseconds })
                .to_vec();
            out.say(FromSandbox::Restored { times }, b"");
            if script == Script::HookFails {
                let error_type = Some("Runtime.AfterRestoreError".to_owned());
                let body = b"{\"errorType\":\"Runtime.AfterRestoreError\",\"errorMessage\":\"m\"}";
                out.say(FromSandbox::RestoreError { error_type }, body);
                return;
            }
            if script == Script::BegunUnheard {
                std::future::pending::<()>().await;
            }
        }
        Script::RestorePoint => {
            out.say(FromSandbox::RestorePoint, b"");
            out.1.notified().await;
        }
        Script::Captured | Script::NotCaptured | Script::CapturedLate => {
            out.say(FromSandbox::CaptureAsked, b"");
            out.1.notified().await;
        }
        Script::Spoilt | Script::Killed if nth == 0 || script == Script::Spoilt && nth == 1 => {
            out.say(FromSandbox::Restored { times: Vec::new() }, b"");
            return out.exit(GuestExit::Signal(11), ExitReason::Itself);
        }
        Script::ExitAtInit => return out.exit(GuestExit::Code(3), ExitReason::Itself),
        _ => {}
    }
    out.say(
        FromSandbox::Log {
            stream: LogStream::Stdout,
            dropped: 0,
        },
        b"loaded\n",
    );
    let mut early = first.map(|first| (first.event.head, first.body));
    if early.is_some() {
        out.say(BEGUN, b"");
        if script == Script::EndsBegun {
            return;
        }
    } else if script != Script::CapturedLate {
        out.say(FromSandbox::Ready, b"");
    }
    loop {
        let next = match early.take() {
            Some(event) => Some(event),
            None => heard.events.recv().await,
        };
        let Some((head, payload)) = next else { return };
        let request_id = head.request_id.clone();
        let error = |outcome| FromSandbox::Error {
            request_id: request_id.clone(),
            outcome,
        };
        let log = FromSandbox::Log {
            stream: LogStream::Stdout,
            dropped: 0,
        };
        match &payload[..] {
            b"exit" => return out.exit(GuestExit::Code(7), ExitReason::Itself),
            b"exit 0" => return out.exit(GuestExit::Code(0), ExitReason::Itself),
            b"segfault" => return out.exit(GuestExit::Signal(11), ExitReason::Itself),
            b"oom" => return out.exit(GuestExit::Signal(9), ExitReason::OutOfMemory),
            b"vanish" => return,
            b"hang" | b"{\"hangs\": true}" => std::future::pending::<()>().await,
            b"nap" => tokio::time::sleep(Duration::from_secs(1)).await,
            b"raise" => out.say(error(Outcome::Function { error_type: None }), b"{\"e\":1}"),
            b"large" => out.say(error(Outcome::ResponseTooLarge), b""),
            b"flood" => {
                for _ in 0..100 {
                    out.say(log.clone(), &b"all work and no play\n".repeat(50_000));
                }
            }
            b"stream" => heard.stream(&out, &request_id, 64, Ends::Well).await,
            b"stream badly" => heard.stream(&out, &request_id, 1, Ends::Badly).await,
            b"stream for ever" => heard.stream(&out, &request_id, 1, Ends::Never).await,
            b"stream too much" => heard.stream(&out, &request_id, 5, Ends::Overrun).await,
            b"stream and exit" => {
                let streaming = heard.stream(&out, &request_id, 1, Ends::Never);
                let _ = tokio::time::timeout(Duration::from_millis(1), streaming).await;
                return out.exit(GuestExit::Code(7), ExitReason::Itself);
            }
            b"linger" => {
                out.say(
                    FromSandbox::Response {
                        request_id: request_id.clone(),
                        content_type: None,
                        exits: [("call".to_owned(), 12)].into(),
                    },
                    b"1",
                );
                std::future::pending::<()>().await;
            }
            _ => out.say(log, b"working"),
        }
        if !matches!(&payload[..], b"raise" | b"large") && !payload.starts_with(b"stream") {
            out.say(
                FromSandbox::Response {
                    request_id,
                    content_type: None,
                    exits: [("call".to_owned(), 12)].into(),
                },
                &payload,
            );
        }
        out.say(
            FromSandbox::Usage {
                max_memory_bytes: 30 << 20,
            },
            b"",
        );
    }
}

pub(crate) fn function() -> Arc<FunctionSpec> {
    Arc::new(FunctionSpec {
        revision: Revision("r".into()),
        name: "f".into(),
        version: "$LATEST".into(),
        arn: "arn:aws:lambda:us-east-1:000000000000:function:f".into(),
        account: "000000000000".into(),
        region: "us-east-1".into(),
        runtime: "python3.11".into(),
        handler: "app.handler".into(),
        architecture: "x86_64".into(),
        memory_mb: 128,
        timeout: Duration::from_secs(3),
        ephemeral_storage_mb: 512,
        environment: Default::default(),
        code: CodeRef {
            sha256: String::new(),
            bytes: 0,
        },
        snap_start: Default::default(),
        isolation: Default::default(),
        platform: Default::default(),
        log_group: "/aws/lambda/f".into(),
    })
}

pub(crate) fn pool(launcher: &Arc<Scripted>, instances: usize) -> Pool {
    let limits = Limits {
        instances,
        waiting: 2,
        ..Limits::default()
    };
    let config = PoolConfig {
        limits,
        ..PoolConfig::default()
    };
    Pool::new(
        Arc::clone(launcher) as Arc<dyn Launcher>,
        Arc::new(LogHub::new(None)),
        config,
    )
}

pub(crate) async fn invoke(
    pool: &Pool,
    payload: &'static str,
) -> Result<InvokeOutcome, InvokeError> {
    invoke_one(pool, function(), payload).await
}

pub(crate) async fn invoke_one(
    pool: &Pool,
    function: Arc<FunctionSpec>,
    payload: &'static str,
) -> Result<InvokeOutcome, InvokeError> {
    let reply = pool
        .invoke(function, request(payload, LogTail::Tail))
        .await?;
    reply.whole(MAX_RESPONSE_BYTES).await
}

pub(crate) fn request(payload: &'static str, log_tail: LogTail) -> Arrival {
    let head = InvokeHead {
        request_id: "id".into(),
        invoked_arn: "arn".into(),
        client_context: None,
        trace_id: None,
        log_tail,
        queue_time: Duration::from_secs(30),
    };
    Arrival {
        head,
        payload: Bytes::from_static(payload.as_bytes()),
        taken: Taken::nobody(),
    }
}

/// The error type and message of an event that fails.
pub(crate) async fn fault(pool: &Pool, payload: &'static str) -> (String, String, InvokeOutcome) {
    let outcome = invoke(pool, payload).await.unwrap();
    let InvokeResult::Fault(fault) = &outcome.result else {
        panic!("{:?}", outcome.result)
    };
    let body: serde_json::Value = serde_json::from_slice(&fault.body).unwrap();
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    (text("errorType"), text("errorMessage"), outcome)
}
