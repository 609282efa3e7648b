//! The file of command pages: one slot for each stub, written by us, read-only in stubs.

use std::fs::File;
use std::io;

use host_sys::shared_words::SharedWords;
use parking_lot::Mutex;

use crate::layout::COMMANDS_LEN;

/// Most stubs of one platform at a time.
const SLOTS: u32 = 4096;
const WORDS_PER_SLOT: usize = COMMANDS_LEN as usize / 8;
const WORDS_PER_COMMAND: usize = 8;

/// Most commands in one batch: the slot without its head.
pub(crate) const COMMANDS_PER_BATCH: usize = WORDS_PER_SLOT / WORDS_PER_COMMAND - 1;

/// A system call for the mapper, or [`COMMAND_SWAP`](crate::layout::COMMAND_SWAP).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Command {
    pub(crate) nr: u64,
    pub(crate) args: [u64; 6],
}

/// The slots of one platform.
#[derive(Debug)]
pub(crate) struct Arena {
    file: File,
    words: SharedWords,
    free: Mutex<Vec<u32>>,
}

impl Arena {
    pub(crate) fn new() -> io::Result<Arena> {
        let bytes = u64::from(SLOTS) * COMMANDS_LEN;
        let (file, words) = SharedWords::create(c"stub-commands", bytes as usize)?;
        Ok(Arena {
            file,
            words,
            free: Mutex::new((0..SLOTS).rev().collect()),
        })
    }

    /// The file itself, which can only be mapped for reading.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Reserves a slot; `EAGAIN` when all are taken.
    pub(crate) fn take(&self) -> io::Result<u32> {
        self.free
            .lock()
            .pop()
            .ok_or_else(|| io::Error::from_raw_os_error(libc::EAGAIN))
    }

    /// Gives a slot back once its stub is dead.
    pub(crate) fn give_back(&self, slot: u32) {
        self.free.lock().push(slot);
    }

    /// Offset of a slot in the file.
    pub(crate) fn offset(slot: u32) -> u64 {
        u64::from(slot) * COMMANDS_LEN
    }

    /// Writes a batch of at most [`COMMANDS_PER_BATCH`] commands; the caller holds the lock of the slot's mapper, which is idle.
    pub(crate) fn write(&self, slot: u32, commands: &[Command]) {
        let base = slot as usize * WORDS_PER_SLOT;
        self.words.store(base, commands.len() as u64);
        for (index, command) in commands.iter().take(COMMANDS_PER_BATCH).enumerate() {
            let at = base + (index + 1) * WORDS_PER_COMMAND;
            self.words.store(at, command.nr);
            for (arg, value) in command.args.iter().enumerate() {
                self.words.store(at + 1 + arg, *value);
            }
        }
    }
}
