//! What a store knows without looking at the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::key::SnapshotKey;
use crate::metrics;
use crate::ready::Ready;

#[derive(Debug, Default)]
pub(crate) struct Index {
    pub(crate) ready: BTreeMap<SnapshotKey, Arc<Ready>>,
    pub(crate) pending: BTreeSet<SnapshotKey>,
    /// Reasons of what lies in quarantine.
    pub(crate) quarantined: BTreeMap<SnapshotKey, String>,
}

impl Index {
    pub(crate) fn put_ready(&mut self, key: SnapshotKey, ready: Arc<Ready>) {
        metrics::READY.add((), 1);
        metrics::BYTES.add((), ready.manifest.bytes());
        if let Some(before) = self.ready.insert(key, ready) {
            Index::no_more(&before);
        }
    }

    pub(crate) fn take_ready(&mut self, key: &SnapshotKey) {
        if let Some(ready) = self.ready.remove(key) {
            Index::no_more(&ready);
        }
    }

    fn no_more(ready: &Ready) {
        metrics::READY.take((), 1);
        metrics::BYTES.take((), ready.manifest.bytes());
    }

    /// A snapshot, then those that lie over it, each after what it lies over.
    pub(crate) fn with_dependants(&self, key: &SnapshotKey) -> Vec<SnapshotKey> {
        let mut all = vec![key.clone()];
        let mut at = 0;
        while let Some(base) = all.get(at).cloned() {
            let over = self.ready.iter().filter(|(_, ready)| {
                let its = ready.manifest.base.as_ref();
                its.is_some_and(|its| its.key == base)
            });
            for (key, _) in over {
                if !all.contains(key) {
                    all.push(key.clone());
                }
            }
            at += 1;
        }
        all
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        self.ready.values().for_each(|ready| Index::no_more(ready));
    }
}
