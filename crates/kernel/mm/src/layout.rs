//! Where things go in an address space: the bounds, the random gaps, the marks that `execve` sets.

use platform_api::Features;

use crate::limits::MmLimits;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// A stream of well-mixed numbers from a seed (splitmix64): the same seed gives the same addresses.
#[derive(Clone, Copy, Debug)]
pub struct PlacementRng(u64);

impl PlacementRng {
    /// Starts the stream.
    #[must_use]
    pub fn new(seed: u64) -> PlacementRng {
        PlacementRng(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A random page-aligned distance below `range`.
    pub fn pages_below(&mut self, range: u64) -> u64 {
        base_abi::page::page_floor(self.next_u64() % range.max(1))
    }
}

/// The bounds of placement, fixed at creation.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Lowest address a mapping may have.
    pub min: u64,
    /// One past the highest.
    pub max: u64,
    /// Top of the main stack area.
    pub stack_top: u64,
    /// Mappings are placed downwards from here.
    pub mmap_base: u64,
    /// Where position-independent programs with an interpreter go.
    pub pie_base: u64,
    /// How far the heap starts behind the program, in bytes.
    pub brk_gap: u64,
    /// The stream for further choices.
    pub(crate) rng: PlacementRng,
}

impl Layout {
    /// As `arch_pick_mmap_layout` does: a random stack top, then the largest stack, then mappings.
    /// Entropy: 22 bits for the stack, 28 for mappings and programs, less in a small space.
    pub(crate) fn new(features: &Features, limits: &MmLimits) -> Layout {
        let mut rng = PlacementRng::new(limits.aslr_seed);
        let min = base_abi::page::page_ceil(features.min_address.max(65_536)).unwrap_or(65_536);
        let max = base_abi::page::page_floor(features.max_address);
        let space = max.saturating_sub(min);
        let stack_random = (16 * GIB).min(space / 64);
        let map_random = (1u64 << 40).min(space / 16);
        let stack_top = max - rng.pages_below(stack_random);
        let gap = limits
            .stack
            .saturating_add(MIB)
            .max(128 * MIB)
            .min(space / 4);
        let mmap_base =
            max - stack_random - base_abi::page::page_floor(gap) - rng.pages_below(map_random);
        let pie_base = base_abi::page::page_floor(min + space / 3 * 2) - map_random
            + rng.pages_below(map_random);
        let brk_gap = rng.pages_below((32 * MIB).min(space / 64));
        Layout {
            min,
            max,
            stack_top,
            mmap_base: base_abi::page::page_floor(mmap_base).max(min),
            pie_base: base_abi::page::page_floor(pie_base),
            brk_gap,
            rng,
        }
    }
}

/// Addresses that `execve` leaves for `/proc/<pid>/stat` and prctl(2) `PR_SET_MM`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ExecLayout {
    /// First byte of program text.
    pub start_code: u64,
    /// End of program text.
    pub end_code: u64,
    /// First byte of initialised data.
    pub start_data: u64,
    /// End of initialised data.
    pub end_data: u64,
    /// Where the heap begins.
    pub start_brk: u64,
    /// The initial stack pointer's place.
    pub start_stack: u64,
    /// First byte of the argument strings.
    pub arg_start: u64,
    /// End of the argument strings.
    pub arg_end: u64,
    /// First byte of the environment strings.
    pub env_start: u64,
    /// End of the environment strings.
    pub env_end: u64,
}
