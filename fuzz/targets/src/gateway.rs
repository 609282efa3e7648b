//! A client's request: its head as HTTP, the operation that it names, its function, and the AWS signature version 4 over it.

use std::sync::Arc;
use std::time::SystemTime;

use edge_keys::{AccessKey, Checker, KeyRing, Place, Transport};
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
    let keys = vec![AccessKey {
        id: "AKIDEXAMPLE".into(),
        secret: "secret".into(),
        name: "default".into(),
        account: None,
    }];
    let place = Place {
        region: "us-east-1".into(),
        account: "000000000000".into(),
    };
    let checker = Checker::new(Arc::new(KeyRing::of(keys)), place);
    let now = SystemTime::now();
    let claim = checker.check_head(&head, Transport::Private, now);
    let passed = claim.and_then(|claim| checker.check_body(&claim, &head, &bytes[body..], now));
    // Nobody signs by chance.
    assert!(passed.is_err());
}
