//! One event on one instance: START, the answer or the failure, END, REPORT.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use proto_node::{
    FunctionFault, FunctionSpec, InvokeError, InvokeHead, InvokeOutcome, InvokeResult, Isolation,
    LogTail, Stage, StartKind, Taken, Timings,
};
use proto_sandbox::{EventHead, FromSandbox, Message, Outcome, ToSandbox};
use tokio::sync::oneshot;
use tokio::time::timeout_at;

use crate::clock;
use crate::decide::Input;
use crate::failure::Failure;
use crate::instance::{Instance, Order, Start};
use crate::launch::Link;
use crate::report::{self, Report, Status};

/// How long the runtime has, after an answer, to ask for its next event: an event that follows waits for that, and so
/// do an answer with the log, and REPORT, which tells the memory used.
const CLOSING_GRACE: Duration = Duration::from_millis(250);

/// An event as it arrives.
#[derive(Debug)]
pub struct Arrival {
    /// What goes with it.
    pub head: InvokeHead,
    /// The event itself.
    pub payload: Bytes,
    /// Whom to tell that an instance gets it.
    pub taken: Taken,
}

/// An event on its way to its answer.
pub(crate) struct Turn {
    pub(crate) function: Arc<FunctionSpec>,
    pub(crate) request: InvokeHead,
    pub(crate) payload: Bytes,
    /// Whom to tell that an instance gets it; none if that is told.
    pub(crate) taken: Option<Taken>,
    pub(crate) answer: oneshot::Sender<Result<InvokeOutcome, InvokeError>>,
    pub(crate) arrived: Instant,
    /// Latest moment at which an instance must have taken it.
    pub(crate) deadline: Instant,
    /// Instances that ended before they began with it.
    pub(crate) lost: u8,
}

impl Turn {
    /// To be called before any of it is sent to a sandbox.
    pub(crate) fn tell_taken(&mut self) {
        if let Some(taken) = self.taken.take() {
            taken.tell();
        }
    }
}

/// What an event's end means for its instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// It may take another event.
    Keep,
    /// It must end.
    End,
}

/// How an event ended, before it is told.
struct End {
    result: Result<InvokeResult, InvokeError>,
    status: Option<Status>,
    after: After,
    /// Lines the platform adds about it, before END.
    lines: Vec<String>,
}

impl End {
    fn answered(result: InvokeResult) -> Self {
        Self {
            result: Ok(result),
            status: None,
            after: After::Keep,
            lines: Vec::new(),
        }
    }

    fn of(failure: Failure, request_id: &str) -> Self {
        let (status, lines) = (failure.status(), failure.lines(request_id));
        let result = failure.result(request_id);
        Self {
            result,
            status: Some(status),
            after: After::End,
            lines,
        }
    }

    fn timed_out(request_id: &str, limit: Duration) -> Self {
        let text = format!("Task timed out after {:.2} seconds", limit.as_secs_f64());
        let line = format!("{} {request_id} {text}", clock::iso(clock::epoch_ms()));
        Self {
            result: Ok(InvokeResult::Fault(FunctionFault::timed_out(
                request_id, limit,
            ))),
            status: Some(Status::Timeout),
            after: After::End,
            lines: vec![line, String::new()],
        }
    }

    fn platform(error: InvokeError) -> Self {
        let status = Some(Status::Error("Sandbox.Failure".into()));
        Self {
            result: Err(error),
            status,
            after: After::End,
            lines: Vec::new(),
        }
    }
}

impl Instance {
    /// Runs an event to its end and answers it.
    pub(crate) async fn run_turn(&mut self, link: &mut dyn Link, mut turn: Turn) -> After {
        turn.tell_taken();
        let begun = clock::now();
        self.begin(&turn);
        let head = event_head(&self.function, &turn.request);
        let limit = begun + self.function.timeout;
        let sending = link.send(ToSandbox::Event(head), turn.payload.clone());
        let end = match timeout_at(limit.into(), sending).await {
            // If sending failed, the sandbox's last messages tell what became of it.
            Ok(_) => self.await_answer(link, &turn, limit).await,
            Err(_) => End::timed_out(&turn.request.request_id, self.function.timeout),
        };
        self.conclude(link, turn, begun, end).await
    }

    /// The same for an event that the sandbox has begun with.
    pub(crate) async fn run_begun(
        &mut self,
        link: &mut dyn Link,
        turn: Turn,
        begun: Instant,
    ) -> After {
        self.begin(&turn);
        let limit = begun + self.function.timeout;
        let end = self.await_answer(link, &turn, limit).await;
        self.conclude(link, turn, begun, end).await
    }

    fn begin(&mut self, turn: &Turn) {
        let id = &turn.request.request_id;
        self.log.begin_event(id);
        self.log
            .platform(&report::start(id, &self.function.version));
    }

    /// Answers an event and sees it to its end: the runtime asks for another. Only who wants the log waits for that,
    /// since its last line tells what memory was used.
    async fn conclude(
        &mut self,
        link: &mut dyn Link,
        turn: Turn,
        begun: Instant,
        end: End,
    ) -> After {
        let timeout = self.function.timeout;
        let limit = begun + timeout;
        let span = Span {
            start: self.start.take(),
            waited: begun.saturating_duration_since(turn.arrived),
            duration: (clock::now() - begun).min(timeout),
        };
        let outcome = end.result.map(|result| self.outcome(result, &span));
        let mut unanswered = Some((turn.answer, outcome));
        let mut after = end.after;
        let mut closed = false;
        if after == After::Keep {
            // Before the answer: who asks again at once shall be served here.
            self.shared.step(Input::Answered(self.id));
            if turn.request.log_tail == LogTail::None
                && let Some((answer, outcome)) = unanswered.take()
            {
                let _ = answer.send(outcome);
            }
            let grace = limit.min(clock::now() + CLOSING_GRACE);
            closed = self.await_closing(link, grace, &mut after).await;
        }
        let id = turn.request.request_id.as_str();
        self.write_report(id, &span, end.status.as_ref(), &end.lines);
        let log_tail = self.log_tail(&turn.request);
        self.log.end_event();
        self.shared.step(match closed {
            true => Input::Finished(self.id),
            false => Input::Late(self.id),
        });
        if let Some((answer, outcome)) = unanswered {
            let _ = answer.send(outcome.map(|outcome| InvokeOutcome {
                log_tail,
                ..outcome
            }));
        }
        if closed {
            return After::Keep;
        }
        // What it still does after its answer is of use only to an event that follows.
        let reused = self.function.isolation == Isolation::PerInstance;
        if reused && after == After::Keep && self.await_closing(link, limit, &mut after).await {
            self.shared.step(Input::Finished(self.id));
            return After::Keep;
        }
        After::End
    }

    /// Tells an event that its instance could not initialise.
    pub(crate) fn fail_turn(&mut self, turn: Turn, failure: Failure) {
        let begun = clock::now();
        self.begin(&turn);
        let id = turn.request.request_id.as_str();
        // Why is said by INIT_REPORT.
        let end = End::of(failure, id);
        let span = Span {
            start: self.start.take(),
            waited: begun.saturating_duration_since(turn.arrived),
            duration: Duration::ZERO,
        };
        self.write_report(id, &span, end.status.as_ref(), &[]);
        let mut outcome = end.result.map(|result| self.outcome(result, &span));
        if let Ok(outcome) = &mut outcome {
            outcome.log_tail = self.log_tail(&turn.request);
        }
        let _ = turn.answer.send(outcome);
    }

    /// Listens until the event has an answer or can have none any more.
    async fn await_answer(&mut self, link: &mut dyn Link, turn: &Turn, limit: Instant) -> End {
        let id = turn.request.request_id.as_str();
        loop {
            let message = tokio::select! {
                biased;
                message = timeout_at(limit.into(), link.receive()) => message,
                order = self.orders.recv() => match order {
                    // Nobody hands a second event to a busy instance.
                    Some(Order::Turn(other)) => {
                        self.shared.give_back(*other);
                        continue;
                    }
                    Some(Order::Stop) | None => return End::platform(InvokeError::ShuttingDown),
                },
            };
            let message = match message {
                Err(_) => return End::timed_out(id, self.function.timeout),
                Ok(Ok(Some(message))) => message,
                Ok(Ok(None)) => return End::of(Failure::Vanished, id),
                Ok(Err(error)) => return End::of(Failure::Platform(error.to_string()), id),
            };
            // The instance comes up within this event.
            if matches!(
                message.head,
                FromSandbox::RestorePoint | FromSandbox::CaptureAsked
            ) && let Err(error) = link.send(self.resume(), Bytes::new()).await
            {
                return End::of(Failure::Platform(error.to_string()), id);
            }
            if let Some(end) = self.judge(id, message) {
                return end;
            }
        }
    }

    /// What a message means for the running event; nothing for most.
    fn judge(&mut self, id: &str, message: Message<FromSandbox>) -> Option<End> {
        let payload = Bytes::from(message.payload);
        match message.head {
            FromSandbox::Response {
                request_id, exits, ..
            } if request_id == id => {
                if let Some(start) = &mut self.start {
                    start.exits = exits;
                }
                Some(End::answered(InvokeResult::Success(payload)))
            }
            FromSandbox::Error {
                request_id,
                outcome,
            } if request_id == id => {
                let fault = match outcome {
                    Outcome::Function { .. } => FunctionFault::reported(payload),
                    Outcome::ResponseTooLarge => FunctionFault::response_too_large(),
                    Outcome::Truncated => truncated(id),
                };
                Some(End::answered(InvokeResult::Fault(fault)))
            }
            head => {
                let failure = self.note(head, &payload)?;
                Some(End::of(failure, id))
            }
        }
    }

    /// Waits until the runtime asks for its next event. Whether it did; `after` says if
    /// it never will.
    async fn await_closing(
        &mut self,
        link: &mut dyn Link,
        limit: Instant,
        after: &mut After,
    ) -> bool {
        loop {
            let receiving = link.receive();
            let message = match timeout_at(limit.into(), receiving).await {
                Err(_) => return false,
                Ok(Ok(Some(message))) => message,
                Ok(_) => {
                    *after = After::End;
                    return false;
                }
            };
            let payload = Bytes::from(message.payload);
            let closes = matches!(message.head, FromSandbox::Usage { .. });
            if self.note(message.head, &payload).is_some() {
                *after = After::End;
                return false;
            }
            if closes {
                return true;
            }
        }
    }

    /// Writes END and REPORT.
    fn write_report(&mut self, id: &str, span: &Span, status: Option<&Status>, lines: &[String]) {
        for line in lines {
            self.log.platform(line);
        }
        self.log.platform(&report::end(id));
        self.log.platform(&report::report(&Report {
            request_id: id,
            duration: span.duration,
            memory_mb: self.function.memory_mb,
            max_memory_bytes: self.max_memory_bytes,
            init: span.start.as_ref().and_then(|start| start.reported),
            restore: span.restored(),
            status,
        }));
    }

    /// The end of the log, for who wants it.
    fn log_tail(&self, request: &InvokeHead) -> Bytes {
        match request.log_tail {
            LogTail::Tail => self.log.tail(),
            LogTail::None => Bytes::new(),
        }
    }

    /// What the client learns, without the log.
    fn outcome(&self, result: InvokeResult, span: &Span) -> InvokeOutcome {
        let mut timings = Timings::default();
        let kind = match &span.start {
            Some(start) => {
                timings.push(Stage::Queue, span.waited.saturating_sub(start.took));
                timings.0.extend_from_slice(&start.stages.0);
                match start.restored {
                    Some(_) => StartKind::Restored,
                    None => StartKind::Cold,
                }
            }
            None => {
                timings.push(Stage::Queue, span.waited);
                StartKind::Warm
            }
        };
        timings.push(Stage::Invoke, span.duration);
        InvokeOutcome {
            result,
            executed_version: self.function.version.clone(),
            log_tail: Bytes::new(),
            start: kind,
            restore: span.restored(),
            exits: span
                .start
                .as_ref()
                .map_or_else(BTreeMap::new, |start| start.exits.clone()),
            timings,
        }
    }
}

/// How long the parts of an event took.
struct Span {
    /// If the instance came up for it.
    start: Option<Start>,
    /// From its arrival until it was begun with, the start included.
    waited: Duration,
    duration: Duration,
}

impl Span {
    fn restored(&self) -> Option<Duration> {
        self.start.as_ref()?.restored
    }
}

/// The event without its body; its deadline counts from now.
pub(crate) fn event_head(function: &FunctionSpec, request: &InvokeHead) -> EventHead {
    let limit = u64::try_from(function.timeout.as_millis()).unwrap_or(u64::MAX);
    EventHead {
        request_id: request.request_id.clone(),
        invocation_id: uuid::Uuid::new_v4().to_string(),
        deadline_ms: clock::epoch_ms().saturating_add(limit),
        invoked_function_arn: request.invoked_arn.clone(),
        trace_id: request.trace_id.clone(),
        client_context: request.client_context.clone(),
        cognito_identity: None,
        tenant_id: None,
    }
}

/// The runtime's answer broke off: AWS calls that a truncated response.
fn truncated(request_id: &str) -> FunctionFault {
    let mut fault = FunctionFault::exited(request_id, None);
    fault.body = Bytes::from(
        serde_json::json!({
            "errorType": "Runtime.TruncatedResponse",
            "errorMessage": format!("RequestId: {request_id} Error: The runtime's response broke off"),
        })
        .to_string(),
    );
    fault
}
