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

use crate::{model::Run, rules::Rules, world::{Budget, World}};

const NO_FAULT: Budget = Budget { crash: 0, pause: 0, split: 0, silence: 0, lost: 0, want: 0, rekey_sa: 0, handoff: 0, force: 0 };

fn run<const N: usize>(name: &str, run: Run<N>) -> Vec<&'static str> {
    let start = Instant::now();
    let checker = run.checker().threads(2).timeout(std::time::Duration::from_secs(u64::from(env("TIME").max(20)))).spawn_bfs().join();
    let found = checker.discoveries();
    println!(
        "{name}: done {} {} states ({} generated), depth {}, {:.1} s",
        checker.is_done(), checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        start.elapsed().as_secs_f32()
    );
    let mut names = Vec::new();
    for (property, path) in found {
        println!("  {property}:");
        names.push(property);
        let steps = path.into_vec();
        for (_, act) in &steps {
            if let Some(act) = act {
                println!("    {act:?}");
            }
        }
        if let Some((state, _)) = steps.last() {
            show(state);
        }
    }
    names
}

fn show<const N: usize>(world: &World<N>) {
    for node in &world.nodes {
        println!("    {:?} sa {} {:?} gen {} keys {:?} sends {} was {:b} gcks {:?} handoff {:?} legacy {:?}", node.election, node.sa, node.formers, node.applied, node.keys.state, node.keys.sending, node.keys.was, node.gcks, node.handoff, node.legacy);
        println!("        {:?}", node.office);
    }
    println!("    air {:?}\n    post {:?} given_up {:b} owners {:?}", world.air, world.post, world.given_up, world.owners);
}

fn env(name: &str) -> u8 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(0)
}

fn from_env<const N: usize>() -> Run<N> {
    Run {
        rules: match std::env::var("RULES").unwrap_or_default().as_str() {
            "early" => Rules::ActivatesEarly,
            "hints" => Rules::FollowsHints,
            "keeps" => Rules::KeepsOffice,
            "heir" => Rules::HeirDoesNotWait,
            "shares" => Rules::SharesRekeySa,
            "validate" => Rules::NeverValidates,
            "old" => Rules::GivesOldKeys,
            _ => Rules::Shipping,
        },
        budget: Budget {
            crash: env("CRASH"),
            pause: env("PAUSE"),
            split: env("SPLIT"),
            silence: env("SILENCE"),
            lost: env("LOST"),
            want: env("WANT"),
            rekey_sa: env("SA"),
            handoff: env("HANDOFF"),
            force: env("FORCE"),
        },
        lag: env("LAG") > 0,
        late: env("LATE") > 0,
        outsider: env("OUT") > 0,
        settled: env("SETTLED") > 0,
        agreement: u64::from(env("AGREE")),
    }
}

#[test]
#[ignore = "explores by hand"]
fn explore() {
    match env("N") {
        2 => run("2", from_env::<2>()),
        3 => run("3", from_env::<3>()),
        _ => run("4", from_env::<4>()),
    };
}
