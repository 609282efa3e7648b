//! Bad input, from code and from clients: the error says what happened, the server stays up, others do not notice.

mod server;

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use serde_json::Value;
use server::Server;
use zip::write::SimpleFileOptions;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..")
}

/// The one function that must never notice.
const NEIGHBOUR: &str = "neighbour";

/// A server with a well-behaved function.
fn server() -> Server {
    let server = Server::start();
    let good = root().join("examples/hello-python");
    expect_deployed(&server, &good, NEIGHBOUR, &[]);
    server
}

fn deploy(server: &Server, code: &Path, name: &str, more: &[&str]) -> std::process::Output {
    let mut arguments = vec!["deploy", code.to_str().unwrap(), "--name", name];
    if !more.contains(&"--runtime") {
        arguments.extend(["--runtime", "python3.11"]);
    }
    if !more.contains(&"--handler") {
        arguments.extend(["--handler", "app.handler"]);
    }
    arguments.extend(more);
    server.rekindle(&arguments)
}

fn expect_deployed(server: &Server, code: &Path, name: &str, more: &[&str]) {
    let out = deploy(server, code, name, more);
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
}

/// What a deployment was refused with.
fn refused(server: &Server, code: &Path, more: &[&str]) -> String {
    let out = deploy(server, code, "refused", more);
    assert!(!out.status.success());
    neighbour_answers(server);
    String::from_utf8(out.stderr).unwrap()
}

fn invoke(server: &Server, name: &str, event: &str) -> Value {
    let out = server.rekindle(&["invoke", name, event]);
    serde_json::from_slice(&out.stdout).unwrap_or_else(|_| panic!("{out:?}"))
}

fn neighbour_answers(server: &Server) {
    let answer = invoke(server, NEIGHBOUR, r#"{"name": "neighbour"}"#);
    assert_eq!(answer["greeting"], "Hello, neighbour!");
}

/// Deploys the function that misbehaves, with a time limit in seconds.
fn bad(server: &Server, timeout: &str) {
    let code = root().join("guests/functions/bad");
    expect_deployed(
        server,
        &code,
        "bad",
        &["--memory", "256", "--timeout", timeout],
    );
}

fn misbehave(server: &Server, what: &str) -> Value {
    let answer = invoke(server, "bad", &format!(r#"{{"do": "{what}"}}"#));
    neighbour_answers(server);
    answer
}

/// The error of a function that fails so; the next event is served as ever.
fn fails(server: &Server, what: &str, error_type: &str, message: &str) {
    let answer = misbehave(server, what);
    assert_eq!(answer["errorType"], error_type, "{what}: {answer}");
    let told = answer["errorMessage"].as_str().unwrap_or_default();
    assert!(told.contains(message), "{what}: {answer}");
    let next = invoke(server, "bad", r#"{"do": "nothing"}"#);
    assert_eq!(next["ok"], true, "after {what}: {next}");
}

/// A zip file of these entries.
fn zip_of(directory: &Path, write: impl FnOnce(&mut zip::ZipWriter<File>)) -> PathBuf {
    let path = directory.join("code.zip");
    let mut archive = zip::ZipWriter::new(File::create(&path).unwrap());
    write(&mut archive);
    archive.finish().unwrap();
    path
}

#[test]
fn a_zip_that_is_no_zip() {
    let server = server();
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("code.zip");
    for bytes in [&b"this is no archive"[..], b"PK\x03\x04", b""] {
        std::fs::write(&path, bytes).unwrap();
        let told = refused(&server, &path, &[]);
        assert!(told.contains("Could not unzip uploaded file."), "{told}");
    }
}

#[test]
fn a_zip_bomb() {
    let server = server();
    let place = tempfile::tempdir().unwrap();
    let path = zip_of(place.path(), |archive| {
        let zeros = vec![0; 1 << 20];
        for file in 0..4 {
            archive
                .start_file(format!("zeros{file}"), SimpleFileOptions::default())
                .unwrap();
            for _ in 0..80 {
                archive.write_all(&zeros).unwrap();
            }
        }
    });
    assert!(path.metadata().unwrap().len() < 1 << 20);
    let told = refused(&server, &path, &[]);
    assert!(
        told.contains("Unzipped size must be smaller than"),
        "{told}"
    );
}

#[test]
fn a_zip_with_names_that_lead_out() {
    let server = server();
    let place = tempfile::tempdir().unwrap();
    let outside = place.path().join("outside");
    for name in ["../outside", "a/../../outside", outside.to_str().unwrap()] {
        let path = zip_of(place.path(), |archive| {
            archive
                .start_file(name, SimpleFileOptions::default())
                .unwrap();
            archive.write_all(b"x").unwrap();
        });
        let told = refused(&server, &path, &[]);
        assert!(told.contains("unsafe name"), "{name}: {told}");
    }
    assert!(!outside.exists());
}

#[test]
fn a_zip_with_links_that_lead_out() {
    let server = server();
    let place = tempfile::tempdir().unwrap();
    for target in ["/etc/passwd", "../../../../etc/passwd"] {
        let path = zip_of(place.path(), |archive| {
            archive
                .add_symlink("link", target, SimpleFileOptions::default())
                .unwrap();
        });
        let told = refused(&server, &path, &[]);
        assert!(told.contains("link"), "{target}: {told}");
    }
}

#[test]
fn code_that_does_not_load() {
    let server = server();
    let cases = [
        (
            "a.py",
            "import nothing_here",
            "python3.11",
            "Runtime.ImportModuleError",
        ),
        (
            "b.py",
            "def handler(:",
            "python3.11",
            "Runtime.UserCodeSyntaxError",
        ),
        ("c.py", "x = 1", "python3.11", "Runtime.HandlerNotFound"),
        ("d.py", "raise KeyError(1)", "python3.11", "KeyError"),
        (
            "e.py",
            "import os; os._exit(3)",
            "python3.11",
            "Runtime.ExitError",
        ),
        (
            "f.js",
            "let let = 1",
            "nodejs20.x",
            "Runtime.UserCodeSyntaxError",
        ),
        (
            "g.js",
            "exports.x = 1",
            "nodejs20.x",
            "Runtime.HandlerNotFound",
        ),
        ("h.txt", "", "provided.al2023", "Runtime.InvalidEntrypoint"),
    ];
    for (file, text, runtime, error_type) in cases {
        let (name, _) = file.split_once('.').unwrap();
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join(file), text).unwrap();
        let handler = format!("{name}.handler");
        let settings = ["--runtime", runtime, "--handler", &handler];
        expect_deployed(&server, place.path(), name, &settings);
        let answer = invoke(&server, name, "{}");
        assert_eq!(answer["errorType"], error_type, "{file}: {answer}");
        neighbour_answers(&server);
    }
}

#[test]
fn handlers_that_raise_or_end_their_process() {
    let server = server();
    bad(&server, "60");
    fails(&server, "fail", "ValueError", "boom");
    fails(&server, "no_such_thing", "KeyError", "'no_such_thing'");
    let exit = "Runtime.ExitError";
    fails(
        &server,
        "leave",
        exit,
        "Error: Runtime exited with error: exit status 3",
    );
    let signal = |name| format!("Error: Runtime exited with error: signal: {name}");
    fails(&server, "crash", exit, &signal("segmentation fault"));
    fails(&server, "kill", exit, &signal("killed"));
}

#[test]
fn handlers_that_never_return() {
    let server = server();
    bad(&server, "1");
    for what in ["sleep", "spin"] {
        fails(
            &server,
            what,
            "Sandbox.Timedout",
            "Error: Task timed out after 1.00 seconds",
        );
    }
}

#[test]
fn allocating_past_the_limit() {
    let server = server();
    bad(&server, "60");
    fails(
        &server,
        "eat_memory",
        "Runtime.OutOfMemory",
        "signal: killed",
    );
}

#[test]
fn a_fork_bomb() {
    let server = server();
    bad(&server, "5");
    let answer = misbehave(&server, "fork_bomb");
    // Which of its limits it meets first depends on the machine: tasks, memory or time.
    let told = answer["errorType"].as_str().unwrap_or_default();
    assert!(
        ["BlockingIOError", "Runtime.OutOfMemory", "Sandbox.Timedout"].contains(&told),
        "{answer}"
    );
    let next = invoke(&server, "bad", r#"{"do": "nothing"}"#);
    assert_eq!(next["ok"], true, "{next}");
}

#[test]
fn too_many_descriptors_and_too_many_bytes_of_files() {
    let server = server();
    bad(&server, "60");
    assert_eq!(misbehave(&server, "descriptors"), "Too many open files");
    assert_eq!(misbehave(&server, "fill_tmp"), "No space left on device");
}

#[test]
fn a_gigabyte_of_log() {
    let server = server();
    bad(&server, "120");
    assert_eq!(misbehave(&server, "shout"), "a gigabyte");
    let logs = server.rekindle(&["logs", "bad"]);
    let logs = String::from_utf8_lossy(&logs.stdout);
    assert!(logs.len() < 64 << 20, "{}", logs.len());
    assert!(logs.contains("LOGS_DROPPED Dropped Bytes: "), "{logs:.500}");
}

#[test]
fn a_response_that_is_too_large() {
    let server = server();
    bad(&server, "60");
    let message = "Response payload size exceeded maximum allowed payload size (6291556 bytes).";
    fails(
        &server,
        "big_answer",
        "Function.ResponseSizeTooLarge",
        message,
    );
}

#[test]
fn instructions_that_no_program_may_use() {
    let server = server();
    bad(&server, "60");
    let exit = "Runtime.ExitError";
    fails(
        &server,
        "undefined_instruction",
        exit,
        "signal: illegal instruction",
    );
    fails(
        &server,
        "privileged_instruction",
        exit,
        "signal: segmentation fault",
    );
    fails(
        &server,
        "jump_into_kernel",
        exit,
        "signal: segmentation fault",
    );
    // Our kernel has no 32-bit entry: the call fails, as on a Linux built without it.
    let answer = misbehave(&server, "call_by_interrupt");
    assert!(answer == -38 || answer["errorType"] == exit, "{answer}");
}

/// Sends bytes as they are and returns all that is answered.
fn send(server: &Server, bytes: &[u8]) -> String {
    let address = server.endpoint.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    // The server may answer and close before all is written.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn invocation(name: &str, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "POST /2015-03-31/functions/{name}/invocations HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[test]
fn an_event_that_is_no_json() {
    let server = server();
    let answer = send(&server, &invocation(NEIGHBOUR, "", "{not json"));
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(
        answer.contains("InvalidRequestContentException"),
        "{answer}"
    );
    assert!(
        answer.contains("Could not parse request body into json"),
        "{answer}"
    );
    neighbour_answers(&server);
}

#[test]
fn a_header_of_two_megabytes() {
    let server = server();
    let header = format!("X-Large: {}\r\n", "x".repeat(2 << 20));
    let answer = send(&server, &invocation(NEIGHBOUR, &header, "{}"));
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer:.200}"
    );
    neighbour_answers(&server);
    for nonsense in [
        &b"\x16\x03\x01\x02\x00 no TLS here"[..],
        b"GET\r\n\r\n",
        b"\0\0\0\0\0\0\0\0\r\n\r\n",
    ] {
        let answer = send(&server, nonsense);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 400"),
            "{answer:.200}"
        );
    }
    neighbour_answers(&server);
}

#[test]
fn a_client_that_hangs_up() {
    let server = server();
    bad(&server, "60");
    let address = server.endpoint.strip_prefix("http://").unwrap();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(address).unwrap();
        stream
            .write_all(&invocation("bad", "", r#"{"do": "nap"}"#))
            .unwrap();
        // Dropped: the event may be running or still be on its way.
    }
    let next = invoke(&server, "bad", r#"{"do": "nothing"}"#);
    assert_eq!(next["ok"], true, "{next}");
    neighbour_answers(&server);
}

/// A program whose every process makes more of them: told to end, it ends.
#[test]
fn a_fork_bomb_under_run() {
    let bomb = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass\n";
    for tasks in ["100", "1000"] {
        let out = std::process::Command::new(server::REKINDLE)
            .args([
                "run",
                "--memory",
                "2G",
                "--tasks",
                tasks,
                "--timeout",
                "2s",
                "--",
            ])
            .args(["/usr/bin/python3", "-c", bomb])
            .output()
            .unwrap();
        assert_eq!(out.status.code(), Some(124), "{out:?}");
    }
}
