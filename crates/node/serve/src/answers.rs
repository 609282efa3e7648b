//! What each call does.

use std::sync::Arc;

use proto_node::{Body, BoxFuture, Heard, InvokeError, Node, Pieces, ReplyPiece};
use proto_wire::{Call, CallAnswer};
use tokio::sync::watch;

use crate::exchange::{CallerGone, Outlet};
use crate::side::Side;

/// Most stored log lines that anybody may ask for.
const MOST_LINES: u32 = 10_000;

/// Does what a call asks for, as long as somebody waits for it.
pub(crate) async fn answer(
    node: Arc<dyn Node>,
    side: Arc<Side>,
    call: Call,
    body: Body,
    out: Outlet,
    mut stopped: watch::Receiver<()>,
) {
    let endless = matches!(call, Call::Subscribe);
    tokio::select! {
        biased;
        // An event that waits is forgotten, one that runs does so to its end.
        () = out.closed() => {}
        _ = stopped.changed(), if endless => {}
        _ = perform(&node, &side, call, body, &out) => {}
    }
}

async fn perform(
    node: &Arc<dyn Node>,
    side: &Arc<Side>,
    call: Call,
    body: Body,
    out: &Outlet,
) -> Result<(), CallerGone> {
    let answer = match call {
        Call::Invoke {
            event,
            function,
            head,
        } => {
            let (function, taken) = (Arc::new(*function), side.taken(event));
            match node.invoke(function, *head, body, taken).await {
                Ok(reply) => {
                    out.say(&CallAnswer::Invoked(Ok(reply.head))).await?;
                    return hand_on(reply.pieces, out).await;
                }
                Err(error) => CallAnswer::Invoked(Err(error)),
            }
        }
        Call::Prepare(function) => CallAnswer::Prepared(node.prepare(Arc::new(*function)).await),
        Call::HasSnapshot(function) => {
            CallAnswer::Flag(node.has_snapshot(Arc::new(*function)).await)
        }
        Call::Outdated => CallAnswer::Revisions(node.outdated().await),
        Call::Forget(revision) => done(node.forget(revision)).await,
        Call::KeepOnly(revisions) => done(node.keep_only(revisions)).await,
        Call::HasCode(code) => CallAnswer::Flag(node.has_code(code).await),
        Call::PutCode(code) => CallAnswer::Stored(node.put_code(code, body).await),
        Call::RemoveCode(code) => done(node.remove_code(code)).await,
        Call::KeepCode(codes) => done(node.keep_code(codes)).await,
        Call::Subscribe => return follow(node, out).await,
        Call::StoredLogs { function, limit } => {
            let limit = limit.min(MOST_LINES) as usize;
            for record in node.stored_logs(&function, limit).await {
                out.say(&CallAnswer::Record(Box::new(record))).await?;
            }
            CallAnswer::Done
        }
        Call::RemoveLogs(function) => done(node.remove_logs(&function)).await,
        Call::View => CallAnswer::View(node.view().await),
        Call::Target {
            function,
            kind,
            count,
        } => CallAnswer::Targeted(node.target(Arc::new(*function), kind, count).await),
    };
    out.say(&answer).await
}

async fn done(work: BoxFuture<'_, ()>) -> CallAnswer {
    work.await;
    CallAnswer::Done
}

/// Hands an answer on as fast as it is taken.
async fn hand_on(mut pieces: Pieces, out: &Outlet) -> Result<(), CallerGone> {
    loop {
        let ended = match pieces.next().await {
            Ok(Some(ReplyPiece::Chunk(bytes))) => {
                out.piece(bytes).await?;
                continue;
            }
            Ok(Some(ReplyPiece::End(end))) => Ok(end),
            Ok(None) => Err(InvokeError::Sandbox("the answer has no end".to_owned())),
            Err(error) => Err(error),
        };
        return out.say(&CallAnswer::Ended(ended)).await;
    }
}

async fn follow(node: &Arc<dyn Node>, out: &Outlet) -> Result<(), CallerGone> {
    let mut subscription = node.subscribe();
    while let Some(heard) = subscription.next().await {
        let answer = match heard {
            Heard::Record(record) => CallAnswer::Record(Box::new(Arc::unwrap_or_clone(record))),
            Heard::Lost(count) => CallAnswer::Lost(count),
        };
        out.say(&answer).await?;
    }
    Ok(())
}
