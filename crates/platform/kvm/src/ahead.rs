//! Pages that are made present before they are touched: around a touched one, above memory that is being written, and where
//! somebody says that they will be used.
//!
//! What a fault brings along counts neither as read nor as written: the processor marks what is used. It takes memory
//! only where it is a copy, and copies are made ahead of writers alone that came several pages in a row.

use std::ops::Range;
use std::sync::atomic::Ordering;

use platform_api::{Protection, Sharing};

use crate::areas::{Area, Behind};
use crate::entry::{Entry, Holding, Writing};
use crate::frames;
use crate::guest_memory::Access;
use crate::layout::{CHUNK, PAGE};
use crate::machine::Machine;
use crate::page_access::{Refusal, Want, allows, suffices};
use crate::state::{Gone, State, read_pages};
use crate::tables::change;

/// Pages around a touched one that are made present with it.
const AROUND: u64 = 16;
/// The same of pages of files, which take nothing.
const AROUND_OF_FILES: u64 = 64;
/// Bytes below one table of the last level: a fault brings no more along.
const TABLE: u64 = 512 * PAGE;
/// Most pages that are copied at a time.
const MOST_COPIED: u64 = 32;

/// Pages that come with one of memory that is written, after so many faults in a row; those that take memory only when
/// they are touched.
fn window(run: u32) -> u64 {
    AROUND << run.min(5)
}

/// The same of those that are copied.
fn copies(run: u32) -> u64 {
    match run {
        0 | 1 => 0,
        _ => MOST_COPIED.min(1 << (run - 1).min(16)),
    }
}

/// What becomes of a page above one that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// It can be written already.
    Ours,
    /// A frame that was shared with a fork, which nobody else has any more.
    OursAgain,
    /// A frame that a fork has as well.
    Forked,
    /// A page of a file that stays as it is.
    File,
    /// Nothing was there.
    Fresh,
    /// It is left alone.
    Other,
}

impl State {
    /// Makes pages that may be written the address space's own, before anybody writes them.
    pub(crate) fn touch(&mut self, machine: &Machine, range: &Range<u64>) -> Result<(), Refusal> {
        let mut made = Vec::new();
        let mut page = range.start;
        let mut outcome = Ok(());
        while page < range.end {
            match self.touch_some(machine, page..range.end, &mut made) {
                Ok(next) => page = next,
                Err(refusal) => {
                    outcome = Err(refusal);
                    break;
                }
            }
        }
        populate(machine, &mut made, Access::Write);
        outcome
    }

    /// The first pages of a range; returns where the rest begins.
    fn touch_some(
        &mut self,
        machine: &Machine,
        range: Range<u64>,
        made: &mut Vec<u64>,
    ) -> Result<u64, Refusal> {
        let page = range.start;
        if suffices(self.entry(page), Want::Write) {
            return Ok(page + PAGE);
        }
        let (start, area) = self.wanted(page, Want::Write)?;
        let of_file = |entry: Entry| !entry.is_owned();
        let most = range.end.min(area.end).min(page + MOST_COPIED * PAGE);
        if matches!(
            &area.behind,
            Behind::File {
                sharing: Sharing::Private,
                ..
            }
        ) {
            let run = page..self.end_of_run(page..most, |_, entry| of_file(entry));
            let as_written = |_, frame| Entry::new(frame, area.prot, Holding::Owned, Writing::Now);
            let frames = self.copy_file(machine, start, &area, run, as_written);
            if !frames.is_empty() {
                let next = page + frames.len() as u64 * PAGE;
                made.extend(frames);
                return Ok(next);
            }
        }
        let entry = self.present(machine, page, start, &area, Want::Write)?;
        if entry.is_owned() {
            made.push(entry.page());
        }
        Ok(page + PAGE)
    }

    /// Makes neighbours of a page present that was just made so for a touch. Failing is fine.
    pub(crate) fn around(
        &mut self,
        machine: &Machine,
        page: u64,
        start: u64,
        area: &Area,
        entry: Entry,
    ) {
        if entry.is_owned() && entry.is_writable() {
            let run = self.streams.fault(page);
            let end = self.own_above(machine, page, start, area, run);
            self.streams.brought(end);
        }
        if let Behind::File { offset, .. } = &area.behind {
            let block = PAGE * AROUND_OF_FILES;
            let first = (page & !(block - 1)).max(start);
            let last = ((page & !(block - 1)) + block).min(area.end);
            // Of the same window, so that no other is made for what may not be wanted.
            let at = offset + (page - start);
            let before = page - (at % CHUNK).min(page - first);
            let after = page.saturating_add(CHUNK - at % CHUNK);
            self.show(start, area, before..last.min(after), Entry::untouched);
        }
    }

    /// Has pages above a written one ready for writing: memory grows that way, except stacks. Returns where that ends.
    fn own_above(
        &mut self,
        machine: &Machine,
        page: u64,
        start: u64,
        area: &Area,
        run: u32,
    ) -> u64 {
        let wanted = match run {
            0 => (page & !(AROUND * PAGE - 1)) + AROUND * PAGE,
            _ => page + window(run) * PAGE,
        };
        let end = wanted.min((page & !(TABLE - 1)) + TABLE).min(area.end);
        let mut copies = copies(run);
        let mut at = page + PAGE;
        while at < end {
            let next = self.next(machine, area, self.entry(at));
            let most = match next {
                Next::Forked | Next::File => end.min(at + copies * PAGE),
                _ => end,
            };
            let alike = |state: &State, entry| state.next(machine, area, entry) == next;
            let run = at..self.end_of_run(at..most, alike);
            let pages = (run.end - run.start) / PAGE;
            let done = match next {
                Next::Ours => pages,
                Next::OursAgain => self.take_back(area.prot, run),
                Next::Forked => {
                    copies -= pages;
                    self.copy_frames(machine, area.prot, run)
                }
                Next::File => {
                    copies -= pages;
                    let as_copy = |old: Entry, frame| old.copied(frame, area.prot);
                    let mut made = self.copy_file(machine, start, area, run, as_copy);
                    let done = made.len() as u64;
                    populate(machine, &mut made, Access::Write);
                    done
                }
                Next::Fresh => self.put_fresh(machine, area.prot, run),
                Next::Other => 0,
            };
            at += done * PAGE;
            if done < pages.max(1) {
                break;
            }
        }
        at
    }

    fn next(&self, machine: &Machine, area: &Area, entry: Entry) -> Next {
        if entry.is_owned() {
            return match () {
                () if entry.is_writable() => Next::Ours,
                () if machine.frames.is_alone(entry.page()) => Next::OursAgain,
                () => Next::Forked,
            };
        }
        match &area.behind {
            Behind::Zeros if entry.is_nothing() => Next::Fresh,
            Behind::File {
                mapped,
                sharing: Sharing::Private,
                ..
            } if mapped.is_steady() => Next::File,
            _ => Next::Other,
        }
    }

    /// Where the pages at the start of a range end that are alike.
    fn end_of_run(&self, range: Range<u64>, alike: impl Fn(&State, Entry) -> bool) -> u64 {
        let mut pages = range.clone().step_by(PAGE as usize);
        pages
            .find(|at| !alike(self, self.entry(*at)))
            .unwrap_or(range.end.max(range.start))
    }

    /// Gives the right to write back, which a fork had taken.
    fn take_back(&self, prot: Protection, run: Range<u64>) -> u64 {
        let mut done = 0;
        self.tree.visit(run, |_, word| {
            change(word, |old| {
                let writing = if old.is_written() {
                    Writing::Now
                } else {
                    Writing::Later
                };
                old.protected(prot, writing)
            });
            done += 1;
        });
        done
    }

    /// Puts frames in place that take memory when somebody touches them.
    fn put_fresh(&mut self, machine: &Machine, prot: Protection, run: Range<u64>) -> u64 {
        let frames = machine.take_frames((run.end - run.start) / PAGE);
        self.replace(machine, run.start, &frames, |_, frame| {
            Entry::new(frame, prot, Holding::Owned, Writing::Later).untouched()
        })
    }

    /// Puts copies of frames in place of them; they count as written, as the frames do.
    fn copy_frames(&mut self, machine: &Machine, prot: Protection, run: Range<u64>) -> u64 {
        let mut frames = machine.take_frames((run.end - run.start) / PAGE);
        let mut contents = [0; PAGE as usize];
        for (at, frame) in run.clone().step_by(PAGE as usize).zip(&frames) {
            machine.vm.memory.read(self.entry(at).page(), &mut contents);
            machine.vm.memory.write(*frame, &contents);
        }
        let done = self.replace(machine, run.start, &frames, |_, frame| {
            Entry::new(frame, prot, Holding::Owned, Writing::Now)
        });
        frames.truncate(done as usize);
        populate(machine, &mut frames, Access::Write);
        done
    }

    /// Puts copies of a file's pages in place, as far as the file goes; returns their frames, in order.
    fn copy_file(
        &mut self,
        machine: &Machine,
        start: u64,
        area: &Area,
        run: Range<u64>,
        to: impl Fn(Entry, u64) -> Entry,
    ) -> Vec<u64> {
        let Behind::File { mapped, offset, .. } = &area.behind else {
            return Vec::new();
        };
        let at = offset + (run.start - start);
        let there = mapped.len().saturating_sub(at).div_ceil(PAGE);
        let mut frames = machine.take_frames(there.min((run.end - run.start) / PAGE));
        let mut contents = vec![0; frames.len() * PAGE as usize];
        if read_pages(&mapped.file, at, &mut contents).is_err() {
            machine.give_back(&frames);
            return Vec::new();
        }
        for (frame, page) in frames.iter().zip(contents.chunks(PAGE as usize)) {
            machine.vm.memory.write(*frame, page);
        }
        let done = self.replace(machine, run.start, &frames, to);
        frames.truncate(done as usize);
        frames
    }

    /// Puts frames in place of what is there, one after the other; returns how many.
    fn replace(
        &mut self,
        machine: &Machine,
        start: u64,
        frames: &[u64],
        to: impl Fn(Entry, u64) -> Entry,
    ) -> u64 {
        let pages = (start..).step_by(PAGE as usize);
        let mut gone = Gone::default();
        let mut old = Vec::with_capacity(frames.len());
        for (at, _) in pages.clone().zip(frames) {
            let Ok(word) = self.tree.word_or_new(at) else {
                break;
            };
            let entry = Entry(word.load(Ordering::Relaxed));
            old.push(if entry.is_nothing() {
                entry
            } else {
                change(word, |_| Entry::default())
            });
            gone.add(old.last().copied().unwrap_or_default());
        }
        // Nobody sees an old page once somebody may write the new one.
        gone.forget(machine);
        let (used, rest) = frames.split_at(old.len());
        for ((at, frame), old) in pages.zip(used).zip(&old) {
            if let Some(word) = self.tree.word(at) {
                change(word, |_| to(*old, *frame));
            }
        }
        machine.give_back(rest);
        old.len() as u64
    }

    /// Makes pages of files in a range present before anybody touches them, as far as there are any. Failing is fine.
    pub(crate) fn prefault(&mut self, machine: &Machine, range: &Range<u64>) {
        let mut shown = Vec::new();
        for (start, area) in self.areas.parts(range) {
            if allows(area.prot, Want::Read) {
                shown.append(&mut self.show(start, &area, start..area.end, |entry| entry));
            }
        }
        populate(machine, &mut shown, Access::Read);
    }

    /// Shows the file behind an area in a part of it, where nothing is yet; returns which pages those are.
    fn show(
        &mut self,
        start: u64,
        area: &Area,
        part: Range<u64>,
        as_used: impl Fn(Entry) -> Entry,
    ) -> Vec<u64> {
        let mut shown = Vec::new();
        let Behind::File {
            mapped,
            offset,
            sharing,
        } = &area.behind
        else {
            return shown;
        };
        let writing = match sharing {
            Sharing::Shared => Writing::Later,
            Sharing::Private => Writing::Never,
        };
        let len = mapped.len();
        let mut before: Option<u64> = None;
        for at in part.step_by(PAGE as usize) {
            let file_at = offset + (at - start);
            if file_at >= len {
                return shown;
            }
            // Pages of a window are in a row.
            let Ok(gpa) = (match before {
                Some(gpa) if !file_at.is_multiple_of(CHUNK) => Ok(gpa + PAGE),
                _ => mapped.page(file_at),
            }) else {
                return shown;
            };
            before = Some(gpa);
            let entry = Entry::new(gpa, area.prot, Holding::Borrowed, writing);
            if self.put_if_nothing(at, as_used(entry)) {
                shown.push(gpa);
            }
        }
        shown
    }

    fn put_if_nothing(&mut self, at: u64, entry: Entry) -> bool {
        self.tree.word_or_new(at).is_ok_and(|word| {
            let free = word.compare_exchange(0, entry.0, Ordering::AcqRel, Ordering::Relaxed);
            free.is_ok()
        })
    }
}

/// Has the host's own mappings of these pages in place.
fn populate(machine: &Machine, pages: &mut Vec<u64>, access: Access) {
    for run in frames::runs(pages) {
        let len = run.end - run.start;
        machine.vm.memory.populate(run.start, len, access);
    }
}
