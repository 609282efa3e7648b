//! Messages to the parent, from any thread, whole and in order.

use std::io::Write;
use std::os::unix::net::UnixStream;

use parking_lot::Mutex;
use proto_sandbox::{FromSandbox, write_message};

/// The sending half of the socket to the parent.
pub(crate) struct Outbox(Mutex<UnixStream>);

impl Outbox {
    pub(crate) fn new(socket: UnixStream) -> Outbox {
        Outbox(Mutex::new(socket))
    }

    /// Sends a message. A parent that is gone ends this process by other means, so errors only reach the log.
    pub(crate) fn send(&self, message: &FromSandbox, payload: &[u8]) {
        let mut socket = self.0.lock();
        let sent = write_message(&mut *socket, message, payload).map(|()| socket.flush());
        if let Err(error) = sent {
            tracing::debug!(%error, "the parent is gone");
        }
    }
}
