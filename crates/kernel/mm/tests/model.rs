//! Random changes of an address space against a model that knows only pages.

mod fake;

use std::collections::BTreeMap;
use std::fs::File as HostFile;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use base_abi::Errno;
use base_abi::general::{
    MAP_ANONYMOUS, MAP_FIXED, MAP_FIXED_NOREPLACE, MAP_NORESERVE, MAP_PRIVATE, MAP_SHARED,
    MREMAP_DONTUNMAP, MREMAP_FIXED, MREMAP_MAYMOVE, PROT_READ, PROT_WRITE,
};
use fake::{FakeSpace, PAGE, features};
use kernel_mm::{Advice, CommitBudget, MapRequest, Mm, MmLimits, Source, UNLIMITED};
use kernel_vfs::{AccessMode, Description, File, StatusFlags, UserMemory};
use platform_api::Protection;
use proptest::prelude::*;

const MIN: u64 = 0x10_0000;
const PAGES: u64 = 96;
const MAX: u64 = MIN + PAGES * PAGE;

/// What is behind a page, as the model sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Behind {
    Zeros,
    /// Map call number, page in the file.
    Private(usize, u64),
    Shared(usize, u64),
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct ModelPage {
    prot: u32,
    behind: Behind,
    noreserve: bool,
    accounted: bool,
    /// What reading the page's first word gives.
    tag: u64,
}

impl ModelPage {
    fn charge(&mut self) {
        let shared = matches!(self.behind, Behind::Shared(..));
        if self.prot & PROT_WRITE != 0 && !shared && !self.noreserve {
            self.accounted = true;
        }
    }

    /// Whether `next`, `pages` further, is part of the same mapping.
    fn continues(&self, next: &ModelPage, pages: u64) -> bool {
        let behind = match self.behind {
            Behind::Zeros => Behind::Zeros,
            Behind::Private(id, at) => Behind::Private(id, at + pages),
            Behind::Shared(id, at) => Behind::Shared(id, at + pages),
        };
        next.behind == behind
            && (self.prot, self.noreserve, self.accounted)
                == (next.prot, next.noreserve, next.accounted)
    }
}

#[derive(Clone, Debug)]
enum Op {
    Map {
        at: u64,
        len: u64,
        prot: u32,
        kind: u8,
        fixed: u8,
    },
    Unmap(u64, u64),
    Protect(u64, u64, u32),
    Remap {
        at: u64,
        old: u64,
        new: u64,
        flags: u32,
        to: u64,
    },
    Discard(u64, u64),
    Write(u64, u64),
    Fork,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let page = 0..PAGES;
    let len = 1..12u64;
    let prot = prop_oneof![Just(0), Just(PROT_READ), Just(PROT_READ | PROT_WRITE)];
    let flags = prop_oneof![
        Just(0),
        Just(MREMAP_MAYMOVE),
        Just(MREMAP_MAYMOVE | MREMAP_FIXED),
        Just(MREMAP_MAYMOVE | MREMAP_DONTUNMAP),
    ];
    let one = prop_oneof![
        4 => (page.clone(), len.clone(), prot.clone(), 0..4u8, 0..3u8)
            .prop_map(|(at, len, prot, kind, fixed)| Op::Map { at, len, prot, kind, fixed }),
        2 => (page.clone(), len.clone()).prop_map(|(at, len)| Op::Unmap(at, len)),
        2 => (page.clone(), len.clone(), prot).prop_map(|(at, len, p)| Op::Protect(at, len, p)),
        3 => (page.clone(), 0..8u64, 1..10u64, flags, page.clone())
            .prop_map(|(at, old, new, flags, to)| Op::Remap { at, old, new, flags, to }),
        1 => (page.clone(), len).prop_map(|(at, len)| Op::Discard(at, len)),
        4 => (page, 1..u64::MAX).prop_map(|(at, tag)| Op::Write(at, tag)),
        1 => Just(Op::Fork),
    ];
    prop::collection::vec(one, 1..60)
}

/// A file of the guest's whose page `n` begins with the word `file tag + n`.
struct TestFile(Arc<HostFile>);

impl File for TestFile {
    fn memory_file(&self) -> kernel_vfs::Result<Arc<HostFile>> {
        Ok(Arc::clone(&self.0))
    }
}

struct World {
    space: Arc<FakeSpace>,
    mm: Mm,
    budget: Arc<CommitBudget>,
    pages: BTreeMap<u64, ModelPage>,
    /// Contents of shared memory by map call and page.
    shared: BTreeMap<(usize, u64), u64>,
    file: Arc<Description>,
    maps: usize,
}

const FILE_PAGES: u64 = 64;
const FILE_TAG: u64 = 0xf11e_0000;

impl World {
    fn new(seed: u64) -> World {
        let host = host_sys::memory_file::create("test", FILE_PAGES * PAGE).expect("memory");
        for page in 0..FILE_PAGES {
            let word = (FILE_TAG + page).to_le_bytes();
            host.write_all_at(&word, page * PAGE).expect("write");
        }
        let file: Arc<dyn File> = Arc::new(TestFile(Arc::new(host)));
        let file = Description::anonymous(file, AccessMode::Read, StatusFlags::empty());
        let space = Arc::new(FakeSpace::default());
        let budget = Arc::new(CommitBudget::new(UNLIMITED));
        let limits = MmLimits {
            budget: Arc::clone(&budget),
            aslr_seed: seed,
            ..MmLimits::default()
        };
        World {
            mm: Mm::new(space.clone(), &features(MIN, MAX), limits),
            space,
            budget,
            pages: BTreeMap::new(),
            shared: BTreeMap::new(),
            file,
            maps: 0,
        }
    }

    fn mapped(&self, at: u64) -> Option<&ModelPage> {
        self.pages.get(&at)
    }

    fn run(&mut self, op: &Op) {
        let addr = |page: u64| MIN + page * PAGE;
        match *op {
            Op::Map {
                at,
                len,
                prot,
                kind,
                fixed,
            } => self.map(at, len, prot, kind, fixed),
            Op::Unmap(at, len) => {
                let result = self.mm.unmap(addr(at), len * PAGE);
                if at + len > PAGES {
                    assert_eq!(result, Err(Errno::EINVAL));
                } else {
                    assert_eq!(result, Ok(()));
                    (at..at + len).for_each(|p| {
                        self.pages.remove(&p);
                    });
                }
            }
            Op::Protect(at, len, prot) => self.protect(at, len, prot),
            Op::Remap {
                at,
                old,
                new,
                flags,
                to,
            } => self.remap(at, old, new, flags, to),
            Op::Discard(at, len) => {
                let result = self.mm.advise(addr(at), len * PAGE, Advice::DontNeed);
                let mut hole = false;
                for page in at..at + len {
                    match self.pages.get_mut(&page) {
                        None => hole = true,
                        Some(page) => match page.behind {
                            Behind::Zeros => page.tag = 0,
                            Behind::Private(_, n) => page.tag = FILE_TAG + n,
                            Behind::Shared(..) => {}
                        },
                    }
                }
                assert_eq!(result.is_err(), hole, "{result:?}");
            }
            Op::Write(at, tag) => self.write(at, tag),
            Op::Fork => self.fork(),
        }
    }

    fn map(&mut self, at: u64, len: u64, prot: u32, kind: u8, fixed: u8) {
        let id = self.maps;
        self.maps += 1;
        let (source, flags) = match kind {
            0 => (Source::Anonymous, MAP_PRIVATE | MAP_ANONYMOUS),
            1 => (
                Source::Anonymous,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
            ),
            2 => (Source::Anonymous, MAP_SHARED | MAP_ANONYMOUS),
            _ => {
                let source = Source::File {
                    description: Arc::clone(&self.file),
                    path: Arc::from("/file"),
                    offset: 3 * PAGE,
                };
                (source, MAP_PRIVATE)
            }
        };
        let fixed_flag = [0, MAP_FIXED, MAP_FIXED_NOREPLACE][usize::from(fixed)];
        let taken = (at..at + len).any(|p| self.pages.contains_key(&p));
        let result = self.mm.map(MapRequest {
            addr: MIN + at * PAGE,
            len: len * PAGE,
            prot,
            flags: flags | fixed_flag,
            source,
        });
        let start = match result {
            Ok(addr) => (addr - MIN) / PAGE,
            Err(Errno::EEXIST) => {
                assert!(fixed == 2 && taken);
                return;
            }
            Err(Errno::ENOMEM) => {
                let room = self.longest_gap() >= len;
                assert!(if fixed == 0 { !room } else { at + len > PAGES });
                return;
            }
            Err(other) => panic!("{other:?}"),
        };
        if fixed != 0 || (!taken && at + len <= PAGES) {
            assert_eq!(start, at, "fixed, or a hint that is free");
        } else {
            assert!(start + len <= PAGES);
            assert!((start..start + len).all(|p| !self.pages.contains_key(&p)));
        }
        for n in 0..len {
            let (behind, tag) = match kind {
                0 | 1 => (Behind::Zeros, 0),
                2 => (Behind::Shared(id, n), 0),
                _ => (Behind::Private(id, 3 + n), FILE_TAG + 3 + n),
            };
            let mut page = ModelPage {
                prot,
                behind,
                noreserve: kind == 1,
                accounted: false,
                tag,
            };
            page.charge();
            self.pages.insert(start + n, page);
        }
    }

    fn longest_gap(&self) -> u64 {
        let (mut longest, mut run) = (0, 0);
        for page in 0..PAGES {
            run = if self.pages.contains_key(&page) {
                0
            } else {
                run + 1
            };
            longest = longest.max(run);
        }
        longest
    }

    fn protect(&mut self, at: u64, len: u64, prot: u32) {
        let result = self.mm.protect(MIN + at * PAGE, len * PAGE, prot);
        for page in at..at + len {
            let Some(page) = self.pages.get_mut(&page) else {
                assert_eq!(result, Err(Errno::ENOMEM));
                return;
            };
            page.prot = prot;
            page.charge();
        }
        assert_eq!(result, Ok(()));
    }

    /// How many pages from `at` on are one mapping.
    fn run_length(&self, at: u64) -> u64 {
        let Some(first) = self.mapped(at) else {
            return 0;
        };
        (1..)
            .find(|n| {
                self.mapped(at + n)
                    .is_none_or(|next| !first.continues(next, *n))
            })
            .unwrap_or(0)
    }

    fn remap(&mut self, at: u64, mut old: u64, new: u64, flags: u32, to: u64) {
        let fixed = flags & MREMAP_FIXED != 0;
        let keep = flags & MREMAP_DONTUNMAP != 0;
        let target = if fixed { MIN + to * PAGE } else { 0 };
        let result = self
            .mm
            .remap(MIN + at * PAGE, old * PAGE, new * PAGE, flags, target);
        if at + old > PAGES {
            assert_eq!(result, Err(Errno::EFAULT));
            return;
        }
        if keep && old != new {
            assert_eq!(result, Err(Errno::EINVAL));
            return;
        }
        if fixed && (to + new > PAGES || (to < at + old && at < to + new)) {
            assert_eq!(result, Err(Errno::EINVAL));
            return;
        }
        if fixed {
            (to..to + new).for_each(|p| {
                self.pages.remove(&p);
            });
        }
        if old > new {
            if self.mapped(at).is_none() {
                assert_eq!(result, Err(Errno::EFAULT));
                return;
            }
            (at + new..at + old).for_each(|p| {
                self.pages.remove(&p);
            });
            old = new;
        }
        if !fixed && !keep && old == new {
            assert_eq!(result, Ok(MIN + at * PAGE));
            return;
        }
        let Some(first) = self.mapped(at).copied() else {
            assert_eq!(result, Err(Errno::EFAULT));
            return;
        };
        if old == 0 && !matches!(first.behind, Behind::Shared(..)) {
            assert_eq!(result, Err(Errno::EINVAL));
            return;
        }
        let run = self.run_length(at);
        if old > run {
            assert_eq!(result, Err(Errno::EFAULT));
            return;
        }
        let room = (at + old..at + new).all(|p| p < PAGES && !self.pages.contains_key(&p));
        let in_place = !fixed && !keep && old == run && room && old > 0;
        let start = match result {
            Ok(addr) => (addr - MIN) / PAGE,
            Err(errno) => {
                assert_eq!(errno, Errno::ENOMEM);
                assert!(!in_place);
                assert!(flags & MREMAP_MAYMOVE == 0 || self.longest_gap() < new);
                return;
            }
        };
        if in_place {
            assert_eq!(start, at);
        } else if fixed {
            assert_eq!(start, to);
        } else {
            assert!(flags & MREMAP_MAYMOVE != 0);
            assert!((start..start + new).all(|p| p < PAGES && !self.pages.contains_key(&p)));
        }
        self.moved(first, at, old, start, new, keep);
    }

    fn moved(&mut self, first: ModelPage, at: u64, old: u64, start: u64, new: u64, keep: bool) {
        let taken: Vec<_> = (at..at + old)
            .map(|p| self.pages.remove(&p).expect("mapped"))
            .collect();
        for n in 0..new {
            let index = usize::try_from(n).expect("small");
            let page = taken.get(index).copied().unwrap_or_else(|| {
                let (behind, tag) = match first.behind {
                    Behind::Zeros => (Behind::Zeros, 0),
                    Behind::Private(id, p) if p + n < FILE_PAGES => {
                        (Behind::Private(id, p + n), FILE_TAG + p + n)
                    }
                    Behind::Private(id, p) => (Behind::Private(id, p + n), 0),
                    Behind::Shared(id, p) => (Behind::Shared(id, p + n), 0),
                };
                ModelPage {
                    behind,
                    tag,
                    ..first
                }
            });
            self.pages.insert(start + n, page);
        }
        if keep {
            for (page, mut left) in (at..).zip(taken) {
                left.tag = match left.behind {
                    Behind::Private(_, p) if p < FILE_PAGES => FILE_TAG + p,
                    _ => 0,
                };
                self.pages.insert(page, left);
            }
        }
    }

    fn write(&mut self, at: u64, tag: u64) {
        let result = self.mm.write_obj(MIN + at * PAGE, &tag);
        let writable = |p: &&mut ModelPage| p.prot & PROT_WRITE != 0;
        let Some(page) = self.pages.get_mut(&at).filter(writable) else {
            assert_eq!(result, Err(Errno::EFAULT));
            return;
        };
        assert_eq!(result, Ok(()));
        match page.behind {
            Behind::Shared(id, n) => {
                self.shared.insert((id, n), tag);
            }
            _ => page.tag = tag,
        }
    }

    fn fork(&mut self) {
        let child = self.mm.fork().expect("fork");
        assert_eq!(
            self.budget.used(),
            2 * self.mm.stats().totals.accounted,
            "both are charged"
        );
        // The child is the one whose memory is looked at from now on.
        self.mm = child;
    }

    fn check(&self) {
        let vmas = self.mm.vmas();
        for pair in vmas.windows(2) {
            assert!(pair[0].end <= pair[1].start, "overlap: {pair:?}");
        }
        let pages: u64 = vmas.iter().map(|v| v.len() / PAGE).sum();
        assert_eq!(pages, self.pages.len() as u64);
        let totals = self.mm.stats().totals;
        assert_eq!(totals.mapped, pages * PAGE);
        let accounted = self.pages.values().filter(|p| p.accounted).count();
        assert_eq!(totals.accounted, accounted as u64 * PAGE);
        assert_eq!(self.budget.used(), totals.accounted);
        for (&at, page) in &self.pages {
            let addr = MIN + at * PAGE;
            let vma = self.mm.vma_at(addr).expect("mapped");
            let prot = Protection::from_bits_truncate(page.prot);
            assert_eq!(vma.prot, prot, "page {at}");
            if page.prot & PROT_READ != 0 {
                let expected = match page.behind {
                    Behind::Shared(id, n) => self.shared.get(&(id, n)).copied().unwrap_or(0),
                    _ => page.tag,
                };
                let mut word = [0; 8];
                self.mm.read_bytes(addr, &mut word).expect("readable");
                assert_eq!(u64::from_le_bytes(word), expected, "page {at}");
            }
        }
        // As few mappings as the model has runs.
        let mut runs = 0;
        let mut at = 0;
        while at < PAGES {
            let run = self.run_length(at);
            runs += usize::from(run > 0);
            at += run.max(1);
        }
        assert_eq!(vmas.len(), runs, "neighbours are joined");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_page_is_as_the_model_says(ops in ops(), seed: u64) {
        let mut world = World::new(seed);
        for op in &ops {
            world.run(op);
            world.check();
        }
        let World { mm, budget, .. } = world;
        drop(mm);
        prop_assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_platform_that_refuses_leaves_both_sides_agreeing(
        ops in ops(), seed: u64, fail in 0..20usize,
    ) {
        let world = World::new(seed);
        *world.space.refuse_after.lock() = Some(fail);
        for op in &ops {
            let at = |page: u64| MIN + page * PAGE;
            let _ = match *op {
                Op::Map { at: page, len, prot, .. } => world.mm.map(MapRequest {
                    addr: at(page),
                    len: len * PAGE,
                    prot,
                    flags: MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
                    source: Source::Anonymous,
                }).map(drop),
                Op::Unmap(page, len) => world.mm.unmap(at(page), len * PAGE),
                Op::Protect(page, len, prot) => world.mm.protect(at(page), len * PAGE, prot),
                Op::Remap { at: page, old, new, flags, to } => world
                    .mm
                    .remap(at(page), old * PAGE, new * PAGE, flags, at(to))
                    .map(drop),
                _ => Ok(()),
            };
            let known: Vec<u64> = world.space.pages.lock().keys().copied().collect();
            let told = world.mm.vmas();
            let told: Vec<u64> = told
                .iter()
                .flat_map(|v| (v.start..v.end).step_by(4096))
                .collect();
            prop_assert_eq!(known, told);
            prop_assert_eq!(world.budget.used(), world.mm.stats().totals.accounted);
        }
    }
}
