//! An office: when it may start and activate, how it meets another one, and how its updates go out (PROTOCOL.md sections
//! 5.5 and 7).

use super::super::{
    CheckedState, CheckedTek, Membership, MergeAsLesser, membership::who, merge::MergeAsGreater, rollover,
};
use crate::{
    command::RekeyReason,
    config::ManualKey,
    crypto::Secret,
    election::{Election, Gcks, Input, Member},
    exchange::{Handshake, Purpose},
    io::{Alarm, Timer},
    node::Core,
    storage::Handle,
    testing::{Bench, Proof, address, at, claim, id, instance, key, registrant, rekey_sa, seconds},
    wire::{ElectionState, KeyState, NodeState, gsa::TekPolicy},
};

use KeyState::{Active, Pending, Retiring};

fn office<'a>(core: &'a mut Core<'_>) -> &'a mut super::super::Office {
    core.node.office.as_mut().unwrap()
}

/// The whole view: this input asks for every part of it.
fn view(core: &Core<'_>) -> rollover::View {
    core.view(rollover::Input::Replaced).unwrap().0
}

fn add_key(core: &mut Core<'_>, id: u16, state: KeyState, made: u32) -> Handle {
    let mut key = key(id, state);
    key.made = made;
    core.keys.insert(key).unwrap()
}

/// An office that distributes a key, the first of its term.
fn distributing(bench: &mut Bench) -> Core<'_> {
    let mut core = bench.at(0);
    core.roll(rollover::Input::Want(RekeyReason::Operator));
    assert!(matches!(
        office(&mut core).rollover.phase(),
        rollover::Phase::Distributing { .. }
    ));
    assert!(core.pending_keys().next().is_some());
    core
}

/// A registrant that is an office, registered with a merge that began after key number `after`.
fn lesser(core: &mut Core<'_>, number: u8, after: u32, office: bool) -> Handle {
    let now = core.now.as_millis();
    let row = core.add_peer("lesser", number, NodeState::Gcks, now);
    let mut registrant = registrant(now);
    (registrant.given, registrant.live) = (false, false);
    (registrant.merging, registrant.office) = (Some(after), office);
    core.peer_mut(row).registrant = Some(registrant);
    self::office(core).merges = true;
    row
}

/// Section 5.5: one that has members first, then rank; a claim that ranks the same is not greater.
#[test]
fn offices_are_ordered() {
    let mut bench = Bench::in_office("b", 5);
    let mut core = bench.at(0);
    let claim = |priority, router_id, members| ElectionState {
        priority,
        router_id,
        members,
        ..claim(NodeState::Gcks)
    };
    assert!(core.is_greater(&id("x"), &claim(1, 1, 1)));
    assert!(core.is_greater(&id("x"), &claim(101, 1, 0)) && core.is_greater(&id("x"), &claim(100, 6, 0)));
    assert!(core.is_greater(&id("c"), &claim(100, 5, 0)) && !core.is_greater(&id("a"), &claim(100, 5, 0)));
    assert!(!core.is_greater(&id("b"), &claim(100, 5, 0)));
    core.add_member("x", 2, 0);
    assert!(
        core.is_greater(&id("x"), &claim(101, 1, 0)),
        "the other office itself is no member"
    );
    assert!(!core.is_greater(&id("y"), &claim(200, 1, 0)) && core.is_greater(&id("y"), &claim(200, 1, 1)));
}

/// A successor known by hints is the one that the GCKS named, seen at that address.
#[test]
fn a_hint_is_taken_for_the_named_successor_by_its_instance() {
    let joins = |named: Option<[u8; 8]>, from: u8| {
        let mut bench = Bench::joined("a", 1);
        let mut core = bench.at(0);
        let gcks = core.add_peer("gcks", 3, NodeState::Gcks, 0);
        core.step(Input::Keyed(who(gcks)));
        let mut membership = Membership::new(gcks, instance(3), at(0));
        membership.handoff = named;
        core.node.membership = Some(membership);
        core.add_stranger("s", 4, claim(NodeState::Gcks), 0);
        core.add_stranger("t", 5, claim(NodeState::Gcks), 0);
        core.claimed_by_stranger(address(from));
        core.node.election == Election::Member(Member::Joining(who(gcks), who(gcks)))
    };
    assert!(joins(Some(instance(4)), 4) && joins(Some(instance(5)), 5));
    assert!(!joins(Some(instance(4)), 5) && !joins(Some(instance(5)), 4) && !joins(None, 4));
}

/// An office that merges or hands over takes no other in; nobody is declined for its rank who is no office.
#[test]
fn an_office_on_its_way_takes_no_other_in() {
    let declines = |prepare: fn(&mut Core<'_>), state| {
        let mut bench = Bench::in_office("z", 9);
        let mut core = bench.at(0);
        prepare(&mut core);
        core.declines_office(&id("a"), claim(state))
    };
    let nothing = |_: &mut Core<'_>| {};
    let hands_over = |core: &mut Core<'_>| {
        let to = core.add_member("m", 2, 0);
        core.step(Input::HandOff(who(to)));
    };
    let merges = |core: &mut Core<'_>| {
        let greater = core.add_peer("g", 3, NodeState::Gcks, 0);
        office(core).merging = Some(MergeAsLesser { greater });
    };
    let lower = |core: &mut Core<'_>| core.node.priority = 1;
    assert!(!declines(nothing, NodeState::Gcks));
    for prepare in [hands_over, merges, lower] {
        assert!(declines(prepare, NodeState::Gcks));
        assert!(!declines(prepare, NodeState::Member));
    }
}

#[test]
fn a_lesser_office_that_waits_is_told_from_other_registrants() {
    let mut bench = Bench::in_office("a", 1);
    let mut core = bench.at(0);
    assert!(!core.office_merges_here());
    lesser(&mut core, 2, 0, false);
    assert!(!core.office_merges_here(), "a router of another half");
    let row = core.add_member("m", 3, 0);
    core.registrant_of(row).office = true;
    assert!(!core.office_merges_here(), "an office that was given the state");
    lesser(&mut core, 4, 0, true);
    assert!(core.office_merges_here());
}

/// Section 5.5: who is declined for its rank is asked in turn, once, by an office that serves.
#[test]
fn a_greater_office_is_asked_once() {
    let asked = |prepare: fn(&mut Core<'_>), state| {
        let mut bench = Bench::in_office("a", 1);
        let mut core = bench.at(0);
        prepare(&mut core);
        core.lesser_office_asked(address(2), &id("g"), claim(state));
        let heard = office(&mut core).rival_heard.is_some();
        (
            core.handshakes.rows().filter_map(Handshake::attempt).count(),
            heard,
        )
    };
    assert_eq!(asked(|_| {}, NodeState::Gcks), (1, true));
    assert_eq!(asked(|_| {}, NodeState::Member), (0, false));
    let busy = |core: &mut Core<'_>| assert!(core.start_attempt(Purpose::Rival, address(2), id("g"), None));
    assert_eq!(asked(busy, NodeState::Gcks), (1, true));
    let hands_over = |core: &mut Core<'_>| {
        let to = core.add_member("m", 3, 0);
        core.step(Input::HandOff(who(to)));
    };
    assert_eq!(asked(hands_over, NodeState::Gcks), (0, true));
}

/// Whether another office, heard at 0, still forbids at `ms` what is not for the merge.
fn gated(ms: u64, prepare: impl FnOnce(&mut Core<'_>)) -> bool {
    let mut bench = Bench::in_office("a", 1);
    let mut core = bench.at(ms);
    office(&mut core).rival_heard = Some(at(0));
    prepare(&mut core);
    let office = core.node.office.take().unwrap();
    core.rival_gates(&office)
}

/// Section 5.5: for 2 x hold after another office was heard, unless it has registered and no third one is heard.
#[test]
fn another_office_holds_up_what_is_not_for_the_merge() {
    assert!(gated(0, |_| {}) && gated(7999, |_| {}) && !gated(8000, |_| {}));
    assert!(!gated(100, |core| office(core).rival_heard = None));
    let registered = |core: &mut Core<'_>| {
        lesser(core, 2, 0, true);
    };
    assert!(!gated(100, registered));
    assert!(
        gated(100, |core| {
            lesser(core, 2, 0, false);
        }),
        "a router of another half is no office"
    );
    assert!(
        gated(100, |core| {
            let row = lesser(core, 2, 0, true);
            core.registrant_of(row).merging = None;
        }),
        "one that was given the state and is not heard yet"
    );
    let third = |heard: u64, state| {
        move |core: &mut Core<'_>| {
            lesser(core, 2, 0, true);
            core.add_peer("third", 3, state, heard);
        }
    };
    assert!(gated(7900, third(100, NodeState::Gcks)) && gated(7900, third(0, NodeState::Gcks)));
    assert!(!gated(7900, third(0, NodeState::Member)));
    let mut bench = Bench::in_office("a", 1);
    let mut core = bench.at(8000);
    office(&mut core).rival_heard = Some(at(7000));
    third(0, NodeState::Gcks)(&mut core);
    let row = core.peers.find(|peer| peer.identity == id("lesser")).unwrap();
    core.peer_mut(row).heard = Some(at(7000));
    let taken = core.node.office.take().unwrap();
    assert!(!core.rival_gates(&taken), "silent for 2 x hold");
}

/// W waits for L to show the key that is distributed only if it was made for L.
#[test]
fn a_key_is_for_those_that_merged_before_it_was_made() {
    let mut bench = Bench::in_office("a", 1);
    let core = distributing(&mut bench);
    let taken = core.node.office.take().unwrap();
    assert!(
        core.distributes_to(&taken, 0) && !core.distributes_to(&taken, 1) && !core.distributes_to(&taken, 2)
    );
    core.node.office = Some(taken);
    let mut bench = Bench::in_office("b", 2);
    let mut core = bench.at(0);
    add_key(&mut core, 7, Pending, 1);
    let taken = core.node.office.take().unwrap();
    assert!(!core.distributes_to(&taken, 0), "nothing is distributed");
}

/// An office whose peer `greater` proved a greater office at 0.
fn merging(bench: &mut Bench) -> (Core<'_>, Handle) {
    let mut core = bench.at(0);
    let greater = core.add_peer("greater", 9, NodeState::Gcks, 0);
    core.peer_mut(greater).claim.as_mut().unwrap().priority = 200;
    core.rival_registered(greater, instance(9), None);
    (core, greater)
}

/// Only a greater office is merged into, and only by an office that serves.
#[test]
fn an_office_merges_into_a_greater_one_only() {
    let mut bench = Bench::in_office("a", 1);
    let (mut core, greater) = merging(&mut bench);
    assert_eq!(core.node.election, Election::Gcks(Gcks::Merging(who(greater))));
    assert!(office(&mut core).merging.is_some());
    for (priority, hands_over) in [(1, false), (200, true)] {
        let mut bench = Bench::in_office("a", 1);
        let mut core = bench.at(0);
        let other = core.add_peer("other", 9, NodeState::Gcks, 0);
        core.peer_mut(other).claim.as_mut().unwrap().priority = priority;
        core.peer_mut(other).sa = Some(core.test_sa(true));
        if hands_over {
            let to = core.add_member("m", 3, 0);
            core.step(Input::HandOff(who(to)));
        }
        core.rival_registered(other, instance(9), None);
        assert!(office(&mut core).merging.is_none() && core.peers.get(other).unwrap().sa.is_none());
    }
}

fn given(teks: &[(u16, KeyState, u8)]) -> CheckedState {
    let tek = |(id, state, octet): &(u16, KeyState, u8)| CheckedTek {
        policy: TekPolicy {
            id: *id,
            state: *state,
            lifetime_s: 100,
            protocols: Some(key(*id, *state).protocols),
        },
        key: Some(Secret::from_bytes([*octet; 32])),
    };
    CheckedState {
        rekey_sa: None,
        dtd_s: None,
        teks: teks.iter().map(tek).collect(),
    }
}

fn state_of(core: &Core<'_>, id: u16) -> Option<(KeyState, u8)> {
    let key = core.keys.rows().find(|key| key.lives() && key.id == id)?;
    Some((key.state, key.tek.expose()[9]))
}

/// Section 5.5 steps 3 and 4: the greater office's key is taken over once, activated when it is Active there; what is
/// Active comes before what is Pending.
#[test]
fn a_greater_offices_keys_are_taken_over() {
    let mut bench = Bench::in_office("a", 1);
    let (mut core, greater) = merging(&mut bench);
    core.merge_state(greater, Some(&given(&[(7, Pending, 1)])));
    assert_eq!(state_of(&core, 7), Some((Pending, 1)));
    let since = office(&mut core).rollover.phase();
    office(&mut core).update_owed = false;
    core.merge_state(greater, Some(&given(&[(7, Pending, 1)])));
    assert_eq!(
        (office(&mut core).rollover.phase(), office(&mut core).update_owed),
        (since, false),
        "once"
    );
    core.merge_state(greater, Some(&given(&[(7, Pending, 2)])));
    assert_eq!(
        state_of(&core, 7),
        Some((Pending, 2)),
        "another key under the same id"
    );
    core.merge_state(greater, Some(&given(&[(8, Pending, 3), (7, Active, 2)])));
    assert_eq!(
        (state_of(&core, 7), state_of(&core, 8)),
        (Some((Active, 2)), Some((Pending, 3)))
    );
    let other = core.add_peer("other", 5, NodeState::Gcks, 0);
    core.merge_state(other, Some(&given(&[(9, Pending, 1)])));
    assert_eq!(state_of(&core, 9), None, "from nobody else");
}

/// One that was abandoned with an earlier merge is distributed anew; one that was sent with is not gone back to.
#[test]
fn an_abandoned_key_of_the_greater_office_is_distributed_anew() {
    for (was_active, found) in [(false, Pending), (true, Retiring)] {
        let mut bench = Bench::in_office("a", 1);
        let (mut core, greater) = merging(&mut bench);
        let mut old = key(7, Retiring);
        (old.tek, old.was_active) = (Secret::from_bytes([1; 32]), was_active);
        core.keys.insert(old).unwrap();
        core.merge_state(greater, Some(&given(&[(7, Pending, 1)])));
        assert_eq!(state_of(&core, 7), Some((found, 1)));
    }
}

/// While an office merges, the other's key is shown when this whole half has acknowledged it, and not before.
#[test]
fn the_other_halfs_key_is_shown_when_all_have_it() {
    let mut bench = Bench::in_office("a", 1);
    let mut core = bench.at(0);
    assert!(!core.hides_pending(), "no merge");
    let greater = core.add_peer("greater", 9, NodeState::Gcks, 0);
    core.peer_mut(greater).claim.as_mut().unwrap().priority = 200;
    core.peer_mut(greater).claim.as_mut().unwrap().members = 1;
    let row = core.add_member("m", 2, 0);
    core.rival_registered(greater, instance(9), None);
    assert!(core.hides_pending());
    core.merge_state(greater, Some(&given(&[(7, Pending, 1)])));
    let rollover::Phase::Distributing { since } = office(&mut core).rollover.phase() else {
        panic!()
    };
    core.registrant_of(row).acked = Some(since - 1);
    assert!(core.hides_pending() && core.keys_in_use().0.is_empty());
    core.registrant_of(row).acked = Some(since);
    assert!(!core.hides_pending() && core.keys_in_use().0.len() == 1);
}

/// The merge is lost: requests to the greater office end, others do not.
#[test]
fn a_lost_merge_ends_what_belonged_to_it() {
    let mut bench = Bench::in_office("a", 1);
    let (mut core, greater) = merging(&mut bench);
    let other = core.add_member("m", 2, 0);
    for peer in [greater, other] {
        let request = crate::sealed::Sealed {
            peer,
            message_id: 0,
            request: crate::sealed::Request::Push,
            octets: heapless::Vec::new(),
            sent: 1,
            wait: seconds(1),
            next: at(1000),
        };
        core.sealed.insert(request).unwrap();
    }
    core.merge_lost();
    assert!(core.sealed.rows().map(|sealed| sealed.peer).eq([other]));
    assert_eq!(
        (office(&mut core).quiet_until, core.node.election),
        (Some(at(8000)), Election::Gcks(Gcks::Serving))
    );
}

/// W's part ends 2 x hold after L's last request: L's row goes, and nobody else's.
#[test]
fn a_silent_lesser_office_is_given_up() {
    let mut bench = Bench::in_office("a", 1);
    let mut core = bench.at(0);
    let gone = lesser(&mut core, 2, 0, true);
    let router = lesser(&mut core, 3, 0, false);
    let member = core.add_member("m", 4, 0);
    core.registrant_of(member).office = true;
    office(&mut core).merge = Some(MergeAsGreater { until: at(500) });
    let left =
        |core: &Core<'_>| [gone, router, member].map(|row| core.peers.get(row).unwrap().registrant.is_some());
    let mut core = bench.at(499);
    core.run_merge();
    assert_eq!(left(&core), [true; 3]);
    let mut core = bench.at(500);
    core.run_merge();
    assert_eq!(left(&core), [false, true, true]);
    assert!(office(&mut core).merge.is_none());
}

/// Section 5.5: an office is an heir's if there was somebody to follow, or a key that others send with as well; only the
/// first, without a handoff, is a failover.
#[test]
fn an_heir_is_told_from_a_first_office() {
    for (follows, keyed, handed_over, heir, failovers) in [
        (false, false, false, false, 0),
        (true, false, false, true, 1),
        (false, true, false, true, 0),
        (true, false, true, true, 0),
    ] {
        let mut bench = Bench::joined("a", 1);
        let mut core = bench.at(0);
        if follows {
            let gcks = core.add_peer("gcks", 3, NodeState::Gcks, 0);
            core.node.sas.replace(rekey_sa(5), at(0));
            let mut membership = Membership::new(gcks, instance(3), at(0));
            membership.handoff = Some(if handed_over {
                core.node.instance
            } else {
                instance(4)
            });
            core.node.membership = Some(membership);
        }
        if keyed {
            let row = add_key(&mut core, 7, Pending, 0);
            core.advance_key(row, Active);
        }
        core.take_office();
        assert_eq!(
            (office(&mut core).heir, core.node.counters.failovers),
            (heir, failovers)
        );
    }
}

/// Who resigns keeps what it has with the GCKS that it follows now, and nothing with others.
#[test]
fn a_former_office_keeps_its_new_gcks() {
    let mut bench = Bench::in_office("a", 1);
    let mut core = bench.at(0);
    let (gcks, other) = (
        core.add_peer("gcks", 2, NodeState::Gcks, 0),
        core.add_member("m", 3, 0),
    );
    for row in [gcks, other] {
        core.peer_mut(row).sa = Some(core.test_sa(true));
        core.peer_mut(row).joined = true;
    }
    core.node.membership = Some(Membership::new(gcks, instance(2), at(0)));
    core.resign();
    let kept = |row| core.peers.get(row).map(|peer| (peer.sa.is_some(), peer.joined));
    assert_eq!(
        (kept(gcks), kept(other)),
        (Some((true, true)), Some((false, false)))
    );
}

/// What a view says of an office at `ms` with an Active key and one live member that has acknowledged all, after `prepare`:
/// whether it may start and whether it may activate.
fn may(ms: u64, prepare: impl FnOnce(&mut Core<'_>)) -> (bool, bool) {
    let mut bench = Bench::in_office("a", 1);
    let mut core = bench.at(ms);
    add_key(&mut core, 7, Active, 1);
    core.add_member("m", 2, ms);
    prepare(&mut core);
    let (view, _) = core.view(rollover::Input::Want(RekeyReason::Operator)).unwrap();
    (view.may_start, view.may_activate)
}

fn knock(core: &mut Core<'_>) {
    let ms = core.now.as_millis();
    core.add_stranger("k", 8, claim(NodeState::Initial), ms);
}

/// Sections 5.5 and 7: what forbids a new key and what forbids an activation, each up to its very end.
#[test]
fn what_holds_up_a_rollover() {
    let (yes, no) = ((true, true), (false, false));
    assert_eq!(may(20_000, |_| {}), yes);
    let quiet = |core: &mut Core<'_>| office(core).quiet_until = Some(at(20_000));
    assert_eq!(
        (may(19_999, quiet), may(20_000, quiet), may(20_001, quiet)),
        ((false, true), yes, yes)
    );
    let joins = |core: &mut Core<'_>| office(core).joins_until = Some(at(20_000));
    assert_eq!(
        (may(19_999, joins), may(20_000, joins), may(20_001, joins)),
        (no, yes, yes)
    );
    assert_eq!(
        may(20_000, |core| office(core).rival_heard = Some(at(19_000))),
        no
    );
    let hands_over = |core: &mut Core<'_>| {
        let to = core.peers.find(|_| true).unwrap();
        core.step(Input::HandOff(who(to)));
    };
    assert_eq!(may(20_000, hands_over), no);
    let merges = |core: &mut Core<'_>| {
        let greater = core.add_peer("g", 9, NodeState::Member, 0);
        office(core).merging = Some(MergeAsLesser { greater });
    };
    assert_eq!(may(20_000, merges), no);
    // Who knocks while a key is distributed has 2 x hold to have a part in it; without an Active key there is none to lose.
    let knocked = |core: &mut Core<'_>| {
        knock(core);
        office(core).content_at = at(12_000);
    };
    assert_eq!(
        (may(19_999, knocked), may(20_000, knocked), may(20_001, knocked)),
        ((true, false), yes, yes)
    );
    let inactive = |core: &mut Core<'_>| {
        knocked(core);
        core.keys.retain(|_| false);
    };
    assert_eq!(may(19_999, inactive), yes);
}

/// Section 7, *an heir*: hold, 2 x hold while somebody knocks, and no new key for nobody before the old one's time.
#[test]
fn what_holds_up_an_heir() {
    let heir = |core: &mut Core<'_>| {
        office(core).heir = true;
        office(core).took = at(10_000);
    };
    assert_eq!(
        (may(13_999, heir).0, may(14_000, heir).0, may(14_001, heir).0),
        (false, true, true)
    );
    let knocked = |core: &mut Core<'_>| {
        heir(core);
        knock(core);
    };
    assert_eq!(
        (
            may(17_999, knocked).0,
            may(18_000, knocked).0,
            may(18_001, knocked).0
        ),
        (false, true, true)
    );
    let alone = |core: &mut Core<'_>| {
        heir(core);
        core.peers.rows_mut().for_each(|peer| peer.registrant = None);
        office(core).key_due = Some(at(30_000));
    };
    assert_eq!(
        (may(29_999, alone).0, may(30_000, alone).0, may(30_001, alone).0),
        (false, true, true)
    );
    let not_alone = |core: &mut Core<'_>| {
        heir(core);
        office(core).key_due = Some(at(30_000));
    };
    assert!(may(29_999, not_alone).0);
    let no_heir = |core: &mut Core<'_>| {
        alone(core);
        office(core).heir = false;
    };
    assert!(may(29_999, no_heir).0);
    let unregistered = |core: &mut Core<'_>| {
        heir(core);
        office(core).formers_until = at(90_000);
        office(core).patience = at(90_000);
        let spi = [5; 16];
        let row = core.add_peer("u", 6, NodeState::Member, 14_000);
        let peer = core.peer_mut(row);
        peer.under = Some(spi);
        peer.claim.as_mut().unwrap().flags = crate::wire::ElectionFlags::KEYED;
    };
    assert!(!may(14_500, unregistered).0);
}

/// What all live members have acknowledged: the least of what each has, nothing while one has nothing, while the host has
/// not installed, or while an heir waits for one that has not registered.
#[test]
fn the_slowest_member_counts() {
    let mut bench = Bench::in_office("a", 1);
    let mut core = bench.at(20_000);
    assert_eq!(
        (view(&core).acknowledged, view(&core).sa_acknowledged),
        (Some(u32::MAX), true)
    );
    let (a, b) = (core.add_member("m", 2, 20_000), core.add_member("n", 3, 20_000));
    assert_eq!(
        (view(&core).acknowledged, view(&core).sa_acknowledged),
        (None, false)
    );
    core.registrant_of(a).acked = Some(5);
    core.registrant_of(b).acked = Some(3);
    assert_eq!(
        (view(&core).acknowledged, view(&core).sa_acknowledged),
        (Some(3), true)
    );
    core.registrant_of(b).acked = None;
    assert!(!view(&core).sa_acknowledged);
    core.registrant_of(b).live = false;
    assert_eq!(
        (view(&core).acknowledged, view(&core).sa_acknowledged),
        (Some(5), true)
    );
    core.node.installs.revision += 1;
    assert_eq!(
        (view(&core).acknowledged, view(&core).sa_acknowledged),
        (None, false)
    );
    core.node.installs.confirmed = core.node.installs.revision;
    office(&mut core).heir = true;
    office(&mut core).patience = at(20_001);
    let row = core.add_peer("u", 6, NodeState::Member, 20_000);
    core.peer_mut(row).under = Some([5; 16]);
    core.peer_mut(row).claim.as_mut().unwrap().flags = crate::wire::ElectionFlags::KEYED;
    assert_eq!(
        (view(&core).acknowledged, view(&core).sa_acknowledged),
        (None, false)
    );
    office(&mut core).patience = at(20_000);
    assert_eq!(
        (view(&core).acknowledged, view(&core).sa_acknowledged),
        (Some(5), true),
        "it has waited long enough"
    );
}

/// An office whose protocol has a manual key.
fn migrating() -> Bench {
    let with_key = |settings: &mut crate::Settings| {
        let manual = ManualKey {
            protocol: crate::algorithm::RoutingProtocol::Ospfv2,
            algorithm: crate::algorithm::RoutingAlgorithm::HmacSha256,
            id: 200,
            secret: heapless::Vec::from_slice(b"manual").unwrap(),
        };
        assert!(settings.manual_keys.push(manual).is_ok());
    };
    Bench::with("a", 1, Proof::SharedKey, with_key).serving()
}

/// Section 7: the first Activate waits until every expected identity is live; the alarm says so while there is a key.
#[test]
fn a_migration_waits_for_the_expected() {
    let mut bench = migrating();
    let mut core = bench.at(0);
    let waits = |core: &Core<'_>| core.node.alarms.is_raised(Alarm::MigrationWaits);
    assert!(view(&core).may_activate, "nobody is expected");
    assert!(!waits(&core));
    core.roll(rollover::Input::Check);
    assert!(!waits(&core));
    let mut bench = Bench::in_office("b", 2);
    let mut core = bench.at(0);
    core.roll(rollover::Input::Check);
    assert!(!waits(&core), "without manual keys there is no migration");
}

/// A running rollover that is given up: what this office made goes, what another made is kept, for somebody may send with
/// it (section 7).
#[test]
fn only_a_key_of_its_own_is_deleted_when_it_is_given_up() {
    let mut bench = Bench::in_office("a", 1);
    let mut core = distributing(&mut bench);
    let own = core.keys.rows().find(|key| key.state == Pending).unwrap().id;
    let other = if own == 7 { 8 } else { 7 };
    add_key(&mut core, other, Pending, 0);
    // Others rest: nothing new begins in the same step.
    office(&mut core).quiet_until = Some(at(1000));
    core.roll(rollover::Input::Abandon);
    assert_eq!(state_of(&core, own), None);
    assert_eq!(state_of(&core, other).map(|(state, _)| state), Some(Retiring));
}

/// The times of an office: each stirs it when it has come, and not before.
#[test]
fn an_offices_times_stir_it() {
    let stirred = |ms, prepare: fn(&mut super::super::Office)| {
        let mut bench = Bench::in_office("a", 1);
        let mut core = bench.at(ms);
        prepare(office(&mut core));
        core.node.stirred = false;
        core.run_office();
        core.node.stirred
    };
    let quiet = |office: &mut super::super::Office| office.quiet_until = Some(at(1000));
    assert_eq!(
        [999, 1000, 1001].map(|ms| stirred(ms, quiet)),
        [false, true, true]
    );
}

/// DTD before the old key's end a change that runs goes on without the laggards; a key that was made late has hold first.
#[test]
fn a_change_is_forced_at_its_time() {
    let next = |running: bool, content_at: u64, force: u64| {
        let mut bench = Bench::in_office("a", 1);
        let mut core = if running {
            distributing(&mut bench)
        } else {
            bench.at(0)
        };
        office(&mut core).content_at = at(content_at);
        office(&mut core).force_due = Some(at(force));
        let row = core.add_member("m", 2, 0);
        core.registrant_of(row).acked = Some(0);
        let office = core.node.office.as_mut().unwrap();
        (office.key_due, office.evict_due, office.quiet_until) = (None, None, None);
        core.next_office_deadline()
    };
    // Steady: nothing is forced. (The minimum rekey interval of the running one ends at 5 s.)
    assert_eq!(next(false, 0, 4500), None);
    assert_eq!(next(true, 0, 4500), Some(at(4500)));
    assert_eq!(next(true, 0, 2000), Some(at(4000)));
    assert_eq!(next(true, 900, 2000), Some(at(4900)));
    let mut bench = Bench::in_office("a", 1);
    let mut core = bench.at(0);
    assert!(!core.is_changing_sa());
    core.keys.insert(key(7, Active)).unwrap();
    office(&mut core).force_due = Some(at(4500));
    core.roll(rollover::Input::SaDue);
    assert!(core.is_changing_sa() || office(&mut core).rollover.sa() == rollover::SaPhase::Wanted);
}

/// What is over does not call again.
#[test]
fn an_offices_deadlines_lie_ahead() {
    let mut bench = Bench::in_office("a", 1);
    let mut core = bench.at(1000);
    assert_eq!(core.next_office_deadline(), None);
    office(&mut core).quiet_until = Some(at(1000));
    assert_eq!(core.next_office_deadline(), None);
    office(&mut core).evict_due = Some(at(1001));
    assert_eq!(core.next_office_deadline(), Some(at(1001)));
    office(&mut core).merge = Some(MergeAsGreater { until: at(1001) });
    office(&mut core).key_due = Some(at(900));
    assert_eq!(core.next_office_deadline(), Some(at(1001)));
}

/// What an office at 10 s does about a member that has acknowledged `acked` of generation 3, sent first at `content`:
/// whether an update is owed, a copy, a push.
fn lagging(
    acked: Option<u32>,
    content: u64,
    kept: u64,
    prepare: impl FnOnce(&mut Core<'_>, Handle),
) -> (bool, bool, bool) {
    let mut bench = Bench::in_office("a", 1);
    let mut core = bench.at(10_000);
    let row = core.add_member("m", 2, 10_000);
    core.registrant_of(row).acked = acked;
    core.peer_mut(row).sa = Some(core.test_sa(false));
    let office = office(&mut core);
    (office.content, office.content_at, office.kept_at) = (3, at(content), at(kept));
    office.kept.push(1).unwrap();
    prepare(&mut core, row);
    core.node.timers.clear(Timer::Update);
    core.run_update_timer();
    let (update, copy) = {
        let office = core.node.office.as_ref().unwrap();
        (office.update_owed, office.copy_owed)
    };
    assert_eq!(core.node.timers.is_set(Timer::Update), update || copy);
    (update, copy, core.peers.get(row).unwrap().push)
}

/// Section 7: who lags is sent a copy within 3 s, a new update later; by two of its intervals it is pushed the state.
#[test]
fn who_lags_is_sent_the_update_again() {
    assert_eq!(lagging(Some(3), 0, 0, |_, _| {}), (false, false, false));
    assert_eq!(lagging(Some(2), 8001, 7001, |_, _| {}), (false, true, false));
    assert_eq!(lagging(Some(2), 8001, 7000, |_, _| {}), (true, false, false));
    assert_eq!(lagging(None, 8000, 7001, |_, _| {}), (false, true, true));
    assert_eq!(
        lagging(None, 8000, 7001, |core, row| core.peer_mut(row).sa = None),
        (false, true, false)
    );
    assert_eq!(
        lagging(None, 8000, 7001, |core, _| office(core).kept.clear()),
        (true, false, true)
    );
    assert_eq!(
        lagging(None, 0, 0, |core, row| core.registrant_of(row).live = false),
        (false, false, false)
    );
}

#[test]
fn a_copy_is_the_same_octets_and_needs_some() {
    let mut bench = Bench::in_office("a", 1);
    let mut core = bench.at(0);
    let mut buffer = [0; 100];
    assert_eq!(core.poll_update(&mut buffer), None);
    office(&mut core).copy_owed = true;
    assert_eq!(core.poll_update(&mut buffer), None, "nothing was sent yet");
    office(&mut core).copy_owed = true;
    office(&mut core).kept.extend_from_slice(&[7, 8]).unwrap();
    assert_eq!(
        (core.poll_update(&mut buffer), buffer[..2].to_vec()),
        (Some(2), [7, 8].into())
    );
    assert_eq!(core.poll_update(&mut buffer), None, "once");
    core.owe_refresh();
    assert!(office(&mut core).update_owed && office(&mut core).content == 0);
}

/// Near 2^32 the Rekey SA is replaced (section 7).
#[test]
fn a_rekey_sa_is_replaced_before_its_numbers_end() {
    for (number, replaced) in [
        (u32::MAX - 1026, false),
        (u32::MAX - 1025, false),
        (u32::MAX - 1024, true),
    ] {
        let mut bench = Bench::in_office("a", 1);
        let mut core = bench.at(0);
        core.keys.insert(key(7, Active)).unwrap();
        let row = core.add_member("m", 2, 0);
        core.registrant_of(row).acked = Some(0);
        office(&mut core).next_message_id = number;
        office(&mut core).update_owed = true;
        let mut buffer = [0; 1232];
        assert!(core.poll_update(&mut buffer).is_some());
        let phase = office(&mut core).rollover.sa();
        assert_eq!(phase != rollover::SaPhase::Stable, replaced, "{number}");
    }
}

/// A reflected update of this office is its own; an unknown one is unknown.
#[test]
fn a_reflected_update_is_its_own() {
    let mut bench = Bench::in_office("a", 1);
    let mut core = bench.at(0);
    core.keys.insert(key(7, Active)).unwrap();
    office(&mut core).update_owed = true;
    let mut buffer = [0; 1232];
    let len = core.poll_update(&mut buffer).unwrap();
    let mut other = buffer[..len].to_vec();
    assert_eq!(
        core.handle_update(&mut buffer[..len]),
        Err(crate::error::DropReason::Own)
    );
    other[0] ^= 1;
    assert_eq!(
        core.handle_update(&mut other),
        Err(crate::error::DropReason::UnknownSpi)
    );
}
