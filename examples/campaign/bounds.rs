//! The times of groups of many sizes, against the stated bounds.

use std::{
    panic::catch_unwind,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use crate::sim::bounds::{Case, hellos, measure};

/// How large groups are, and how many runs each size has.
const SIZES: [(usize, u64); 5] = [(3, 40), (10, 30), (50, 8), (150, 3), (500, 1)];

/// Measures groups of up to `most` routers and prints a table. True if every run kept its bound.
pub(crate) fn measure_all(most: usize, threads: usize, stop: &AtomicBool) -> bool {
    let sizes = SIZES.iter().filter(|(nodes, _)| *nodes <= most);
    let runs: Vec<(Case, usize, u64)> = sizes
        .flat_map(|(nodes, runs)| Case::ALL.map(move |case| (case, *nodes, *runs)))
        .flat_map(|(case, nodes, runs)| (1..=runs).map(move |seed| (case, nodes, seed)))
        .collect();
    let next = AtomicUsize::new(0);
    let times = Mutex::new(Vec::<(usize, Case, Option<u64>)>::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((case, nodes, seed)) = runs.get(next.fetch_add(1, Ordering::Relaxed)).copied()
                {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    // A run that fails at all is one without a time.
                    let time = catch_unwind(|| measure(case, seed, nodes)).ok();
                    let mut times = times.lock().expect("no worker panics while it holds this");
                    times.push((nodes, case, time));
                }
            });
        }
    });
    let times = times.into_inner().expect("no worker panics while it holds this");
    println!("routers  what                           runs   median      p99      max    bound  in hellos");
    let (mut kept, mut played) = (true, 0);
    for (nodes, _) in SIZES.iter().filter(|(nodes, _)| *nodes <= most) {
        for case in Case::ALL {
            let here = times.iter().filter(|(n, c, _)| n == nodes && *c == case);
            let mut here: Vec<u64> = here.map(|(.., time)| time.unwrap_or(u64::MAX)).collect();
            if here.is_empty() {
                continue;
            }
            here.sort_unstable();
            played += here.len();
            let at = |share: usize| {
                here.get((here.len() * share / 100).min(here.len() - 1))
                    .copied()
                    .unwrap_or(0)
            };
            let (bound, longest) = (case.bound(*nodes), at(100));
            let within = longest <= bound;
            kept &= within;
            println!(
                "{nodes:>7}  {:<30} {:>4} {:>8} {:>8} {:>8} {bound:>8}  {}{}",
                case.what(),
                here.len(),
                shown(at(50)),
                shown(at(99)),
                shown(longest),
                hellos(bound),
                if within { "" } else { "  TOO LONG" }
            );
        }
    }
    let whole = kept && played == runs.len();
    println!(
        "{}",
        serde_json::json!({ "ok": whole, "bounds": kept, "runs": played, "interrupted": stop.load(Ordering::Relaxed) })
    );
    whole
}

fn shown(ms: u64) -> String {
    if ms == u64::MAX {
        "failed".into()
    } else {
        ms.to_string()
    }
}
