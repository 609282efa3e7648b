//! One HTTP/1.1 connection: cuts its bytes into requests, queues the answers.

use serde::{Deserialize, Serialize};

use crate::answer::HttpAnswer;
use crate::body::{BodyReader, Progress, Trailers};
use crate::head::{self, Head, Persistence};
use crate::limits::RuntimeLimits;

/// Names a connection of one [`crate::Runtime`]; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ConnectionId(pub(crate) u64);

/// What is expected next from the guest.
#[derive(Debug, Serialize, Deserialize)]
enum Phase {
    Head,
    Body(BodyReader),
    /// A request is complete and not answered; `/next` may stay here for long.
    Answer,
    /// Nothing more is read; closed when the output is drained.
    Closing,
}

/// What bytes turned out to be.
pub(crate) enum Step {
    /// Nothing whole yet.
    Wait,
    /// A head; [`Connection::expect_body`] must follow.
    Head(Head),
    /// A part of the body that belongs to the last head.
    Piece(Vec<u8>),
    /// That body is longer than may be handed on; the rest of it is thrown away.
    Overrun,
    /// That body, complete: what was not handed on in pieces.
    Body(Received),
    /// No HTTP; the connection is closing.
    Broken,
}

/// A body that came in whole.
pub(crate) struct Received {
    pub(crate) data: Vec<u8>,
    pub(crate) size: Size,
    /// Most bytes that it could have.
    pub(crate) limit: u64,
    pub(crate) trailers: Trailers,
}

/// Whether a body was within its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    Fits,
    TooLarge,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Connection {
    phase: Phase,
    persistence: Persistence,
    /// Bytes not looked at yet: part of a head, or requests behind the current one.
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Connection {
    pub(crate) fn new() -> Self {
        Self {
            phase: Phase::Head,
            persistence: Persistence::KeepAlive,
            input: Vec::new(),
            output: Vec::new(),
        }
    }

    /// Takes from `bytes` what may be taken now and says what it made; to be called until `Wait`.
    pub(crate) fn step(&mut self, bytes: &mut &[u8], limits: &RuntimeLimits) -> Step {
        match &mut self.phase {
            Phase::Closing => {
                *bytes = &[];
                Step::Wait
            }
            Phase::Answer => {
                self.hold(bytes, limits.pipelined_bytes);
                Step::Wait
            }
            Phase::Head => self.read_head(bytes, limits),
            Phase::Body(_) => self.read_body(bytes),
        }
    }

    /// Moves bytes to `input` while it is shorter than `most`.
    fn hold(&mut self, bytes: &mut &[u8], most: usize) {
        let (now, later) = bytes.split_at(most.saturating_sub(self.input.len()).min(bytes.len()));
        self.input.extend_from_slice(now);
        *bytes = later;
    }

    fn read_head(&mut self, bytes: &mut &[u8], limits: &RuntimeLimits) -> Step {
        self.hold(bytes, limits.head_bytes.max(limits.pipelined_bytes));
        // Empty lines before a request are skipped (RFC 9112, 2.2) by the parser.
        match head::parse(&self.input) {
            Ok(Some((head, length))) if length <= limits.head_bytes => {
                self.input.drain(..length);
                self.persistence = head.persistence;
                Step::Head(head)
            }
            Ok(None) if self.input.len() < limits.head_bytes => Step::Wait,
            Ok(_) => self.fail(&HttpAnswer::head_too_large(limits.head_bytes)),
            Err(head::Malformed) => self.fail(&HttpAnswer::bad_request()),
        }
    }

    /// Says how the body after a head is to be read.
    pub(crate) fn expect_body(&mut self, body: BodyReader) {
        self.phase = Phase::Body(body);
    }

    /// Lets more of a body be handed on, as [`BodyReader::grant`].
    pub(crate) fn grant(&mut self, bytes: u64, most: u64) {
        if let Phase::Body(body) = &mut self.phase {
            body.grant(bytes, most);
        }
    }

    fn read_body(&mut self, bytes: &mut &[u8]) -> Step {
        let Phase::Body(body) = &mut self.phase else {
            return Step::Wait;
        };
        let mut held = self.input.as_slice();
        let progress = match body.read(&mut held) {
            Ok(Progress::More) if held.is_empty() => body.read(bytes),
            other => other,
        };
        let left = held.len();
        self.input.drain(..self.input.len() - left);
        if let Some(piece) = body.piece() {
            return Step::Piece(piece);
        }
        match progress {
            Ok(Progress::More) => Step::Wait,
            Ok(Progress::Overrun) => Step::Overrun,
            Ok(Progress::Complete) => {
                let size = if body.is_too_large() {
                    Size::TooLarge
                } else {
                    Size::Fits
                };
                let data = std::mem::take(&mut body.data);
                let trailers = std::mem::take(&mut body.trailers);
                let limit = body.limit();
                self.phase = Phase::Answer;
                Step::Body(Received {
                    data,
                    size,
                    limit,
                    trailers,
                })
            }
            Err(head::Malformed) => self.fail(&HttpAnswer::bad_request()),
        }
    }

    /// `100 Continue`.
    pub(crate) fn encourage(&mut self) {
        self.output
            .extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
    }

    /// Answers the current request; the next one may follow.
    pub(crate) fn answer(&mut self, answer: &HttpAnswer) {
        answer.render(self.persistence, &mut self.output);
        self.phase = match self.persistence {
            Persistence::KeepAlive => Phase::Head,
            Persistence::Close => Phase::Closing,
        };
    }

    /// Answers and reads no more.
    pub(crate) fn fail(&mut self, answer: &HttpAnswer) -> Step {
        self.persistence = Persistence::Close;
        self.answer(answer);
        Step::Broken
    }

    /// The guest will send no more: what is not answered by now will not be.
    pub(crate) fn end_of_input(&mut self) {
        self.phase = Phase::Closing;
    }

    /// Whether it holds no more than a connection may.
    pub(crate) fn is_within(&self, limits: &RuntimeLimits) -> bool {
        let body = match &self.phase {
            Phase::Body(body) => body.data.len() as u64,
            _ => 0,
        };
        self.input.len() <= limits.head_bytes.max(limits.pipelined_bytes)
            && body <= limits.body_bytes
    }

    pub(crate) fn is_finished(&self) -> bool {
        matches!(self.phase, Phase::Closing) && self.output.is_empty()
    }

    pub(crate) fn output(&self) -> &[u8] {
        &self.output
    }

    pub(crate) fn consume_output(&mut self, count: usize) {
        self.output.drain(..count.min(self.output.len()));
        if self.output.is_empty() {
            // An event of megabytes should not stay held by an idle instance.
            self.output = Vec::new();
        }
    }
}
