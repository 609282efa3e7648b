//! Nodes put together from parts, and parts that do nothing: for tests of one role.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::{
    Body, BoxFuture, Capacity, CapacityKind, CapacityView, Code, CodeError, CodeRef, FunctionSpec,
    Heard, Invoke, InvokeError, InvokeHead, LogRecord, LogSource, LogSubscription, Logs,
    NoSnapshot, Reply, Revision, Revisions, Taken, TargetError,
};

/// A part that has nothing and makes nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nothing;

impl Invoke for Nothing {
    fn invoke(
        &self,
        _: Arc<FunctionSpec>,
        _: InvokeHead,
        _: Body,
        _: Taken,
    ) -> BoxFuture<'_, Result<Reply, InvokeError>> {
        Box::pin(async { Err(InvokeError::ShuttingDown) })
    }
}

impl Revisions for Nothing {
    fn prepare(&self, _: Arc<FunctionSpec>) -> BoxFuture<'_, Result<(), NoSnapshot>> {
        let reason = "this node makes no snapshots".to_owned();
        Box::pin(async { Err(NoSnapshot::GivenUp(reason)) })
    }

    fn has_snapshot(&self, _: Arc<FunctionSpec>) -> BoxFuture<'_, bool> {
        Box::pin(async { false })
    }

    fn outdated(&self) -> BoxFuture<'_, BTreeSet<Revision>> {
        Box::pin(async { BTreeSet::new() })
    }

    fn forget(&self, _: Revision) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    fn keep_only(&self, _: BTreeSet<Revision>) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

impl Code for Nothing {
    fn has_code(&self, _: CodeRef) -> BoxFuture<'_, bool> {
        Box::pin(async { false })
    }

    fn put_code(&self, _: CodeRef, archive: Body) -> BoxFuture<'_, Result<(), CodeError>> {
        drop(archive);
        Box::pin(async { Ok(()) })
    }

    fn remove_code(&self, _: CodeRef) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    fn keep_code(&self, _: BTreeSet<CodeRef>) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// A subscription to which nothing ever comes.
struct Silence;

impl LogSource for Silence {
    fn next(&mut self) -> BoxFuture<'_, Option<Heard>> {
        Box::pin(std::future::pending())
    }
}

impl Logs for Nothing {
    fn subscribe(&self) -> LogSubscription {
        LogSubscription::new(Silence)
    }

    fn stored_logs(&self, _: &str, _: usize) -> BoxFuture<'_, Vec<LogRecord>> {
        Box::pin(async { Vec::new() })
    }

    fn remove_logs(&self, _: &str) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

impl Capacity for Nothing {
    fn view(&self) -> BoxFuture<'_, CapacityView> {
        Box::pin(async { CapacityView::default() })
    }

    fn target(
        &self,
        _: Arc<FunctionSpec>,
        kind: CapacityKind,
        _: u32,
    ) -> BoxFuture<'_, Result<(), TargetError>> {
        Box::pin(async move { Err(TargetError::Kind(kind)) })
    }

    fn drain(&self, _: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// A node put together from parts, one for each role.
#[derive(Clone)]
pub struct Parts {
    /// Runs events.
    pub invoke: Arc<dyn Invoke>,
    /// Keeps revisions.
    pub revisions: Arc<dyn Revisions>,
    /// Keeps code.
    pub code: Arc<dyn Code>,
    /// Keeps logs.
    pub logs: Arc<dyn Logs>,
    /// Tells what there is.
    pub capacity: Arc<dyn Capacity>,
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            invoke: Arc::new(Nothing),
            revisions: Arc::new(Nothing),
            code: Arc::new(Nothing),
            logs: Arc::new(Nothing),
            capacity: Arc::new(Nothing),
        }
    }
}

impl Invoke for Parts {
    fn invoke(
        &self,
        function: Arc<FunctionSpec>,
        event: InvokeHead,
        body: Body,
        taken: Taken,
    ) -> BoxFuture<'_, Result<Reply, InvokeError>> {
        self.invoke.invoke(function, event, body, taken)
    }
}

impl Revisions for Parts {
    fn prepare(&self, function: Arc<FunctionSpec>) -> BoxFuture<'_, Result<(), NoSnapshot>> {
        self.revisions.prepare(function)
    }

    fn has_snapshot(&self, function: Arc<FunctionSpec>) -> BoxFuture<'_, bool> {
        self.revisions.has_snapshot(function)
    }

    fn outdated(&self) -> BoxFuture<'_, BTreeSet<Revision>> {
        self.revisions.outdated()
    }

    fn forget(&self, revision: Revision) -> BoxFuture<'_, ()> {
        self.revisions.forget(revision)
    }

    fn keep_only(&self, revisions: BTreeSet<Revision>) -> BoxFuture<'_, ()> {
        self.revisions.keep_only(revisions)
    }
}

impl Code for Parts {
    fn has_code(&self, code: CodeRef) -> BoxFuture<'_, bool> {
        self.code.has_code(code)
    }

    fn put_code(&self, code: CodeRef, archive: Body) -> BoxFuture<'_, Result<(), CodeError>> {
        self.code.put_code(code, archive)
    }

    fn remove_code(&self, code: CodeRef) -> BoxFuture<'_, ()> {
        self.code.remove_code(code)
    }

    fn keep_code(&self, codes: BTreeSet<CodeRef>) -> BoxFuture<'_, ()> {
        self.code.keep_code(codes)
    }
}

impl Logs for Parts {
    fn subscribe(&self) -> LogSubscription {
        self.logs.subscribe()
    }

    fn stored_logs(&self, function: &str, limit: usize) -> BoxFuture<'_, Vec<LogRecord>> {
        self.logs.stored_logs(function, limit)
    }

    fn remove_logs(&self, function: &str) -> BoxFuture<'_, ()> {
        self.logs.remove_logs(function)
    }
}

impl Capacity for Parts {
    fn view(&self) -> BoxFuture<'_, CapacityView> {
        self.capacity.view()
    }

    fn target(
        &self,
        function: Arc<FunctionSpec>,
        kind: CapacityKind,
        count: u32,
    ) -> BoxFuture<'_, Result<(), TargetError>> {
        self.capacity.target(function, kind, count)
    }

    fn drain(&self, within: Duration) -> BoxFuture<'_, ()> {
        self.capacity.drain(within)
    }
}
