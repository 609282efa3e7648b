//! The Runtime API as part of a snapshot: which connections there are, what was half sent on them,
//! and that the guest waits in `/next` or `/restore/next`.
//!
//! The bytes of a snapshot are input like any other: what cannot have been saved is not loaded.

use serde::{Deserialize, Serialize};

use crate::connection::ConnectionId;
use crate::limits::RuntimeLimits;
use crate::runtime::RuntimeApi;
use crate::state::RuntimeState;

/// What was saved cannot have been a Runtime API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inconsistent;

/// A Runtime API that was saved.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Saved(RuntimeApi);

impl RuntimeApi {
    /// What to save. Nothing may be left to tell: call it after [`RuntimeApi::next_event`] answered none.
    pub fn save(&self) -> Option<impl Serialize + '_> {
        self.events.is_empty().then_some(self)
    }

    /// Its open connections, by which the saver knows its sockets.
    pub fn connections(&self) -> impl Iterator<Item = ConnectionId> {
        self.connections.keys().copied()
    }
}

impl ConnectionId {
    /// The number, for the saver's own table.
    pub fn number(self) -> u64 {
        self.0
    }
}

impl Saved {
    /// The Runtime API as it was, under the limits of now.
    ///
    /// # Errors
    /// When it breaks a limit or contradicts itself.
    pub fn load(self, limits: RuntimeLimits) -> Result<RuntimeApi, Inconsistent> {
        let mut runtime = self.0;
        runtime.limits = limits;
        let known = |id: &ConnectionId| runtime.connections.contains_key(id);
        let named_by_state = match &runtime.state {
            RuntimeState::RestoreReady(id)
            | RuntimeState::TemplateReady(id)
            | RuntimeState::Responding(_, id) => Some(*id),
            _ => None,
        };
        let whole = runtime.connections.len() <= limits.connections
            && runtime
                .connections
                .last_key_value()
                .is_none_or(|(id, _)| id.0 < runtime.next_id)
            && runtime.requests.keys().all(known)
            && runtime.parked.iter().all(known)
            && runtime.parked.len() <= runtime.connections.len()
            && named_by_state.as_ref().is_none_or(known)
            && runtime
                .connections
                .values()
                .all(|connection| connection.is_within(&limits));
        if whole {
            Ok(runtime)
        } else {
            Err(Inconsistent)
        }
    }
}
