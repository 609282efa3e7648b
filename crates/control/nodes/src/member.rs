//! One of several nodes: what is known of it, and what keeps it connected.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use proto_node::{
    Capacity as _, CapacityKind, CapacityView, Catalogue, Code as _, Heard, LogRecord, Logs as _,
    Revision, Revisions as _,
};
use tokio::sync::{broadcast, watch};
use tokio::time::sleep;

use crate::address::Address;
use crate::choose::NodeView;
use crate::health::{Health, NodeState};
use crate::link::Link;
use crate::remote::Remote;
use crate::supplied::Supplied;

/// How often a node is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How soon a node that is gone is looked for, at first and at last.
const AGAIN_FIRST: Duration = Duration::from_millis(100);
const AGAIN_LAST: Duration = Duration::from_secs(2);
/// Most logs that are yet to be removed where a node is gone.
const OWED: usize = 10_000;
/// Most revisions that are remembered to have idle instances.
const REMEMBERED: usize = 10_000;

/// One of several nodes.
pub(crate) struct Member {
    pub(crate) remote: Arc<Remote>,
    pub(crate) node: Supplied<Remote>,
    /// A leaf among locks.
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    health: Health,
    view: CapacityView,
    /// Events of ours that it has.
    under_way: u32,
    /// Instances with nothing to do, as of the last look and what we did since.
    idle: BTreeMap<Revision, u32>,
    snapshots: BTreeSet<Revision>,
    /// Functions whose logs it is yet to remove.
    owed: BTreeSet<String>,
}

impl Known {
    /// As far as events go, a node that is going down is gone.
    fn for_events(&self, now: Instant) -> NodeState {
        match self.view.draining {
            true => NodeState::Down,
            false => self.health.state(now),
        }
    }
}

impl Member {
    pub(crate) fn new(
        address: Address,
        token: Option<String>,
        catalogue: Arc<dyn Catalogue>,
    ) -> Self {
        let remote = Arc::new(Remote::new(address, token));
        Self {
            node: Supplied::new(Arc::clone(&remote), catalogue),
            remote,
            known: Mutex::default(),
        }
    }

    pub(crate) fn state(&self, now: Instant) -> NodeState {
        self.known.lock().health.state(now)
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.state(Instant::now()) != NodeState::Down
    }

    /// Whether an event may be given to it.
    pub(crate) fn takes_events(&self) -> bool {
        let known = self.known.lock();
        known.for_events(Instant::now()) != NodeState::Down
    }

    /// It has said that it is going down: no more events, until it comes anew.
    pub(crate) fn drains(&self) {
        self.known.lock().view.draining = true;
    }

    pub(crate) fn look(&self, revision: &Revision, now: Instant) -> NodeView {
        let known = self.known.lock();
        NodeView {
            state: known.for_events(now),
            tried: false,
            idle: known.idle.get(revision).copied().unwrap_or_default(),
            snapshot: known.snapshots.contains(revision),
            load: known.under_way.saturating_add(known.view.waiting),
            limit: known.view.instances,
        }
    }

    /// An event of a revision is given to it.
    pub(crate) fn begin(self: &Arc<Self>, revision: &Revision) -> UnderWay {
        let mut known = self.known.lock();
        known.under_way += 1;
        if let Some(idle) = known.idle.get_mut(revision) {
            *idle = idle.saturating_sub(1);
        }
        UnderWay {
            member: Arc::clone(self),
            revision: revision.clone(),
        }
    }

    /// It has prepared a revision.
    pub(crate) fn has_prepared(&self, revision: &Revision) {
        let mut known = self.known.lock();
        if known.snapshots.len() < REMEMBERED {
            known.snapshots.insert(revision.clone());
        }
    }

    pub(crate) fn forgets(&self, revision: &Revision) {
        let mut known = self.known.lock();
        known.idle.remove(revision);
        known.snapshots.remove(revision);
    }

    /// A function's log is to be removed when it is back.
    pub(crate) fn owes(&self, function: &str) {
        let mut known = self.known.lock();
        if known.owed.len() < OWED {
            known.owed.insert(function.to_owned());
        }
    }

    fn saw(&self, view: CapacityView) {
        let mut known = self.known.lock();
        known.health.heard(Instant::now());
        if !view.groups.is_empty() {
            known.idle.clear();
            for group in &view.groups {
                let Some(revision) = &group.revision else {
                    continue;
                };
                if group.kind == CapacityKind::Instance {
                    known.idle.insert(revision.clone(), group.idle);
                }
                // Shells are made of a snapshot.
                let restored = group.kind == CapacityKind::Shell && group.idle > 0;
                if restored && known.snapshots.len() < REMEMBERED {
                    known.snapshots.insert(revision.clone());
                }
            }
        }
        known.view = view;
    }
}

/// An event of ours that a node has.
pub(crate) struct UnderWay {
    member: Arc<Member>,
    revision: Revision,
}

impl UnderWay {
    /// It has been answered, so that its instance waits for another.
    pub(crate) fn answered(&self) {
        let mut known = self.member.known.lock();
        if known.idle.len() < REMEMBERED || known.idle.contains_key(&self.revision) {
            *known.idle.entry(self.revision.clone()).or_default() += 1;
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut known = self.member.known.lock();
        known.under_way = known.under_way.saturating_sub(1);
    }
}

/// Keeps one node connected, until it is aborted.
pub(crate) async fn keep(
    member: Arc<Member>,
    catalogue: Arc<dyn Catalogue>,
    logs: broadcast::Sender<Arc<LogRecord>>,
    changed: watch::Sender<u64>,
) {
    let mut again = AGAIN_FIRST;
    let mut said = String::new();
    loop {
        match member.remote.connect().await {
            Ok(link) => {
                tracing::info!(node = %member.remote.address(), "a node is there");
                (again, said) = (AGAIN_FIRST, String::new());
                attend(&member, &link, &catalogue, &logs, &changed).await;
                member.known.lock().health.lost();
                changed.send_modify(|count| *count += 1);
                tracing::warn!(node = %member.remote.address(), "a node is gone");
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(|it| format!(": {it}"));
                let reason = format!("{error}{}", cause.unwrap_or_default());
                // Once is enough while nothing changes.
                if reason != said {
                    tracing::warn!(node = %member.remote.address(), reason, "a node cannot be reached");
                    said = reason;
                }
            }
        }
        sleep(again).await;
        again = (again * 2).min(AGAIN_LAST);
    }
}

/// Attends to a node for as long as it is connected.
async fn attend(
    member: &Arc<Member>,
    link: &Arc<Link>,
    catalogue: &Arc<dyn Catalogue>,
    logs: &broadcast::Sender<Arc<LogRecord>>,
    changed: &watch::Sender<u64>,
) {
    let working = async {
        let following = follow(member, logs);
        let watching = async {
            member.saw(member.remote.view().await);
            changed.send_modify(|count| *count += 1);
            bring_up_to_date(member, catalogue).await;
            loop {
                sleep(LOOK_EVERY).await;
                member.saw(member.remote.view().await);
            }
        };
        tokio::join!(following, watching)
    };
    tokio::select! {
        biased;
        () = link.ended() => {}
        _ = working => {}
    }
}

/// Hands on what a node logs, until its connection ends.
async fn follow(member: &Member, logs: &broadcast::Sender<Arc<LogRecord>>) {
    let mut subscription = member.remote.subscribe();
    while let Some(heard) = subscription.next().await {
        match heard {
            // Nobody listening is no error.
            Heard::Record(record) => drop(logs.send(record)),
            Heard::Lost(lost) => {
                tracing::warn!(node = %member.remote.address(), lost, "log lines came too fast");
            }
        }
    }
}

/// Tells a node that has come what it missed, and has it make snapshots anew that do not fit it any more.
async fn bring_up_to_date(member: &Arc<Member>, catalogue: &Arc<dyn Catalogue>) {
    let owed = std::mem::take(&mut member.known.lock().owed);
    for function in owed {
        member.remote.remove_logs(&function).await;
    }
    member.remote.keep_only(catalogue.revisions()).await;
    member.remote.keep_code(catalogue.codes()).await;
    let outdated = member.remote.outdated().await;
    let functions = catalogue.functions(&outdated);
    let member = Arc::clone(member);
    tokio::spawn(async move {
        for function in functions {
            let revision = function.revision.clone();
            if member.node.prepare(function).await.is_ok() {
                member.has_prepared(&revision);
            }
        }
    });
}
