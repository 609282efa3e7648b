//! What a client can send too much of, or too slowly. After each, the server still answers.

mod support;

use std::{sync::Arc, time::Duration};

use edge_gateway::Config;
use support::{
    Server,
    http::{ask, create, creation, invoke, raw, request},
    scripted::Scripted,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

async fn start(config: Config) -> Server {
    let (invoker, _) = Scripted::new();
    Server::start(config, invoker).await
}

async fn still_up(server: Server) {
    let reply = ask(server.address, "GET", "/_rekindle/health", b"").await;
    assert_eq!(reply.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn a_header_of_two_megabytes_is_refused_cleanly() {
    let server = start(Config::default()).await;
    let huge = "x".repeat(2 << 20);
    let reply = raw(
        server.address,
        &request("GET", "/2015-03-31/functions", &[("x-huge", &huge)], b""),
    )
    .await;
    assert_eq!(reply.status, 431);
    let many: Vec<(String, String)> = (0..1000)
        .map(|n| (format!("x-{n}"), String::new()))
        .collect();
    let many: Vec<(&str, &str)> = many
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let reply = raw(
        server.address,
        &request("GET", "/2015-03-31/functions", &many, b""),
    )
    .await;
    assert_eq!(reply.status, 431);
    let reply = ask(server.address, "GET", &format!("/{huge}"), b"").await;
    assert!([414, 431].contains(&reply.status), "{}", reply.status);
    still_up(server).await;
}

#[tokio::test]
async fn bodies_over_their_limit_are_refused() {
    let server = start(Config::default()).await;
    create(server.address, "f", "echo").await;
    // The length alone is enough: no byte of the body is sent.
    let head = b"POST /2015-03-31/functions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 70167212\r\n\r\n";
    let reply = raw(server.address, head).await;
    assert_eq!(reply.error(), (413, "RequestEntityTooLargeException"));
    let text = "Request must be smaller than 70167211 bytes for the CreateFunction operation";
    assert_eq!(reply.json()["message"], text);

    let over = vec![b'1'; 6_291_457];
    let reply = invoke(server.address, "f", &over).await;
    assert_eq!(reply.error(), (413, "RequestTooLargeException"));
    let just = invoke(server.address, "f", &over[1..]).await;
    assert_eq!((just.status, just.body.len()), (200, 6_291_456));

    // Chunked, so that the length is not known before.
    let mut chunked = b"POST /2015-03-31/functions/f/invocations HTTP/1.1\r\nhost: localhost\r\n\
        connection: close\r\ntransfer-encoding: chunked\r\n\r\n"
        .to_vec();
    for part in over.chunks(1 << 20) {
        chunked.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
        chunked.extend_from_slice(part);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    assert_eq!(
        raw(server.address, &chunked).await.error(),
        (413, "RequestTooLargeException")
    );

    let reply = ask(
        server.address,
        "POST",
        "/2017-03-31/tags/x",
        &vec![b' '; (1 << 20) + 1],
    )
    .await;
    assert_eq!(reply.error(), (413, "RequestEntityTooLargeException"));
    still_up(server).await;
}

#[tokio::test]
async fn headers_that_never_end_are_cut_off() {
    let server = start(Config {
        header_timeout: Duration::from_millis(50),
        ..Config::default()
    })
    .await;
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nhost: loc")
        .await
        .unwrap();
    let mut answer = Vec::new();
    slow.read_to_end(&mut answer).await.unwrap();
    let silent = TcpStream::connect(server.address).await;
    silent.unwrap().read_to_end(&mut answer).await.unwrap();
    still_up(server).await;
}

#[tokio::test]
async fn a_body_that_stops_coming_is_cut_off() {
    let server = start(Config {
        body_idle_timeout: Duration::from_millis(50),
        ..Config::default()
    })
    .await;
    create(server.address, "f", "echo").await;
    let head = b"POST /2015-03-31/functions/f/invocations HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{";
    let reply = raw(server.address, head).await;
    assert_eq!(reply.error(), (408, "RequestTimeoutException"));
    still_up(server).await;
}

#[tokio::test]
async fn connections_over_the_limit_are_told_so() {
    let (invoker, mut heard) = Scripted::new();
    let server = Server::start(
        Config {
            connections: 1,
            ..Config::default()
        },
        Arc::clone(&invoker),
    )
    .await;
    // Both requests on one connection, so that the limit of one is used up by it and nothing else.
    let mut first = TcpStream::connect(server.address).await.unwrap();
    let creation = request("POST", "/2015-03-31/functions", &[], &creation("f", "hang"));
    let creation = String::from_utf8(creation)
        .unwrap()
        .replace("connection: close\r\n", "");
    first.write_all(creation.as_bytes()).await.unwrap();
    let path = "/2015-03-31/functions/f/invocations";
    first
        .write_all(&request("POST", path, &[], b""))
        .await
        .unwrap();
    assert_eq!(heard.events.recv().await, Some("started"));
    let reply = ask(server.address, "GET", "/_rekindle/health", b"").await;
    assert_eq!(reply.error(), (503, "ServiceUnavailableException"));
    assert_eq!(reply.json()["Type"], "Service");
    invoker.release.add_permits(1);
    let mut answer = Vec::new();
    first.read_to_end(&mut answer).await.unwrap();
    assert!(answer.ends_with(b"\"released\""));
    server.stop().await;
}

#[tokio::test]
async fn bytes_that_are_no_http_close_the_connection_only() {
    let server = start(Config::default()).await;
    for garbage in [
        &b"\0\0\0\0"[..],
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\0\x01\0",
        b"GET / HTTP/9.9\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
    }
    still_up(server).await;
}
