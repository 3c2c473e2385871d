//! Randomness for demonstrations: the operating system's, or, to run the same story twice, a generator with a seed.

use core::convert::Infallible;

use karp_std::entropy::OsEntropy;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _, TryCryptoRng, TryRng};

/// What a demonstration draws its randomness from.
///
/// Hazard: [`DemoEntropy::Seeded`] is for demonstrations and tests only. Whoever knows the seed knows every key.
pub enum DemoEntropy {
    /// The operating system's generator.
    System(OsEntropy),
    /// The same octets for the same seed.
    Seeded(Box<ChaCha20Rng>),
}

impl DemoEntropy {
    /// The generator number `stream` of a run: of the seed where there is one, else the operating system's.
    #[must_use]
    pub fn new(seed: Option<u64>, stream: u64) -> Self {
        let Some(seed) = seed else {
            return Self::System(OsEntropy);
        };
        let mut generator = ChaCha20Rng::seed_from_u64(seed);
        generator.set_stream(stream);
        Self::Seeded(Box::new(generator))
    }

    /// A number below `bound`, or 0 for a bound of 0. Not exactly uniform: for jitter and order.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_u64().checked_rem(bound).unwrap_or(0)
    }

    /// Brings `items` into a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last as u64 + 1) as usize;
            items.swap(last, other);
        }
    }
}

impl TryRng for DemoEntropy {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        match self {
            Self::System(generator) => generator.try_next_u32(),
            Self::Seeded(generator) => generator.try_next_u32(),
        }
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        match self {
            Self::System(generator) => generator.try_next_u64(),
            Self::Seeded(generator) => generator.try_next_u64(),
        }
    }

    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Infallible> {
        match self {
            Self::System(generator) => generator.try_fill_bytes(dst),
            Self::Seeded(generator) => generator.try_fill_bytes(dst),
        }
    }
}

impl TryCryptoRng for DemoEntropy {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_and_the_stream_decide() {
        let draw = |seed, stream| DemoEntropy::new(seed, stream).next_u64();
        assert_eq!(draw(Some(1), 2), draw(Some(1), 2));
        assert_ne!(draw(Some(1), 2), draw(Some(1), 3));
        assert_ne!(draw(Some(1), 2), draw(Some(2), 2));
        assert_ne!(draw(None, 2), draw(None, 2));
    }

    #[test]
    fn shuffling_keeps_every_item() {
        let mut items: Vec<u32> = (0..50).collect();
        DemoEntropy::new(Some(7), 0).shuffle(&mut items);
        assert_ne!(items, (0..50).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..50).collect::<Vec<_>>());
    }
}
