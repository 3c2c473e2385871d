//! Loss on purpose, for demonstrations and tests: a seeded generator decides which datagrams never arrived.

/// Drops a share of what comes in. Not for cryptography.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Loss {
    percent: u8,
    state: u64,
}

impl Loss {
    /// Drops `percent` of a hundred datagrams, all from 100 on.
    pub(crate) const fn new(percent: u8, seed: u64) -> Self {
        Self { percent, state: seed }
    }

    /// Whether the next datagram is dropped.
    pub(crate) fn drops(&mut self) -> bool {
        // SplitMix64 (Steele, Lea, Flood 2014).
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % 100 < u64::from(self.percent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_right_and_the_seed_decides() {
        let run = |percent, seed| {
            let mut loss = Loss::new(percent, seed);
            (0..10_000).map(|_| loss.drops()).collect::<Vec<_>>()
        };
        let lost = run(20, 7).iter().filter(|lost| **lost).count();
        assert!((1800..2200).contains(&lost), "{lost}");
        assert_eq!(run(20, 7), run(20, 7));
        assert_ne!(run(20, 7), run(20, 8));
        assert!(run(0, 7).iter().all(|lost| !lost) && run(100, 7).iter().all(|lost| *lost));
    }
}
