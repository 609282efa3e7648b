//! The side connection: says which events are taken, and says it itself.
//!
//! ```text
//!   Open ── a word cannot be written whole, or not in time ──▶ Closed: no event of the session begins any more
//! ```
//!
//! A reader that is gone or does nothing ends the session: events whose word was written are read as taken, those
//! whose word was not have not begun. Half a word at the end tells the reader that something may be missing.

use std::io::{self, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use parking_lot::Mutex;
use proto_node::{Taken, Unheard};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::Notify;

use crate::listen::Comer;

/// How long a word may wait for a reader that is not there just now. Readers do nothing else, so one that stalls has
/// been stopped; after the first such wait no other word of the session waits.
const PATIENCE: Timespec = Timespec {
    tv_sec: 5,
    tv_nsec: 0,
};

/// A side connection. It is closed when nothing of its session can be handed over any more: each event that may holds it.
pub(crate) struct Side {
    /// A leaf among locks.
    line: Mutex<Line>,
    patience: Timespec,
    closed: Notify,
}

enum Line {
    Unix(UnixStream),
    Tcp(TcpStream),
    Closed,
}

impl Side {
    pub(crate) fn new(comer: Comer) -> io::Result<Arc<Self>> {
        let line = match comer {
            Comer::Unix(stream) => Line::Unix(stream.into_std()?),
            Comer::Tcp(stream) => Line::Tcp(stream.into_std()?),
        };
        Self::with(line, PATIENCE)
    }

    fn with(line: Line, patience: Timespec) -> io::Result<Arc<Self>> {
        match &line {
            Line::Unix(stream) => stream.set_nonblocking(true)?,
            Line::Tcp(stream) => stream.set_nonblocking(true)?,
            Line::Closed => {}
        }
        Ok(Arc::new(Self {
            line: Mutex::new(line),
            patience,
            closed: Notify::new(),
        }))
    }

    /// What writes the number of an event when that is taken.
    pub(crate) fn taken(self: &Arc<Self>, event: u64) -> Taken {
        let side = Arc::clone(self);
        Taken::new(move || side.tell(event))
    }

    fn tell(&self, event: u64) -> Result<(), Unheard> {
        let mut line = self.line.lock();
        if matches!(*line, Line::Closed) {
            return Err(Unheard);
        }
        line.write(event, self.patience).map_err(|error| {
            tracing::warn!(%error, "nobody hears which events are taken: the session ends");
            *line = Line::Closed;
            self.closed.notify_one();
            Unheard
        })
    }

    /// Resolves when no word can be written any more.
    pub(crate) async fn closed(&self) {
        self.closed.notified().await;
    }
}

impl Line {
    /// Written by this call, not by a task later: what was written is read even if this process is killed now.
    fn write(&mut self, event: u64, patience: Timespec) -> io::Result<()> {
        let record = event.to_le_bytes();
        let mut rest = &record[..];
        while !rest.is_empty() {
            let written = match self {
                Self::Unix(stream) => stream.write(rest),
                Self::Tcp(stream) => stream.write(rest),
                Self::Closed => Err(io::ErrorKind::NotConnected.into()),
            };
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait(patience)?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn wait(&self, patience: Timespec) -> io::Result<()> {
        let descriptor = match self {
            Self::Unix(stream) => stream.as_fd(),
            Self::Tcp(stream) => stream.as_fd(),
            Self::Closed => return Err(io::ErrorKind::NotConnected.into()),
        };
        let mut polled = [PollFd::from_borrowed_fd(descriptor, PollFlags::OUT)];
        match poll(&mut polled, Some(&patience))? {
            0 => Err(io::ErrorKind::TimedOut.into()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;

    /// Two ends of a connection.
    fn pairs() -> Vec<(Line, Box<dyn Read>)> {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let far = TcpStream::connect(listener.local_addr().expect("an address")).expect("there");
        let (near, _) = listener.accept().expect("accepted");
        vec![
            (Line::Unix(ours), Box::new(theirs)),
            (Line::Tcp(near), Box::new(far)),
        ]
    }

    #[tokio::test]
    async fn a_word_that_nobody_reads_in_time_is_not_said_and_is_the_last() {
        for (line, mut reader) in pairs() {
            let patience = Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            let side = Side::with(line, patience).expect("a side");
            let said = (0..10_000_000)
                .take_while(|event| side.taken(*event).tell().is_ok())
                .count();
            side.closed().await;
            assert_eq!(side.taken(0).tell(), Err(Unheard));
            let mut heard = Vec::new();
            reader.read_to_end(&mut heard).expect("read");
            // Whole words, and perhaps the beginning of one that was not said.
            let (words, _) = heard.as_chunks::<8>();
            let words: Vec<_> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
            assert_eq!(words, (0..said as u64).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_word_to_a_reader_that_is_gone_is_not_said() {
        for (line, reader) in pairs() {
            let side = Side::with(line, PATIENCE).expect("a side");
            drop(reader);
            // What a port takes before it hears of that is nobody's event any more.
            let unheard = (0..1000).any(|event| side.taken(event).tell().is_err());
            assert!(unheard);
        }
    }
}
