//! Running an event: a node is found for it, and another if that one turns it away unrun.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use proto_node::{
    Begun, Body, BoxFuture, FunctionSpec, Invoke, InvokeError, InvokeHead, PieceSource, Pieces,
    Reply, ReplyPiece, Taken, ThrottleReason,
};
use tokio::time::timeout;

use crate::member::UnderWay;
use crate::nodes::Nodes;

impl Nodes {
    /// Finds a node for an event and hands it over; where it is turned away unrun, finds another.
    async fn run(
        &self,
        function: Arc<FunctionSpec>,
        mut head: InvokeHead,
        mut body: Body,
        mut taken: Taken,
    ) -> Result<Reply, InvokeError> {
        let deadline = Instant::now() + head.queue_time;
        let mut changed = self.changed.clone();
        let mut tried = BTreeSet::new();
        let mut refused = InvokeError::NodeLost { begun: Begun::No };
        loop {
            changed.mark_unchanged();
            let Some(member) = self.choose(&function.revision, &tried) else {
                // All that take events have turned it away; only if none does, another may come.
                let left = deadline.saturating_duration_since(Instant::now());
                let somebody = self.members.iter().any(|member| member.takes_events());
                if somebody || left.is_zero() || timeout(left, changed.changed()).await.is_err() {
                    return Err(refused);
                }
                tried.clear();
                continue;
            };
            let again = body.again();
            let (first, second) = std::mem::replace(&mut taken, Taken::nobody()).split();
            let under_way = member.begin(&function.revision);
            head.queue_time = deadline.saturating_duration_since(Instant::now());
            let invoking = member
                .node
                .invoke(Arc::clone(&function), head.clone(), body, first);
            let error = match invoking.await {
                Ok(reply) => return Ok(counted(reply, under_way)),
                Err(error) => error,
            };
            if error == InvokeError::ShuttingDown {
                member.drains();
            }
            let elsewhere = matches!(
                error,
                InvokeError::NodeLost { begun: Begun::No }
                    | InvokeError::ShuttingDown
                    | InvokeError::Throttled(ThrottleReason::Concurrency)
            );
            let (true, Some(again)) = (elsewhere, again) else {
                return Err(error);
            };
            (body, taken, refused) = (again, second, error);
            tried.extend(self.members.iter().position(|it| Arc::ptr_eq(it, member)));
        }
    }
}

/// Counts an event as its node's until its answer has come to its end.
fn counted(reply: Reply, under_way: UnderWay) -> Reply {
    let Reply { head, pieces } = reply;
    let pieces = Pieces::new(Counted { pieces, under_way });
    Reply { head, pieces }
}

struct Counted {
    pieces: Pieces,
    under_way: UnderWay,
}

impl PieceSource for Counted {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<ReplyPiece, InvokeError>> {
        let piece = match ready!(self.pieces.poll_next(context)) {
            Ok(Some(piece)) => piece,
            Ok(None) => {
                let begun = Begun::Yes;
                return Poll::Ready(Err(InvokeError::NodeLost { begun }));
            }
            Err(error) => return Poll::Ready(Err(error)),
        };
        if matches!(piece, ReplyPiece::End(_)) {
            self.under_way.answered();
        }
        Poll::Ready(Ok(piece))
    }
}

impl Invoke for Nodes {
    fn invoke(
        &self,
        function: Arc<FunctionSpec>,
        event: InvokeHead,
        body: Body,
        taken: Taken,
    ) -> BoxFuture<'_, Result<Reply, InvokeError>> {
        Box::pin(self.run(function, event, body, taken))
    }
}
