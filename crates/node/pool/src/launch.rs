//! The seam to whatever makes sandboxes.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;

use std::time::Duration;

use bytes::Bytes;
use proto_node::{BoxFuture, FunctionSpec, Revision, StartKind};
use proto_sandbox::{CapturedPages, FirstEvent, FromSandbox, Message, RefusalKind, ToSandbox};

use crate::decide::InstanceId;

/// Why no sandbox came to be.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// This machine has no interpreter or bootstrap for the runtime.
    #[error("runtime {runtime} is not available: {reason}")]
    RuntimeUnavailable {
        /// The function's runtime identifier.
        runtime: String,
        /// What is missing.
        reason: String,
    },
    /// A `provided` function has no `bootstrap` to run: its own fault.
    #[error("couldn't find valid bootstrap(s): {searched}")]
    InvalidEntrypoint {
        /// Where one was looked for.
        searched: String,
    },
    /// The sandbox process could not be started.
    #[error("the sandbox process could not be started")]
    Spawn(#[source] io::Error),
}

/// Why no shell was made.
#[derive(Debug, thiserror::Error)]
pub enum NoShell {
    /// The function has no snapshot that is any good.
    #[error("there is no snapshot to make a shell of")]
    NoSnapshot,
    /// The sandbox did not come to where it waits.
    #[error("{0}")]
    Refused(String),
}

/// Where a function stands that can be captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CapturePoint {
    /// It says that it can be captured, and waits in `restore/next` to be told to go on.
    Offered,
    /// It asks to be captured, and waits in a write to `/proc/rekindle/snapshot`. If that fails, another moment may do.
    Asked,
    /// It said nothing of snapshots and has asked for its first event.
    FirstEvent,
}

/// The event that an instance is started for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct First {
    /// Everything but its body.
    pub event: FirstEvent,
    /// Its body.
    pub body: Bytes,
}

/// Takes the event that waits for an instance which comes up, if one does. No other instance gets it then.
pub type TakeFirst<'a> = &'a mut (dyn FnMut() -> Option<First> + Send);

/// Makes sandboxes.
pub trait Launcher: Send + Sync + 'static {
    /// Starts a sandbox for one instance of `function`, whose log stream and hostname
    /// go by `stream`, and sends it `Start`: in the `shell` that was made before, if there is one, which is gone
    /// after this in any case. The messages before `Ready` come later by [`Link::receive`]. A sandbox that is restored may take its `first` event along: it says `Begun`, not
    /// `Ready`, where that was there. To one that starts cold it was not sent, even if it was taken.
    fn launch<'a>(
        &'a self,
        function: &'a FunctionSpec,
        stream: &'a str,
        shell: Option<InstanceId>,
        first: TakeFirst<'a>,
    ) -> BoxFuture<'a, Result<Box<dyn Link>, LaunchError>>;

    /// Makes a sandbox in which an instance of `function` can come up from its snapshot, and keeps it by this name.
    fn make_shell<'a>(
        &'a self,
        id: InstanceId,
        function: &'a FunctionSpec,
    ) -> BoxFuture<'a, Result<(), NoShell>>;

    /// Ends a shell; resolves when nothing of it is left.
    fn drop_shell(&self, id: InstanceId) -> BoxFuture<'_, ()>;

    /// Where to put a snapshot of `function`, which stands still at `moment`; none if there is to be
    /// none.
    fn capture<'a>(
        &'a self,
        function: &'a FunctionSpec,
        moment: CapturePoint,
    ) -> BoxFuture<'a, Option<Box<dyn Capture>>> {
        let _ = (function, moment);
        Box::pin(async { None })
    }

    /// Why no snapshot of `function` is tried any more, if that is so.
    fn given_up(&self, function: &FunctionSpec) -> Option<String> {
        let _ = function;
        None
    }

    /// An instance that grew out of what is [shared](Link::origin) with other functions did not come up: the next one
    /// shall start from the beginning.
    fn distrust(&self, function: &FunctionSpec) {
        let _ = function;
    }

    /// An instance that came from the snapshot of `function` broke before it could take an event. When that happens
    /// twice, and none [came up](Launcher::came_up) in between, there shall be no other from it.
    fn spoilt<'a>(&'a self, function: &'a FunctionSpec, reason: &'a str) -> BoxFuture<'a, ()> {
        let _ = (function, reason);
        Box::pin(async {})
    }

    /// An instance that came from the snapshot of `function` is ready for its first event.
    fn came_up(&self, function: &FunctionSpec) {
        let _ = function;
    }

    /// Whether new instances of `function` come from a snapshot.
    fn has_snapshot(&self, function: &FunctionSpec) -> bool {
        let _ = function;
        false
    }

    /// What the first restored instance of `function` wrote of its snapshot: for those after it.
    fn touched(&self, function: &FunctionSpec, hot: Bytes) {
        drop((function, hot));
    }

    /// No instance of `revision` will be made any more, and none is left.
    fn forget<'a>(&'a self, revision: &'a Revision) -> BoxFuture<'a, ()> {
        let _ = revision;
        Box::pin(async {})
    }

    /// There are no other revisions than these.
    fn keep_only(&self, revisions: BTreeSet<Revision>) -> BoxFuture<'_, ()> {
        let _ = revisions;
        Box::pin(async {})
    }

    /// Name and version of what runs `function`, for INIT_START (`python:3.11`).
    fn runtime_version(&self, function: &FunctionSpec) -> String;
}

/// A snapshot being made. Dropping it leaves nothing of it.
pub trait Capture: Send {
    /// Largest snapshot in bytes.
    fn max_bytes(&self) -> u64;

    /// What is captured came from this [origin](Link::origin): what is the same there need not be written.
    fn over<'a>(&'a mut self, origin: &'a str) -> BoxFuture<'a, ()> {
        let _ = origin;
        Box::pin(async {})
    }

    /// Which pages are written.
    fn pages(&self) -> CapturedPages {
        CapturedPages::All
    }

    /// The files that go with `Capture`.
    fn descriptors(&self) -> io::Result<Vec<OwnedFd>>;

    /// The sandbox has written it, `stood_still` long. Checks it and puts it in place; why not, if
    /// that fails.
    fn keep(self: Box<Self>, stood_still: Duration) -> BoxFuture<'static, Result<(), String>>;

    /// The sandbox did not.
    fn give_up(self: Box<Self>, kind: RefusalKind, reason: &str);
}

/// A running sandbox. Dropping it kills the sandbox.
pub trait Link: Send {
    /// How this sandbox comes up: from the beginning, or from a snapshot.
    fn start(&self) -> StartKind {
        StartKind::Cold
    }

    /// The snapshot of no function in particular that a sandbox which starts cold grew out of, in words that
    /// [`Capture::over`] understands.
    fn origin(&self) -> Option<String> {
        None
    }

    /// Sends a message with its payload.
    fn send(&mut self, head: ToSandbox, payload: Bytes) -> BoxFuture<'_, io::Result<()>>;

    /// Sends a message with descriptors.
    fn send_with(
        &mut self,
        head: ToSandbox,
        descriptors: Vec<OwnedFd>,
    ) -> BoxFuture<'_, io::Result<()>> {
        drop((head, descriptors));
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    /// The next message; `None` when the sandbox is gone. Dropping the future loses nothing.
    fn receive(&mut self) -> BoxFuture<'_, io::Result<Option<Message<FromSandbox>>>>;

    /// Kills the sandbox; what it said before can still be received.
    fn end_now(&mut self) -> BoxFuture<'_, ()>;

    /// Kills the sandbox and waits until nothing of it is left; what it said on its
    /// own standard error, for a person.
    fn kill(self: Box<Self>) -> BoxFuture<'static, String>;
}
