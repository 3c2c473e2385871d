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
pub mod history;
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

pub use lan::{Lan, Sign};
pub use link::Link;

/// Runs a scenario with several seeds. `KARP_SEED=7` runs one alone, `KARP_SEEDS=500` runs 500, from
/// `KARP_FROM` or 1 on, and tells at the end which of them failed.
pub fn seeds(count: u64, mut scenario: impl FnMut(u64)) {
    let number = |name| {
        std::env::var(name)
            .ok()
            .map(|text| text.parse::<u64>().expect("a number of seeds"))
    };
    if let Some(seed) = number("KARP_SEED") {
        return scenario(seed);
    }
    let Some(many) = number("KARP_SEEDS") else {
        return (1..=count).for_each(&mut scenario);
    };
    let mut failed = Vec::new();
    let first = number("KARP_FROM").unwrap_or(1);
    for seed in first..first + many {
        let run = std::panic::AssertUnwindSafe(|| scenario(seed));
        if std::panic::catch_unwind(run).is_err() {
            failed.push(seed);
        }
    }
    assert!(
        failed.is_empty(),
        "{} of {many} seeds failed: {failed:?}",
        failed.len()
    );
}
