//! Interest lists in a snapshot.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use kernel_vfs::save::{
    FileState, LoadError, Loader, MAX_OBJECTS, ObjectId, Saved, Saver, Unsavable, decode,
};
use serde::{Deserialize, Serialize};

use super::{Epoll, EpollEvent, EpollFlags, Item, graph};
use crate::budget::Budget;

#[derive(Serialize, Deserialize)]
struct ItemState {
    fd: i32,
    target: ObjectId,
    flags: u32,
    data: u64,
    /// `EPOLLONESHOT` has not fired.
    armed: bool,
    /// On the ready list: an edge that nobody was told of yet.
    queued: bool,
}

#[derive(Serialize, Deserialize)]
struct EpollState {
    ino: u64,
    items: Vec<ItemState>,
}

impl Epoll {
    /// Kind of its saved state.
    pub const KIND: &'static str = "epoll";

    pub(super) fn saved(&self, saver: &mut Saver) -> Result<Saved, Unsavable> {
        let all = self.shared.interests.lock().all();
        let mut items = Vec::with_capacity(all.len());
        for item in all {
            let Some(target) = item.target() else {
                continue;
            };
            let event = item.event();
            items.push(ItemState {
                fd: item.fd(),
                target: saver.description(&target),
                flags: event.flags.bits(),
                data: event.data,
                armed: item.is_armed(),
                queued: item.queued.load(Ordering::Relaxed),
            });
        }
        items.sort_by_key(|item| (item.fd, item.target));
        let ino = self.ino;
        Saved::state(Epoll::KIND, &EpollState { ino, items })
    }

    /// Builds it; its interests follow when all descriptions exist.
    ///
    /// # Errors
    /// What is wrong with the state.
    pub fn load(
        state: &FileState,
        loader: &mut Loader,
        watches: &Budget,
    ) -> Result<Arc<Epoll>, LoadError> {
        let saved: EpollState = decode(&state.bytes, "an epoll file")?;
        if saved.items.len() > MAX_OBJECTS {
            return Err(LoadError::Malformed("number of epoll items"));
        }
        let epoll = Epoll::new(watches, saved.ino);
        let later = Arc::clone(&epoll);
        loader.later(move |loader| {
            let mut items = saved.items.iter();
            items.try_for_each(|item| later.watch_again(item, loader))
        });
        Ok(epoll)
    }

    fn watch_again(&self, saved: &ItemState, loader: &Loader) -> Result<(), LoadError> {
        let failed = || LoadError::failed("epoll item");
        let target = loader.description(saved.target)?;
        let event = EpollEvent {
            flags: EpollFlags::from_bits_retain(saved.flags),
            data: saved.data,
        };
        let nested = target.downcast::<Epoll>();
        let _nesting = match nested {
            Some(inner) => Some(graph::attach(&self.shared, &inner.shared).map_err(failed())?),
            None => None,
        };
        let charge = self.watches.charge(1);
        let charge = charge.map_err(|_| LoadError::Malformed("number of epoll items"))?;
        let item = Item::new(event, saved.fd, &target, &self.shared, charge);
        let mut interests = self.shared.interests.lock();
        interests.insert(Arc::clone(&item)).map_err(failed())?;
        drop(interests);
        let ready = item.register(&target).intersects(item.interest());
        let edge = event.flags.contains(EpollFlags::EDGE);
        if saved.queued || (ready && !edge) {
            self.shared.enqueue(&item);
        }
        if !saved.armed {
            item.disarm();
        }
        Ok(())
    }
}
