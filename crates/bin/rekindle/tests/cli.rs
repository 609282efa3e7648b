//! The commands that a newcomer types, one after another, against a server.

mod place;
mod server;

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use proto_sandbox::{
    Layer, PlatformChoice, Program, RootFs, SandboxLimits, StartSpec, ToSandbox, VERSION,
    WorkloadSpec, write_message,
};
use serde_json::Value;
use server::{Process, REKINDLE, Server};

#[test]
fn a_function_from_its_template_to_its_end() {
    let server = Server::start();
    for (template, runtime, name) in [
        ("python", "python3.11", "one"),
        ("node", "nodejs20.x", "two"),
        ("provided", "provided.al2023", "three"),
    ] {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join(name);
        let directory = directory.to_str().unwrap();
        let run = |arguments: &[&str]| {
            let out = server.rekindle(arguments);
            let errors = String::from_utf8_lossy(&out.stderr).into_owned();
            assert!(out.status.success(), "{arguments:?}: {errors}");
            String::from_utf8(out.stdout).unwrap()
        };
        run(&["init", template, directory]);
        let handler = match template {
            "python" => "app.handler",
            "node" => "index.handler",
            _ => "bootstrap",
        };
        run(&[
            "deploy",
            directory,
            "--name",
            name,
            "--runtime",
            runtime,
            "--handler",
            handler,
        ]);
        assert!(run(&["list"]).contains(name));
        let listed: Value = serde_json::from_str(&run(&["list", "-o", "json"])).unwrap();
        assert!(listed.to_string().contains(name), "{listed}");
        let answer: Value =
            serde_json::from_str(&run(&["invoke", name, r#"{"name": "you"}"#])).unwrap();
        assert!(!answer.is_null());
        let logs = run(&["logs", name]);
        for line in ["START RequestId: ", "END RequestId: ", "REPORT RequestId: "] {
            assert!(logs.contains(line), "{logs}");
        }
        // The same code again is an update.
        run(&[
            "deploy",
            directory,
            "--name",
            name,
            "--runtime",
            runtime,
            "--handler",
            handler,
        ]);
        run(&["delete", name]);
        let gone = server.rekindle(&["invoke", name, "{}"]);
        assert!(!gone.status.success());
        let told = String::from_utf8_lossy(&gone.stderr);
        assert!(told.contains("Function not found"), "{told}");
        // Another function of this name shows nothing of the one before.
        run(&[
            "deploy",
            directory,
            "--name",
            name,
            "--runtime",
            runtime,
            "--handler",
            handler,
        ]);
        assert_eq!(run(&["logs", name]), "");
    }
}

#[test]
fn what_is_not_there_is_told_with_the_next_step() {
    let server = Server::start();
    for (arguments, told) in [
        (&["invoke", "none", "{}"][..], "Function not found"),
        (&["delete", "none"], "Function not found"),
        (&["logs", "none"], "Function not found"),
        (
            &[
                "deploy",
                "/no/such/directory",
                "--name",
                "x",
                "--runtime",
                "python3.11",
                "--handler",
                "a.b",
            ],
            "/no/such/directory",
        ),
        (&["run", "--", "/no/such/program"], "/no/such/program"),
        (
            &["run", "--rootfs", "/no/such/layer", "--", "true"],
            "/no/such/layer",
        ),
    ] {
        let out = server.rekindle(arguments);
        let errors = String::from_utf8_lossy(&out.stderr);
        assert!(
            !out.status.success() && errors.contains(told),
            "{arguments:?}: {out:?}"
        );
    }
    let away = std::process::Command::new(server::REKINDLE)
        .args(["list", "--endpoint", "http://127.0.0.1:1"])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&away.stderr);
    assert!(errors.contains("next: "), "{errors}");
}

/// Warnings of a sandbox's own code reach its parent, and no more of them than anybody would read.
#[test]
fn a_sandbox_that_is_told_nonsense_complains_on_standard_error() {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_rekindle"))
        .args(["sandbox", "--fd", "0"])
        .stdin(OwnedFd::from(theirs))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let start = ToSandbox::Start(Box::new(StartSpec {
        version: VERSION,
        id: "told-nonsense".to_owned(),
        hostname: "sandbox".to_owned(),
        program: Program {
            argv: vec!["/bin/cat".to_owned()],
            env: Vec::new(),
            workdir: "/".to_owned(),
            uid: 0,
            gid: 0,
            stdio: proto_sandbox::Stdio::Messages,
        },
        rootfs: RootFs {
            layers: vec![Layer::Host],
            mounts: Vec::new(),
            writable_bytes: 1 << 20,
        },
        limits: SandboxLimits {
            memory_bytes: 64 << 20,
            tasks: 8,
            open_files: 64,
        },
        workload: WorkloadSpec::Program,
        strace: false,
        platform: PlatformChoice::Process,
    }));
    for _ in 0..200 {
        write_message(&mut ours, &start, &[]).unwrap();
    }
    write_message(&mut ours, &ToSandbox::Stop, &[]).unwrap();
    let said = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&said.stderr);
    let lines: Vec<&str> = said.lines().collect();
    assert!(
        lines
            .iter()
            .all(|line| line.contains("a second start was ignored")),
        "{said}"
    );
    assert_eq!(lines.len(), 64);
}

#[test]
fn a_benchmark_is_the_program_beside_this_one() {
    // On the same file system, so that a program can have another name beside which nothing lies.
    let build = Path::new(server::REKINDLE).parent().unwrap();
    let place = tempfile::tempdir_in(build).unwrap();
    let rekindle = place.path().join("rekindle");
    std::fs::hard_link(server::REKINDLE, &rekindle).unwrap();
    let run = |arguments: &[&str]| Command::new(&rekindle).args(arguments).output().unwrap();
    let missing = run(&["bench", "syscall"]);
    let told = String::from_utf8_lossy(&missing.stderr);
    assert_eq!(missing.status.code(), Some(127), "{told}");
    assert!(
        told.contains("rekindle-bench") && told.contains("next: "),
        "{told}"
    );
    // Programs that everybody has stand in for it: one says its arguments, one has an exit code.
    let bench = place.path().join("rekindle-bench");
    std::os::unix::fs::symlink("/bin/echo", &bench).unwrap();
    let said = run(&["bench", "syscall", "--rounds", "3", "--help", "-o", "json"]);
    assert_eq!(said.stdout, b"syscall --rounds 3 --help -o json\n");
    std::fs::remove_file(&bench).unwrap();
    std::os::unix::fs::symlink("/bin/false", &bench).unwrap();
    assert_eq!(run(&["bench", "syscall"]).status.code(), Some(1));
}

#[test]
fn keys_are_made_used_and_revoked_while_a_server_runs() {
    let place = tempfile::tempdir().unwrap();
    let keys = place.path().join("keys");
    let tls = place::root().join("crates/edge/gateway/tests/tls");
    let (certificate, key) = (tls.join("cert.pem"), place.path().join("key.pem"));
    let rekindle = |arguments: &[&str]| {
        let mut command = Command::new(REKINDLE);
        command.args(arguments).env("REKINDLE_KEYS", &keys);
        command.env("AWS_CA_BUNDLE", &certificate);
        command
    };
    let told = |command: &mut Command| {
        let out = command.output().unwrap();
        let text = [out.stdout, out.stderr].concat();
        (out.status.code(), String::from_utf8(text).unwrap())
    };
    let create = |name: &str| -> Value {
        let out = rekindle(&["key", "create", name, "-o", "json"]).output();
        serde_json::from_slice(&out.unwrap().stdout).unwrap()
    };
    let alice = create("alice");
    std::fs::copy(tls.join("key.pem"), &key).unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&key, private).unwrap();
    let mut serve = rekindle(&["serve", "--listen", "127.0.0.1:0"]);
    serve
        .arg("--tls-cert")
        .arg(&certificate)
        .arg("--tls-key")
        .arg(&key)
        .arg("--data");
    let (_server, endpoint) = Process::start(serve.arg(place.path().join("data")));
    let list = |key: &Value| {
        let text = |name: &str| key[name].as_str().unwrap_or_default().to_owned();
        let mut command = rekindle(&["list", "--endpoint", &endpoint]);
        command.env("AWS_ACCESS_KEY_ID", text("AccessKeyId"));
        command.env("AWS_SECRET_ACCESS_KEY", text("SecretAccessKey"));
        told(&mut command)
    };
    let (code, text) = list(&alice);
    assert_eq!(code, Some(0), "{text}");
    let bob = create("bob");
    assert_eq!(list(&bob).0, Some(0), "it is known at once");
    // By its file; several keys need a name.
    let by_file = |profile: &str| {
        let mut command = rekindle(&["list", "--endpoint", &endpoint, "--key-file"]);
        told(command.arg(&keys).env("AWS_PROFILE", profile))
    };
    assert_eq!(by_file("bob").0, Some(0));
    let (code, text) = by_file("carol");
    assert!(code == Some(2) && text.contains("no key carol"), "{text}");
    let mut unsigned = rekindle(&["list", "--endpoint", &endpoint]);
    let (code, text) = told(&mut unsigned);
    assert!(code == Some(1) && text.contains("--key-file"), "{text}");
    let mut stranger = rekindle(&["list", "--endpoint", &endpoint]);
    let (code, text) = told(stranger.env_remove("AWS_CA_BUNDLE"));
    assert!(code == Some(2) && text.contains("--ca-file"), "{text}");
    assert!(endpoint.starts_with("https://"));
    let mut half = rekindle(&["list", "--endpoint", &endpoint]);
    let (code, text) = told(half.env("AWS_ACCESS_KEY_ID", "A"));
    assert!(code == Some(2) && text.contains("half of a key"), "{text}");
    let mut wrong = bob.clone();
    wrong["SecretAccessKey"] = "wrong".into();
    let (code, text) = list(&wrong);
    assert!(code == Some(1) && text.contains("is the secret"), "{text}");
    let (code, text) = told(&mut rekindle(&["key", "ls"]));
    assert!(code == Some(0) && text.contains("alice"), "{text}");
    let secret = bob["SecretAccessKey"].as_str().unwrap();
    assert!(!text.contains(secret), "{text}");
    assert_eq!(told(&mut rekindle(&["key", "revoke", "bob"])).0, Some(0));
    let (code, text) = list(&bob);
    assert!(code == Some(1) && text.contains("key ls"), "{text}");
    assert_eq!(list(&alice).0, Some(0));
}
