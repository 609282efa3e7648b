//! One connection: HTTP/1.1 with bounded headers and waits, and an end that lets answers arrive.

use std::{convert::Infallible, future::poll_fn, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{shared::Shared, stall::StallGuard};

/// Longest time and most bytes that are read and thrown away before a connection is closed.
///
/// Closing with unread bytes resets the connection, and the reset may overtake an answer such as
/// "431 header too large" that the client has not read yet.
const LINGER: (Duration, usize) = (Duration::from_secs(2), 128 * 1024 * 1024);

/// Answer of a server that has no room for a connection.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    content-type: application/json\r\nx-amzn-errortype: ServiceUnavailableException\r\n\
    retry-after: 1\r\nconnection: close\r\ncontent-length: 56\r\n\r\n\
    {\"Type\":\"Service\",\"Message\":\"Too many connections now.\"}";

/// Serves a connection until it ends; when the server stops, after the request under way.
pub(crate) async fn serve(shared: Arc<Shared>, stream: TcpStream) {
    let mut stop = shared.stopped.clone();
    let config = &shared.config;
    let _ = stream.set_nodelay(true);
    let stream = TokioIo::new(StallGuard::new(stream, config.write_timeout));
    let handler = Arc::clone(&shared);
    let service = service_fn(move |request| {
        let shared = Arc::clone(&handler);
        Box::pin(async move { Ok::<_, Infallible>(shared.answer(request).await) })
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(config.header_timeout)
        // The smallest size that hyper takes is 8 KiB.
        .max_buf_size(config.header_bytes.max(8192))
        .serve_connection(stream, service);
    let mut stopping = false;
    let ended = loop {
        tokio::select! {
            ended = poll_fn(|context| connection.poll_without_shutdown(context)) => break ended,
            _ = stop.changed(), if !stopping => {
                stopping = true;
                std::pin::Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended early");
    }
    // A server that stops has answered everything; it waits for nobody to read it.
    if !stopping {
        close(connection.into_parts().io.into_inner()).await;
    }
}

/// Tells a client that there is no room.
pub(crate) async fn refuse(mut stream: TcpStream) {
    let _ = timeout(LINGER.0, stream.write_all(FULL)).await;
    close(stream).await;
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

#[cfg(test)]
mod tests {
    #[test]
    fn the_refusal_states_its_own_length() {
        let text = std::str::from_utf8(super::FULL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("content-length: {}", body.len())),
            "{}",
            body.len()
        );
    }
}
