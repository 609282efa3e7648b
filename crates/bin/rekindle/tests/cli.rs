//! The commands that a newcomer types, one after another, against a server.

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
use server::Server;

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
