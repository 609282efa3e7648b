//! What functions stream, from their sandbox to boto3, through a real server whose memory stays as it is.

mod place;
mod server;

use std::process::{Command, Stdio};

use place::{root, set_up, target};
use server::{Form, Server};

/// Bytes that each function streams: the most that the API allows.
const LENGTH: &str = "209715200";
/// Bytes that server and sandboxes may grow by meanwhile: a few pieces on each part of the way.
const ROOM: u64 = 24 << 20;

fn streams(server: &Server, arguments: &[&str]) {
    let output = Command::new(target().join("venv/bin/python"))
        .arg(root().join("tests/clients/streams_boto3.py"))
        .args(arguments)
        .env_clear()
        .env("HOME", "/nonexistent")
        .env("AWS_ENDPOINT_URL", &server.endpoint)
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "any")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && told.contains("streams: ok"),
        "{told}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Most memory that any process of the server, and that any of its sandboxes ever had, in bytes (proc_pid_status(5)).
fn peaks(server: &Server) -> (u64, u64) {
    let status = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/status")).ok();
    let field = |status: &str, name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next().map(str::to_owned)
    };
    let peak = |status: &str| field(status, "VmHWM:")?.parse::<u64>().ok();
    let own: Vec<String> = server.pids().iter().map(u32::to_string).collect();
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let sandboxes = entries.filter_map(|entry| {
        let status = status(entry.file_name().to_str()?)?;
        let ours = field(&status, "Name:")? == "sandbox" && own.contains(&field(&status, "PPid:")?);
        ours.then(|| peak(&status)).flatten()
    });
    let servers = own.iter().filter_map(|pid| peak(&status(pid)?));
    (
        1024 * servers.max().unwrap(),
        1024 * sandboxes.max().unwrap(),
    )
}

fn stream_through(form: Form, nodes: &str) {
    set_up("tests/setup.sh", &[]);
    let server = Server::of(form, "asked");
    streams(&server, &["deploy"]);
    let before = peaks(&server);
    streams(&server, &["stream", LENGTH, nodes]);
    let after = peaks(&server);
    assert!(after.0 < before.0 + ROOM, "server: {before:?}, {after:?}");
    assert!(after.1 < before.1 + ROOM, "sandbox: {before:?}, {after:?}");
}

#[test]
fn two_hundred_megabytes_reach_boto3_and_no_memory_grows() {
    stream_through(Form::Serve, "1");
}

#[test]
fn two_hundred_megabytes_reach_boto3_through_a_gateway_and_two_nodes_and_no_memory_grows() {
    // One instance each, so that an event finds a free one only if the last has let go.
    stream_through(Form::TwoNodes(1), "2");
}
