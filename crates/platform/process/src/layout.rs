//! Where things are in a stub's address space.
//!
//! ```text
//! 0x0000_0001_0000 ┬ guest
//! 0x7fff_fe00_0000 ┴ GUEST_END
//! 0x7fff_ff00_0000   CODE: one page, read + execute, private (see `blob`)
//! 0x7fff_ff01_0000   COMMANDS: four pages, read only, shared with us (see `arena`)
//! 0x7fff_ffff_f000   TASK_END, where the host kernel ends user space
//! ```

/// Lowest address given to guests; at or above the host's `vm.mmap_min_addr` everywhere.
pub(crate) const GUEST_START: u64 = 0x1_0000;
/// One past the highest address given to guests.
pub(crate) const GUEST_END: u64 = 0x7fff_fe00_0000;
/// The page with our code.
pub(crate) const CODE: u64 = 0x7fff_ff00_0000;
/// Length of the code page.
pub(crate) const CODE_LEN: u64 = 0x1000;
/// The command pages of the mapper.
pub(crate) const COMMANDS: u64 = 0x7fff_ff01_0000;
/// Length of the command pages.
pub(crate) const COMMANDS_LEN: u64 = 0x4000;
/// The end of user space with four-level page tables.
pub(crate) const TASK_END: u64 = 0x7fff_ffff_f000;

/// Number of the file of command pages in every stub.
pub(crate) const ARENA_FD: u64 = 0;
/// First number of the cached mapped files in every stub; numbers below are listeners for a moment.
pub(crate) const FIRST_FILE_FD: u32 = 32;
/// How many mapped files a stub keeps open.
pub(crate) const FILE_FDS: u32 = 32;
/// What the host's descriptor table holds before it grows. Growing one that threads share costs a grace period (10 ms).
const TABLE_LEN: u32 = 64;
const _: () = assert!(FIRST_FILE_FD + FILE_FDS <= TABLE_LEN);

/// System call number with which the mapper reports; no system call of the host.
pub(crate) const CALL_DONE: u32 = 0x1001;
/// System call number in which a new guest thread waits for its first registers.
pub(crate) const CALL_PARK: u32 = 0x1002;
/// Command number that makes the mapper compare and swap a word.
pub(crate) const COMMAND_SWAP: u64 = 0x1003;
