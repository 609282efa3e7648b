//! Descriptors that travel with a message.
//!
//! They ride on the first byte of their message (`SCM_RIGHTS`, unix(7)); which message takes how
//! many is [`crate::ToSandbox::descriptors`]. A reader collects them in the order in which they
//! come, which is the order of the messages.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;

use crate::frame::{FrameError, encode_head};

/// Most descriptors of one message.
pub const MAX_DESCRIPTORS: usize = 4;
/// Most descriptors that wait to be taken; more means that the sender does not keep the rules.
const MAX_WAITING: usize = 2 * MAX_DESCRIPTORS;

/// Sends a message with descriptors on a blocking socket.
pub fn write_with_descriptors<H: Serialize>(
    mut socket: &UnixStream,
    head: &H,
    payload: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> Result<(), FrameError> {
    let bytes = encode_head(head, payload.len())?;
    let sent = loop {
        match send_with_descriptors(socket, &bytes, descriptors) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => break other?,
        }
    };
    socket.write_all(bytes.get(sent..).unwrap_or_default())?;
    Ok(socket.write_all(payload)?)
}

/// Sends the first of some bytes, the descriptors with them; how many. What is left goes without.
pub fn send_with_descriptors(
    socket: impl AsFd,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if descriptors.len() > MAX_DESCRIPTORS
        || !(descriptors.is_empty() || control.push(SendAncillaryMessage::ScmRights(descriptors)))
    {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let part = [IoSlice::new(bytes)];
    Ok(sendmsg(socket, &part, &mut control, SendFlags::NOSIGNAL)?)
}

/// A blocking reader that keeps the descriptors it meets.
#[derive(Debug)]
pub struct RightsReader<'a> {
    socket: &'a UnixStream,
    waiting: VecDeque<OwnedFd>,
}

impl<'a> RightsReader<'a> {
    /// Reads from `socket`.
    pub fn new(socket: &'a UnixStream) -> Self {
        Self {
            socket,
            waiting: VecDeque::new(),
        }
    }

    /// What it reads from.
    pub fn socket(&self) -> &'a UnixStream {
        self.socket
    }

    /// The descriptors of the message that was just read; an error if they did not come.
    pub fn claim(&mut self, count: usize) -> io::Result<Vec<OwnedFd>> {
        if self.waiting.len() < count {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(self.waiting.drain(..count).collect())
    }
}

impl Read for RightsReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(
            self.socket,
            &mut [IoSliceMut::new(buffer)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.waiting.extend(descriptors);
            }
        }
        if self.waiting.len() > MAX_WAITING {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(received.bytes)
    }
}
