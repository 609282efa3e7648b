//! A sandbox process as the pool holds it: how it came up, and what it said before anybody listened.

use std::io;
use std::os::fd::OwnedFd;

use bytes::Bytes;
use node_pool::Link;
use node_sandboxes::SandboxProcess;
use proto_node::{BoxFuture, StartKind};
use proto_sandbox::{FromSandbox, Message, ToSandbox};

/// A sandbox with a guest; killed when dropped.
pub(crate) struct Launched {
    process: SandboxProcess,
    start: StartKind,
    /// What it grew out of.
    origin: Option<String>,
    /// A message that was read ahead.
    first: Option<Message<FromSandbox>>,
}

impl Launched {
    /// Started from the beginning.
    pub(crate) fn cold(process: SandboxProcess) -> Launched {
        Launched {
            process,
            start: StartKind::Cold,
            origin: None,
            first: None,
        }
    }

    /// Restored from a snapshot of the function; `first` is the first that it said.
    pub(crate) fn restored(process: SandboxProcess, first: Message<FromSandbox>) -> Launched {
        Launched {
            start: StartKind::Restored,
            first: Some(first),
            ..Launched::cold(process)
        }
    }

    /// It was restored from what is shared by functions, and now begins as one of them.
    pub(crate) fn grown_out_of(self, origin: String) -> Launched {
        Launched {
            start: StartKind::Cold,
            origin: Some(origin),
            ..self
        }
    }
}

impl Link for Launched {
    fn start(&self) -> StartKind {
        self.start
    }

    fn origin(&self) -> Option<String> {
        self.origin.clone()
    }

    fn send_with(
        &mut self,
        head: ToSandbox,
        descriptors: Vec<OwnedFd>,
    ) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move { self.process.send_all(&head, &[], &descriptors).await })
    }

    fn send(&mut self, head: ToSandbox, payload: Bytes) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move { self.process.send_message(&head, &[&payload]).await })
    }

    fn receive(&mut self) -> BoxFuture<'_, io::Result<Option<Message<FromSandbox>>>> {
        Box::pin(async move {
            match self.first.take() {
                Some(message) => Ok(Some(message)),
                None => self.process.receive_message().await,
            }
        })
    }

    fn end_now(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(self.process.kill_now())
    }

    fn kill(self: Box<Self>) -> BoxFuture<'static, String> {
        Box::pin(self.process.end())
    }
}
