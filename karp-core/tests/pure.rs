//! The pure parts, alone: every state reachable by any inputs is visited, as a model checker would, and what must hold
//! in each is asserted. Then the rows of PROTOCOL.md section 5.3, one by one.
#![allow(clippy::unwrap_used, clippy::panic, clippy::wildcard_enum_match_arm)]

use std::collections::{HashSet, VecDeque};
use std::hash::Hash;

use karp_core::{
    command::RekeyReason,
    election::{Effect, Effects, Election, Gcks, Input, Member, Span, Survey, Who},
    group::rollover::{self, Phase, Rollover, SaPhase, View},
    io::{Role, Timer},
};

const A: Who = Who(1);
const B: Who = Who(2);

/// What a model checker needs of a state.
fn is_a_state<T: Clone + Eq + Hash>() {}

#[test]
fn the_pure_parts_are_states() {
    is_a_state::<Election>();
    is_a_state::<Rollover>();
    is_a_state::<karp_core::election::Penalties<u8, 4>>();
}

fn surveys() -> Vec<Survey> {
    let mut all = Vec::new();
    for bits in 0..8_u8 {
        for better in [0, 1, 8] {
            let (may_serve, claimed, keyed) = (bits & 1 != 0, bits & 2 != 0, bits & 4 != 0);
            all.push(Survey {
                may_serve,
                better,
                claimed,
                keyed,
            });
        }
    }
    all
}

fn inputs() -> Vec<Input> {
    let mut all = vec![
        Input::Join,
        Input::Leave,
        Input::Paused,
        Input::Hint,
        Input::Heard,
        Input::HandoffFailed,
    ];
    all.push(Input::MergeLost);
    for who in [A, B] {
        all.extend([
            Input::Registered(who),
            Input::Keyed(who),
            Input::Heir(who),
            Input::Successor(who),
        ]);
        all.extend([
            Input::HandOff(who),
            Input::SuccessorServes(who),
            Input::GreaterProved(who),
        ]);
    }
    for survey in surveys() {
        all.extend([
            Input::WaitOver(survey),
            Input::TurnOver(survey),
            Input::ValidateOver(survey),
        ]);
        all.extend([
            Input::JoinFailed(survey),
            Input::WaitingLost(survey),
            Input::Silent(survey),
        ]);
        all.extend([Input::HandoffToMe(survey), Input::PriorityChanged(survey)]);
    }
    all
}

/// Whether this node may serve, as far as the input says.
fn may_serve(input: Input) -> Option<bool> {
    match input {
        Input::WaitOver(survey)
        | Input::TurnOver(survey)
        | Input::ValidateOver(survey)
        | Input::JoinFailed(survey)
        | Input::WaitingLost(survey)
        | Input::Silent(survey)
        | Input::HandoffToMe(survey)
        | Input::PriorityChanged(survey) => Some(survey.may_serve),
        _ => None,
    }
}

#[test]
fn every_reachable_state_of_the_election_keeps_its_rules() {
    let inputs = inputs();
    let mut seen = HashSet::from([Election::default()]);
    let mut queue = VecDeque::from([Election::default()]);
    let mut transitions = 0;
    while let Some(state) = queue.pop_front() {
        for &input in &inputs {
            let mut next = state;
            let effects = next.step(input);
            transitions += 1;
            let takes = effects.contains(&Effect::TakeOffice);
            let resigns = effects.contains(&Effect::Resign);
            // Priority 0 never takes office, and nobody takes it on evidence that says nothing about serving.
            assert!(!takes || may_serve(input) == Some(true), "{state:?} {input:?}");
            // Office is taken and given up exactly where the role says so.
            assert_eq!(
                takes,
                state.role() != Role::Gcks && next.role() == Role::Gcks,
                "{state:?} {input:?}"
            );
            let lost = state.role() == Role::Gcks && next.role() != Role::Gcks;
            assert_eq!(resigns, lost, "{state:?} {input:?} -> {next:?}");
            // Section 5.4: a keyed member never leaves a live GCKS on unauthenticated evidence.
            if let Election::Member(Member::Following(_)) = state
                && matches!(
                    input,
                    Input::Hint | Input::WaitOver(_) | Input::ValidateOver(_) | Input::Heir(_)
                )
            {
                assert_eq!(next, state, "{input:?}");
            }
            // A keyed member never becomes Initial but by a pause, or because its new GCKS lets it wait.
            if state.role() == Role::Member && next.role() == Role::Initial {
                assert!(
                    matches!(input, Input::Paused | Input::Registered(_)),
                    "{state:?} {input:?}"
                );
            }
            if state == Election::Left && input != Input::Join {
                assert_eq!((next, effects.len()), (state, 0));
            }
            if seen.insert(next) {
                queue.push_back(next);
            }
        }
    }
    println!("{} states, {transitions} transitions", seen.len());
    assert!(seen.len() > 30, "{}", seen.len());
}

fn survey(may_serve: bool, better: u8) -> Survey {
    Survey {
        may_serve,
        better,
        claimed: false,
        keyed: false,
    }
}

fn step(state: &mut Election, input: Input) -> Effects {
    state.step(input)
}

fn started() -> Election {
    let mut node = Election::default();
    let effects = step(&mut node, Input::Join);
    assert_eq!(
        effects[..],
        [Effect::Set(Timer::Wait, Span::Hold(1)), Effect::Announce]
    );
    node
}

#[test]
fn initial_takes_office_after_wait_when_it_is_the_best() {
    let mut node = started();
    let effects = step(&mut node, Input::WaitOver(survey(true, 0)));
    assert!(effects.contains(&Effect::Set(Timer::Validate, Span::Validate)));
    assert!(effects.contains(&Effect::TakeOffice));
    assert_eq!(node, Election::Gcks(Gcks::Serving));
}

/// Whoever takes office, follows or leaves has no timer of its former part running.
#[test]
fn a_new_part_stops_the_timers_of_the_old_one() {
    for input in [
        Input::WaitOver(survey(true, 0)),
        Input::Keyed(A),
        Input::Leave,
        Input::Paused,
    ] {
        let mut node = started();
        let effects = step(&mut node, input);
        for timer in [Timer::Wait, Timer::Turn, Timer::Validate] {
            assert!(effects.contains(&Effect::Clear(timer)), "{input:?} {timer:?}");
        }
    }
}

/// Section 5.3: *wait* runs once.
#[test]
fn initial_waits_once() {
    let mut node = started();
    let _ = step(&mut node, Input::WaitOver(survey(true, 2)));
    let turn = node;
    assert!(step(&mut node, Input::WaitOver(survey(true, 0))).is_empty());
    assert_eq!(node, turn);
}

/// A priority that rises counts at once, but not before *wait* is over.
#[test]
fn initial_judges_its_turn_anew_when_its_priority_changes() {
    let mut node = started();
    assert!(step(&mut node, Input::PriorityChanged(survey(true, 0))).is_empty());
    let _ = step(&mut node, Input::WaitOver(survey(false, 0)));
    assert_eq!(node.role(), Role::Initial);
    assert!(step(&mut node, Input::PriorityChanged(survey(true, 0))).contains(&Effect::TakeOffice));
}

#[test]
fn orphan_that_may_serve_after_all_takes_its_turn() {
    let mut node = Election::Member(Member::Orphan(A));
    assert!(step(&mut node, Input::PriorityChanged(survey(false, 0))).is_empty());
    assert_eq!(node, Election::Member(Member::Orphan(A)));
    assert!(step(&mut node, Input::PriorityChanged(survey(true, 0))).contains(&Effect::TakeOffice));
}

#[test]
fn initial_lets_a_hello_pass_for_every_better_node() {
    let mut node = started();
    let effects = step(&mut node, Input::WaitOver(survey(true, 3)));
    assert!(effects.contains(&Effect::Set(Timer::Turn, Span::Hello(3))));
    assert_eq!(node.role(), Role::Initial);
    assert!(step(&mut node, Input::TurnOver(survey(true, 3))).contains(&Effect::TakeOffice));
}

#[test]
fn initial_drops_its_turn_when_a_hint_claims_the_office() {
    let mut node = started();
    let _ = step(&mut node, Input::WaitOver(survey(true, 1)));
    let effects = step(&mut node, Input::Hint);
    assert!(effects.contains(&Effect::Clear(Timer::Turn)) && effects.contains(&Effect::Seek));
    assert!(step(&mut node, Input::TurnOver(survey(true, 1))).is_empty());
}

#[test]
fn initial_that_hears_a_keyed_node_waits_for_validate() {
    let mut node = started();
    let keyed = Survey {
        keyed: true,
        ..survey(true, 0)
    };
    assert!(!step(&mut node, Input::WaitOver(keyed)).contains(&Effect::TakeOffice));
    assert!(step(&mut node, Input::ValidateOver(keyed)).contains(&Effect::TakeOffice));
}

#[test]
fn initial_whose_join_failed_goes_on_without_that_candidate() {
    let mut node = started();
    let _ = step(
        &mut node,
        Input::WaitOver(Survey {
            claimed: true,
            ..survey(true, 1)
        }),
    );
    let effects = step(&mut node, Input::JoinFailed(survey(true, 1)));
    assert!(effects.contains(&Effect::Set(Timer::Turn, Span::Hello(1))));
}

#[test]
fn initial_with_keys_is_a_member() {
    let mut node = started();
    let _ = step(&mut node, Input::Keyed(A));
    assert_eq!(
        (node, node.gcks()),
        (Election::Member(Member::Following(A)), Some(A))
    );
}

#[test]
fn member_inherits_when_its_turn_comes() {
    let mut node = Election::Member(Member::Following(A));
    assert!(step(&mut node, Input::Silent(survey(true, 0))).contains(&Effect::TakeOffice));
    let mut node = Election::Member(Member::Following(A));
    assert!(
        step(&mut node, Input::Silent(survey(true, 2))).contains(&Effect::Set(Timer::Turn, Span::Hello(2)))
    );
    assert!(step(&mut node, Input::TurnOver(survey(true, 2))).contains(&Effect::TakeOffice));
}

#[test]
fn member_joins_an_heir_only_when_its_gcks_is_gone() {
    let mut node = Election::Member(Member::Following(A));
    assert!(step(&mut node, Input::Heir(B)).is_empty());
    let _ = step(&mut node, Input::Silent(survey(true, 1)));
    assert!(step(&mut node, Input::Heir(B)).contains(&Effect::Join(B)));
    assert_eq!(node, Election::Member(Member::Joining(A, B)));
    let _ = step(&mut node, Input::Heard);
    assert_eq!(node, Election::Member(Member::Following(A)));
}

#[test]
fn member_that_may_not_serve_is_orphaned_and_seeks() {
    let mut node = Election::Member(Member::Following(A));
    let _ = step(&mut node, Input::Silent(survey(false, 1)));
    assert!(step(&mut node, Input::TurnOver(survey(false, 1))).contains(&Effect::Seek));
    assert_eq!(node, Election::Member(Member::Orphan(A)));
    assert!(node.is_seeking());
    assert!(step(&mut node, Input::Heard).contains(&Effect::StopSeeking));
}

#[test]
fn handoff_and_its_failure() {
    let mut successor = Election::Member(Member::Following(A));
    assert!(
        step(&mut successor, Input::HandoffToMe(survey(false, 0))).is_empty(),
        "priority 0 ignores it"
    );
    assert!(step(&mut successor, Input::HandoffToMe(survey(true, 4))).contains(&Effect::TakeOffice));
    let mut old = Election::Gcks(Gcks::Serving);
    let _ = step(&mut old, Input::HandOff(B));
    assert!(
        step(&mut old, Input::SuccessorServes(A)).is_empty(),
        "another than the successor"
    );
    let mut resumed = old;
    let _ = step(&mut resumed, Input::HandoffFailed);
    assert_eq!(resumed, Election::Gcks(Gcks::Serving));
    let effects = step(&mut old, Input::SuccessorServes(B));
    assert!(effects.contains(&Effect::Resign) && effects.contains(&Effect::Join(B)));
    assert_eq!(old.role(), Role::Member);
}

#[test]
fn merge_ends_as_a_member_or_not_at_all() {
    let mut lesser = Election::Gcks(Gcks::Serving);
    let _ = step(&mut lesser, Input::GreaterProved(A));
    let mut alone = lesser;
    let _ = step(&mut alone, Input::MergeLost);
    assert_eq!(alone, Election::Gcks(Gcks::Serving));
    assert!(step(&mut lesser, Input::Keyed(A)).contains(&Effect::Resign));
    assert_eq!(lesser, Election::Member(Member::Following(A)));
}

/// Every state of the rollover that any order of facts can reach, with a group of one generation counter: no phase runs
/// ahead of its acknowledgement.
#[test]
fn every_reachable_state_of_the_rollover_keeps_its_rules() {
    use rollover::Input as In;
    let facts = [
        In::Check,
        In::Want(RekeyReason::Operator),
        In::Rested,
        In::ForceDue,
        In::SaDue,
        In::Abandon,
    ];
    let facts = facts
        .into_iter()
        .chain([In::Evict, In::EvictDue, In::Adopt, In::AdoptActive]);
    let facts: Vec<_> = facts.collect();
    let mut views = Vec::new();
    for bits in 0..16_u8 {
        for acknowledged in [None, Some(0), Some(1), Some(2), Some(u32::MAX)] {
            for next in [1, 2] {
                views.push(View {
                    next,
                    acknowledged,
                    sa_acknowledged: bits & 1 != 0,
                    may_start: bits & 2 != 0,
                    may_activate: bits & 4 != 0,
                    has_active: bits & 8 != 0,
                });
            }
        }
    }
    let mut seen = HashSet::from([Rollover::default(), Rollover::inheriting(0)]);
    let mut queue: VecDeque<_> = seen.iter().copied().collect();
    while let Some(state) = queue.pop_front() {
        for &fact in &facts {
            for view in &views {
                let mut next = state;
                let effects = next.step(fact, view);
                let forced = matches!(fact, In::ForceDue | In::AdoptActive | In::EvictDue | In::Adopt);
                if effects.contains(&rollover::Effect::Activate) && !forced {
                    let Phase::Distributing { since } = state.phase() else {
                        panic!("{state:?} {fact:?}")
                    };
                    assert!(
                        view.acknowledged >= Some(since) && view.may_activate,
                        "{state:?} {fact:?} {view:?}"
                    );
                }
                if effects
                    .iter()
                    .any(|effect| matches!(effect, rollover::Effect::MakeKey(_)))
                {
                    assert!(view.may_start, "{state:?} {fact:?} {view:?}");
                }
                // A Rekey SA that is being changed holds every phase but an eviction's, a merge's or the forced one.
                if state.sa() == SaPhase::Changing && next.sa() == SaPhase::Changing && fact == In::Check {
                    assert_eq!(next.phase(), state.phase());
                }
                if seen.insert(next) {
                    queue.push_back(next);
                }
            }
        }
    }
    println!("{} states", seen.len());
    assert!(seen.len() > 50, "{}", seen.len());
}
