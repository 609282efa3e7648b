//! What a node counts, for Prometheus: HTTP on a port of its own, which serves nothing else.
//!
//! ```text
//!   GET /_rekindle/metrics     the metrics
//!   GET /_rekindle/health      whether it is there
//! ```

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use proto_node::BoxFuture;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::door::Token;
use crate::listen::{ListenAddress, ListenError};

/// Connections at once: few look, and each asks once.
const CONNECTIONS: usize = 16;
/// How long one may take to ask and to read the answer.
const WITHIN: Duration = Duration::from_secs(10);
/// How long to wait when the host has no descriptor for a connection.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// Says what was counted, in a form that a header of this type names.
pub type Exposition = Arc<dyn Fn() -> BoxFuture<'static, String> + Send + Sync>;

/// What a node counts, on a port.
pub struct Exposed {
    listener: TcpListener,
    address: SocketAddr,
    token: Option<Token>,
    content_type: HeaderValue,
    exposition: Exposition,
}

impl Exposed {
    /// Listens at `address`; with `token` only those see metrics that show it (`Authorization: Bearer TOKEN`).
    pub async fn bind(
        address: SocketAddr,
        token: Option<Token>,
        content_type: &'static str,
        exposition: Exposition,
    ) -> Result<Self, ListenError> {
        let failed = |source| ListenError::Host {
            place: ListenAddress::Tcp(address),
            source,
        };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self {
            listener,
            address,
            token,
            content_type: HeaderValue::from_static(content_type),
            exposition,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until it is dropped.
    pub async fn run(self) {
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        let shared = Arc::new(self);
        loop {
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
                return;
            };
            match shared.listener.accept().await {
                Ok((stream, _)) => {
                    let shared = Arc::clone(&shared);
                    tokio::spawn(async move {
                        let _ = timeout(WITHIN, shared.serve(stream)).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_AGAIN).await;
                }
            }
        }
    }

    async fn serve(self: Arc<Self>, stream: TcpStream) {
        let service = service_fn(move |request| {
            let shared = Arc::clone(&self);
            async move { Ok::<_, Infallible>(shared.answer(&request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(WITHIN)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service);
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection ended early");
        }
    }

    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let told = |status: StatusCode, text: String| {
            let mut response = Response::new(Full::new(Bytes::from(text)));
            *response.status_mut() = status;
            response
        };
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/_rekindle/health") => {
                told(StatusCode::OK, "{\"status\":\"ok\"}".to_owned())
            }
            (&Method::GET, "/_rekindle/metrics") if self.may_look(request) => {
                let mut response = told(StatusCode::OK, (self.exposition)().await);
                let headers = response.headers_mut();
                headers.insert(CONTENT_TYPE, self.content_type.clone());
                response
            }
            (&Method::GET, "/_rekindle/metrics") => {
                let text = "show the node's token: Authorization: Bearer TOKEN\n";
                told(StatusCode::UNAUTHORIZED, text.to_owned())
            }
            _ => told(StatusCode::NOT_FOUND, String::new()),
        }
    }

    fn may_look(&self, request: &Request<Incoming>) -> bool {
        let Some(token) = &self.token else {
            return true;
        };
        let shown = request.headers().get(AUTHORIZATION);
        let shown = shown.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        shown.is_some_and(|shown| token.is(shown))
    }
}
