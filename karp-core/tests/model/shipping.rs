//! The code as it ships, in worlds that are visited to the end, or to the number of steps that is said.

use crate::{QUIET, holds, model::Run, plain, world::Budget};

const CRASH: Budget = Budget { crash: 1, ..QUIET };
const SPLIT: Budget = Budget { split: 1, ..QUIET };
const NAP: Budget = Budget { pause: 1, ..QUIET };
const SILENCE: Budget = Budget { silence: 1, ..QUIET };
const HANDOFF: Budget = Budget { handoff: 1, ..QUIET };
const ROLLOVERS: Budget = Budget {
    want: 1,
    rekey_sa: 1,
    ..QUIET
};

const fn settled<const N: usize>(budget: Budget) -> Run<N> {
    Run {
        settled: true,
        ..plain(budget)
    }
}

#[test]
fn two_nodes() {
    let attacked = |budget| Run {
        outsider: true,
        ..plain::<2>(budget)
    };
    holds(
        "cold, an outsider, old announcements",
        Run {
            lag: true,
            ..attacked(QUIET)
        },
    );
    let lost = Budget { lost: 1, ..QUIET };
    holds(
        "cold, late answers, one lost",
        Run {
            late: true,
            ..attacked(lost)
        },
    );
    holds("cold, an outsider, a crash", attacked(CRASH));
    holds("cold, a partition", plain::<2>(SPLIT));
    holds("cold, a nap", plain::<2>(NAP));
    holds(
        "an outsider, a handoff",
        Run {
            outsider: true,
            ..settled::<2>(HANDOFF)
        },
    );
    let forced = Budget {
        force: 1,
        ..ROLLOVERS
    };
    holds("both rollovers, one forced", settled::<2>(forced));
}

#[test]
fn three_and_four_nodes() {
    holds("a silence without cause", settled::<3>(SILENCE));
    let both = Run {
        lag: true,
        ..settled::<3>(ROLLOVERS)
    };
    holds("both rollovers, old announcements", both);
    holds("a silence without cause", settled::<4>(SILENCE));
    holds("both rollovers", settled::<4>(ROLLOVERS));
    let crash = Run {
        depth: 14,
        agreement: 16,
        ..settled::<3>(CRASH)
    };
    holds("a crash", crash);
    let split = Run {
        depth: 10,
        agreement: 16,
        ..settled::<3>(SPLIT)
    };
    holds("a partition", split);
}

/// The large worlds, for `.ci/run`, in release.
mod large {
    use super::*;

    #[test]
    #[ignore = "large: run in release"]
    fn two_nodes_a_crash_old_announcements() {
        let run = Run {
            lag: true,
            agreement: 16,
            ..plain::<2>(CRASH)
        };
        holds("cold, a crash, old announcements", run);
    }

    #[test]
    #[ignore = "large: run in release"]
    fn three_nodes_from_cold() {
        let run = Run {
            agreement: 16,
            ..plain::<3>(QUIET)
        };
        holds("cold", run);
    }

    #[test]
    #[ignore = "large: run in release"]
    fn three_nodes_a_handoff() {
        let run = Run {
            agreement: 8,
            ..settled::<3>(HANDOFF)
        };
        holds("a handoff", run);
    }

    #[test]
    #[ignore = "large: run in release"]
    fn three_nodes_a_crash() {
        let run = Run {
            depth: 20,
            agreement: 64,
            ..settled::<3>(CRASH)
        };
        holds("a crash", run);
    }

    #[test]
    #[ignore = "large: run in release"]
    fn three_nodes_a_partition() {
        let run = Run {
            depth: 17,
            agreement: 64,
            ..settled::<3>(SPLIT)
        };
        holds("a partition", run);
    }
}
