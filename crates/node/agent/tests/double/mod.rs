//! A stand-in for the sandbox process: speaks the same protocol and runs the function
//! natively. It lives in the test program and is reached only by running that program
//! again with the name of its entry test, so nothing of it is in production.

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::thread;

use proto_sandbox::{
    ExitReason, ExitStatus, FromSandbox, LogStream, StageName, StartSpec, ToSandbox, read_message,
    write_message,
};
use sandbox_runtime::{Event, RuntimeEvent};

use super::native::ApiServer;

type Socket = Arc<Mutex<UnixStream>>;

fn say(to: &Socket, head: &FromSandbox, payload: &[u8]) {
    // A node that hung up is noticed by the reader.
    let _ = write_message(&mut *to.lock().unwrap(), head, payload);
}

/// Serves the socket on descriptor 0 until it closes.
pub(crate) fn run() {
    let fd: OwnedFd = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    let mut socket = UnixStream::from(fd);
    let out: Socket = Arc::new(Mutex::new(socket.try_clone().unwrap()));
    let Ok(Some(message)) = read_message::<ToSandbox>(&mut socket) else {
        return;
    };
    let ToSandbox::Start(spec) = message.head else {
        panic!("Start comes first")
    };
    let (server, events) = ApiServer::start();
    let mut child = start(&spec, &server);
    let stdout = child.stdout.take().unwrap();
    let logging = thread::spawn({
        let out = Arc::clone(&out);
        move || log(stdout, &out)
    });
    thread::spawn({
        let out = Arc::clone(&out);
        move || report(&events, &out)
    });
    let pid = child.id().to_string();
    thread::spawn({
        let out = Arc::clone(&out);
        move || {
            let ended = child.wait().unwrap();
            logging.join().unwrap();
            let status = match (ended.code(), ended.signal()) {
                (Some(code), _) => ExitStatus::Code(code),
                (None, signal) => ExitStatus::Signal(signal.unwrap_or(9)),
            };
            let reason = ExitReason::Itself;
            say(
                &out,
                &FromSandbox::Exited {
                    status,
                    reason,
                    max_memory_bytes: 0,
                },
                b"",
            );
        }
    });
    while let Ok(Some(message)) = read_message::<ToSandbox>(&mut socket) {
        if let ToSandbox::Event(head) = message.head {
            server.deliver(Event {
                head,
                payload: message.payload,
            });
        }
    }
    let _ = Command::new("/bin/kill").args(["-KILL", &pid]).status();
}

/// Runs the program natively: paths of mounts become paths of the host.
fn start(spec: &StartSpec, server: &ApiServer) -> Child {
    let outside = |path: &str| {
        let mount = spec
            .rootfs
            .mounts
            .iter()
            .find(|mount| path.starts_with(&mount.target));
        mount.map_or_else(
            || path.to_owned(),
            |mount| path.replacen(&mount.target, mount.source.to_str().unwrap(), 1),
        )
    };
    let argv: Vec<_> = spec
        .program
        .argv
        .iter()
        .map(|argument| outside(argument))
        .collect();
    // The function dies with the stand-in, as it does with the real sandbox.
    Command::new("/usr/bin/setpriv")
        .args(["--pdeathsig", "KILL", "--"])
        .args(&argv)
        .env_clear()
        .envs(spec.program.env.iter().map(|(k, v)| (k, v)))
        .env("LAMBDA_TASK_ROOT", outside("/var/task"))
        .env("AWS_LAMBDA_RUNTIME_API", server.address.to_string())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env_remove("LD_LIBRARY_PATH")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn log(mut stdout: ChildStdout, out: &Socket) {
    let mut bytes = vec![0; 32 * 1024];
    while let Ok(count @ 1..) = stdout.read(&mut bytes) {
        let head = FromSandbox::Log {
            stream: LogStream::Stdout,
            dropped: 0,
        };
        say(out, &head, &bytes[..count]);
    }
}

fn report(events: &Receiver<RuntimeEvent>, out: &Socket) {
    while let Ok(event) = events.recv() {
        match event {
            RuntimeEvent::Connected => {
                let name = StageName::RuntimeInit;
                say(
                    out,
                    &FromSandbox::Stage {
                        name,
                        nanoseconds: 1,
                    },
                    b"",
                );
            }
            RuntimeEvent::Idle => {
                say(
                    out,
                    &FromSandbox::Usage {
                        max_memory_bytes: 20 << 20,
                    },
                    b"",
                );
            }
            event => {
                if let Some((head, payload)) = event.into_message() {
                    say(out, &head, &payload);
                }
            }
        }
    }
}
