//! Page arithmetic for the only page size guests see.

/// Bytes in a page.
pub const PAGE_SIZE: u64 = 4096;

/// Rounds down to a page boundary.
#[must_use]
pub const fn page_floor(value: u64) -> u64 {
    value & !(PAGE_SIZE - 1)
}

/// Rounds up to a page boundary; `None` when that overflows.
#[must_use]
pub const fn page_ceil(value: u64) -> Option<u64> {
    match value.checked_add(PAGE_SIZE - 1) {
        Some(v) => Some(page_floor(v)),
        None => None,
    }
}

/// Whether the value is a multiple of the page size.
#[must_use]
pub const fn page_aligned(value: u64) -> bool {
    value & (PAGE_SIZE - 1) == 0
}
