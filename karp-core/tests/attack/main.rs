//! The attacker's laboratory: scripted attacks on a LAN of real engines.
//!
//! The *outsider* sees, drops, delays, replays and alters everything on the link and injects anything, and has no key.
//! The *insider* is a registered member, played by hand (`puppet`): it has the group's keys and its own credential, and
//! not the key that the GCKS signs with. The *evicted* router has an honest engine, all that it ever knew, and all that
//! it ever said.
//!
//! Every test states what is lost at most, and asserts that the attack reached the engine: a test must not pass because
//! the attack misses. `karp-core/THREATS.md` lists them by attack. `KARP_SEED=7` runs one seed.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic"
)]

#[path = "../common/mod.rs"]
mod common;

mod attacker;
mod puppet;

mod eviction;
mod flood;
mod ghosts;
mod hints;
mod insider;
mod links;
mod malformed;
mod racing;
mod reboots;
mod replay;
mod suite;
