//! The changing part of an address space: areas, page tables, and how a page gets there.
//!
//! ```text
//!   nothing ──read──▶ borrowed (window on a file, frame of zeros) ──write──▶ owned, written
//!      └──────anonymous, writable: read or write──▶ owned ──fork──▶ shared, not writable ──write──▶ copied, or ours again
//! ```

use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;

use base_abi::Errno;
use platform_api::{Protection, Sharing};

use crate::areas::{Area, Areas, Behind};
use crate::entry::{Entry, Holding, Writing};
use crate::files::Mapped;
use crate::frames::ZERO_FRAME;
use crate::layout::PAGE;
use crate::machine::Machine;
use crate::page_access::{Refusal, Want, allows, suffices};
use crate::streams::Streams;
use crate::tables::{Tree, change};

/// What is mapped, and the tables that say so to the processor.
pub(crate) struct State {
    pub(crate) areas: Areas,
    pub(crate) tree: Tree,
    /// Where memory is being written.
    pub(crate) streams: Streams,
}

/// Pages that an address space no longer has.
#[derive(Default)]
pub(crate) struct Gone {
    owned: Vec<u64>,
    borrowed: Vec<u64>,
}

impl Gone {
    pub(crate) fn add(&mut self, entry: Entry) {
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
        self.around(machine, page, start, &area, entry);
        Ok(entry)
    }

    /// The area of a page that may be used so, with its start.
    pub(crate) fn wanted(&self, page: u64, want: Want) -> Result<(u64, Area), Refusal> {
        let (start, area) = self.areas.at(page).ok_or(Refusal::Unmapped)?;
        if !allows(area.prot, want) {
            return Err(Refusal::Forbidden);
        }
        Ok((start, area.clone()))
    }

    /// Puts a page of an area in place for an access that is allowed.
    pub(crate) fn present(
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
                let at = within(mapped, offset + (page - start))?;
                borrowed(mapped, at, area.prot, Writing::Later)?
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
            machine.vm.memory.read(old.page(), &mut contents);
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
                let at = within(mapped, offset + (page - start))?;
                if want != Want::Write {
                    return borrowed(mapped, at, area.prot, Writing::Never);
                }
                let mut contents = [0u8; PAGE as usize];
                read_pages(&mapped.file, at, &mut contents)?;
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
        let frame = machine.take_frame().ok_or(Refusal::NoMemory)?;
        if let Some(contents) = contents {
            machine.vm.memory.write(frame, contents);
        }
        Ok(Entry::new(frame, prot, Holding::Owned, Writing::Now))
    }

    /// What an address has now.
    pub(crate) fn entry(&self, page: u64) -> Entry {
        let word = self.tree.word(page);
        word.map_or(Entry::default(), |word| Entry(word.load(Ordering::Relaxed)))
    }

    /// Puts an entry in place of another; what the old one showed elsewhere is forgotten.
    fn set(&mut self, machine: &Machine, page: u64, entry: Entry) -> Result<(), Refusal> {
        let word = self.tree.word_or_new(page).map_err(|_| Refusal::NoMemory)?;
        let seen = Entry(word.load(Ordering::Relaxed));
        if seen.is_nothing() || seen.page() == entry.page() {
            change(word, |_| entry);
            return Ok(());
        }
        // Nobody sees the old page once somebody may write the new one.
        let mut gone = Gone::default();
        gone.add(change(word, |_| Entry::default()));
        gone.forget(machine);
        change(word, |_| entry);
        Ok(())
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
            let entry = Entry(word.load(Ordering::Relaxed));
            if entry.is_present() && !entry.is_owned() && range.contains(&entry.page()) {
                change(word, |_| Entry::default());
            }
        });
    }
}

/// An offset that the file reaches.
fn within(mapped: &Mapped, at: u64) -> Result<u64, Refusal> {
    (at < mapped.len()).then_some(at).ok_or(Refusal::BeyondFile)
}

/// A page of a file as it is.
fn borrowed(
    mapped: &Mapped,
    at: u64,
    prot: Protection,
    writing: Writing,
) -> Result<Entry, Refusal> {
    let gpa = mapped.page(at).map_err(|_| Refusal::NoMemory)?;
    Ok(Entry::new(gpa, prot, Holding::Borrowed, writing))
}

/// A frame that nobody has touched: it takes memory when somebody does.
fn fresh(machine: &Machine, prot: Protection) -> Result<Entry, Refusal> {
    let frame = machine.take_frame().ok_or(Refusal::NoMemory)?;
    Ok(Entry::new(frame, prot, Holding::Owned, Writing::Later))
}

/// Reads pages of a file; what is beyond its end stays zeros.
pub(crate) fn read_pages(
    file: &std::fs::File,
    offset: u64,
    pages: &mut [u8],
) -> Result<(), Refusal> {
    let mut done = 0;
    while done < pages.len() {
        let rest = pages.get_mut(done..).unwrap_or_default();
        match file.read_at(rest, offset + done as u64) {
            Ok(0) => return Ok(()),
            Ok(n) => done += n,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return Err(Refusal::BeyondFile),
        }
    }
    Ok(())
}
