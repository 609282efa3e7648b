//! The side connection: says which events are taken, and says it itself.

use std::io::{self, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use parking_lot::Mutex;
use proto_node::Taken;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::listen::Comer;

/// How long a word may wait for a reader that is not there just now. Readers do nothing else, so one that stalls has
/// been stopped.
const PATIENCE: Timespec = Timespec {
    tv_sec: 5,
    tv_nsec: 0,
};

/// A side connection. It is closed when nothing of its session can be handed over any more: each event that may holds it.
pub(crate) struct Side(Mutex<Line>);

enum Line {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Side {
    pub(crate) fn new(comer: Comer) -> io::Result<Arc<Self>> {
        let line = match comer {
            Comer::Unix(stream) => {
                let stream = stream.into_std()?;
                stream.set_nonblocking(true)?;
                Line::Unix(stream)
            }
            Comer::Tcp(stream) => {
                let stream = stream.into_std()?;
                stream.set_nonblocking(true)?;
                Line::Tcp(stream)
            }
        };
        Ok(Arc::new(Self(Mutex::new(line))))
    }

    /// What writes the number of an event when that is taken.
    pub(crate) fn taken(self: &Arc<Self>, event: u64) -> Taken {
        let side = Arc::clone(self);
        Taken::new(move || {
            if let Err(error) = side.0.lock().write(event) {
                // Whoever should read it is gone, and with it who waits for the event.
                tracing::debug!(%error, "nobody hears that an event is taken");
            }
        })
    }
}

impl Line {
    /// Written by this call, not by a task later: what was written is read even if this process is killed now.
    fn write(&mut self, event: u64) -> io::Result<()> {
        let record = event.to_le_bytes();
        let mut rest = &record[..];
        while !rest.is_empty() {
            let written = match self {
                Self::Unix(stream) => stream.write(rest),
                Self::Tcp(stream) => stream.write(rest),
            };
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait()?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn wait(&self) -> io::Result<()> {
        let descriptor = match self {
            Self::Unix(stream) => stream.as_fd(),
            Self::Tcp(stream) => stream.as_fd(),
        };
        let mut polled = [PollFd::from_borrowed_fd(descriptor, PollFlags::OUT)];
        match poll(&mut polled, Some(&PATIENCE))? {
            0 => Err(io::ErrorKind::TimedOut.into()),
            _ => Ok(()),
        }
    }
}
