//! `awslambda.streamifyResponse` of the Node.js bootstrap, natively against the real Runtime API.

mod native;
#[allow(dead_code, reason = "each test binary uses its part")]
#[path = "native/process.rs"]
mod process;

use process::{Answer, Function, bootstrap};
use proto_sandbox::{EventHead, Outcome, STREAM_WINDOW};
use sandbox_runtime::RuntimeEvent;
use serde_json::{Value, json};

fn streaming(body: &str) -> Function {
    let code = format!(
        "const fs = require('fs'); const until = (name) => new Promise((done) => {{ const looking = setInterval(() => \
         fs.existsSync(name) && (clearInterval(looking), done()), 5); }});\n\
         exports.handler = awslambda.streamifyResponse(async (event, stream, context) => {{ {body} }});"
    );
    let bootstrap = bootstrap("nodejs/bootstrap.js");
    let command = ["/usr/bin/node", &bootstrap];
    Function::start(&command, &[("index.js", &code)], "index.handler", &[])
}

/// How a response was over: what went wrong, and the error body.
type End = (Option<Outcome>, Vec<u8>);

/// What a response told after its head: the data up to `most` bytes, and its end if that came first.
fn read(f: &Function, most: usize) -> (Vec<u8>, Option<End>) {
    let mut read = Vec::new();
    while read.len() < most {
        match f.event() {
            RuntimeEvent::ResponsePiece { data, .. } => read.extend(data),
            RuntimeEvent::ResponseEnd { failure, body, .. } => {
                return (read, Some((failure, body)));
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    (read, None)
}

/// Delivers an event; the type of the response that follows.
fn begin(f: &Function) -> Option<String> {
    f.deliver(EventHead::default(), "{}");
    loop {
        match f.event() {
            RuntimeEvent::Connected | RuntimeEvent::Ready | RuntimeEvent::Idle => {}
            RuntimeEvent::ResponseHead { content_type, .. } => return content_type,
            other => panic!("unexpected {other:?}"),
        }
    }
}

#[test]
fn what_is_written_is_there_before_the_end() {
    let f = streaming(
        "stream.setContentType('text/x'); stream.write('first'); await until('go'); stream.write('second'); stream.end();",
    );
    assert_eq!(begin(&f).as_deref(), Some("text/x"));
    assert_eq!(read(&f, 5), (b"first".to_vec(), None));
    std::fs::write(f.code().join("go"), "").unwrap();
    assert_eq!(
        read(&f, 100),
        (b"second".to_vec(), Some((None, Vec::new())))
    );
    // And again on the same connection.
    assert!(begin(&f).is_some());
    assert_eq!(read(&f, 100).0, b"firstsecond");
}

#[test]
fn streams_without_a_word_and_whole_ones_answer() {
    let f = streaming("if (event.text) stream.write(event.text); stream.end();");
    assert_eq!(f.invoke("{\"text\":\"[1]\"}"), Answer::Response(json!([1])));
    assert_eq!(begin(&f).as_deref(), Some("application/octet-stream"));
    assert_eq!(read(&f, 1), (Vec::new(), Some((None, Vec::new()))));
}

#[test]
fn a_reader_that_stalls_holds_the_handler_back() {
    let f = streaming(
        "let written = 0; while (written < 20e6) { written += 1e5; \
         if (!stream.write('x'.repeat(1e5))) await new Promise((done) => stream.once('drain', done)); \
         fs.writeFileSync('written', String(written)); } stream.end();",
    );
    begin(&f);
    let window = usize::try_from(STREAM_WINDOW).unwrap();
    assert_eq!(read(&f, window).0.len(), window);
    // Nothing more comes: the sockets between hold some, the handler has not written all.
    let written = || std::fs::read_to_string(f.code().join("written")).unwrap_or_default();
    assert_ne!(written(), "20000000");
    let mut left = 20_000_000 - window;
    while left > 0 {
        let more = left.min(window);
        f.credit(more);
        assert_eq!(read(&f, more).0.len(), more);
        left -= more;
    }
    assert_eq!(read(&f, 1), (Vec::new(), Some((None, Vec::new()))));
    assert_eq!(written(), "20000000");
}

#[test]
fn an_error_in_the_middle_comes_after_what_was_written() {
    for body in [
        "stream.write('one'); stream.write('two'); throw new TypeError('boom');",
        "stream.write('one'); stream.write('two', () => { throw new TypeError('boom'); }); await new Promise(() => {});",
        "stream.write('one'); stream.write('two', () => stream.destroy(new TypeError('boom'))); await new Promise(() => {});",
    ] {
        let f = streaming(body);
        begin(&f);
        let (said, end) = read(&f, 100);
        let Some((Some(Outcome::Function { error_type }), body)) = end else {
            panic!("{end:?}")
        };
        assert_eq!(
            (said.as_slice(), error_type.as_deref()),
            (&b"onetwo"[..], Some("TypeError"))
        );
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["errorMessage"], "boom");
    }
}

#[test]
fn an_error_before_the_first_write_is_an_error_like_any_other() {
    let f = streaming("throw new TypeError('boom');");
    let Answer::Error(body, error_type) = f.invoke("{}") else {
        panic!()
    };
    assert_eq!(
        (&body["errorMessage"], error_type.as_deref()),
        (&json!("boom"), Some("TypeError"))
    );
}

#[test]
fn metadata_goes_before_the_body_with_its_own_type() {
    let f = streaming(
        "stream = awslambda.HttpResponseStream.from(stream, { statusCode: 201, headers: { a: 'b' } }); stream.end('body');",
    );
    let expected = "application/vnd.awslambda.http-integration-response";
    assert_eq!(begin(&f).as_deref(), Some(expected));
    let said = read(&f, 1000).0;
    let prelude = r#"{"statusCode":201,"headers":{"a":"b"}}"#;
    assert_eq!(said, [prelude.as_bytes(), &[0; 8], b"body"].concat());
}
