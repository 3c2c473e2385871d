//! What was found: each failure when its turn comes, and the summary.

use std::collections::BTreeMap;

use crate::{
    common::hellos::Excuse,
    sim::play::{Outcome, play},
    work::{Campaign, Played},
};

/// How much of a shrunk run's trace is printed.
const TRACE: usize = 120;

/// What all runs together show.
#[derive(Default)]
pub(crate) struct Tally {
    outcomes: Vec<Outcome>,
    failed: Vec<u64>,
    pub(crate) interrupted: bool,
}

impl Tally {
    /// How many runs are in it.
    pub(crate) fn played(&self) -> u64 {
        self.outcomes.len() as u64
    }

    /// Takes one in, and prints what it left.
    pub(crate) fn take(&mut self, played: Played) {
        let Played {
            outcome,
            shrunk,
            trace,
        } = played;
        trace.iter().for_each(|line| println!("{line}"));
        if let Some(failure) = &outcome.failure {
            self.failed.push(outcome.seed);
            println!(
                "FAILED seed {} (profile {}, {} routers) at {:.3} s: {}",
                outcome.seed,
                outcome.profile,
                outcome.nodes,
                failure.at as f64 / 1000.0,
                failure.why
            );
        }
        if let Some(shrunk) = shrunk {
            println!("shrunk in {} runs: {}", shrunk.runs, shrunk.failure.why);
            println!("{}", shrunk.schedule);
            let (_, lan) = play(&shrunk.schedule, true);
            let lines: Vec<&str> = lan.trace.lines().collect();
            println!("the end of its trace:");
            lines
                .iter()
                .skip(lines.len().saturating_sub(TRACE))
                .for_each(|line| println!("{line}"));
            println!();
        }
        self.outcomes.push(outcome);
    }
}

/// Prints the summary. True if everything held.
pub(crate) fn finish(campaign: &Campaign, tally: &Tally) -> bool {
    let mut profiles: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    let mut promises: BTreeMap<usize, u64> = BTreeMap::new();
    let mut excuses = [0; Excuse::ALL.len()];
    let (mut accepted, mut lasted) = (0, 0);
    let mut settled: Vec<u64> = Vec::new();
    for outcome in &tally.outcomes {
        let profile = profiles.entry(outcome.profile).or_default();
        profile.0 += 1;
        accepted += outcome.accepted;
        lasted += outcome.lasted;
        for (sum, one) in excuses.iter_mut().zip(&outcome.excused) {
            *sum += one;
        }
        match &outcome.failure {
            Some(failure) => {
                profile.1 += 1;
                *promises.entry(failure.promise()).or_default() += 1;
            }
            None => settled.push(outcome.settled),
        }
    }
    println!("profile      seeds  failed");
    for (name, (seeds, failed)) in &profiles {
        println!("{name:<12} {seeds:>5}  {failed:>6}");
    }
    println!("{accepted} routing packets accepted; refused, and PROTOCOL.md excepts it:");
    for ((at, excuse), count) in Excuse::ALL.iter().enumerate().zip(excuses) {
        let counts = |outcome: &&Outcome| outcome.excused.get(at).copied().unwrap_or(0);
        let seeds = tally
            .outcomes
            .iter()
            .filter(|outcome| counts(outcome) > 0)
            .count();
        println!("{count:>9}  {excuse:?}, in {seeds} runs: {}", excuse.sentence());
        if let Some(most) = tally
            .outcomes
            .iter()
            .max_by_key(counts)
            .filter(|most| counts(most) > 0)
        {
            println!(
                "           most in seed {} (profile {}): {}",
                most.seed,
                most.profile,
                counts(&most)
            );
        }
    }
    settled.sort_unstable();
    let at = |share: usize| {
        settled
            .get((settled.len() * share / 100).min(settled.len().saturating_sub(1)))
            .copied()
            .unwrap_or(0)
    };
    println!(
        "one group after all was mended: median {} ms, p99 {} ms, longest {} ms",
        at(50),
        at(99),
        settled.last().copied().unwrap_or(0)
    );
    let whole = tally.failed.is_empty() && (tally.played() == campaign.seeds || tally.interrupted);
    let by_promise: serde_json::Map<String, serde_json::Value> = promises
        .iter()
        .map(|(promise, count)| {
            let name = if *promise == 0 {
                "contract".to_string()
            } else {
                promise.to_string()
            };
            (name, (*count).into())
        })
        .collect();
    println!(
        "{}",
        serde_json::json!({
            "ok": whole,
            "seeds": tally.played(),
            "first_seed": campaign.first,
            "failed": tally.failed.len(),
            "failed_seeds": tally.failed,
            "failures_by_promise": by_promise,
            "virtual_s": lasted / 1000,
            "interrupted": tally.interrupted,
        })
    );
    whole
}
