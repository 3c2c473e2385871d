//! The simulator of the campaign: what goes wrong when is drawn from a seed (`profile`), as a value (`fault`) that can be
//! written down, played on the laboratory's LAN (`play`, `attacker`) and shrunk (`shrink`). `bounds` has the times in
//! which a group is there again.
//!
//! The tests and the `campaign` example share it; nothing of it is in karp-core. It stands beside `common`, the
//! laboratory, and finds it at the crate's root.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test crate uses its part of the simulator"
)]

pub mod attacker;
pub mod bounds;
pub mod fault;
pub mod play;
pub mod profile;
pub mod shrink;
