//! Plays seeds on several threads, and collects in the order of the seeds.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    progress::Progress,
    report::Tally,
    sim::{
        fault::Schedule,
        play::{Outcome, play},
        profile::{self, Profile},
        shrink::{Shrunk, shrink},
    },
};

/// What is played.
pub(crate) struct Campaign {
    pub(crate) first: u64,
    pub(crate) seeds: u64,
    pub(crate) nodes: Option<usize>,
    pub(crate) profile: Option<Profile>,
    pub(crate) trace: bool,
    pub(crate) shrink: bool,
    pub(crate) max_failures: usize,
    pub(crate) threads: usize,
}

impl Campaign {
    pub(crate) fn schedule(&self, seed: u64) -> Schedule {
        profile::schedule(seed, self.profile, self.nodes)
    }
}

/// How many runs a failing schedule is shrunk by at the most.
const SHRINKING: u32 = 400;

/// A run, and what it left if it failed.
pub(crate) struct Played {
    pub(crate) outcome: Outcome,
    pub(crate) shrunk: Option<Shrunk>,
    /// Lines to be printed: the trace.
    pub(crate) trace: Vec<String>,
}

/// Plays one, and shrinks it if it fails., or until `stop`.
pub(crate) fn play_one(campaign: &Campaign, seed: u64) -> Played {
    let schedule = campaign.schedule(seed);
    let (outcome, lan) = play(&schedule, campaign.trace);
    let mut trace: Vec<String> = Vec::new();
    if campaign.trace {
        trace.push(schedule.to_string());
        trace.extend(lan.trace.lines().map(str::to_string));
    }
    drop(lan);
    let shrunk = match &outcome.failure {
        Some(failure) if campaign.shrink => {
            let player = |schedule: &Schedule| play(schedule, false).0;
            Some(shrink(&schedule, failure, &player, SHRINKING))
        }
        _ => None,
    };
    Played {
        outcome,
        shrunk,
        trace,
    }
}

/// Plays them all, or until `stop`.
pub(crate) fn play_all(campaign: &Campaign, stop: &AtomicBool) -> Tally {
    let next = AtomicU64::new(0);
    let failures = AtomicU64::new(0);
    let shared = Mutex::new((Tally::default(), BTreeMap::<u64, Played>::new()));
    let progress = Progress::new(campaign.seeds);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..campaign.threads)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let enough = campaign.max_failures as u64;
                        let failed = failures.load(Ordering::Relaxed);
                        if at >= campaign.seeds
                            || stop.load(Ordering::Relaxed)
                            || enough > 0 && failed >= enough
                        {
                            return;
                        }
                        let played = play_one(campaign, campaign.first + at);
                        if played.outcome.failure.is_some() {
                            failures.fetch_add(1, Ordering::Relaxed);
                        }
                        let mut shared = shared.lock().expect("no worker panics while it holds this");
                        let (tally, early) = &mut *shared;
                        early.insert(at, played);
                        // Told in the order of the seeds, whichever was ready first.
                        while let Some(played) = early.remove(&tally.played()) {
                            progress.clear();
                            tally.take(played);
                        }
                    }
                })
            })
            .collect();
        let begin = Instant::now();
        while workers.iter().any(|worker| !worker.is_finished()) {
            std::thread::sleep(Duration::from_millis(100));
            let played = shared
                .lock()
                .map_or(0, |shared| shared.0.played() + shared.1.len() as u64);
            progress.tell(played, failures.load(Ordering::Relaxed), begin.elapsed());
        }
    });
    progress.clear();
    let (mut tally, early) = shared.into_inner().expect("no worker panics while it holds this");
    // An interrupted campaign may have gaps.
    early.into_values().for_each(|played| tally.take(played));
    tally.interrupted = stop.load(Ordering::Relaxed);
    tally
}
