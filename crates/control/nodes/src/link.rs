//! The two connections to one node.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use hyper::body::{Body as HttpBody, Frame as HttpFrame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use proto_node::{Body, BodyBroken};
use proto_wire::{
    ANSWER_BYTES, CONNECTION_WINDOW, Call, CallAnswer, Frame, FrameReader, Hello, HelloError,
    LINE_BYTES, PATH, Purpose, STREAM_WINDOW, Session, Welcome, WireError, message, piece,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::address::Address;
use crate::ledger::Ledger;

/// How long connecting may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How often a silent node is asked whether it is there, and how long it has to say so.
const PING_EVERY: Duration = Duration::from_secs(2);
const PING_WITHIN: Duration = Duration::from_secs(5);

/// Why a node cannot be reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("it cannot be connected to")]
    Io(#[from] std::io::Error),
    #[error("it took too long")]
    Slow,
    #[error("{0}")]
    Hello(#[from] HelloError),
    #[error("it refuses: {0}")]
    Refused(String),
    #[error("HTTP/2 could not begin")]
    Http(#[from] hyper::Error),
}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("the connection to the node is lost")]
    Lost,
    #[error("the node is not understood: {0}")]
    Wire(#[from] WireError),
    #[error("the node refuses the call: {0}")]
    Refused(String),
}

trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// A session with a node.
#[derive(Debug)]
pub(crate) struct Link {
    sender: SendRequest<Outgoing>,
    pub(crate) ledger: Arc<Ledger>,
    ended: watch::Receiver<bool>,
}

impl Link {
    /// Connects. The tasks that drive the connections end with them.
    pub(crate) async fn open(
        address: &Address,
        token: Option<&str>,
    ) -> Result<Arc<Self>, ConnectError> {
        let opening = timeout(CONNECT_WITHIN, Self::connect(address, token));
        opening.await.map_err(|_| ConnectError::Slow)?
    }

    async fn connect(address: &Address, token: Option<&str>) -> Result<Arc<Self>, ConnectError> {
        let (side, session) = greet(address, Purpose::Taken, token).await?;
        let (main, _) = greet(address, Purpose::Calls(session), token).await?;
        let mut http = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        http.timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_WITHIN)
            .keep_alive_while_idle(true);
        let (sender, connection) = http.handshake(TokioIo::new(main)).await?;
        let ledger = Arc::new(Ledger::new());
        let following = Arc::clone(&ledger);
        tokio::spawn(async move { following.follow(side).await });
        let (ending, ended) = watch::channel(false);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to a node broke");
            }
            ending.send_replace(true);
        });
        Ok(Arc::new(Self {
            sender,
            ledger,
            ended,
        }))
    }

    pub(crate) fn is_open(&self) -> bool {
        !*self.ended.borrow() && !self.sender.is_closed()
    }

    /// Resolves when the main connection is gone.
    pub(crate) async fn ended(&self) {
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
    }

    /// Makes a call with a body.
    pub(crate) async fn call(&self, call: &Call, body: Body) -> Result<Answers, CallError> {
        let outgoing = Outgoing {
            ready: Some(message(call)?),
            piece: None,
            body,
        };
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("http://node{PATH}"))
            .body(outgoing)
            .map_err(|_| CallError::Lost)?;
        let mut sender = self.sender.clone();
        let response = sender.send_request(request).await;
        let response = response.map_err(|_| CallError::Lost)?;
        Ok(Answers {
            incoming: response.into_body(),
            decoder: FrameReader::new(ANSWER_BYTES),
        })
    }

    /// Makes a call that has one answer.
    pub(crate) async fn ask(&self, call: &Call) -> Result<CallAnswer, CallError> {
        self.call(call, Body::empty()).await?.answer().await
    }
}

/// Connects and says what for.
async fn greet(
    address: &Address,
    purpose: Purpose,
    token: Option<&str>,
) -> Result<(Box<dyn Duplex>, Session), ConnectError> {
    let mut stream: Box<dyn Duplex> = match address {
        Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
        Address::Tcp(authority) => {
            let stream = TcpStream::connect(authority).await?;
            stream.set_nodelay(true)?;
            Box::new(stream)
        }
    };
    let token = token.map(str::to_owned);
    let hello = Hello { purpose, token }.line();
    stream.write_all(hello.as_bytes()).await?;
    let mut line = Vec::new();
    loop {
        match stream.read_u8().await? {
            b'\n' => break,
            _ if line.len() == LINE_BYTES => return Err(HelloError::Foreign.into()),
            byte => line.push(byte),
        }
    }
    let line = String::from_utf8(line).map_err(|_| HelloError::Foreign)?;
    match Welcome::parse(&line)? {
        Welcome::Session(session) => Ok((stream, session)),
        Welcome::Refused(reason) => Err(ConnectError::Refused(reason)),
    }
}

/// A call on its way: its message, then the pieces of its body.
struct Outgoing {
    ready: Option<Bytes>,
    piece: Option<Bytes>,
    body: Body,
}

impl HttpBody for Outgoing {
    type Data = Bytes;
    type Error = BodyBroken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<HttpFrame<Bytes>, BodyBroken>>> {
        let this = &mut *self;
        if let Some(bytes) = this.ready.take().or_else(|| this.piece.take()) {
            return Poll::Ready(Some(Ok(HttpFrame::data(bytes))));
        }
        Poll::Ready(match ready!(this.body.poll_next(context)) {
            Ok(None) => None,
            Ok(Some(bytes)) => match piece(bytes.len()) {
                Ok(header) => {
                    this.piece = Some(bytes);
                    Some(Ok(HttpFrame::data(header)))
                }
                Err(_) => Some(Err(BodyBroken::Gone)),
            },
            Err(broken) => Some(Err(broken)),
        })
    }
}

/// What comes back of a call.
pub(crate) struct Answers {
    incoming: Incoming,
    decoder: FrameReader,
}

impl Answers {
    /// The next frame. A stream that ends early is a connection that is lost.
    pub(crate) fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Frame, CallError>> {
        loop {
            if let Some(frame) = self.decoder.next_frame()? {
                return Poll::Ready(Ok(frame));
            }
            match ready!(Pin::new(&mut self.incoming).poll_frame(context)) {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.decoder.push(data);
                    }
                }
                Some(Err(_)) | None => return Poll::Ready(Err(CallError::Lost)),
            }
        }
    }

    /// The next message.
    pub(crate) async fn answer(&mut self) -> Result<CallAnswer, CallError> {
        let frame = std::future::poll_fn(|context| self.poll_frame(context)).await?;
        match frame.read()? {
            CallAnswer::Refused(reason) => Err(CallError::Refused(reason)),
            answer => Ok(answer),
        }
    }
}
