//! A member: whom it follows, whom it joins, and whom a GCKS puts out or hands over to (PROTOCOL.md sections 5.3 to 7).

use std::vec::Vec;

use super::super::{Membership, NewRekeySa, membership::who};
use crate::{
    announcement::Heard,
    election::{Election, Failure, Gcks, Initial, Input, Member, Who},
    error::CommandError,
    exchange::{Handshake, Purpose},
    io::Timer,
    node::{Core, EvictedUntil, PenaltyKey, digest},
    sealed::{Request, Sealed},
    storage::Handle,
    testing::{Bench, MEMBER_ONLY, OUTSIDER, address, at, claim, id, instance, rekey_sa, seconds},
    wire::{ElectionFlags, ElectionState, NodeState},
};

const OWN_SPI: [u8; 16] = [5; 16];

/// A member at 0 that follows `gcks` at address 3 under a Rekey SA whose generation 2 it has applied.
fn following(bench: &mut Bench) -> Handle {
    let mut core = bench.at(0);
    core.step(Input::Join);
    let gcks = core.add_peer("gcks", 3, NodeState::Gcks, 0);
    core.peer_mut(gcks).under = Some(OWN_SPI);
    let mut sa = rekey_sa(5);
    sa.applied = 2;
    core.node.sas.replace(sa, at(0));
    core.step(Input::Keyed(who(gcks)));
    core.node.membership = Some(Membership::new(gcks, instance(3), at(0)));
    gcks
}

fn serving(generation: u32, spi: [u8; 16]) -> ElectionState {
    ElectionState {
        generation,
        rekey_sa: Some(spi),
        flags: ElectionFlags::KEYED,
        ..claim(NodeState::Gcks)
    }
}

fn hear(core: &mut Core<'_>, row: Handle, claim: ElectionState, change: impl FnOnce(&mut Heard)) {
    core.peer_mut(row).claim = Some(claim);
    core.peer_mut(row).heard = Some(core.now);
    let mut heard = Heard::from_peer(core, row, claim, Some(OWN_SPI));
    change(&mut heard);
    core.heard_peer(row, &heard);
}

fn member(core: &Core<'_>) -> Member {
    match core.node.election {
        Election::Member(member) => member,
        other => panic!("{other:?}"),
    }
}

fn targets(core: &Core<'_>) -> Vec<(std::net::SocketAddr, Option<[u8; 8]>)> {
    let attempts = core.handshakes.rows().filter_map(Handshake::attempt);
    attempts.map(|attempt| (attempt.to, attempt.instance)).collect()
}

fn timer(core: &Core<'_>, wanted: Timer) -> Option<u64> {
    core.node
        .timers
        .iter()
        .find(|(timer, _)| *timer == wanted)
        .map(|(_, at)| at.as_millis())
}

fn request_to(peer: Handle) -> Sealed {
    Sealed {
        peer,
        message_id: 0,
        request: Request::Pull,
        octets: heapless::Vec::new(),
        sent: 1,
        wait: seconds(1),
        next: at(1000),
    }
}

/// A named instance is the successor's; anybody else that serves is an heir, for whom a member leaves nobody that lives.
#[test]
fn only_the_named_successor_is_joined_while_the_gcks_lives() {
    for named in [true, false] {
        let mut bench = Bench::new("a", 1);
        let gcks = following(&mut bench);
        let mut core = bench.at(100);
        let other = core.add_peer("other", 4, NodeState::Gcks, 100);
        core.node.membership.as_mut().unwrap().handoff = named.then_some(instance(4));
        hear(&mut core, other, serving(0, [6; 16]), |_| {});
        let expected = if named {
            Member::Joining(who(gcks), who(other))
        } else {
            Member::Following(who(gcks))
        };
        assert_eq!(member(&core), expected);
    }
}

/// What an orphan makes of an announcement of `name` that says it serves: whether it joins.
fn orphan_joins(name: &str, change: impl FnOnce(&mut Core<'_>, &mut ElectionState)) -> bool {
    let mut bench = Bench::new("a", 1);
    let gcks = following(&mut bench);
    let mut core = bench.at(100);
    core.node.election = Election::Member(Member::Orphan(who(gcks)));
    let other = core.add_peer(name, 4, NodeState::Gcks, 100);
    let mut said = serving(0, [6; 16]);
    change(&mut core, &mut said);
    hear(&mut core, other, said, |_| {});
    core.node.election == Election::Member(Member::Joining(who(gcks), who(other)))
}

/// Section 5.3: an heir serves, may serve, is not leaving, and was not tried in vain a moment ago.
#[test]
fn an_orphan_joins_an_heir_that_may_serve() {
    assert!(orphan_joins("heir", |_, _| {}));
    assert!(!orphan_joins("heir", |_, said| said.state = NodeState::Member));
    assert!(!orphan_joins("heir", |_, said| said.flags = ElectionFlags::LEAVING));
    assert!(!orphan_joins(MEMBER_ONLY, |_, _| {}));
    assert!(!orphan_joins("heir", |core, _| {
        core.node
            .penalties
            .fail(PenaltyKey::new(address(4), &id("heir")), Failure::TimedOut, at(0));
    }));
}

/// The followed GCKS is one identity in one instance; its claim under a Rekey SA that this node cannot check is an heir's.
#[test]
fn the_followed_gcks_is_one_instance() {
    let heard_at = |change: fn(&mut Heard)| {
        let mut bench = Bench::new("a", 1);
        let gcks = following(&mut bench);
        let mut core = bench.at(100);
        hear(&mut core, gcks, serving(2, OWN_SPI), change);
        core.node.membership.as_ref().unwrap().heard.as_millis()
    };
    assert_eq!(heard_at(|_| {}), 100);
    assert_eq!(heard_at(|heard| heard.instance = [9; 8]), 0);
    assert_eq!(heard_at(|heard| heard.claims_anew = true), 0);
    let mut bench = Bench::new("a", 1);
    following(&mut bench);
    let mut core = bench.at(100);
    let other = core.add_peer("other", 3, NodeState::Gcks, 100);
    hear(&mut core, other, serving(2, OWN_SPI), |_| {});
    assert_eq!(
        core.node.membership.as_ref().unwrap().heard,
        at(0),
        "another identity in that instance"
    );
}

/// A GCKS that announces that it serves no more is silent at once (section 5.3).
#[test]
fn a_gcks_that_says_so_is_silent() {
    let mut bench = Bench::new("a", 1);
    let gcks = following(&mut bench);
    let mut core = bench.at(100);
    core.add_peer("better", 9, NodeState::Member, 100);
    hear(&mut core, gcks, serving(2, OWN_SPI), |_| {});
    assert_eq!(member(&core), Member::Following(who(gcks)));
    core.node.priority = 0;
    hear(&mut core, gcks, claim(NodeState::Member), |_| {});
    assert_eq!(member(&core), Member::Turn(who(gcks)));
    hear(&mut core, gcks, serving(2, OWN_SPI), |_| {});
    assert_eq!(member(&core), Member::Following(who(gcks)), "it is back");
}

/// Whether the state is pulled after the GCKS announced `claim` at 100 and at `again`.
fn pulled(claim: ElectionState, again: u64, prepare: impl FnOnce(&mut Core<'_>)) -> bool {
    let mut bench = Bench::new("a", 1);
    let gcks = following(&mut bench);
    let mut core = bench.at(100);
    prepare(&mut core);
    hear(&mut core, gcks, claim, |_| {});
    assert!(!core.node.membership.as_ref().unwrap().pull);
    let mut core = bench.at(again);
    hear(&mut core, gcks, claim, |_| {});
    core.node.membership.as_ref().unwrap().pull
}

/// Section 7: who is behind for two hello intervals asks: by a generation of the same Rekey SA, or by one that it has not.
#[test]
fn who_missed_updates_asks_for_the_state() {
    assert!(pulled(serving(3, OWN_SPI), 2100, |_| {}) && pulled(serving(3, OWN_SPI), 2101, |_| {}));
    assert!(!pulled(serving(3, OWN_SPI), 2099, |_| {}));
    assert!(!pulled(serving(2, OWN_SPI), 9000, |_| {}) && !pulled(serving(1, OWN_SPI), 9000, |_| {}));
    assert!(pulled(serving(0, [6; 16]), 2100, |_| {}));
    assert!(!pulled(serving(9, [7; 16]), 2100, |core| {
        core.node.sas.set_next(rekey_sa(7));
    }));
    assert!(!pulled(claim(NodeState::Gcks), 2100, |_| {}));
}

/// A hint of the router with this number; it has no row of a peer.
fn hint(core: &mut Core<'_>, number: u8, state: NodeState) -> Option<Handle> {
    core.add_stranger("s", number, claim(state), 100);
    None
}

/// Section 5.5: the successor that a GCKS named is one that announces that instance and serves; proved, or by hints alone,
/// for which the old GCKS's row stands.
#[test]
fn a_named_successor_is_looked_for() {
    let joined = |prepare: fn(&mut Core<'_>) -> Option<Handle>| {
        let mut bench = Bench::new("a", 1);
        let gcks = following(&mut bench);
        let mut core = bench.at(100);
        let row = prepare(&mut core);
        hear(&mut core, gcks, serving(2, OWN_SPI), |heard| {
            heard.handoff = Some(instance(4))
        });
        match member(&core) {
            Member::Joining(_, heir) => {
                Some(Some(heir) == row.map(who) || (row.is_none() && heir == who(gcks)))
            }
            _ => None,
        }
    };
    assert_eq!(
        joined(|core| Some(core.add_peer("s", 4, NodeState::Gcks, 100))),
        Some(true)
    );
    assert_eq!(
        joined(|core| Some(core.add_peer("s", 4, NodeState::Member, 100))),
        None
    );
    assert_eq!(
        joined(|core| Some(core.add_peer("s", 5, NodeState::Gcks, 100))),
        None
    );
    let unheard = |core: &mut Core<'_>| {
        let row = core.add_peer("s", 4, NodeState::Gcks, 0);
        core.peer_mut(row).heard = None;
        Some(row)
    };
    assert_eq!(joined(unheard), None);
    assert_eq!(joined(|core| hint(core, 4, NodeState::Gcks)), Some(true));
    assert_eq!(joined(|core| hint(core, 4, NodeState::Member)), None);
    assert_eq!(joined(|core| hint(core, 5, NodeState::Gcks)), None);
}

/// The membership ends with what belonged to it: requests to that GCKS, its IKE SA, and the Rekey SA as the current one.
#[test]
fn who_follows_no_more_keeps_nothing_of_it() {
    let mut bench = Bench::new("a", 1);
    let gcks = following(&mut bench);
    let mut core = bench.at(100);
    let other = core.add_peer("other", 4, NodeState::Member, 100);
    core.peer_mut(gcks).sa = Some(core.test_sa(true));
    for row in [gcks, other] {
        core.sealed.insert(request_to(row)).unwrap();
    }
    let before = core.node.counters.role_changes;
    core.step(Input::Registered(who(other)));
    assert!(core.node.membership.is_none() && core.peers.get(gcks).unwrap().sa.is_none());
    assert!(core.sealed.rows().map(|sealed| sealed.peer).eq([other]));
    assert_eq!(
        (
            core.node.sas.current_spi(),
            core.node.sas.former().map(|sa| sa.spi)
        ),
        (None, Some(OWN_SPI))
    );
    assert_eq!(core.node.counters.role_changes, before + 1);
    core.step(Input::Hint);
    assert_eq!(
        core.node.counters.role_changes,
        before + 1,
        "no change, none counted"
    );
}

/// Section 4: what N(INSTANCE) said holds until this node's own Rekey SA changes, but for the GCKS.
#[test]
fn a_new_rekey_sa_frees_instances_but_the_gckss() {
    let mut bench = Bench::new("a", 1);
    let gcks = following(&mut bench);
    let mut core = bench.at(100);
    let other = core.add_peer("other", 4, NodeState::Member, 100);
    for row in [gcks, other] {
        core.peer_mut(row).instance.as_mut().unwrap().proved = true;
    }
    let sa = rekey_sa(6);
    let new = NewRekeySa {
        spi: sa.spi,
        keys: Some(sa.keys),
        auth_key: None,
        generation: 0,
    };
    core.take_rekey_sa(&new, None, 0);
    let proved = |row| core.peers.get(row).unwrap().instance.unwrap().proved;
    assert_eq!((proved(gcks), proved(other)), (true, false));
}

/// A state counts as an answer of the GCKS only if it is the GCKS that sent it.
#[test]
fn only_the_gcks_answers_for_itself() {
    let mut bench = Bench::new("a", 1);
    let gcks = following(&mut bench);
    let mut core = bench.at(100);
    let other = core.add_peer("other", 4, NodeState::Gcks, 100);
    let answered = |core: &Core<'_>| core.node.membership.as_ref().unwrap().answered;
    core.take_state(other, &super::super::EvictedList::new(), None);
    assert_eq!(answered(&core), at(0));
    core.take_state(gcks, &super::super::EvictedList::new(), None);
    assert_eq!(answered(&core), at(100));
}

/// When a member's GCKS is asked whether it lives, and when it is silent (section 5.3); what is left of an office.
#[test]
fn a_membership_has_its_deadlines() {
    let mut bench = Bench::new("a", 1);
    let gcks = following(&mut bench);
    assert_eq!(bench.at(0).next_membership_deadline(), Some(at(3000)));
    assert_eq!(bench.at(2999).owed_to_gcks(), None);
    let core = bench.at(3000);
    assert_eq!(core.next_membership_deadline(), Some(at(4000)));
    assert_eq!(core.owed_to_gcks(), Some((gcks, Request::Probe)));
    let mut core = bench.at(100);
    core.node.legacy = Some(super::super::Legacy {
        successor: instance(4),
        until: at(2000),
    });
    assert_eq!(core.next_membership_deadline(), Some(at(2000)));
    core.run_membership();
    assert!(core.node.legacy.is_some());
    let mut core = bench.at(2000);
    core.run_membership();
    assert!(core.node.legacy.is_none());
}

/// Only the eight best ask a silent GCKS; others pull, or ask for new keys if they follow it.
#[test]
fn who_asks_what() {
    let mut bench = Bench::new("a", 1);
    let gcks = following(&mut bench);
    let core = bench.at(100);
    assert_eq!(core.owed_to_gcks(), None);
    core.node.wanted.push_back((1, 1)).unwrap();
    assert_eq!(core.owed_to_gcks(), Some((gcks, Request::Rekey)));
    let stage = Initial::Waiting(who(gcks));
    let member = core.node.election;
    core.node.election = Election::Initial {
        stage,
        waited: true,
        validated: true,
    };
    assert_eq!(core.owed_to_gcks(), None, "who waits asks for nothing more");
    core.node.election = member;
    core.node.membership.as_mut().unwrap().pull = true;
    assert_eq!(core.owed_to_gcks(), Some((gcks, Request::Pull)));
    // Seven better ones are too few, eight are enough to leave it to them.
    let mut core = bench.at(3000);
    for number in 10..17 {
        let row = core.add_peer("better", number, NodeState::Member, 3000);
        core.peer_mut(row).under = Some(OWN_SPI);
        let claim = core.peer_mut(row).claim.as_mut().unwrap();
        (claim.priority, claim.flags, claim.rekey_sa) = (200, ElectionFlags::KEYED, Some(OWN_SPI));
    }
    assert_eq!(core.survey().better, 7);
    assert_eq!(core.owed_to_gcks(), Some((gcks, Request::Probe)));
}

/// A member whose requests are not answered registers anew, unless it is on its way already.
#[test]
fn a_registration_is_renewed_once() {
    let mut bench = Bench::new("a", 1);
    following(&mut bench);
    let mut core = bench.at(100);
    core.renew_registration();
    assert_eq!(targets(&core), [(address(3), None)]);
    core.renew_registration();
    assert_eq!(core.attempts(), 1);
    core.end_attempts();
    core.node.election = Election::Initial {
        stage: Initial::Looking,
        waited: true,
        validated: true,
    };
    core.renew_registration();
    assert_eq!(core.attempts(), 0, "only a Member has a registration to renew");
}

/// Joining an heir, after `prepare`: whom this node tries.
fn joining(prepare: impl FnOnce(&mut Core<'_>, Handle)) -> Vec<(std::net::SocketAddr, Option<[u8; 8]>)> {
    let mut bench = Bench::new("a", 1);
    let gcks = following(&mut bench);
    let mut core = bench.at(5000);
    let heir = core.add_peer("heir", 4, NodeState::Gcks, 5000);
    core.node.election = Election::Member(Member::Joining(who(gcks), who(heir)));
    core.node.membership.as_mut().unwrap().handoff = Some(instance(4));
    prepare(&mut core, heir);
    core.run_join();
    targets(&core)
}

/// Section 5.5: the heir that proved itself; else the named instance among hints; else the old GCKS, which redirects.
#[test]
fn an_heir_is_joined_where_it_is_known() {
    let named = Some(instance(4));
    assert_eq!(joining(|_, _| {}), [(address(4), None)]);
    let old = [(address(3), named)];
    let silent = |core: &mut Core<'_>, heir| core.peer_mut(heir).heard = Some(at(0));
    assert_eq!(joining(silent), old);
    assert_eq!(
        joining(|core, heir| core.peer_mut(heir).claim = Some(claim(NodeState::Member))),
        old
    );
    let hinted = |name: &'static str, number: u8, ms: u64, seen: u8| {
        joining(move |core, heir| {
            core.peer_mut(heir).heard = Some(at(0));
            core.add_stranger("nobody", 8, claim(NodeState::Gcks), 5000);
            let row = core.add_stranger(name, number, claim(NodeState::Gcks), ms);
            core.strangers.get_mut(row).unwrap().instance = instance(seen);
        })
    };
    assert_eq!(hinted("heir", 7, 5000, 4), [(address(7), named)]);
    assert_eq!(hinted("heir", 7, 5000, 6), old, "another instance");
    assert_eq!(hinted("heir", 7, 0, 4), old, "not heard any more");
    assert_eq!(hinted(MEMBER_ONLY, 7, 5000, 4), old, "may not serve");
}

/// One that is being tried is not tried twice; where there is no room the heir is tried again in 250 ms.
#[test]
fn joining_waits_for_room() {
    let mut bench = Bench::new("a", 1);
    let gcks = following(&mut bench);
    let mut core = bench.at(0);
    let heir = core.add_peer("heir", 4, NodeState::Gcks, 0);
    core.node.election = Election::Member(Member::Joining(who(gcks), who(heir)));
    core.node.timers.clear(Timer::Join);
    core.run_join();
    core.run_join();
    assert_eq!((core.attempts(), timer(&core, Timer::Join)), (1, None));
    core.end_attempts();
    for (number, name) in [(4, "heir"), (4, "heir"), (4, "heir"), (4, "heir")] {
        assert!(core.start_attempt(Purpose::Heir, address(number), id(name), None));
    }
    for attempt in core.handshakes.rows_mut().filter_map(Handshake::attempt_mut) {
        attempt.to = address(9);
    }
    core.run_join();
    assert_eq!((core.attempts(), timer(&core, Timer::Join)), (4, Some(250)));
}

/// A member that joins an heir always has an attempt under way or one planned; else joining has failed.
#[test]
fn joining_with_nothing_under_way_has_failed() {
    let after = |prepare: fn(&mut Core<'_>)| {
        let mut bench = Bench::new("a", 1);
        let gcks = following(&mut bench);
        let mut core = bench.at(0);
        core.node.priority = 0;
        core.node.election = Election::Member(Member::Joining(who(gcks), Who(9)));
        prepare(&mut core);
        core.run_joining();
        matches!(core.node.election, Election::Member(Member::Joining(..)))
    };
    assert!(!after(|_| {}));
    assert!(after(|core| core.set_timer(Timer::Join, seconds(1))));
    assert!(after(|core| assert!(core.start_attempt(
        Purpose::Heir,
        address(4),
        id("heir"),
        None
    ))));
}

/// A node that looks for a GCKS at 100 and knows these hints, after it sought: whom it tries, in order.
fn sought(prepare: impl FnOnce(&mut Core<'_>)) -> (Vec<u8>, Election) {
    let mut bench = Bench::joined("a", 1);
    let mut core = bench.at(100);
    core.node.election = Election::Initial {
        stage: Initial::Joining,
        waited: false,
        validated: false,
    };
    prepare(&mut core);
    core.seek();
    let tried = targets(&core);
    let number = |(to, _): &(std::net::SocketAddr, _)| match to.ip() {
        std::net::IpAddr::V4(ip) => ip.octets()[3],
        std::net::IpAddr::V6(_) => 0,
    };
    (tried.iter().map(number).collect(), core.node.election)
}

/// Section 5.4: best first, and one that has members before one that has none; only who is heard and claims the office;
/// joining has failed when nobody is left.
#[test]
fn candidates_are_tried_best_first() {
    let office = |priority, members| ElectionState {
        priority,
        members,
        ..claim(NodeState::Gcks)
    };
    let (tried, state) = sought(|core| {
        core.add_stranger("low", 7, office(1, 3), 100);
        core.add_stranger("high", 8, office(200, 0), 100);
    });
    assert_eq!(tried, [7, 8]);
    assert_eq!(
        state,
        Election::Initial {
            stage: Initial::Joining,
            waited: false,
            validated: false
        }
    );
    let (tried, _) = sought(|core| {
        core.add_stranger("high", 8, office(200, 0), 100);
        core.add_stranger("low", 7, office(1, 1), 100);
    });
    assert_eq!(tried[0], 7);
    let (tried, state) = sought(|core| {
        core.add_stranger("member", 7, claim(NodeState::Member), 100);
        core.add_stranger("away", 8, office(200, 0), 0);
        core.strangers
            .rows_mut()
            .for_each(|row| row.claim.interval_ms = 10);
        let unheard = core.add_peer("p", 4, NodeState::Gcks, 0);
        core.peer_mut(unheard).heard = None;
        core.peer_mut(unheard).under = Some(OWN_SPI);
        core.add_peer("q", 5, NodeState::Gcks, 100);
    });
    assert!(tried.is_empty());
    assert_eq!(
        state,
        Election::Initial {
            stage: Initial::Looking,
            waited: false,
            validated: false
        }
    );
    let (tried, _) = sought(|core| {
        let known = core.add_peer("p", 4, NodeState::Gcks, 100);
        core.peer_mut(known).under = Some(OWN_SPI);
    });
    assert_eq!(tried, [4]);
}

/// REGISTRATION_FAILED: it comes back when there may be room again, and not for a time that is over.
#[test]
fn a_full_gcks_is_tried_again() {
    for (until, planned) in [(100, None), (99, None), (4000, Some(4000))] {
        let mut bench = Bench::joined("a", 1);
        let mut core = bench.at(100);
        core.node.full = Some(at(until));
        core.seek();
        assert_eq!(timer(&core, Timer::Join), planned, "{until}");
    }
}

/// An office at 100 with three members: 2 has the higher priority, 3 the same as this node and a higher router id, 4 is
/// behind.
fn with_members(bench: &mut Bench) -> Core<'_> {
    let mut core = bench.at(100);
    core.node.office.as_mut().unwrap().content = 3;
    for (number, priority, acked) in [(2, 200, 3), (3, 100, 3), (4, 250, 2)] {
        let row = core.add_member("peer", number, 100);
        core.peer_mut(row).claim.as_mut().unwrap().priority = priority;
        core.peer_mut(row).claim.as_mut().unwrap().router_id = number.into();
        core.registrant_of(row).acked = Some(acked);
    }
    core
}

fn chosen(core: &mut Core<'_>, better: bool) -> Option<[u8; 8]> {
    let office = core.node.office.take().unwrap();
    let row = core.successor(&office, better);
    core.node.office = Some(office);
    row.map(|row| core.peers.get(row).unwrap().instance.unwrap().instance)
}

/// Section 5.5: the best live member that may serve and is not behind; not one that stayed silent a moment ago.
#[test]
fn the_successor_is_the_best_that_is_not_behind() {
    let mut bench = Bench::in_office("a", 1);
    let mut core = with_members(&mut bench);
    assert_eq!(chosen(&mut core, false), Some(instance(2)));
    core.node.office.as_mut().unwrap().blocked = Some((instance(2), at(101), seconds(8)));
    assert_eq!(chosen(&mut core, false), Some(instance(3)));
    core.node.office.as_mut().unwrap().blocked = Some((instance(2), at(100), seconds(8)));
    assert_eq!(chosen(&mut core, false), Some(instance(2)), "the time is over");
    core.node.office.as_mut().unwrap().blocked = Some((instance(9), at(101), seconds(8)));
    assert_eq!(chosen(&mut core, false), Some(instance(2)), "another was blocked");
    for row in [2, 4] {
        let row = core.peers.find(|peer| peer.address == address(row)).unwrap();
        core.peer_mut(row).claim.as_mut().unwrap().priority = 0;
    }
    assert_eq!(chosen(&mut core, true), Some(instance(3)), "by its router id");
    let row = core.peers.find(|peer| peer.address == address(3)).unwrap();
    core.peer_mut(row).claim.as_mut().unwrap().priority = 99;
    assert_eq!(
        (chosen(&mut core, true), chosen(&mut core, false)),
        (None, Some(instance(3)))
    );
    core.peer_mut(row).identity = id(MEMBER_ONLY);
    assert_eq!(chosen(&mut core, false), None);
}

/// A successor that stays silent is not tried again for 2 x hold, doubling for the same instance (section 5.5).
#[test]
fn a_silent_successor_is_blocked_for_longer_each_time() {
    let mut bench = Bench::in_office("a", 1);
    let mut core = with_members(&mut bench);
    let rows: Vec<_> = [2, 3]
        .map(|number| core.peers.find(|peer| peer.address == address(number)).unwrap())
        .into();
    for (row, number, span) in [
        (rows[0], 2, 8),
        (rows[0], 2, 16),
        (rows[1], 3, 8),
        (rows[0], 2, 8),
    ] {
        core.step(Input::HandOff(who(row)));
        core.handoff_failed();
        let expected = (instance(number), at(100).after(seconds(span)), seconds(span));
        assert_eq!(core.node.office.as_ref().unwrap().blocked, Some(expected));
        assert_eq!(core.node.election, Election::Gcks(Gcks::Serving));
    }
}

/// Section 7: who is neither known nor granted anything is refused; so is this node itself.
#[test]
fn only_somebody_known_can_be_evicted() {
    let mut bench = Bench::in_office("a", 1);
    let mut core = bench.at(0);
    assert_eq!(core.evict(&id("a")), Err(CommandError::OwnIdentity));
    assert_eq!(core.evict(&id(OUTSIDER)), Err(CommandError::UnknownIdentity));
    assert_eq!(core.evict(&id("granted")), Ok(()));
    core.add_peer(OUTSIDER, 4, NodeState::Member, 0);
    assert_eq!(core.evict(&id(OUTSIDER)), Ok(()), "it is known here");
    assert_eq!(
        Bench::joined("a", 1).at(0).evict(&id("granted")),
        Err(CommandError::NotGcks)
    );
}

/// An office on its way to the evicted router stays; on its way to another it goes on.
#[test]
fn an_office_does_not_go_to_whom_it_evicts() {
    for (evicted, leaving, serves) in [
        ("s", false, true),
        ("o", false, false),
        ("s", true, true),
        ("o", true, false),
    ] {
        let mut bench = Bench::in_office("a", 1);
        let mut core = bench.at(0);
        let successor = core.add_member("s", 2, 0);
        core.add_member("o", 3, 0);
        core.step(Input::HandOff(who(successor)));
        core.node.leaving = leaving;
        core.node.timers.clear(Timer::Succession);
        core.evict(&id(evicted)).unwrap();
        assert_eq!(
            core.node.election == Election::Gcks(Gcks::Serving),
            serves,
            "{evicted}"
        );
        let planned = (leaving && serves).then_some(4000);
        assert_eq!(timer(&core, Timer::Succession), planned, "{evicted} {leaving}");
    }
}

/// An eviction is remembered up to its time.
#[test]
fn evictions_are_forgotten_at_their_time() {
    let mut bench = Bench::in_office("a", 1);
    let mut core = bench.at(1000);
    for (octet, until) in [(1, 1000), (2, 1001)] {
        core.node
            .evicted
            .push(EvictedUntil {
                digest: [octet; 16],
                until: at(until),
            })
            .unwrap();
    }
    assert!(core.evicted_list().0.iter().eq([&[2; 16]]));
    core.evict(&id("granted")).unwrap();
    let left: Vec<_> = core.node.evicted.iter().map(|entry| entry.digest).collect();
    assert_eq!(left, [[2; 16], digest(&id("granted"))]);
}
