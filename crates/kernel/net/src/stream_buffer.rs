//! Bytes on their way from one endpoint to the other, with the places where one sender's
//! identity or descriptors apply.

use std::collections::VecDeque;
use std::sync::Arc;

use kernel_vfs::save::{LoadError, Unsavable};
use serde::{Deserialize, Serialize};

use crate::limits::Budget;
use crate::rights::Rights;
use crate::{Result, Ucred};

/// What a mark costs beside its bytes, so that empty records are bounded too.
const MARK_COST: usize = 256;
/// A buffer that grew beyond this is given back when it runs empty.
const KEEP_CAPACITY: usize = 16 << 10;

/// A run of bytes from one send call (or several alike).
pub(crate) struct Mark {
    /// Position of the first byte.
    start: u64,
    /// Position after the last byte.
    pub(crate) end: u64,
    /// Who sent it.
    pub(crate) credentials: Ucred,
    /// Descriptors that come with its first byte.
    pub(crate) rights: Option<Rights>,
}

/// A queue of bytes, charged to the namespace's budget.
pub(crate) struct StreamBuffer {
    bytes: VecDeque<u8>,
    /// Stream position of the first byte.
    head: u64,
    marks: VecDeque<Mark>,
    budget: Arc<Budget>,
}

/// A buffer as plain data.
#[derive(Serialize, Deserialize)]
pub(crate) struct BufferState {
    bytes: Vec<u8>,
    head: u64,
    marks: Vec<(u64, u64, Ucred)>,
}

impl StreamBuffer {
    /// What is in it.
    ///
    /// # Errors
    /// Descriptors in flight.
    pub(crate) fn saved(&self) -> std::result::Result<BufferState, Unsavable> {
        if self.marks.iter().any(|mark| mark.rights.is_some()) {
            return Err(Unsavable::new("descriptors in flight in a socket"));
        }
        let marks = self.marks.iter();
        Ok(BufferState {
            bytes: self.bytes.iter().copied().collect(),
            head: self.head,
            marks: marks.map(|m| (m.start, m.end, m.credentials)).collect(),
        })
    }

    pub(crate) fn restored(
        state: BufferState,
        budget: &Arc<Budget>,
    ) -> std::result::Result<StreamBuffer, LoadError> {
        const WRONG: LoadError = LoadError::Malformed("bytes of a connection");
        let end = state.head.checked_add(state.bytes.len() as u64);
        let end = end.ok_or(WRONG)?;
        let ordered = |(start, stop, _): &(u64, u64, Ucred)| start <= stop && *stop <= end;
        if !state.marks.iter().all(ordered) {
            return Err(WRONG);
        }
        let cost = state.marks.len().checked_mul(MARK_COST);
        let cost = cost.and_then(|c| c.checked_add(state.bytes.len()));
        let taken = budget.take_bytes(cost.ok_or(WRONG)?);
        taken.map_err(LoadError::failed("bytes of a connection"))?;
        let mark = |(start, end, credentials)| Mark {
            start,
            end,
            credentials,
            rights: None,
        };
        Ok(StreamBuffer {
            bytes: state.bytes.into(),
            head: state.head,
            marks: state.marks.into_iter().map(mark).collect(),
            budget: Arc::clone(budget),
        })
    }

    pub(crate) fn new(budget: Arc<Budget>) -> StreamBuffer {
        StreamBuffer {
            bytes: VecDeque::new(),
            head: 0,
            marks: VecDeque::new(),
            budget,
        }
    }

    /// Bytes waiting.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Neither bytes nor records wait.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.marks.is_empty()
    }

    /// What it weighs against the sender's buffer size.
    pub(crate) fn used(&self) -> usize {
        self.bytes.len() + self.marks.len() * MARK_COST
    }

    /// Stream position of the next byte to read.
    pub(crate) fn head(&self) -> u64 {
        self.head
    }

    /// Stream position of the next byte to come.
    pub(crate) fn tail(&self) -> u64 {
        self.head + self.bytes.len() as u64
    }

    pub(crate) fn push(&mut self, data: &[u8]) -> Result<()> {
        self.budget.take_bytes(data.len())?;
        self.bytes.extend(data);
        Ok(())
    }

    /// Appends bytes that may join the previous ones of the same sender.
    pub(crate) fn push_run(
        &mut self,
        data: &[u8],
        credentials: Ucred,
        rights: &mut Option<Rights>,
    ) -> Result<()> {
        let joins = |last: &&mut Mark| {
            rights.is_none() && last.rights.is_none() && last.credentials == credentials
        };
        if let Some(last) = self.marks.back_mut().filter(joins) {
            self.budget.take_bytes(data.len())?;
            last.end += data.len() as u64;
            self.bytes.extend(data);
            return Ok(());
        }
        self.push_record(data, credentials, rights)
    }

    /// Appends a record of its own; takes the descriptors only when it succeeds, because they may
    /// not be dropped under the lock of a connection.
    pub(crate) fn push_record(
        &mut self,
        data: &[u8],
        credentials: Ucred,
        rights: &mut Option<Rights>,
    ) -> Result<()> {
        self.budget.take_bytes(data.len() + MARK_COST)?;
        let start = self.tail();
        self.bytes.extend(data);
        self.marks.push_back(Mark {
            start,
            end: self.tail(),
            credentials,
            rights: rights.take(),
        });
        Ok(())
    }

    /// The mark of the next byte.
    pub(crate) fn mark(&mut self) -> Option<&mut Mark> {
        self.marks.front_mut()
    }

    /// Marks in order.
    pub(crate) fn marks(&self) -> impl Iterator<Item = &Mark> {
        self.marks.iter()
    }

    /// The descriptors of one mark, taken out.
    pub(crate) fn take_mark_rights(&mut self, index: usize) -> Option<Rights> {
        self.marks.get_mut(index)?.rights.take()
    }

    /// The descriptors of all marks, taken out.
    pub(crate) fn take_rights(&mut self) -> Vec<Rights> {
        self.marks
            .iter_mut()
            .filter_map(|m| m.rights.take())
            .collect()
    }

    /// Bytes left in the first record.
    pub(crate) fn record_len(&self) -> usize {
        let first = self.marks.front();
        first.map_or(0, |m| {
            usize::try_from(m.end - m.start.max(self.head)).unwrap_or(0)
        })
    }

    /// Copies from `skip` bytes after the head without consuming; returns the count.
    pub(crate) fn copy_out(&self, skip: usize, buf: &mut [u8]) -> usize {
        let n = buf.len().min(self.bytes.len().saturating_sub(skip));
        let (first, second) = self.bytes.as_slices();
        let from_first = first.get(skip..).unwrap_or_default();
        let from_second = second
            .get(skip.saturating_sub(first.len())..)
            .unwrap_or_default();
        let a = n.min(from_first.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..a), from_first.get(..a)) {
            to.copy_from_slice(from);
        }
        if let (Some(to), Some(from)) = (buf.get_mut(a..n), from_second.get(..n - a)) {
            to.copy_from_slice(from);
        }
        n
    }

    /// Drops `n` bytes and the marks that end there; marks with descriptors must have been emptied.
    pub(crate) fn consume(&mut self, n: usize) {
        let n = n.min(self.bytes.len());
        self.bytes.drain(..n);
        self.head += n as u64;
        self.budget.give_bytes(n);
        while self.marks.front().is_some_and(|m| m.end <= self.head) {
            self.pop_mark();
        }
        if self.bytes.is_empty() && self.bytes.capacity() > KEEP_CAPACITY {
            self.bytes = VecDeque::new();
        }
    }

    /// Puts bytes back before the others, with a mark of their own where there are marks. Without budget for them, which they
    /// were taken from a moment ago, they are lost.
    pub(crate) fn put_back(&mut self, bytes: &[u8], mark: Option<(Ucred, Option<Rights>)>) {
        let cost = bytes.len() + mark.as_ref().map_or(0, |_| MARK_COST);
        if self.budget.take_bytes(cost).is_err() {
            return;
        }
        let end = self.head;
        for byte in bytes.iter().rev() {
            self.bytes.push_front(*byte);
        }
        self.head = end.saturating_sub(bytes.len() as u64);
        if let Some((credentials, rights)) = mark {
            self.marks.push_front(Mark {
                start: self.head,
                end,
                credentials,
                rights,
            });
        }
    }

    /// Drops the first record with all its bytes, but not an empty one behind it.
    pub(crate) fn consume_record(&mut self) {
        let n = self.record_len().min(self.bytes.len());
        self.bytes.drain(..n);
        self.head += n as u64;
        self.budget.give_bytes(n);
        self.pop_mark();
        if self.bytes.is_empty() && self.bytes.capacity() > KEEP_CAPACITY {
            self.bytes = VecDeque::new();
        }
    }

    fn pop_mark(&mut self) {
        if self.marks.pop_front().is_some() {
            self.budget.give_bytes(MARK_COST);
        }
    }

    /// Drops everything and returns the descriptors it held.
    pub(crate) fn clear(&mut self) -> Vec<Rights> {
        let rights = self.take_rights();
        self.budget
            .give_bytes(self.bytes.len() + self.marks.len() * MARK_COST);
        self.head = self.tail();
        self.marks.clear();
        self.bytes = VecDeque::new();
        rights
    }
}

impl Drop for StreamBuffer {
    fn drop(&mut self) {
        drop(self.clear());
    }
}
