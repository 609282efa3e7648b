//! Standard input, output and error of a sandbox: bounded buffers whose other ends are on the host.
//!
//! A full output makes the guest wait; the host takes bytes when it is ready. With a terminal the
//! same host side types at and reads from a [`Terminal`].

use std::collections::VecDeque;
use std::sync::Arc;

use base_abi::structs::Stat;
use kernel_vfs::save::{FileState, LoadError, Saved, Saver, Unsavable, decode};
use kernel_vfs::{
    Errno, Events, File, Owned, Ownership, PollTable, Result, SetAttr, UserMemory, WaitQueue,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::anon::{pipe_owned, pipe_stat};
use crate::pty::{Slave, Terminal};

/// A standard stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stream {
    /// Descriptor 0.
    Input,
    /// Descriptor 1.
    Output,
    /// Descriptor 2.
    Error,
}

struct State {
    bytes: VecDeque<u8>,
    closed: bool,
}

/// One direction: a bounded buffer between guest and host.
struct Channel {
    limit: usize,
    state: Mutex<State>,
    guest: WaitQueue,
    host: WaitQueue,
}

impl Channel {
    fn new(limit: usize, host: &WaitQueue) -> Arc<Channel> {
        Arc::new(Channel {
            limit,
            state: Mutex::new(State {
                bytes: VecDeque::new(),
                closed: false,
            }),
            guest: WaitQueue::new(),
            host: host.clone(),
        })
    }

    /// Appends what fits.
    fn push(&self, data: &[u8]) -> usize {
        let mut state = self.state.lock();
        let n = data.len().min(self.limit.saturating_sub(state.bytes.len()));
        state.bytes.extend(data.iter().take(n));
        n
    }

    fn pop(&self, buf: &mut [u8]) -> usize {
        let mut state = self.state.lock();
        let n = buf.len().min(state.bytes.len());
        let taken = state.bytes.drain(..n);
        buf.iter_mut().zip(taken).for_each(|(to, from)| *to = from);
        n
    }

    fn len(&self) -> usize {
        self.state.lock().bytes.len()
    }

    fn closed(&self) -> bool {
        self.state.lock().closed
    }

    fn close(&self) {
        self.state.lock().closed = true;
        let all = Events::READABLE | Events::WRITABLE | Events::ALWAYS;
        self.guest.wake(all);
        self.host.wake(all);
    }
}

/// A guest's descriptor of a standard stream that is no terminal: to the guest, a pipe.
pub struct ConsoleFile {
    stream: Stream,
    channel: Arc<Channel>,
    ino: u64,
    owner: Arc<Ownership>,
}

impl ConsoleFile {
    /// Kind of its saved state.
    pub const KIND: &'static str = "console";

    /// The standard stream that a saved file was. What was typed and not yet read comes again; output
    /// belongs to the host from the moment it was written.
    ///
    /// # Errors
    /// [`LoadError::Malformed`].
    pub fn load(
        state: &FileState,
        standard: &StandardFiles,
    ) -> std::result::Result<Arc<dyn File>, LoadError> {
        let (stream, unread, closed, owned): (Stream, Vec<u8>, bool, Owned) =
            decode(&state.bytes, "a standard stream")?;
        let [input, output, error] = standard;
        let file = match stream {
            Stream::Input => input,
            Stream::Output => output,
            Stream::Error => error,
        };
        let any: &dyn std::any::Any = file.as_ref();
        let console = any.downcast_ref::<ConsoleFile>();
        if let Some(console) = console {
            console.owner.restore(owned);
        }
        if let Some(console) = console.filter(|_| stream == Stream::Input) {
            if console.channel.len() == 0 {
                console.channel.push(&unread);
            }
            if closed {
                console.channel.close();
            }
        }
        Ok(Arc::clone(file))
    }
}

impl File for ConsoleFile {
    fn save(&self, _saver: &mut Saver) -> std::result::Result<Saved, Unsavable> {
        let state = self.channel.state.lock();
        let unread: Vec<u8> = match self.stream {
            Stream::Input => state.bytes.iter().copied().collect(),
            Stream::Output | Stream::Error => Vec::new(),
        };
        let saved = (self.stream, unread, state.closed, self.owner.get());
        Saved::state(ConsoleFile::KIND, &saved)
    }

    fn stat(&self) -> Result<Stat> {
        Ok(pipe_stat(self.ino, &self.owner))
    }

    fn set_attr(&self, change: &SetAttr) -> Result<()> {
        self.owner.change(change);
        Ok(())
    }

    fn read_at(&self, _offset: u64, buf: &mut [u8]) -> Result<usize> {
        if self.stream != Stream::Input {
            return Err(Errno::EBADF);
        }
        if buf.is_empty() {
            return Ok(0);
        }
        let n = self.channel.pop(buf);
        if n == 0 && !self.channel.closed() {
            return Err(Errno::EAGAIN);
        }
        self.channel.host.wake(Events::WRITABLE);
        Ok(n)
    }

    fn write_at(&self, _offset: u64, data: &[u8]) -> Result<usize> {
        if self.stream == Stream::Input {
            return Err(Errno::EBADF);
        }
        if self.channel.closed() {
            return Err(Errno::EPIPE);
        }
        let n = self.channel.push(data);
        if n == 0 && !data.is_empty() {
            return Err(Errno::EAGAIN);
        }
        self.channel.host.wake(Events::READABLE);
        Ok(n)
    }

    fn poll(&self, table: &mut PollTable) -> Events {
        table.add(&self.channel.guest);
        let (len, closed) = (self.channel.len(), self.channel.closed());
        let mut ready = Events::empty();
        if self.stream == Stream::Input {
            ready.set(Events::READABLE, len > 0);
            ready.set(Events::HUP, closed);
        } else {
            ready.set(Events::WRITABLE, len < self.channel.limit);
            ready.set(Events::ERR, closed);
        }
        ready
    }

    fn ioctl(&self, memory: &dyn UserMemory, request: u32, arg: u64) -> Result<u64> {
        if request != base_abi::ioctl::FIONREAD {
            return Err(Errno::ENOTTY);
        }
        let bytes = i32::try_from(self.channel.len()).unwrap_or(i32::MAX);
        memory.write_bytes(arg, &bytes.to_le_bytes())?;
        Ok(0)
    }

    fn sync(&self) -> Result<()> {
        Err(Errno::EINVAL)
    }

    fn reopen(&self, _flags: u32) -> Result<Arc<dyn File>> {
        Ok(Arc::new(ConsoleFile {
            stream: self.stream,
            channel: Arc::clone(&self.channel),
            ino: self.ino,
            owner: Arc::clone(&self.owner),
        }))
    }

    fn anonymous_name(&self) -> String {
        format!("pipe:[{}]", self.ino)
    }
}

enum Backing {
    Channels([Arc<Channel>; 3]),
    Terminal(Arc<Terminal>),
}

/// The host's end of the standard streams.
pub struct HostSide {
    backing: Backing,
    queue: WaitQueue,
}

/// The three files of a new process, in the order of their descriptors.
pub type StandardFiles = [Arc<dyn File>; 3];

impl HostSide {
    /// Streams with buffers of `limit` bytes each; `inos` number them, `owner` is the user and group that they belong to.
    #[must_use]
    pub fn streams(limit: usize, inos: [u64; 3], owner: [u32; 2]) -> (HostSide, StandardFiles) {
        let queue = WaitQueue::new();
        let channels = [(); 3].map(|()| Channel::new(limit, &queue));
        let [input, output, error] = channels.clone();
        let [a, b, c] = inos;
        let file = |stream, channel, ino| -> Arc<dyn File> {
            Arc::new(ConsoleFile {
                stream,
                channel,
                ino,
                owner: Arc::new(Ownership::new(pipe_owned(owner))),
            })
        };
        let files = [
            file(Stream::Input, input, a),
            file(Stream::Output, output, b),
            file(Stream::Error, error, c),
        ];
        (
            HostSide {
                backing: Backing::Channels(channels),
                queue,
            },
            files,
        )
    }

    /// One terminal for all three streams.
    ///
    /// # Errors
    /// As [`Slave::open`].
    pub fn terminal(terminal: &Arc<Terminal>) -> Result<(HostSide, StandardFiles)> {
        let slave: Arc<dyn File> = Slave::open(terminal, None, base_abi::general::O_NOCTTY)?;
        let files = [Arc::clone(&slave), Arc::clone(&slave), slave];
        let host = HostSide {
            queue: terminal.host_queue().clone(),
            backing: Backing::Terminal(Arc::clone(terminal)),
        };
        Ok((host, files))
    }

    /// Woken when the guest wrote, made room in its input, or closed; for the pump thread.
    #[must_use]
    pub fn queue(&self) -> &WaitQueue {
        &self.queue
    }

    /// Gives the guest input; returns how much fitted.
    pub fn push_input(&self, data: &[u8]) -> usize {
        match &self.backing {
            Backing::Channels([input, ..]) => {
                let n = input.push(data);
                input.guest.wake(Events::READABLE);
                n
            }
            Backing::Terminal(terminal) => terminal.master_write(data).unwrap_or(0),
        }
    }

    /// Takes up to `max` bytes that the guest wrote; a terminal has one screen, [`Stream::Output`].
    #[must_use]
    pub fn take_output(&self, stream: Stream, max: usize) -> Vec<u8> {
        let mut buf = vec![0; max];
        let n = match (&self.backing, stream) {
            (Backing::Channels([_, output, _]), Stream::Output) => take(output, &mut buf),
            (Backing::Channels([_, _, error]), Stream::Error) => take(error, &mut buf),
            (Backing::Terminal(terminal), Stream::Output) => {
                terminal.master_read(&mut buf).unwrap_or(0)
            }
            _ => 0,
        };
        buf.truncate(n);
        buf
    }

    /// Ends a stream: the guest reads an end of file, or gets `EPIPE`. A terminal hangs up.
    pub fn set_closed(&self, stream: Stream) {
        match (&self.backing, stream) {
            (Backing::Channels([input, ..]), Stream::Input) => input.close(),
            (Backing::Channels([_, output, _]), Stream::Output) => output.close(),
            (Backing::Channels([_, _, error]), Stream::Error) => error.close(),
            (Backing::Terminal(terminal), _) => terminal.hang_up(),
        }
    }
}

fn take(channel: &Channel, buf: &mut [u8]) -> usize {
    let n = channel.pop(buf);
    if n > 0 {
        channel.guest.wake(Events::WRITABLE);
    }
    n
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Counter, FakeClock};

    #[test]
    fn output_is_bounded_and_flows() {
        let (host, [_, out, err]) = HostSide::streams(4, [1, 2, 3], [0; 2]);
        let pump = Counter::new();
        let waiter: Arc<dyn kernel_vfs::Notify> = pump.clone();
        let _kept = host.queue().register(&waiter, Events::all());
        assert_eq!(out.write_at(0, b"hello"), Ok(4));
        assert_eq!(pump.count(), 1);
        assert_eq!(out.write_at(0, b"o"), Err(Errno::EAGAIN));
        assert_eq!(out.poll(&mut PollTable::look()), Events::empty());
        assert_eq!(host.take_output(Stream::Output, 3), b"hel");
        assert_eq!(out.poll(&mut PollTable::look()), Events::WRITABLE);
        err.write_at(0, b"e").unwrap();
        assert_eq!(host.take_output(Stream::Error, 9), b"e");
        host.set_closed(Stream::Output);
        assert_eq!(out.write_at(0, b"x"), Err(Errno::EPIPE));
        assert_eq!(
            out.ioctl(&kernel_vfs::NoMemory, base_abi::ioctl::TCGETS, 0),
            Err(Errno::ENOTTY)
        );
    }

    #[test]
    fn input_waits_and_ends() {
        let (host, [input, ..]) = HostSide::streams(4, [1, 2, 3], [0; 2]);
        let mut buf = [0; 8];
        assert_eq!(input.read_at(0, &mut buf), Err(Errno::EAGAIN));
        assert_eq!(host.push_input(b"abcdef"), 4);
        assert_eq!(input.read_at(0, &mut buf), Ok(4));
        host.set_closed(Stream::Input);
        assert_eq!(input.poll(&mut PollTable::look()), Events::HUP);
        assert_eq!(input.read_at(0, &mut buf), Ok(0));
    }

    #[test]
    fn a_terminal_echoes_and_delivers_lines() {
        let jobs = Arc::new(crate::pty::NoJobs);
        let terminal = Terminal::new(None, jobs, FakeClock::new(0));
        let (host, [input, output, _]) = HostSide::terminal(&terminal).unwrap();
        assert_eq!(host.push_input(b"ls\r"), 3);
        assert_eq!(input.read_at(0, &mut [0; 8]), Ok(3));
        output.write_at(0, b"ok\n").unwrap();
        assert_eq!(host.take_output(Stream::Output, 99), b"ls\r\nok\r\n");
    }
}
