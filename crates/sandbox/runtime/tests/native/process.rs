//! One bootstrap running natively against an [`ApiServer`].

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use proto_sandbox::{EventHead, Initialization, Outcome};
use sandbox_runtime::{Event, RuntimeEvent};
use serde_json::Value;

use super::native::ApiServer;

pub(crate) const REQUEST_ID: &str = "8476a536-e9f4-11e8-9739-2dfe598c3fcd";

/// A bootstrap, the function directory it serves, and what it said so far.
pub(crate) struct Function {
    child: Child,
    server: ApiServer,
    events: Receiver<RuntimeEvent>,
    stdout: Option<JoinHandle<String>>,
    _code: tempfile::TempDir,
}

/// What came of one event.
#[derive(Debug, PartialEq)]
pub(crate) enum Answer {
    Response(Value),
    Error(Value, Option<String>),
    TooLarge,
}

impl Function {
    /// Starts `command` with `files` as its task root.
    pub(crate) fn start(
        command: &[&str],
        files: &[(&str, &str)],
        handler: &str,
        env: &[(&str, &str)],
    ) -> Self {
        let code = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = code.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let (server, events) = ApiServer::start(
            if env.contains(&("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")) {
                Initialization::SnapStart
            } else {
                Initialization::OnDemand
            },
        );
        let mut child = Command::new(command[0])
            .args(&command[1..])
            .env_clear()
            .envs([
                ("PATH", "/usr/bin:/bin"),
                ("TZ", ":UTC"),
                ("LANG", "C.UTF-8"),
                ("PYTHONDONTWRITEBYTECODE", "1"),
                ("AWS_LAMBDA_FUNCTION_NAME", "f"),
                ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
                ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
                ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/f"),
                ("AWS_LAMBDA_LOG_STREAM_NAME", "2020/01/01/[$LATEST]0"),
                ("_HANDLER", handler),
            ])
            .env("LAMBDA_TASK_ROOT", code.path())
            .env("AWS_LAMBDA_RUNTIME_API", server.address.to_string())
            .envs(env.iter().copied())
            .current_dir(code.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pipe = child.stdout.take().unwrap();
        let stdout = Some(thread::spawn(move || {
            let mut text = String::new();
            pipe.read_to_string(&mut text).unwrap();
            text
        }));
        Self {
            child,
            server,
            events,
            stdout,
            _code: code,
        }
    }

    pub(crate) fn code(&self) -> &Path {
        self._code.path()
    }

    pub(crate) fn event(&self) -> RuntimeEvent {
        self.events
            .recv_timeout(Duration::from_secs(30))
            .expect("the bootstrap says something")
    }

    /// Waits until it is ready and gives it one event.
    pub(crate) fn invoke(&self, payload: &str) -> Answer {
        self.invoke_with(EventHead::default(), payload)
    }

    /// Gives it an event without waiting for the answer.
    pub(crate) fn deliver(&self, head: EventHead, payload: &str) {
        let head = EventHead {
            request_id: REQUEST_ID.into(),
            invocation_id: "attempt".into(),
            deadline_ms: 99_999_999_999_999,
            invoked_function_arn: "arn:f".into(),
            ..head
        };
        self.server.deliver(Event {
            head,
            payload: payload.as_bytes().to_vec(),
        });
    }

    pub(crate) fn invoke_with(&self, head: EventHead, payload: &str) -> Answer {
        self.deliver(head, payload);
        let mut streamed = Vec::new();
        loop {
            match self.event() {
                RuntimeEvent::Connected | RuntimeEvent::Ready | RuntimeEvent::Idle => {}
                RuntimeEvent::ResponseHead { .. } => {}
                RuntimeEvent::ResponsePiece { data, .. } => {
                    self.credit(data.len());
                    streamed.extend(data);
                }
                RuntimeEvent::ResponseEnd { failure: None, .. } => {
                    return Answer::Response(serde_json::from_slice(&streamed).unwrap());
                }
                RuntimeEvent::Response { payload, .. } => {
                    return Answer::Response(serde_json::from_slice(&payload).unwrap());
                }
                RuntimeEvent::Error {
                    outcome: Outcome::ResponseTooLarge,
                    ..
                } => {
                    return Answer::TooLarge;
                }
                RuntimeEvent::Error {
                    outcome: Outcome::Function { error_type },
                    body,
                    ..
                } => {
                    return Answer::Error(serde_json::from_slice(&body).unwrap(), error_type);
                }
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    /// Lets it send this many bytes more of a streamed response.
    pub(crate) fn credit(&self, bytes: usize) {
        self.server.credit(REQUEST_ID, bytes as u64);
    }

    /// Waits until it is where a snapshot can be taken; its task root is for notes of its own.
    pub(crate) fn wait_for_restore_point(&self) {
        loop {
            match self.event() {
                RuntimeEvent::Connected => {}
                RuntimeEvent::RestorePoint => return,
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    /// Lets it go on after the snapshot.
    pub(crate) fn resume(&self, environment: &[(&str, &str)]) {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let environment: Vec<_> = environment.iter().map(owned).collect();
        assert!(self.server.resume(&environment));
    }

    /// Waits for a hook's failure and the end of the process: whether it was after the restore,
    /// the type in the header, the body, the exit code.
    pub(crate) fn hook_error(&mut self) -> (bool, Option<String>, Value, Option<i32>) {
        let (after, error_type, body) = match self.event() {
            RuntimeEvent::Connected => return self.hook_error(),
            RuntimeEvent::InitError { body, error_type } => (false, error_type, body),
            RuntimeEvent::RestoreError { body, error_type } => (true, error_type, body),
            other => panic!("unexpected {other:?}"),
        };
        let body = serde_json::from_slice(&body).unwrap();
        (after, error_type, body, self.child.wait().unwrap().code())
    }

    /// Waits for an init error and the end of the process: the body, its exit code.
    pub(crate) fn init_error(&mut self) -> (Value, Option<i32>) {
        loop {
            match self.event() {
                RuntimeEvent::Connected => {}
                RuntimeEvent::InitError { body, error_type } => {
                    let body: Value = serde_json::from_slice(&body).unwrap();
                    assert_eq!(body["errorType"].as_str(), error_type.as_deref());
                    return (body, self.child.wait().unwrap().code());
                }
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// Stops it and returns everything it printed.
    pub(crate) fn output(mut self) -> String {
        self.child.kill().unwrap();
        self.stdout.take().unwrap().join().unwrap()
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A file of `runtimes/`.
pub(crate) fn bootstrap(name: &str) -> String {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../../runtimes")
        .join(name);
    root.canonicalize().unwrap().to_str().unwrap().to_owned()
}
