//! Cookies: a responder under load asks for proof that the initiator can receive, and keeps no state (RFC 7296
//! section 2.6).

use core::net::SocketAddr;

use rand_core::CryptoRng;

use super::Handshake;
use crate::{
    crypto::{Secret, ct_eq, prf},
    node::{CookieSecrets, Core, address_octets},
};

/// The version of the secret and the hash.
pub(crate) type Cookie = heapless::Vec<u8, 33>;

/// Keyed hash over nonce, SPI and source address, port included: several routers can share an address on loopback.
fn hash(secret: &Secret<32>, nonce: &[u8], spi_i: &[u8; 8], from: SocketAddr) -> [u8; 32] {
    let (ip, port) = address_octets(from);
    prf(secret.expose(), &[nonce, spi_i, &ip, &port])
}

impl CookieSecrets {
    pub(crate) fn make(&self, nonce: &[u8], spi_i: &[u8; 8], from: SocketAddr) -> Cookie {
        let mut cookie = Cookie::new();
        // 1 and 32 octets fit 33.
        let _ = cookie.push(self.version);
        let _ = cookie.extend_from_slice(&hash(&self.current, nonce, spi_i, from));
        cookie
    }

    /// Two secrets, both fresh.
    pub(crate) fn new(rng: &mut dyn CryptoRng) -> Self {
        Self {
            current: Secret::random(rng),
            former: Secret::random(rng),
            version: 0,
        }
    }

    /// A new secret; cookies under the present one are taken until the next change.
    pub(crate) fn turn(&mut self, rng: &mut dyn CryptoRng) {
        self.former.copy_from(&self.current);
        self.current.redraw(rng);
        self.version = self.version.wrapping_add(1);
    }

    /// Whether `cookie` was made here for this initiator, under the present secret or the one before.
    pub(crate) fn check(&self, cookie: &[u8], nonce: &[u8], spi_i: &[u8; 8], from: SocketAddr) -> bool {
        let Some((version, value)) = cookie.split_first() else {
            return false;
        };
        let secret = if *version == self.version {
            &self.current
        } else if *version == self.version.wrapping_sub(1) {
            &self.former
        } else {
            return false;
        };
        ct_eq(&hash(secret, nonce, spi_i, from), value)
    }
}

impl Core<'_> {
    /// From half of the table on an IKE_SA_INIT needs a cookie (section 4). Exchanges that are answered keep their place
    /// only until it is needed: they do not count.
    pub(crate) fn cookies_wanted(&self) -> bool {
        let open = |row: &&Handshake| row.half_open().is_none_or(|half_open| !half_open.is_answered());
        self.handshakes.rows().filter(open).count().saturating_mul(2) >= self.handshakes.capacity()
    }
}
