//! The one source of chance in a run: what a seed decides.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

/// A seeded generator with the few draws that scenarios need.
pub struct Dice(ChaCha8Rng);

impl Dice {
    /// The generator that `seed` and `purpose` name. Streams of different purposes do not disturb each other.
    pub fn new(seed: u64, purpose: u64) -> Self {
        Self(generator(seed, purpose))
    }

    /// A number from 0 to `bound` - 1; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.0.next_u64() % bound }
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True in `percent` of 100 cases. Draws nothing where the answer is certain.
    pub fn chance(&mut self, percent: u32) -> bool {
        percent > 0 && self.below(100) < u64::from(percent)
    }

    /// One of `items`.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[usize::try_from(self.below(items.len() as u64)).unwrap()]
    }

    /// An index below `len`.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap()
    }

    /// `N` octets.
    pub fn octets<const N: usize>(&mut self) -> [u8; N] {
        let mut octets = [0; N];
        self.0.fill_bytes(&mut octets);
        octets
    }

    /// `items` in random order.
    pub fn shuffled<T>(&mut self, mut items: Vec<T>) -> Vec<T> {
        for last in (1..items.len()).rev() {
            items.swap(last, self.index(last + 1));
        }
        items
    }
}

/// A generator for an engine: the same seed, node and boot give the same octets.
pub fn generator(seed: u64, purpose: u64) -> ChaCha8Rng {
    let mut octets = [0; 32];
    octets[..8].copy_from_slice(&seed.to_be_bytes());
    octets[8..16].copy_from_slice(&purpose.to_be_bytes());
    ChaCha8Rng::from_seed(octets)
}
