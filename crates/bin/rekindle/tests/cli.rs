//! The commands that a newcomer types, one after another, against a server.

mod server;

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
