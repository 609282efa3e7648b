//! Inotify files in a snapshot: their watches by the places watched, and the events that nobody has read.

use std::collections::BTreeMap;
use std::sync::Arc;

use kernel_vfs::notify::Notifications;
use kernel_vfs::save::{FileState, LoadError, Loader, PlaceState, Saved, Saver, Unsavable, decode};
use serde::{Deserialize, Serialize};

use super::{Event, IN_ALL_EVENTS, IN_ONESHOT, Inotify, MAX_QUEUED};
use crate::budget::Budget;

/// Longest name of an event (`NAME_MAX`).
const NAME_MAX: usize = 255;

#[derive(Serialize, Deserialize)]
struct InotifyState {
    ino: u64,
    last_wd: i32,
    watches: BTreeMap<i32, WatchState>,
    events: Vec<Event>,
}

#[derive(Serialize, Deserialize)]
struct WatchState {
    place: PlaceState,
    mask: u32,
}

impl Inotify {
    /// Short name of the kind in saved state.
    pub const KIND: &'static str = "inotify";

    pub(super) fn to_state(&self, saver: &mut Saver) -> Result<Saved, Unsavable> {
        let state = self.shared.state.lock();
        let mut watches = BTreeMap::new();
        for (wd, watch) in &state.watches {
            let place = match &watch.place {
                // A copy of it would be another file than the one that is open.
                Some(place) if !place.dentry().is_deleted() => saver.place(place)?,
                _ => return Err(Unsavable::new("a watch of a file without a name")),
            };
            let mask = watch.mask;
            watches.insert(*wd, WatchState { place, mask });
        }
        let state = InotifyState {
            ino: self.ino,
            last_wd: state.last_wd,
            watches,
            events: state.events.iter().cloned().collect(),
        };
        Saved::state(Inotify::KIND, &state)
    }

    /// As it was saved. It watches when all files are open again, which is no event.
    ///
    /// # Errors
    /// What is wrong with the state; places that are not there any more.
    pub fn load(
        state: &FileState,
        loader: &mut Loader,
        changes: &Notifications,
        watches: &Budget,
    ) -> Result<Arc<Inotify>, LoadError> {
        let saved: InotifyState = decode(&state.bytes, "an inotify file")?;
        let fits = |event: &Event| event.name.len() <= NAME_MAX;
        // One more says that there were too many.
        if saved.events.len() > MAX_QUEUED + 1 || !saved.events.iter().all(fits) {
            return Err(LoadError::Malformed("events of an inotify file"));
        }
        let file = Inotify::new(watches, saved.ino);
        let (later, changes) = (Arc::clone(&file), changes.clone());
        loader.later(move |loader| {
            for (wd, watch) in &saved.watches {
                let known = watch.mask & !(IN_ALL_EVENTS | IN_ONESHOT) == 0;
                if *wd < 1 || !known {
                    return Err(LoadError::Malformed("a watch of files"));
                }
                let place = loader.place(&watch.place)?;
                let again = later.watch_again(&changes, *wd, place, watch.mask);
                again.map_err(LoadError::failed("a watch of files"))?;
            }
            let mut state = later.shared.state.lock();
            state.last_wd = saved.last_wd.max(0);
            state.events = saved.events.into();
            Ok(())
        });
        Ok(file)
    }
}
