//! Parsing of a request line and its headers, down to what the routes need.

use serde::{Deserialize, Serialize};

use crate::limits::MAX_HEADERS;

/// How the length of a request body is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// `Content-Length`, or 0 when nothing is said.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// What happens to the connection after the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Persistence {
    KeepAlive,
    Close,
}

/// A request without its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) method: String,
    /// Path without query or authority.
    pub(crate) path: String,
    pub(crate) framing: Framing,
    pub(crate) persistence: Persistence,
    /// `Expect: 100-continue` was sent.
    pub(crate) expects_continue: bool,
    pub(crate) content_type: Option<String>,
    /// `Lambda-Runtime-Function-Error-Type`.
    pub(crate) error_type: Option<String>,
    /// `Lambda-Runtime-Invocation-Id`.
    pub(crate) invocation_id: Option<String>,
    /// `Lambda-Runtime-Function-Response-Mode`.
    pub(crate) delivery: Delivery,
}

/// How a response wants to go on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Delivery {
    /// When it is whole.
    Buffered,
    /// As it comes: `streaming`.
    Streamed,
}

/// The bytes are no HTTP/1 request that we serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Parses a head at the start of `bytes`: it and its length, or `None` when more is needed.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, Malformed> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(bytes).map_err(|_| Malformed)? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial => return Ok(None),
    };
    let method = request.method.ok_or(Malformed)?.to_owned();
    let path = path_of(request.path.ok_or(Malformed)?).to_owned();
    let mut head = Head {
        method,
        path,
        framing: Framing::Length(0),
        persistence: match request.version {
            Some(1) => Persistence::KeepAlive,
            _ => Persistence::Close,
        },
        expects_continue: false,
        content_type: None,
        error_type: None,
        invocation_id: None,
        delivery: Delivery::Buffered,
    };
    let mut content_length = None;
    let mut chunked = false;
    for header in request.headers.iter() {
        let value = header.value;
        match header.name.to_ascii_lowercase().as_str() {
            "content-length" => {
                let length = length_of(value)?;
                // Two lengths that differ are how requests are smuggled (RFC 9112, 6.3).
                if content_length.is_some_and(|other| other != length) {
                    return Err(Malformed);
                }
                content_length = Some(length);
            }
            "transfer-encoding" => {
                if chunked || !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                    return Err(Malformed);
                }
                chunked = true;
            }
            "connection" => head.persistence = persistence_of(value, head.persistence),
            "expect" => {
                head.expects_continue = value.trim_ascii().eq_ignore_ascii_case(b"100-continue");
            }
            "content-type" => head.content_type = Some(text(value)),
            "lambda-runtime-function-error-type" => head.error_type = Some(text(value)),
            "lambda-runtime-invocation-id" => head.invocation_id = Some(text(value)),
            "lambda-runtime-function-response-mode"
                if value.trim_ascii().eq_ignore_ascii_case(b"streaming") =>
            {
                head.delivery = Delivery::Streamed;
            }
            _ => {}
        }
    }
    head.framing = match (chunked, content_length) {
        (true, None) => Framing::Chunked,
        (true, Some(_)) => return Err(Malformed),
        (false, length) => Framing::Length(length.unwrap_or(0)),
    };
    Ok(Some((head, length)))
}

/// The path of a request target in origin or absolute form, without its query.
fn path_of(target: &str) -> &str {
    let path = match target.strip_prefix("http://") {
        Some(rest) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => target,
    };
    path.split(['?', '#']).next().unwrap_or(path)
}

fn length_of(value: &[u8]) -> Result<u64, Malformed> {
    let digits = value.trim_ascii();
    // `u64::from_str` would also take a sign.
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Malformed);
    }
    std::str::from_utf8(digits)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(Malformed)
}

fn persistence_of(value: &[u8], otherwise: Persistence) -> Persistence {
    let mut options = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    options
        .clone()
        .find(|option| option.eq_ignore_ascii_case(b"close"))
        .map_or_else(
            || match options.any(|option| option.eq_ignore_ascii_case(b"keep-alive")) {
                true => Persistence::KeepAlive,
                false => otherwise,
            },
            |_| Persistence::Close,
        )
}

pub(crate) fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.trim_ascii()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Result<Option<Head>, Malformed> {
        Ok(parse(text.as_bytes())?.map(|(head, _)| head))
    }

    #[test]
    fn lengths_that_could_smuggle_a_request_are_refused() {
        for headers in [
            "Content-Length: 1\r\nContent-Length: 2",
            "Content-Length: +1",
            "Content-Length: 1\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Content-Length: 99999999999999999999",
        ] {
            assert_eq!(
                head(&format!("POST / HTTP/1.1\r\n{headers}\r\n\r\n")),
                Err(Malformed)
            );
        }
    }

    #[test]
    fn targets_lose_authority_and_query() {
        for target in ["/a/b", "/a/b?c", "http://169.254.100.1:9001/a/b?c#d"] {
            let head = head(&format!("GET {target} HTTP/1.1\r\n\r\n"))
                .unwrap()
                .unwrap();
            assert_eq!(head.path, "/a/b");
        }
    }

    #[test]
    fn connections_persist_as_their_version_says() {
        let of = |text: &str| head(text).unwrap().unwrap().persistence;
        assert_eq!(of("GET / HTTP/1.1\r\n\r\n"), Persistence::KeepAlive);
        assert_eq!(of("GET / HTTP/1.0\r\n\r\n"), Persistence::Close);
        assert_eq!(
            of("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"),
            Persistence::KeepAlive
        );
        assert_eq!(
            of("GET / HTTP/1.1\r\nConnection: x, CLOSE\r\n\r\n"),
            Persistence::Close
        );
    }
}
