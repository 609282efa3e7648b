//! What is done at every node that is there: revisions, code, logs, capacity.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use proto_node::{
    Body, BoxFuture, Capacity, CapacityKind, CapacityView, Code, CodeError, CodeRef, FunctionSpec,
    LogRecord, LogSubscription, Logs, NoSnapshot, Revision, Revisions, TargetError,
};

use crate::nodes::Nodes;
use crate::sum::add;

impl Revisions for Nodes {
    /// At every node that is there; one that has a snapshot is enough.
    fn prepare(&self, function: Arc<FunctionSpec>) -> BoxFuture<'_, Result<(), NoSnapshot>> {
        Box::pin(async move {
            let revision = function.revision.clone();
            let prepared = self
                .everywhere(|member| {
                    let (function, revision) = (Arc::clone(&function), revision.clone());
                    async move {
                        let prepared = member.node.prepare(function).await;
                        if prepared.is_ok() {
                            member.has_prepared(&revision);
                        }
                        prepared
                    }
                })
                .await;
            let nobody = Err(NoSnapshot::NoNode("no node is connected".to_owned()));
            let all = prepared.into_iter();
            all.reduce(|one, other| if one.is_ok() { one } else { other })
                .unwrap_or(nobody)
        })
    }

    fn has_snapshot(&self, function: Arc<FunctionSpec>) -> BoxFuture<'_, bool> {
        Box::pin(async move {
            let has = self
                .everywhere(|member| {
                    let function = Arc::clone(&function);
                    async move { member.remote.has_snapshot(function).await }
                })
                .await;
            has.contains(&true)
        })
    }

    /// Each node that comes is asked for itself.
    fn outdated(&self) -> BoxFuture<'_, BTreeSet<Revision>> {
        Box::pin(async { BTreeSet::new() })
    }

    fn forget(&self, revision: Revision) -> BoxFuture<'_, ()> {
        for member in &self.members {
            member.forgets(&revision);
        }
        Box::pin(async move {
            self.everywhere(|member| {
                let revision = revision.clone();
                async move { member.remote.forget(revision).await }
            })
            .await;
        })
    }

    fn keep_only(&self, revisions: BTreeSet<Revision>) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.everywhere(|member| {
                let revisions = revisions.clone();
                async move { member.remote.keep_only(revisions).await }
            })
            .await;
        })
    }
}

impl Code for Nodes {
    /// At every node that is there.
    fn has_code(&self, code: CodeRef) -> BoxFuture<'_, bool> {
        Box::pin(async move {
            let has = self
                .everywhere(|member| {
                    let code = code.clone();
                    async move { member.remote.has_code(code).await }
                })
                .await;
            !has.is_empty() && !has.contains(&false)
        })
    }

    /// Each node gets it from the catalogue; `archive` is not read.
    fn put_code(&self, code: CodeRef, archive: Body) -> BoxFuture<'_, Result<(), CodeError>> {
        drop(archive);
        Box::pin(async move {
            let put = self
                .everywhere(|member| {
                    let code = code.clone();
                    async move { member.node.supply(&code).await }
                })
                .await;
            let nobody = Err(CodeError::NoNode("no node is connected".to_owned()));
            put.into_iter()
                .reduce(|one, other| one.and(other))
                .unwrap_or(nobody)
        })
    }

    fn remove_code(&self, code: CodeRef) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.everywhere(|member| {
                let code = code.clone();
                async move { member.remote.remove_code(code).await }
            })
            .await;
        })
    }

    fn keep_code(&self, codes: BTreeSet<CodeRef>) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.everywhere(|member| {
                let codes = codes.clone();
                async move { member.remote.keep_code(codes).await }
            })
            .await;
        })
    }
}

impl Logs for Nodes {
    fn subscribe(&self) -> LogSubscription {
        LogSubscription::new(self.logs.subscribe())
    }

    fn stored_logs(&self, function: &str, limit: usize) -> BoxFuture<'_, Vec<LogRecord>> {
        let function = function.to_owned();
        Box::pin(async move {
            let stored = self
                .everywhere(|member| {
                    let function = function.clone();
                    async move { member.remote.stored_logs(&function, limit).await }
                })
                .await;
            let mut records: Vec<_> = stored.into_iter().flatten().collect();
            records.sort_by_key(|record| record.timestamp_ms);
            let beyond = records.len().saturating_sub(limit);
            records.drain(..beyond);
            records
        })
    }

    fn remove_logs(&self, function: &str) -> BoxFuture<'_, ()> {
        for member in self.members.iter().filter(|member| !member.is_connected()) {
            member.owes(function);
        }
        let function = function.to_owned();
        Box::pin(async move {
            self.everywhere(|member| {
                let function = function.clone();
                async move { member.remote.remove_logs(&function).await }
            })
            .await;
        })
    }
}

impl Capacity for Nodes {
    /// All of them together.
    fn view(&self) -> BoxFuture<'_, CapacityView> {
        Box::pin(async {
            let views = self.everywhere(|member| async move { member.remote.view().await });
            let mut all = CapacityView::default();
            for view in views.await {
                add(&mut all, view);
            }
            all
        })
    }

    /// Shared out among the nodes that are there.
    fn target(
        &self,
        function: Arc<FunctionSpec>,
        kind: CapacityKind,
        count: u32,
    ) -> BoxFuture<'_, Result<(), TargetError>> {
        Box::pin(async move {
            let there: Vec<_> = self.there().map(Arc::clone).collect();
            let nodes = u32::try_from(there.len()).unwrap_or(u32::MAX);
            if nodes == 0 {
                return Err(TargetError::NoNode("no node is connected".to_owned()));
            }
            for (index, member) in (0..).zip(there) {
                let share = count / nodes + u32::from(index < count % nodes);
                member
                    .node
                    .target(Arc::clone(&function), kind, share)
                    .await?;
            }
            Ok(())
        })
    }

    /// Nodes elsewhere go on: others may use them.
    fn drain(&self, _: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}
