//! One connection: HTTP/1.1 with bounded headers and waits, and an end that lets answers arrive.

use std::{convert::Infallible, future::poll_fn, sync::Arc, time::Duration};

use edge_keys::Transport;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep_until, timeout},
};

use crate::{seat::Sitting, shared::Shared, stall::StallGuard};

/// Longest time and most bytes that are read and thrown away before a connection is closed.
///
/// Closing with unread bytes resets the connection, and the reset may overtake an answer such as
/// "431 header too large" that the client has not read yet.
const LINGER: (Duration, usize) = (Duration::from_secs(2), 128 * 1024 * 1024);
/// How long a connection that has asked for nothing may still do so when the server stops: what is under way by then
/// was sent before anybody could know.
const LAST_HEAD: Duration = Duration::from_secs(1);

/// Serves a connection until it ends or has to give way; when the server stops, after the request under way.
pub(crate) async fn serve(shared: Arc<Shared>, stream: TcpStream, sitting: Sitting) {
    let _ = stream.set_nodelay(true);
    let local = stream.peer_addr().is_ok_and(|peer| peer.ip().is_loopback());
    let Some(tls) = &shared.config.tls else {
        let transport = match local {
            true => Transport::Private,
            false => Transport::Open,
        };
        return speak(shared, stream, sitting, transport).await;
    };
    let greeting = timeout(shared.config.header_timeout, tls.0.accept(stream));
    let greeted = tokio::select! {
        greeted = greeting => greeted,
        () = sitting.seat.evicted() => return,
    };
    match greeted {
        Ok(Ok(stream)) => speak(Arc::clone(&shared), stream, sitting, Transport::Private).await,
        Ok(Err(error)) => tracing::debug!(%error, "a connection did not come to TLS"),
        Err(_) => tracing::debug!("a connection took too long to come to TLS"),
    }
}

async fn speak(
    shared: Arc<Shared>,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    sitting: Sitting,
    transport: Transport,
) {
    let (config, mut stop) = (&shared.config, shared.stopped.clone());
    let seat = &sitting.seat;
    let stream = StallGuard::new(stream, config.write_timeout, Arc::clone(seat));
    let (handler, asking) = (Arc::clone(&shared), Arc::clone(seat));
    let service = service_fn(move |request| {
        let (shared, seat) = (Arc::clone(&handler), Arc::clone(&asking));
        Box::pin(async move { Ok::<_, Infallible>(shared.answer(request, seat, transport).await) })
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(config.header_timeout)
        // The smallest size that hyper takes is 8 KiB.
        .max_buf_size(config.header_bytes.max(8192))
        .serve_connection(TokioIo::new(stream), service);
    let (mut stopping, mut heads) = (None, true);
    let ended = loop {
        let last_head = stopping.unwrap_or_else(Instant::now);
        tokio::select! {
            ended = poll_fn(|context| connection.poll_without_shutdown(context)) => break ended,
            () = seat.evicted() => return,
            _ = stop.changed(), if stopping.is_none() => {
                stopping = Some(Instant::now() + LAST_HEAD);
                std::pin::Pin::new(&mut connection).graceful_shutdown();
            }
            () = sleep_until(last_head), if stopping.is_some() && heads => {
                if seat.is_idle() {
                    return;
                }
                heads = false;
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended early");
    }
    // A server that stops has answered everything; it waits for nobody to read it.
    if stopping.is_none() {
        close(connection.into_parts().io.into_inner()).await;
    }
}

async fn close(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin) {
    let drain = async {
        if stream.shutdown().await.is_err() {
            return;
        }
        let mut buffer = vec![0; 16 * 1024];
        let mut total = 0;
        while let Ok(count) = stream.read(&mut buffer).await {
            total += count;
            if count == 0 || total > LINGER.1 {
                return;
            }
        }
    };
    let _ = timeout(LINGER.0, drain).await;
}
