//! The laboratory that the scenario tests share: a LAN in memory, on which every router is a real engine. Time is
//! virtual and jumps from event to event; one seed gives one run; what must always hold is checked after every step.
//!
//! Only the public face of karp-core is used here. Message formats are written and read from PROTOCOL.md anew.
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "each test crate uses its part of the laboratory"
)]

pub mod checks;
pub mod credentials;
pub mod dice;
pub mod forge;
pub mod hellos;
pub mod keys;
pub mod lan;
pub mod life;
pub mod link;
pub mod node;
pub mod peek;
pub mod room;
pub mod trace;
pub mod view;
pub mod wire;

pub use lan::Lan;
pub use link::Link;

/// Runs a scenario with several seeds.
pub fn seeds(count: u64, mut scenario: impl FnMut(u64)) {
    // One seed alone, to look at a failure: KARP_SEED=7 cargo test ...
    if let Ok(seed) = std::env::var("KARP_SEED") {
        return scenario(seed.parse().expect("KARP_SEED is a number"));
    }
    (1..=count).for_each(&mut scenario);
}
