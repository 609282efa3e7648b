//! A function that says that it runs and then takes its time, and who calls it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use crate::server::{Node, Server};

/// Says that it runs before it takes its time.
pub(crate) const NAPPER: &str = "import time\n\
    def handler(e, c):\n    print('RUN', e['id'], flush=True); time.sleep(e['nap']); return e['id']\n";

pub(crate) fn deploy(server: &Server) {
    let code = tempfile::tempdir().unwrap();
    fs::write(code.path().join("app.py"), NAPPER).unwrap();
    let out = server.rekindle(&[
        "deploy",
        code.path().to_str().unwrap(),
        "--name",
        "napper",
        "--runtime",
        "python3.11",
        "--handler",
        "app.handler",
        "--timeout",
        "60",
    ]);
    assert!(out.status.success(), "{out:?}");
}

/// The status and the body of an answer to an event.
pub(crate) fn invoke(endpoint: &str, id: u32, nap: f64) -> (u16, String) {
    let address = endpoint.strip_prefix("http://").unwrap();
    let event = format!("{{\"id\": {id}, \"nap\": {nap}}}");
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "POST /2015-03-31/functions/napper/invocations HTTP/1.1\r\nHost: {address}\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n{event}",
        event.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    (status, body.to_owned())
}

/// How often each event ran on a node, by what is on its disk.
pub(crate) fn runs(node: &Node) -> BTreeMap<u32, u32> {
    let mut runs = BTreeMap::new();
    let mut todo = vec![node.data.join("logs")];
    while let Some(path) = todo.pop() {
        for entry in fs::read_dir(&path).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                todo.push(entry.path());
                continue;
            }
            let text = fs::read(entry.path()).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            for told in text.split("\"RUN ").skip(1) {
                let id = told.split('"').next().and_then(|id| id.parse().ok());
                *runs.entry(id.expect("an event's number")).or_default() += 1;
            }
        }
    }
    runs
}
