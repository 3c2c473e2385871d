//! States and the messages that carry them: what is left out, what is stale, which request an answer belongs to
//! (PROTOCOL.md sections 4, 6 and 7).

use std::{format, vec::Vec};

use super::super::{membership::who, state::Purpose};
use crate::{
    election::{Election, Initial, Member},
    error::DropReason,
    exchange::Purpose as Attempt,
    io::MessageKind,
    node::Core,
    peer::{OwedReply, ReplyKind},
    sealed::Request,
    testing::{Bench, address, at, id, key},
    wire::{
        ExchangeType, Flags, Header, KeyState, NodeState, PayloadType, Payloads, Writer,
        gsa::{Policies, Policy},
        message::Contents,
        state::{Carrier, State},
    },
};

use KeyState::{Active, Pending, Retiring};

/// A GCKS at address 1 and a Member at address 2 that was given its state, both at 0.
fn pair() -> (Bench, Bench) {
    let (mut server, mut joiner) = (Bench::in_office("server", 1), Bench::joined("joiner", 2));
    server.drain(0);
    assert!(
        joiner
            .at(0)
            .start_attempt(Attempt::Seek, address(1), id("server"), None)
    );
    let mut octets = joiner.one(0, MessageKind::InitRequest).octets;
    server.at(0).handle_init_request(address(2), &octets).unwrap();
    octets = server.one(0, MessageKind::InitResponse).octets;
    joiner.at(0).handle_init_response(address(1), &octets).unwrap();
    octets = joiner.one(0, MessageKind::AuthRequest).octets;
    server.at(0).handle_auth_request(address(2), &mut octets).unwrap();
    octets = server.one(0, MessageKind::AuthResponse).octets;
    joiner.at(0).handle_auth_response(address(1), &octets).unwrap();
    assert!(matches!(
        joiner.at(0).node.election,
        Election::Member(Member::Following(_))
    ));
    server.drain(0);
    joiner.drain(0);
    (server, joiner)
}

fn pull(joiner: &mut Bench, ms: u64) -> Vec<u8> {
    joiner.at(ms).node.membership.as_mut().unwrap().pull = true;
    joiner.one(ms, MessageKind::Registration).octets
}

/// Section 4: the last request again is answered from the present state, at most once in 100 ms; an earlier one is not.
#[test]
fn a_repeated_request_is_answered_at_a_pace() {
    let (mut server, mut joiner) = pair();
    let first = pull(&mut joiner, 100);
    let take =
        |server: &mut Bench, ms, octets: &[u8]| server.at(ms).handle_sealed(address(2), &mut octets.to_vec());
    assert_eq!(take(&mut server, 100, &first), Ok(()));
    let answer = server.one(100, MessageKind::Response).octets;
    assert_eq!(take(&mut server, 199, &first), Err(DropReason::RepeatedTooSoon));
    assert_eq!(take(&mut server, 200, &first), Ok(()));
    let again = server.one(200, MessageKind::Response).octets;
    assert_ne!(answer, again, "under a fresh IV");
    assert_eq!(take(&mut server, 1000, &first), Ok(()));
    server.drain(1000);
    let mut core = joiner.at(300);
    assert_eq!(core.handle_sealed(address(1), &mut again.clone()), Ok(()));
    let second = pull(&mut joiner, 400);
    assert_eq!(take(&mut server, 1100, &second), Ok(()));
    assert_eq!(take(&mut server, 2000, &first), Err(DropReason::OutOfWindow));
}

/// A message belongs to the IKE SA of both its SPIs.
#[test]
fn an_ike_sa_has_two_spis() {
    let (mut server, mut joiner) = pair();
    let mut request = pull(&mut joiner, 100);
    let mut core = server.at(100);
    let other = core.add_member("other", 7, 100);
    core.peer_mut(other).sa = Some(core.test_sa(false));
    let spis = core
        .peers
        .get(other)
        .and_then(|peer| peer.sa.as_ref())
        .map(|sa| sa.spi_r)
        .unwrap();
    request[8..16].copy_from_slice(&spis);
    assert_eq!(
        core.handle_sealed(address(2), &mut request),
        Err(DropReason::UnknownSpi)
    );
}

/// An answer belongs to the request of its peer and Message ID.
#[test]
fn an_answer_has_the_number_of_its_request() {
    let (mut server, mut joiner) = pair();
    let mut request = pull(&mut joiner, 100);
    server.at(100).handle_sealed(address(2), &mut request).unwrap();
    let mut answer = server.one(100, MessageKind::Response).octets;
    let mut core = joiner.at(100);
    for sealed in core.sealed.rows_mut() {
        sealed.message_id += 1;
    }
    assert_eq!(
        core.handle_sealed(address(1), &mut answer),
        Err(DropReason::OutOfWindow)
    );
    assert_eq!(core.sealed.rows().count(), 1);
}

/// An answered probe ends the silence of a Member's GCKS, and says nothing to who waits.
#[test]
fn an_answered_probe_ends_the_silence() {
    let ended = |state: fn(crate::election::Who) -> Election| {
        let (mut server, mut joiner) = pair();
        let mut request = pull(&mut joiner, 100);
        server.at(100).handle_sealed(address(2), &mut request).unwrap();
        let mut answer = server.one(100, MessageKind::Response).octets;
        let mut core = joiner.at(100);
        let gcks = core.node.membership.as_ref().unwrap().gcks;
        for sealed in core.sealed.rows_mut() {
            sealed.request = Request::Probe;
        }
        core.node.election = state(who(gcks));
        core.handle_sealed(address(1), &mut answer).unwrap();
        core.node.election == Election::Member(Member::Following(who(gcks)))
    };
    assert!(ended(|gcks| Election::Member(Member::Turn(gcks))));
    assert!(!ended(|gcks| Election::Initial {
        stage: Initial::Waiting(gcks),
        waited: true,
        validated: false,
    }));
}

/// What was not sealed was not given.
#[test]
fn an_answer_that_was_not_sent_gives_nothing() {
    for sealed in [true, false] {
        let mut bench = Bench::in_office("a", 1);
        bench.drain(0);
        let mut core = bench.at(0);
        let row = core.add_member("m", 2, 0);
        core.peer_mut(row).registrant.as_mut().unwrap().given = false;
        core.peer_mut(row).sa = Some(core.test_sa(false));
        core.peer_mut(row).reply = Some(OwedReply {
            message_id: 2,
            kind: ReplyKind::Registration,
            at: at(0),
        });
        core.node.replies_owed = true;
        assert_eq!(core.gift(row), Some(Purpose::Whole));
        let mut buffer = [0; 1232];
        let room = if sealed { buffer.len() } else { 100 };
        assert_eq!(core.poll_replies(&mut buffer[..room]).is_some(), sealed);
        assert_eq!(core.registrant_of(row).given, sealed);
    }
}

/// Who leaves tells its GCKS by D (section 4), and who registered nowhere tells nobody.
#[test]
fn who_leaves_says_goodbye() {
    let (_, mut joiner) = pair();
    let mut buffer = [0; 1232];
    let goodbye = joiner.at(100).write_goodbye(&mut buffer);
    assert!(matches!(goodbye, Some((_, to, MessageKind::Informational)) if to == address(1)));
    assert_eq!(Bench::joined("a", 1).at(0).write_goodbye(&mut buffer), None);
}

#[test]
fn the_next_retransmission_calls() {
    let (_, mut joiner) = pair();
    assert_eq!(joiner.at(100).next_retransmit(), None);
    pull(&mut joiner, 100);
    assert_eq!(joiner.at(100).next_retransmit(), Some(at(600)));
}

/// Only a Pending key and who is in office can be given; how a merging registrant's gift ends, and whose half is waited for.
#[test]
fn what_was_sent_counts_as_given() {
    let sent = |merging: Option<u32>, office: bool, current: bool, given: bool| {
        let mut bench = Bench::in_office("a", 1);
        let mut core = bench.at(0);
        let mut active = key(1, Active);
        active.made = 3;
        core.keys.insert(active).unwrap();
        core.node.office.as_mut().unwrap().last_made = 3;
        let row = core.add_member("m", 2, 0);
        let registrant = core.registrant_of(row);
        (registrant.given, registrant.live) = (false, false);
        (registrant.merging, registrant.office, registrant.shows.current) = (merging, office, current);
        core.state_sent(row, given);
        let found = *core.registrant_of(row);
        let joins = core.node.office.as_ref().unwrap().joins_until;
        (found.given, core.peers.get(row).unwrap().earlier, joins)
    };
    assert_eq!(
        sent(Some(1), true, false, true),
        (false, 3, None),
        "keys for the merge"
    );
    assert_eq!(
        sent(Some(1), true, false, false),
        (false, 0, None),
        "there were none"
    );
    assert_eq!(
        sent(Some(1), true, true, true),
        (true, 0, Some(at(8000))),
        "step 4: its half follows"
    );
    assert_eq!(
        sent(Some(1), false, true, true),
        (true, 0, None),
        "a router has no half"
    );
    assert_eq!(
        sent(None, true, false, true),
        (true, 0, None),
        "an office that did not merge"
    );
    assert_eq!(sent(None, false, false, false), (false, 0, None));
}

/// The ids that a state drafted for a message lists, in order, if the message has `octets` without Retiring keys.
fn listed(core: &Core<'_>, octets: usize) -> Vec<u16> {
    let draft = core.fitted(Purpose::Update, |_, _| octets).unwrap();
    let mut buffer = [0; 4000];
    let header = Header::new([1; 8], [2; 8], ExchangeType::GSA_REKEY, Flags::INITIATOR, 0);
    let mut writer = Writer::message(&mut buffer, &header);
    let _ = draft.write(&mut writer);
    let (_, payloads) = Payloads::of_message(writer.finish().unwrap()).unwrap();
    let gsa = Contents::collect(payloads).unwrap().gsa.unwrap();
    let ids = Policies::new(gsa).filter_map(|policy| match policy.unwrap() {
        Policy::Tek(tek) => Some(tek.id),
        Policy::RekeySa(_) | Policy::Group { .. } | Policy::Unknown(_) => None,
    });
    ids.collect()
}

/// Section 6: where there is no room the oldest Retiring key is left out, the one that was Active last never before others.
#[test]
fn the_oldest_retiring_keys_are_left_out() {
    let mut bench = Bench::in_office("a", 1);
    let mut core = bench.at(0);
    let mut add = |id, state, activation, expires| {
        let mut key = key(id, state);
        (key.activation, key.was_active) = (activation, activation > 0);
        key.expires = at(expires);
        core.keys.insert(key).unwrap();
    };
    add(1, Pending, 0, 9000);
    add(2, Active, 9, 9000);
    add(3, Retiring, 1, 9000);
    add(4, Retiring, 8, 9000);
    add(5, Retiring, 0, 8000);
    add(6, Retiring, 0, 9000);
    add(7, Retiring, 3, 9000);
    // After the last one that was sent with come those that never were, which somebody may send with, then the older ones.
    assert_eq!(listed(&core, 0), [1, 2, 4, 6, 5, 7, 3]);
    let one = {
        let shape = core.shape();
        use crate::wire::size::StateShape;
        let more = StateShape {
            retiring: 1,
            ..StateShape::NEEDED
        };
        shape.update(more) - shape.update(StateShape::NEEDED)
    };
    assert_eq!(listed(&core, 1232), [1, 2]);
    assert_eq!(listed(&core, 1232 - one), [1, 2, 4]);
    assert_eq!(listed(&core, 1232 - 3 * one), [1, 2, 4, 6, 5]);
}

/// State received by unicast is applied only if its generation is not less (section 7).
#[test]
fn a_stale_state_is_refused() {
    for (applied, taken) in [(0, true), (1, true), (2, false)] {
        let (mut server, mut joiner) = pair();
        let mut request = pull(&mut joiner, 100);
        let mut core = server.at(100);
        let generation = core.node.office.as_ref().unwrap().generation();
        core.handle_sealed(address(2), &mut request).unwrap();
        let mut answer = server.one(100, MessageKind::Response).octets;
        let mut core = joiner.at(100);
        core.node.sas.current_mut().unwrap().applied = generation + applied - 1;
        let verdict = core.handle_sealed(address(1), &mut answer);
        assert_eq!(
            verdict,
            if taken {
                Ok(())
            } else {
                Err(DropReason::StaleState)
            },
            "{applied}"
        );
    }
}

/// An update that names a next Rekey SA brings its keys, unless the node has them.
#[test]
fn a_next_rekey_sa_comes_with_its_keys_or_is_known() {
    let (mut server, mut joiner) = pair();
    let mut core = server.at(100);
    core.make_next_sa();
    let next = core.node.sas.next().unwrap().spi;
    core.owe_update();
    let mut buffer = [0; 1232];
    let len = core.poll_update(&mut buffer).unwrap();
    assert_eq!(joiner.at(100).handle_update(&mut buffer[..len]), Ok(()));
    let core = joiner.at(100);
    assert_eq!(core.node.sas.current_spi(), Some(next));
    // Every key that the former one had listed is listed by this one now.
    assert!(core.keys.rows().all(|key| key.listed_by == Some(next)));
    let mut bench = Bench::new("a", 1);
    let core = bench.at(0);
    // The policy alone, without a bag.
    let mut octets = [0; 400];
    let header = Header::new([1; 8], [2; 8], ExchangeType::GSA_REKEY, Flags::INITIATOR, 0);
    let mut writer = Writer::message(&mut octets, &header);
    let gsa = writer.begin(PayloadType::GSA);
    let policy = crate::wire::gsa::RekeySaPolicy {
        spi: [7; 16],
        gcauth: None,
        lifetime_s: 9,
        initial_generation: 0,
    };
    crate::wire::gsa::write_rekey_sa(&mut writer, &policy, address(1), address(2));
    writer.end(gsa);
    writer.payload(PayloadType::KD, &[]);
    let (_, payloads) = Payloads::of_message(writer.finish().unwrap()).unwrap();
    let contents = Contents::collect(payloads).unwrap();
    let (gsa, kd) = (contents.gsa.unwrap(), contents.kd.unwrap());
    assert!(State::parse(gsa, kd, Carrier::Multicast).is_ok());
    let kwk = crate::crypto::Secret::from_bytes([1; 32]);
    let verdict = core.check_multicast_state(gsa, kd, &kwk).map(|_| ());
    assert_eq!(verdict, Err(DropReason::Malformed));
    core.node.sas.set_next(crate::testing::rekey_sa(7));
    assert!(core.check_multicast_state(gsa, kd, &kwk).is_ok());
}

/// A key that its former Rekey SA did not list stays its own.
#[test]
fn keys_that_were_not_listed_stay_so() {
    let (mut server, mut joiner) = pair();
    let mut core = joiner.at(100);
    let free = if core.keys.rows().any(|key| key.id == 7) {
        8
    } else {
        7
    };
    core.keys.insert(key(free, Retiring)).unwrap();
    let mut core = server.at(100);
    core.make_next_sa();
    core.owe_update();
    let mut buffer = [0; 1232];
    let len = core.poll_update(&mut buffer).unwrap();
    joiner.at(100).handle_update(&mut buffer[..len]).unwrap();
    let core = joiner.at(100);
    let own = core.keys.rows().find(|key| key.id == free).unwrap();
    assert_eq!(own.listed_by, None);
}

/// Who waits shows a Pending key only when its routing protocols hold it; a Member shows it in any case.
#[test]
fn who_waits_shows_what_is_installed() {
    let shows = |waits: bool, confirmed: bool| {
        let mut bench = Bench::joined("a", 1);
        let mut core = bench.at(0);
        core.keys.insert(key(7, Pending)).unwrap();
        let gcks = core.add_peer("gcks", 3, NodeState::Gcks, 0);
        if !waits {
            core.node.election = Election::Member(Member::Following(who(gcks)));
        }
        core.node.installs.revision = u32::from(!confirmed);
        core.node.installs.confirmed = 0;
        !core.keys_in_use().0.is_empty()
    };
    assert_eq!([shows(true, true), shows(true, false)], [true, false]);
    assert_eq!([shows(false, true), shows(false, false)], [true, true]);
}

#[test]
fn debug_of_a_key_shows_no_secret() {
    let text = format!("{:?}", key(7, Active));
    assert!(text.contains("7") && text.contains("Active") && !text.contains("5a") && !text.contains("90"));
}
