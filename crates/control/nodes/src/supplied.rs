//! A node that gets the code it lacks.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use proto_node::{
    Body, BoxFuture, Capacity, CapacityKind, CapacityView, Catalogue, Code, CodeError, CodeRef,
    FunctionSpec, Invoke, InvokeError, InvokeHead, LogRecord, LogSubscription, Logs, NoSnapshot,
    Node, Reply, Revision, Revisions, Taken, TargetError,
};
use tokio::sync::Mutex;

/// A node that gets the code it lacks before it prepares or runs anything of it.
pub struct Supplied<N: ?Sized> {
    catalogue: Arc<dyn Catalogue>,
    /// Held while code is on its way, so that it goes once and not once for each event.
    supplying: Mutex<()>,
    node: Arc<N>,
}

impl<N: Node + ?Sized> Supplied<N> {
    /// `node`, with code from `catalogue`.
    pub fn new(node: Arc<N>, catalogue: Arc<dyn Catalogue>) -> Self {
        Self {
            catalogue,
            supplying: Mutex::new(()),
            node,
        }
    }

    /// Gives the node `code` if it lacks it.
    pub async fn supply(&self, code: &CodeRef) -> Result<(), CodeError> {
        let _supplying = self.supplying.lock().await;
        if self.node.has_code(code.clone()).await {
            return Ok(());
        }
        let Some(archive) = self.catalogue.archive(code.clone()).await else {
            return Err(CodeError::Disk("the archive is lost".to_owned()));
        };
        let supplied = self.node.put_code(code.clone(), archive).await;
        match &supplied {
            Ok(()) => tracing::debug!(sha256 = code.sha256, "a node has got code"),
            Err(error) => tracing::warn!(sha256 = code.sha256, %error, "a node did not get code"),
        }
        supplied
    }
}

fn unsupplied(error: &CodeError) -> InvokeError {
    InvokeError::Sandbox(format!("the node has not got the function's code: {error}"))
}

impl<N: Node + ?Sized> Invoke for Supplied<N> {
    fn invoke(
        &self,
        function: Arc<FunctionSpec>,
        event: InvokeHead,
        body: Body,
        taken: Taken,
    ) -> BoxFuture<'_, Result<Reply, InvokeError>> {
        Box::pin(async move {
            let Some(again) = body.again() else {
                // It can be sent only once: the code goes ahead.
                let supplied = self.supply(&function.code).await;
                supplied.map_err(|error| unsupplied(&error))?;
                return self.node.invoke(function, event, body, taken).await;
            };
            let (first, second) = taken.split();
            let invoking = self
                .node
                .invoke(Arc::clone(&function), event.clone(), body, first);
            match invoking.await {
                Err(InvokeError::CodeMissing) => {}
                outcome => return outcome,
            }
            let supplied = self.supply(&function.code).await;
            supplied.map_err(|error| unsupplied(&error))?;
            self.node.invoke(function, event, again, second).await
        })
    }
}

impl<N: Node + ?Sized> Revisions for Supplied<N> {
    fn prepare(&self, function: Arc<FunctionSpec>) -> BoxFuture<'_, Result<(), NoSnapshot>> {
        Box::pin(async move {
            match self.supply(&function.code).await {
                Ok(()) => self.node.prepare(function).await,
                Err(CodeError::NoNode(reason)) => Err(NoSnapshot::NoNode(reason)),
                Err(error) => Err(NoSnapshot::NotStarted(error.to_string())),
            }
        })
    }

    fn has_snapshot(&self, function: Arc<FunctionSpec>) -> BoxFuture<'_, bool> {
        self.node.has_snapshot(function)
    }

    fn outdated(&self) -> BoxFuture<'_, BTreeSet<Revision>> {
        self.node.outdated()
    }

    fn forget(&self, revision: Revision) -> BoxFuture<'_, ()> {
        self.node.forget(revision)
    }

    fn keep_only(&self, revisions: BTreeSet<Revision>) -> BoxFuture<'_, ()> {
        self.node.keep_only(revisions)
    }
}

impl<N: Node + ?Sized> Code for Supplied<N> {
    fn has_code(&self, code: CodeRef) -> BoxFuture<'_, bool> {
        self.node.has_code(code)
    }

    fn put_code(&self, code: CodeRef, archive: Body) -> BoxFuture<'_, Result<(), CodeError>> {
        self.node.put_code(code, archive)
    }

    fn remove_code(&self, code: CodeRef) -> BoxFuture<'_, ()> {
        self.node.remove_code(code)
    }

    fn keep_code(&self, codes: BTreeSet<CodeRef>) -> BoxFuture<'_, ()> {
        self.node.keep_code(codes)
    }
}

impl<N: Node + ?Sized> Logs for Supplied<N> {
    fn subscribe(&self) -> LogSubscription {
        self.node.subscribe()
    }

    fn stored_logs(&self, function: &str, limit: usize) -> BoxFuture<'_, Vec<LogRecord>> {
        self.node.stored_logs(function, limit)
    }

    fn remove_logs(&self, function: &str) -> BoxFuture<'_, ()> {
        self.node.remove_logs(function)
    }
}

impl<N: Node + ?Sized> Capacity for Supplied<N> {
    fn view(&self) -> BoxFuture<'_, CapacityView> {
        self.node.view()
    }

    fn target(
        &self,
        function: Arc<FunctionSpec>,
        kind: CapacityKind,
        count: u32,
    ) -> BoxFuture<'_, Result<(), TargetError>> {
        Box::pin(async move {
            if let Err(error) = self.supply(&function.code).await {
                return Err(TargetError::NoNode(error.to_string()));
            }
            self.node.target(function, kind, count).await
        })
    }

    fn drain(&self, within: Duration) -> BoxFuture<'_, ()> {
        self.node.drain(within)
    }
}
