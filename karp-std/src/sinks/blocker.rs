//! The key that keeps a daemon silent and deaf while there is none.

use rand_core::Rng;
use zeroize::Zeroizing;

use crate::entropy::OsEntropy;

/// A key that nobody else has: 28 characters of random text, 112 bits.
pub(super) fn secret() -> Zeroizing<String> {
    let mut octets = Zeroizing::new([0; 14]);
    OsEntropy.fill_bytes(&mut *octets);
    let digits = octets.iter().flat_map(|octet| [octet >> 4, octet & 15]);
    let mut text = Zeroizing::new(String::with_capacity(28));
    text.extend(digits.filter_map(|digit| char::from_digit(digit.into(), 16)));
    text
}
