//! One sandbox process and the socket to it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;
use std::time::Duration;

use host_sys::cgroup::Group;
use parking_lot::Mutex;
use proto_sandbox::frame::encode_head;
use proto_sandbox::rights::send_with_descriptors;
use proto_sandbox::{Decoder, FromSandbox, Message, ToSandbox};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::child::Child;
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
    socket: UnixStream,
    decoder: Decoder,
    buffer: Box<[u8]>,
    child: Child,
    said: Arc<Mutex<Vec<u8>>>,
    listening: JoinHandle<()>,
    /// Dropped after the process has ended.
    _group: Group,
}

impl SandboxProcess {
    /// A sandbox process in this control group.
    pub(crate) async fn spawn(spawner: &Spawner, group: Group) -> io::Result<Self> {
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let socket = UnixStream::from_std(ours)?;
        let (stderr, theirs_too) = io::pipe()?;
        let stderr = pipe::Receiver::from_owned_fd(stderr.into())?;
        let request = ForkRequest {
            socket: theirs.into(),
            stderr: theirs_too.into(),
            join: group.procs_files().to_vec(),
        };
        let child = spawner.spawn(request).await?;
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
            _group: group,
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
        let length = payload.iter().map(|part| part.len()).sum();
        let start = encode_head(head, length).map_err(io::Error::other)?;
        self.socket.write_all(&start).await?;
        for part in payload {
            self.socket.write_all(part).await?;
        }
        Ok(())
    }

    /// Sends a small message with descriptors.
    async fn send_descriptors(
        &mut self,
        head: &ToSandbox,
        payload: &[u8],
        descriptors: &[OwnedFd],
    ) -> io::Result<()> {
        let mut bytes = encode_head(head, payload.len()).map_err(io::Error::other)?;
        bytes.extend_from_slice(payload);
        let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        let socket = &self.socket;
        let sent = socket
            .async_io(Interest::WRITABLE, || {
                send_with_descriptors(socket, &bytes, &borrowed)
            })
            .await?;
        self.socket
            .write_all(bytes.get(sent..).unwrap_or_default())
            .await
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
        loop {
            if let Some(message) = self.decoder.next_message().map_err(io::Error::other)? {
                return Ok(Some(message));
            }
            self.socket.readable().await?;
            match self.socket.try_read(&mut self.buffer) {
                Ok(0) => return Ok(None),
                Ok(count) => self.decoder.push(&self.buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The sandbox was killed with messages of ours unread.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// Ends the process; what it said before can still be received.
    pub async fn kill_now(&mut self) {
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
