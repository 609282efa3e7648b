//! A whole sandbox in the tests' own process, without a jail: the node's end of its socket is the test's, its guest is a
//! script, and whoever speaks as the guest's runtime does so on the guest's network.

mod lambda;
mod program;
mod restore;

use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base_abi::{Errno, general, net};
use base_eventually::eventually;
use kernel_net::{Address, Caller, MsgFlags, Outgoing, Socket};
use kernel_syscall::System;
use platform_api::Event;
use platform_script::{Script, ScriptPlatform};
use proto_sandbox::{
    EventHead, FromSandbox, HotPages, Initialization, Layer, MAX_RESPONSE_BYTES,
    MAX_STREAMED_BYTES, Message, PlatformChoice, Program, RUNTIME_API_ADDRESS, RootFs,
    RuntimeApiSpec, SandboxLimits, StartSpec, Stdio, ToSandbox, VERSION, WorkloadSpec,
    read_message, write_message, write_with_descriptors,
};

use crate::boot::{self, Empty};
use crate::diagnostics::Diagnostics;
use crate::inbox::Inbox;
use crate::notices::Notices;
use crate::outbox::Outbox;
use crate::running::Running;
use crate::shell::{CannotRestore, Shell};
use crate::workload::Ends;

/// How long a test waits for a word of the sandbox.
const PATIENCE: Duration = Duration::from_secs(60);

/// Memory that no test needs.
const PLENTY: u64 = 1 << 30;

fn lambda(memory_bytes: u64) -> StartSpec {
    spec(
        memory_bytes,
        WorkloadSpec::Lambda(RuntimeApiSpec {
            listen: RUNTIME_API_ADDRESS.to_owned(),
            max_response_bytes: MAX_RESPONSE_BYTES,
            max_streamed_bytes: MAX_STREAMED_BYTES,
            initialization: Initialization::SnapStart,
        }),
    )
}

fn spec(memory_bytes: u64, workload: WorkloadSpec) -> StartSpec {
    StartSpec {
        version: VERSION,
        id: "test".to_owned(),
        hostname: "guest".to_owned(),
        program: Program {
            argv: vec!["/usr/bin/true".to_owned()],
            env: Vec::new(),
            workdir: "/".to_owned(),
            uid: 0,
            gid: 0,
            stdio: Stdio::LogOnly,
        },
        rootfs: RootFs {
            layers: vec![Layer::Host],
            mounts: Vec::new(),
            writable_bytes: 1 << 20,
        },
        limits: SandboxLimits {
            memory_bytes,
            tasks: 16,
            open_files: 64,
        },
        workload,
        strace: false,
        platform: PlatformChoice::Process,
    }
}

/// A guest that does nothing until a signal ends it.
fn waits() -> Script {
    Script::steps(|_| {
        Some(Event::Syscall(Script::call(
            general::__NR_pause.into(),
            &[],
        )))
    })
}

/// The node's side of a sandbox.
struct Sandbox {
    socket: UnixStream,
    system: Arc<System>,
    serving: JoinHandle<()>,
}

/// What both sides of a sandbox's socket are.
struct Wires {
    ours: UnixStream,
    theirs: UnixStream,
    ends: Ends,
}

fn wires() -> Wires {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(PATIENCE)).unwrap();
    let outbox = Arc::new(Outbox::new(theirs.try_clone().unwrap()));
    let notices = Notices::new().unwrap();
    Wires {
        ours,
        theirs,
        ends: Ends { outbox, notices },
    }
}

/// Serves what is made of an empty kernel whose next guest is this script.
fn serve(
    spec: &StartSpec,
    guest: Script,
    make: impl FnOnce(Empty, &mut Inbox<'_>, &Ends) -> Option<Running> + Send + 'static,
) -> Sandbox {
    let platform = ScriptPlatform::new();
    platform.next_guest(guest);
    let empty = boot::without_jail(spec, Arc::new(platform)).unwrap();
    let system = Arc::clone(&empty.system);
    let Wires { ours, theirs, ends } = wires();
    let serving = std::thread::spawn(move || {
        let mut inbox = Inbox::new(&theirs, Arc::clone(&ends.notices));
        if let Some(running) = make(empty, &mut inbox, &ends) {
            running.serve(&mut inbox, &ends.outbox, Diagnostics::Silent);
        }
    });
    Sandbox {
        socket: ours,
        system,
        serving,
    }
}

/// A sandbox whose program runs, and whose Runtime API is served.
fn start(spec: StartSpec, guest: Script) -> Sandbox {
    let (tell, told) = std::sync::mpsc::channel();
    let sandbox = serve(&spec.clone(), guest, move |empty, _, ends| {
        let mut running = boot::begin(&spec, empty, ends).unwrap();
        running.workload.loaded(Instant::now());
        tell.send(()).unwrap();
        Some(running)
    });
    told.recv_timeout(PATIENCE).unwrap();
    sandbox
}

/// A shell with the guest of a snapshot, which waits to be restored.
fn shell(spec: StartSpec, snapshot: &Path) -> Sandbox {
    let images = vec![Arc::new(File::open(snapshot).unwrap())];
    serve(
        &spec.clone(),
        waits(),
        move |empty, inbox, ends| match Shell::fill(
            &spec,
            empty,
            &images,
            &HotPages::default(),
            ends,
        ) {
            Ok(shell) => shell.wait(inbox, ends),
            Err(CannotRestore::Refused(refusal)) => panic!("{:?}: {}", refusal.0, refusal.1),
            Err(CannotRestore::Failed(error)) => panic!("{error}"),
        },
    )
}

impl Sandbox {
    fn send(&mut self, head: ToSandbox, payload: &[u8]) {
        write_message(&mut self.socket, &head, payload).unwrap();
    }

    fn send_with(&mut self, head: &ToSandbox, files: &[BorrowedFd<'_>]) {
        write_with_descriptors(&self.socket, head, &[], files).unwrap();
    }

    /// The next message; none when the socket is closed.
    fn hear(&mut self) -> Option<Message<FromSandbox>> {
        read_message(&mut self.socket).unwrap()
    }

    fn said(&mut self) -> FromSandbox {
        self.hear().expect("a message").head
    }

    /// Waits for this message; what comes before it may only be stages of a start and log lines.
    fn expect(&mut self, expected: &FromSandbox) {
        loop {
            match self.said() {
                FromSandbox::Stage { .. } | FromSandbox::Log { .. } => {}
                said => {
                    assert_eq!(&said, expected);
                    return;
                }
            }
        }
    }

    /// Ends the guest and waits for the sandbox's last word.
    fn end(mut self) -> FromSandbox {
        self.send(ToSandbox::Stop, &[]);
        self.last()
    }

    /// Waits for the sandbox's last word.
    fn last(mut self) -> FromSandbox {
        let mut last = None;
        while let Ok(Some(message)) = read_message::<FromSandbox>(&mut self.socket) {
            let over = matches!(message.head, FromSandbox::Exited { .. });
            last = Some(message.head);
            if over {
                break;
            }
        }
        self.serving.join().unwrap();
        last.expect("a last message")
    }

    /// Connects as the guest's runtime.
    fn runtime(&self) -> Runtime {
        let caller = Caller::kernel();
        let net = &self.system.net;
        let socket = net.socket(&caller, net::AF_INET, net::SOCK_STREAM, 0);
        let socket = socket.unwrap();
        let Ok(SocketAddr::V4(address)) = RUNTIME_API_ADDRESS.parse() else {
            panic!("an address")
        };
        match socket.connect(&caller, &Address::V4(address)) {
            Ok(()) | Err(Errno::EINPROGRESS) => Runtime(socket),
            Err(error) => panic!("{error:?}"),
        }
    }
}

fn event(request_id: &str) -> EventHead {
    EventHead {
        request_id: request_id.to_owned(),
        ..EventHead::default()
    }
}

/// The guest's runtime, on a connection to the Runtime API.
struct Runtime(Arc<dyn Socket>);

impl Runtime {
    /// Sends all of it; there is room for what tests send.
    fn send(&self, text: &str) {
        let mut data = text.as_bytes();
        while !data.is_empty() {
            let sent = self
                .0
                .send(&Caller::kernel(), Outgoing::bytes(data))
                .unwrap();
            data = &data[sent..];
        }
    }

    fn ask(&self, what: &str) {
        self.send(&format!("GET /2018-06-01/runtime/{what} HTTP/1.1\r\n\r\n"));
    }

    fn answer(&self, request_id: &str, body: &str) {
        let length = body.len();
        self.send(&format!(
            "POST /2018-06-01/runtime/invocation/{request_id}/response HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
    }

    /// Waits for an answer that ends so.
    fn receive(&self, ends: &str) -> String {
        let mut all = Vec::new();
        let mut buffer = vec![0; 16 * 1024];
        eventually("the Runtime API answers", || {
            while let Ok(got) = self.0.recv(&mut buffer, MsgFlags::empty()) {
                if got.copied == 0 {
                    break;
                }
                all.extend_from_slice(&buffer[..got.copied]);
            }
            all.ends_with(ends.as_bytes())
        });
        String::from_utf8(all).unwrap()
    }

    fn hang_up(self) {
        self.0.close();
    }
}

/// A file to be captured to.
fn file(directory: &tempfile::TempDir) -> File {
    let path = directory.path().join("snapshot");
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)
        .unwrap()
}

fn descriptor(file: &File) -> [BorrowedFd<'_>; 1] {
    [file.as_fd()]
}
