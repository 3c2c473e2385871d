//! Model checking with stateright of the election and the rollover as they ship (PROTOCOL.md sections 5, 7 and 12).
//!
//! `karp_core::election` and `karp_core::group::rollover` run as they are, in every node of every world. What surrounds
//! them in the engine (who is heard, registrants, key lists, the merge's bookkeeping) has octets, secrets and instants in
//! it and is followed here in numbers: `office.rs` and `node.rs` say which file each part follows.
//!
//! The network: one register for each sender's announcement, one for its update, and one for what comes to a node by
//! unicast. A register holds the newest; it can be read at any time, again and again, or never. So messages are lost,
//! repeated and late, but an older one never comes after a newer of the same sender. Spans of time end at any moment, but
//! for those of hold and more that exist to let everybody be heard: they end when everybody in reach has been
//! (`Run::spans`). A silence without cause, and an exchange that fails though it could succeed, cost `Budget::silence`.
//!
//! A router of another half, who sends with a key that nobody here knows, is followed in part. As in the engine it is not
//! given a key again that it has stopped sending with (`Rules::GivesWhatWasLeft` is the rule without that, and is found
//! out). That it merges as an office of one, and has the new key before that is Active, is left out: here it is given the
//! state when the rollover that starts for it is over.
//!
//! Not modelled: cryptography (who holds a Rekey SA authenticates under it), priorities other than the router id's,
//! eviction, leaving, manual keys, key id conflicts, installations to be confirmed, evicted identities, a full table.
//!
//! `cargo test` runs the small worlds; `cargo test --release -p karp-core --test model -- --ignored
//! --nocapture --test-threads 1` the large ones.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic"
)]

mod act;
mod doubles;
mod model;
mod node;
mod office;
mod promises;
mod rules;
mod shipping;
mod world;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use stateright::{Checker, HasDiscoveries, Model, Path};

use crate::{
    model::{Act, Run},
    rules::Rules,
    world::{Budget, World},
};

/// A world that takes longer is not visited to the end.
const MOST_TIME: Duration = Duration::from_secs(300);

/// Nothing goes wrong.
const QUIET: Budget = Budget {
    crash: 0,
    pause: 0,
    split: 0,
    silence: 0,
    lost: 0,
    want: 0,
    rekey_sa: 0,
    handoff: 0,
    force: 0,
};

/// The code as it ships, from cold, in a network that loses only; agreement is asked in every state.
const fn plain<const N: usize>(budget: Budget) -> Run<N> {
    Run {
        rules: Rules::Shipping,
        budget,
        lag: false,
        late: false,
        outsider: false,
        restarts: true,
        depth: 0,
        settled: false,
        agreement: 1,
    }
}

/// The steps of a path, and the world at its end.
fn trace<const N: usize>(path: Path<World<N>, Act>) -> String {
    let steps = path.into_vec();
    let mut text = String::new();
    for (_, act) in &steps {
        if let Some(act) = act {
            text += &format!("    {act:?}\n");
        }
    }
    if let Some((world, _)) = steps.last() {
        text += &show("there", world);
    }
    text
}

fn show<const N: usize>(when: &str, world: &World<N>) -> String {
    let mut text = format!("  {when}:\n");
    for (at, node) in world.nodes.iter().enumerate() {
        text += &format!("  node {at}: {node:?}\n");
    }
    text += &format!("  in the air: {:?}\n  side {:b}\n", world.air, world.side);
    text
}

/// Visits every world that can be reached, and panics with the way to one that breaks a promise.
fn holds<const N: usize>(name: &str, run: Run<N>) -> usize {
    let (asked, depth) = (run.agreement, run.depth);
    let again = run.clone();
    let start = Instant::now();
    let checker = run
        .checker()
        .threads(2)
        .timeout(MOST_TIME)
        .finish_when(HasDiscoveries::Any)
        .target_max_depth(if depth == 0 { usize::MAX } else { depth })
        .spawn_bfs()
        .join();
    let states = checker.unique_state_count();
    println!(
        "{N} nodes, {name}: {states} states ({} generated), depth {}{}, agreement asked in {}, {:.1} s",
        checker.state_count(),
        checker.max_depth(),
        if depth == 0 { "" } else { " (its bound)" },
        match asked {
            0 => "none".to_owned(),
            1 => "all".to_owned(),
            of => format!("one of {of}"),
        },
        start.elapsed().as_secs_f32()
    );
    if let Some((promise, path)) = checker.discoveries().into_iter().next() {
        let last = *path.last_state();
        for from_last in [false, true] {
            println!(
                "{}",
                show(
                    "at the end of the quiet schedule",
                    &again.calm(&last, from_last).0
                )
            );
        }
        panic!("{N} nodes, {name}: not so: {promise}\n{}", trace(path));
    }
    assert!(
        checker.is_done() && start.elapsed() < MOST_TIME,
        "{name}: visited to the end"
    );
    states
}

/// Asserts that a broken rule is found out, by that promise.
fn finds<const N: usize>(run: Run<N>, promise: &'static str) {
    let rules = run.rules;
    let checker = run
        .checker()
        .threads(2)
        .timeout(Duration::from_secs(120))
        .finish_when(HasDiscoveries::AnyOf(BTreeSet::from([promise])))
        .spawn_bfs()
        .join();
    let states = checker.unique_state_count();
    let Some(path) = checker.discovery(promise) else {
        panic!("{rules:?} goes unnoticed in {states} states");
    };
    let steps = path.clone().into_actions().len();
    println!(
        "{rules:?}: found after {states} states: not so: {promise}, {steps} steps\n{}",
        trace(path)
    );
}
