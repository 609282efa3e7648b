//! What the owner of a sandbox waits for: messages of the node, and notices of the guest.

use std::io::{self, BufReader};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use proto_sandbox::{FrameError, Message, RightsReader, ToSandbox, read_message};
use rustix::event::{PollFd, PollFlags, poll};

use crate::notices::{Notice, Notices};

/// Bytes read at once: a message with its header and a small event is one read.
const READ_SIZE: usize = 8 * 1024;

/// Something for the owner to act on.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one at a time, on the stack of the owner"
)]
pub(crate) enum InboxItem {
    Notice(Notice),
    Message(Message<ToSandbox>),
    /// The node is gone, or says what nobody understands. Comes once.
    NodeGone,
}

/// The owner's ear.
pub(crate) struct Inbox<'s> {
    reader: BufReader<RightsReader<'s>>,
    socket: &'s UnixStream,
    notices: Arc<Notices>,
    node: NodeEnd,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum NodeEnd {
    There,
    Gone,
}

impl<'s> Inbox<'s> {
    pub(crate) fn new(socket: &'s UnixStream, notices: Arc<Notices>) -> Inbox<'s> {
        Inbox {
            reader: BufReader::with_capacity(READ_SIZE, RightsReader::new(socket)),
            socket,
            notices,
            node: NodeEnd::There,
        }
    }

    /// Where notices for it are told.
    pub(crate) fn notices(&self) -> &Arc<Notices> {
        &self.notices
    }

    /// The next message, while no guest runs; none when the node is gone.
    pub(crate) fn message(&mut self) -> Result<Option<Message<ToSandbox>>, FrameError> {
        read_message(&mut self.reader)
    }

    /// The descriptors of the message that was just read.
    pub(crate) fn claim(&mut self, count: usize) -> io::Result<Vec<OwnedFd>> {
        self.reader.get_mut().claim(count)
    }

    /// Waits for what comes next; notices first, since the node's next message is an answer to what came before.
    pub(crate) fn next(&mut self) -> InboxItem {
        loop {
            if let Some(notice) = self.notices.take() {
                return InboxItem::Notice(notice);
            }
            if !(self.reader.buffer().is_empty() && self.wait() == Ready::Nothing) {
                match self.message() {
                    Ok(Some(message)) => return InboxItem::Message(message),
                    Ok(None) | Err(_) => {
                        self.node = NodeEnd::Gone;
                        return InboxItem::NodeGone;
                    }
                }
            }
        }
    }

    /// Waits until something may be there.
    fn wait(&self) -> Ready {
        let mut polled = [
            PollFd::from_borrowed_fd(self.notices.wake(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::IN),
        ];
        let heard = match self.node {
            NodeEnd::There => &mut polled[..],
            NodeEnd::Gone => &mut polled[..1],
        };
        // An interrupted wait found nothing.
        let _ = poll(heard, None);
        let [notices, socket] = polled.map(|polled| !polled.revents().is_empty());
        if notices {
            self.notices.awake();
            return Ready::Nothing;
        }
        if socket {
            Ready::Message
        } else {
            Ready::Nothing
        }
    }
}

/// Whether the node said something.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ready {
    Message,
    /// Nothing, or notices go first.
    Nothing,
}
