//! One sandbox process and the socket to it.

use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use proto_sandbox::frame::encode_head;
use proto_sandbox::rights::send_with_descriptors;
use proto_sandbox::{Decoder, FromSandbox, Message, ToSandbox};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::child::Child;
use crate::favour::{self, Favour, Standing};
use crate::spawner::{ForkRequest, Spawner};

/// Bytes of a sandbox's standard error that are kept, the last ones.
const STDERR_KEPT: usize = 8 * 1024;
/// How long the rest of standard error is waited for after the end.
const STDERR_GRACE: Duration = Duration::from_millis(100);
/// Bytes read from the socket at once.
const READ_SIZE: usize = 64 * 1024;

/// A sandbox process; killed when dropped.
#[derive(Debug)]
pub struct SandboxProcess {
    /// Watched for what can be read alone: a socket is writable again whenever the other side has read, and each time
    /// a worker would wake for nothing. See [`SandboxProcess::writable`].
    socket: AsyncFd<StdUnixStream>,
    decoder: Decoder,
    buffer: Box<[u8]>,
    child: Child,
    said: Arc<Mutex<Vec<u8>>>,
    listening: JoinHandle<()>,
    standing: Standing,
    /// With its control group: dropped after the process has ended.
    favour: Arc<Favour>,
}

impl SandboxProcess {
    /// A sandbox process in this control group.
    pub(crate) async fn spawn(spawner: &Spawner, favour: Arc<Favour>) -> io::Result<Self> {
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let socket = watched(ours, Interest::READABLE)?;
        let (stderr, theirs_too) = io::pipe()?;
        let stderr = pipe::Receiver::from_owned_fd(stderr.into())?;
        let request = ForkRequest {
            socket: theirs.into(),
            stderr: theirs_too.into(),
            join: favour.group().procs_files().to_vec(),
        };
        let child = spawner.spawn(request).await?;
        favour.is_for(child.id());
        let said = Arc::new(Mutex::new(Vec::new()));
        let listening = tokio::spawn(listen(stderr, Arc::clone(&said)));
        let buffer = vec![0; READ_SIZE].into_boxed_slice();
        Ok(Self {
            socket,
            decoder: Decoder::default(),
            buffer,
            child,
            said,
            listening,
            standing: Standing::Made,
            favour,
        })
    }

    /// Its process id; none after its end was noticed.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Sends a message whose payload is these parts, one after the other.
    ///
    /// # Errors
    /// When the process does not listen any more.
    pub async fn send_message(&mut self, head: &ToSandbox, payload: &[&[u8]]) -> io::Result<()> {
        self.begin(head);
        let length = payload.iter().map(|part| part.len()).sum();
        let start = encode_head(head, length).map_err(io::Error::other)?;
        let mut parts = Vec::with_capacity(1 + payload.len());
        parts.push(IoSlice::new(&start));
        parts.extend(payload.iter().map(|part| IoSlice::new(part)));
        self.write_all(&mut parts).await
    }

    /// Notes that it has something to do from now on, if this message says so.
    fn begin(&mut self, head: &ToSandbox) {
        if self.standing == Standing::Made && favour::begins(head) {
            self.standing = Standing::Starting;
            self.favour.limit();
        }
    }

    /// Notes that it has answered, and does what follows from that when the answer is on its way.
    fn heard(&mut self, message: &FromSandbox) {
        if self.standing == Standing::Starting && favour::answers(message) {
            self.standing = Standing::Answered;
        }
    }

    /// Writes all parts, as few times as it can: the sandbox wakes once for a message that fits.
    async fn write_all(&self, mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        // Empty parts at the start are gone after this, so that writing nothing means that nobody reads.
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            match self.socket.get_ref().write_vectored(parts) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => IoSlice::advance_slices(&mut parts, count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable().await?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits until the socket takes more, by a registration that lasts as long as the wait.
    async fn writable(&self) -> io::Result<()> {
        let same = watched(self.socket.get_ref().try_clone()?, Interest::WRITABLE)?;
        same.writable().await?.retain_ready();
        Ok(())
    }

    /// Sends a small message with descriptors.
    async fn send_descriptors(
        &mut self,
        head: &ToSandbox,
        payload: &[u8],
        descriptors: &[OwnedFd],
    ) -> io::Result<()> {
        self.begin(head);
        let mut bytes = encode_head(head, payload.len()).map_err(io::Error::other)?;
        bytes.extend_from_slice(payload);
        let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        let sent = loop {
            match send_with_descriptors(self.socket.get_ref(), &bytes, &borrowed) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable().await?,
                sent => break sent?,
            }
        };
        let rest = bytes.get(sent..).unwrap_or_default();
        self.write_all(&mut [IoSlice::new(rest)]).await
    }

    /// Sends a message, with descriptors if there are some.
    ///
    /// # Errors
    /// When the process does not listen any more.
    pub async fn send_all(
        &mut self,
        head: &ToSandbox,
        payload: &[u8],
        descriptors: &[OwnedFd],
    ) -> io::Result<()> {
        if descriptors.is_empty() {
            return self.send_message(head, &[payload]).await;
        }
        self.send_descriptors(head, payload, descriptors).await
    }

    /// The next message; none when the process is gone. Dropping the future loses nothing: bytes are taken only when
    /// there is no more waiting.
    ///
    /// # Errors
    /// When what comes is no message.
    pub async fn receive_message(&mut self) -> io::Result<Option<Message<FromSandbox>>> {
        if self.standing == Standing::Answered {
            self.standing = Standing::Usual;
            self.favour.end();
        }
        loop {
            if let Some(message) = self.decoder.next_message().map_err(io::Error::other)? {
                self.heard(&message.head);
                return Ok(Some(message));
            }
            let mut ready = self.socket.readable().await?;
            match ready.try_io(|socket| socket.get_ref().read(&mut self.buffer)) {
                Ok(Ok(0)) => return Ok(None),
                Ok(Ok(count)) => self.decoder.push(&self.buffer[..count]),
                // The sandbox was killed with messages of ours unread.
                Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Ok(None);
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Err(error),
                Err(_would_block) => {}
            }
        }
    }

    /// Ends the process; what it said before can still be received.
    pub async fn kill_now(&mut self) {
        self.favour.gone();
        if let Err(error) = self.child.kill().await {
            tracing::error!(%error, "a sandbox process could not be killed");
        }
    }

    /// Ends the process and waits until it is gone; what it said on its own standard error, for a person.
    pub async fn end(mut self) -> String {
        self.kill_now().await;
        let _ = timeout(STDERR_GRACE, &mut self.listening).await;
        self.listening.abort();
        let said = std::mem::take(&mut *self.said.lock());
        String::from_utf8_lossy(&said).trim_end().to_owned()
    }
}

/// A socket that is watched for this and nothing else.
#[expect(
    deprecated,
    reason = "what replaced it is unsafe, for types whose descriptor changes; that of std's socket does not"
)]
fn watched(socket: StdUnixStream, interest: Interest) -> io::Result<AsyncFd<StdUnixStream>> {
    AsyncFd::with_interest(socket, interest)
}

/// Reads standard error to its end and keeps the last of it.
async fn listen(mut stderr: pipe::Receiver, said: Arc<Mutex<Vec<u8>>>) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stderr.read(&mut buffer).await {
        let mut said = said.lock();
        said.extend_from_slice(&buffer[..count]);
        let over = said.len().saturating_sub(STDERR_KEPT);
        said.drain(..over);
    }
}
