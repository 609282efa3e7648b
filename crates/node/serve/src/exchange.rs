//! One call: its message and body on the way in, its frames on the way out.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame as HttpFrame, Incoming};
use proto_node::{Body, BodyBroken, BodySource};
use proto_wire::{CALL_BYTES, Call, CallAnswer, Frame, FrameReader, WireError, message, piece};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// How long a call's message may take to come in.
const CALL_WITHIN: Duration = Duration::from_secs(30);
/// Frames that are ready before the connection takes them.
const AHEAD: usize = 2;

/// Nobody waits for the answer any more.
#[derive(Debug)]
pub(crate) struct CallerGone;

/// What comes in: a stream of frames.
struct Frames {
    incoming: Incoming,
    decoder: FrameReader,
}

impl Frames {
    /// The next frame, none at the end of the stream.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Frame>, WireError>> {
        loop {
            if let Some(frame) = self.decoder.next_frame()? {
                return Poll::Ready(Ok(Some(frame)));
            }
            match ready!(Pin::new(&mut self.incoming).poll_frame(context)) {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.decoder.push(data);
                    }
                }
                None if self.decoder.is_between_frames() => return Poll::Ready(Ok(None)),
                None | Some(Err(_)) => return Poll::Ready(Err(WireError::Unfinished)),
            }
        }
    }
}

impl BodySource for Frames {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyBroken>> {
        Poll::Ready(match ready!(self.poll(context)) {
            Ok(Some(Frame::Piece(piece))) => Ok(Some(piece)),
            Ok(None) => Ok(None),
            Ok(Some(Frame::Message(_))) | Err(_) => Err(BodyBroken::Gone),
        })
    }
}

/// The message of a call, and the body that follows it.
pub(crate) async fn receive(incoming: Incoming) -> Result<(Call, Body), String> {
    let mut frames = Frames {
        incoming,
        decoder: FrameReader::new(CALL_BYTES),
    };
    let first = std::future::poll_fn(|context| frames.poll(context));
    let first = timeout(CALL_WITHIN, first)
        .await
        .map_err(|_| "the call took too long".to_owned())?
        .and_then(|frame| frame.ok_or(WireError::Unfinished))
        .and_then(|frame| frame.read::<Call>());
    let call = first.map_err(|error| error.to_string())?;
    call.check().map_err(|error| error.to_string())?;
    Ok((call, Body::pieces(frames)))
}

/// Where the frames of an answer go.
pub(crate) struct Outlet(mpsc::Sender<Bytes>);

/// The frames of an answer as the connection takes them.
pub(crate) struct Frameful(mpsc::Receiver<Bytes>);

pub(crate) fn channel() -> (Outlet, Frameful) {
    let (sender, receiver) = mpsc::channel(AHEAD);
    (Outlet(sender), Frameful(receiver))
}

impl Outlet {
    pub(crate) async fn say(&self, answer: &CallAnswer) -> Result<(), CallerGone> {
        match message(answer) {
            Ok(frame) => self.send(frame).await,
            // Too long, so that no caller would take it.
            Err(error) => {
                tracing::error!(%error, "an answer cannot be sent");
                Err(CallerGone)
            }
        }
    }

    pub(crate) async fn piece(&self, bytes: Bytes) -> Result<(), CallerGone> {
        let header = piece(bytes.len()).map_err(|_| CallerGone)?;
        self.send(header).await?;
        self.send(bytes).await
    }

    /// Resolves when nobody waits any more.
    pub(crate) async fn closed(&self) {
        self.0.closed().await;
    }

    async fn send(&self, bytes: Bytes) -> Result<(), CallerGone> {
        self.0.send(bytes).await.map_err(|_| CallerGone)
    }
}

impl HttpBody for Frameful {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<HttpFrame<Bytes>, Infallible>>> {
        let bytes = self.0.poll_recv(context);
        bytes.map(|bytes| bytes.map(|bytes| Ok(HttpFrame::data(bytes))))
    }
}
