//! The guest's standard streams: bounded buffers, moved to and from the host by two threads.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use kernel_core::park::Parker;
use kernel_files::console::{HostSide, StandardFiles, Stream};
use kernel_vfs::{AccessMode, Description, Events, FdFlags, FdTable, Notify, StatusFlags};
use parking_lot::Mutex;
use proto_sandbox::{FromSandbox, LogStream, Stdio};

use crate::outbox::Outbox;

/// Bytes that each stream holds between guest and host.
const BUFFER: usize = 64 << 10;
/// Numbers of the three stream files.
const INODES: [u64; 3] = [1, 2, 3];

/// Takes bytes out and sends them on as one step, so that what is flushed never overtakes what was taken before.
type Order = Arc<Mutex<()>>;

/// The host's ends and the thread that empties them.
pub(crate) struct Streams {
    host: Arc<HostSide>,
    order: Order,
    stdio: Stdio,
    parker: Arc<Parker>,
    closing: Arc<AtomicBool>,
    output: Option<JoinHandle<()>>,
    input: Option<std::sync::mpsc::SyncSender<Vec<u8>>>,
}

impl Streams {
    /// Makes the three files of the guest, which belong to `owner` (user and group), and starts moving bytes.
    pub(crate) fn open(
        stdio: Stdio,
        owner: [u32; 2],
        outbox: &Arc<Outbox>,
    ) -> std::io::Result<(Streams, StandardFiles)> {
        let (host, standard) = HostSide::streams(BUFFER, INODES, owner);
        let host = Arc::new(host);
        let parker = Arc::new(Parker::default());
        let closing = Arc::new(AtomicBool::new(false));
        let order = Order::default();
        let pump = Pump {
            order: Arc::clone(&order),
            host: Arc::clone(&host),
            parker: Arc::clone(&parker),
            closing: Arc::clone(&closing),
            outbox: Arc::clone(outbox),
            stdio,
        };
        let output = std::thread::Builder::new()
            .name("output".into())
            .spawn(move || pump.run())?;
        let input = match stdio {
            Stdio::LogOnly => {
                host.set_closed(Stream::Input);
                None
            }
            Stdio::Inherit => {
                let feeder = Feeder {
                    host: Arc::clone(&host),
                };
                std::thread::Builder::new()
                    .name("input".into())
                    .spawn(move || feeder.copy_stdin())?;
                None
            }
            Stdio::Messages => {
                let (send, receive) = std::sync::mpsc::sync_channel::<Vec<u8>>(64);
                let feeder = Feeder {
                    host: Arc::clone(&host),
                };
                std::thread::Builder::new()
                    .name("input".into())
                    .spawn(move || {
                        for data in receive {
                            if data.is_empty() {
                                break;
                            }
                            feeder.push(&data);
                        }
                        feeder.host.set_closed(Stream::Input);
                    })?;
                Some(send)
            }
        };
        let streams = Streams {
            host,
            order,
            stdio,
            parker,
            closing,
            output: Some(output),
            input,
        };
        Ok((streams, standard))
    }

    /// Bytes for descriptor 0; an empty slice closes it.
    pub(crate) fn feed(&self, data: Vec<u8>) {
        if let Some(input) = &self.input {
            let _ = input.send(data);
        }
    }

    /// Waits until everything the guest wrote has left, once the guest has ended.
    pub(crate) fn drain(&mut self) {
        self.closing.store(true, Ordering::SeqCst);
        self.parker.unpark();
        if let Some(thread) = self.output.take() {
            let _ = thread.join();
        }
    }

    /// What sends everything written up to now on its way: log lines precede the answer.
    pub(crate) fn flusher(&self, outbox: &Arc<Outbox>) -> Flusher {
        Flusher {
            order: Arc::clone(&self.order),
            host: Arc::clone(&self.host),
            stdio: self.stdio,
            outbox: Arc::clone(outbox),
        }
    }
}

/// Descriptors 0, 1 and 2 of a first program.
pub(crate) fn descriptors(standard: &StandardFiles) -> FdTable {
    let table = FdTable::new();
    let accesses = [AccessMode::Read, AccessMode::Write, AccessMode::Write];
    for (file, access) in standard.iter().zip(accesses) {
        let description = Description::anonymous(Arc::clone(file), access, StatusFlags::empty());
        // An empty table has room for three.
        let _ = table.insert(description, FdFlags::empty(), 3);
    }
    table
}

/// Empties the guest's output on demand.
pub(crate) struct Flusher {
    order: Order,
    host: Arc<HostSide>,
    stdio: Stdio,
    outbox: Arc<Outbox>,
}

impl Flusher {
    /// Sends what the guest has written so far.
    pub(crate) fn flush(&self) {
        for stream in [Stream::Output, Stream::Error] {
            while move_out(&self.order, &self.host, stream, self.stdio, &self.outbox) {}
        }
    }
}

struct Pump {
    order: Order,
    host: Arc<HostSide>,
    parker: Arc<Parker>,
    closing: Arc<AtomicBool>,
    outbox: Arc<Outbox>,
    stdio: Stdio,
}

impl Pump {
    fn run(self) {
        let target: Arc<dyn Notify> = self.parker.clone();
        let _registration = self.host.queue().register(&target, Events::all());
        loop {
            let last = self.closing.load(Ordering::SeqCst);
            let mut moved = false;
            for stream in [Stream::Output, Stream::Error] {
                moved |= move_out(&self.order, &self.host, stream, self.stdio, &self.outbox);
            }
            if moved {
                continue;
            }
            if last {
                return;
            }
            self.parker.park(None);
        }
    }
}

/// Moves what one stream holds; true if there was anything.
fn move_out(order: &Order, host: &HostSide, stream: Stream, stdio: Stdio, outbox: &Outbox) -> bool {
    let _ordered = order.lock();
    let data = host.take_output(stream, BUFFER);
    if data.is_empty() {
        return false;
    }
    match stdio {
        Stdio::Inherit => {
            let written = match stream {
                Stream::Error => std::io::stderr().write_all(&data),
                _ => std::io::stdout()
                    .write_all(&data)
                    .and_then(|()| std::io::stdout().flush()),
            };
            if written.is_err() {
                // Nobody reads any more: the guest learns it as EPIPE.
                host.set_closed(stream);
            }
        }
        Stdio::Messages | Stdio::LogOnly => {
            let stream = if stream == Stream::Error {
                LogStream::Stderr
            } else {
                LogStream::Stdout
            };
            outbox.send(&FromSandbox::Log { stream, dropped: 0 }, &data);
        }
    }
    true
}

struct Feeder {
    host: Arc<HostSide>,
}

impl Feeder {
    fn copy_stdin(self) {
        let mut buffer = vec![0u8; BUFFER];
        loop {
            match std::io::stdin().read(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(n) => self.push(&buffer[..n]),
            }
        }
        self.host.set_closed(Stream::Input);
    }

    /// Gives the guest all of it, waiting for room.
    fn push(&self, mut data: &[u8]) {
        let parker = Arc::new(Parker::default());
        let target: Arc<dyn Notify> = parker.clone();
        let _registration = self.host.queue().register(&target, Events::all());
        loop {
            let n = self.host.push_input(data);
            data = &data[n..];
            if data.is_empty() {
                return;
            }
            parker.park(None);
        }
    }
}
