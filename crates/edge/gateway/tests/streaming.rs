//! InvokeWithResponseStream: pieces as they come, no more of them than the client takes.

mod support;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use edge_gateway::Config;
use serde_json::{Value, json};
use support::{
    Server,
    http::{ask, create, raw, request},
    scripted::{Heard, Scripted},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const MIB: u64 = 1024 * 1024;

fn path(name: &str) -> String {
    format!("/2021-11-15/functions/{name}/response-streaming-invocations")
}

/// A message of an event stream.
#[derive(Debug, PartialEq)]
struct Message {
    headers: Vec<(String, String)>,
    payload: Vec<u8>,
}

impl Message {
    fn header(&self, name: &str) -> &str {
        let mut headers = self.headers.iter();
        headers
            .find(|(key, _)| key == name)
            .map_or("", |(_, value)| value)
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.payload).unwrap()
    }
}

/// A client that reads messages one by one.
struct Client {
    stream: TcpStream,
    head: String,
}

impl Client {
    /// Sends an event and reads the head of the answer. By HTTP/1.0 its body is not cut into chunks.
    async fn invoke(address: SocketAddr, name: &str, headers: &str) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let text = format!(
            "POST {} HTTP/1.0\r\nhost: localhost\r\ncontent-length: 2\r\n{headers}\r\n[]",
            path(name)
        );
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        Self { stream, head }
    }

    /// The next message, none at the end.
    async fn next(&mut self) -> Option<Message> {
        let length = self.stream.read_u32().await.ok()?;
        let headers_length = self.stream.read_u32().await.unwrap() as usize;
        let mut rest = vec![0; length as usize - 8];
        self.stream.read_exact(&mut rest).await.unwrap();
        let (mut fields, payload) = rest[4..rest.len() - 4].split_at(headers_length);
        let mut headers = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        while let [name_length, after @ ..] = fields {
            let (name, after) = after.split_at(usize::from(*name_length));
            assert_eq!(after[0], 7, "a string");
            let length = usize::from(u16::from_be_bytes([after[1], after[2]]));
            let (value, after) = after[3..].split_at(length);
            headers.push((text(name), text(value)));
            fields = after;
        }
        Some(Message {
            headers,
            payload: payload.to_vec(),
        })
    }

    /// Bytes of all chunks, and the last message.
    async fn drain(&mut self) -> (u64, Message) {
        let mut count = 0;
        loop {
            let message = self.next().await.unwrap();
            if message.header(":event-type") != "PayloadChunk" {
                assert!(self.next().await.is_none());
                return (count, message);
            }
            count += message.payload.len() as u64;
        }
    }
}

async fn start(config: Config, handlers: &[&str]) -> (Server, Arc<Scripted>, Heard) {
    let (node, heard) = Scripted::new();
    let server = Server::start(config, Arc::clone(&node)).await;
    for handler in handlers {
        create(server.address, &handler.replace('.', "-"), handler).await;
    }
    (server, node, heard)
}

/// Most memory that this process ever had, in bytes.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.unwrap().split_ascii_whitespace().nth(1).unwrap();
    kib.parse::<u64>().unwrap() * 1024
}

#[tokio::test]
async fn two_hundred_megabytes_pass_through_and_memory_stays_flat() {
    let handlers = ["stream.65536", "stream.209715200", "stream.209715201"];
    let (server, _node, _heard) = start(Config::default(), &handlers).await;
    let small = Client::invoke(server.address, "stream-65536", "").await;
    assert!(
        small
            .head
            .contains("content-type: application/vnd.amazon.eventstream")
    );
    assert!(small.head.contains("x-amz-executed-version: $LATEST"));
    drop(small);
    let before = peak_memory();
    let mut client = Client::invoke(server.address, "stream-209715200", "").await;
    let (count, last) = client.drain().await;
    assert_eq!((count, last.json()), (200 * MIB, json!({})));
    let grown = peak_memory() - before;
    assert!(grown < 8 * MIB, "{grown} bytes more");
    let mut client = Client::invoke(server.address, "stream-209715201", "").await;
    let (_, last) = client.drain().await;
    assert_eq!(last.json()["ErrorCode"], "Unhandled");
    let details = last.json()["ErrorDetails"].to_string();
    assert!(details.contains("Function.ResponseSizeTooLarge"));
    server.stop().await;
}

#[tokio::test]
async fn the_first_bytes_come_before_the_end() {
    let (server, node, _heard) = start(Config::default(), &["stream-held"]).await;
    let tail = "x-amz-log-type: Tail\r\n";
    let mut client = Client::invoke(server.address, "stream-held", tail).await;
    let first = client.next().await.unwrap();
    let headers = [
        (":event-type", "PayloadChunk"),
        (":content-type", "application/octet-stream"),
        (":message-type", "event"),
    ];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let payload = b"first ".to_vec();
    let expected = Message {
        headers: headers.into(),
        payload,
    };
    assert_eq!(first, expected);
    node.release.add_permits(1);
    let (count, last) = client.drain().await;
    assert_eq!(count, 6);
    assert_eq!(last.header(":event-type"), "InvokeComplete");
    assert_eq!(last.header(":content-type"), "application/json");
    assert_eq!(last.json(), json!({ "LogResult": "RU5ECg==" }));
    server.stop().await;
}

#[tokio::test]
async fn failures_on_the_way_are_told_at_the_end() {
    let handlers = ["stream-fault", "stream-broken", "timeout", "echo", "busy"];
    let (server, _node, _heard) = start(Config::default(), &handlers).await;
    let mut client = Client::invoke(server.address, "stream-fault", "").await;
    let (count, last) = client.drain().await;
    let told = json!({ "ErrorCode": "Unhandled", "ErrorDetails": "{\"errorType\":\"Error\"}" });
    assert_eq!((count, last.json()), (6, told));
    let mut client = Client::invoke(server.address, "stream-broken", "").await;
    let (_, last) = client.drain().await;
    assert_eq!(last.header(":message-type"), "error");
    assert_eq!(last.header(":error-code"), "ServiceException");
    assert!(!last.header(":error-message").contains("secret"));
    // A function that does not stream says all at once.
    let mut client = Client::invoke(server.address, "timeout", "").await;
    let (count, last) = client.drain().await;
    assert_eq!(count, 0);
    let details = last.json()["ErrorDetails"].to_string();
    assert!(details.contains("Task timed out"), "{details}");
    let mut client = Client::invoke(server.address, "echo", "").await;
    assert_eq!(client.next().await.unwrap().payload, b"[]");
    assert_eq!(client.next().await.unwrap().json(), json!({}));
    // What is known before an answer begins is an error as of Invoke.
    let busy = ask(server.address, "POST", &path("busy"), b"").await;
    assert_eq!(busy.error(), (429, "TooManyRequestsException"));
    let missing = ask(server.address, "POST", &path("missing"), b"").await;
    assert_eq!(missing.error(), (404, "ResourceNotFoundException"));
    let event = [("x-amz-invocation-type", "Event")];
    let asked = request("POST", &path("echo"), &event, b"");
    let refused = raw(server.address, &asked).await;
    assert_eq!(refused.error(), (400, "ValidationException"));
    let dry = [("x-amz-invocation-type", "DryRun")];
    let asked = request("POST", &path("echo"), &dry, b"");
    assert_eq!(raw(server.address, &asked).await.status, 204);
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_stops_reading_stops_the_function() {
    let config = Config {
        write_timeout: Duration::from_millis(200),
        ..Config::default()
    };
    let (server, _node, mut heard) = start(config, &["stream.209715200"]).await;
    let client = Client::invoke(server.address, "stream-209715200", "").await;
    // What the kernel holds for a reader is a few MiB. When time is up the answer is let go.
    let asked = heard.streamed.recv().await.unwrap();
    assert!(asked < 32 * MIB, "{asked} bytes were asked for");
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_leaves_frees_the_function() {
    let (server, node, mut heard) = start(Config::default(), &["stream.209715200"]).await;
    let mut client = Client::invoke(server.address, "stream-209715200", "").await;
    client.next().await.unwrap();
    drop(client);
    let asked = heard.streamed.recv().await.unwrap();
    assert!(asked < 200 * MIB, "{asked} bytes were asked for");
    drop(node);
    server.stop().await;
}
