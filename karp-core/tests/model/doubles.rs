//! The checker can fail: each double breaks one rule, and the promise that rests on it is found broken.

use crate::{
    QUIET, finds,
    model::Run,
    plain,
    promises::{ACCEPTED, ACCEPTED_BY_ALL, AGREEMENT, CAUSE, NEW_KEYS, ONE_GCKS},
    rules::Rules,
    world::Budget,
};

fn settled<const N: usize>(rules: Rules, budget: Budget) -> Run<N> {
    Run {
        rules,
        settled: true,
        ..plain(budget)
    }
}

#[test]
fn activating_before_all_have_acknowledged() {
    finds(
        settled::<3>(Rules::ActivatesEarly, Budget { want: 1, ..QUIET }),
        ACCEPTED,
    );
}

#[test]
fn following_a_hint_as_a_keyed_member() {
    finds(
        Run {
            outsider: true,
            ..settled::<2>(Rules::FollowsHints, QUIET)
        },
        CAUSE,
    );
}

#[test]
fn never_giving_up_office() {
    finds(
        settled::<2>(Rules::KeepsOffice, Budget { handoff: 1, ..QUIET }),
        AGREEMENT,
    );
    finds(
        settled::<2>(Rules::KeepsOffice, Budget { split: 1, ..QUIET }),
        AGREEMENT,
    );
}

#[test]
fn an_heir_that_does_not_wait_for_those_it_hears() {
    finds(
        settled::<3>(Rules::HeirDoesNotWait, Budget { crash: 1, ..QUIET }),
        ACCEPTED_BY_ALL,
    );
}

#[test]
fn an_heir_that_goes_on_under_the_inherited_rekey_sa() {
    finds(
        settled::<3>(Rules::SharesRekeySa, Budget { silence: 1, ..QUIET }),
        ONE_GCKS,
    );
}

#[test]
fn hints_that_keep_a_node_from_office_for_ever() {
    finds(
        Run {
            rules: Rules::NeverValidates,
            outsider: true,
            ..plain::<2>(QUIET)
        },
        AGREEMENT,
    );
}

#[test]
fn giving_a_rebooted_router_the_keys_in_force() {
    finds(
        settled::<2>(Rules::GivesOldKeys, Budget { crash: 1, ..QUIET }),
        NEW_KEYS,
    );
}

#[test]
fn giving_a_key_to_one_that_will_not_go_back_to_it() {
    finds(
        settled::<2>(
            Rules::GivesWhatWasLeft,
            Budget {
                pause: 1,
                split: 1,
                ..QUIET
            },
        ),
        AGREEMENT,
    );
}
