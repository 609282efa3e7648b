//! Programs that ask to be captured where they are, by writing to `/proc/rekindle/snapshot`.
//!
//! ```text
//!                ask              captured, resume ─▶ answer: done
//!   taken care of ──▶ asked by T ─┬
//!                                 └────────── resume, close ─▶ answer: EOPNOTSUPP
//! ```
//! The write blocks by saying `EAGAIN`; it is made again when there is an answer, which is kept until
//! the same task comes for it. In a clone everybody who waited finds the answer that it is done.
//!
//! # Locks
//! `SnapshotRequests::state` is the last: neither the one who takes care nor a waiter is called with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use kernel_proc::SnapshotState;
use kernel_vfs::{Errno, Events, PollTable, Result, WaitQueue};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// Answers that are kept for tasks that do not come for them (a handler ended their write).
const ANSWERS: usize = 64;

/// Told that somebody asks. It must not stop the guest itself: it is called by one of its threads.
pub type Taker = Arc<dyn Fn() + Send + Sync>;

/// Who asks for a snapshot of this kernel, and what they are told.
#[derive(Default)]
pub struct SnapshotRequests {
    state: Mutex<Requests>,
    queue: WaitQueue,
}

#[derive(Default)]
struct Requests {
    word: SnapshotState,
    taker: Option<Taker>,
    /// The time for it is over.
    closed: bool,
    /// A snapshot was taken since somebody could last go on.
    taken: bool,
    asker: Option<i32>,
    answers: BTreeMap<i32, Result<()>>,
}

impl Requests {
    fn answer(&mut self, answer: Result<()>) {
        let Some(tid) = self.asker.take() else { return };
        if self.answers.len() >= ANSWERS {
            self.answers.pop_first();
        }
        self.answers.insert(tid, answer);
    }

    fn let_go(&mut self) {
        let taken = std::mem::take(&mut self.taken);
        self.answer(if taken {
            Ok(())
        } else {
            Err(Errno::EOPNOTSUPP)
        });
    }
}

/// What a snapshot keeps.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct RequestsState {
    closed: bool,
    /// Tasks that wait for their answer, or have not come for it.
    askers: Vec<i32>,
}

impl SnapshotRequests {
    /// From now on `taker` takes care of who asks, unless the time for it is over.
    pub fn serve(&self, taker: Taker) {
        self.state.lock().taker = Some(taker);
    }

    /// From now on nobody can ask; who waits is told that there is no snapshot.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.let_go();
        drop(state);
        self.queue.wake(Events::all());
    }

    /// Whether the time for it is over.
    #[must_use]
    pub fn closed(&self) -> bool {
        self.state.lock().closed
    }

    /// Whether somebody asked and has no answer.
    #[must_use]
    pub fn waiting(&self) -> bool {
        self.state.lock().asker.is_some()
    }

    /// The snapshot is written: this is the original of one.
    pub fn captured(&self) {
        let mut state = self.state.lock();
        state.word = SnapshotState::Captured;
        state.taken = true;
    }

    /// The guest goes on: who waits learns whether a snapshot was taken.
    pub fn resume(&self) {
        self.state.lock().let_go();
        self.queue.wake(Events::all());
    }

    /// The guest could not be stopped for it: who waits may try again.
    pub fn busy(&self) {
        self.state.lock().answer(Err(Errno::EBUSY));
        self.queue.wake(Events::all());
    }

    pub(crate) fn word(&self) -> SnapshotState {
        self.state.lock().word
    }

    /// A task asks, or comes for its answer.
    pub(crate) fn ask(&self, tid: i32) -> Result<()> {
        let taker = {
            let mut state = self.state.lock();
            if let Some(answer) = state.answers.remove(&tid) {
                return answer;
            }
            match (state.asker, &state.taker) {
                (Some(asker), _) if asker == tid => return Err(Errno::EAGAIN),
                (Some(_), _) => return Err(Errno::EBUSY),
                (None, Some(taker)) if !state.closed => {
                    let taker = Arc::clone(taker);
                    state.asker = Some(tid);
                    taker
                }
                (None, _) => return Err(Errno::EOPNOTSUPP),
            }
        };
        taker();
        Err(Errno::EAGAIN)
    }

    pub(crate) fn poll(&self, table: &mut PollTable) -> Events {
        table.add(&self.queue);
        if self.waiting() {
            Events::READABLE
        } else {
            Events::READABLE | Events::WRITABLE
        }
    }

    /// This kernel is a clone of what was nothing yet: it is at its own beginning, and may be captured.
    pub fn begin_anew(&self) {
        let mut state = self.state.lock();
        let taker = state.taker.take();
        *state = Requests {
            taker,
            ..Requests::default()
        };
    }

    pub(super) fn save(&self) -> RequestsState {
        let state = self.state.lock();
        let answered = state.answers.keys().copied();
        RequestsState {
            closed: state.closed,
            askers: answered.chain(state.asker).collect(),
        }
    }

    /// This kernel is a clone.
    pub(super) fn load(&self, saved: RequestsState) {
        let mut state = self.state.lock();
        state.word = SnapshotState::Restored;
        state.closed = saved.closed;
        let askers = saved.askers.into_iter().take(ANSWERS + 1);
        state.answers = askers.map(|tid| (tid, Ok(()))).collect();
    }
}
