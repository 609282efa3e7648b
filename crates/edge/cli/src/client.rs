//! Requests to the HTTP API of a `rekindle serve`, signed where there is a key for it.

use std::path::Path;
use std::time::SystemTime;

use bytes::Bytes;
use edge_keys::{Credentials, sign};
use http::{HeaderMap, Method, Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::connect::{Connector, trust};
use crate::failure::{ExitCode, Failure};

/// Longest answer that is read; the longest response of a function is 6 MiB.
const MAX_ANSWER: usize = 64 << 20;

/// What stays as it is in a path segment.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'$');

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is none.
    #[error("`{0}` is no address of a server")]
    Endpoint(String),
    /// Nobody says whom to trust.
    #[error("{0} is to be trusted by nobody's word")]
    NoAuthorities(String),
    /// The file that says whom to trust is of no use.
    #[error("{0}")]
    Authorities(String),
    /// Nobody answers there, or the connection broke.
    #[error("cannot reach {endpoint}")]
    Unreachable {
        /// The server's address.
        endpoint: String,
        /// Why.
        source: hyper_util::client::legacy::Error,
    },
    /// The answer broke off or was too long.
    #[error("the answer broke off: {0}")]
    Broken(String),
    /// The server refused: status, error type, message.
    #[error("{kind}: {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// `x-amzn-ErrorType`.
        kind: String,
        /// Text for people.
        message: String,
    },
    /// The answer is not what the API promises.
    #[error("the answer makes no sense: {0}")]
    Nonsense(String),
}

impl ClientError {
    /// Whether the server said that there is no such function.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, ClientError::Refused { status: 404, .. })
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        match &error {
            ClientError::Unreachable { .. } => Failure::from_error(ExitCode::Unreachable, &error)
                .next("start a server with `rekindle serve`, or name one with --endpoint"),
            ClientError::NoAuthorities(_) => Failure::from_error(ExitCode::Usage, &error)
                .next("give the certificate that vouches for the server: --ca-file FILE"),
            ClientError::Refused { status: 404, .. } => {
                Failure::from_error(ExitCode::Failed, &error)
                    .next("`rekindle list` shows the functions there are")
            }
            ClientError::Refused {
                status: 403, kind, ..
            } => {
                let failure = Failure::from_error(ExitCode::Failed, &error);
                match next_of_refusal(kind) {
                    Some(next) => failure.next(next),
                    None => failure,
                }
            }
            _ => Failure::from_error(ExitCode::Failed, &error),
        }
    }
}

/// What a person can do about a server that does not take a signature.
fn next_of_refusal(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "MissingAuthenticationTokenException" => {
            "this server takes signed requests only: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give --key-file FILE"
        }
        "UnrecognizedClientException" => {
            "the server does not know this access key, or not any more: `rekindle key ls` there shows those it knows"
        }
        "InvalidSignatureException" | "IncompleteSignatureException" => {
            "is the secret that of this access key, is this machine's clock right, and AWS_REGION the server's?"
        }
        _ => return None,
    })
}

/// A successful answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Errors
    /// [`ClientError::Nonsense`].
    pub fn json(&self) -> Result<Value, ClientError> {
        serde_json::from_slice(&self.body).map_err(|error| ClientError::Nonsense(error.to_string()))
    }

    /// A header as text; empty when it is missing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}

/// A client of one server; keeps its connections.
#[derive(Clone, Debug)]
pub struct Client {
    endpoint: String,
    http: HttpClient<Connector, Full<Bytes>>,
    credentials: Option<Credentials>,
}

impl Client {
    /// A client of the server at `endpoint`, for example `http://127.0.0.1:9000`.
    ///
    /// # Errors
    /// [`ClientError::Endpoint`].
    pub fn new(endpoint: &str) -> Result<Client, ClientError> {
        Self::trusting(endpoint, None)
    }

    /// The same; one that says https is trusted if it is vouched for in this file.
    ///
    /// # Errors
    /// [`ClientError::Endpoint`], and what is wrong with the file.
    pub fn trusting(endpoint: &str, authorities: Option<&Path>) -> Result<Client, ClientError> {
        let endpoint = if endpoint.contains("://") {
            endpoint.to_owned()
        } else {
            format!("http://{endpoint}")
        };
        // "http://" alone keeps its slashes and is refused below.
        let endpoint = match endpoint.trim_end_matches('/') {
            trimmed if trimmed.ends_with(':') => endpoint,
            trimmed => trimmed.to_owned(),
        };
        let uri: Uri = endpoint
            .parse()
            .map_err(|_| ClientError::Endpoint(endpoint.clone()))?;
        let spoken = ["http", "https"].map(Some).contains(&uri.scheme_str());
        if !spoken || uri.host().is_none() {
            return Err(ClientError::Endpoint(endpoint));
        }
        let connector = match (uri.scheme_str(), authorities) {
            (Some("https"), Some(path)) => {
                Connector::new(Some(trust(path).map_err(ClientError::Authorities)?))
            }
            (Some("https"), None) => return Err(ClientError::NoAuthorities(endpoint)),
            _ => Connector::new(None),
        };
        Ok(Client {
            endpoint,
            http: HttpClient::builder(TokioExecutor::new()).build(connector),
            credentials: None,
        })
    }

    /// The same, which signs what it asks if there is something to sign with.
    #[must_use]
    pub fn signing(self, credentials: Option<Credentials>) -> Client {
        Client {
            credentials,
            ..self
        }
    }

    /// Where the server is.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Makes a request; any status from 400 on is [`ClientError::Refused`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, String)],
        body: impl Into<Bytes>,
    ) -> Result<Answer, ClientError> {
        gather(self.open(method, path, headers, body.into()).await?).await
    }

    /// Makes a request whose answer is read piece by piece; any status from 400 on is [`ClientError::Refused`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn open(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, String)],
        body: Bytes,
    ) -> Result<hyper::Response<hyper::body::Incoming>, ClientError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.endpoint));
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request
            .body(body)
            .map_err(|error| ClientError::Nonsense(error.to_string()))?;
        let (mut head, body) = request.into_parts();
        if let Some(credentials) = &self.credentials {
            let (method, uri) = (head.method.clone(), head.uri.clone());
            let now = SystemTime::now();
            sign(credentials, &method, &uri, &mut head.headers, &body, now);
        }
        let request = Request::from_parts(head, Full::new(body));
        let sent = self.http.request(request).await;
        let response = sent.map_err(|source| ClientError::Unreachable {
            endpoint: self.endpoint.clone(),
            source,
        })?;
        if response.status().as_u16() >= 400 {
            return Err(refusal(&gather(response).await?));
        }
        Ok(response)
    }
}

/// The whole of an answer, up to a limit.
async fn gather(response: hyper::Response<hyper::body::Incoming>) -> Result<Answer, ClientError> {
    let (head, body) = response.into_parts();
    let body = Limited::new(body, MAX_ANSWER)
        .collect()
        .await
        .map_err(|error| ClientError::Broken(error.to_string()))?
        .to_bytes();
    Ok(Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body,
    })
}

fn refusal(answer: &Answer) -> ClientError {
    let body = answer.json().unwrap_or_default();
    let text = |key: &str| body.get(key).and_then(Value::as_str).map(str::to_owned);
    let kind = Some(answer.header("x-amzn-errortype"))
        .filter(|kind| !kind.is_empty())
        .map(|kind| kind.split(':').next().unwrap_or(kind).to_owned())
        .or_else(|| text("__type"))
        .unwrap_or_else(|| format!("status {}", answer.status));
    let message = text("message")
        .or_else(|| text("Message"))
        .unwrap_or_else(|| String::from_utf8_lossy(&answer.body).into_owned());
    ClientError::Refused {
        status: answer.status,
        kind,
        message,
    }
}

/// A name as one segment of a path.
#[must_use]
pub(crate) fn segment(name: &str) -> String {
    utf8_percent_encode(name, SEGMENT).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_http_addresses() {
        assert_eq!(
            Client::new("127.0.0.1:9000/").unwrap().endpoint(),
            "http://127.0.0.1:9000"
        );
        let untrusted = Client::new("https://x");
        assert!(matches!(untrusted, Err(ClientError::NoAuthorities(_))));
        for bad in ["https://x", "http://", "ftp://a", "a b"] {
            assert!(Client::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_stay_one_segment() {
        assert_eq!(segment("a/../b c"), "a%2F..%2Fb%20c");
        assert_eq!(segment("hello-1:$LATEST"), "hello-1%3A$LATEST");
    }
}
