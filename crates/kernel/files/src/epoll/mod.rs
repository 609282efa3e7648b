//! Readiness of many files at once (epoll(7)).
//!
//! An [`Epoll`] holds an interest list of items. Each item registers with its file's queues as
//! a [`Notify`](kernel_vfs::Notify); a notification puts it on the ready list, and only items of the ready list
//! are looked at by a wait: its cost grows with what is ready, not with what is watched.
//!
//! An item refers to its description weakly: it vanishes with the last descriptor.
//!
//! Lock order: the nesting lock, interest list, scan lock (outer epoll before inner), file state,
//! ready list, wait queue. A description is never dropped under one of them.

mod graph;
mod interest;
mod item;
mod ready;
mod saved;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use base_abi::structs::Stat;
use kernel_vfs::{Description, Errno, Events, File, PollTable, Result, WaitQueue};
use parking_lot::Mutex;

use crate::anon::anon_stat;
use crate::budget::Budget;
use graph::Graph;
use interest::Interests;
use item::Item;
use ready::ReadyList;

pub use item::{EpollEvent, EpollFlags};

/// What epoll_ctl(2) does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpollOp {
    /// `EPOLL_CTL_ADD`.
    Add(EpollEvent),
    /// `EPOLL_CTL_MOD`.
    Modify(EpollEvent),
    /// `EPOLL_CTL_DEL`.
    Delete,
}

/// What is shared between the file and its items.
#[derive(Debug)]
pub(crate) struct Shared {
    interests: Mutex<Interests>,
    /// Serialises looks at the ready list, so that no waiter misses what another holds in hand.
    scan: Mutex<()>,
    ready: Mutex<ReadyList>,
    queue: WaitQueue,
    graph: Graph,
}

/// An epoll file.
#[derive(Debug)]
pub struct Epoll {
    shared: Arc<Shared>,
    watches: Budget,
    ino: u64,
}

/// Events that were taken.
#[derive(Default)]
pub struct Reported {
    /// In order.
    pub events: Vec<EpollEvent>,
    /// The items looked at, those of the events by name, and their files: the last reference to one must not go while the
    /// ready list is looked through.
    seen: Vec<(Option<Arc<Item>>, Arc<Description>)>,
}

impl Epoll {
    /// An empty interest list whose items are charged to `watches` (`/proc/sys/fs/epoll/max_user_watches`).
    #[must_use]
    pub fn new(watches: &Budget, ino: u64) -> Arc<Epoll> {
        Arc::new(Epoll {
            shared: Arc::new(Shared {
                interests: Mutex::default(),
                scan: Mutex::default(),
                ready: Mutex::default(),
                queue: WaitQueue::new(),
                graph: Graph::default(),
            }),
            watches: watches.clone(),
            ino,
        })
    }

    /// Changes the interest in `target`, which the caller knows as descriptor `fd` (epoll_ctl(2)).
    ///
    /// # Errors
    /// `EPERM` for what cannot be polled, `EINVAL`, `EEXIST`, `ENOENT`, `ELOOP`, `ENOSPC`.
    pub fn control(&self, op: EpollOp, fd: i32, target: &Arc<Description>) -> Result<()> {
        if !target.file().pollable() {
            return Err(Errno::EPERM);
        }
        let nested = target.downcast::<Epoll>();
        if nested.is_some_and(|inner| Arc::ptr_eq(&inner.shared, &self.shared)) {
            return Err(Errno::EINVAL);
        }
        match op {
            EpollOp::Add(event) => self.add(event, fd, target, nested),
            EpollOp::Modify(event) => self.modify(event, fd, target),
            EpollOp::Delete => {
                let item = self.shared.interests.lock().remove(fd, target)?;
                item.retire();
                self.shared.ready.lock().forget(&item);
                Ok(())
            }
        }
    }

    fn add(
        &self,
        event: EpollEvent,
        fd: i32,
        target: &Arc<Description>,
        nested: Option<&Epoll>,
    ) -> Result<()> {
        let exclusive = event.flags.contains(EpollFlags::EXCLUSIVE);
        if exclusive && (nested.is_some() || !EpollFlags::WITH_EXCLUSIVE.contains(event.flags)) {
            return Err(Errno::EINVAL);
        }
        let _nesting = match nested {
            Some(inner) => Some(graph::attach(&self.shared, &inner.shared)?),
            None => None,
        };
        let charge = self.watches.charge(1).map_err(|_| Errno::ENOSPC)?;
        let item = Item::new(event, fd, target, &self.shared, charge);
        self.shared.interests.lock().insert(Arc::clone(&item))?;
        self.start(&item, target);
        Ok(())
    }

    fn modify(&self, event: EpollEvent, fd: i32, target: &Arc<Description>) -> Result<()> {
        if event.flags.contains(EpollFlags::EXCLUSIVE) {
            return Err(Errno::EINVAL);
        }
        let item = self.shared.interests.lock().find(fd, target)?;
        item.change(event)?;
        self.start(&item, target);
        Ok(())
    }

    /// Registers with the file, then looks: what is ready already goes on the ready list.
    fn start(&self, item: &Arc<Item>, target: &Arc<Description>) {
        if item.register(target).intersects(item.interest()) {
            self.shared.enqueue(item);
        }
    }

    /// Takes up to `max` ready events; empty when nothing is ready (epoll_wait(2) without waiting).
    #[must_use]
    pub fn wait(&self, max: usize) -> Reported {
        let mut reported = Reported::default();
        let scan = self.shared.scan.lock();
        let waiting = self.shared.ready.lock().len();
        for _ in 0..waiting {
            if reported.events.len() >= max {
                break;
            }
            let Some(item) = self.shared.ready.lock().pop() else {
                break;
            };
            let Some(target) = item.target() else {
                self.shared.interests.lock().forget(&item);
                continue;
            };
            let ready = item.look(&target);
            if ready.is_empty() {
                reported.seen.push((None, target));
                continue;
            }
            reported.events.push(item.report(ready));
            reported.seen.push((Some(item), target));
        }
        let mut list = self.shared.ready.lock();
        let items = reported.seen.iter().filter_map(|(item, _)| item.as_ref());
        for item in items.filter(|item| item.stays_ready()) {
            list.push(Arc::clone(item));
        }
        drop(list);
        drop(scan);
        reported
    }

    /// Takes events back whose caller had no memory for more than the first `delivered`: they come again.
    pub fn put_back(&self, reported: &Reported, delivered: usize) {
        let items = reported.seen.iter().filter_map(|(item, _)| item.as_ref());
        for item in items.skip(delivered) {
            item.report_again();
            self.shared.enqueue(item);
        }
    }

    /// Descriptor number, description, and event of each item.
    #[must_use]
    pub fn interests(&self) -> Vec<(i32, Arc<Description>, EpollEvent)> {
        let items = self.shared.interests.lock().all();
        let alive = |item: Arc<Item>| Some((item.fd(), item.target()?, item.event()));
        items.into_iter().filter_map(alive).collect()
    }
}

impl Shared {
    /// Puts an item on the ready list and wakes the waiters. Called with no lock held.
    fn enqueue(&self, item: &Arc<Item>) {
        let added = self.ready.lock().push(Arc::clone(item));
        if added {
            self.queue.wake(Events::READABLE);
        }
    }

    /// Whether an item of the ready list is ready still; drops those in front that are not.
    fn any_ready(&self) -> bool {
        let mut keep_alive = Vec::new();
        let scan = self.scan.lock();
        let waiting = self.ready.lock().len();
        let mut found = false;
        for _ in 0..waiting {
            let Some(item) = self.ready.lock().pop() else {
                break;
            };
            let Some(target) = item.target() else {
                self.interests.lock().forget(&item);
                continue;
            };
            found = !item.look(&target).is_empty();
            keep_alive.push(target);
            if found {
                self.ready.lock().push_front(item);
                break;
            }
        }
        drop(scan);
        drop(keep_alive);
        found
    }
}

impl File for Epoll {
    fn stat(&self) -> Result<Stat> {
        Ok(anon_stat(self.ino))
    }

    fn poll(&self, table: &mut PollTable) -> Events {
        table.add(&self.shared.queue);
        if self.shared.any_ready() {
            Events::READABLE
        } else {
            Events::empty()
        }
    }

    fn release(&self) {
        let items = self.shared.interests.lock().take();
        items.iter().for_each(|item| item.retire());
        self.shared.ready.lock().clear();
    }

    fn fd_info(&self) -> String {
        let line = |(fd, target, event): (i32, Arc<Description>, EpollEvent)| {
            let stat = target.file().stat().unwrap_or_default();
            format!(
                "tfd: {fd:8} events: {:8x} data: {:16x}  pos:{} ino:{:x} sdev:{:x}\n",
                event.flags.bits(),
                event.data,
                target.offset(),
                stat.ino,
                stat.dev
            )
        };
        self.interests().into_iter().map(line).collect()
    }

    fn save(
        &self,
        saver: &mut kernel_vfs::save::Saver,
    ) -> std::result::Result<kernel_vfs::save::Saved, kernel_vfs::save::Unsavable> {
        self.saved(saver)
    }

    fn anonymous_name(&self) -> String {
        String::from("anon_inode:[eventpoll]")
    }
}
