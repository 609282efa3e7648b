//! One event on one instance: START, the answer or the failure, END, REPORT.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use proto_node::{
    FunctionFault, FunctionSpec, InvokeError, InvokeHead, InvokeOutcome, InvokeResult, Isolation,
    LogTail, ReplyHead, ResponseMode, Stage, StartKind, Taken, Timings,
};
use proto_sandbox::{EventHead, FromSandbox, Message, Outcome, ToSandbox};
use tokio::time::error::Elapsed;
use tokio::time::timeout_at;

use crate::answer::Answer;
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
pub(crate) struct Invocation {
    pub(crate) function: Arc<FunctionSpec>,
    pub(crate) request: InvokeHead,
    pub(crate) payload: Bytes,
    /// Whom to tell that an instance gets it; none if that is told.
    pub(crate) taken: Option<Taken>,
    pub(crate) answer: Answer,
    pub(crate) arrived: Instant,
    /// Latest moment at which an instance must have taken it.
    pub(crate) deadline: Instant,
    /// Instances that ended before they began with it.
    pub(crate) lost: u8,
}

impl Invocation {
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
    /// Of an answer that was not streamed.
    content_type: Option<String>,
    status: Option<Status>,
    after: After,
    /// Lines the platform adds about it, before END.
    lines: Vec<String>,
}

impl End {
    fn answered(result: InvokeResult, content_type: Option<String>) -> Self {
        Self {
            result: Ok(result),
            content_type,
            status: None,
            after: After::Keep,
            lines: Vec::new(),
        }
    }

    /// The runtime reported an error, or its answer was no good.
    fn failed(outcome: Outcome, body: Bytes, request_id: &str) -> Self {
        let fault = match outcome {
            Outcome::Function { .. } => FunctionFault::reported(body),
            Outcome::ResponseTooLarge => FunctionFault::response_too_large(),
            Outcome::Truncated => truncated(request_id),
        };
        Self::answered(InvokeResult::Fault(fault), None)
    }

    fn of(failure: Failure, request_id: &str) -> Self {
        let (status, lines) = (failure.status(), failure.lines(request_id));
        let result = failure.result(request_id);
        Self {
            result,
            content_type: None,
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
            content_type: None,
            status: Some(Status::Timeout),
            after: After::End,
            lines: vec![line, String::new()],
        }
    }

    fn platform(error: InvokeError) -> Self {
        let status = Some(Status::Error("Sandbox.Failure".into()));
        Self {
            result: Err(error),
            content_type: None,
            status,
            after: After::End,
            lines: Vec::new(),
        }
    }
}

impl Instance {
    /// Runs an event to its end and answers it.
    pub(crate) async fn run_event(
        &mut self,
        link: &mut dyn Link,
        mut invocation: Invocation,
    ) -> After {
        invocation.tell_taken();
        let begun = clock::now();
        self.begin(&invocation);
        let head = event_head(&self.function, &invocation.request);
        let limit = begun + self.function.timeout;
        let sending = link.send(ToSandbox::Event(head), invocation.payload.clone());
        let end = match timeout_at(limit.into(), sending).await {
            // If sending failed, the sandbox's last messages tell what became of it.
            Ok(_) => self.await_answer(link, &mut invocation, limit).await,
            Err(_) => End::timed_out(&invocation.request.request_id, self.function.timeout),
        };
        self.conclude(link, invocation, begun, end).await
    }

    /// The same for an event that the sandbox has begun with.
    pub(crate) async fn run_begun(
        &mut self,
        link: &mut dyn Link,
        mut invocation: Invocation,
        begun: Instant,
    ) -> After {
        self.begin(&invocation);
        let limit = begun + self.function.timeout;
        let end = self.await_answer(link, &mut invocation, limit).await;
        self.conclude(link, invocation, begun, end).await
    }

    fn begin(&mut self, invocation: &Invocation) {
        let id = &invocation.request.request_id;
        self.log.begin_event(id);
        self.log
            .platform(&report::start(id, &self.function.version));
    }

    /// Answers an event and sees it to its end: the runtime asks for another. Only who wants the log waits for that,
    /// since its last line tells what memory was used.
    async fn conclude(
        &mut self,
        link: &mut dyn Link,
        invocation: Invocation,
        begun: Instant,
        end: End,
    ) -> After {
        let timeout = self.function.timeout;
        let limit = begun + timeout;
        let span = Span {
            start: self.start.take(),
            waited: begun.saturating_duration_since(invocation.arrived),
            duration: (clock::now() - begun).min(timeout),
        };
        let outcome = end.result.map(|result| self.outcome(result, &span));
        let mut unanswered = Some((invocation.answer, outcome, end.content_type));
        let mut after = end.after;
        let mut closed = false;
        if after == After::Keep {
            // Before the answer: who asks again at once shall be served here.
            self.shared.step(Input::Answered(self.id));
            if invocation.request.log_tail == LogTail::None
                && let Some((answer, outcome, content_type)) = unanswered.take()
            {
                answer.finish(outcome, content_type);
            }
            let grace = limit.min(clock::now() + CLOSING_GRACE);
            closed = self.await_closing(link, grace, &mut after).await;
        }
        let id = invocation.request.request_id.as_str();
        self.write_report(id, &span, end.status.as_ref(), &end.lines);
        let log_tail = self.log_tail(&invocation.request);
        self.log.end_event();
        self.shared.step(match closed {
            true => Input::Finished(self.id),
            false => Input::Late(self.id),
        });
        if let Some((answer, outcome, content_type)) = unanswered {
            let outcome = outcome.map(|outcome| InvokeOutcome {
                log_tail,
                ..outcome
            });
            answer.finish(outcome, content_type);
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
    pub(crate) fn fail_event(&mut self, invocation: Invocation, failure: Failure) {
        let begun = clock::now();
        self.begin(&invocation);
        let id = invocation.request.request_id.as_str();
        // Why is said by INIT_REPORT.
        let end = End::of(failure, id);
        let span = Span {
            start: self.start.take(),
            waited: begun.saturating_duration_since(invocation.arrived),
            duration: Duration::ZERO,
        };
        self.write_report(id, &span, end.status.as_ref(), &[]);
        let mut outcome = end.result.map(|result| self.outcome(result, &span));
        if let Ok(outcome) = &mut outcome {
            outcome.log_tail = self.log_tail(&invocation.request);
        }
        invocation.answer.finish(outcome, None);
    }

    /// Listens until the event has an answer or can have none any more, and passes on what is streamed meanwhile.
    async fn await_answer(
        &mut self,
        link: &mut dyn Link,
        invocation: &mut Invocation,
        limit: Instant,
    ) -> End {
        let id = invocation.request.request_id.clone();
        let id = id.as_str();
        loop {
            let told = tokio::select! {
                biased;
                message = timeout_at(limit.into(), link.receive()) => Told::Message(message),
                () = invocation.answer.credit_due() => Told::Taken,
                order = self.orders.recv() => match order {
                    // Nobody hands a second event to a busy instance.
                    Some(Order::Invoke(other)) => {
                        self.shared.give_back(*other);
                        continue;
                    }
                    Some(Order::Stop) | None => return End::platform(InvokeError::ShuttingDown),
                },
            };
            let end = match told {
                Told::Message(Err(_)) => Some(End::timed_out(id, self.function.timeout)),
                Told::Message(Ok(Ok(Some(message)))) => {
                    if let Err(end) = self.let_go_on(link, &message, id).await {
                        return end;
                    }
                    self.judge(invocation, id, message)
                }
                Told::Message(Ok(Ok(None))) => Some(End::of(Failure::Vanished, id)),
                Told::Message(Ok(Err(error))) => {
                    Some(End::of(Failure::Platform(error.to_string()), id))
                }
                Told::Taken => None,
            };
            if let Some(end) = end {
                return end;
            }
            if let Some(bytes) = invocation.answer.credit() {
                let request_id = id.to_owned();
                let credit = ToSandbox::Credit { request_id, bytes };
                // If this fails, the sandbox's last messages tell what became of it.
                let _ = link.send(credit, Bytes::new()).await;
            }
        }
    }

    /// Lets a runtime go on that waits for a snapshot although its instance comes up within an event.
    async fn let_go_on(
        &self,
        link: &mut dyn Link,
        message: &Message<FromSandbox>,
        id: &str,
    ) -> Result<(), End> {
        let waits = matches!(
            message.head,
            FromSandbox::RestorePoint | FromSandbox::CaptureAsked
        );
        if waits && let Err(error) = link.send(self.resume(), Bytes::new()).await {
            return Err(End::of(Failure::Platform(error.to_string()), id));
        }
        Ok(())
    }

    /// What a message means for the running event; nothing for most.
    fn judge(
        &mut self,
        invocation: &mut Invocation,
        id: &str,
        message: Message<FromSandbox>,
    ) -> Option<End> {
        let payload = Bytes::from(message.payload);
        match message.head {
            FromSandbox::Response {
                request_id,
                content_type,
                exits,
            } if request_id == id => {
                self.keep_exits(exits);
                let result = InvokeResult::Success(payload);
                Some(End::answered(result, content_type))
            }
            FromSandbox::Error {
                request_id,
                outcome,
            } if request_id == id => Some(End::failed(outcome, payload, id)),
            FromSandbox::ResponseHead {
                request_id,
                content_type,
            } if request_id == id => {
                invocation.answer.begin(ReplyHead {
                    executed_version: self.function.version.clone(),
                    start: self.kind(),
                    mode: ResponseMode::Streaming,
                    content_type,
                });
                None
            }
            FromSandbox::ResponsePiece { request_id } if request_id == id => {
                match invocation.answer.push(payload) {
                    Ok(()) => None,
                    Err(error) => Some(End::of(Failure::Platform(error.to_string()), id)),
                }
            }
            FromSandbox::ResponseEnd {
                request_id,
                failure,
                exits,
            } if request_id == id => {
                self.keep_exits(exits);
                Some(match failure {
                    None => End::answered(InvokeResult::Success(Bytes::new()), None),
                    Some(outcome) => End::failed(outcome, payload, id),
                })
            }
            head => {
                let failure = self.note(head, &payload)?;
                Some(End::of(failure, id))
            }
        }
    }

    /// How the instance came to be, as the running event sees it.
    fn kind(&self) -> StartKind {
        start_kind(self.start.as_ref())
    }

    fn keep_exits(&mut self, exits: BTreeMap<String, u64>) {
        if let Some(start) = &mut self.start {
            start.exits = exits;
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
        match &span.start {
            Some(start) => {
                timings.push(Stage::Queue, span.waited.saturating_sub(start.took));
                timings.0.extend_from_slice(&start.stages.0);
            }
            None => timings.push(Stage::Queue, span.waited),
        }
        timings.push(Stage::Invoke, span.duration);
        InvokeOutcome {
            result,
            executed_version: self.function.version.clone(),
            log_tail: Bytes::new(),
            start: start_kind(span.start.as_ref()),
            restore: span.restored(),
            exits: span
                .start
                .as_ref()
                .map_or_else(BTreeMap::new, |start| start.exits.clone()),
            timings,
        }
    }
}

/// How an instance came to be, by the start that is told with its first event.
fn start_kind(start: Option<&Start>) -> StartKind {
    match start {
        Some(start) if start.restored.is_some() => StartKind::Restored,
        Some(_) => StartKind::Cold,
        None => StartKind::Warm,
    }
}

/// What an instance hears of while it waits for an answer.
enum Told {
    /// The sandbox said something, is gone, or took too long.
    Message(Result<io::Result<Option<Message<FromSandbox>>>, Elapsed>),
    /// A stream's reader took some of it.
    Taken,
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
