//! One event on one instance: START, the answer or the failure, END, REPORT.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use bytes::Bytes;
use proto_node::{
    InvokeError, InvokeHead, InvokeOutcome, InvokeResult, Isolation, LogTail, ReplyHead,
    ResponseMode, Stage, StartKind, Timings,
};
use proto_sandbox::{FromSandbox, Message, ToSandbox};
use tokio::time::error::Elapsed;
use tokio::time::timeout_at;

use crate::clock;
use crate::decide::Input;
use crate::ending::End;
use crate::failure::Failure;
use crate::instance::{Instance, Start};
use crate::invocation::{After, Invocation, Order, event_head};
use crate::launch::Link;
use crate::report::{self, Report, Status};

/// How long the runtime has, after an answer, to ask for its next event: an event that follows waits for that, and so
/// do an answer with the log, and REPORT, which tells the memory used.
const CLOSING_GRACE: Duration = Duration::from_millis(250);

impl Instance {
    /// Runs an event to its end and answers it.
    pub(crate) async fn run_event(
        &mut self,
        link: &mut dyn Link,
        mut invocation: Invocation,
    ) -> After {
        if invocation.tell_taken().is_err() {
            self.shared.step(Input::Answered(self.id));
            self.shared.step(Input::Finished(self.id));
            invocation.turn_away();
            return After::Keep;
        }
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
        if end.after == After::PassOn {
            return self.pass_on(invocation);
        }
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
        } else if matches!(end.status, Some(Status::Timeout)) {
            if invocation.request.log_tail == LogTail::None
                && let Some((answer, outcome, content_type)) = unanswered.take()
            {
                answer.finish(outcome, content_type);
            }
            self.hear_last_words(link).await;
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

    /// Has another instance take an event that this one has not begun with.
    fn pass_on(&mut self, invocation: Invocation) -> After {
        let id = invocation.request.request_id.clone();
        let text = format!("{id} The runtime ended before it had read the event; another takes it");
        self.log.platform(&text);
        self.log.platform(&report::end(&id));
        self.log.end_event();
        self.shared.give_back(invocation);
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
            FromSandbox::NotRead { request_id } if request_id == id => Some(End::not_read()),
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

    /// Ends a sandbox that works on, and takes what it says to that: the memory that it used.
    async fn hear_last_words(&mut self, link: &mut dyn Link) {
        let limit = clock::now() + CLOSING_GRACE;
        let hearing = async {
            link.send(ToSandbox::Stop, Bytes::new()).await.ok()?;
            while let Some(message) = link.receive().await.ok()? {
                self.note(message.head, &Bytes::from(message.payload));
            }
            Some(())
        };
        // One that is too busy to say it is killed without.
        let _ = timeout_at(limit.into(), hearing).await;
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
