//! A client's request: its head as HTTP, the operation that it names, its function, and the AWS signature version 4 over it.

use edge_gateway::{AccessKey, verify_signature};
use http::{HeaderName, HeaderValue, Request};
use proto_lambda::{FunctionRef, resolve};

/// Most header lines, and bytes of a name or ARN.
const HEADERS: usize = 64;
const NAME: usize = 170;

pub(crate) fn run(bytes: &[u8]) {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let Ok(httparse::Status::Complete(body)) = request.parse(bytes) else {
        return;
    };
    let mut built = Request::builder()
        .method(request.method.unwrap_or_default())
        .uri(request.path.unwrap_or_default());
    for header in request.headers.iter() {
        let name = HeaderName::from_bytes(header.name.as_bytes());
        let value = HeaderValue::from_bytes(header.value);
        if let (Ok(name), Ok(value)) = (name, value) {
            built = built.header(name, value);
        }
    }
    let Ok(built) = built.body(()) else { return };
    let (head, ()) = built.into_parts();
    let query = head.uri.query().unwrap_or_default();
    if let Some(resolved) = resolve(head.method.as_str(), head.uri.path(), query) {
        for parameter in resolved.parameters {
            let _ = FunctionRef::parse(&parameter, NAME);
        }
    }
    let keys = [AccessKey {
        id: "AKIDEXAMPLE".into(),
        secret: "secret".into(),
    }];
    // Nobody signs by chance.
    assert!(verify_signature(&keys, &head, &bytes[body..]).is_err());
}
