//! karp-core: automated key management for routing protocols.
#![no_std]
#![cfg_attr(
    test,
    allow(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::indexing_slicing, clippy::unwrap_used,
        clippy::expect_used, clippy::panic, clippy::wildcard_enum_match_arm)
)]

#[cfg(test)]
extern crate std;

pub mod algorithm;
pub mod crypto;
#[cfg(feature = "packet-auth")]
pub mod packet_auth;
pub mod time;
pub mod wire;
