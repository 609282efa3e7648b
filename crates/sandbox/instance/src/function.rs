//! A sandbox that is a Lambda function: the Runtime API inside, turns outside.
//!
//! The API's sink runs in guest threads, which must not freeze themselves: it sends answers
//! at once and leaves freezing to the thread of turns.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kernel_syscall::System;
use kernel_vfs::save::Unsavable;
use parking_lot::Mutex;
use platform_api::Exit;
use proto_sandbox::{EventHead, FailureKind, FirstEvent, FromSandbox, FunctionSpec, StageName};
use sandbox_api::ApiServer;
use sandbox_runtime::{Event, Limits, RuntimeEvent, Waiting};
use sandbox_snapshot::Moment;

use crate::instance::Instance;
use crate::outbox::Outbox;
use crate::restore::Spaces;
use crate::stdio::Flusher;
use crate::{Failure, memory::MemoryWatch};

/// How long a freeze may take before the instance counts as broken.
const FREEZE_LIMIT: Duration = Duration::from_secs(2);

/// What the thread of turns is told.
enum Turn {
    Connected(Instant),
    /// The runtime waits in `restore/next`.
    RestorePoint(Instant),
    /// Somebody wrote to `/proc/rekindle/snapshot`.
    CaptureAsked(Instant),
    /// Whoever waited for a snapshot goes on.
    Resumed(Instant),
    Ready(Instant),
    Idle,
    /// A clone goes on, with the pages in place that it will use, or to find out which these are.
    Restored(Learn),
}

/// What a clone tells after its first event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Learn {
    Nothing,
    /// Which pages it wrote and read.
    WhatIsUsed,
}

/// The Runtime API of this sandbox.
pub(crate) struct Function {
    api: Arc<ApiServer>,
    tell: SyncSender<Turn>,
    executed: Arc<OnceLock<Instant>>,
    resumed: Arc<OnceLock<Instant>>,
    engaged: Arc<Mutex<Engaged>>,
}

/// Whether an event is with the runtime: then nobody freezes it. Held while that changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Engaged {
    #[default]
    No,
    Yes,
}

impl Function {
    /// Listens for the runtime. Call it before the runtime starts.
    pub(crate) fn start(
        spec: &FunctionSpec,
        instance: &Instance,
        outbox: &Arc<Outbox>,
    ) -> Result<Function, Failure> {
        let (address, limits) = listen(spec)?;
        let Told {
            tell,
            executed,
            resumed,
            engaged,
            sink,
        } = turns(instance, outbox, None)?;
        let api = ApiServer::start(
            &instance.system.net,
            address,
            limits,
            spec.initialization,
            sink,
        )
        .map_err(|e| wrong(format!("cannot serve the Runtime API at {address}: {e}")))?;
        Ok(Function {
            api,
            tell,
            executed,
            resumed,
            engaged,
        })
    }

    /// Serves again what was saved, for a guest that has these address spaces and does not run yet.
    pub(crate) fn load(
        spec: &FunctionSpec,
        instance: &Instance,
        outbox: &Arc<Outbox>,
        saved: &[u8],
        spaces: Arc<Spaces>,
    ) -> Result<Function, Failure> {
        let (address, limits) = listen(spec)?;
        let Told {
            tell,
            executed,
            resumed,
            engaged,
            sink,
        } = turns(instance, outbox, Some(spaces))?;
        let api = ApiServer::load(&instance.system.net, address, limits, sink, saved)
            .map_err(|e| wrong(format!("the Runtime API: {e}")))?;
        Ok(Function {
            api,
            tell,
            executed,
            resumed,
            engaged,
        })
    }

    /// What a frozen guest was frozen in.
    pub(crate) fn moment(&self) -> Moment {
        match self.api.waits_for() {
            Some(Waiting::RestoreNext) => Moment::RestorePoint,
            Some(Waiting::TemplateNext) => Moment::Template,
            Some(Waiting::Next) => Moment::Ready,
            None => Moment::Asked,
        }
    }

    /// The Runtime API as bytes, while the guest is frozen.
    pub(crate) fn save(&self) -> Result<Vec<u8>, Unsavable> {
        self.api.save()
    }

    /// The clone goes on; what comes next counts from `at`.
    pub(crate) fn restored(&self, at: Instant, learn: Learn) {
        let _ = self.executed.set(at);
        let _ = self.tell.send(Turn::Restored(learn));
    }

    /// The guest waits for its first event, as it did when it was captured.
    pub(crate) fn restored_ready(&self) {
        let _ = self.tell.send(Turn::Resumed(Instant::now()));
        let _ = self.tell.send(Turn::Ready(Instant::now()));
    }

    /// Tells when the runtime's program was loaded: the time of its own start counts from there.
    pub(crate) fn executed(&self, at: Instant) {
        let _ = self.executed.set(at);
    }

    /// Lets whoever waits for a snapshot go on: a runtime in `restore/next`, with variables that no
    /// snapshot may hold, and who wrote to `/proc/rekindle/snapshot`.
    pub(crate) fn resume(&self, instance: &Instance, environment: &[(String, String)]) {
        // Told before the guest can run, so that its hooks count from here.
        let now = Instant::now();
        let _ = self.resumed.set(now);
        let _ = self.tell.send(Turn::Resumed(now));
        let requests = &instance.system.snapshot_requests;
        requests.resume();
        if requests.closed() {
            // It ran while the capture waited for it to come to rest, and asked for its first event.
            return;
        }
        // Before the thaw: the runtime finds its answer when it looks.
        let waited = self.api.resume(environment);
        instance.thaw();
        if !waited {
            tracing::debug!("nobody waits in restore/next");
        }
    }

    /// Has an event ready that came along with a restore. Call it before the guest runs, or waits for its event.
    pub(crate) fn deliver_first(&self, event: FirstEvent, payload: Vec<u8>) {
        *self.engaged.lock() = Engaged::Yes;
        let timeout = Duration::from_millis(event.timeout_ms);
        let head = event.head;
        self.api.deliver_first(Event { head, payload }, timeout);
    }

    /// Thaws the guest and hands it an event.
    pub(crate) fn deliver(&self, instance: &Instance, head: EventHead, payload: Vec<u8>) {
        let mut engaged = self.engaged.lock();
        *engaged = Engaged::Yes;
        instance.thaw();
        drop(engaged);
        if self.api.deliver(Event { head, payload }).is_err() {
            tracing::warn!("an event came while another was worked on; it was dropped");
        }
    }

    /// A reader of the streamed response to `request_id` has taken `bytes` of it.
    pub(crate) fn credit(&self, request_id: &str, bytes: u64) {
        self.api.credit(request_id, bytes);
    }
}

fn wrong(message: String) -> Failure {
    Failure {
        kind: FailureKind::Spec,
        message,
    }
}

/// Where the Runtime API is served, and what it accepts.
fn listen(spec: &FunctionSpec) -> Result<(SocketAddr, Limits), Failure> {
    let listen = &spec.runtime_api.listen;
    let address = listen
        .parse()
        .map_err(|_| wrong(format!("{listen} is no address for the Runtime API")))?;
    let limits = Limits {
        body_bytes: spec.runtime_api.max_response_bytes,
        streamed_bytes: spec.runtime_api.max_streamed_bytes,
        ..Limits::default()
    };
    Ok((address, limits))
}

/// The ends of the thread of turns.
struct Told {
    tell: SyncSender<Turn>,
    executed: Arc<OnceLock<Instant>>,
    resumed: Arc<OnceLock<Instant>>,
    engaged: Arc<Mutex<Engaged>>,
    sink: sandbox_api::Sink,
}

/// Starts the thread of turns.
fn turns(
    instance: &Instance,
    outbox: &Arc<Outbox>,
    spaces: Option<Arc<Spaces>>,
) -> Result<Told, Failure> {
    let (tell, turns) = sync_channel(16);
    let executed = Arc::new(OnceLock::new());
    let resumed = Arc::new(OnceLock::new());
    let engaged = Arc::default();
    let watcher = Turns {
        system: Arc::downgrade(&instance.system),
        memory: Arc::clone(&instance.memory),
        outbox: Arc::clone(outbox),
        flusher: instance.streams.flusher(outbox),
        executed: Arc::clone(&executed),
        last: None,
        loading: StageName::FunctionInit,
        waiting: None,
        stood_still: Duration::ZERO,
        spaces,
        engaged: Arc::clone(&engaged),
        origin: Origin::Program,
    };
    std::thread::Builder::new()
        .name("turns".into())
        .spawn(move || watcher.run(turns))
        .map_err(|e| Failure::host("cannot start a thread", &e))?;
    let ask = tell.clone();
    instance.system.snapshot_requests.serve(Arc::new(move || {
        let _ = ask.send(Turn::CaptureAsked(Instant::now()));
    }));
    let sink = Sink {
        system: Arc::downgrade(&instance.system),
        tell: tell.clone(),
        outbox: Arc::clone(outbox),
        flusher: instance.streams.flusher(outbox),
        resumed: Arc::clone(&resumed),
        answered: AtomicBool::new(false),
    };
    Ok(Told {
        tell,
        executed,
        resumed,
        engaged,
        sink: Box::new(move |event| sink.take(event)),
    })
}

/// Where the API tells what the runtime does.
struct Sink {
    system: Weak<System>,
    tell: SyncSender<Turn>,
    outbox: Arc<Outbox>,
    flusher: Flusher,
    /// When a clone was let go.
    resumed: Arc<OnceLock<Instant>>,
    answered: AtomicBool,
}

impl Sink {
    /// How often the guest was left, for the first answer.
    fn exits(&self) -> BTreeMap<String, u64> {
        let system = match self.answered.swap(true, Ordering::Relaxed) {
            true => None,
            false => self.system.upgrade(),
        };
        let counts = system.map(|system| system.kernel.platform.exits());
        let named = |(exit, count): (Exit, u64)| (exit.name().to_owned(), count);
        counts.into_iter().flatten().map(named).collect()
    }

    fn take(&self, event: RuntimeEvent) {
        if matches!(event, RuntimeEvent::Ready | RuntimeEvent::Begun)
            && let Some(system) = self.system.upgrade()
        {
            // Initialisation is over: nobody may ask for a snapshot any more.
            system.snapshot_requests.close();
        }
        let turn = match &event {
            RuntimeEvent::Connected => Some(Turn::Connected(Instant::now())),
            RuntimeEvent::RestorePoint => Some(Turn::RestorePoint(Instant::now())),
            RuntimeEvent::Ready => Some(Turn::Ready(Instant::now())),
            RuntimeEvent::Idle => Some(Turn::Idle),
            _ => None,
        };
        match turn {
            // A full channel means that a guest makes turns faster than they can be counted: it waits here.
            Some(turn) => {
                let _ = self.tell.send(turn);
            }
            None => {
                self.flusher.flush();
                if event == RuntimeEvent::Begun {
                    let hooks = self.resumed.get().map_or(Duration::ZERO, Instant::elapsed);
                    let now = SystemTime::now().duration_since(UNIX_EPOCH);
                    let [nanoseconds, at] = [hooks, now.unwrap_or_default()]
                        .map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
                    let begun = FromSandbox::Begun { nanoseconds, at };
                    self.outbox.send(&begun, &[]);
                } else if let Some((mut message, payload)) = event.into_message() {
                    if let FromSandbox::Response { exits, .. }
                    | FromSandbox::ResponseEnd { exits, .. } = &mut message
                    {
                        *exits = self.exits();
                    }
                    self.outbox.send(&message, &payload);
                }
            }
        }
    }
}

/// Freezes the guest between its turns and reports.
struct Turns {
    system: Weak<System>,
    memory: Arc<MemoryWatch>,
    outbox: Arc<Outbox>,
    flusher: Flusher,
    /// When the program was loaded; its threads may be here before it is known.
    executed: Arc<OnceLock<Instant>>,
    /// The end of the last stage.
    last: Option<Instant>,
    /// The stage that the first event's request ends.
    loading: StageName,
    /// What the node was told of and has not answered.
    waiting: Option<Point>,
    /// How long the guest stood still in the running stage, waiting for a snapshot.
    stood_still: Duration,
    /// Where to look for what was written, after the first event.
    spaces: Option<Arc<Spaces>>,
    engaged: Arc<Mutex<Engaged>>,
    origin: Origin,
}

/// What the guest came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Program,
    Snapshot,
}

/// Where a snapshot can be taken.
#[derive(Clone, Copy)]
enum Point {
    RestoreNext,
    Asked(Instant),
}

impl Turns {
    fn run(mut self, turns: Receiver<Turn>) {
        for turn in turns {
            match turn {
                Turn::Connected(at) => self.stage(StageName::RuntimeInit, at),
                Turn::Ready(at) => self.ready(at),
                Turn::RestorePoint(at) => {
                    self.freeze();
                    self.stage(StageName::FunctionInit, at);
                    // Another thread asked before: one answer serves both.
                    if self.waiting.replace(Point::RestoreNext).is_none() {
                        self.outbox.send(&FromSandbox::RestorePoint, &[]);
                    }
                }
                Turn::CaptureAsked(at) => self.capture_asked(at),
                Turn::Resumed(at) => match self.waiting.take() {
                    Some(Point::Asked(since)) => {
                        self.stood_still += at.saturating_duration_since(since);
                    }
                    Some(Point::RestoreNext) | None => {
                        self.last = Some(at);
                        self.stood_still = Duration::ZERO;
                        self.loading = StageName::AfterRestore;
                    }
                },
                Turn::Restored(learn) => {
                    self.origin = Origin::Snapshot;
                    if learn == Learn::Nothing {
                        self.spaces = None;
                    }
                }
                Turn::Idle => {
                    *self.engaged.lock() = Engaged::No;
                    self.freeze();
                    if let Some(spaces) = self.spaces.take() {
                        let hot = spaces.hot().to_bytes();
                        self.outbox.send(&FromSandbox::Touched, &hot);
                    }
                    self.outbox.send(
                        &FromSandbox::Usage {
                            max_memory_bytes: self.memory(),
                        },
                        &[],
                    );
                }
            }
        }
    }

    fn ready(&mut self, at: Instant) {
        if self.origin == Origin::Program {
            // The node may want to capture it as it is now.
            self.freeze();
            self.stage(self.loading, at);
            self.outbox.send(&FromSandbox::Ready, &[]);
            return;
        }
        // Most likely its event is waiting, and the freeze would only be in the way.
        self.flusher.flush();
        self.stage(self.loading, at);
        self.outbox.send(&FromSandbox::Ready, &[]);
        let engaged = self.engaged.lock();
        if *engaged == Engaged::No {
            self.freeze();
        }
    }

    fn capture_asked(&mut self, at: Instant) {
        let Some(system) = self.system.upgrade() else {
            return;
        };
        let requests = &system.snapshot_requests;
        if self.waiting.is_some() || !requests.waiting() {
            return;
        }
        let frozen = system.kernel.freeze(FREEZE_LIMIT);
        if let Err(error) = frozen {
            tracing::warn!(%error, "the guest could not be frozen");
            system.kernel.thaw();
            requests.busy();
            return;
        }
        // Another thread may have ended the initialisation in the meantime.
        if !requests.waiting() {
            system.kernel.thaw();
            return;
        }
        self.flusher.flush();
        self.waiting = Some(Point::Asked(at));
        self.outbox.send(&FromSandbox::CaptureAsked, &[]);
    }

    fn stage(&mut self, name: StageName, at: Instant) {
        let last = self.last.unwrap_or_else(|| *self.executed.wait());
        let took = at.saturating_duration_since(last);
        let took = took.saturating_sub(std::mem::take(&mut self.stood_still));
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.last = Some(at);
        self.outbox
            .send(&FromSandbox::Stage { name, nanoseconds }, &[]);
    }

    fn freeze(&self) {
        if let Some(system) = self.system.upgrade()
            && let Err(error) = system.kernel.freeze(FREEZE_LIMIT)
        {
            tracing::warn!(%error, "the guest could not be frozen");
        }
        self.flusher.flush();
    }

    fn memory(&self) -> u64 {
        if let Some(system) = self.system.upgrade() {
            self.memory.look(&system);
        }
        self.memory
            .highest
            .load(std::sync::atomic::Ordering::Relaxed)
    }
}
