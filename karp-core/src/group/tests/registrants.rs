//! Who is given the state: what KEYS_IN_USE shows, and what follows from it (PROTOCOL.md section 7).

use super::super::{MergeAsLesser, rollover, state::Purpose};
use crate::{
    command::RekeyReason,
    config::KeyUse,
    node::Core,
    peer::Shows,
    storage::Handle,
    testing::{Bench, Proof, at, claim, instance, key, seconds},
    wire::{
        KeyState, NodeState,
        notify::{KeyInUse, KeysInUse},
    },
};

use KeyState::{Active, Pending, Retiring};

fn add_key(core: &mut Core<'_>, id: u16, state: KeyState, made: u32) {
    let mut key = key(id, state);
    key.made = made;
    core.keys.insert(key).unwrap();
}

/// What an office makes of one entry of KEYS_IN_USE. It has 1 Active, 2 Retiring and once Active, 3 Pending (number 3), 4
/// Retiring and never Active.
fn shown(id: u16, usage: KeyUse, right: bool) -> Shows {
    let mut bench = Bench::in_office("a", 1);
    let mut core = bench.at(0);
    add_key(&mut core, 1, Active, 2);
    add_key(&mut core, 2, Retiring, 1);
    core.keys.rows_mut().for_each(|key| key.was_active = true);
    add_key(&mut core, 3, Pending, 3);
    add_key(&mut core, 4, Retiring, 0);
    let check = key(id, Active).check();
    let mut shown = KeysInUse::default();
    let entry = KeyInUse {
        id,
        usage,
        check: if right { check } else { [0; 8] },
    };
    shown.0.push(entry).unwrap();
    core.judge_keys(&shown)
}

#[test]
fn what_is_shown_is_judged() {
    use KeyUse::{Sending, Stopped, Unsent};
    let none = Shows::default();
    assert_eq!(
        shown(1, Sending, true),
        Shows {
            active: true,
            current: true,
            ..none
        }
    );
    assert_eq!(
        shown(1, Stopped, true),
        Shows {
            active: true,
            beyond: true,
            ..none
        }
    );
    assert_eq!(shown(1, Unsent, true), Shows { active: true, ..none });
    assert_eq!(
        shown(2, Sending, true),
        Shows {
            active: true,
            lags: true,
            ..none
        }
    );
    assert_eq!(shown(2, Stopped, true), Shows { active: true, ..none });
    assert_eq!(
        shown(3, Unsent, true),
        Shows {
            pending: Some(3),
            ..none
        }
    );
    assert_eq!(
        shown(3, Sending, true),
        Shows {
            pending: Some(3),
            lags: true,
            foreign: true,
            ..none
        }
    );
    // It came to nothing here, and to something where this registrant was.
    assert_eq!(
        shown(4, Sending, true),
        Shows {
            lags: true,
            foreign: true,
            ..none
        }
    );
    assert_eq!(shown(4, Unsent, true), none);
    let conflict = Shows {
        conflict: true,
        ..none
    };
    let lasting = Shows {
        lasting_conflict: true,
        ..conflict
    };
    assert_eq!(
        shown(1, Sending, false),
        Shows {
            foreign: true,
            ..lasting
        }
    );
    assert_eq!(shown(1, Stopped, false), lasting);
    assert_eq!(shown(3, Unsent, false), lasting);
    assert_eq!(shown(2, Unsent, false), conflict);
    assert_eq!(
        shown(9, Sending, true),
        Shows {
            foreign: true,
            ..none
        }
    );
    assert_eq!(shown(9, Stopped, true), none);
}

/// Several entries add up, in whatever order.
#[test]
fn what_is_shown_adds_up() {
    let mut bench = Bench::in_office("a", 1);
    let mut core = bench.at(0);
    add_key(&mut core, 1, Active, 2);
    add_key(&mut core, 2, Retiring, 1);
    let entry = |id, usage, right: bool| KeyInUse {
        id,
        usage,
        check: if right { key(id, Active).check() } else { [0; 8] },
    };
    let all = [
        entry(9, KeyUse::Sending, true),
        entry(1, KeyUse::Stopped, true),
        entry(2, KeyUse::Unsent, false),
    ];
    let mut expected = Shows {
        active: true,
        beyond: true,
        foreign: true,
        conflict: true,
        ..Shows::default()
    };
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [1, 2, 0]] {
        let mut shown = KeysInUse::default();
        order.iter().for_each(|at| shown.0.push(all[*at]).unwrap());
        assert_eq!(core.judge_keys(&shown), expected);
    }
    // A conflict that lasts lasts, whatever stands behind it.
    let mut shown = KeysInUse::default();
    for entry in [entry(1, KeyUse::Unsent, false), entry(2, KeyUse::Unsent, false)] {
        shown.0.push(entry).unwrap();
    }
    expected = Shows {
        conflict: true,
        lasting_conflict: true,
        ..Shows::default()
    };
    assert_eq!(core.judge_keys(&shown), expected);
}

/// Section 6: ids that are reported are not given to new keys, for a lifetime; one that rests already goes on doing so.
#[test]
fn reported_ids_rest() {
    let mut bench = Bench::in_office("a", 1);
    let mut core = bench.at(1000);
    let rests = |core: &Core<'_>| core.node.resting_ids.iter().collect::<std::vec::Vec<_>>();
    core.rest_id(8, seconds(5));
    core.rest_id(7, seconds(5));
    let mut shown = KeysInUse::default();
    let entry = KeyInUse {
        id: 7,
        usage: KeyUse::Unsent,
        check: [1; 8],
    };
    shown.0.push(entry).unwrap();
    core.judge_keys(&shown);
    assert_eq!(rests(&core), [(8, at(6000)), (7, at(6000))]);
    let mut core = bench.at(6000);
    core.judge_keys(&shown);
    assert_eq!(rests(&core), [(8, at(6000)), (7, at(6000)), (7, at(3_606_000))]);
    core.judge_keys(&shown);
    assert_eq!(rests(&core).len(), 3);
}

/// What an office in its steady phase, with an Active key of its own (number 1), gives to a registrant after `prepare`.
fn gift(prepare: impl FnOnce(&mut Core<'_>, Handle)) -> Option<Purpose> {
    let mut bench = Bench::in_office("a", 1);
    let mut core = bench.at(0);
    add_key(&mut core, 1, Active, 1);
    let row = core.add_member("m", 2, 0);
    let registrant = core.registrant_of(row);
    (registrant.given, registrant.live) = (false, false);
    prepare(&mut core, row);
    core.gift(row)
}

fn shows(change: impl FnOnce(&mut Shows)) -> impl FnOnce(&mut Core<'_>, Handle) {
    move |core, row| change(&mut core.registrant_of(row).shows)
}

/// Section 7: the whole state or none of it, and only keys that are new to whom they are given.
#[test]
fn the_state_is_given_if_every_key_in_it_is_new() {
    let whole = Some(Purpose::Whole);
    assert_eq!(gift(|_, _| {}), whole, "all keys were made in this term");
    assert_eq!(gift(|core, _| core.node.office.as_mut().unwrap().floor = 1), None);
    assert_eq!(gift(|core, row| core.peer_mut(row).earlier = 1), None);
    assert_eq!(
        gift(|core, _| add_key(core, 2, Pending, 0)),
        None,
        "an inherited one"
    );
    assert_eq!(
        gift(|core, _| add_key(core, 2, Retiring, 0)),
        whole,
        "it is not given"
    );
    assert_eq!(
        gift(|core, _| core.keys.retain(|_| false)),
        None,
        "nothing to give"
    );
    assert_eq!(gift(shows(|shows| shows.conflict = true)), None);
    assert_eq!(gift(shows(|shows| shows.foreign = true)), None);
    let continuing = |core: &mut Core<'_>, row| {
        core.peer_mut(row).earlier = 1;
        core.registrant_of(row).shows.active = true;
    };
    assert_eq!(gift(continuing), whole);
    assert_eq!(
        gift(|core, row| {
            continuing(core, row);
            core.registrant_of(row).shows.foreign = true;
        }),
        None
    );
    let same = |core: &mut Core<'_>, row| {
        core.peer_mut(row).earlier = 1;
        core.peer_mut(row).holder = Some(instance(2));
    };
    assert_eq!(
        gift(same),
        whole,
        "what was given to the same instance may be given again"
    );
    assert_eq!(
        gift(|core, row| {
            core.peer_mut(row).earlier = 1;
            core.peer_mut(row).holder = Some(instance(9));
        }),
        None
    );
    let lesser = |core: &mut Core<'_>, _| {
        let greater = core.add_peer("g", 9, NodeState::Gcks, 0);
        core.node.office.as_mut().unwrap().merging = Some(MergeAsLesser { greater });
    };
    assert_eq!(
        gift(lesser),
        None,
        "an office that merges gives to continuing registrants only"
    );
}

/// Nothing is given before every live member has acknowledged the last Activate.
#[test]
fn nothing_is_given_while_an_activation_runs() {
    let inherits = |core: &mut Core<'_>, _: Handle| {
        core.node.office.as_mut().unwrap().rollover = rollover::Rollover::inheriting(0);
    };
    assert_eq!(gift(inherits), None);
    let exempt = |settled: bool| {
        let mut bench =
            Bench::with("a", 1, Proof::SharedKey, |settings| settings.reboot_exempt = true).serving();
        let mut core = bench.at(0);
        add_key(&mut core, 1, Active, 0);
        let row = core.add_member("m", 2, 0);
        core.registrant_of(row).given = false;
        if !settled {
            inherits(&mut core, row);
        }
        core.gift(row)
    };
    assert_eq!((exempt(true), exempt(false)), (Some(Purpose::Whole), None));
}

/// Who merges is given keys made since, and at the end, when it sends with the Active key and all here have that, the whole.
#[test]
fn who_merges_is_given_the_whole_at_the_end() {
    let merging = |core: &mut Core<'_>, row| core.registrant_of(row).merging = Some(1);
    let part = Some(Purpose::Merge { after: 1 });
    assert_eq!(gift(merging), part);
    let current = |core: &mut Core<'_>, row| {
        merging(core, row);
        core.registrant_of(row).shows.current = true;
    };
    assert_eq!(gift(current), Some(Purpose::Whole));
    let activating = |made: u32| {
        move |core: &mut Core<'_>, row| {
            current(core, row);
            core.keys.rows_mut().for_each(|key| key.made = made);
            core.node.office.as_mut().unwrap().rollover = rollover::Rollover::inheriting(0);
        }
    };
    assert_eq!(
        gift(activating(1)),
        part,
        "not all here have acknowledged the Activate"
    );
    assert_eq!(
        gift(activating(0)),
        Some(Purpose::Whole),
        "an inherited key was acknowledged by nobody's Activate here"
    );
    let other_made = |core: &mut Core<'_>, row| {
        activating(0)(core, row);
        add_key(core, 2, Retiring, 2);
        add_key(core, 3, Pending, 3);
    };
    assert_eq!(
        gift(other_made),
        Some(Purpose::Whole),
        "only the Active one counts"
    );
}

/// Who shows the Pending key of an office that has no Active one has nothing else to be given.
#[test]
fn who_shows_the_only_key_is_given_the_state() {
    let only = |shown: Option<u32>, active: bool| {
        gift(move |core, row| {
            core.keys.retain(|_| active);
            add_key(core, 5, Pending, 2);
            core.peer_mut(row).earlier = 2;
            core.registrant_of(row).shows.pending = shown;
        })
    };
    assert_eq!(only(Some(2), false), Some(Purpose::Whole));
    assert_eq!(
        (only(Some(1), false), only(None, false), only(Some(2), true)),
        (None, None, None)
    );
}

/// Whether a rollover starts for a registrant that asks, after `prepare`.
fn starts_for(prepare: impl FnOnce(&mut Core<'_>, Handle)) -> bool {
    let mut bench = Bench::in_office("a", 1);
    let mut core = bench.at(0);
    add_key(&mut core, 1, Active, 0);
    let row = core.add_member("m", 2, 0);
    core.registrant_of(row).live = false;
    prepare(&mut core, row);
    let instance = instance(2);
    let shown = KeysInUse::default();
    let before = core.node.office.as_ref().unwrap().last_made;
    core.registration(row, instance, claim(NodeState::Initial), &shown);
    core.node.office.as_ref().unwrap().last_made > before
}

/// Section 7: a rollover starts for those that wait, unless one runs whose own end serves.
#[test]
fn a_rollover_starts_for_who_waits() {
    assert!(
        starts_for(|_, _| {}),
        "the Active key is inherited: not new to it"
    );
    assert!(
        !starts_for(|core, _| core.keys.rows_mut().for_each(|key| key.made = 1)),
        "it is given the state"
    );
    assert!(
        !starts_for(|core, _| add_key(core, 2, Pending, 0)),
        "a key is Pending"
    );
    let unsettled = |core: &mut Core<'_>, _: Handle| {
        core.node.office.as_mut().unwrap().rollover = rollover::Rollover::inheriting(9);
        let other = core.add_member("o", 3, 0);
        core.registrant_of(other).acked = Some(0);
    };
    assert!(!starts_for(unsettled));
}

/// Section 8: protocols that protect themselves need no new keys for a session, but for any other reason, and others do.
#[test]
fn who_protects_itself_needs_no_rekey_for_a_session() {
    for (protects, expected) in [(true, [true, false, true, false, false]), (false, [false; 5])] {
        let set = |settings: &mut crate::Settings| settings.protocols[0].self_protecting = protects;
        let mut bench = Bench::with("a", 1, Proof::SharedKey, set);
        let core = bench.at(0);
        let reasons = [
            RekeyReason::NewSession,
            RekeyReason::SequenceExhausted,
            RekeyReason::PeerRestarted,
            RekeyReason::Compromise,
            RekeyReason::Operator,
        ];
        assert_eq!(
            reasons.map(|reason| core.protects_itself(1, reason.code())),
            expected
        );
        assert_eq!(
            reasons.map(|reason| core.protects_itself(2, reason.code())),
            [false; 5],
            "another protocol"
        );
    }
}

/// The earlier instance of an identity counts as given whatever was sent under this office's Rekey SA.
#[test]
fn another_instance_has_had_what_was_made() {
    for (holder, earlier) in [(Some(instance(9)), 4), (Some(instance(2)), 0), (None, 0)] {
        let mut bench = Bench::in_office("a", 1);
        let mut core = bench.at(0);
        core.node.office.as_mut().unwrap().last_made = 4;
        let row = core.add_member("m", 2, 0);
        core.peer_mut(row).holder = holder;
        core.registration(row, instance(2), claim(NodeState::Initial), &KeysInUse::default());
        assert_eq!(core.peers.get(row).unwrap().earlier, earlier, "{holder:?}");
    }
}

/// Who lags merges while another office does, and is an ordinary registrant otherwise; an office always merges.
#[test]
fn who_comes_from_another_half_merges() {
    let merging = |state, sends: Option<u16>, office_here: bool| {
        let mut bench = Bench::in_office("a", 1);
        let mut core = bench.at(0);
        add_key(&mut core, 1, Active, 2);
        add_key(&mut core, 2, Retiring, 1);
        let was_sent_with = core.keys.rows_mut().find(|key| key.id == 2).unwrap();
        was_sent_with.was_active = true;
        add_key(&mut core, 3, Retiring, 1);
        if office_here {
            let other = core.add_member("lesser", 3, 0);
            core.registrant_of(other).office = true;
            core.registrant_of(other).merging = Some(0);
            core.node.office.as_mut().unwrap().merges = true;
        }
        let row = core.add_peer("m", 2, state, 0);
        let mut shown = KeysInUse::default();
        if let Some(id) = sends {
            let entry = KeyInUse {
                id,
                usage: KeyUse::Sending,
                check: key(id, Active).check(),
            };
            shown.0.push(entry).unwrap();
        }
        core.registration(row, instance(2), claim(state), &shown);
        let registrant = *core.registrant_of(row);
        (registrant.merging.is_some(), registrant.office)
    };
    assert_eq!(merging(NodeState::Initial, None, false), (false, false));
    assert_eq!(merging(NodeState::Gcks, None, false), (true, true));
    assert_eq!(merging(NodeState::Member, Some(9), false), (true, false));
    assert_eq!(merging(NodeState::Member, Some(2), false), (false, false));
    assert_eq!(merging(NodeState::Member, Some(2), true), (true, false));
    assert_eq!(
        merging(NodeState::Member, Some(3), false),
        (true, false),
        "what came to nothing here came to something where it is sent with"
    );
    assert_eq!(merging(NodeState::Member, Some(1), true), (false, false));
}
