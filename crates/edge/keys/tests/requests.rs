//! Requests that are signed, and what is done to them on the way.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use edge_keys::{AccessKey, Checker, Credentials, KeyRing, Place, Transport, sign};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Uri};
use proptest::prelude::*;

const BODY: &[u8] = b"{\"a\": 1}";
const PATH: &str = "http://127.0.0.1:9000/2015-03-31/functions/f%3A1/invocations?Qualifier=a%20b&x";

fn key(id: &str, account: Option<&str>) -> AccessKey {
    AccessKey {
        id: id.into(),
        secret: format!("secret of {id}"),
        name: id.into(),
        account: account.map(str::to_owned),
    }
}

fn checker() -> Checker {
    let keys = vec![key("A", None), key("B", Some("111122223333"))];
    let place = Place {
        region: "eu-north-1".into(),
        account: "000000000000".into(),
    };
    Checker::new(Arc::new(KeyRing::of(keys)), place)
}

fn credentials(id: &str) -> Credentials {
    Credentials {
        key: key(id, None),
        region: "eu-north-1".into(),
    }
}

fn signed_by(credentials: &Credentials, method: Method, now: SystemTime) -> Parts {
    let uri: Uri = PATH.parse().unwrap();
    let mut request = Request::builder().method(method).uri(uri);
    request = request.header("X-Amz-Invocation-Type", "RequestResponse");
    let (mut head, ()) = request.body(()).unwrap().into_parts();
    sign(
        credentials,
        &head.method,
        &head.uri,
        &mut head.headers,
        BODY,
        now,
    );
    head
}

fn signed(now: SystemTime) -> Parts {
    signed_by(&credentials("A"), Method::POST, now)
}

/// Status and exception of a refusal, or what was found right.
fn told(checker: &Checker, head: &Parts, body: &[u8], now: SystemTime) -> &'static str {
    let claim = match checker.check_head(head, Transport::Open, now) {
        Ok(claim) => claim,
        Err(error) => return error.code.name,
    };
    let checked = checker.check_body(&claim, head, body, now);
    checked.map_or_else(|error| error.code.name, |()| "ok")
}

const INVALID: &str = "InvalidSignatureException";
const INCOMPLETE: &str = "IncompleteSignatureException";

#[test]
fn what_is_signed_rightly_is_taken_for_a_moment_and_nothing_else_is() {
    let (checker, now) = (checker(), SystemTime::now());
    let ask = |head: &Parts| told(&checker, head, BODY, now);
    let right = signed(now);
    assert_eq!(ask(&right), "ok");
    // A client's own, signed in the same second; later it is somebody else's.
    let after = |seconds| told(&checker, &right, BODY, now + Duration::from_secs(seconds));
    assert_eq!([after(1), after(5)], ["ok"; 2]);
    assert_eq!([after(6), after(200)], [INVALID; 2], "replayed");
    assert_eq!(ask(&signed_by(&credentials("A"), Method::GET, now)), "ok");
    assert_eq!(ask(&signed_by(&credentials("A"), Method::GET, now)), "ok");
    assert_eq!(
        told(&checker, &signed(now), b"{}", now),
        INVALID,
        "another body"
    );
    let stranger = signed_by(&credentials("C"), Method::POST, now);
    assert_eq!(ask(&stranger), "UnrecognizedClientException");
    let foreign = signed_by(&credentials("B"), Method::POST, now);
    assert_eq!(ask(&foreign), "AccessDeniedException");
    let mut wrong = credentials("A");
    wrong.key.secret.push('x');
    assert_eq!(ask(&signed_by(&wrong, Method::POST, now)), INVALID);
    let mut elsewhere = credentials("A");
    elsewhere.region = "us-east-1".into();
    assert_eq!(ask(&signed_by(&elsewhere, Method::POST, now)), INVALID);
    let minutes = |count: u64| Duration::from_secs(60 * count);
    for (time, expected) in [
        (now - minutes(4), "ok"),
        (now + minutes(4), "ok"),
        (now - minutes(6), INVALID),
        (now + minutes(6), INVALID),
    ] {
        assert_eq!(ask(&signed(time)), expected);
    }
}

#[test]
fn what_is_changed_or_added_on_the_way_is_refused() {
    let (checker, now) = (checker(), SystemTime::now());
    let changed = |change: &dyn Fn(&mut Parts)| {
        let mut head = signed(now);
        change(&mut head);
        told(&checker, &head, BODY, now)
    };
    let put = |name: &'static str, value: &'static [u8]| {
        changed(&|head| {
            let value = HeaderValue::from_bytes(value).unwrap();
            head.headers.append(name, value);
        })
    };
    assert_eq!(put("user-agent", b"any"), "ok");
    assert_eq!(put("x-amz-log-type", b"Tail"), INCOMPLETE, "not signed");
    assert_eq!(put("x-amz-invocation-type", b"DryRun"), INVALID);
    assert_eq!(put("user-agent", b"\xff\xfe"), INCOMPLETE);
    assert_eq!(put("user-agent", b"\x80"), INCOMPLETE);
    assert_eq!(put("authorization", b"AWS4-HMAC-SHA256 x"), INCOMPLETE);
    assert_eq!(put("x-amz-date", b"20260101T000000Z"), INCOMPLETE);
    assert_eq!(put("x-amz-content-sha256", b"UNSIGNED-PAYLOAD"), INCOMPLETE);
    assert_eq!(
        put("x-amz-security-token", b"t"),
        "UnrecognizedClientException"
    );
    assert_eq!(changed(&|head| head.method = Method::PUT), INVALID);
    for uri in [
        "/2015-03-31/functions/g/invocations",
        "/?X-Amz-Signature=00",
    ] {
        let told = changed(&|head| head.uri = uri.parse().unwrap());
        assert!([INVALID, INCOMPLETE].contains(&told), "{uri}: {told}");
    }
    let unsigned = changed(&|head| drop(head.headers.remove("authorization")));
    assert_eq!(unsigned, "MissingAuthenticationTokenException");
    let odd = |from: &str, to: &str| {
        changed(&|head| {
            let text = head.headers["authorization"].to_str().unwrap();
            let text = text.replace(from, to).parse().unwrap();
            head.headers.insert("authorization", text);
        })
    };
    for (from, to) in [
        ("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"),
        ("Signature=", "Signature=zz"),
        ("SignedHeaders=host;", "SignedHeaders="),
        ("SignedHeaders=host;", "SignedHeaders=host;host;"),
        ("SignedHeaders=host;", "SignedHeaders=accept;host;"),
        ("lambda/aws4", "s3/aws4"),
        ("Credential=A/", "Credential=A"),
        ("/lambda/", "/"),
    ] {
        let told = odd(from, to);
        assert!(
            [INVALID, INCOMPLETE, "UnrecognizedClientException"].contains(&told),
            "{from} -> {to}: {told}"
        );
    }
}

#[test]
fn a_body_that_is_not_signed_needs_a_way_that_nobody_is_on() {
    let (checker, now) = (checker(), SystemTime::now());
    let head = signed(now);
    let mut unsigned = head.clone();
    unsigned.headers.insert(
        "x-amz-content-sha256",
        HeaderValue::from_static("UNSIGNED-PAYLOAD"),
    );
    // Signed for a body, so the signature fails; on an open way it is not even tried.
    for (transport, words) in [
        (Transport::Private, "does not match"),
        (Transport::Open, "must be signed"),
    ] {
        let refused = checker.check_head(&unsigned, transport, now).unwrap_err();
        assert!(refused.message.contains(words), "{}", refused.message);
    }
    // The signature is known to be wrong before the body is read.
    let mut wrong = credentials("A");
    wrong.key.secret.push('x');
    let wrong = signed_by(&wrong, Method::POST, now);
    assert!(checker.check_head(&wrong, Transport::Open, now).is_err());
}

proptest! {
    #[test]
    fn no_authorization_of_any_text_panics_or_passes(
        text in "(AWS4-HMAC-SHA256 )?[ -~]{0,80}", query in "[!-~&&[^#]]{0,80}", date in "[0-9TZ]{0,18}",
    ) {
        let request = Request::builder().uri(format!("http://h/2015-03-31/functions?{query}"));
        let request = request.header("authorization", text).header("x-amz-date", date);
        if let Ok(request) = request.body(()) {
            let (head, ()) = request.into_parts();
            prop_assert_ne!(told(&checker(), &head, b"", SystemTime::now()), "ok");
        }
    }
}
