//! Several nodes as one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use proto_node::{Catalogue, LOG_CHANNEL_RECORDS, LogRecord, Revision};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::address::Address;
use crate::choose::choose;
use crate::member::{self, Member};

/// How long a start waits for its nodes before it goes on without those that are not there.
const START_WITHIN: Duration = Duration::from_secs(3);

/// Several nodes as one. Dropping it lets go of them; what they run goes on.
pub struct Nodes {
    pub(crate) members: Vec<Arc<Member>>,
    pub(crate) logs: broadcast::Sender<Arc<LogRecord>>,
    /// Counts comings and goings.
    pub(crate) changed: watch::Receiver<u64>,
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

    pub(crate) fn there(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.members.iter().filter(|member| member.is_connected())
    }

    /// The node for an event of a revision, if there is one that was not tried and takes events.
    pub(crate) fn choose(
        &self,
        revision: &Revision,
        tried: &BTreeSet<usize>,
    ) -> Option<&Arc<Member>> {
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

    /// Does something at every node that is there, at once.
    pub(crate) async fn everywhere<T, F>(&self, work: impl Fn(Arc<Member>) -> F) -> Vec<T>
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
