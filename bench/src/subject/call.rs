//! One client of one function: an event by HTTP, the answer, and how long it took to the last byte.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use edge_cli::{ExitCode, Failure};
use http::header::HOST;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{Deployed, Kind};
use crate::failed;

/// Bytes of a failure that are shown.
const SHOWN: usize = 300;

/// What came back.
pub(crate) struct Answer {
    /// From sending the request to the last byte of the answer, milliseconds.
    pub(crate) ms: f64,
    pub(crate) kind: Kind,
    /// Stages and their milliseconds, as the server told them.
    pub(crate) stages: Vec<(String, f64)>,
    /// How often the guest was left until the answer, by reason, if an instance came up for it.
    pub(crate) exits: Vec<(String, f64)>,
    pub(crate) body: Bytes,
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let text = String::from_utf8_lossy(&self.body).into_owned();
            Failure::new(
                ExitCode::Function,
                format!("the answer {text} makes no sense: {error}"),
            )
        })
    }
}

/// A client with a connection of its own, which it keeps.
pub(crate) struct Caller {
    address: SocketAddr,
    path: String,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Caller {
    pub(crate) fn new(address: SocketAddr, function: &Deployed) -> Caller {
        Caller {
            address,
            path: function.path.clone(),
            sender: None,
        }
    }

    pub(crate) fn some(count: usize, address: SocketAddr, function: &Deployed) -> Vec<Caller> {
        (0..count).map(|_| Caller::new(address, function)).collect()
    }

    /// Connects, if it is not connected; not part of what is measured.
    pub(crate) async fn connect(&mut self) -> Result<(), Failure> {
        if let Some(sender) = &mut self.sender
            && sender.ready().await.is_ok()
        {
            return Ok(());
        }
        let stream = TcpStream::connect(self.address).await;
        let stream = stream.map_err(|error| failed(&error))?;
        stream.set_nodelay(true).map_err(|error| failed(&error))?;
        let (mut sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failed(&error))?;
        tokio::spawn(connection);
        sender.ready().await.map_err(|error| failed(&error))?;
        self.sender = Some(sender);
        Ok(())
    }

    /// Sends one event.
    pub(crate) async fn call(&mut self, event: &Bytes) -> Result<Answer, Failure> {
        self.connect().await?;
        let request = Request::post(self.path.as_str())
            .header(HOST, "localhost")
            .body(Full::new(event.clone()))
            .map_err(|error| failed(&error))?;
        let Some(sender) = &mut self.sender else {
            return Err(Failure::new(ExitCode::Unreachable, "not connected"));
        };
        let started = Instant::now();
        let response = sender.send_request(request).await;
        let (head, body) = response.map_err(|error| failed(&error))?.into_parts();
        let body = body
            .collect()
            .await
            .map_err(|error| failed(&error))?
            .to_bytes();
        let ms = started.elapsed().as_secs_f64() * 1e3;
        if head.status != StatusCode::OK || head.headers.contains_key("x-amz-function-error") {
            let text = String::from_utf8_lossy(body.get(..SHOWN).unwrap_or(&body)).into_owned();
            let text = format!("a call was answered {} {text}", head.status);
            return Err(Failure::new(ExitCode::Function, text));
        }
        let Told {
            kind,
            stages,
            exits,
        } = server_timing(&head.headers);
        Ok(Answer {
            ms,
            kind,
            stages,
            exits,
            body,
        })
    }
}

/// All at once send the event; their answers in the order of the callers.
pub(crate) async fn burst(
    callers: &mut Vec<Caller>,
    event: &Bytes,
) -> Result<Vec<Result<Answer, Failure>>, Failure> {
    for caller in callers.iter_mut() {
        caller.connect().await?;
    }
    let tasks: Vec<_> = callers
        .drain(..)
        .map(|mut caller| {
            let event = event.clone();
            tokio::spawn(async move {
                let answer = caller.call(&event).await;
                (caller, answer)
            })
        })
        .collect();
    let mut answers = Vec::with_capacity(tasks.len());
    for task in tasks {
        let (caller, answer) = task.await.map_err(|error| failed(&error))?;
        callers.push(caller);
        answers.push(answer);
    }
    Ok(answers)
}

/// What `Server-Timing` tells.
#[derive(Debug, PartialEq)]
struct Told {
    kind: Kind,
    stages: Vec<(String, f64)>,
    exits: Vec<(String, f64)>,
}

/// Reads `start;desc=KIND, STAGE;dur=MILLISECONDS, …, exits;desc="REASON COUNT …"` (W3C Server Timing, 3).
fn server_timing(headers: &HeaderMap) -> Told {
    let text = headers
        .get("server-timing")
        .and_then(|value| value.to_str().ok());
    let mut told = Told {
        kind: Kind::Warm,
        stages: Vec::new(),
        exits: Vec::new(),
    };
    for entry in text.unwrap_or_default().split(',') {
        let mut parts = entry.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        for part in parts {
            match (name, part.split_once('=')) {
                ("start", Some(("desc", "restored"))) => told.kind = Kind::Restored,
                ("start", Some(("desc", "cold"))) => told.kind = Kind::Cold,
                ("exits", Some(("desc", exits))) => {
                    let words: Vec<&str> = exits.trim_matches('"').split(' ').collect();
                    for pair in words.chunks_exact(2) {
                        if let Ok(count) = pair[1].parse() {
                            told.exits.push((pair[0].to_owned(), count));
                        }
                    }
                }
                (_, Some(("dur", ms))) => {
                    if let Ok(ms) = ms.parse() {
                        told.stages.push((name.to_owned(), ms));
                    }
                }
                _ => {}
            }
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_says_how_an_instance_came_to_be_and_what_its_stages_took() {
        let mut headers = HeaderMap::new();
        let told = server_timing(&headers);
        assert_eq!((told.kind, told.stages.len()), (Kind::Warm, 0));
        let text = "start;desc=restored, queue;dur=0.5, odd, restore;dur=1.25, exits;desc=\"call 12 fill 3 odd\"";
        headers.insert("server-timing", text.parse().unwrap());
        let told = server_timing(&headers);
        let named = |name: &str, value: f64| (name.to_owned(), value);
        assert_eq!(told.kind, Kind::Restored);
        assert_eq!(told.stages, [named("queue", 0.5), named("restore", 1.25)]);
        assert_eq!(told.exits, [named("call", 12.0), named("fill", 3.0)]);
    }
}
