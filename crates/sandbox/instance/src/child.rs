//! The life of a sandbox process, as its parent sees it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use host_sys::proc::ProcDir;
use kernel_core::CpuFacts;
use kernel_core::task::ExitStatus as GuestExit;
use platform_process::{Network, ProcessPlatform};
use proto_sandbox::{
    ExitReason, ExitStatus, FailureKind, FromSandbox, RefusalKind, RightsReader, StageName,
    StartSpec, ToSandbox, VERSION, read_message,
};
use sandbox_confine::jail::Open;

use crate::function::Function;
use crate::instance::{HostFacts, assemble};
use crate::memory::OwnMemory;
use crate::outbox::Outbox;
use crate::{Failure, Instance, rootfs};

/// Whether the layers of the jail are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// No.
    Silent,
    /// One line on standard error.
    Layers,
}

/// Runs one sandbox over the socket to its parent until it ends. The process must have one thread.
///
/// # Errors
/// When not even the first message could be read.
pub fn run(socket: OwnedFd, report: Report) -> io::Result<()> {
    let began = Instant::now();
    let jail = Open::enter();
    let socket = UnixStream::from(socket);
    let outbox = Arc::new(Outbox::new(socket.try_clone()?));
    let spec = match read_message::<ToSandbox>(&mut &socket) {
        Ok(Some(message)) => match message.head {
            ToSandbox::Start(spec) if spec.version == VERSION => spec,
            _ => {
                refuse(
                    &outbox,
                    Failure {
                        kind: FailureKind::Spec,
                        message: "the first message is no Start of this version".to_owned(),
                    },
                );
                return Ok(());
            }
        },
        Ok(None) => return Ok(()),
        Err(error) => return Err(io::Error::other(error)),
    };
    match boot(&spec, jail, report, &outbox, began) {
        Ok((instance, function)) => serve(instance, function.as_ref(), socket, &outbox),
        Err(failure) => refuse(&outbox, failure),
    }
    Ok(())
}

fn refuse(outbox: &Outbox, failure: Failure) {
    outbox.send(
        &FromSandbox::Failed {
            kind: failure.kind,
            message: failure.message,
        },
        &[],
    );
}

/// Reports the time since the last stage.
struct Stages<'a> {
    outbox: &'a Outbox,
    last: Instant,
}

impl Stages<'_> {
    /// Reports two stages that were interleaved: the second took `part` of the time since the last.
    fn split(&mut self, first: StageName, second: StageName, part: Duration) {
        let now = Instant::now();
        let whole = now.duration_since(self.last);
        self.last = now;
        for (name, time) in [(first, whole.saturating_sub(part)), (second, part)] {
            let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            self.outbox
                .send(&FromSandbox::Stage { name, nanoseconds }, &[]);
        }
    }

    /// Returns the end of the stage.
    fn done(&mut self, name: StageName) -> Instant {
        let now = Instant::now();
        let nanoseconds =
            u64::try_from(now.duration_since(self.last).as_nanos()).unwrap_or(u64::MAX);
        self.last = now;
        self.outbox
            .send(&FromSandbox::Stage { name, nanoseconds }, &[]);
        now
    }
}

fn boot(
    spec: &StartSpec,
    mut jail: Open,
    report: Report,
    outbox: &Arc<Outbox>,
    began: Instant,
) -> Result<(Instance, Option<Function>), Failure> {
    let facts = host_facts().map_err(|e| Failure::host("cannot read what the host offers", &e))?;
    let own = OwnMemory::open().map_err(|e| Failure::host("cannot open /proc/self/statm", &e))?;
    let proc = ProcDir::open().map_err(|e| Failure::host("cannot open /proc", &e))?;
    // Asked while /sys can be read; the guest's clocks want to know later.
    let steady = host_sys::vdso_code::counter_is_steady();
    tracing::debug!(steady, "time stamp counter");
    let tree_began = Instant::now();
    let tree = rootfs::build(spec)?;
    let mut tree_time = tree_began.elapsed();
    let readable: Vec<_> = tree.readable.iter().map(|f| f.as_fd()).collect();
    jail.restrict_files(&readable, &[])
        .map_err(|e| Failure::host("cannot close the jail", &e))?;
    // Before any other thread: the first stub is forked from this process.
    let network = if jail.has_own_namespaces() {
        Network::Callers
    } else {
        Network::Own
    };
    let platform = ProcessPlatform::with_proc(proc, network)
        .map_err(|e| Failure::host("cannot start the process platform", &e))?;
    let assembly = Instant::now();
    let system = assemble(spec, Arc::new(platform), &facts, &tree)?;
    tree_time += assembly.elapsed();
    let layers = jail
        .seal()
        .map_err(|e| Failure::host("cannot close the jail", &e))?;
    let mut stages = Stages {
        outbox,
        last: began,
    };
    stages.split(StageName::Sandbox, StageName::RootFs, tree_time);
    if report == Report::Layers {
        eprintln!("rekindle: {layers}");
    }
    let (instance, files) = Instance::prepare(spec, system, own, outbox)?;
    let function = match &spec.function {
        Some(function) => Some(Function::start(function, &instance, outbox)?),
        None => None,
    };
    instance.start(spec, files)?;
    let executed = stages.done(StageName::Exec);
    if let Some(function) = &function {
        function.executed(executed);
    }
    Ok((instance, function))
}

fn host_facts() -> io::Result<HostFacts> {
    use std::io::Read;
    let raw = std::fs::read("/proc/self/auxv")?;
    let word = |kind: u64| {
        raw.chunks_exact(16).find_map(|pair| {
            let (key, value) = pair.split_at(8);
            let read = |b: &[u8]| b.try_into().map(u64::from_le_bytes).unwrap_or(0);
            (read(key) == kind).then(|| read(value))
        })
    };
    let mut seed = [0u8; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut seed)?;
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Ok(HostFacts {
        cpu: CpuFacts {
            hwcap: word(16).unwrap_or(0),
            hwcap2: word(26).unwrap_or(0),
            min_signal_stack: word(51).unwrap_or(2048),
        },
        cpus: u32::try_from(cpus).unwrap_or(1),
        seed,
    })
}

/// What ends a sandbox from outside.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Itself,
    Stopped,
}

/// Obeys the parent until the guest has ended.
fn serve(
    mut instance: Instance,
    function: Option<&Function>,
    socket: UnixStream,
    outbox: &Arc<Outbox>,
) {
    let ending = std::sync::Mutex::new(Ending::Itself);
    let shared = &instance;
    std::thread::scope(|scope| {
        let reader = &socket;
        let ending = &ending;
        scope.spawn(move || {
            obey(shared, function, reader, ending, outbox);
        });
        shared.wait(None);
        // Ends the reading thread; the writing half stays open.
        let _ = socket.shutdown(std::net::Shutdown::Read);
    });
    let status = instance.wait(None).unwrap_or(GuestExit::Code(0));
    instance.streams.drain();
    instance.streams.flusher(outbox).flush();
    instance.memory.stop.store(true, Ordering::Relaxed);
    let stopped = ending.into_inner().is_ok_and(|e| e == Ending::Stopped);
    let reason = if instance.memory.exceeded.load(Ordering::SeqCst) {
        ExitReason::OutOfMemory
    } else if stopped {
        ExitReason::Stopped
    } else {
        ExitReason::Itself
    };
    let status = match status {
        GuestExit::Code(code) => ExitStatus::Code(i32::from(code)),
        GuestExit::Signal { number, .. } => ExitStatus::Signal(i32::from(number)),
    };
    let max_memory_bytes = instance.memory.highest.load(Ordering::Relaxed);
    outbox.send(
        &FromSandbox::Exited {
            status,
            reason,
            max_memory_bytes,
        },
        &[],
    );
}

fn obey(
    instance: &Instance,
    function: Option<&Function>,
    socket: &UnixStream,
    ending: &std::sync::Mutex<Ending>,
    outbox: &Outbox,
) {
    let mut reader = RightsReader::new(socket);
    loop {
        let message = match read_message::<ToSandbox>(&mut reader) {
            Ok(Some(message)) => message,
            Ok(None) | Err(_) => {
                // The parent is gone, or the guest has ended and this end was shut.
                instance.kill();
                return;
            }
        };
        match message.head {
            ToSandbox::Start(_) | ToSandbox::Shell(_) => {
                tracing::warn!("a second start was ignored");
            }
            ToSandbox::Capture(_) | ToSandbox::Restore(_) => {
                // Their descriptors are closed.
                let _ = reader.claim(message.head.descriptors());
                outbox.send(
                    &FromSandbox::Refused {
                        kind: RefusalKind::Unsupported,
                        reason: "this sandbox takes no snapshots".to_owned(),
                    },
                    &[],
                );
            }
            ToSandbox::Resume { environment } => match function {
                Some(function) => function.resume(instance, &environment),
                None => instance.thaw(),
            },
            ToSandbox::Event(head) => match function {
                Some(function) => function.deliver(instance, head, message.payload),
                None => tracing::warn!("an event for what is no function was ignored"),
            },
            ToSandbox::Freeze => instance.freeze(),
            ToSandbox::Thaw => instance.thaw(),
            ToSandbox::Signal { signal } => instance.signal(signal),
            ToSandbox::Stdin => instance.streams.feed(message.payload),
            ToSandbox::Stop => {
                if let Ok(mut ending) = ending.lock() {
                    *ending = Ending::Stopped;
                }
                instance.kill();
            }
        }
    }
}
