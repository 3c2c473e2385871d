//! The rollover, step by step.

use super::*;

const VIEW: View = View {
    next: 1,
    acknowledged: Some(u32::MAX),
    sa_acknowledged: false,
    may_start: true,
    may_activate: true,
    has_active: true,
};

#[test]
fn a_new_office_without_keys_starts_at_once_and_activates_when_all_have_it() {
    let mut rollover = Rollover::default();
    let alone = View {
        has_active: false,
        acknowledged: Some(0),
        ..VIEW
    };
    let effects = rollover.step(Input::Check, &alone);
    assert_eq!(effects[0], Effect::MakeKey(RekeyReason::NewSession));
    assert!(rollover.step(Input::Check, &View { next: 2, ..alone }).is_empty());
    let effects = rollover.step(
        Input::Check,
        &View {
            next: 2,
            acknowledged: Some(1),
            ..alone
        },
    );
    assert_eq!(effects[..2], [Effect::Activate, Effect::Send]);
    assert!(!rollover.is_settled());
    let effects = rollover.step(
        Input::Check,
        &View {
            next: 3,
            acknowledged: Some(2),
            has_active: true,
            ..VIEW
        },
    );
    assert_eq!(effects[..], [Effect::ScheduleOmission, Effect::Completed]);
    assert_eq!(rollover.phase(), Phase::Steady);
}

#[test]
fn requests_within_the_interval_are_merged_and_not_lost() {
    let mut rollover = Rollover::default();
    assert_eq!(
        rollover.step(Input::Want(RekeyReason::NewSession), &VIEW).len(),
        3
    );
    for reason in [RekeyReason::PeerRestarted, RekeyReason::Operator] {
        let _ = rollover.step(
            Input::Want(reason),
            &View {
                acknowledged: Some(0),
                next: 2,
                ..VIEW
            },
        );
    }
    let _ = rollover.step(Input::Check, &View { next: 2, ..VIEW });
    let _ = rollover.step(Input::Check, &View { next: 3, ..VIEW });
    assert_eq!(rollover.phase(), Phase::Steady);
    assert!(rollover.is_wanted());
    let effects = rollover.step(Input::Rested, &View { next: 3, ..VIEW });
    assert_eq!(effects[0], Effect::MakeKey(RekeyReason::PeerRestarted));
    assert!(!rollover.is_wanted());
}

#[test]
fn no_activation_without_all_but_by_force() {
    let mut rollover = Rollover::default();
    let _ = rollover.step(Input::Want(RekeyReason::Operator), &VIEW);
    let lag = View {
        next: 2,
        acknowledged: Some(0),
        ..VIEW
    };
    for _ in 0..10 {
        assert!(rollover.step(Input::Check, &lag).is_empty());
    }
    let effects = rollover.step(Input::ForceDue, &lag);
    assert_eq!(effects[..], [Effect::ActivateForced, Effect::Send]);
    // Who does not acknowledge the activation either is not waited for beyond that key's life.
    assert_eq!(rollover.step(Input::ForceDue, &lag)[..], [Effect::Overdue]);
    assert_eq!(rollover.phase(), Phase::Steady);
}

#[test]
fn an_abandoned_rollover_retires_its_key_and_is_wanted_again() {
    let mut rollover = Rollover::default();
    let _ = rollover.step(
        Input::Want(RekeyReason::Operator),
        &View {
            acknowledged: Some(0),
            ..VIEW
        },
    );
    let effects = rollover.step(
        Input::Abandon,
        &View {
            next: 2,
            acknowledged: Some(0),
            may_start: false,
            ..VIEW
        },
    );
    assert_eq!(effects[..], [Effect::Abandon, Effect::Send]);
    assert!(rollover.is_wanted());
}

#[test]
fn a_rekey_sa_change_holds_every_phase() {
    let mut rollover = Rollover::default();
    let effects = rollover.step(
        Input::SaDue,
        &View {
            acknowledged: Some(0),
            ..VIEW
        },
    );
    assert_eq!(effects[..], [Effect::MakeSa, Effect::Send]);
    assert!(
        rollover
            .step(Input::Want(RekeyReason::Operator), &VIEW)
            .is_empty()
    );
    let effects = rollover.step(
        Input::Check,
        &View {
            sa_acknowledged: true,
            next: 7,
            ..VIEW
        },
    );
    // 7 counts under the former Rekey SA.
    assert_eq!(effects[0], Effect::CommitSa);
    assert_eq!(effects[1], Effect::MakeKey(RekeyReason::Operator));
    assert_eq!(rollover.phase(), Phase::Distributing { since: 1 });
}

#[test]
fn an_eviction_ends_with_one_key() {
    let mut rollover = Rollover::default();
    let _ = rollover.step(
        Input::Evict,
        &View {
            acknowledged: Some(0),
            ..VIEW
        },
    );
    assert!(rollover.step(Input::Check, &VIEW).is_empty());
    let effects = rollover.step(
        Input::Check,
        &View {
            sa_acknowledged: true,
            ..VIEW
        },
    );
    assert_eq!(effects[..], [Effect::ActivateAlone, Effect::Send]);
    let mut rollover = Rollover::default();
    let _ = rollover.step(
        Input::Evict,
        &View {
            acknowledged: Some(0),
            ..VIEW
        },
    );
    let effects = rollover.step(
        Input::EvictDue,
        &View {
            acknowledged: Some(0),
            ..VIEW
        },
    );
    assert_eq!(effects[..], [Effect::ActivateAlone, Effect::Send]);
}

/// Whoever settles the question ends it: a step that is told of the members up to the first who has not acknowledged
/// what [`Rollover::compares`] names does what one does that is told of all.
#[test]
fn the_first_laggard_settles_the_question() {
    let inputs = [
        Input::Check,
        Input::Want(RekeyReason::Operator),
        Input::Rested,
        Input::ForceDue,
        Input::SaDue,
        Input::Abandon,
        Input::Evict,
        Input::EvictDue,
        Input::Adopt,
        Input::AdoptActive,
    ];
    let phases = (0..4).flat_map(|since| [Phase::Distributing { since }, Phase::Activated { since }]);
    let phases = phases.chain([Phase::Steady, Phase::Evicting]);
    let generations = [None, Some(0), Some(1), Some(2), Some(3), Some(4), Some(u32::MAX)];
    for phase in phases {
        for sa in [SaPhase::Stable, SaPhase::Wanted, SaPhase::Changing] {
            for (input, first, last) in inputs.iter().flat_map(|input| {
                let pairs = generations
                    .iter()
                    .flat_map(|first| generations.map(|last| (*first, last)));
                pairs.map(|(first, last)| (*input, first, last))
            }) {
                let rollover = Rollover {
                    phase,
                    sa,
                    wanted: None,
                    resting: false,
                };
                let next = 4;
                let told_of_all = View {
                    next,
                    acknowledged: first.min(last),
                    sa_acknowledged: first.is_some() && last.is_some(),
                    has_active: true,
                    ..VIEW
                };
                let compared = rollover.compares(input, next);
                let told_of_first = if compared.is_some() && first < compared {
                    View {
                        acknowledged: first,
                        sa_acknowledged: first.is_some(),
                        ..told_of_all
                    }
                } else {
                    told_of_all
                };
                let (mut one, mut other) = (rollover, rollover);
                assert_eq!(one.step(input, &told_of_all), other.step(input, &told_of_first));
                assert_eq!(one, other);
            }
        }
    }
}

/// The Active key's life ends: what may not be activated is not, whoever has acknowledged it (section 7).
#[test]
fn no_force_activates_what_may_not_be() {
    for (may_activate, expected) in [(false, 0), (true, 1)] {
        let mut rollover = Rollover::default();
        let _ = rollover.step(Input::Want(RekeyReason::Operator), &VIEW);
        let view = View {
            next: 2,
            acknowledged: Some(0),
            may_activate,
            ..VIEW
        };
        let effects = rollover.step(Input::ForceDue, &view);
        let forced = effects.iter().filter(|effect| **effect == Effect::ActivateForced);
        assert_eq!(forced.count(), expected);
    }
}

/// Whom a step asks: those who have not acknowledged the generation that the phase waits for settle it.
#[test]
fn a_step_says_what_it_compares() {
    let mut rollover = Rollover::default();
    assert_eq!(rollover.compares(Input::Check, 7), Some(7));
    let _ = rollover.step(Input::Want(RekeyReason::Operator), &View { next: 5, ..VIEW });
    assert_eq!(rollover.compares(Input::Check, 7), Some(5));
    assert_eq!(rollover.compares(Input::Evict, 7), None);
    assert_eq!(Rollover::inheriting(3).compares(Input::Check, 7), Some(3));
}

/// Where a step is said not to ask what may start or be activated, it comes to the same whatever the answer is: in every
/// state, for every input, whoever has acknowledged.
#[test]
fn what_is_not_asked_does_not_matter() {
    let phases = [
        Phase::Steady,
        Phase::Distributing { since: 5 },
        Phase::Activated { since: 5 },
        Phase::Evicting,
    ];
    let mut unasked = 0;
    for phase in phases {
        for sa in [SaPhase::Stable, SaPhase::Wanted, SaPhase::Changing] {
            for wanted in [None, Some(RekeyReason::Operator)] {
                for bits in 0..8_u8 {
                    for acknowledged in [None, Some(4), Some(5), Some(u32::MAX)] {
                        let rollover = Rollover {
                            phase,
                            sa,
                            wanted,
                            resting: bits & 1 != 0,
                        };
                        let view = |may: bool| View {
                            next: 7,
                            acknowledged,
                            sa_acknowledged: bits & 2 != 0,
                            may_start: may,
                            may_activate: may,
                            has_active: bits & 4 != 0,
                        };
                        if rollover.asks_what_may_be(Input::Check, &view(false)) {
                            continue;
                        }
                        unasked += 1;
                        let (mut without, mut with) = (rollover, rollover);
                        let effects = [
                            without.step(Input::Check, &view(false)),
                            with.step(Input::Check, &view(true)),
                        ];
                        assert_eq!(effects[0], effects[1], "{rollover:?}");
                        assert_eq!(without, with, "{rollover:?}");
                    }
                }
            }
        }
    }
    assert!(unasked > 100, "{unasked} states are spared the question");
}
