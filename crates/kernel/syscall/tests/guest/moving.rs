//! Capturing a machine and going on in another one.

use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::guest::{Machine, boot, limit};
use kernel_core::park::{Parker, Wake};
use kernel_files::console::Stream;
use kernel_mm::{MemorySaver, Mm, SaveError, SavedMemory, SnapshotWriter};
use kernel_syscall::snapshot::{CaptureError, SavedKernel, capture, load_space};
use kernel_vfs::save::{LoadError, Saver, Unsavable};
use kernel_vfs::{Events, Notify};

/// What lies in a snapshot besides the kernel's state.
pub(crate) struct Memory {
    pub(crate) image: Arc<File>,
    pub(crate) state: Vec<u8>,
}

/// A whole snapshot.
pub(crate) struct Snapshot {
    pub(crate) state: Vec<u8>,
    pub(crate) memory: Memory,
}

fn save_memory(mms: &[Arc<Mm>], saver: &mut Saver) -> Result<Memory, Unsavable> {
    let image = Arc::new(tempfile::tempfile().expect("an image"));
    let mut writer = SnapshotWriter::new(&image, 0, 1 << 30);
    let mut memory = MemorySaver::new(&mut writer);
    let saved = mms.iter().try_for_each(|mm| memory.add(mm, saver));
    let state = saved.and_then(|()| memory.finish());
    let state = state.map_err(|error| match error {
        SaveError::Unsavable(what) => what,
        other => panic!("{other}"),
    })?;
    writer.finish().expect("an image");
    Ok(Memory { image, state })
}

/// Captures the machine, which goes on unless it was frozen.
pub(crate) fn try_snapshot(machine: &Machine) -> Result<Snapshot, CaptureError> {
    let mut memory = None;
    let captured = capture(&machine.system, limit(), &mut |mms, saver| {
        memory = Some(save_memory(mms, saver)?);
        Ok(())
    })?;
    Ok(Snapshot {
        state: captured.state,
        memory: memory.expect("memory"),
    })
}

/// The same where it must work.
pub(crate) fn snapshot(machine: &Machine) -> Snapshot {
    try_snapshot(machine).expect("capture")
}

/// Captures the machine, ends it, and gives another one that goes on.
#[allow(dead_code, reason = "not every test file moves so")]
pub(crate) fn move_house(machine: Machine) -> Machine {
    let taken = snapshot(&machine);
    drop(machine);
    let next = enter(&taken.state, &taken.memory).expect("load");
    next.system.kernel.thaw();
    next
}

/// A fresh machine with what was captured in it, still frozen.
#[allow(dead_code, reason = "not every test file enters such machines")]
pub(crate) fn enter(state: &[u8], memory: &Memory) -> Result<Machine, LoadError> {
    enter_in(boot, state, memory)
}

/// The same in a machine that `boot` makes, given what the monotonic clock showed.
pub(crate) fn enter_in(
    boot: impl FnOnce(Duration) -> Machine,
    state: &[u8],
    memory: &Memory,
) -> Result<Machine, LoadError> {
    let saved = SavedKernel::parse(state)?;
    let mut spaces = SavedMemory::parse(&memory.state)?;
    let next = boot(saved.monotonic());
    saved.load(&next.system, &next.standard, &mut |id, loader| {
        let images = std::slice::from_ref(&memory.image);
        load_space(&next.system, &mut spaces, images, id, loader)
    })?;
    Ok(next)
}

/// Waits until the machine has printed this; gives all that it printed.
#[allow(dead_code, reason = "not every test file waits for words")]
pub(crate) fn wait_for(machine: &Machine, text: &str) -> String {
    let deadline = Instant::now() + limit();
    let parker = Arc::new(Parker::default());
    let target: Arc<dyn Notify> = Arc::<Parker>::clone(&parker);
    let _told = machine.console.queue().register(&target, Events::all());
    let mut seen = String::new();
    loop {
        let more = machine.console.take_output(Stream::Output, 1 << 16);
        seen.push_str(&String::from_utf8_lossy(&more));
        if seen.contains(text) {
            return seen;
        }
        assert_eq!(parker.park(Some(deadline)), Wake::Notified, "{seen}");
    }
}

/// Waits until every task sleeps in a call: what the program does next it does after the capture.
#[allow(dead_code, reason = "not every test file waits for rest")]
pub(crate) fn wait_until_asleep(machine: &Machine) {
    base_eventually::eventually("the program rests", || {
        let tree = machine.system.kernel.tree.lock();
        tree.tasks().all(|t| t.blocked_call.lock().is_some())
    });
}

/// Runs a Python program that prints `ready`, captures it when it sleeps, and gives what it prints afterwards
/// with `input` as its standard input.
#[allow(dead_code, reason = "not every test file runs Python so")]
pub(crate) fn python(program: &str, input: &str) -> String {
    let machine = boot(Duration::ZERO);
    machine.start(&["/usr/bin/python3", "-I", "-S", "-c", program]);
    wait_for(&machine, "ready\n");
    wait_until_asleep(&machine);
    let next = move_house(machine);
    next.console.push_input(input.as_bytes());
    next.console.set_closed(Stream::Input);
    next.finish().expect_success()
}
