//! Running an event with the function as it is now.
//!
//! ```text
//!   admit ──▶ Admission ──▶ serving: ready │ stand-in │ wait, look again ──▶ node
//!                              ▲                                              │ turned away unrun, and there is
//!                              └──────────────────────────────────────────────┘ another revision by now
//! ```

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use control_registry::{Draw, FindError, Function, Readiness};
use proto_lambda::FunctionRef;
use proto_node::{
    Body, InvokeHead, InvokeOutcome, LogTail, MAX_RESPONSE_BYTES, PieceSource, Pieces, Reply,
    ReplyPiece, StartKind, Taken,
};
use tokio::time::timeout;

use crate::{AdmitError, InvokeError, Service, metrics, service::detached};

/// Revisions of a function that are tried while it is being changed.
const UPDATE_ATTEMPTS: u32 = 3;

/// A function as a caller named it, with the draw that decides between the two versions of an alias: one
/// for each event, so that a second look finds the same version as the first.
#[derive(Clone, Debug)]
struct Target {
    named: FunctionRef,
    draw: Draw,
}

/// A function that there is and that takes events; dropping it runs nothing.
#[derive(Debug)]
#[must_use = "the event is not run yet"]
pub struct Admission {
    target: Target,
    function: Arc<Function>,
}

/// One event, without what the service knows itself.
#[derive(Clone, Debug)]
pub struct Event {
    /// UUID in the usual text form; the function sees it as its request id.
    pub request_id: String,
    /// Valid JSON, at most 6 MiB.
    pub payload: Bytes,
    /// Client context as JSON text.
    pub client_context: Option<String>,
    /// Value for `Lambda-Runtime-Trace-Id` (`Root=1-…;Parent=…;Sampled=…`).
    pub trace_id: Option<String>,
    /// Whether to collect the end of the log.
    pub log_tail: LogTail,
}

impl Service {
    /// Finds the version that is to serve an event.
    ///
    /// # Errors
    /// When there is none, or its snapshot, which the client asked for in AWS's words, is not made yet.
    pub fn admit(&self, named: FunctionRef) -> Result<Admission, AdmitError> {
        let draw = Draw::random();
        let function = self.registry.route(&named, draw)?;
        if function.asks_for_snap_start() && function.readiness() == Readiness::Preparing {
            return Err(AdmitError::NotReady);
        }
        let target = Target { named, draw };
        Ok(Admission { target, function })
    }

    /// Has the node run the event, to its whole answer. If the caller goes away, it still runs to its end.
    ///
    /// # Errors
    /// When the event was not run.
    pub async fn invoke(
        self: &Arc<Self>,
        admission: Admission,
        event: Event,
    ) -> Result<InvokeOutcome, InvokeError> {
        let service = Arc::clone(self);
        let result = detached(async move {
            let (_function, reply) = service.run(admission, event).await?;
            Ok(reply.whole(MAX_RESPONSE_BYTES).await?)
        })
        .await;
        metrics::count(&result);
        result
    }

    /// Has the node run the event; resolves when the function begins to answer. If the caller goes away before,
    /// the event still runs until then; from then on, dropping the reply ends it.
    ///
    /// # Errors
    /// When the event was not run.
    pub async fn stream(
        self: &Arc<Self>,
        admission: Admission,
        event: Event,
    ) -> Result<Reply, InvokeError> {
        let service = Arc::clone(self);
        let result = detached(async move {
            let (function, reply) = service.run(admission, event).await?;
            let pieces = Pieces::new(Held {
                pieces: reply.pieces,
                start: reply.head.start,
                ended: false,
                _function: function,
            });
            Ok(Reply { pieces, ..reply })
        })
        .await;
        if let Err(error) = &result {
            metrics::count_refusal(error);
        }
        result
    }

    /// The function is to be held until its event has ended, and with it its code on disk.
    async fn run(
        &self,
        admission: Admission,
        event: Event,
    ) -> Result<(Arc<Function>, Reply), InvokeError> {
        let Admission { target, function } = admission;
        let mut function = self.serving(&target, function).await?;
        let (payload, arrived) = (event.payload, Instant::now());
        let mut head = InvokeHead {
            request_id: event.request_id,
            invoked_arn: self.registry.arn_of(&target.named),
            client_context: event.client_context,
            trace_id: event.trace_id,
            log_tail: event.log_tail,
            queue_time: self.config.queue_wait,
        };
        let mut attempt = 1;
        loop {
            let (spec, body) = (Arc::clone(&function.spec), Body::whole(payload.clone()));
            let invoking = self.node.invoke(spec, head.clone(), body, Taken::nobody());
            let error = match invoking.await {
                Ok(reply) => return Ok((function, reply)),
                Err(error) => error,
            };
            // An event that arrives while the function changes may be turned away unrun, because the
            // node has just been told to forget that revision; the new one takes it.
            let unrun = matches!(error, proto_node::InvokeError::Throttled(_));
            if !unrun || attempt == UPDATE_ATTEMPTS {
                return Err(error.into());
            }
            match self.serving_now(&target).await {
                Ok(now) if now.spec.revision != function.spec.revision => function = now,
                _ => return Err(error.into()),
            }
            head.queue_time = self.config.queue_wait.saturating_sub(arrived.elapsed());
            attempt += 1;
        }
    }

    /// The revision that serves an event as things are now.
    async fn serving_now(&self, target: &Target) -> Result<Arc<Function>, FindError> {
        let named = self.registry.route(&target.named, target.draw)?;
        self.serving(target, named).await
    }

    /// The revision that serves an event for `named`: the one before it while its snapshot is made. A new
    /// function has none; the event waits, and in the end starts it without.
    async fn serving(
        &self,
        target: &Target,
        named: Arc<Function>,
    ) -> Result<Arc<Function>, FindError> {
        if named.readiness() != Readiness::Preparing {
            return Ok(named);
        }
        if let Some(stand_in) = named.stand_in() {
            return Ok(stand_in);
        }
        let _ = timeout(self.config.queue_wait, named.settled()).await;
        // It may be deleted, or another one, by now.
        self.registry.route(&target.named, target.draw)
    }
}

/// An answer that keeps its function, and is counted when it ends.
struct Held {
    pieces: Pieces,
    start: StartKind,
    /// Whether its last piece, or why there is none, was handed on.
    ended: bool,
    _function: Arc<Function>,
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.ended {
            metrics::count_unread();
        }
    }
}

impl PieceSource for Held {
    fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<ReplyPiece, proto_node::InvokeError>> {
        let no_end = || {
            Err(proto_node::InvokeError::Sandbox(
                "the answer has no end".to_owned(),
            ))
        };
        let next = self.pieces.poll_next(context);
        let next = next.map(|piece| piece.and_then(|piece| piece.map_or_else(no_end, Ok)));
        self.ended |= matches!(&next, Poll::Ready(Ok(ReplyPiece::End(_)) | Err(_)));
        match &next {
            Poll::Ready(Ok(ReplyPiece::End(end))) => metrics::count_reply(self.start, end),
            Poll::Ready(Err(error)) => metrics::count_refusal(&error.clone().into()),
            Poll::Ready(Ok(ReplyPiece::Chunk(_))) | Poll::Pending => {}
        }
        next
    }
}
