//! Model checking with stateright.
#![allow(clippy::unwrap_used, clippy::panic, clippy::wildcard_enum_match_arm, clippy::indexing_slicing)]
#![allow(clippy::arithmetic_side_effects, clippy::as_conversions)]

mod model;
mod node;
mod office;
mod promises;
mod rules;
mod world;

use std::time::Instant;

use stateright::{Checker, Model};

use crate::{model::Run, rules::Rules, world::Budget};

const NO_FAULT: Budget = Budget { crash: 0, pause: 0, split: 0, silence: 0, want: 0, rekey_sa: 0, handoff: 0, force: 0 };

fn run<const N: usize>(name: &str, run: Run<N>) -> Vec<&'static str> {
    let start = Instant::now();
    let checker = run.checker().threads(2).spawn_bfs().join();
    let found = checker.discoveries();
    println!(
        "{name}: {} states ({} generated), depth {}, {:.1} s",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        start.elapsed().as_secs_f32()
    );
    let mut names = Vec::new();
    for (property, path) in found {
        println!("  {property}:");
        names.push(property);
        let steps = path.into_vec();
        for (state, act) in &steps {
            if let Some(act) = act {
                println!("    {act:?}");
            } else {
                println!("    {state:#?}");
            }
        }
    }
    names
}

#[test]
fn explore() {
    let base = Run::<2> {
        rules: Rules::Shipping,
        budget: NO_FAULT,
        lag: false,
        late: false,
        outsider: false,
        settled: false,
        agreement: 1,
    };
    run("2 cold", base);
}
