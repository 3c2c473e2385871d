//! The suite: everything that touches a key, on top of crates that implement the primitives.
//!
//! One suite and no negotiation inside: ENCR_CHACHA20_POLY1305, PRF_HMAC_SHA2_256, Curve25519, Ed25519 (PROTOCOL.md
//! section 3). This room knows octets, keys and nothing else. No message format, no state machine, no clock and no
//! table of peers may come in, and no primitive is written here.
//!
//! # What the types promise
//!
//! - A key type is neither `Clone` nor `Copy`, prints as `[redacted]`, compares in constant time where it compares at
//!   all, and is wiped when it is dropped. The stack that the ciphers and the curve ran on is
//!   wiped as well; the caller's own frames are the caller's.
//! - No two messages go out under one AEAD key and one nonce: [`SealKey`] and [`WrapKey`] count, the count moves
//!   before anything is sealed, and it never moves back.
//! - A forged message leaves the caller's buffer as it was: tags are verified before a single octet is decrypted.
//! - Nothing that a peer sends makes these functions panic.
//!
//! Under `cfg(fuzzing)` a null suite stands in for the AEAD, X25519, Ed25519 and the MAC of announcements; the key
//! schedule stays. It is chosen here and nowhere else.

mod aead;
mod apart;
mod dh;
mod keys;
mod prf;
mod routing_key;
mod secret;
mod signature;
mod wrap;

#[cfg(not(fuzzing))]
mod primitives;

// The only place where the null suite comes in: same functions, no protection.
#[cfg(fuzzing)]
#[path = "null.rs"]
mod primitives;

pub(crate) use apart::{DEEP, ROW, apart, wipe};

pub use aead::{AuthFailed, IV_LEN, Iv, OpenKey, SealError, SealKey, TAG_LEN};
pub use dh::{DH_LEN, DhError, DhSecret, SharedSecret};
pub use keys::{IkeKeys, RekeySaKeys, child_keymat, key_wrap_key, rekey_skeyseed, skeyseed};
pub use prf::{
    Fingerprint, GROUP_MAC_LEN, KEY_CHECK_LEN, KeymatError, PRF_LEN, fingerprint, group_mac, identity_digest,
    key_check, prf, prf_plus, shared_key_auth, verify_group_mac,
};
pub use routing_key::RoutingKey;
pub use secret::{Secret, ct_eq};
pub use signature::{PUBLIC_KEY_LEN, SIGNATURE_LEN, SigningKey, is_acceptable_public_key, verify};
pub use wrap::{WRAP_OVERHEAD, WrapError, WrapKey, unwrap_key};
