//! The pairwise mode (PROTOCOL.md section 9): two pairs on virtual time.
#![allow(
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
mod lab;
mod life;
mod malformed;
