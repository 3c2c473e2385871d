//! Octets that must not leak: [`Secret`], and comparison in constant time.

use core::fmt;

use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// `N` octets of secret: wiped on drop, compared in constant time, printed as `[redacted]`.
///
/// Neither `Clone` nor `Copy`, so that every further copy stands in the source as [`duplicate`](Self::duplicate)
/// (PROTOCOL.md section 3).
///
/// ```compile_fail,E0599
/// let key = karp_core::crypto::Secret::from_bytes([7; 32]);
/// let copy = key.clone();
/// ```
pub struct Secret<const N: usize>([u8; N]);

impl<const N: usize> Secret<N> {
    /// Takes `octets` as a secret.
    ///
    /// The array is moved, and the compiler may leave the caller's copy behind: wipe it where that matters.
    #[must_use]
    pub const fn from_bytes(octets: [u8; N]) -> Self {
        Self(octets)
    }

    /// `N` octets from the host's generator.
    #[must_use]
    pub fn random(rng: &mut dyn CryptoRng) -> Self {
        let mut secret = Self::zeroed();
        rng.fill_bytes(&mut secret.0);
        secret
    }

    /// The octets themselves.
    ///
    /// What is copied out of this reference is no longer wiped by anybody.
    #[must_use]
    pub const fn expose(&self) -> &[u8; N] {
        &self.0
    }

    /// A second copy of the secret, for a key that lives in two places by design.
    ///
    /// Hazard: two copies have two lifetimes, and dropping one wipes one. Never duplicate what goes into a
    /// [`SealKey`](super::SealKey) or a [`WrapKey`](super::WrapKey) to make a second one of it: both would count from
    /// zero and repeat their nonces.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self(self.0)
    }

    /// The secret, and none of it is left here: a move would leave the octets behind in the old place.
    pub(crate) fn take_out(&mut self) -> Self {
        let taken = self.duplicate();
        self.zeroize();
        taken
    }

    /// Takes the octets of `other` in place.
    pub(crate) fn copy_from(&mut self, other: &Self) {
        self.0 = other.0;
    }

    /// Draws the secret anew, in place.
    pub(crate) fn redraw(&mut self, rng: &mut dyn CryptoRng) {
        rng.fill_bytes(&mut self.0);
    }

    /// A place for a secret that is about to be written.
    pub(crate) const fn zeroed() -> Self {
        Self([0; N])
    }

    /// The octets, for writing.
    pub(super) const fn expose_mut(&mut self) -> &mut [u8; N] {
        &mut self.0
    }

    /// The next `N` octets of a larger secret that is being cut into keys. Zero where `octets` runs out, so callers
    /// hand in arrays whose length is the sum of the parts.
    pub(super) fn take<'a>(octets: &mut impl Iterator<Item = &'a u8>) -> Self {
        let mut secret = Self::zeroed();
        for (to, from) in secret.0.iter_mut().zip(octets) {
            *to = *from;
        }
        secret
    }
}

impl<const N: usize> PartialEq for Secret<N> {
    /// Takes the same time wherever the octets differ.
    fn eq(&self, other: &Self) -> bool {
        ct_eq(&self.0, &other.0)
    }
}

impl<const N: usize> Eq for Secret<N> {}

impl<const N: usize> Zeroize for Secret<N> {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

impl<const N: usize> Drop for Secret<N> {
    fn drop(&mut self) {
        self.zeroize();
    }
}

impl<const N: usize> ZeroizeOnDrop for Secret<N> {}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(feature = "defmt")]
impl<const N: usize> defmt::Format for Secret<N> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "[redacted]");
    }
}

/// Whether two strings of octets are equal, in a time that depends on their lengths only.
///
/// Strings of different lengths are unequal at once: lengths are public here.
#[must_use]
pub fn ct_eq(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    fn wiped_on_drop<T: ZeroizeOnDrop>() {}

    #[test]
    fn never_printed() {
        let secret = Secret::from_bytes([0xa5; 32]);
        assert_eq!(format!("{secret:?}"), "[redacted]");
        assert_eq!(format!("{:#?}", Some(secret)), "Some(\n    [redacted],\n)");
    }

    #[test]
    fn wiped() {
        wiped_on_drop::<Secret<32>>();
        wiped_on_drop::<Secret<68>>();
        let mut secret = Secret::from_bytes([0xa5; 36]);
        secret.zeroize();
        assert_eq!(secret.expose(), &[0; 36]);
    }

    #[test]
    fn a_copy_outlives_the_original() {
        let secret = Secret::from_bytes([3; 32]);
        let copy = secret.duplicate();
        assert_eq!(secret, copy);
        drop(secret);
        assert_eq!(copy.expose(), &[3; 32]);
    }

    #[test]
    fn compared_over_all_octets() {
        for i in 0..36 {
            let mut octets = [9; 36];
            octets[i] ^= 0x80;
            assert_ne!(Secret::from_bytes(octets), Secret::from_bytes([9; 36]));
        }
        assert!(ct_eq(b"", b""));
        assert!(!ct_eq(b"karp", b"karp "));
        assert!(!ct_eq(b"karp", b"kark"));
    }

    #[test]
    fn cut_in_order() {
        let octets = [1, 2, 3, 4, 5];
        let mut rest = octets.iter();
        let (a, b) = (Secret::<2>::take(&mut rest), Secret::<3>::take(&mut rest));
        assert_eq!((a.expose(), b.expose()), (&[1, 2], &[3, 4, 5]));
    }
}
