//! Runs a function's code with the machine's own interpreter, so that protocol tests need no sandbox.

use std::{collections::BTreeSet, path::Path, process::Stdio, sync::Arc};

use super::Double;
use bytes::Bytes;
use proto_node::{
    Body, BoxFuture, Code, CodeError, CodeRef, FunctionFault, FunctionSpec, Invoke, InvokeError,
    InvokeHead, InvokeOutcome, InvokeResult, MAX_RESPONSE_BYTES, Parts, Reply, StartKind, Taken,
    Timings, tail_of,
};
use serde_json::Value;
use tokio::{io::AsyncWriteExt, process::Command};

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
    /// Where code is unpacked.
    trees: tempfile::TempDir,
}

impl Native {
    pub(crate) fn new() -> Self {
        let trees = tempfile::tempdir().unwrap();
        Self { trees }
    }
}

impl Code for Native {
    fn has_code(&self, code: CodeRef) -> BoxFuture<'_, bool> {
        let has = self.trees.path().join(code.sha256).exists();
        Box::pin(async move { has })
    }

    fn put_code(&self, code: CodeRef, archive: Body) -> BoxFuture<'_, Result<(), CodeError>> {
        Box::pin(async move {
            let zip = archive.read(MAX_RESPONSE_BYTES).await.unwrap();
            proto_archive::unpack(&zip, &self.trees.path().join(code.sha256)).unwrap();
            Ok(())
        })
    }

    fn remove_code(&self, _: CodeRef) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    fn keep_code(&self, _: BTreeSet<CodeRef>) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

impl Double for Native {
    fn parts(self) -> Parts {
        let native = Arc::new(self);
        Parts {
            invoke: Arc::clone(&native) as _,
            code: native,
            ..Parts::default()
        }
    }
}

async fn run(
    trees: &Path,
    function: &FunctionSpec,
    request: &InvokeHead,
    payload: &Bytes,
) -> (InvokeResult, Vec<u8>) {
    let (program, flag, runner) = if function.runtime.starts_with("python") {
        ("python3", "-c", PYTHON)
    } else {
        ("node", "-e", NODE)
    };
    let mut child = Command::new(program)
        .args([flag, runner])
        .current_dir(trees.join(&function.code.sha256))
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
        .write_all(payload)
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

impl Invoke for Native {
    fn invoke(
        &self,
        function: Arc<FunctionSpec>,
        event: InvokeHead,
        body: Body,
        taken: Taken,
    ) -> BoxFuture<'_, Result<Reply, InvokeError>> {
        Box::pin(async move {
            let payload = body.read(MAX_RESPONSE_BYTES).await.unwrap();
            let _ = taken.tell();
            let (result, output) = run(self.trees.path(), &function, &event, &payload).await;
            let id = &event.request_id;
            let log = format!(
                "START RequestId: {id} Version: $LATEST\n{}END RequestId: {id}\nREPORT RequestId: {id}\t\n",
                String::from_utf8_lossy(&output)
            );
            Ok(Reply::from_outcome(InvokeOutcome {
                result,
                executed_version: function.version.clone(),
                log_tail: Bytes::copy_from_slice(tail_of(log.as_bytes())),
                start: StartKind::Cold,
                restore: None,
                exits: [].into(),
                timings: Timings::default(),
            }))
        })
    }
}
