//! What guests see of the processor: a named, stable set of features, the same on every platform.
//!
//! A guest that found an instruction goes on using it after a restore, so a snapshot names the features its guest
//! could find, and fits where guests find at least these. Features that are not in the list (of the operating system, of
//! performance counters, of the newest processors) decide nothing.

use std::sync::OnceLock;

/// State components that every platform saves and restores: x87, SSE, AVX, and the three parts of AVX-512
/// (Intel SDM vol. 1, 13.1). What a host has beyond (protection keys, tiles) is in its initial state after a restore; our kernel
/// gives guests no way to ask for it.
const STATE: u64 = STATE_LEGACY | STATE_AVX | STATE_AVX512;
const STATE_LEGACY: u64 = 3;
const STATE_AVX: u64 = 4;
const STATE_AVX512: u64 = 0xe0;
/// Legacy area and header.
const STATE_MIN: usize = 576;

/// Offset of `XSTATE_BV` in an XSAVE area (Intel SDM vol. 1, 13.4.2).
const XSTATE_BV: usize = 512;
const MXCSR: usize = 24;
const FCW_INITIAL: u16 = 0x37f;
const MXCSR_INITIAL: u32 = 0x1f80;

/// What CPUID answers for a leaf and subleaf: EAX, EBX, ECX, EDX.
pub type Leaf = [u32; 4];

const B: usize = 1;
const C: usize = 2;
const D: usize = 3;

/// A feature as Linux names it in `/proc/cpuinfo`: leaf, subleaf, register, bit (Intel SDM vol. 2, CPUID).
type Row = (&'static str, (u32, u32), usize, u32);

const LIST: [Row; 43] = [
    ("pni", (1, 0), C, 0),
    ("pclmulqdq", (1, 0), C, 1),
    ("ssse3", (1, 0), C, 9),
    ("fma", (1, 0), C, 12),
    ("cx16", (1, 0), C, 13),
    ("sse4_1", (1, 0), C, 19),
    ("sse4_2", (1, 0), C, 20),
    ("movbe", (1, 0), C, 22),
    ("popcnt", (1, 0), C, 23),
    ("aes", (1, 0), C, 25),
    ("xsave", (1, 0), C, 26),
    ("avx", (1, 0), C, 28),
    ("f16c", (1, 0), C, 29),
    ("rdrand", (1, 0), C, 30),
    ("fsgsbase", (7, 0), B, 0),
    ("bmi1", (7, 0), B, 3),
    ("avx2", (7, 0), B, 5),
    ("bmi2", (7, 0), B, 8),
    ("avx512f", (7, 0), B, 16),
    ("avx512dq", (7, 0), B, 17),
    ("rdseed", (7, 0), B, 18),
    ("adx", (7, 0), B, 19),
    ("avx512ifma", (7, 0), B, 21),
    ("clflushopt", (7, 0), B, 23),
    ("clwb", (7, 0), B, 24),
    ("avx512cd", (7, 0), B, 28),
    ("sha_ni", (7, 0), B, 29),
    ("avx512bw", (7, 0), B, 30),
    ("avx512vl", (7, 0), B, 31),
    ("avx512vbmi", (7, 0), C, 1),
    ("avx512_vbmi2", (7, 0), C, 6),
    ("gfni", (7, 0), C, 8),
    ("vaes", (7, 0), C, 9),
    ("vpclmulqdq", (7, 0), C, 10),
    ("avx512_vnni", (7, 0), C, 11),
    ("avx512_bitalg", (7, 0), C, 12),
    ("avx512_vpopcntdq", (7, 0), C, 14),
    ("avx512_fp16", (7, 0), D, 23),
    ("avx_vnni", (7, 1), 0, 4),
    ("avx512_bf16", (7, 1), 0, 5),
    ("lahf_lm", (0x8000_0001, 0), C, 0),
    ("abm", (0x8000_0001, 0), C, 5),
    ("rdtscp", (0x8000_0001, 0), D, 27),
];

/// Those that programs can use in a virtual machine wherever the processor has them, whatever the host's list says: they need no more than
/// the instruction and its registers, or come with the machine as soon as it is asked for them (`rdtscp`). The others can be switched off.
fn is_plain(row: &Row) -> bool {
    !matches!(row.0, "xsave" | "rdrand" | "rdseed" | "fsgsbase")
}

/// Features of the list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessorFeatures(u64);

impl ProcessorFeatures {
    /// Those that a reader of CPUID finds: `read` answers for leaf and subleaf, with zeros for leaves that are not there.
    pub fn found(mut read: impl FnMut(u32, u32) -> Leaf) -> ProcessorFeatures {
        let mut bits = 0;
        for (at, (_, (leaf, subleaf), register, bit)) in LIST.iter().enumerate() {
            let registers = read(*leaf, *subleaf);
            if registers
                .get(*register)
                .is_some_and(|value| value & 1 << bit != 0)
            {
                bits |= 1 << at;
            }
        }
        ProcessorFeatures(bits)
    }

    /// Their names, as in `/proc/cpuinfo`.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let rows = LIST.iter().enumerate();
        rows.filter(move |(at, _)| self.0 & 1 << at != 0)
            .map(|(_, row)| row.0)
    }

    /// Whether it has the one of this name.
    #[must_use]
    pub fn has(self, name: &str) -> bool {
        self.names().any(|own| own == name)
    }
}

/// What programs find on the processor that this process runs on. It is asked once: in a virtual machine every
/// question leaves it.
#[must_use]
pub fn native_features() -> ProcessorFeatures {
    static FOUND: OnceLock<ProcessorFeatures> = OnceLock::new();
    *FOUND.get_or_init(|| ProcessorFeatures::found(native))
}

/// What the processor that this process runs on answers; zeros for leaves that it has not.
#[must_use]
pub fn native(leaf: u32, subleaf: u32) -> Leaf {
    let ask = core::arch::x86_64::__cpuid_count;
    if ask(leaf & 0x8000_0000, 0).eax < leaf {
        return [0; 4];
    }
    // Subleaf 0 of leaf 7 tells which others there are.
    if leaf == 7 && ask(7, 0).eax < subleaf {
        return [0; 4];
    }
    let found = ask(leaf, subleaf);
    [found.eax, found.ebx, found.ecx, found.edx]
}

/// The bits of a leaf that are features of the list which programs can use wherever the processor has them.
#[must_use]
pub fn plain_bits(leaf: u32, subleaf: u32) -> Leaf {
    bits_of(leaf, subleaf, is_plain)
}

/// The bits of a leaf that are features of the list.
#[must_use]
pub fn listed_bits(leaf: u32, subleaf: u32) -> Leaf {
    bits_of(leaf, subleaf, |_| true)
}

fn bits_of(leaf: u32, subleaf: u32, wanted: impl Fn(&Row) -> bool) -> Leaf {
    let mut bits = [0; 4];
    let rows = LIST.iter().filter(|row| row.1 == (leaf, subleaf));
    for row in rows.filter(|row| wanted(row)) {
        if let Some(register) = bits.get_mut(row.2) {
            *register |= 1 << row.3;
        }
    }
    bits
}

/// The state components that guests have where a host has `xcr0`: parts of AVX-512 all or none, and not without AVX.
#[must_use]
pub fn state_components(xcr0: u64) -> u64 {
    let mut found = xcr0 & STATE | STATE_LEGACY;
    if found & STATE_AVX == 0 {
        found = STATE_LEGACY;
    }
    if found & STATE_AVX512 != STATE_AVX512 {
        found &= !STATE_AVX512;
    }
    found
}

/// Bytes of an XSAVE area in standard format with these components, by leaf 13 of CPUID.
pub fn state_size(xcr0: u64, mut read: impl FnMut(u32, u32) -> Leaf) -> usize {
    (2..64u32)
        .filter(|part| xcr0 & 1 << part != 0)
        .map(|part| {
            let [size, offset, ..] = read(0xd, part);
            size as usize + offset as usize
        })
        .fold(STATE_MIN, usize::max)
}

/// The XSAVE area after `execve`, in bytes of this length: everything in its initial state.
pub fn initial_state(len: usize) -> Vec<u8> {
    let mut area = vec![0u8; len];
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(place) = area.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    };
    put(0, &FCW_INITIAL.to_le_bytes());
    put(MXCSR, &MXCSR_INITIAL.to_le_bytes());
    // x87 and SSE are present, with their initial values; without them MXCSR would not be taken.
    put(XSTATE_BV, &3u64.to_le_bytes());
    area
}

/// Takes out of an XSAVE area what is not among these components: they are in their initial state then.
pub fn without_others(area: &mut [u8], xcr0: u64) {
    const PRESENT: std::ops::Range<usize> = 512..520;
    const SOFTWARE: std::ops::Range<usize> = 464..512;
    if let Some(bytes) = area.get_mut(PRESENT) {
        for (byte, kept) in bytes.iter_mut().zip(xcr0.to_le_bytes()) {
            *byte &= kept;
        }
    }
    if let Some(bytes) = area.get_mut(SOFTWARE) {
        bytes.fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_feature_has_one_name_and_one_place() {
        for (at, row) in LIST.iter().enumerate() {
            let twin = |other: &&Row| {
                other.0 == row.0 || (other.1, other.2, other.3) == (row.1, row.2, row.3)
            };
            assert_eq!(LIST.iter().filter(twin).count(), 1, "{}", row.0);
            let one = |leaf, subleaf| {
                let mut answer = [0; 4];
                if (leaf, subleaf) == row.1 {
                    answer[row.2] = 1 << row.3;
                }
                answer
            };
            let found = ProcessorFeatures::found(one);
            assert_eq!(found, ProcessorFeatures(1 << at));
            assert_eq!(found.names().collect::<Vec<_>>(), [row.0]);
        }
    }

    #[test]
    fn components_come_in_whole_sets() {
        assert_eq!(state_components(0x602e7), 0xe7);
        assert_eq!(state_components(0x67), 7);
        assert_eq!(state_components(0xe3), 3);
        assert_eq!(state_components(1), 3);
    }

    #[test]
    fn the_area_ends_with_its_last_component() {
        let leaf = |_, part| match part {
            2 => [256, 576, 0, 0],
            5 => [64, 1088, 0, 0],
            6 => [512, 1152, 0, 0],
            7 => [1024, 1664, 0, 0],
            _ => [8192, 8192, 0, 0],
        };
        assert_eq!(state_size(3, leaf), 576);
        assert_eq!(state_size(7, leaf), 832);
        assert_eq!(state_size(0xe7, leaf), 2688);
    }

    #[test]
    fn other_components_leave_the_area() {
        let mut area = vec![0xff; 600];
        without_others(&mut area, 0xe7);
        assert_eq!(area[512..520], 0xe7u64.to_le_bytes());
        assert_eq!(area[464..512], [0; 48]);
        assert_eq!(area[463], 0xff);
        without_others(&mut [], 7);
    }
}
