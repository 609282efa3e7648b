//! Functions that stream, of the scripted node: `stream.N` N bytes, `stream-held` its second half once the
//! node's `release` lets it, `stream-fault` fails and `stream-broken` breaks after the first half.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use proto_node::{
    FunctionFault, FunctionSpec, InvokeEnd, InvokeError, PIECE_BYTES, PieceSource, Pieces, Reply,
    ReplyHead, ReplyPiece, ResponseMode, StartKind,
};
use tokio::sync::mpsc;

use super::scripted::Scripted;

/// The answer of a function whose handler is `stream` and `kind`.
pub(crate) fn reply(node: &Scripted, function: &FunctionSpec, kind: &str) -> Reply {
    let pieces = match kind.strip_prefix('.') {
        Some(count) => Pieces::new(Counted {
            left: count.parse().unwrap(),
            asked: 0,
            told: node.streamed.clone(),
        }),
        None => halves(node, kind),
    };
    Reply {
        head: ReplyHead {
            executed_version: function.version.clone(),
            start: StartKind::Warm,
            mode: ResponseMode::Streaming,
            content_type: None,
        },
        pieces,
    }
}

/// So many bytes, made when they are asked for.
struct Counted {
    left: u64,
    asked: u64,
    told: mpsc::UnboundedSender<u64>,
}

impl PieceSource for Counted {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Result<ReplyPiece, InvokeError>> {
        static PIECE: [u8; PIECE_BYTES] = [b'x'; PIECE_BYTES];
        let count = self.left.min(PIECE_BYTES as u64);
        self.left -= count;
        self.asked += count;
        Poll::Ready(Ok(match count {
            0 => ReplyPiece::End(Box::default()),
            _ => ReplyPiece::Chunk(Bytes::from_static(&PIECE[..count as usize])),
        }))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let _ = self.told.send(self.asked);
    }
}

fn halves(node: &Scripted, kind: &str) -> Pieces {
    let (writer, pieces) = Pieces::pipe(1);
    let (kind, release) = (kind.to_owned(), Arc::clone(&node.release));
    tokio::spawn(async move {
        let chunk = |text: &'static str| ReplyPiece::Chunk(Bytes::from_static(text.as_bytes()));
        writer.send(chunk("first ")).await.unwrap();
        let mut end = InvokeEnd {
            log_tail: Bytes::from_static(b"END\n"),
            ..InvokeEnd::default()
        };
        match kind.as_str() {
            "-held" => {
                release.acquire().await.unwrap().forget();
                writer.send(chunk("second")).await.unwrap();
            }
            "-fault" => {
                let body = Bytes::from_static(b"{\"errorType\":\"Error\"}");
                end.fault = Some(FunctionFault::reported(body));
            }
            _ => {
                let error = InvokeError::Sandbox("a secret path".to_owned());
                return writer.fail(error).await.unwrap();
            }
        }
        writer.send(ReplyPiece::End(Box::new(end))).await.unwrap();
    });
    pieces
}
