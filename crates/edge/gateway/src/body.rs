//! Reads request bodies: bounded in bytes, in time, and in memory over all requests.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use proto_lambda::{ApiError, ErrorCode, Method, Operation, limits};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout, timeout_at},
};

use crate::Config;

/// Unit in which memory is counted, because a semaphore counts to 2^32 at most.
const UNIT: usize = 1024;
/// Longest wait for memory.
const MEMORY_WAIT: Duration = Duration::from_secs(20);

/// Memory for bodies, shared by all requests.
pub(crate) struct Bodies {
    memory: Arc<Semaphore>,
    units: usize,
    idle: Duration,
    whole: Duration,
}

/// A body, with its claim on the shared memory.
#[derive(Default)]
pub(crate) struct ReadBody {
    pub(crate) bytes: Bytes,
    _memory: Option<OwnedSemaphorePermit>,
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

impl Bodies {
    pub(crate) fn new(config: &Config) -> Self {
        // The largest body must fit, or it would wait for ever.
        let units = config
            .body_memory
            .max(limits::CODE_REQUEST_BYTES)
            .div_ceil(UNIT);
        let units = units.min(Semaphore::MAX_PERMITS);
        Self {
            memory: Arc::new(Semaphore::new(units)),
            units,
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
        let memory = self.reserve(expected).await?;
        let mut bytes = BytesMut::with_capacity(hint.exact().map_or(0, |_| expected));
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
            if bytes.len() + data.len() > limit {
                return Err(too_large(operation, limit));
            }
            bytes.extend_from_slice(&data);
        }
        Ok(ReadBody {
            bytes: bytes.freeze(),
            _memory: memory,
        })
    }

    async fn reserve(&self, bytes: usize) -> Result<Option<OwnedSemaphorePermit>, ApiError> {
        let units = bytes.div_ceil(UNIT).min(self.units);
        if units == 0 {
            return Ok(None);
        }
        let busy = || {
            ApiError::new(
                ErrorCode::SERVICE_UNAVAILABLE,
                "Too many large requests at once; try again.",
            )
        };
        let units = u32::try_from(units).map_err(|_| busy())?;
        let permit = timeout(
            MEMORY_WAIT,
            Arc::clone(&self.memory).acquire_many_owned(units),
        )
        .await;
        permit.map_err(|_| busy())?.map(Some).map_err(|_| busy())
    }
}
