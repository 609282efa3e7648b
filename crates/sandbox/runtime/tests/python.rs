//! The Python bootstrap against the real Runtime API: answers, errors and logs as AWS has them.

mod native;
#[allow(dead_code, reason = "each test binary uses its part")]
#[path = "native/process.rs"]
mod process;

use process::{Answer, Function, REQUEST_ID, bootstrap};
use proto_sandbox::EventHead;
use serde_json::json;

fn python(code: &str) -> Function {
    python_with(&[("app.py", code)], "app.handler", &[])
}

fn python_with(files: &[(&str, &str)], handler: &str, env: &[(&str, &str)]) -> Function {
    let bootstrap = bootstrap("python/bootstrap.py");
    Function::start(&["/usr/bin/python3", &bootstrap], files, handler, env)
}

#[test]
fn events_are_answered_one_after_another_by_one_instance() {
    let f = python(
        "n = 0\ndef handler(e, c):\n    global n\n    n += 1\n    return {'n': n, 'got': e, 'ü': 'é'}\n",
    );
    for n in 1..4 {
        let expected = json!({ "n": n, "got": { "a": "ß" }, "ü": "é" });
        assert_eq!(f.invoke("{\"a\":\"ß\"}"), Answer::Response(expected));
    }
}

#[test]
fn nothing_returned_is_null_and_large_answers_arrive_or_are_too_large() {
    let f = python("def handler(e, c):\n    return 'x' * e if e else None\n");
    assert_eq!(f.invoke("0"), Answer::Response(json!(null)));
    let Answer::Response(text) = f.invoke("5000000") else {
        panic!()
    };
    assert_eq!(text.as_str().unwrap().len(), 5_000_000);
    assert_eq!(f.invoke("6291555"), Answer::TooLarge);
    assert_eq!(f.invoke("1"), Answer::Response(json!("x")));
}

#[test]
fn the_context_has_what_aws_gives() {
    let f = python(
        "import os\ndef handler(e, c):\n    left = c.get_remaining_time_in_millis()\n    return [c.aws_request_id, \
         c.function_name, c.memory_limit_in_mb, c.function_version, c.invoked_function_arn, c.log_group_name, \
         c.client_context.custom['k'], c.client_context.client.app_title, c.identity.cognito_identity_id, \
         left > 1000, os.environ['_X_AMZN_TRACE_ID']]\n",
    );
    let head = EventHead {
        client_context: Some("{\"custom\":{\"k\":\"ü\"},\"client\":{\"app_title\":\"t\"}}".into()),
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
        "t",
        null,
        true,
        "Root=1"
    ]);
    assert_eq!(f.invoke_with(head, "{}"), Answer::Response(expected));
}

#[test]
fn a_raise_is_reported_with_its_stack_and_logged() {
    let f = python("def handler(e, c):\n    raise ValueError('boom')\n");
    let path = f.code().join("app.py").to_str().unwrap().to_owned();
    let trace = format!("  File \"{path}\", line 2, in handler\n    raise ValueError('boom')\n");
    let body = json!({ "errorMessage": "boom", "errorType": "ValueError", "requestId": REQUEST_ID, "stackTrace": [trace] });
    assert_eq!(
        f.invoke("{}"),
        Answer::Error(body, Some("ValueError".into()))
    );
    let expected = format!("[ERROR] ValueError: boom\nTraceback (most recent call last):\n{trace}");
    assert_eq!(f.output(), expected);
}

#[test]
fn init_failures_have_the_texts_of_aws_and_end_the_process() {
    for (files, handler, error_type, message) in [
        (
            &[][..],
            "app.handler",
            "Runtime.ImportModuleError",
            "Unable to import module 'app': No module named 'app'",
        ),
        (
            &[("app.py", "import nothing_here\n")],
            "app.handler",
            "Runtime.ImportModuleError",
            "Unable to import module 'app': No module named 'nothing_here'",
        ),
        (
            &[("app.py", "x = 1\n")],
            "app.handler",
            "Runtime.HandlerNotFound",
            "Handler 'handler' missing on module 'app'",
        ),
        (
            &[("app.py", "def handler(:\n")],
            "app.handler",
            "Runtime.UserCodeSyntaxError",
            "Syntax error in module 'app': invalid syntax (app.py, line 1)",
        ),
        (
            &[],
            "app",
            "Runtime.MalformedHandlerName",
            "Bad handler 'app': not enough values to unpack (expected 2, got 1)",
        ),
        (
            &[],
            "sys.exit",
            "Runtime.BuiltInModuleConflict",
            "Cannot use built-in module sys as a handler module",
        ),
        (
            &[("app.py", "raise KeyError('k')\n")],
            "app.handler",
            "KeyError",
            "'k'",
        ),
    ] {
        let (body, code) = python_with(files, handler, &[]).init_error();
        assert_eq!(
            (body["errorType"].as_str(), body["errorMessage"].as_str()),
            (Some(error_type), Some(message))
        );
        assert_eq!((body["requestId"].as_str(), code), (Some(""), Some(1)));
        if error_type == "KeyError" {
            let trace = body["stackTrace"].as_array().unwrap();
            assert_eq!(trace.len(), 1, "only the function's own frames: {trace:?}");
            assert!(
                trace[0]
                    .as_str()
                    .unwrap()
                    .ends_with("line 1, in <module>\n    raise KeyError('k')\n")
            );
        }
    }
}

#[test]
fn what_cannot_be_marshalled_is_said() {
    let f = python("def handler(e, c):\n    return {1}\n");
    let Answer::Error(body, error_type) = f.invoke("{}") else {
        panic!()
    };
    assert_eq!(error_type.as_deref(), Some("Runtime.MarshalError"));
    assert_eq!(
        body["errorMessage"],
        "Unable to marshal response: Object of type set is not JSON serializable"
    );
    let Answer::Error(body, _) = f.invoke("{no json") else {
        panic!()
    };
    assert_eq!(body["errorType"], "Runtime.UnmarshalError");
}

#[test]
fn handlers_are_found_in_packages_by_dots_and_slashes() {
    let files = [(
        "pkg/sub/app.py",
        "from decimal import Decimal\ndef main(e, c):\n    return Decimal('1.5')\n",
    )];
    for handler in ["pkg.sub.app.main", "pkg/sub/app.main", "pkg/sub.app.main"] {
        assert_eq!(
            python_with(&files, handler, &[]).invoke("{}"),
            Answer::Response(json!(1.5))
        );
    }
}

#[test]
fn log_lines_have_the_format_of_aws() {
    let code = "import logging\nlog = logging.getLogger('mine')\nlog.setLevel('INFO')\n\
                def handler(e, c):\n    print('printed')\n    log.info('said %d', 1)\n    logging.debug('not said')\n";
    let f = python(code);
    f.invoke("{}");
    let output = f.output();
    let (first, second) = output.split_once('\n').unwrap();
    assert_eq!(first, "printed");
    let fields: Vec<_> = second.trim_end().split('\t').collect();
    assert_eq!(
        (fields[0], fields[2], fields[3]),
        ("[INFO]", REQUEST_ID, "said 1")
    );
    assert!(
        fields[1].len() > 20 && fields[1].ends_with('Z'),
        "{}",
        fields[1]
    );

    let env = [
        ("AWS_LAMBDA_LOG_FORMAT", "JSON"),
        ("AWS_LAMBDA_LOG_LEVEL", "DEBUG"),
    ];
    let f = python_with(&[("app.py", code)], "app.handler", &env);
    f.invoke("{}");
    let output = f.output();
    let record: serde_json::Value = serde_json::from_str(output.lines().nth(1).unwrap()).unwrap();
    assert_eq!(
        (&record["level"], &record["message"]),
        (&json!("INFO"), &json!("said 1"))
    );
    assert_eq!(record["requestId"], REQUEST_ID);
    assert!(output.contains("not said"));
}

#[test]
fn an_exit_in_a_handler_ends_the_process_with_its_code() {
    let mut f = python("import sys\ndef handler(e, c):\n    if e: sys.exit(7)\n");
    f.invoke("0");
    f.deliver(EventHead::default(), "1");
    assert_eq!(f.exit_code(), Some(7));
}

#[test]
fn the_example_works() {
    let code = std::fs::read_to_string(bootstrap("../examples/hello-python/app.py")).unwrap();
    let Answer::Response(answer) = python(&code).invoke("{\"name\":\"Ada\"}") else {
        panic!()
    };
    assert_eq!(
        (&answer["greeting"], &answer["greetings"]),
        (&json!("Hello, Ada!"), &json!(1))
    );
}
