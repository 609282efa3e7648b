//! Changes in the file tree read as a file (inotify(7)).

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Weak};

use base_abi::general::{
    IN_ALL_EVENTS, IN_DELETE_SELF, IN_IGNORED, IN_ISDIR, IN_MASK_ADD, IN_MASK_CREATE, IN_ONESHOT,
    IN_Q_OVERFLOW, IN_UNMOUNT,
};
use base_abi::structs::Stat;
use kernel_vfs::notify::{FsEvent, Notifications, Subscription, Watcher};
use kernel_vfs::save::{Saved, Saver, Unsavable};
use kernel_vfs::{Errno, Events, File, InodeId, Path, PollTable, Result, UserMemory, WaitQueue};
use parking_lot::Mutex;

use serde::{Deserialize, Serialize};

use crate::anon::anon_stat;
use crate::budget::{Budget, Charge};

mod saved;

/// `/proc/sys/fs/inotify/max_queued_events`.
pub const MAX_QUEUED: usize = 16384;
/// Bytes of `struct inotify_event` without the name; names are padded to multiples of it.
const HEAD: usize = 16;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Event {
    wd: i32,
    mask: u32,
    cookie: u32,
    name: Vec<u8>,
}

impl Event {
    fn size(&self) -> usize {
        if self.name.is_empty() {
            HEAD
        } else {
            HEAD + (self.name.len() + 1).next_multiple_of(HEAD)
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let size = self.size();
        let end = out.len() + size;
        let padded = u32::try_from(size - HEAD).unwrap_or(0);
        for word in [self.wd.cast_unsigned(), self.mask, self.cookie, padded] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&self.name);
        out.resize(end, 0);
    }

    /// Linux drops an event that says the same as the one before it.
    fn repeats(&self, last: &Event) -> bool {
        (self.wd, self.mask, &self.name) == (last.wd, last.mask, &last.name)
    }
}

struct Watch {
    inode: InodeId,
    /// Where it is found again after a snapshot.
    place: Option<Path>,
    mask: u32,
    /// Held for its drop.
    _subscription: Subscription,
    _ear: Arc<dyn Watcher>,
    _charge: Charge,
}

#[derive(Default)]
struct State {
    events: VecDeque<Event>,
    watches: BTreeMap<i32, Watch>,
    by_inode: HashMap<InodeId, i32>,
    last_wd: i32,
}

struct Shared {
    state: Mutex<State>,
    queue: WaitQueue,
}

/// Hears for one watch.
struct Ear {
    shared: Weak<Shared>,
    wd: i32,
}

impl Watcher for Ear {
    fn event(&self, event: &FsEvent<'_>) {
        if let Some(shared) = self.shared.upgrade() {
            shared.hear(self.wd, event);
        }
    }
}

impl Shared {
    fn hear(&self, wd: i32, event: &FsEvent<'_>) {
        let mut state = self.state.lock();
        let Some(mask) = state.watches.get(&wd).map(|w| w.mask) else {
            return;
        };
        let gone = event.mask & (IN_DELETE_SELF | IN_UNMOUNT) != 0;
        let wanted = event.mask & mask & IN_ALL_EVENTS != 0 || event.mask & IN_UNMOUNT != 0;
        let mut ended = None;
        if wanted {
            state.push(Event {
                wd,
                mask: event.mask & (IN_ALL_EVENTS | IN_ISDIR | IN_UNMOUNT),
                cookie: event.cookie,
                name: event.name.unwrap_or_default().to_vec(),
            });
        }
        if gone || (wanted && mask & IN_ONESHOT != 0) {
            ended = state.end_watch(wd);
        }
        let told = wanted || ended.is_some();
        drop(state);
        drop(ended);
        if told {
            self.queue.wake(Events::READABLE);
        }
    }
}

impl State {
    fn push(&mut self, event: Event) {
        if self.events.back().is_some_and(|last| event.repeats(last)) {
            return;
        }
        if self.events.len() < MAX_QUEUED {
            self.events.push_back(event);
        } else if self.events.back().is_some_and(|e| e.mask != IN_Q_OVERFLOW) {
            self.events.push_back(Event {
                wd: -1,
                mask: IN_Q_OVERFLOW,
                cookie: 0,
                name: Vec::new(),
            });
        }
    }

    /// Removes a watch and says so with `IN_IGNORED`; the watch is dropped outside the lock.
    fn end_watch(&mut self, wd: i32) -> Option<Watch> {
        let watch = self.watches.remove(&wd)?;
        self.by_inode.remove(&watch.inode);
        self.push(Event {
            wd,
            mask: IN_IGNORED,
            cookie: 0,
            name: Vec::new(),
        });
        Some(watch)
    }

    fn free_wd(&mut self) -> i32 {
        loop {
            self.last_wd = self.last_wd.checked_add(1).unwrap_or(1);
            if !self.watches.contains_key(&self.last_wd) {
                return self.last_wd;
            }
        }
    }
}

/// An inotify file.
pub struct Inotify {
    shared: Arc<Shared>,
    watches: Budget,
    ino: u64,
}

impl Inotify {
    /// Without watches; each is charged to `watches` (`max_user_watches`).
    #[must_use]
    pub fn new(watches: &Budget, ino: u64) -> Arc<Inotify> {
        Arc::new(Inotify {
            shared: Arc::new(Shared {
                state: Mutex::default(),
                queue: WaitQueue::new(),
            }),
            watches: watches.clone(),
            ino,
        })
    }

    /// Watches an inode or changes its watch (inotify_add_watch(2)); returns the watch descriptor. Without the place
    /// where it was found it cannot be saved.
    ///
    /// # Errors
    /// `EINVAL` for a mask without events, `EEXIST` with `IN_MASK_CREATE`, `ENOSPC` when there are too many.
    pub fn add_watch(
        &self,
        changes: &Notifications,
        inode: InodeId,
        place: Option<Path>,
        mask: u32,
    ) -> Result<i32> {
        let both = IN_MASK_ADD | IN_MASK_CREATE;
        if mask & IN_ALL_EVENTS == 0 || mask & both == both {
            return Err(Errno::EINVAL);
        }
        let kept = mask & (IN_ALL_EVENTS | IN_ONESHOT);
        let mut state = self.shared.state.lock();
        if let Some(wd) = state.by_inode.get(&inode).copied() {
            if mask & IN_MASK_CREATE != 0 {
                return Err(Errno::EEXIST);
            }
            if let Some(watch) = state.watches.get_mut(&wd) {
                let before = if mask & IN_MASK_ADD != 0 {
                    watch.mask
                } else {
                    0
                };
                watch.mask = before | kept;
            }
            return Ok(wd);
        }
        let last = state.last_wd;
        let wd = state.free_wd();
        let entered = self.enter(&mut state, changes, wd, inode, place, kept);
        // A number is used up by a watch, not by a refusal.
        entered.inspect_err(|_| state.last_wd = last)?;
        Ok(wd)
    }

    /// Watches a place by this number, which is free, after a snapshot.
    fn watch_again(&self, changes: &Notifications, wd: i32, place: Path, mask: u32) -> Result<()> {
        let inode = place.inode().id()?;
        let mut state = self.shared.state.lock();
        if state.by_inode.contains_key(&inode) {
            return Err(Errno::EEXIST);
        }
        self.enter(&mut state, changes, wd, inode, Some(place), mask)
    }

    fn enter(
        &self,
        state: &mut State,
        changes: &Notifications,
        wd: i32,
        inode: InodeId,
        place: Option<Path>,
        mask: u32,
    ) -> Result<()> {
        let charge = self.watches.charge(1).map_err(|_| Errno::ENOSPC)?;
        let ear: Arc<dyn Watcher> = Arc::new(Ear {
            shared: Arc::downgrade(&self.shared),
            wd,
        });
        let watch = Watch {
            inode,
            place,
            mask,
            _subscription: changes.subscribe(inode, &ear),
            _ear: ear,
            _charge: charge,
        };
        state.watches.insert(wd, watch);
        state.by_inode.insert(inode, wd);
        Ok(())
    }

    /// Ends a watch (inotify_rm_watch(2)).
    ///
    /// # Errors
    /// `EINVAL` when there is none.
    pub fn remove_watch(&self, wd: i32) -> Result<()> {
        let ended = self
            .shared
            .state
            .lock()
            .end_watch(wd)
            .ok_or(Errno::EINVAL)?;
        drop(ended);
        self.shared.queue.wake(Events::READABLE);
        Ok(())
    }
}

impl File for Inotify {
    fn stat(&self) -> Result<Stat> {
        Ok(anon_stat(self.ino))
    }

    fn read_at(&self, _offset: u64, buf: &mut [u8]) -> Result<usize> {
        let mut state = self.shared.state.lock();
        let mut out = Vec::new();
        while let Some(event) = state.events.front() {
            if out.len() + event.size() > buf.len() {
                break;
            }
            event.encode(&mut out);
            state.events.pop_front();
        }
        if out.is_empty() {
            let none = state.events.is_empty();
            return Err(if none { Errno::EAGAIN } else { Errno::EINVAL });
        }
        buf.iter_mut().zip(&out).for_each(|(to, from)| *to = *from);
        Ok(out.len())
    }

    fn poll(&self, table: &mut PollTable) -> Events {
        table.add(&self.shared.queue);
        let mut ready = Events::empty();
        ready.set(
            Events::READABLE,
            !self.shared.state.lock().events.is_empty(),
        );
        ready
    }

    fn ioctl(&self, memory: &dyn UserMemory, request: u32, arg: u64) -> Result<u64> {
        if request != base_abi::ioctl::FIONREAD {
            return Err(Errno::ENOTTY);
        }
        let bytes: usize = self
            .shared
            .state
            .lock()
            .events
            .iter()
            .map(Event::size)
            .sum();
        let bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
        memory.write_bytes(arg, &bytes.to_le_bytes())?;
        Ok(0)
    }

    fn save(&self, saver: &mut Saver) -> std::result::Result<Saved, Unsavable> {
        self.to_state(saver)
    }

    fn fd_info(&self) -> String {
        let state = self.shared.state.lock();
        let line = |(wd, watch): (&i32, &Watch)| {
            let InodeId { dev, ino } = watch.inode;
            format!(
                "inotify wd:{wd:x} ino:{ino:x} sdev:{dev:x} mask:{:x} ignored_mask:0\n",
                watch.mask
            )
        };
        state.watches.iter().map(line).collect()
    }

    fn anonymous_name(&self) -> String {
        String::from("anon_inode:inotify")
    }
}

#[cfg(test)]
mod tests {
    use base_abi::general::{IN_CREATE, IN_MODIFY};

    use super::*;

    const DIR: InodeId = InodeId { dev: 1, ino: 2 };

    fn event(mask: u32, name: Option<&[u8]>) -> FsEvent<'_> {
        FsEvent {
            mask,
            cookie: 0,
            name,
        }
    }

    fn masks(file: &Inotify) -> Vec<u32> {
        let mut buf = vec![0; 1 << 20];
        let n = file.read_at(0, &mut buf).unwrap_or(0);
        let mut at = 0;
        let mut out = Vec::new();
        while at < n {
            let word = |i: usize| u32::from_le_bytes(buf[at + i..at + i + 4].try_into().unwrap());
            out.push(word(4));
            at += HEAD + word(12) as usize;
        }
        out
    }

    #[test]
    fn events_are_filtered_padded_and_merged() {
        let changes = Notifications::default();
        let file = Inotify::new(&Budget::new(9), 1);
        let wd = file
            .add_watch(&changes, DIR, None, IN_CREATE | IN_MODIFY)
            .unwrap();
        assert_eq!(wd, 1);
        changes.send(DIR, &event(IN_CREATE, Some(b"name")));
        changes.send(DIR, &event(IN_CREATE, Some(b"name")));
        changes.send(DIR, &event(IN_DELETE_SELF << 1, None));
        changes.send(DIR, &event(IN_MODIFY, Some(b"a name of more than 16")));
        let mut buf = [0; 100];
        assert_eq!(file.read_at(0, &mut buf[..31]), Err(Errno::EINVAL));
        assert_eq!(file.read_at(0, &mut buf), Ok(32 + 48));
        assert_eq!(buf[12], 16);
        assert_eq!(&buf[16..21], b"name\0");
        assert_eq!(file.read_at(0, &mut buf), Err(Errno::EAGAIN));
    }

    #[test]
    fn watches_change_end_and_are_bounded() {
        let changes = Notifications::default();
        let file = Inotify::new(&Budget::new(1), 1);
        let wd = file.add_watch(&changes, DIR, None, IN_CREATE).unwrap();
        assert_eq!(
            file.add_watch(&changes, DIR, None, IN_MODIFY | IN_MASK_ADD),
            Ok(wd)
        );
        let exists = file.add_watch(&changes, DIR, None, IN_MODIFY | IN_MASK_CREATE);
        assert_eq!(exists, Err(Errno::EEXIST));
        assert_eq!(file.add_watch(&changes, DIR, None, 0), Err(Errno::EINVAL));
        let other = InodeId { dev: 1, ino: 3 };
        assert_eq!(
            file.add_watch(&changes, other, None, IN_CREATE),
            Err(Errno::ENOSPC)
        );
        changes.send(DIR, &event(IN_CREATE, Some(b"x")));
        changes.send(DIR, &event(IN_DELETE_SELF, None));
        assert_eq!(masks(&file), [IN_CREATE, IN_IGNORED]);
        assert_eq!(file.remove_watch(wd), Err(Errno::EINVAL));
        let next = file
            .add_watch(&changes, other, None, IN_CREATE | IN_ONESHOT)
            .unwrap();
        assert_eq!(next, 2);
        changes.send(other, &event(IN_CREATE, Some(b"x")));
        changes.send(other, &event(IN_CREATE, Some(b"y")));
        assert_eq!(masks(&file), [IN_CREATE, IN_IGNORED]);
        assert!(!changes.active());
    }

    #[test]
    fn a_full_queue_says_so_once() {
        let changes = Notifications::default();
        let file = Inotify::new(&Budget::new(1), 1);
        file.add_watch(&changes, DIR, None, IN_CREATE).unwrap();
        for i in 0..MAX_QUEUED + 5 {
            changes.send(DIR, &event(IN_CREATE, Some(i.to_string().as_bytes())));
        }
        let masks = masks(&file);
        assert_eq!(masks.len(), MAX_QUEUED + 1);
        assert_eq!(masks.last(), Some(&IN_Q_OVERFLOW));
    }
}
