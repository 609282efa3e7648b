//! Functions that misbehave: the error says what happened, the server and other functions do not notice.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

const REKINDLE: &str = env!("CARGO_BIN_EXE_rekindle");
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../..");

struct Server {
    child: Child,
    endpoint: String,
    _data: tempfile::TempDir,
}

impl Server {
    fn start() -> Server {
        let data = tempfile::tempdir().unwrap();
        let mut child = Command::new(REKINDLE)
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(data.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let endpoint = line.trim().rsplit(' ').next().unwrap().to_owned();
        Server {
            child,
            endpoint,
            _data: data,
        }
    }

    fn client(&self, args: &[&str]) -> Output {
        Command::new(REKINDLE)
            .args(args)
            .env("REKINDLE_ENDPOINT", &self.endpoint)
            .output()
            .unwrap()
    }

    fn deploy(&self, name: &str, directory: &str, handler: &str, memory: &str) {
        let path = Path::new(ROOT).join(directory);
        let path = path.to_str().unwrap();
        let out = self.client(&[
            "deploy",
            path,
            "--name",
            name,
            "--runtime",
            "python3.11",
            "--handler",
            handler,
            "--memory",
            memory,
        ]);
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
    }

    fn invoke(&self, name: &str, event: &str) -> String {
        let out = self.client(&["invoke", name, event]);
        String::from_utf8_lossy(&out.stdout).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn each_misdeed_is_told_and_harms_nobody_else() {
    if !Path::new("/usr/bin/python3").exists() {
        eprintln!("skipped: no /usr/bin/python3");
        return;
    }
    let server = Server::start();
    server.deploy("bad", "guests/functions/bad", "app.handler", "256");
    server.deploy("good", "examples/hello-python", "app.handler", "256");
    let cases = [
        ("nothing", r#"{"ok": true}"#),
        ("fail", "\"errorType\": \"ValueError\""),
        ("sleep", "Sandbox.Timedout"),
        ("spin", "Task timed out after 3.00 seconds"),
        ("leave", "Runtime exited with error: exit status 3"),
        ("crash", "signal: segmentation fault"),
        ("kill", "signal: killed"),
        ("eat_memory", "Runtime.OutOfMemory"),
        ("fork_bomb", "error"),
        ("descriptors", "Too many open files"),
        ("fill_tmp", "No space left on device"),
        ("big_answer", "Function.ResponseSizeTooLarge"),
        ("nothing", r#"{"ok": true}"#),
    ];
    for (what, expected) in cases {
        let answer = server.invoke("bad", &format!(r#"{{"do": "{what}"}}"#));
        let shown: String = answer.chars().take(400).collect();
        assert!(answer.contains(expected), "{what}: {shown}");
        let good = server.invoke("good", r#"{"name": "neighbour"}"#);
        assert!(
            good.contains("Hello, neighbour!"),
            "after {what} the neighbour said: {good}"
        );
    }
}
