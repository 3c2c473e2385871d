//! Who counts: live members, whom an heir waits for, who knocks (PROTOCOL.md section 7).

use crate::{
    announcement::Heard,
    node::{Core, EvictedUntil, RekeySa, digest},
    sealed::{Request, Sealed},
    storage::Handle,
    testing::{Bench, OUTSIDER, at, claim, id, instance, registrant, rekey_sa, seconds},
    wire::{ElectionFlags, ElectionState, NodeState},
};

fn member(generation: u32, rekey_sa: [u8; 16]) -> ElectionState {
    ElectionState {
        generation,
        rekey_sa: Some(rekey_sa),
        flags: ElectionFlags::KEYED,
        ..claim(NodeState::Member)
    }
}

fn hear(core: &mut Core<'_>, row: Handle, claim: ElectionState, under: [u8; 16]) {
    core.peer_mut(row).claim = Some(claim);
    let heard = Heard::from_peer(core, row, claim, Some(under));
    core.office_heard(row, &heard);
}

fn own_spi(core: &Core<'_>) -> [u8; 16] {
    core.node.office.as_ref().unwrap().spi
}

fn request_to(peer: Handle) -> Sealed {
    Sealed {
        peer,
        message_id: 0,
        request: Request::Push,
        octets: heapless::Vec::new(),
        sent: 1,
        wait: seconds(1),
        next: at(1000),
    }
}

/// The announced generation is the acknowledgement, under this office's Rekey SA and of it; it never goes back.
#[test]
fn the_announced_generation_is_the_acknowledgement() {
    let mut bench = Bench::in_office("a", 1);
    let mut core = bench.at(2000);
    let (row, own) = (core.add_member("m", 2, 0), own_spi(&core));
    core.registrant_of(row).live = false;
    core.registrant_of(row).silent = true;
    core.registrant_of(row).confirmed = false;
    hear(&mut core, row, member(3, own), own);
    let found = *core.registrant_of(row);
    assert_eq!(
        (found.acked, found.live, found.silent, found.confirmed),
        (Some(3), true, false, true)
    );
    assert_eq!(found.heard, at(2000));
    hear(&mut core, row, member(2, own), own);
    assert_eq!(core.registrant_of(row).acked, Some(3));
    hear(&mut core, row, member(9, [8; 16]), own);
    assert_eq!(
        core.registrant_of(row).acked,
        Some(3),
        "a generation of another Rekey SA says nothing"
    );
}

/// Who announces the next Rekey SA has all that the update with it contained; while there is none nobody can.
#[test]
fn announcing_the_next_rekey_sa_acknowledges_it() {
    let mut bench = Bench::in_office("a", 1);
    let mut core = bench.at(2000);
    let row = core.add_member("m", 2, 0);
    hear(&mut core, row, member(1, [5; 16]), [5; 16]);
    assert_eq!(
        (core.registrant_of(row).acked, core.registrant_of(row).has_next_sa),
        (None, false)
    );
    core.make_next_sa();
    let next = core.node.sas.next().unwrap().spi;
    hear(&mut core, row, member(0, next), next);
    assert_eq!(
        (core.registrant_of(row).acked, core.registrant_of(row).has_next_sa),
        (Some(u32::MAX), true)
    );
}

/// LEAVING counts under this office's own Rekey SA, and under no former one.
#[test]
fn who_leaves_says_so_under_this_offices_rekey_sa() {
    for own in [true, false] {
        let mut bench = Bench::in_office("a", 1);
        let mut core = bench.at(2000);
        let (row, other) = (core.add_member("m", 2, 0), core.add_member("o", 3, 0));
        let spi = if own { own_spi(&core) } else { [5; 16] };
        let mut said = member(0, spi);
        said.flags = ElectionFlags::LEAVING;
        core.peer_mut(row).holder = Some(instance(2));
        core.node.office.as_mut().unwrap().last_made = 4;
        for peer in [row, other] {
            core.sealed.insert(request_to(peer)).unwrap();
        }
        hear(&mut core, row, said, spi);
        assert_eq!(core.peers.get(row).unwrap().registrant.is_none(), own);
        if own {
            assert!(core.sealed.rows().map(|sealed| sealed.peer).eq([other]));
            assert_eq!(core.peers.get(row).unwrap().earlier, 4);
        }
    }
}

/// Who is heard under another Rekey SA missed a change: it is sent the state, not more often than it can answer.
#[test]
fn who_missed_a_rekey_sa_is_sent_the_state() {
    let pushed = |ms, with_sa: bool| {
        let mut bench = Bench::in_office("a", 1);
        let mut core = bench.at(ms);
        let row = core.add_member("m", 2, 0);
        if with_sa {
            core.peer_mut(row).sa = Some(core.test_sa(false));
        }
        hear(&mut core, row, member(0, [5; 16]), [5; 16]);
        let found = core.peers.get(row).unwrap();
        assert_eq!(found.registrant.unwrap().asked == at(ms), found.push);
        found.push
    };
    assert!(pushed(2000, true) && pushed(2001, true));
    assert!(!pushed(1999, true), "twice the hello interval");
    assert!(!pushed(2000, false));
}

/// What becomes of one registrant at `ms` that was last heard at 0, after `prepare`: whether it is still registered, live,
/// asked for a sign of life.
fn after_silence(ms: u64, prepare: impl FnOnce(&mut Core<'_>, Handle)) -> (bool, bool, bool) {
    let mut bench = Bench::in_office("a", 1);
    let mut core = bench.at(ms);
    let row = core.add_member("m", 2, 0);
    core.peer_mut(row).sa = Some(core.test_sa(false));
    prepare(&mut core, row);
    core.registrants_changed();
    core.run_registrants();
    let due = core.node.office.as_ref().unwrap().registrants_due;
    assert_eq!(
        due.filter(|at| *at != crate::time::Instant::END),
        core.next_registrant_deadline()
    );
    let found = core.peers.get(row).unwrap();
    (found.registrant.is_some(), found.is_live(), found.push)
}

/// Section 7: silent for hold, it is sent the state; live no longer only when that times out too, or nobody can ask it.
#[test]
fn silence_and_a_push_that_timed_out_agree() {
    assert_eq!(after_silence(3999, |_, _| {}), (true, true, false));
    assert_eq!(after_silence(4000, |_, _| {}), (true, true, true));
    let asked = |core: &mut Core<'_>, row| core.registrant_of(row).silent = true;
    assert_eq!(
        after_silence(4000, asked),
        (true, true, false),
        "it is asked once"
    );
    assert_eq!(
        after_silence(9000, asked),
        (true, true, false),
        "the push decides"
    );
    let unreachable = |core: &mut Core<'_>, row| {
        core.registrant_of(row).silent = true;
        core.peer_mut(row).sa = None;
    };
    assert_eq!(after_silence(4000, unreachable), (true, false, false));
    let reversed = |core: &mut Core<'_>, row| {
        core.registrant_of(row).silent = true;
        core.peer_mut(row).sa = Some(core.test_sa(true));
    };
    assert_eq!(
        after_silence(4000, reversed),
        (true, false, false),
        "an IKE SA of this node's own registration"
    );
    let no_sa = |core: &mut Core<'_>, row| core.peer_mut(row).sa = None;
    assert_eq!(after_silence(4000, no_sa), (true, false, false));
    let dead = |core: &mut Core<'_>, row| core.registrant_of(row).live = false;
    assert_eq!(after_silence(9000, dead), (true, false, false));
}

/// Who was given the state and never heard under it since may not have it: live for 2 x hold.
#[test]
fn who_never_confirmed_the_state_is_live_for_two_holds() {
    let never = |core: &mut Core<'_>, row| core.registrant_of(row).confirmed = false;
    assert_eq!(after_silence(7999, never), (true, true, false));
    assert_eq!(after_silence(8000, never), (true, false, false));
}

/// Who waits and does not ask is gone after four holds, one that merges after two.
#[test]
fn who_waits_and_does_not_ask_is_given_up() {
    let waits = |core: &mut Core<'_>, row| {
        *core.registrant_of(row) = registrant(0);
        core.registrant_of(row).given = false;
        core.registrant_of(row).live = false;
    };
    assert_eq!(after_silence(15_999, waits), (true, false, false));
    assert_eq!(after_silence(16_000, waits), (false, false, false));
    let merges = |core: &mut Core<'_>, row| {
        waits(core, row);
        core.registrant_of(row).merging = Some(0);
    };
    assert_eq!(after_silence(7_999, merges), (true, false, false));
    assert_eq!(after_silence(8_000, merges), (false, false, false));
}

/// A push that timed out ends the life of who was silent, and of nobody else.
#[test]
fn a_failed_push_ends_who_was_silent() {
    for silent in [true, false] {
        let mut bench = Bench::in_office("a", 1);
        let mut core = bench.at(0);
        let row = core.add_member("m", 2, 0);
        core.registrant_of(row).silent = silent;
        core.push_failed(row);
        assert_eq!(core.registrant_of(row).live, !silent);
    }
}

/// Whether a hint of `name` counts as knocking at `ms` (it was heard at 0) after `prepare`.
fn knocks(name: &str, ms: u64, prepare: impl FnOnce(&mut Core<'_>)) -> bool {
    let mut bench = Bench::in_office("a", 1);
    let mut core = bench.at(ms);
    core.add_stranger(name, 9, claim(NodeState::Initial), 0);
    prepare(&mut core);
    core.somebody_knocks()
}

/// Section 7: a hint, heard, of an identity that may join, was not evicted, and has not registered.
#[test]
fn who_knocks_may_join_and_has_not_registered() {
    let mut bench = Bench::in_office("a", 1);
    assert!(!bench.at(0).somebody_knocks());
    assert!(knocks("k", 0, |_| {}) && knocks("k", 3999, |_| {}));
    assert!(!knocks("k", 4000, |_| {}), "heard no more");
    assert!(!knocks(OUTSIDER, 0, |_| {}));
    assert!(!knocks("k", 0, |core| {
        let entry = EvictedUntil {
            digest: digest(&id("k")),
            until: at(9000),
        };
        core.node.evicted.push(entry).unwrap();
    }));
    let register = |live: bool, given: bool, name: &'static str| {
        move |core: &mut Core<'_>| {
            let row = core.add_member(name, 2, 0);
            let registrant = core.registrant_of(row);
            (registrant.live, registrant.given) = (live, given);
        }
    };
    assert!(!knocks("k", 0, register(true, true, "k")));
    assert!(!knocks("k", 0, register(false, false, "k")), "it waits");
    assert!(
        knocks("k", 0, register(false, true, "k")),
        "it was given the state and is gone"
    );
    assert!(knocks("k", 0, register(true, true, "other")));
}

/// An heir that took office at 0 and hears `name` under a Rekey SA that it inherited, from 1000 on.
fn heir(prepare: impl FnOnce(&mut Core<'_>, Handle)) -> Option<u64> {
    let mut bench = Bench::in_office("a", 1);
    let mut core = bench.at(1000);
    core.node.office.as_mut().unwrap().heir = true;
    let own = core.node.sas.current().unwrap();
    let own = RekeySa::own(own.spi, &rekey_sa(6).keys, None);
    core.node.sas.clear();
    core.node.sas.replace(rekey_sa(5), at(0));
    core.node.sas.replace(own, at(0));
    let row = core.add_peer("m", 2, NodeState::Member, 1000);
    core.peer_mut(row).claim = Some(member(0, [5; 16]));
    core.peer_mut(row).under = Some([5; 16]);
    prepare(&mut core, row);
    let office = core.node.office.take().unwrap();
    let until = core.next_heir_deadline(&office);
    let peer = core.peers.get(row).unwrap();
    assert_eq!(core.counts_for_heir(&office, peer), until.is_some());
    core.node.office = Some(office);
    if let Some(until) = until {
        // It counts up to that time, and not from then on.
        let core = bench.at(until.as_millis());
        let office = core.node.office.take().unwrap();
        assert!(!core.counts_for_heir(&office, core.peers.get(row).unwrap()));
        assert_eq!(core.next_heir_deadline(&office), None);
        core.node.office = Some(office);
        let core = bench.at(until.as_millis() - 1);
        let office = core.node.office.take().unwrap();
        assert!(core.counts_for_heir(&office, core.peers.get(row).unwrap()));
        assert!(core.heir_waits(&office));
        core.node.office = Some(office);
    }
    until.map(|until| until.as_millis())
}

/// Section 7: an heir waits for each keyed member that it hears under a Rekey SA that it inherited and that may join,
/// until that has registered or was silent for 2 x hold.
#[test]
fn an_heir_waits_for_whom_it_hears() {
    assert_eq!(heir(|_, _| {}), Some(9000));
    assert_eq!(
        heir(|core, _| core.node.office.as_mut().unwrap().heir = false),
        None
    );
    assert_eq!(
        heir(|core, _| core.node.office.as_mut().unwrap().took = at(3000)),
        Some(11_000)
    );
    assert_eq!(
        heir(|core, row| core.peer_mut(row).under = Some(own_spi(core))),
        None
    );
    assert_eq!(heir(|core, row| core.peer_mut(row).under = None), None);
    assert_eq!(
        heir(|core, row| core.peer_mut(row).registrant = Some(registrant(0))),
        None
    );
    let gone = |core: &mut Core<'_>, row| {
        core.peer_mut(row).registrant = Some(registrant(0));
        core.registrant_of(row).live = false;
    };
    assert_eq!(
        heir(gone),
        Some(9000),
        "given the state, and never heard under it"
    );
    let waits = |core: &mut Core<'_>, row| {
        gone(core, row);
        core.registrant_of(row).given = false;
    };
    assert_eq!(heir(waits), None);
    let say = |change: fn(&mut ElectionState)| {
        heir(move |core, row| change(core.peer_mut(row).claim.as_mut().unwrap()))
    };
    assert_eq!(say(|claim| claim.state = NodeState::Gcks), None);
    assert_eq!(say(|claim| claim.flags = ElectionFlags::default()), None);
    assert_eq!(
        say(|claim| claim.flags = ElectionFlags::KEYED.with(ElectionFlags::LEAVING, true)),
        None
    );
    assert_eq!(heir(|core, row| core.peer_mut(row).identity = id(OUTSIDER)), None);
    let evicted = |core: &mut Core<'_>, _| {
        let entry = EvictedUntil {
            digest: digest(&id("m")),
            until: at(90_000),
        };
        core.node.evicted.push(entry).unwrap();
    };
    assert_eq!(heir(evicted), None);
    // Another office was heard under that Rekey SA: 2 x hold from then on, and no longer than its own silence allows.
    let other = |ms| {
        move |core: &mut Core<'_>, _| core.node.sas.find_mut(&[5; 16]).unwrap().other_office = Some(at(ms))
    };
    assert_eq!(heir(other(500)), Some(8500));
    assert_eq!(heir(other(5000)), Some(9000));
}

/// For hold after it took office it waits in any case.
#[test]
fn an_heir_waits_for_hold() {
    for (ms, heir, waits) in [(3999, true, true), (4000, true, false), (0, false, false)] {
        let mut bench = Bench::in_office("a", 1);
        let core = bench.at(ms);
        let mut office = core.node.office.take().unwrap();
        office.heir = heir;
        assert_eq!(core.heir_waits(&office), waits, "{ms}");
    }
}
