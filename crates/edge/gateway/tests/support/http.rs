//! A small HTTP client that can also misbehave.

use std::{
    collections::BTreeMap,
    io::{Cursor, Write},
    net::SocketAddr,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// Takes an answer apart whose body ends with the connection.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let end = bytes
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .expect("no HTTP answer");
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines
            .next()
            .unwrap()
            .split(' ')
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        let headers = lines.map(|line| line.split_once(": ").unwrap());
        let headers = headers
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        Self {
            status,
            headers,
            body: bytes[end + 4..].to_vec(),
        }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Status and exception.
    pub(crate) fn error(&self) -> (u16, &str) {
        (
            self.status,
            self.headers
                .get("x-amzn-errortype")
                .map_or("", String::as_str),
        )
    }
}

/// Sends bytes and reads until the server closes.
pub(crate) async fn raw(address: SocketAddr, bytes: &[u8]) -> Reply {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may refuse before it has read everything.
    let (mut reader, mut writer) = stream.split();
    let mut answer = Vec::new();
    let (_, read) = tokio::join!(writer.write_all(bytes), reader.read_to_end(&mut answer));
    read.unwrap();
    Reply::parse(&answer)
}

/// A request with a body.
pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    )
    .into_bytes();
    for (name, value) in headers {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}

/// Asks and waits for the answer.
pub(crate) async fn ask(address: SocketAddr, method: &str, path: &str, body: &[u8]) -> Reply {
    raw(address, &request(method, path, &[], body)).await
}

/// Invokes a function.
pub(crate) async fn invoke(address: SocketAddr, name: &str, event: &[u8]) -> Reply {
    ask(
        address,
        "POST",
        &format!("/2015-03-31/functions/{name}/invocations"),
        event,
    )
    .await
}

/// A zip with one file, in base64.
pub(crate) fn zip_base64(content: &str) -> String {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    writer
        .start_file("app.py", zip::write::SimpleFileOptions::default())
        .unwrap();
    writer.write_all(content.as_bytes()).unwrap();
    BASE64_STANDARD.encode(writer.finish().unwrap().into_inner())
}

/// The body of a CreateFunction request.
pub(crate) fn creation(name: &str, handler: &str) -> Vec<u8> {
    let body = json!({
        "FunctionName": name, "Role": "arn:aws:iam::123456789012:role/r", "Runtime": "python3.11",
        "Handler": handler, "Code": {"ZipFile": zip_base64(name)},
    });
    body.to_string().into_bytes()
}

/// Creates a function with a handler for the scripted node.
pub(crate) async fn create(address: SocketAddr, name: &str, handler: &str) -> Reply {
    let reply = ask(
        address,
        "POST",
        "/2015-03-31/functions",
        &creation(name, handler),
    )
    .await;
    assert_eq!(
        reply.status,
        201,
        "{:?}",
        String::from_utf8_lossy(&reply.body)
    );
    reply
}
