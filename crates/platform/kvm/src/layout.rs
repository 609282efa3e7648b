//! Where things are in guest-physical memory and in the upper half of every guest address space.
//!
//! ```text
//! guest-physical                                    mapped for
//! 0x0_0000_0000  SYSTEM   2 MiB  tables of the upper half, stub, one page per vCPU     ring 0
//! 0x0_1000_0000  TABLES          page tables of address spaces                         nobody
//! 0x0_4000_0000  FRAMES          pages that belong to guests, frame 0 is all zeros     ring 3
//! 0x4_4000_0000  FILES           windows on host files                                 ring 3
//! 0x8_4000_0000  END
//!
//! guest-virtual
//! 0x0000_0001_0000 ┬ guest
//! 0x7fff_fe00_0000 ┴ GUEST_END
//! 0xffff_ff80_0000_0000  UPPER: the SYSTEM area, for ring 0 alone
//! ```
//!
//! All of it lies below 2^36, which every 64-bit processor can address.

/// Bytes of a page.
pub(crate) const PAGE: u64 = 4096;

/// First byte of the stub's own memory.
pub(crate) const SYSTEM: u64 = 0;
/// Length of the stub's own memory: what one table of the upper half maps.
pub(crate) const SYSTEM_LEN: u64 = 2 << 20;
/// First page table.
pub(crate) const TABLES: u64 = 0x1000_0000;
/// Room for page tables.
pub(crate) const TABLES_LEN: u64 = 128 << 20;
/// First frame.
pub(crate) const FRAMES: u64 = 0x4000_0000;
/// Room for frames: the most memory that the guests of one sandbox can write.
pub(crate) const FRAMES_LEN: u64 = 16 << 30;
/// First window on a file.
pub(crate) const FILES: u64 = FRAMES + FRAMES_LEN;
/// Room for windows on files.
pub(crate) const FILES_LEN: u64 = 16 << 30;
/// One past the last guest-physical byte.
pub(crate) const END: u64 = FILES + FILES_LEN;
/// Frames and windows become memory of the machine in slots of this size, when first needed.
pub(crate) const SLOT_LEN: u64 = 256 << 20;
/// A window on a file.
pub(crate) const CHUNK: u64 = 1 << 20;

/// Lowest address given to guests, as on the process platform: a snapshot must fit both.
pub(crate) const GUEST_START: u64 = 0x1_0000;
/// One past the highest address given to guests.
pub(crate) const GUEST_END: u64 = 0x7fff_fe00_0000;
/// One past the highest address that ring 3 can name (four-level tables, lower half).
pub(crate) const LOWER_END: u64 = 1 << 47;

/// Where the SYSTEM area is in every address space.
pub(crate) const UPPER: u64 = 0xffff_ff80_0000_0000;

/// Tables of the upper half: third, second and first level.
pub(crate) const UPPER_TABLES: [u64; 3] = [SYSTEM + PAGE, SYSTEM + 2 * PAGE, SYSTEM + 3 * PAGE];
/// The stub's code.
pub(crate) const STUB: u64 = SYSTEM + 4 * PAGE;
/// The interrupt descriptor table.
pub(crate) const IDT: u64 = SYSTEM + 5 * PAGE;
/// The first page of a vCPU; see [`crate::stub`] for what is in it.
pub(crate) const VCPU_PAGES: u64 = SYSTEM + 16 * PAGE;
/// Most vCPUs.
pub(crate) const MAX_VCPUS: usize = 256;

const _: () = assert!(VCPU_PAGES + (MAX_VCPUS as u64) * PAGE <= SYSTEM_LEN);
const _: () = assert!(TABLES + TABLES_LEN <= FRAMES && END < 1 << 36);
const _: () = assert!(
    FRAMES.is_multiple_of(SLOT_LEN)
        && FRAMES_LEN.is_multiple_of(SLOT_LEN)
        && FILES_LEN.is_multiple_of(SLOT_LEN)
);
