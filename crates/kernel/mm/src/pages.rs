//! Which pages of a private mapping go into a snapshot, and which are named as pages of a snapshot before.
//!
//! A restore maps every run on its own. So what is stored or named is a matter of runs: a short gap of
//! zeros is bridged by a hole, and a few pages of the snapshot before that lie between stored ones are stored
//! again. The more runs there are, the longer may be what is bridged.

use std::fs::File as HostFile;
use std::os::unix::fs::FileExt;

use base_abi::Errno;
use base_abi::page::PAGE_SIZE;
use platform_api::{AddressSpace, MapOp, Protection};

use crate::mm::State;
use crate::saved::Extent;
use crate::snapshot_pages::SnapshotRun;
use crate::vma::Vma;
use crate::writer::{SaveError, SnapshotWriter};

/// Zero pages between two stored ones that are bridged: a hole in the snapshot costs less than a mapping.
const BRIDGE: u64 = 16 * PAGE_SIZE;
/// Pages of a snapshot before that are stored again between two: each takes room.
const AGAIN: u64 = 2 * PAGE_SIZE;
/// Runs of one address space for which these are right; they double with each so many more.
const FEW: usize = 2048;
/// Bytes looked at once.
const CHUNK: u64 = 256 << 10;
pub(crate) const ZEROS: [u8; PAGE_SIZE as usize] = [0; PAGE_SIZE as usize];

/// What becomes of pages that came from a snapshot before and are what they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origins {
    /// They are stored like any other.
    Copied,
    /// The snapshot names them: it lies over those before.
    Named,
}

/// What is behind pages that no run holds, in the mapping that begins at this address.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Room {
    /// Zeros.
    Zeros(u64),
    /// Something that must be seen.
    Content(u64),
}

/// Runs that grow page by page.
pub(crate) struct Extents<'a, 'w> {
    writer: &'a mut SnapshotWriter<'w>,
    done: Vec<Extent>,
    /// Pages of a snapshot before that were named last: they are stored if that saves mappings.
    named: Option<Named<'a>>,
}

/// A run of pages of a snapshot before.
#[derive(Clone, Copy)]
struct Named<'a> {
    run: SnapshotRun,
    file: &'a HostFile,
}

impl<'a, 'w> Extents<'a, 'w> {
    pub(crate) fn new(writer: &'a mut SnapshotWriter<'w>) -> Self {
        Extents {
            writer,
            done: Vec::new(),
            named: None,
        }
    }

    pub(crate) fn finish(mut self) -> Vec<Extent> {
        self.settle();
        let named = self.done.iter().filter(|extent| extent.snapshot > 0);
        tracing::debug!(
            runs = self.done.len(),
            named = named.count(),
            "pages written down"
        );
        self.done
    }

    fn crowded(&self) -> usize {
        (self.done.len() / FEW).min(12)
    }

    fn bridge(&self) -> u64 {
        BRIDGE << self.crowded()
    }

    /// How far after the last stored run `addr` is, if a hole may lie between.
    fn gap(&self, addr: u64, room: Room) -> Option<u64> {
        let last = self.done.last().filter(|last| last.snapshot == 0)?;
        let end = last.addr + last.len;
        let gap = addr.checked_sub(end)?;
        let (from, bridge) = match room {
            Room::Zeros(from) => (from, self.bridge()),
            Room::Content(from) => (from, 0),
        };
        (end > from && gap <= bridge).then_some(gap)
    }

    /// A page with this content.
    pub(crate) fn page(&mut self, addr: u64, bytes: &[u8], room: Room) -> Result<(), SaveError> {
        if let Some(Named { run, file }) = self.named.take() {
            let between = match room {
                Room::Zeros(_) => addr - run.end <= self.bridge(),
                Room::Content(_) => addr == run.end,
            };
            let short = run.end - run.start <= AGAIN << self.crowded();
            if short && between && self.gap(run.start, room).is_some() {
                let mut page = ZEROS;
                for at in (run.start..run.end).step_by(PAGE_SIZE as usize) {
                    file.read_exact_at(&mut page, run.at + (at - run.start))?;
                    self.store(at, &page, room)?;
                }
            } else {
                self.name(run);
            }
        }
        self.store(addr, bytes, room)
    }

    fn store(&mut self, addr: u64, bytes: &[u8], room: Room) -> Result<(), SaveError> {
        let gap = self.gap(addr, room);
        match (gap, self.done.last_mut()) {
            (Some(0), Some(_)) => {}
            (Some(gap), Some(last)) => {
                last.len += gap;
                self.writer.skip(gap)?;
            }
            _ => {
                let at = self.writer.position();
                self.done.push(Extent {
                    addr,
                    len: 0,
                    snapshot: 0,
                    at,
                });
            }
        }
        if bytes == ZEROS {
            self.writer.skip(PAGE_SIZE)?;
        } else {
            self.writer.page(bytes)?;
        }
        if let Some(last) = self.done.last_mut() {
            last.len += PAGE_SIZE;
        }
        Ok(())
    }

    /// Pages that are those of a snapshot before.
    fn same(&mut self, run: SnapshotRun, file: &'a HostFile) {
        if let Some(named) = &mut self.named
            && named.run.end == run.start
            && named.run.snapshot == run.snapshot
            && named.run.at + (named.run.end - named.run.start) == run.at
        {
            named.run.end = run.end;
            return;
        }
        self.settle();
        self.named = Some(Named { run, file });
    }

    /// What comes next is not in the same mapping.
    fn settle(&mut self) {
        if let Some(named) = self.named.take() {
            self.name(named.run);
        }
    }

    fn name(&mut self, run: SnapshotRun) {
        self.done.push(Extent {
            addr: run.start,
            len: run.end - run.start,
            snapshot: run.snapshot + 1,
            at: run.at,
        });
    }
}

/// What a part of a mapping holds.
#[derive(Clone, Copy, Debug)]
enum Part {
    /// What the guest wrote, over no snapshot.
    Written(u64, u64),
    /// What the guest wrote over these pages of a snapshot.
    Over(SnapshotRun),
    /// Pages of a snapshot that nobody has written.
    Snapshot(SnapshotRun),
}

impl Part {
    fn start(&self) -> u64 {
        match self {
            Part::Written(start, _) => *start,
            Part::Over(run) | Part::Snapshot(run) => run.start,
        }
    }
}

/// What a mapping holds that is not behind it anyway, in order.
fn parts(space: &dyn AddressSpace, state: &State, vma: &Vma) -> Result<Vec<Part>, SaveError> {
    let written = space.written_pages(vma.start..vma.end);
    let mut written = written.map_err(|error| SaveError::Memory(error.to_string()))?;
    written.sort_by_key(|range| range.start);
    let mut parts = Vec::new();
    let mut last = vma.start;
    // Written or not, by what is mapped there.
    let mut unwritten = Vec::new();
    for range in written {
        let (start, end) = (range.start.max(last), range.end.min(vma.end));
        if start >= end {
            continue;
        }
        unwritten.push((last, start));
        last = end;
        let mut at = start;
        for run in state.snapshot.runs(start, end) {
            if at < run.start {
                parts.push(Part::Written(at, run.start));
            }
            parts.push(Part::Over(run));
            at = run.end;
        }
        if at < end {
            parts.push(Part::Written(at, end));
        }
    }
    unwritten.push((last, vma.end));
    for (start, end) in unwritten {
        if start < end {
            parts.extend(state.snapshot.runs(start, end).map(Part::Snapshot));
        }
    }
    parts.sort_by_key(Part::start);
    Ok(parts)
}

/// Writes the pages of a private mapping that differ from what is behind it.
pub(crate) fn save_private<'a>(
    space: &dyn AddressSpace,
    state: &'a State,
    vma: &Vma,
    origins: Origins,
    extents: &mut Extents<'a, '_>,
) -> Result<(), SaveError> {
    let parts = parts(space, state, vma)?;
    let named = |part: &Part| matches!(part, Part::Snapshot(_)) && origins == Origins::Named;
    let prot = vma.platform_prot();
    let hidden = !prot.contains(Protection::READ) && !parts.iter().all(named);
    let show = |prot| {
        let op = MapOp::Protect {
            addr: vma.start,
            len: vma.len(),
            prot,
        };
        let shown = space.apply(&[op]);
        shown.map_err(|error| SaveError::Memory(error.to_string()))
    };
    if hidden {
        show(Protection::READ)?;
    }
    let mut pages = Pages {
        space,
        state,
        vma,
        ours: vec![0; CHUNK as usize],
        theirs: vec![0; CHUNK as usize],
    };
    let outcome = parts
        .into_iter()
        .try_for_each(|part| match (part, origins) {
            (Part::Written(start, end), _) => pages.store(start, end, None, extents),
            (Part::Over(run) | Part::Snapshot(run), Origins::Copied) => {
                pages.store(run.start, run.end, None, extents)
            }
            (Part::Over(run), Origins::Named) => {
                pages.store(run.start, run.end, Some(run), extents)
            }
            (Part::Snapshot(run), Origins::Named) => {
                let file = pages.file(run)?;
                extents.same(run, file);
                Ok(())
            }
        });
    extents.settle();
    if hidden {
        show(prot)?;
    }
    outcome
}

/// The pages of one mapping.
struct Pages<'a, 's> {
    space: &'s dyn AddressSpace,
    state: &'a State,
    vma: &'s Vma,
    ours: Vec<u8>,
    theirs: Vec<u8>,
}

impl<'a> Pages<'a, '_> {
    fn file(&self, run: SnapshotRun) -> Result<&'a HostFile, SaveError> {
        let file = self.state.snapshot.snapshot(run.snapshot);
        let lost = || SaveError::Memory(String::from("a snapshot is not known"));
        file.map(|file| &**file).ok_or_else(lost)
    }

    /// Stores pages, but names those that are the same in `over`.
    fn store(
        &mut self,
        start: u64,
        end: u64,
        over: Option<SnapshotRun>,
        extents: &mut Extents<'a, '_>,
    ) -> Result<(), SaveError> {
        let anonymous = self.vma.anonymous();
        let room = if anonymous {
            Room::Zeros(self.vma.start)
        } else {
            Room::Content(self.vma.start)
        };
        let over = over.map(|run| Ok::<_, SaveError>((run, self.file(run)?)));
        let over = over.transpose()?;
        let mut at = start;
        while at < end {
            let want = usize::try_from((end - at).min(CHUNK)).unwrap_or(0);
            let part = &mut self.ours[..want];
            let got = self.space.read(at, part) / PAGE_SIZE as usize * PAGE_SIZE as usize;
            if got == 0 {
                if anonymous {
                    return Err(SaveError::Memory(Errno::EFAULT.to_string()));
                }
                // A page beyond the end of its file has no content, and none that could be missed.
                at += PAGE_SIZE;
                continue;
            }
            if let Some((run, file)) = over {
                file.read_exact_at(&mut self.theirs[..got], run.at + (at - run.start))?;
            }
            let pages = part[..got].chunks_exact(PAGE_SIZE as usize);
            for (page, before) in pages.zip(self.theirs.chunks_exact(PAGE_SIZE as usize)) {
                match over {
                    Some((run, file)) if page == before => {
                        extents.same(run.cut(at, at + PAGE_SIZE), file);
                    }
                    // Zeros are behind anonymous memory anyway.
                    _ if anonymous && page == ZEROS => {}
                    _ => extents.page(at, page, room)?,
                }
                at += PAGE_SIZE;
            }
        }
        Ok(())
    }
}
