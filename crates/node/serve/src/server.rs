//! The server: takes connections, keeps sessions.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use proto_node::Node;
use proto_wire::{
    CONNECTION_WINDOW, CallAnswer, PATH, Purpose, STREAM_WINDOW, STREAMS, Session, Welcome,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::door::{self, Token};
use crate::exchange::{self, Frameful};
use crate::listen::{Comer, ListenAddress, ListenError, Listener};
use crate::side::Side;

/// Connections at once; each control process has two.
const CONNECTIONS: usize = 64;
/// How long a side connection waits for its main connection.
const CLAIMED_WITHIN: Duration = Duration::from_secs(10);
/// How often a silent caller is asked whether it is there, and how long it has to say so.
const PING_EVERY: Duration = Duration::from_secs(5);
const PING_WITHIN: Duration = Duration::from_secs(10);
/// How long calls under way have when the server stops.
const GRACE: Duration = Duration::from_secs(5);
/// How long to wait when the host has no descriptor for a connection.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// A node on a socket.
pub struct Server {
    listener: Listener,
    place: ListenAddress,
    shared: Arc<Shared>,
}

struct Shared {
    node: Arc<dyn Node>,
    token: Option<Token>,
    /// Side connections whose main connections have not come yet. A leaf among locks.
    sides: Mutex<HashMap<Session, Arc<Side>>>,
}

impl Server {
    /// Listens at `place`; on TCP only those with `token` come in.
    pub async fn bind(
        place: &ListenAddress,
        token: Option<Token>,
        node: Arc<dyn Node>,
    ) -> Result<Self, ListenError> {
        let (listener, place) = Listener::bind(place).await?;
        let shared = Arc::new(Shared {
            node,
            token,
            sides: Mutex::default(),
        });
        Ok(Self {
            listener,
            place,
            shared,
        })
    }

    /// Where it listens.
    pub fn place(&self) -> &ListenAddress {
        &self.place
    }

    /// Serves until `stop` resolves, then lets calls under way end for a while.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let (stopping, stopped) = watch::channel(());
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        let mut connections = JoinSet::new();
        tokio::pin!(stop);
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                Some(_) = connections.join_next() => continue,
                () = &mut stop => break,
            };
            match accepted {
                Ok(comer) => {
                    let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
                        tracing::warn!("too many connections; one is refused");
                        continue;
                    };
                    let (shared, stopped) = (Arc::clone(&self.shared), stopped.clone());
                    connections.spawn(async move {
                        serve(shared, comer, stopped).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_AGAIN).await;
                }
            }
        }
        drop(self.listener);
        drop(stopping);
        let all = async { while connections.join_next().await.is_some() {} };
        if timeout(GRACE, all).await.is_err() {
            tracing::warn!("calls were still under way when the grace time ended");
        }
    }
}

async fn serve(shared: Arc<Shared>, mut comer: Comer, stopped: watch::Receiver<()>) {
    if !door::is_known(&comer) {
        tracing::warn!("a connection of another user is refused");
        return;
    }
    let (heard, token) = match &mut comer {
        Comer::Unix(stream) => (door::hear(stream, None).await, false),
        Comer::Tcp(stream) => (door::hear(stream, shared.token.as_ref()).await, true),
    };
    let heard = heard.and_then(|hello| match token && shared.token.is_none() {
        true => Err("this node has no token".to_owned()),
        false => Ok(hello),
    });
    let (session, side) = match heard.map(|hello| hello.purpose) {
        Err(reason) => return refuse(comer, reason).await,
        Ok(Purpose::Taken) => return begin(&shared, comer).await,
        Ok(Purpose::Calls(session)) => {
            let side = shared.sides.lock().remove(&session);
            match side {
                Some(side) => (session, side),
                None => return refuse(comer, "there is no such session".to_owned()).await,
            }
        }
    };
    match comer {
        Comer::Unix(stream) => calls(shared, session, side, stream, stopped).await,
        Comer::Tcp(stream) => calls(shared, session, side, stream, stopped).await,
    }
}

async fn refuse(mut comer: Comer, reason: String) {
    tracing::warn!(reason, "a connection is refused");
    let refused = Welcome::Refused(reason);
    let _ = match &mut comer {
        Comer::Unix(stream) => door::welcome(stream, &refused).await,
        Comer::Tcp(stream) => door::welcome(stream, &refused).await,
    };
}

/// Begins a session; its main connection is to come.
async fn begin(shared: &Shared, mut comer: Comer) {
    let session = Session(uuid::Uuid::new_v4().as_u128());
    let welcome = Welcome::Session(session);
    let said = match &mut comer {
        Comer::Unix(stream) => door::welcome(stream, &welcome).await,
        Comer::Tcp(stream) => door::welcome(stream, &welcome).await,
    };
    match said.and_then(|()| Side::new(comer)) {
        Ok(side) => shared.sides.lock().insert(session, side),
        Err(error) => {
            tracing::warn!(%error, "a session could not begin");
            return;
        }
    };
    sleep(CLAIMED_WITHIN).await;
    shared.sides.lock().remove(&session);
}

/// Serves the calls of a session until its main connection ends.
async fn calls(
    shared: Arc<Shared>,
    session: Session,
    side: Arc<Side>,
    mut stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    mut stopped: watch::Receiver<()>,
) {
    if door::welcome(&mut stream, &Welcome::Session(session))
        .await
        .is_err()
    {
        return;
    }
    tracing::info!(%session, "a session begins");
    let (closing, ending) = (Arc::clone(&side), stopped.clone());
    let service = service_fn(move |request| {
        let (node, side) = (Arc::clone(&shared.node), Arc::clone(&side));
        let stopped = ending.clone();
        async move { Ok::<_, Infallible>(answer(node, side, request, stopped).await) }
    });
    let mut http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_WITHIN);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closing.closed() => return tracing::warn!(%session, "a session is ended"),
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    match ended {
        Ok(()) => tracing::info!(%session, "a session ends"),
        Err(error) => tracing::warn!(%session, %error, "a session broke"),
    }
}

async fn answer(
    node: Arc<dyn Node>,
    side: Arc<Side>,
    request: Request<Incoming>,
    stopped: watch::Receiver<()>,
) -> Response<Frameful> {
    let (out, frames) = exchange::channel();
    let mut response = Response::new(frames);
    if request.uri().path() != PATH {
        *response.status_mut() = StatusCode::NOT_FOUND;
        return response;
    }
    // Frames come as the call is worked on; a caller that resets the stream drops them, and so ends the work.
    tokio::spawn(async move {
        match exchange::receive(request.into_body()).await {
            Ok((call, body)) => {
                crate::answers::answer(node, side, call, body, out, stopped).await;
            }
            Err(reason) => {
                tracing::warn!(reason, "a call is refused");
                let _ = out.say(&CallAnswer::Refused(reason)).await;
            }
        }
    });
    response
}
