//! Visits pages in ring 3 before a guest does, so that the host's own faults on them are over by then.
//!
//! An entry in a page table of ours is not all that a first access needs: the host makes its translation (nested or shadow tables) when
//! the page is first used, 1 to 10 us each. A few instructions in a frame of their own read one word of each page. Their address
//! is one that guests never have, and they are gone before any guest runs: the frame is given back, by which the host forgets it.

use std::ops::Range;

use platform_api::{PlatformError, Protection, Registers};

use crate::entry::{Entry, Holding, Writing};
use crate::layout::{GUEST_END, PAGE};
use crate::machine::Machine;
use crate::state::State;
use crate::tables::change;
use crate::vcpu::Exit;

/// Fewer pages than these are not worth the way there.
const FEWEST: u64 = 32;
/// Pages that are visited at most: a start waits for it.
const MOST: u64 = 8192;

/// Reads a byte of every page of the runs that `rsi` points to, pairs of start and end, the last one 0.
const CODE: [u8; 34] = [
    0x48, 0x8b, 0x3e, // 0: mov (%rsi), %rdi
    0x48, 0x85, 0xff, // test %rdi, %rdi
    0x74, 0x18, // jz 2f
    0x48, 0x8b, 0x56, 0x08, // mov 8(%rsi), %rdx
    0x8a, 0x07, // 1: mov (%rdi), %al
    0x48, 0x81, 0xc7, 0x00, 0x10, 0x00, 0x00, // add $4096, %rdi
    0x48, 0x39, 0xd7, // cmp %rdx, %rdi
    0x72, 0xf2, // jb 1b
    0x48, 0x83, 0xc6, 0x10, // add $16, %rsi
    0xeb, 0xe0, // jmp 0b
    0x0f, 0x05, // 2: syscall
];
/// Where the runs begin in the same frame.
const RUNS: u64 = 64;
/// Runs at a time.
const BATCH: usize = ((PAGE - RUNS) / 16 - 1) as usize;
/// Where the frame is shown.
const AT: u64 = GUEST_END;

/// Visits what is present in these ranges. No context of the address space runs. Failing is fine.
pub(crate) fn visit(machine: &Machine, state: &mut State, root: u64, ranges: &[Range<u64>]) {
    let runs = present(state, ranges);
    let pages: u64 = runs.iter().map(|run| (run.end - run.start) / PAGE).sum();
    if pages < FEWEST {
        return;
    }
    let Some(frame) = machine.take_frame() else {
        return;
    };
    let prot = Protection::READ | Protection::EXEC;
    let entry = Entry::new(frame, prot, Holding::Owned, Writing::Never);
    let shown = state.tree.word_or_new(AT).is_ok_and(|word| {
        change(word, |_| entry);
        true
    });
    if shown {
        machine.vm.memory.write(frame, &CODE);
        for batch in runs.chunks(BATCH) {
            if let Err(error) = one_batch(machine, root, frame, batch) {
                tracing::debug!(%error, "pages were not visited ahead");
                break;
            }
        }
        if let Some(word) = state.tree.word(AT) {
            change(word, |_| Entry::default());
        }
    }
    machine.forget(&[frame], &[]);
}

/// Pages that can be read without a fault of ours, as runs.
fn present(state: &State, ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    let mut left = MOST;
    for range in ranges {
        state.tree.visit(range.clone(), |at, word| {
            let entry = Entry(word.load(std::sync::atomic::Ordering::Relaxed));
            if !entry.is_present() || left == 0 {
                return;
            }
            left -= 1;
            match runs.last_mut() {
                Some(run) if run.end == at => run.end += PAGE,
                _ => runs.push(at..at + PAGE),
            }
        });
    }
    runs
}

fn one_batch(
    machine: &Machine,
    root: u64,
    frame: u64,
    batch: &[Range<u64>],
) -> Result<(), PlatformError> {
    let pairs = batch.iter().flat_map(|run| [run.start, run.end]);
    let words: Vec<u8> = pairs.chain([0, 0]).flat_map(u64::to_le_bytes).collect();
    machine.vm.memory.write(frame + RUNS, &words);
    let regs = Registers {
        rip: AT,
        rsi: AT + RUNS,
        rflags: 0x202,
        ..Registers::default()
    };
    machine.pool.with_own(&machine.vm, |vcpu| {
        vcpu.place(root, 0, 0)?;
        vcpu.load(&regs);
        let exit = {
            let _gate = machine.gate.read();
            vcpu.run(|| false)
        };
        // The end of the list, by whatever way this host has of saying so.
        let done = exit == Exit::Halted && vcpu.registers().rdi == 0;
        done.then_some(()).ok_or(PlatformError::Gone)
    })
}
