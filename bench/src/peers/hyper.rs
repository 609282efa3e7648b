//! A bare hyper server: reads the request, answers as many bytes as the function does.

use std::convert::Infallible;
use std::io::{self, Write};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::invoke::ANSWER;

/// Prints its address and serves until its standard input ends.
pub(crate) fn run() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0)))?;
    writeln!(io::stdout(), "{}", listener.local_addr()?)?;
    runtime.spawn(serve(listener));
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}

async fn serve(listener: TcpListener) {
    // Accepting fails when descriptors run out; then the benchmark says so by itself.
    while let Ok((connection, _)) = listener.accept().await {
        let _ = connection.set_nodelay(true);
        tokio::spawn(
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(connection), service_fn(answer)),
        );
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    // What the client sent wrong is not measured.
    let _ = request.into_body().collect().await;
    Ok(Response::new(Full::new(Bytes::from_static(ANSWER))))
}
