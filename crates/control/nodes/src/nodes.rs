//! Several nodes as one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use proto_node::{
    Begun, Body, BoxFuture, Capacity, CapacityGroup, CapacityKind, CapacityView, Catalogue, Code,
    CodeError, CodeRef, FunctionSpec, Invoke, InvokeError, InvokeHead, LOG_CHANNEL_RECORDS,
    LogRecord, LogSubscription, Logs, NoSnapshot, PieceSource, Pieces, Reply, ReplyPiece, Revision,
    Revisions, Taken, TargetError, ThrottleReason,
};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::address::Address;
use crate::choose::choose;
use crate::member::{self, Member, UnderWay};

/// How long a start waits for its nodes before it goes on without those that are not there.
const START_WITHIN: Duration = Duration::from_secs(3);

/// Several nodes as one. Dropping it lets go of them; what they run goes on.
pub struct Nodes {
    members: Vec<Arc<Member>>,
    logs: broadcast::Sender<Arc<LogRecord>>,
    /// Counts comings and goings.
    changed: watch::Receiver<u64>,
    turn: AtomicUsize,
    /// Connects them; ends with this.
    _keepers: JoinSet<()>,
}

impl Nodes {
    /// Nodes at these addresses, which want `token`. They are told what is in `catalogue`, and get code from there.
    /// Waits a little for them.
    pub async fn connect(
        addresses: BTreeSet<Address>,
        token: Option<String>,
        catalogue: Arc<dyn Catalogue>,
    ) -> Self {
        let (logs, _) = broadcast::channel(LOG_CHANNEL_RECORDS);
        let (changing, changed) = watch::channel(0);
        let mut keepers = JoinSet::new();
        let mut members = Vec::new();
        for address in addresses {
            let member = Member::new(address, token.clone(), Arc::clone(&catalogue));
            let member = Arc::new(member);
            members.push(Arc::clone(&member));
            let catalogue = Arc::clone(&catalogue);
            keepers.spawn(member::keep(
                member,
                catalogue,
                logs.clone(),
                changing.clone(),
            ));
        }
        let all = u64::try_from(members.len()).unwrap_or(u64::MAX);
        let mut coming = changed.clone();
        let there = timeout(START_WITHIN, coming.wait_for(|count| *count >= all));
        let there = there.await.is_ok();
        if !there {
            tracing::warn!("not every node is there yet");
        }
        Self {
            members,
            logs,
            changed,
            turn: AtomicUsize::new(0),
            _keepers: keepers,
        }
    }

    /// Addresses of the nodes that are connected now.
    pub fn connected(&self) -> Vec<&Address> {
        let there = self.there();
        there.map(|member| member.remote.address()).collect()
    }

    fn there(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.members.iter().filter(|member| member.is_connected())
    }

    fn choose(&self, revision: &Revision, tried: &BTreeSet<usize>) -> Option<&Arc<Member>> {
        let now = Instant::now();
        let mut views: Vec<_> = self
            .members
            .iter()
            .map(|it| it.look(revision, now))
            .collect();
        for index in tried {
            if let Some(view) = views.get_mut(*index) {
                view.tried = true;
            }
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        self.members.get(choose(&views, turn)?)
    }

    /// Finds a node for an event and hands it over; where it is turned away unrun, finds another.
    async fn run(
        &self,
        function: Arc<FunctionSpec>,
        mut head: InvokeHead,
        mut body: Body,
        mut taken: Taken,
    ) -> Result<Reply, InvokeError> {
        let deadline = Instant::now() + head.queue_time;
        let mut changed = self.changed.clone();
        let mut tried = BTreeSet::new();
        let mut refused = InvokeError::NodeLost { begun: Begun::No };
        loop {
            changed.mark_unchanged();
            let Some(member) = self.choose(&function.revision, &tried) else {
                // All that are there have turned it away; only if none is, another may come.
                let left = deadline.saturating_duration_since(Instant::now());
                let nobody = self.there().next().is_none();
                if !nobody || left.is_zero() || timeout(left, changed.changed()).await.is_err() {
                    return Err(refused);
                }
                tried.clear();
                continue;
            };
            let again = body.again();
            let (first, second) = std::mem::replace(&mut taken, Taken::nobody()).split();
            let under_way = member.begin(&function.revision);
            head.queue_time = deadline.saturating_duration_since(Instant::now());
            let invoking = member
                .node
                .invoke(Arc::clone(&function), head.clone(), body, first);
            let error = match invoking.await {
                Ok(reply) => return Ok(counted(reply, under_way)),
                Err(error) => error,
            };
            let elsewhere = matches!(
                error,
                InvokeError::NodeLost { begun: Begun::No }
                    | InvokeError::ShuttingDown
                    | InvokeError::Throttled(ThrottleReason::Concurrency)
            );
            let (true, Some(again)) = (elsewhere, again) else {
                return Err(error);
            };
            (body, taken, refused) = (again, second, error);
            tried.extend(self.members.iter().position(|it| Arc::ptr_eq(it, member)));
        }
    }

    /// Does something at every node that is there, at once.
    async fn everywhere<T, F>(&self, work: impl Fn(Arc<Member>) -> F) -> Vec<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let mut all = JoinSet::new();
        for member in self.there() {
            all.spawn(work(Arc::clone(member)));
        }
        let mut results = Vec::new();
        while let Some(result) = all.join_next().await {
            results.extend(result.ok());
        }
        results
    }
}

/// Counts an event as its node's until its answer has come to its end.
fn counted(reply: Reply, under_way: UnderWay) -> Reply {
    let Reply { head, pieces } = reply;
    let pieces = Pieces::new(Counted { pieces, under_way });
    Reply { head, pieces }
}

struct Counted {
    pieces: Pieces,
    under_way: UnderWay,
}

impl PieceSource for Counted {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<ReplyPiece, InvokeError>> {
        let piece = match ready!(self.pieces.poll_next(context)) {
            Ok(Some(piece)) => piece,
            Ok(None) => {
                let begun = Begun::Yes;
                return Poll::Ready(Err(InvokeError::NodeLost { begun }));
            }
            Err(error) => return Poll::Ready(Err(error)),
        };
        if matches!(piece, ReplyPiece::End(_)) {
            self.under_way.answered();
        }
        Poll::Ready(Ok(piece))
    }
}

impl Invoke for Nodes {
    fn invoke(
        &self,
        function: Arc<FunctionSpec>,
        event: InvokeHead,
        body: Body,
        taken: Taken,
    ) -> BoxFuture<'_, Result<Reply, InvokeError>> {
        Box::pin(self.run(function, event, body, taken))
    }
}

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

fn add(all: &mut CapacityView, one: CapacityView) {
    all.memory_mb = all.memory_mb.saturating_add(one.memory_mb);
    all.memory_used_mb = all.memory_used_mb.saturating_add(one.memory_used_mb);
    all.instances = all.instances.saturating_add(one.instances);
    all.instances_used = all.instances_used.saturating_add(one.instances_used);
    all.waiting = all.waiting.saturating_add(one.waiting);
    all.processors = all.processors.saturating_add(one.processors);
    all.processors_used = all.processors_used.saturating_add(one.processors_used);
    for group in one.groups {
        let same = |other: &&mut CapacityGroup| {
            other.revision == group.revision && other.kind == group.kind
        };
        match all.groups.iter_mut().find(same) {
            None => all.groups.push(group),
            Some(sum) => {
                sum.wanted = sum.wanted.saturating_add(group.wanted);
                sum.starting = sum.starting.saturating_add(group.starting);
                sum.idle = sum.idle.saturating_add(group.idle);
                sum.busy = sum.busy.saturating_add(group.busy);
                sum.ending = sum.ending.saturating_add(group.ending);
                sum.events = sum.events.saturating_add(group.events);
                sum.waiting = sum.waiting.saturating_add(group.waiting);
                sum.memory_mb = sum.memory_mb.saturating_add(group.memory_mb);
                sum.absence = sum.absence.or(group.absence);
            }
        }
    }
    all.groups
        .sort_by(|a, b| (&a.revision, a.kind).cmp(&(&b.revision, b.kind)));
}
