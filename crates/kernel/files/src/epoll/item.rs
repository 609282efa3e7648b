//! One file of interest.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use kernel_vfs::{Description, Errno, Events, Notify, PollTable, Registration, Result};
use parking_lot::Mutex;

use super::Shared;
use crate::budget::Charge;

bitflags::bitflags! {
    /// `events` of `struct epoll_event`: readiness bits and how to report them (epoll_ctl(2)).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct EpollFlags: u32 {
        /// `EPOLLET`.
        const EDGE = 1 << 31;
        /// `EPOLLONESHOT`.
        const ONESHOT = 1 << 30;
        /// `EPOLLWAKEUP`, which has no meaning here.
        const WAKEUP = 1 << 29;
        /// `EPOLLEXCLUSIVE`; all waiters are told, which epoll(7) allows.
        const EXCLUSIVE = 1 << 28;
        /// Every other bit asks for readiness.
        const _ = !0;
    }
}

impl EpollFlags {
    const CONTROL: EpollFlags = EpollFlags::EDGE
        .union(EpollFlags::ONESHOT)
        .union(EpollFlags::WAKEUP)
        .union(EpollFlags::EXCLUSIVE);

    /// What may stand beside `EPOLLEXCLUSIVE`.
    pub(super) const WITH_EXCLUSIVE: EpollFlags =
        EpollFlags::from_bits_retain(0x1 | 0x4 | 0x8 | 0x10)
            .union(EpollFlags::EDGE)
            .union(EpollFlags::WAKEUP)
            .union(EpollFlags::EXCLUSIVE);

    fn readiness(self) -> Events {
        Events::from_bits_retain(self.difference(EpollFlags::CONTROL).bits())
    }
}

/// `struct epoll_event`: what is asked or what happened, and the caller's word about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpollEvent {
    /// Readiness and flags.
    pub flags: EpollFlags,
    /// Given back with each event.
    pub data: u64,
}

#[derive(Debug)]
struct Interest {
    event: EpollEvent,
    /// Taken back by a reported oneshot event until the next change.
    armed: bool,
    registrations: Vec<Registration>,
}

/// An item of the interest list.
#[derive(Debug)]
pub(super) struct Item {
    me: Weak<Item>,
    fd: i32,
    target: Weak<Description>,
    owner: Weak<Shared>,
    interest: Mutex<Interest>,
    /// Whether it is on the ready list; changed under the list's lock.
    pub(super) queued: AtomicBool,
    _charge: Charge,
}

impl Item {
    pub(super) fn new(
        event: EpollEvent,
        fd: i32,
        target: &Arc<Description>,
        owner: &Arc<Shared>,
        charge: Charge,
    ) -> Arc<Item> {
        Arc::new_cyclic(|me| Item {
            me: Weak::clone(me),
            fd,
            target: Arc::downgrade(target),
            owner: Arc::downgrade(owner),
            interest: Mutex::new(Interest {
                event,
                armed: true,
                registrations: Vec::new(),
            }),
            queued: AtomicBool::new(false),
            _charge: charge,
        })
    }

    pub(super) fn fd(&self) -> i32 {
        self.fd
    }

    pub(super) fn target(&self) -> Option<Arc<Description>> {
        self.target.upgrade()
    }

    pub(super) fn is_dead(&self) -> bool {
        self.target.strong_count() == 0
    }

    /// The identity of the description; weak references keep its address from being used again.
    pub(super) fn address(&self) -> usize {
        self.target.as_ptr() as usize
    }

    pub(super) fn event(&self) -> EpollEvent {
        self.interest.lock().event
    }

    /// Readiness that is reported, empty after a oneshot event.
    pub(super) fn interest(&self) -> Events {
        let interest = self.interest.lock();
        if interest.armed {
            interest.event.flags.readiness() | Events::ALWAYS
        } else {
            Events::empty()
        }
    }

    /// `EPOLL_CTL_MOD`.
    pub(super) fn change(&self, event: EpollEvent) -> Result<()> {
        let mut interest = self.interest.lock();
        if interest.event.flags.contains(EpollFlags::EXCLUSIVE) {
            return Err(Errno::EINVAL);
        }
        interest.event = event;
        interest.armed = true;
        Ok(())
    }

    /// Takes it out of use: no longer told, never reported, even where it still is on a list.
    pub(super) fn is_armed(&self) -> bool {
        self.interest.lock().armed
    }

    pub(super) fn disarm(&self) {
        self.interest.lock().armed = false;
    }

    pub(super) fn retire(&self) {
        let mut interest = self.interest.lock();
        interest.armed = false;
        let stale = std::mem::take(&mut interest.registrations);
        drop(interest);
        drop(stale);
    }

    /// Registers anew for the current interest and looks.
    pub(super) fn register(self: &Arc<Self>, target: &Arc<Description>) -> Events {
        let waiter: Arc<dyn Notify> = self.clone();
        let mut table = PollTable::waiting(waiter, self.interest());
        let ready = target.file().poll(&mut table);
        let fresh = table.into_registrations();
        let stale = std::mem::replace(&mut self.interest.lock().registrations, fresh);
        drop(stale);
        ready
    }

    /// What is ready and wanted now.
    pub(super) fn look(&self, target: &Arc<Description>) -> Events {
        let wanted = self.interest();
        if wanted.is_empty() {
            return Events::empty();
        }
        target.file().poll(&mut PollTable::look()) & wanted
    }

    /// The event to hand out; takes the interest back for oneshot.
    pub(super) fn report(&self, ready: Events) -> EpollEvent {
        let mut interest = self.interest.lock();
        if interest.event.flags.contains(EpollFlags::ONESHOT) {
            interest.armed = false;
        }
        EpollEvent {
            flags: EpollFlags::from_bits_retain(ready.bits()),
            data: interest.event.data,
        }
    }

    /// Its event did not reach anybody: a oneshot one may come again.
    pub(super) fn report_again(&self) {
        let mut interest = self.interest.lock();
        if interest.event.flags.contains(EpollFlags::ONESHOT) {
            interest.armed = true;
        }
    }

    /// Level-triggered items are looked at again by the next wait.
    pub(super) fn stays_ready(&self) -> bool {
        let interest = self.interest.lock();
        interest.armed && !interest.event.flags.contains(EpollFlags::EDGE)
    }
}

impl Notify for Item {
    fn notify(&self, events: Events) {
        let wanted = self.interest();
        let hit = events.is_empty() || events.intersects(wanted);
        if wanted.is_empty() || !hit || self.queued.load(Ordering::Relaxed) {
            return;
        }
        if let (Some(owner), Some(item)) = (self.owner.upgrade(), self.me.upgrade()) {
            owner.enqueue(&item);
        }
    }
}
