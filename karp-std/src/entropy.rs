//! Randomness of the operating system.

use core::convert::Infallible;

use rand_core::{TryCryptoRng, TryRng};

/// The operating system's generator: `getrandom` on Linux, its equivalents elsewhere.
///
/// It never fails: if the system has no randomness to give, the process ends at once with a message on standard error
/// (and as a `tracing` error). A key server that went on with weak randomness would give away every key of its group,
/// and a router without key management keeps the keys that it has, so the end is the smaller harm. On Linux the first
/// call waits until the kernel's generator is seeded, which after a boot can take seconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsEntropy;

impl TryRng for OsEntropy {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut octets = [0; 4];
        fill(&mut octets);
        Ok(u32::from_ne_bytes(octets))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut octets = [0; 8];
        fill(&mut octets);
        Ok(u64::from_ne_bytes(octets))
    }

    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Infallible> {
        fill(dst);
        Ok(())
    }
}

impl TryCryptoRng for OsEntropy {}

fn fill(dst: &mut [u8]) {
    if let Err(error) = getrandom::fill(dst) {
        tracing::error!(%error, "the operating system gives no randomness; ending, for weak keys are worse than none");
        eprintln!(
            "karp: the operating system gives no randomness ({error}); ending, for weak keys are worse than none"
        );
        std::process::abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::Rng;

    #[test]
    fn fills_every_octet() {
        // An octet that stays zero in sixteen rounds is not filled: by chance it happens once in 2^128.
        let mut seen = [0u8; 100];
        for _ in 0..16 {
            let mut octets = [0u8; 100];
            OsEntropy.fill_bytes(&mut octets);
            seen.iter_mut().zip(octets).for_each(|(all, octet)| *all |= octet);
        }
        assert!(seen.iter().all(|octet| *octet != 0));
    }

    #[test]
    fn never_the_same() {
        assert_ne!(OsEntropy.next_u64(), OsEntropy.next_u64());
        assert_ne!(
            (OsEntropy.next_u32(), OsEntropy.next_u32()),
            (OsEntropy.next_u32(), OsEntropy.next_u32())
        );
    }

    #[test]
    fn serves_as_the_engines_generator() {
        fn takes(_: &mut dyn rand_core::CryptoRng) {}
        takes(&mut OsEntropy);
    }
}
