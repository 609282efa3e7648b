//! Acknowledged work survives `kill -9`: a child process creates and updates functions until it is
//! killed, and everything it acknowledged must be there afterwards.

mod zips;

use std::{
    collections::BTreeMap,
    env,
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
};

use bytes::Bytes;
use control_registry::{Config, Registry};
use proto_lambda::{
    CreateFunctionRequest, FunctionCode, FunctionRef, UpdateFunctionCodeRequest, Zip, limits,
};
use serde_json::json;
use zips::{text_in, zip_with};

const CHILD: &str = "REGISTRY_KILL_TEST_DIRECTORY";

fn code(content: &str) -> FunctionCode {
    let zip_file = Some(Zip(Bytes::from(zip_with("app.py", content))));
    FunctionCode {
        zip_file,
        ..FunctionCode::default()
    }
}

/// Creates `r{round}f{n}` and gives it new code, again and again, telling what is acknowledged.
async fn work(directory: &str, round: &str) {
    let registry = Registry::open(Config::new(directory)).await.unwrap();
    let mut told = std::io::stdout();
    for n in 0.. {
        let name = format!("r{round}f{n}");
        let body = json!({
            "FunctionName": name, "Role": "arn:aws:iam::123456789012:role/r",
            "Runtime": "python3.11", "Handler": "app.handler",
        });
        let mut request: CreateFunctionRequest = serde_json::from_value(body).unwrap();
        request.code = Some(code(&format!("created {name}")));
        let _ = registry.create(request).await.unwrap();
        writeln!(told, "\nack {name} created").unwrap();
        let wanted = FunctionRef::parse(&name, limits::NAMESPACED_NAME_CHARS).unwrap();
        let update = UpdateFunctionCodeRequest {
            code: code(&format!("updated {name}")),
            ..Default::default()
        };
        let (_, retired) = registry.update_code(&wanted, update).await.unwrap();
        writeln!(told, "\nack {name} updated").unwrap();
        registry.collect(retired.unwrap()).await;
    }
}

#[tokio::test]
async fn acknowledged_functions_survive_kill_9() {
    if let Ok(task) = env::var(CHILD) {
        let (directory, round) = task.rsplit_once('#').unwrap();
        work(directory, round).await;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged: BTreeMap<String, String> = BTreeMap::new();
    for round in 0..6 {
        let mut child = Command::new(env::current_exe().unwrap())
            .args([
                "--exact",
                "acknowledged_functions_survive_kill_9",
                "--nocapture",
            ])
            .env(CHILD, format!("{}#{round}", directory.path().display()))
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let wanted = 5 + 3 * round;
        let mut heard = 0;
        let mut note = |line: String| {
            let words: Vec<&str> = line.split(' ').collect();
            if let ["ack", name, state] = words.as_slice() {
                acknowledged.insert((*name).to_owned(), (*state).to_owned());
                return true;
            }
            false
        };
        while heard < wanted {
            heard += usize::from(note(lines.next().expect("the child ended early").unwrap()));
        }
        child.kill().unwrap();
        // What was acknowledged between the last look and the signal counts as well. The last line may be cut.
        for line in lines
            .map_while(Result::ok)
            .filter(|line| line.ends_with("ed"))
        {
            note(line);
        }
        child.wait().unwrap();
        let registry = Registry::open(Config::new(directory.path())).await.unwrap();
        for (name, state) in &acknowledged {
            let wanted = FunctionRef::parse(name, limits::NAMESPACED_NAME_CHARS).unwrap();
            let function = registry.find(&wanted).unwrap();
            let content = text_in(function.code.archive(), "app.py");
            // An update that was under way may have taken place without being acknowledged.
            let later = format!("updated {name}");
            assert!(
                content == format!("{state} {name}") || content == later,
                "{name}: {content}"
            );
        }
        let archives = std::fs::read_dir(directory.path().join("code/archives"))
            .unwrap()
            .count();
        let functions = registry.page(None, usize::MAX - 1).len();
        assert_eq!(
            archives, functions,
            "code without a function is removed at start"
        );
    }
    assert!(acknowledged.len() >= 6);
}
