//! The Node.js bootstrap against the real Runtime API: answers, errors and logs as AWS has them.

mod native;
#[allow(dead_code, reason = "each test binary uses its part")]
#[path = "native/process.rs"]
mod process;

use process::{Answer, Function, REQUEST_ID, bootstrap};
use proto_sandbox::EventHead;
use serde_json::json;

fn node(code: &str) -> Function {
    node_with(&[("index.js", code)], "index.handler", &[])
}

fn node_with(files: &[(&str, &str)], handler: &str, env: &[(&str, &str)]) -> Function {
    let bootstrap = bootstrap("nodejs/bootstrap.js");
    Function::start(&["/usr/bin/node", &bootstrap], files, handler, env)
}

#[test]
fn handlers_of_every_style_answer_again_and_again() {
    for code in [
        "exports.handler = async (e) => ({ got: e });",
        "exports.handler = (e, c, callback) => callback(null, { got: e });",
        "exports.handler = (e, c, callback) => { setTimeout(() => callback(null, { got: e }), 5); };",
        "exports.handler = (e, c) => c.succeed({ got: e });",
        "exports.handler = (e, c, cb) => { c.callbackWaitsForEmptyEventLoop = false; setInterval(() => {}, 1000); cb(null, { got: e }); };",
        "exports.handler = async (e) => { setInterval(() => {}, 1000); return { got: e }; };",
    ] {
        let f = node(code);
        for payload in ["{\"a\":\"ß\"}", "[1]"] {
            let got: serde_json::Value = serde_json::from_str(payload).unwrap();
            assert_eq!(
                f.invoke(payload),
                Answer::Response(json!({ "got": got })),
                "{code}"
            );
        }
    }
}

#[test]
fn modules_of_both_kinds_are_found() {
    let package = ("package.json", "{\"type\":\"module\"}");
    for (files, handler) in [
        (
            &[("index.mjs", "export const handler = async () => 1")][..],
            "index.handler",
        ),
        (
            &[
                ("index.js", "export const handler = async () => 1"),
                package,
            ],
            "index.handler",
        ),
        (
            &[("index.cjs", "exports.handler = async () => 1"), package],
            "index.handler",
        ),
        (
            &[("a/b/main.js", "exports.x = { y: async () => 1 }")],
            "a/b/main.x.y",
        ),
        (
            &[(
                "index.mjs",
                "const v = await Promise.resolve(1); export const handler = async () => v",
            )],
            "index.handler",
        ),
        (
            &[(
                "node_modules/lib/index.js",
                "exports.handler = async () => 1",
            )],
            "lib.handler",
        ),
        (
            &[("index.mjs", "export default { handler: async () => 1 }")],
            "index.handler",
        ),
    ] {
        assert_eq!(
            node_with(files, handler, &[]).invoke("{}"),
            Answer::Response(json!(1)),
            "{files:?}"
        );
    }
}

#[test]
fn nothing_returned_is_null_and_large_answers_arrive_or_are_too_large() {
    let f = node("exports.handler = async (n) => n ? 'x'.repeat(n) : undefined;");
    assert_eq!(f.invoke("0"), Answer::Response(json!(null)));
    let Answer::Response(text) = f.invoke("5000000") else {
        panic!()
    };
    assert_eq!(text.as_str().unwrap().len(), 5_000_000);
    assert_eq!(f.invoke("6291555"), Answer::TooLarge);
    assert_eq!(f.invoke("1"), Answer::Response(json!("x")));
    let f = node("exports.handler = () => {};");
    assert_eq!(f.invoke("0"), Answer::Response(json!(null)));
}

#[test]
fn large_events_arrive() {
    let f = node("exports.handler = async (e) => e.length;");
    let event = format!("\"{}\"", "é".repeat(2_500_000));
    assert_eq!(f.invoke(&event), Answer::Response(json!(2_500_000)));
}

#[test]
fn the_context_has_what_aws_gives() {
    let f = node(
        "exports.handler = async (e, c) => [c.awsRequestId, c.functionName, c.memoryLimitInMB, c.functionVersion, \
         c.invokedFunctionArn, c.logGroupName, c.clientContext.custom.k, c.getRemainingTimeInMillis() > 1000, \
         process.env._X_AMZN_TRACE_ID];",
    );
    let head = EventHead {
        client_context: Some("{\"custom\":{\"k\":\"ü\"}}".into()),
        trace_id: Some("Root=1".into()),
        ..EventHead::default()
    };
    let expected = json!([
        REQUEST_ID,
        "f",
        "128",
        "$LATEST",
        "arn:f",
        "/aws/lambda/f",
        "ü",
        true,
        "Root=1"
    ]);
    assert_eq!(f.invoke_with(head, "{}"), Answer::Response(expected));
}

#[test]
fn what_is_thrown_is_reported_with_its_stack_and_logged() {
    for code in [
        "exports.handler = async () => { throw new TypeError('boom'); };",
        "exports.handler = () => { throw new TypeError('boom'); };",
        "exports.handler = (e, c, callback) => callback(new TypeError('boom'));",
    ] {
        let f = node(code);
        let Answer::Error(body, error_type) = f.invoke("{}") else {
            panic!()
        };
        assert_eq!(error_type.as_deref(), Some("TypeError"));
        assert_eq!(
            (&body["errorType"], &body["errorMessage"]),
            (&json!("TypeError"), &json!("boom"))
        );
        assert_eq!(body["trace"][0], "TypeError: boom");
        assert!(body["trace"][1].as_str().unwrap().contains("index.js:1"));
        let output = f.output();
        let fields: Vec<_> = output.trim_end().split('\t').collect();
        assert_eq!(&fields[1..4], &[REQUEST_ID, "ERROR", "Invoke Error "]);
    }
    let f = node("exports.handler = async () => { throw 'text'; };");
    let body = json!({ "errorType": "string", "errorMessage": "text", "trace": [] });
    assert_eq!(f.invoke("{}"), Answer::Error(body, Some("string".into())));
    let f = node("exports.handler = async () => 1n;");
    let Answer::Error(body, _) = f.invoke("{}") else {
        panic!()
    };
    assert_eq!(body["errorMessage"], "Unable to stringify response body");
}

#[test]
fn what_nobody_catches_is_reported_and_ends_the_process() {
    let mut f = node(
        "exports.handler = () => new Promise(() => { setTimeout(() => { throw new Error('late'); }, 1); setInterval(() => {}, 1000); });",
    );
    let Answer::Error(body, _) = f.invoke("{}") else {
        panic!()
    };
    assert_eq!(body["errorMessage"], "late");
    assert_eq!(f.exit_code(), Some(129));
    let mut f = node(
        "exports.handler = () => new Promise(() => { Promise.reject(new Error('lost')); setInterval(() => {}, 1000); });",
    );
    let Answer::Error(body, error_type) = f.invoke("{}") else {
        panic!()
    };
    assert_eq!(
        error_type.as_deref(),
        Some("Runtime.UnhandledPromiseRejection")
    );
    assert_eq!(body["errorMessage"], "Error: lost");
    assert_eq!(f.exit_code(), Some(128));
}

#[test]
fn init_failures_have_the_types_of_aws_and_end_the_process() {
    for (files, handler, error_type, message) in [
        (
            &[][..],
            "index.handler",
            "Runtime.ImportModuleError",
            "Error: Cannot find module 'index'",
        ),
        (
            &[("index.js", "require('nothing')")],
            "index.handler",
            "Runtime.ImportModuleError",
            "Error: Cannot find module 'nothing'",
        ),
        (
            &[("index.js", "exports.x = 1;")],
            "index.handler",
            "Runtime.HandlerNotFound",
            "index.handler is undefined or not exported",
        ),
        (
            &[("index.js", "exports.handler = 1;")],
            "index.handler",
            "Runtime.HandlerNotFound",
            "index.handler is not a function",
        ),
        (
            &[("index.js", "let let = {")],
            "index.handler",
            "Runtime.UserCodeSyntaxError",
            "SyntaxError: let is disallowed as a lexically bound name",
        ),
        (
            &[],
            "../index.handler",
            "Runtime.MalformedHandlerName",
            "'../index.handler' is not a valid handler name.",
        ),
        (&[], "index", "Runtime.MalformedHandlerName", "Bad handler"),
        (
            &[("index.js", "throw new RangeError('r')")],
            "index.handler",
            "RangeError",
            "r",
        ),
    ] {
        let (body, code) = node_with(files, handler, &[]).init_error();
        let text = body["errorMessage"].as_str().unwrap();
        assert!(text.starts_with(message), "{text}");
        assert_eq!(
            (body["errorType"].as_str(), code),
            (Some(error_type), Some(1))
        );
    }
}

#[test]
fn console_lines_have_the_format_of_aws() {
    let code = "exports.handler = async () => { console.log('said %d', 1, { a: 1 }); console.warn('w'); };";
    let f = node(code);
    f.invoke("{}");
    let output = f.output();
    let lines: Vec<Vec<_>> = output
        .lines()
        .map(|line| line.split('\t').collect())
        .collect();
    assert_eq!(&lines[0][1..], &[REQUEST_ID, "INFO", "said 1 { a: 1 }"]);
    assert_eq!(&lines[1][1..], &[REQUEST_ID, "WARN", "w"]);

    let env = [
        ("AWS_LAMBDA_LOG_FORMAT", "JSON"),
        ("AWS_LAMBDA_LOG_LEVEL", "WARN"),
    ];
    let f = node_with(&[("index.js", code)], "index.handler", &env);
    f.invoke("{}");
    let record: serde_json::Value = serde_json::from_str(&f.output()).unwrap();
    assert_eq!(
        (&record["level"], &record["message"]),
        (&json!("WARN"), &json!("w"))
    );
}

#[test]
fn the_example_works() {
    let code = std::fs::read_to_string(bootstrap("../examples/hello-node/index.mjs")).unwrap();
    let f = node_with(&[("index.mjs", &code)], "index.handler", &[]);
    let Answer::Response(answer) = f.invoke("{\"text\":\"to be or not to be\"}") else {
        panic!()
    };
    assert_eq!(
        (&answer["words"], &answer["counts"]["be"]),
        (&json!(6), &json!(2))
    );
}
