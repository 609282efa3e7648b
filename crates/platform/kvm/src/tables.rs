//! Page tables: four levels, filled when needed, thrown away whole.
//!
//! An inner entry, once made, never changes, and a table is not used again before [`Store::revive`]: a machine with shadow
//! paging remembers tables by their place and does not see what we write to them. What it remembers of
//! *pages* is forgotten when they are zapped (see [`crate::guest_memory`]), on every kind of machine.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base_abi::Errno;
use parking_lot::Mutex;

use crate::entry::{Entry, INNER, UPPER_INNER};
use crate::guest_memory::GuestMemory;
use crate::layout::{PAGE, TABLES, TABLES_LEN, UPPER_TABLES};

const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

#[derive(Debug)]
struct Stock {
    next: u64,
    free: Vec<u64>,
    /// Tables of address spaces that are gone.
    dead: Vec<u64>,
}

/// All tables of a machine. Lock order: after an address space.
#[derive(Debug)]
pub(crate) struct Store {
    memory: Arc<GuestMemory>,
    stock: Mutex<Stock>,
}

impl Store {
    pub(crate) fn new(memory: Arc<GuestMemory>) -> Store {
        let stock = Stock {
            next: TABLES,
            free: Vec::new(),
            dead: Vec::new(),
        };
        Store {
            memory,
            stock: Mutex::new(stock),
        }
    }

    fn take(&self) -> Result<u64, Errno> {
        let mut stock = self.stock.lock();
        if let Some(table) = stock.free.pop() {
            return Ok(table);
        }
        let table = stock.next;
        if table >= TABLES + TABLES_LEN {
            return Err(Errno::ENOMEM);
        }
        stock.next += PAGE;
        Ok(table)
    }

    /// How many tables wait for being revived.
    pub(crate) fn dead(&self) -> usize {
        self.stock.lock().dead.len()
    }

    /// Makes tables of the dead usable, after the machine forgot them. No vCPU may run meanwhile.
    pub(crate) fn revive<E>(&self, forget: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let mut stock = self.stock.lock();
        forget()?;
        let dead = std::mem::take(&mut stock.dead);
        for table in &dead {
            self.memory.clear_table(*table);
        }
        stock.free.extend(dead);
        Ok(())
    }
}

/// The tables of one address space.
#[derive(Debug)]
pub(crate) struct Tree {
    store: Arc<Store>,
    root: u64,
    tables: Vec<u64>,
}

fn index(addr: u64, level: u32) -> u64 {
    addr >> (12 + 9 * level) & 511
}

/// Bytes below one entry of a level.
fn span(level: u32) -> u64 {
    PAGE << (9 * level)
}

impl Tree {
    pub(crate) fn new(store: Arc<Store>) -> Result<Tree, Errno> {
        let root = store.take()?;
        // The last entry of the root: the upper half that all share.
        let upper = store.memory.word(root + 511 * 8);
        upper.store(UPPER_TABLES[0] | UPPER_INNER, Ordering::Release);
        Ok(Tree {
            store,
            root,
            tables: vec![root],
        })
    }

    /// What goes into CR3.
    pub(crate) fn root(&self) -> u64 {
        self.root
    }

    /// The last-level word of an address, if its table exists.
    pub(crate) fn word(&self, addr: u64) -> Option<&AtomicU64> {
        let mut table = self.root;
        for level in [3, 2, 1] {
            let entry = self
                .store
                .memory
                .word(table + index(addr, level) * 8)
                .load(Ordering::Relaxed);
            if entry == 0 {
                return None;
            }
            table = entry & ADDRESS;
        }
        Some(self.store.memory.word(table + index(addr, 0) * 8))
    }

    /// The same, with the tables that it takes.
    pub(crate) fn word_or_new(&mut self, addr: u64) -> Result<&AtomicU64, Errno> {
        let mut table = self.root;
        for level in [3, 2, 1] {
            let word = self.store.memory.word(table + index(addr, level) * 8);
            let entry = word.load(Ordering::Relaxed);
            table = if entry == 0 {
                let new = self.store.take()?;
                word.store(new | INNER, Ordering::Release);
                self.tables.push(new);
                new
            } else {
                entry & ADDRESS
            };
        }
        Ok(self.store.memory.word(table + index(addr, 0) * 8))
    }

    /// Every last-level word in a range that is not nothing, in order.
    pub(crate) fn visit(&self, range: Range<u64>, mut look: impl FnMut(u64, &AtomicU64)) {
        self.visit_level(self.root, 3, 0, &range, &mut look);
    }

    fn visit_level(
        &self,
        table: u64,
        level: u32,
        base: u64,
        range: &Range<u64>,
        look: &mut impl FnMut(u64, &AtomicU64),
    ) {
        let span = span(level);
        let first = range.start.saturating_sub(base) / span;
        let last = range.end.saturating_sub(base).div_ceil(span);
        // The upper half of the root is not the guest's.
        let most = if level == 3 { 256 } else { 512 };
        let words = self.store.memory.table(table).iter().enumerate();
        for (i, word) in words.take(last.min(most) as usize).skip(first as usize) {
            let entry = word.load(Ordering::Relaxed);
            if entry == 0 {
                continue;
            }
            let at = base + i as u64 * span;
            if level == 0 {
                look(at, word);
            } else {
                self.visit_level(entry & ADDRESS, level - 1, at, range, look);
            }
        }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let mut stock = self.store.stock.lock();
        stock.dead.append(&mut self.tables);
    }
}

/// Changes a word that the processor may be marking as accessed or written; returns what it was.
pub(crate) fn change(word: &AtomicU64, to: impl Fn(Entry) -> Entry) -> Entry {
    let mut seen = word.load(Ordering::Relaxed);
    loop {
        let next = to(Entry(seen)).0;
        match word.compare_exchange_weak(seen, next, Ordering::AcqRel, Ordering::Relaxed) {
            Ok(old) => return Entry(old),
            Err(found) => seen = found,
        }
    }
}
