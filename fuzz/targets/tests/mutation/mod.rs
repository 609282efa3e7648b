//! Mutations of stored inputs: the usual ones of fuzzers, without what coverage would tell.

/// Longest input that is made.
const LONGEST: usize = 64 << 10;
/// Most changes of one input.
const CHANGES: u64 = 8;
/// Numbers at which readers go wrong.
const EDGES: [u64; 14] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0xffff_ffff_ffff_f000,
    u64::MAX,
];

/// Numbers from a seed (SplitMix64: Steele, Lea, Flood, 2014).
pub(crate) struct Rng(u64);

impl Rng {
    /// Those of this round of this seed.
    pub(crate) fn of(seed: u64, round: u64) -> Rng {
        let mut rng = Rng(seed ^ round.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        rng.next();
        rng
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `end`; 0 where that is 0.
    fn below(&mut self, end: usize) -> usize {
        (self.next() % (end.max(1) as u64)) as usize
    }
}

/// One of the inputs, changed.
pub(crate) fn mutated(inputs: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = inputs[rng.below(inputs.len())].clone();
    for _ in 0..=rng.next() % CHANGES {
        change(&mut bytes, inputs, rng);
    }
    bytes.truncate(LONGEST);
    bytes
}

fn change(bytes: &mut Vec<u8>, inputs: &[Vec<u8>], rng: &mut Rng) {
    let at = rng.below(bytes.len());
    let end = at + rng.below((bytes.len() - at).min(64));
    match rng.below(9) {
        0 if !bytes.is_empty() => bytes[at] ^= 1 << rng.below(8),
        1 if !bytes.is_empty() => bytes[at] = rng.next() as u8,
        2 => overwrite(bytes, at, rng),
        3 => drop(bytes.drain(at..end)),
        4 => bytes.insert(at, rng.next() as u8),
        5 => {
            let again = bytes[at..end].to_vec();
            bytes.splice(at..at, again);
        }
        6 => bytes.truncate(at),
        7 => {
            // The end of another one, or of the same.
            let other = &inputs[rng.below(inputs.len())];
            let from = rng.below(other.len());
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
        _ => {
            let other = &inputs[rng.below(inputs.len())];
            let from = rng.below(other.len());
            let to = from + rng.below((other.len() - from).min(64));
            bytes.splice(at..at, other[from..to].to_vec());
        }
    }
}

/// Writes a number at which readers go wrong, or a small change of the one that is there, in one of the widths.
fn overwrite(bytes: &mut [u8], at: usize, rng: &mut Rng) {
    let width = 1 << rng.below(4);
    let Some(place) = bytes.get_mut(at..at + width) else {
        return;
    };
    let mut number = [0; 8];
    number[..width].copy_from_slice(place);
    let there = u64::from_le_bytes(number);
    let number = match rng.below(3) {
        0 => there.wrapping_add(1 + rng.next() % 16),
        1 => there.wrapping_sub(1 + rng.next() % 16),
        _ => EDGES[rng.below(EDGES.len())],
    };
    let mut number = number.to_le_bytes();
    if rng.below(4) == 0 {
        number[..width].reverse();
    }
    place.copy_from_slice(&number[..width]);
}
