//! What a client can send too much of, or too slowly. After each, the server still answers.

mod support;

use std::{sync::Arc, time::Duration};

use edge_gateway::Config;
use support::{
    Server,
    http::{ask, create, invoke, raw, request},
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
async fn requests_over_the_limit_are_told_so() {
    let (invoker, mut heard) = Scripted::new();
    let config = Config {
        serving: 1,
        ..Config::default()
    };
    let server = Server::start(config, Arc::clone(&invoker)).await;
    create(server.address, "f", "hang").await;
    let mut first = TcpStream::connect(server.address).await.unwrap();
    let path = "/2015-03-31/functions/f/invocations";
    first
        .write_all(&request("POST", path, &[], b""))
        .await
        .unwrap();
    assert_eq!(heard.events.recv().await, Some("started"));
    let reply = ask(server.address, "GET", "/2015-03-31/functions", b"").await;
    assert_eq!(reply.error(), (503, "ServiceUnavailableException"));
    // Whether it is there can be asked all the same.
    let reply = ask(server.address, "GET", "/_rekindle/health", b"").await;
    assert_eq!(reply.status, 200);
    invoker.release.add_permits(1);
    let mut answer = Vec::new();
    first.read_to_end(&mut answer).await.unwrap();
    assert!(answer.ends_with(b"\"released\""));
    let reply = ask(server.address, "GET", "/2015-03-31/functions", b"").await;
    assert_eq!(reply.status, 200);
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

/// Asks again and again while others do their worst; none of it may fail or take as long as a limit.
async fn all_well(server: &Server, times: usize) {
    for _ in 0..times {
        let asked = tokio::time::timeout(
            Duration::from_secs(10),
            ask(server.address, "GET", "/_rekindle/health", b""),
        );
        assert_eq!(asked.await.expect("in time").status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn half_requests_keep_nobody_out() {
    let server = start(Config::default()).await;
    create(server.address, "f", "echo").await;
    let mut halves = Vec::new();
    for number in 0..1500 {
        let mut half = TcpStream::connect(server.address).await.unwrap();
        // Headers that have no end, and bodies of which nothing comes.
        let text: &[u8] = match number % 2 {
            0 => b"GET /_rekindle/health HTTP/1.1\r\nhost: loc",
            _ => {
                b"POST /2015-03-31/functions/f/invocations HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n"
            }
        };
        let _ = half.write_all(text).await;
        halves.push(half);
        if number % 100 == 99 {
            all_well(&server, 1).await;
        }
    }
    all_well(&server, 20).await;
    let reply = invoke(server.address, "f", b"1").await;
    assert_eq!(reply.status, 200);
    drop(halves);
    still_up(server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_keep_nobody_out() {
    let server = start(Config {
        reading: 200,
        ..Config::default()
    })
    .await;
    // One that asks now and then stays, as long as others are idle for longer.
    let mut busy = TcpStream::connect(server.address).await.unwrap();
    let mut reader = vec![0; 4096];
    let mut idle = std::collections::VecDeque::new();
    for number in 0..10_000 {
        idle.push_back(TcpStream::connect(server.address).await.unwrap());
        if idle.len() > 400 {
            idle.pop_front();
        }
        if number % 100 == 99 {
            all_well(&server, 1).await;
            busy.write_all(b"GET /_rekindle/health HTTP/1.1\r\nhost: localhost\r\n\r\n")
                .await
                .unwrap();
            let count = busy.read(&mut reader).await.unwrap();
            assert!(reader[..count].starts_with(b"HTTP/1.1 200"), "{number}");
        }
    }
    drop(idle);
    still_up(server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_announced_and_do_not_come_delay_no_other() {
    let server = start(Config::default()).await;
    let mut announced = Vec::new();
    for _ in 0..8 {
        let mut slow = TcpStream::connect(server.address).await.unwrap();
        let head = b"POST /2015-03-31/functions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 70000000\r\n\r\n{";
        slow.write_all(head).await.unwrap();
        announced.push(slow);
    }
    let creating =
        tokio::time::timeout(Duration::from_secs(10), create(server.address, "f", "echo"));
    creating.await.expect("nobody waits for what does not come");
    drop(announced);
    still_up(server).await;
}

#[tokio::test]
async fn a_request_says_once_whom_it_asks() {
    let server = start(Config::default()).await;
    for (hosts, status) in [
        ("host: localhost\r\n", 200),
        ("", 400),
        ("host: localhost\r\nhost: localhost\r\n", 400),
        ("host: localhost\r\nhost: \u{ff}\r\n", 400),
        ("host: a b\r\n", 400),
    ] {
        let text = format!("GET /_rekindle/health HTTP/1.1\r\nconnection: close\r\n{hosts}\r\n");
        let reply = raw(server.address, text.as_bytes()).await;
        assert_eq!(reply.status, status, "{hosts}");
    }
    let old = raw(server.address, b"GET /_rekindle/health HTTP/1.0\r\n\r\n").await;
    assert_eq!(old.status, 200);
    still_up(server).await;
}
