//! Reads request bodies: bounded in bytes, in time, and in memory over all requests.
//!
//! Memory is taken as bytes come, not as they are announced: who announces much and sends little takes little. So
//! that bodies that each have a part do not wait for each other for ever, the one that was begun first may go a little
//! over the limit.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use parking_lot::Mutex;
use proto_lambda::{ApiError, ErrorCode, Method, Operation, limits};
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use crate::Config;

/// What a body takes when its first byte comes, if it is not shorter; then always as much as it has.
const FIRST_BYTES: usize = 64 * 1024;
/// Longest wait for memory.
const MEMORY_WAIT: Duration = Duration::from_secs(20);

/// Memory for bodies, shared by all requests.
pub(crate) struct Bodies {
    memory: Arc<Memory>,
    idle: Duration,
    whole: Duration,
}

struct Memory {
    limit: usize,
    /// A leaf among locks.
    held: Mutex<Held>,
    freed: Notify,
}

#[derive(Default)]
struct Held {
    bytes: usize,
    next: u64,
    /// Bodies that are being read.
    reading: BTreeSet<u64>,
}

/// The part of the memory that a body has.
struct Part {
    memory: Arc<Memory>,
    number: u64,
    bytes: usize,
}

/// A body, with its part of the shared memory.
#[derive(Default)]
pub(crate) struct ReadBody {
    pub(crate) bytes: Bytes,
    _part: Option<Part>,
}

/// What an operation needs of a request's body.
enum Need {
    /// Nothing: it has none.
    Nothing,
    /// All of it before it can begin, at most so many bytes.
    Whole(usize),
}

fn need_of(operation: Operation) -> Need {
    match operation {
        Operation::CreateFunction | Operation::UpdateFunctionCode => {
            Need::Whole(limits::CODE_REQUEST_BYTES)
        }
        // Whether an event is JSON is known at its end, and one that is not must not begin.
        Operation::Invoke | Operation::InvokeWithResponseStream => Need::Whole(limits::EVENT_BYTES),
        _ => match operation.route().method {
            Method::Get => Need::Nothing,
            _ => Need::Whole(limits::CONTROL_REQUEST_BYTES),
        },
    }
}

fn too_large(operation: Operation, limit: usize) -> ApiError {
    match operation {
        Operation::Invoke | Operation::InvokeWithResponseStream => ApiError::new(
            ErrorCode::REQUEST_TOO_LARGE,
            format!("Request must be smaller than {limit} bytes for the InvokeFunction operation"),
        ),
        _ => ApiError::new(
            ErrorCode::REQUEST_ENTITY_TOO_LARGE,
            format!(
                "Request must be smaller than {limit} bytes for the {} operation",
                operation.name()
            ),
        ),
    }
}

fn too_slow() -> ApiError {
    ApiError::new(
        ErrorCode::REQUEST_TIMEOUT,
        "The request body did not arrive in time.",
    )
}

fn busy() -> ApiError {
    ApiError::new(
        ErrorCode::SERVICE_UNAVAILABLE,
        "Too many large requests at once; try again.",
    )
}

impl Bodies {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            memory: Arc::new(Memory {
                limit: config.body_memory,
                held: Mutex::default(),
                freed: Notify::new(),
            }),
            idle: config.body_idle_timeout,
            whole: config.body_timeout,
        }
    }

    /// Reads what `operation` needs of the body of its request.
    pub(crate) async fn read(
        &self,
        operation: Operation,
        mut body: Incoming,
    ) -> Result<ReadBody, ApiError> {
        let limit = match need_of(operation) {
            Need::Nothing => return Ok(ReadBody::default()),
            Need::Whole(limit) => limit,
        };
        let hint = body.size_hint();
        if hint.lower() > limit as u64 {
            return Err(too_large(operation, limit));
        }
        // Without a length the client may send up to the limit.
        let expected = hint
            .exact()
            .map_or(limit, |exact| usize::try_from(exact).unwrap_or(limit));
        if expected == 0 {
            return Ok(ReadBody::default());
        }
        let mut part = self.memory.part();
        let mut bytes: Vec<u8> = Vec::new();
        let deadline = Instant::now() + self.whole;
        loop {
            let until = deadline.min(Instant::now() + self.idle);
            let frame = timeout_at(until, body.frame())
                .await
                .map_err(|_| too_slow())?;
            let Some(frame) = frame else { break };
            let frame = frame.map_err(|_| {
                // Nobody will read this: the connection is gone or speaks no HTTP.
                ApiError::new(
                    ErrorCode::SERIALIZATION,
                    "The request body could not be read.",
                )
            })?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            let length = bytes.len() + data.len();
            if length > limit {
                return Err(too_large(operation, limit));
            }
            if length > part.bytes {
                let room = FIRST_BYTES.max(2 * part.bytes).min(expected).max(length);
                part.grow(room).await?;
                bytes.reserve_exact(room - bytes.len());
            }
            bytes.extend_from_slice(&data);
        }
        part.is_read();
        Ok(ReadBody {
            bytes: bytes.into(),
            _part: Some(part),
        })
    }
}

impl Memory {
    fn part(self: &Arc<Self>) -> Part {
        let mut held = self.held.lock();
        let number = held.next;
        held.next += 1;
        held.reading.insert(number);
        Part {
            memory: Arc::clone(self),
            number,
            bytes: 0,
        }
    }

    fn try_take(&self, number: u64, bytes: usize) -> bool {
        let mut held = self.held.lock();
        let over = match held.reading.first() == Some(&number) {
            true => limits::CODE_REQUEST_BYTES,
            false => 0,
        };
        let fits = held.bytes.saturating_add(bytes) <= self.limit.saturating_add(over);
        if fits {
            held.bytes += bytes;
        }
        fits
    }
}

impl Part {
    /// Takes so much in all; waits for others to give some back.
    async fn grow(&mut self, to: usize) -> Result<(), ApiError> {
        let more = to.saturating_sub(self.bytes);
        let until = Instant::now() + MEMORY_WAIT;
        loop {
            let freed = self.memory.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if self.memory.try_take(self.number, more) {
                self.bytes += more;
                return Ok(());
            }
            timeout_at(until, freed).await.map_err(|_| busy())?;
        }
    }

    /// Nothing more comes; another may be the one that was begun first.
    fn is_read(&self) {
        self.memory.held.lock().reading.remove(&self.number);
        self.memory.freed.notify_waiters();
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let mut held = self.memory.held.lock();
        held.bytes = held.bytes.saturating_sub(self.bytes);
        held.reading.remove(&self.number);
        drop(held);
        self.memory.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_of_several_bodies_that_wait_for_each_other_goes_on() {
        let bodies = Bodies::new(&Config {
            body_memory: 100,
            ..Config::default()
        });
        let mut parts = [bodies.memory.part(), bodies.memory.part()];
        let [first, second] = &mut parts;
        first.grow(50).await.unwrap();
        second.grow(50).await.unwrap();
        // Waits for as long as it may, since the first is still there.
        assert!(second.grow(60).await.is_err());
        first.grow(80).await.unwrap();
        {
            let growing = second.grow(60);
            tokio::pin!(growing);
            assert!(now(growing.as_mut()).await.is_none());
            first.is_read();
            growing.await.unwrap();
        }
        drop(parts);
        let held = bodies.memory.held.lock();
        assert_eq!((held.bytes, held.reading.len()), (0, 0));
    }

    /// What a future says now.
    async fn now<F: Future + Unpin>(mut future: F) -> Option<F::Output> {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(match std::pin::Pin::new(&mut future).poll(context) {
                std::task::Poll::Ready(output) => Some(output),
                std::task::Poll::Pending => None,
            })
        })
        .await
    }
}
