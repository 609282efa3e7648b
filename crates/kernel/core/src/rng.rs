//! The kernel's random numbers: seeded from the host, reseeded after a restore.

use parking_lot::Mutex;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// The source behind getrandom(2), `/dev/urandom`, `AT_RANDOM` and every identifier.
pub struct Rng(Mutex<ChaCha20Rng>);

impl Rng {
    /// From 32 bytes of host entropy.
    #[must_use]
    pub fn new(seed: [u8; 32]) -> Rng {
        Rng(Mutex::new(ChaCha20Rng::from_seed(seed)))
    }

    /// Mixes in new entropy: everything drawn from now on is unrelated to what a clone draws.
    pub fn reseed(&self, seed: [u8; 32]) {
        let mut generator = self.0.lock();
        let mut key = [0u8; 32];
        generator.fill_bytes(&mut key);
        for (k, s) in key.iter_mut().zip(seed) {
            *k ^= s;
        }
        *generator = ChaCha20Rng::from_seed(key);
    }

    /// Fills the buffer.
    pub fn fill(&self, out: &mut [u8]) {
        self.0.lock().fill_bytes(out);
    }

    /// A random number.
    #[must_use]
    pub fn u64(&self) -> u64 {
        self.0.lock().next_u64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reseeding_parts_two_clones() {
        let (a, b) = (Rng::new([7; 32]), Rng::new([7; 32]));
        assert_eq!(a.u64(), b.u64());
        b.reseed([9; 32]);
        assert_ne!(a.u64(), b.u64());
    }
}
