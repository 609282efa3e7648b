//! Signal-driven I/O (fcntl(2), "Managing signals"): who is told that a description is ready, and how.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::{Notify, Registration};

/// Who gets the signals (`F_SETOWN`, `F_SETOWN_EX`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Owner {
    /// `F_OWNER_TID`.
    Thread(i32),
    /// `F_OWNER_PID`.
    Process(i32),
    /// `F_OWNER_PGRP`.
    Group(i32),
}

/// What a description's signals are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalDriven {
    /// Who gets them.
    pub owner: Option<Owner>,
    /// Real and effective user who said so.
    pub uids: (u32, u32),
    /// `F_SETSIG`; 0 for `SIGIO` without details.
    pub signal: i32,
    /// The descriptor that `O_ASYNC` was switched on with (`si_fd`); `None` while it is off.
    pub on: Option<i32>,
}

/// Settings that whoever sends the signals reads.
pub type SharedSettings = Arc<Mutex<SignalDriven>>;

/// Who watches the file, and by which queues.
type Watch = (Arc<dyn Notify>, Vec<Registration>);

#[derive(Default)]
struct Parts {
    settings: SharedSettings,
    watch: Mutex<Option<Watch>>,
}

/// A description's part in it: nothing for most.
#[derive(Default)]
pub(crate) struct Signals(OnceLock<Box<Parts>>);

impl Signals {
    pub(crate) fn settings(&self) -> Option<SignalDriven> {
        self.0.get().map(|parts| *parts.settings.lock())
    }

    pub(crate) fn shared(&self) -> SharedSettings {
        Arc::clone(&self.0.get_or_init(Box::default).settings)
    }

    /// Tells nobody any more.
    pub(crate) fn end(&self) {
        if self.0.get().is_some() {
            self.set_watch(None);
        }
    }

    pub(crate) fn set_watch(&self, watch: Option<Watch>) {
        let parts = self.0.get_or_init(Box::default);
        let old = std::mem::replace(&mut *parts.watch.lock(), watch);
        // Registrations lock their queues.
        drop(old);
    }
}
