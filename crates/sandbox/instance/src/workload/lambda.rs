//! A Lambda function: the Runtime API inside, its life outside.
//!
//! ```text
//!   (loading) ──Connected──▶ (loading) ──restore/next, snapshot asked for──▶ (stands still) ──resume──▶ (hooks)
//!       └───────────────────────────/next───────────────────────────▶ Ready ◀──────────────/next──────────┘
//!   Ready ──deliver──▶ (event) ──answer──▶ (closing) ──/next──▶ Ready, said as Usage
//! ```
//!
//! What the runtime does is heard in threads of the guest's ([`crate::workload::sink`]), which must not freeze
//! themselves: freezing is the owner's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kernel_syscall::Look;
use kernel_vfs::save::Unsavable;
use proto_sandbox::{EventHead, FailureKind, FirstEvent, FromSandbox, RuntimeApiSpec, StageName};
use sandbox_api::ApiServer;
use sandbox_runtime::{Event, RuntimeLimits, Waiting};
use sandbox_snapshot::CapturedAt;

use crate::BuildError;
use crate::hot::ClonedSpaces;
use crate::machine::{FREEZE_LIMIT, Machine};
use crate::notices::{Notice, RuntimeNotice};
use crate::outbox::Outbox;
use crate::stdio::Flusher;
use crate::workload::sink::sink;
use crate::workload::{Ends, GoOn, Learn, Workload};

/// The function of this sandbox.
pub(crate) struct Lambda {
    api: Arc<ApiServer>,
    outbox: Arc<Outbox>,
    flusher: Flusher,
    origin: Origin,
    event: At,
    /// When the last stage ended.
    last: Instant,
    /// The stage that the first event's request ends.
    loading: StageName,
    /// What the node was told of and has not answered.
    waiting: Option<Point>,
    /// How long the guest stood still in the running stage, waiting for a snapshot.
    stood_still: Duration,
    /// Where to look for what was used, after the first event.
    learn: Option<ClonedSpaces>,
}

/// What the guest came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Program,
    Snapshot,
}

/// Where the event is, if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Nowhere,
    /// With the runtime, which nobody freezes then.
    Runtime,
}

/// Where a snapshot can be taken.
#[derive(Clone, Copy)]
enum Point {
    RestoreNext,
    Asked(Instant),
}

impl Lambda {
    /// Listens for the runtime. Call it before the runtime starts.
    pub(crate) fn start(
        spec: &RuntimeApiSpec,
        machine: &Machine,
        ends: &Ends,
    ) -> Result<Lambda, BuildError> {
        let (address, limits) = listen(spec)?;
        let sink = sink(machine, ends);
        let net = &machine.system.net;
        let api = ApiServer::start(net, address, limits, spec.initialization, sink)
            .map_err(|e| wrong(format!("cannot serve the Runtime API at {address}: {e}")))?;
        Ok(Lambda::over(api, machine, ends))
    }

    /// Serves again what was saved, for a guest that does not run yet.
    pub(crate) fn load(
        spec: &RuntimeApiSpec,
        machine: &Machine,
        ends: &Ends,
        saved: &[u8],
    ) -> Result<Lambda, BuildError> {
        let (address, limits) = listen(spec)?;
        let sink = sink(machine, ends);
        let api = ApiServer::load(&machine.system.net, address, limits, sink, saved)
            .map_err(|e| wrong(format!("the Runtime API: {e}")))?;
        Ok(Lambda::over(api, machine, ends))
    }

    fn over(api: Arc<ApiServer>, machine: &Machine, ends: &Ends) -> Lambda {
        let notices = Arc::clone(&ends.notices);
        machine.system.snapshot_requests.serve(Arc::new(move || {
            let asked = RuntimeNotice::CaptureAsked(Instant::now());
            notices.tell(Notice::Runtime(asked));
        }));
        Lambda {
            api,
            outbox: Arc::clone(&ends.outbox),
            flusher: machine.streams.flusher(&ends.outbox),
            origin: Origin::Program,
            event: At::Nowhere,
            last: Instant::now(),
            loading: StageName::FunctionInit,
            waiting: None,
            stood_still: Duration::ZERO,
            learn: None,
        }
    }

    /// Has an event ready that came along with a restore. Call it before the guest runs, or waits for its event.
    fn deliver_first(&mut self, event: FirstEvent, payload: Vec<u8>) {
        self.event = At::Runtime;
        let timeout = Duration::from_millis(event.timeout_ms);
        let head = event.head;
        self.api.deliver_first(Event { head, payload }, timeout);
    }

    fn ready(&mut self, machine: &Machine, at: Instant) {
        if self.origin == Origin::Program {
            // The node may want to capture it as it is now.
            self.freeze(machine);
            self.stage(self.loading, at);
            self.outbox.send(&FromSandbox::Ready, &[]);
            return;
        }
        // The node sends an event at once if it has one, and need not wait for the freeze to do so.
        self.flusher.flush();
        self.stage(self.loading, at);
        self.outbox.send(&FromSandbox::Ready, &[]);
        if self.event == At::Nowhere {
            self.freeze(machine);
        }
    }

    fn at_restore_point(&mut self, machine: &Machine, at: Instant) {
        self.freeze(machine);
        self.stage(StageName::FunctionInit, at);
        // Another thread asked before: one answer serves both.
        if self.waiting.replace(Point::RestoreNext).is_none() {
            self.outbox.send(&FromSandbox::RestorePoint, &[]);
        }
    }

    fn capture_asked(&mut self, machine: &Machine, at: Instant) {
        let system = &machine.system;
        let requests = &system.snapshot_requests;
        if self.waiting.is_some() || !requests.waiting() {
            return;
        }
        if let Err(error) = system.freeze(FREEZE_LIMIT) {
            tracing::warn!(%error, "the guest could not be frozen");
            system.thaw();
            requests.busy();
            return;
        }
        // Another thread may have ended the initialisation in the meantime.
        if !requests.waiting() {
            system.thaw();
            return;
        }
        self.flusher.flush();
        self.waiting = Some(Point::Asked(at));
        self.outbox.send(&FromSandbox::CaptureAsked, &[]);
    }

    /// Whoever waited for a snapshot goes on.
    fn resumed(&mut self, at: Instant) {
        match self.waiting.take() {
            Some(Point::Asked(since)) => {
                self.stood_still += at.saturating_duration_since(since);
            }
            Some(Point::RestoreNext) | None => {
                self.last = at;
                self.stood_still = Duration::ZERO;
                self.loading = StageName::AfterRestore;
            }
        }
    }

    /// The event is over: the runtime asked for the next.
    fn idle(&mut self, machine: &Machine) {
        self.event = At::Nowhere;
        self.freeze(machine);
        if let Some(spaces) = self.learn.take() {
            let hot = spaces.hot().to_bytes();
            self.outbox.send(&FromSandbox::Touched, &hot);
        }
        machine.memory.look(&machine.system, Look::Closely);
        let max_memory_bytes = machine.system.memory.highest();
        let usage = FromSandbox::Usage { max_memory_bytes };
        self.outbox.send(&usage, &[]);
    }

    fn stage(&mut self, name: StageName, at: Instant) {
        let took = at.saturating_duration_since(self.last);
        let took = took.saturating_sub(std::mem::take(&mut self.stood_still));
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.last = at;
        self.outbox
            .send(&FromSandbox::Stage { name, nanoseconds }, &[]);
    }

    fn freeze(&self, machine: &Machine) {
        machine.freeze();
        self.flusher.flush();
    }
}

impl Workload for Lambda {
    fn loaded(&mut self, at: Instant) {
        self.last = at;
    }

    fn notice(&mut self, machine: &Machine, notice: RuntimeNotice) {
        match notice {
            RuntimeNotice::Connected(at) => self.stage(StageName::RuntimeInit, at),
            RuntimeNotice::RestorePoint(at) => self.at_restore_point(machine, at),
            RuntimeNotice::CaptureAsked(at) => self.capture_asked(machine, at),
            RuntimeNotice::Ready(at) => self.ready(machine, at),
            RuntimeNotice::Idle => self.idle(machine),
        }
    }

    fn deliver(&mut self, machine: &Machine, head: EventHead, payload: Vec<u8>) {
        self.event = At::Runtime;
        // Before the thaw: the runtime wakes once, and finds it when it looks.
        if self.api.deliver(Event { head, payload }).is_err() {
            tracing::warn!("an event came while another was worked on; it was dropped");
        }
        machine.thaw();
    }

    fn credit(&mut self, request_id: &str, bytes: u64) {
        self.api.credit(request_id, bytes);
    }

    fn resume(&mut self, machine: &Machine, environment: &[(String, String)]) {
        // Before the guest can run, so that its hooks count from here.
        self.resumed(Instant::now());
        let requests = &machine.system.snapshot_requests;
        requests.resume();
        if requests.closed() {
            // It ran while the capture waited for it to come to rest, and asked for its first event.
            return;
        }
        // Before the thaw: the runtime finds its answer when it looks.
        let waited = self.api.resume(environment);
        machine.thaw();
        if !waited {
            tracing::debug!("nobody waits in restore/next");
        }
    }

    fn stands_at(&self) -> CapturedAt {
        match self.api.waits_for() {
            Some(Waiting::RestoreNext) => CapturedAt::RestorePoint,
            Some(Waiting::TemplateNext) => CapturedAt::Template,
            Some(Waiting::Next) => CapturedAt::Ready,
            None => CapturedAt::Asked,
        }
    }

    fn save(&self) -> Result<Vec<u8>, Unsavable> {
        self.api.save()
    }

    fn go_on(&mut self, machine: &Machine, how: GoOn) {
        self.origin = Origin::Snapshot;
        self.last = how.since;
        if let Learn::WhatIsUsed(spaces) = how.learn {
            self.learn = Some(spaces);
        }
        match (how.from, how.event) {
            (CapturedAt::Ready, Some((event, body))) => {
                machine.thaw();
                self.deliver_first(event, body);
            }
            // It is frozen until its event.
            (CapturedAt::Ready, None) => {
                let now = Instant::now();
                self.resumed(now);
                self.ready(machine, now);
            }
            (_, event) => {
                if let Some((event, body)) = event {
                    self.deliver_first(event, body);
                }
                self.resume(machine, &how.environment);
            }
        }
    }
}

fn wrong(message: String) -> BuildError {
    BuildError {
        kind: FailureKind::Spec,
        message,
    }
}

/// Where the Runtime API is served, and what it accepts.
fn listen(spec: &RuntimeApiSpec) -> Result<(SocketAddr, RuntimeLimits), BuildError> {
    let listen = &spec.listen;
    let address = listen
        .parse()
        .map_err(|_| wrong(format!("{listen} is no address for the Runtime API")))?;
    let limits = RuntimeLimits {
        body_bytes: spec.max_response_bytes,
        streamed_bytes: spec.max_streamed_bytes,
        ..RuntimeLimits::default()
    };
    Ok((address, limits))
}
