//! Runs a function's code with the machine's own interpreter, so that protocol tests need no sandbox.

use std::{process::Stdio, sync::Arc, time::Instant};

use bytes::Bytes;
use proto_node::{
    BoxFuture, FunctionFault, FunctionSpec, InvokeError, InvokeOutcome, InvokeRequest,
    InvokeResult, Invoker, LogRecord, Revision, StartKind, Timings, tail_of,
};
use serde_json::Value;
use tokio::{io::AsyncWriteExt, process::Command, sync::broadcast};

const PYTHON: &str = r#"
import importlib, json, os, sys, traceback, types
answer = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
sys.path.insert(0, os.getcwd())
client = json.loads(os.environ["CLIENT_CONTEXT"])
context = types.SimpleNamespace(
    aws_request_id=os.environ["REQUEST_ID"], invoked_function_arn=os.environ["ARN"],
    client_context=client and types.SimpleNamespace(**client))
try:
    module, _, name = os.environ["_HANDLER"].rpartition(".")
    result = getattr(importlib.import_module(module), name)(json.load(sys.stdin), context)
    json.dump({"result": result}, answer)
except Exception as error:
    json.dump({"error": {"errorMessage": str(error), "errorType": type(error).__name__,
        "requestId": context.aws_request_id, "stackTrace": traceback.format_tb(error.__traceback__)}}, answer)
"#;

const NODE: &str = r#"
const fs = require("node:fs");
console.log = console.error;
const [file, name] = process.env._HANDLER.split(".");
const context = { awsRequestId: process.env.REQUEST_ID, invokedFunctionArn: process.env.ARN,
    clientContext: JSON.parse(process.env.CLIENT_CONTEXT) ?? undefined };
const tell = (answer) => fs.writeSync(1, JSON.stringify(answer));
(async () => require(`${process.cwd()}/${file}.js`)[name](JSON.parse(fs.readFileSync(0)), context))().then(
    (result) => tell({ result }),
    (error) => tell({ error: { errorType: error.name, errorMessage: error.message, trace: error.stack.split("\n") } }));
"#;

/// Starts an interpreter for each event.
pub(crate) struct Native {
    logs: broadcast::Sender<Arc<LogRecord>>,
}

impl Native {
    pub(crate) fn new() -> Self {
        Self {
            logs: broadcast::channel(16).0,
        }
    }
}

async fn run(function: &FunctionSpec, request: &InvokeRequest) -> (InvokeResult, Vec<u8>) {
    let (program, flag, runner) = if function.runtime.starts_with("python") {
        ("python3", "-c", PYTHON)
    } else {
        ("node", "-e", NODE)
    };
    let mut child = Command::new(program)
        .args([flag, runner])
        .current_dir(&function.code.directory)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("_HANDLER", &function.handler)
        .env("REQUEST_ID", &request.request_id)
        .env("ARN", &request.invoked_arn)
        .env(
            "CLIENT_CONTEXT",
            request.client_context.as_deref().unwrap_or("null"),
        )
        .envs(&function.environment)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(&request.payload)
        .await
        .unwrap();
    let output = child.wait_with_output().await.unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let result = match answer.get("error") {
        Some(error) => InvokeResult::Fault(FunctionFault::reported(Bytes::from(error.to_string()))),
        None => InvokeResult::Success(Bytes::from(answer["result"].to_string())),
    };
    (result, output.stderr)
}

impl Invoker for Native {
    fn invoke(
        &self,
        function: Arc<FunctionSpec>,
        request: InvokeRequest,
    ) -> BoxFuture<'_, Result<InvokeOutcome, InvokeError>> {
        Box::pin(async move {
            let (result, output) = run(&function, &request).await;
            let id = &request.request_id;
            let log = format!(
                "START RequestId: {id} Version: $LATEST\n{}END RequestId: {id}\nREPORT RequestId: {id}\t\n",
                String::from_utf8_lossy(&output)
            );
            Ok(InvokeOutcome {
                result,
                executed_version: function.version.clone(),
                log_tail: Bytes::copy_from_slice(tail_of(log.as_bytes())),
                start: StartKind::Cold,
                restore: None,
                exits: [].into(),
                timings: Timings::default(),
            })
        })
    }

    fn forget(&self, _: Revision) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    fn logs(&self) -> broadcast::Receiver<Arc<LogRecord>> {
        self.logs.subscribe()
    }

    fn shutdown(&self, _: Instant) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}
