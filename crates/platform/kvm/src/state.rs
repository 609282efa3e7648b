//! The changing part of an address space: areas, page tables, and how a page gets there.
//!
//! ```text
//!   nothing ──read──▶ borrowed (window on a file, frame of zeros) ──write──▶ owned, written
//!      └──────anonymous, writable: read or write──▶ owned ──fork──▶ shared, not writable ──write──▶ copied, or ours again
//! ```

use std::ops::Range;
use std::os::unix::fs::FileExt;

use base_abi::Errno;
use platform_api::{Protection, Sharing};

use crate::areas::{Area, Areas, Behind};
use crate::entry::{Entry, Holding, Writing};
use crate::frames::{self, ZERO_FRAME};
use crate::layout::{CHUNK, PAGE};
use crate::machine::Machine;
use crate::tables::{Tree, change};
use crate::window::Access;

/// Pages around a touched one that are made present with it.
const AROUND: u64 = 16;
/// The same of pages of files, which take nothing.
const AROUND_OF_FILES: u64 = 64;

/// What somebody wants to do with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    Read,
    Write,
    Execute,
}

/// Why a page cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Nothing is mapped there.
    Unmapped,
    /// The protection says no.
    Forbidden,
    /// The file ends before it.
    BeyondFile,
    /// The host or the machine has no room.
    NoMemory,
}

/// What is mapped, and the tables that say so to the processor.
pub(crate) struct State {
    pub(crate) areas: Areas,
    pub(crate) tree: Tree,
}

/// Pages that an address space no longer has.
#[derive(Default)]
pub(crate) struct Gone {
    owned: Vec<u64>,
    borrowed: Vec<u64>,
}

impl Gone {
    fn add(&mut self, entry: Entry) {
        if entry.is_owned() {
            self.owned.push(entry.page());
        } else if entry.is_present() {
            self.borrowed.push(entry.page());
        }
    }

    /// For an address space whose tables are never walked again: files stay visible to others.
    pub(crate) fn without_borrowed(mut self) -> Gone {
        self.borrowed.clear();
        self
    }

    /// Drops every translation to the pages, and those that nobody else has.
    pub(crate) fn forget(self, machine: &Machine) {
        machine.forget(&self.owned, &self.borrowed);
    }
}

/// Whether an access is within a protection, as x86 has it: what can be written or executed can be read.
pub(crate) fn allows(prot: Protection, want: Want) -> bool {
    match want {
        Want::Read => !prot.is_empty(),
        Want::Write => prot.contains(Protection::WRITE),
        Want::Execute => prot.contains(Protection::EXEC),
    }
}

fn suffices(entry: Entry, want: Want) -> bool {
    match want {
        Want::Read => entry.is_present(),
        Want::Write => entry.is_writable(),
        Want::Execute => entry.is_executable(),
    }
}

impl State {
    /// Makes a page present for an access, and its neighbours with it; returns its entry.
    pub(crate) fn resolve(
        &mut self,
        machine: &Machine,
        addr: u64,
        want: Want,
    ) -> Result<Entry, Refusal> {
        let page = addr & !(PAGE - 1);
        let entry = self.entry(page);
        if suffices(entry, want) {
            return Ok(entry);
        }
        let (start, area) = self.wanted(page, want)?;
        let entry = self.present(machine, page, start, &area, want)?;
        self.around(machine, page, start, &area);
        Ok(entry)
    }

    /// Makes pages that may be written the address space's own, before anybody writes them.
    pub(crate) fn touch(&mut self, machine: &Machine, range: &Range<u64>) -> Result<(), Refusal> {
        let mut made = Vec::new();
        let mut refused = None;
        for page in range.clone().step_by(PAGE as usize) {
            if suffices(self.entry(page), Want::Write) {
                continue;
            }
            let entry = self
                .wanted(page, Want::Write)
                .and_then(|(start, area)| self.present(machine, page, start, &area, Want::Write));
            match entry {
                Ok(entry) if entry.is_owned() => made.push(entry.page()),
                Ok(_) => {}
                Err(refusal) => {
                    refused = Some(refusal);
                    break;
                }
            }
        }
        for run in frames::runs(&mut made) {
            let len = run.end - run.start;
            machine.window.populate(run.start, len, Access::Write);
        }
        refused.map_or(Ok(()), Err)
    }

    /// The area of a page that may be used so, with its start.
    fn wanted(&self, page: u64, want: Want) -> Result<(u64, Area), Refusal> {
        let (start, area) = self.areas.at(page).ok_or(Refusal::Unmapped)?;
        if !allows(area.prot, want) {
            return Err(Refusal::Forbidden);
        }
        Ok((start, area.clone()))
    }

    /// Puts a page of an area in place for an access that is allowed.
    fn present(
        &mut self,
        machine: &Machine,
        page: u64,
        start: u64,
        area: &Area,
        want: Want,
    ) -> Result<Entry, Refusal> {
        let entry = match &area.behind {
            Behind::File {
                mapped,
                offset,
                sharing: Sharing::Shared,
            } => {
                let at = offset + (page - start);
                if at >= mapped.len() {
                    return Err(Refusal::BeyondFile);
                }
                let gpa = mapped.page(at).map_err(|_| Refusal::NoMemory)?;
                Entry::new(gpa, area.prot, Holding::Borrowed, Writing::Later)
            }
            _ => self.private(machine, page, start, area, want)?,
        };
        self.set(machine, page, entry)?;
        Ok(entry)
    }

    /// The entry of a page of private memory.
    fn private(
        &mut self,
        machine: &Machine,
        page: u64,
        start: u64,
        area: &Area,
        want: Want,
    ) -> Result<Entry, Refusal> {
        let old = self.entry(page);
        if old.is_owned() {
            if machine.frames.is_alone(old.page()) {
                let writing = if want == Want::Write || old.is_written() {
                    Writing::Now
                } else {
                    Writing::Later
                };
                let entry = old.protected(area.prot, writing);
                return Ok(if writing == Writing::Now {
                    entry.written()
                } else {
                    entry
                });
            }
            if want != Want::Write {
                return Ok(old.protected(area.prot, Writing::Never));
            }
            let mut contents = [0u8; PAGE as usize];
            machine.window.read(old.page(), &mut contents);
            return self.own(machine, area.prot, Some(&contents));
        }
        let writable = area.prot.contains(Protection::WRITE);
        match &area.behind {
            Behind::Zeros if want == Want::Write => self.own(machine, area.prot, None),
            Behind::Zeros if writable => fresh(machine, area.prot),
            Behind::Zeros => Ok(Entry::new(
                ZERO_FRAME,
                area.prot,
                Holding::Borrowed,
                Writing::Never,
            )),
            Behind::File { mapped, offset, .. } => {
                let at = offset + (page - start);
                if at >= mapped.len() {
                    return Err(Refusal::BeyondFile);
                }
                if want != Want::Write {
                    let gpa = mapped.page(at).map_err(|_| Refusal::NoMemory)?;
                    return Ok(Entry::new(
                        gpa,
                        area.prot,
                        Holding::Borrowed,
                        Writing::Never,
                    ));
                }
                let mut contents = [0u8; PAGE as usize];
                read_page(&mapped.file, at, &mut contents)?;
                self.own(machine, area.prot, Some(&contents))
            }
        }
    }

    /// A written frame with these contents.
    fn own(
        &self,
        machine: &Machine,
        prot: Protection,
        contents: Option<&[u8]>,
    ) -> Result<Entry, Refusal> {
        let frame = take(machine)?;
        if let Some(contents) = contents {
            machine.window.write(frame, contents);
        }
        Ok(Entry::new(frame, prot, Holding::Owned, Writing::Now))
    }

    /// What an address has now.
    pub(crate) fn entry(&self, page: u64) -> Entry {
        let word = self.tree.word(page);
        word.map_or(Entry::default(), |word| {
            Entry(word.load(std::sync::atomic::Ordering::Relaxed))
        })
    }

    /// Puts an entry in place of another; what the old one showed elsewhere is forgotten.
    fn set(&mut self, machine: &Machine, page: u64, entry: Entry) -> Result<(), Refusal> {
        let word = self.tree.word_or_new(page).map_err(|_| Refusal::NoMemory)?;
        let old = change(word, |_| entry);
        if !old.is_nothing() && old.page() != entry.page() {
            let mut gone = Gone::default();
            gone.add(old);
            gone.forget(machine);
        }
        Ok(())
    }

    /// Makes neighbours present that cost nothing: pages of windows, and frames that nobody touched. Failing is fine.
    fn around(&mut self, machine: &Machine, page: u64, start: u64, area: &Area) {
        let block = PAGE
            * match &area.behind {
                Behind::Zeros => AROUND,
                Behind::File { .. } => AROUND_OF_FILES,
            };
        let first = (page & !(block - 1)).max(start);
        let last = ((page & !(block - 1)) + block).min(area.end);
        match &area.behind {
            Behind::Zeros if area.prot.contains(Protection::WRITE) => {
                // Upwards only: memory grows that way, except stacks.
                for at in (page + PAGE..last).step_by(PAGE as usize) {
                    let Ok(entry) = fresh(machine, area.prot) else {
                        return;
                    };
                    if !self.put_if_nothing(at, entry.untouched()) {
                        machine.frames.release(&[entry.page()]);
                        machine.frames.reuse(&[entry.page()]);
                        return;
                    }
                }
            }
            Behind::Zeros => {}
            Behind::File { offset, .. } => {
                // Of the same window, so that no other is made for what may not be wanted.
                let at = offset + (page - start);
                let before = page - (at % CHUNK).min(page - first);
                let after = page.saturating_add(CHUNK - at % CHUNK);
                self.show(start, area, before..last.min(after), Entry::untouched);
            }
        }
    }

    /// Makes pages of files in a range present before anybody touches them, as far as there are any. Failing is fine.
    pub(crate) fn prefault(&mut self, machine: &Machine, range: &Range<u64>) {
        let mut shown = Vec::new();
        for (start, area) in self.areas.parts(range) {
            if allows(area.prot, Want::Read) {
                shown.append(&mut self.show(start, &area, start..area.end, |entry| entry));
            }
        }
        for run in frames::runs(&mut shown) {
            let len = run.end - run.start;
            machine.window.populate(run.start, len, Access::Read);
        }
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
        use std::sync::atomic::Ordering;
        self.tree.word_or_new(at).is_ok_and(|word| {
            let free = word.compare_exchange(0, entry.0, Ordering::AcqRel, Ordering::Relaxed);
            free.is_ok()
        })
    }

    /// Takes every page of a range out.
    pub(crate) fn clear(&self, range: &Range<u64>) -> Gone {
        let mut gone = Gone::default();
        self.tree.visit(range.clone(), |_, word| {
            gone.add(change(word, |_| Entry::default()));
        });
        gone
    }

    /// Takes out what is private in a range, or borrowed: it reads as what is behind it.
    pub(crate) fn discard(&self, range: &Range<u64>) -> Gone {
        let mut gone = Gone::default();
        for (start, area) in self.areas.parts(range) {
            if !matches!(
                &area.behind,
                Behind::File {
                    sharing: Sharing::Shared,
                    ..
                }
            ) {
                let part = self.clear(&(start..area.end));
                gone.owned.extend(part.owned);
                gone.borrowed.extend(part.borrowed);
            }
        }
        gone
    }

    /// Changes the protection of a mapped range.
    pub(crate) fn protect(&mut self, machine: &Machine, range: &Range<u64>, prot: Protection) {
        let mut narrowed = Vec::new();
        for (start, mut area) in self.areas.take(range) {
            let shared = matches!(
                &area.behind,
                Behind::File {
                    sharing: Sharing::Shared,
                    ..
                }
            );
            self.tree.visit(start..area.end, |_, word| {
                let old = change(word, |old| {
                    let mine = old.is_owned()
                        && (old.is_writable() || machine.frames.is_alone(old.page()));
                    let writing = match () {
                        () if shared || (mine && !old.is_written()) => Writing::Later,
                        () if mine => Writing::Now,
                        () => Writing::Never,
                    };
                    old.protected(prot, writing)
                });
                let new = old.protected(prot, Writing::Never);
                let loses = (old.is_present() && !new.is_present())
                    || (old.is_writable() && !prot.contains(Protection::WRITE))
                    || (old.is_executable() && !new.is_executable());
                if loses {
                    narrowed.push(old.page());
                }
            });
            area.prot = prot;
            self.areas.put(start, area);
        }
        machine.forget(&[], &narrowed);
    }

    /// Moves pages to another place in the same order; nothing is mapped there.
    pub(crate) fn move_pages(
        &mut self,
        machine: &Machine,
        range: &Range<u64>,
        to: u64,
    ) -> Result<(), Errno> {
        let mut moved = Vec::new();
        self.tree.visit(range.clone(), |at, word| {
            moved.push((at, change(word, |_| Entry::default())));
        });
        let seen: Vec<u64> = moved
            .iter()
            .filter(|(_, entry)| entry.is_present())
            .map(|(_, entry)| entry.page())
            .collect();
        machine.forget(&[], &seen);
        for (at, entry) in moved {
            let word = self.tree.word_or_new(to + (at - range.start))?;
            change(word, |_| entry);
        }
        Ok(())
    }

    /// Takes present pages of a guest-physical range out, because the host says that they are not there.
    pub(crate) fn drop_borrowed(&self, range: &Range<u64>) {
        self.tree.visit(0..crate::layout::GUEST_END, |_, word| {
            let entry = Entry(word.load(std::sync::atomic::Ordering::Relaxed));
            if entry.is_present() && !entry.is_owned() && range.contains(&entry.page()) {
                change(word, |_| Entry::default());
            }
        });
    }
}

fn take(machine: &Machine) -> Result<u64, Refusal> {
    let frame = machine.frames.take().map_err(|_| Refusal::NoMemory)?;
    machine.slots.ensure(frame).map_err(|_| Refusal::NoMemory)?;
    Ok(frame)
}

/// A frame that nobody has touched: it takes memory when somebody does.
fn fresh(machine: &Machine, prot: Protection) -> Result<Entry, Refusal> {
    let frame = take(machine)?;
    Ok(Entry::new(frame, prot, Holding::Owned, Writing::Later))
}

/// Reads a page of a file; what is beyond its end is zeros.
pub(crate) fn read_page(file: &std::fs::File, offset: u64, page: &mut [u8]) -> Result<(), Refusal> {
    let mut done = 0;
    while done < page.len() {
        let rest = page.get_mut(done..).unwrap_or_default();
        match file.read_at(rest, offset + done as u64) {
            Ok(0) => return Ok(()),
            Ok(n) => done += n,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return Err(Refusal::BeyondFile),
        }
    }
    Ok(())
}
