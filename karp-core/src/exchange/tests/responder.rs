//! The responder: half-open exchanges, refusals, and who is judged how (PROTOCOL.md section 4).

use std::vec::Vec;

use super::{
    super::{Handshake, IkeSa, Purpose},
    ask, exchange,
};
use crate::{
    crypto::{DhSecret, IkeKeys},
    election::{Election, Member},
    error::DropReason,
    group::Membership,
    io::MessageKind,
    node::{Core, RefusalKind, digest},
    testing::{Bench, OUTSIDER, address, at, claim, id},
    wire::{
        ExchangeType, Flags, Header, KeyState, NodeState, NotifyType, PayloadType, Writer,
        numbers::KE_CURVE25519,
        payload::{KeyExchange, write_notify},
        sa::{Purpose as Suite, write_offer},
    },
};

/// An IKE_SA_INIT of the initiator with this number.
fn request(number: u8, redirects: bool) -> Vec<u8> {
    let mut bench = Bench::new("initiator", number);
    let core = bench.at(0);
    let public = DhSecret::generate(core.rng).public();
    let header = Header::new(
        [number; 8],
        [0; 8],
        ExchangeType::IKE_SA_INIT,
        Flags::INITIATOR,
        0,
    );
    let mut buffer = [0; 1232];
    let mut writer = Writer::message(&mut buffer, &header);
    write_offer(&mut writer, Suite::Group);
    KeyExchange {
        method: KE_CURVE25519,
        data: &public,
    }
    .write(&mut writer);
    writer.payload(PayloadType::NONCE, &[number; 32]);
    if redirects {
        write_notify(&mut writer, NotifyType::REDIRECT_SUPPORTED, &[]);
    }
    writer.finish().unwrap().to_vec()
}

fn half_open(core: &Core<'_>) -> usize {
    core.handshakes
        .rows()
        .filter(|row| row.half_open().is_some())
        .count()
}

/// A first request has an SPIi, no SPIr, and Message ID 0 (RFC 7296 section 3.1).
#[test]
fn a_first_request_has_one_spi_and_no_number() {
    let mut server = Bench::in_office("server", 1);
    let good = request(2, true);
    for (from, to) in [(0..8, [0; 8]), (8..16, [0, 0, 0, 0, 0, 0, 0, 1])] {
        let mut bent = good.clone();
        bent[from].copy_from_slice(&to);
        assert_eq!(
            server.at(0).handle_init_request(address(2), &bent),
            Err(DropReason::Malformed)
        );
    }
    let mut bent = good.clone();
    bent[23] = 1;
    assert_eq!(
        server.at(0).handle_init_request(address(2), &bent),
        Err(DropReason::Malformed)
    );
    assert_eq!(server.at(0).handle_init_request(address(2), &good), Ok(()));
}

/// The same octets are answered again; another message under the same nonce is not.
#[test]
fn a_repeat_is_the_same_octets() {
    let mut server = Bench::in_office("server", 1);
    let good = request(2, true);
    server.at(0).handle_init_request(address(2), &good).unwrap();
    let first = server.one(0, MessageKind::InitResponse).octets;
    assert_eq!(server.at(0).handle_init_request(address(2), &good), Ok(()));
    assert_eq!(server.one(0, MessageKind::InitResponse).octets, first);
    let mut bent = good.clone();
    bent[0] ^= 1;
    assert_eq!(
        server.at(0).handle_init_request(address(2), &bent),
        Err(DropReason::Replayed)
    );
    assert!(
        server
            .drain(0)
            .iter()
            .all(|sent| sent.kind != MessageKind::InitResponse)
    );
    assert_eq!(half_open(&server.at(0)), 1);
}

/// Section 4: a half-open exchange lives for 3 s.
#[test]
fn a_half_open_exchange_ends_at_its_time() {
    let mut server = Bench::in_office("server", 1);
    server
        .at(0)
        .handle_init_request(address(2), &request(2, true))
        .unwrap();
    let mut core = server.at(2999);
    core.run_half_open();
    assert_eq!(half_open(&core), 1);
    let mut core = server.at(3000);
    core.run_half_open();
    assert_eq!(half_open(&core), 0);
}

/// The response is kept until the IKE SA of these two SPIs is used further.
#[test]
fn only_the_exchange_whose_sa_is_used_is_released() {
    let mut server = Bench::in_office("server", 1);
    let mut core = server.at(0);
    for number in [2, 3] {
        core.handle_init_request(address(number), &request(number, true))
            .unwrap();
    }
    let rows = core.handshakes.rows().filter_map(Handshake::half_open);
    let spis: Vec<_> = rows.map(|row| (row.spi_i, row.spi_r)).collect();
    core.release_half_open(spis[0].0, spis[1].1);
    core.release_half_open([0; 8], spis[0].1);
    assert_eq!(half_open(&core), 2);
    core.release_half_open(spis[0].0, spis[0].1);
    let left: Vec<_> = core.handshakes.rows().filter_map(Handshake::half_open).collect();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].from, address(3));
}

/// Fills the table of handshakes with attempts of this node's own.
fn fill_with_attempts(core: &mut Core<'_>) {
    while !core.handshakes.is_full() {
        let attempt = core
            .handshakes
            .rows()
            .find_map(Handshake::attempt)
            .unwrap()
            .sibling(at(0));
        core.handshakes.insert(Handshake::Attempt(attempt)).unwrap();
    }
}

/// Section 4: a full table makes room by a half-open exchange; attempts of its own stay.
#[test]
fn a_full_table_makes_room_among_half_open_exchanges() {
    let mut server = Bench::in_office("server", 1);
    let mut core = server.at(0);
    for number in 2..5 {
        core.handle_init_request(address(number), &request(number, true))
            .unwrap();
    }
    assert!(core.start_attempt(Purpose::Rival, address(20), id("rival"), None));
    assert!(core.make_room_for_handshake());
    assert_eq!(half_open(&core), 3, "there was room");
    for left in [2, 1, 0] {
        fill_with_attempts(&mut core);
        assert!(core.make_room_for_handshake());
        assert_eq!((half_open(&core), core.attempts()), (left, 7 - left));
    }
    fill_with_attempts(&mut core);
    assert!(
        !core.make_room_for_handshake(),
        "nothing of others is left to give up"
    );
    assert_eq!(core.attempts(), 8);
}

/// A refusal without state is owed once to a sender for an SPI, and to two at a time.
#[test]
fn a_refusal_is_owed_once() {
    let mut bench = Bench::joined("bystander", 1);
    let mut core = bench.at(0);
    let ask =
        |core: &mut Core<'_>, from, number| core.handle_init_request(address(from), &request(number, true));
    assert_eq!(ask(&mut core, 2, 2), Err(DropReason::Unexpected));
    assert_eq!(
        ask(&mut core, 2, 2),
        Err(DropReason::RateLimited),
        "the same again"
    );
    assert_eq!(core.node.refusals.len(), 1);
    assert_eq!(
        ask(&mut core, 3, 2),
        Err(DropReason::Unexpected),
        "the SPI of another"
    );
    core.node.refusals.clear();
    assert_eq!(ask(&mut core, 2, 2), Err(DropReason::Unexpected));
    assert_eq!(
        ask(&mut core, 2, 4),
        Err(DropReason::Unexpected),
        "another exchange of the same"
    );
    assert_eq!(
        ask(&mut core, 5, 5),
        Err(DropReason::RateLimited),
        "two are owed already"
    );
}

/// Section 4: REDIRECT to the GCKS that is followed, if the initiator can and does not ask from there.
#[test]
fn a_member_redirects_who_can_be_redirected() {
    for (from, supported, redirected) in [
        (5, true, true),
        (5, false, false),
        (3, true, false),
        (3, false, false),
    ] {
        let mut bench = Bench::joined("bystander", 1);
        let mut core = bench.at(0);
        let gcks = core.add_peer("gcks", 3, NodeState::Gcks, 0);
        core.node.membership = Some(Membership::new(gcks, [3; 8], at(0)));
        core.node.election = Election::Member(Member::Following(crate::election::Who(gcks.number())));
        let verdict = core.handle_init_request(address(from), &request(from, supported));
        assert_eq!(verdict, Err(DropReason::Unexpected));
        let [refusal] = &core.node.refusals[..] else {
            panic!()
        };
        match &refusal.answer {
            RefusalKind::Redirect { to, nonce } => {
                assert!(redirected, "{from} {supported}");
                assert_eq!((*to, &nonce[..]), (address(3), &[from; 32][..]));
            }
            answer => assert!(
                !redirected && *answer == RefusalKind::TemporaryFailure,
                "{from} {supported}"
            ),
        }
    }
}

/// What an office answers to a registrant named `name` that says it is `state` after `prepare`.
fn judged(
    name: &str,
    state: NodeState,
    prepare: impl FnOnce(&mut Core<'_>),
) -> (Result<(), DropReason>, bool, bool) {
    let mut server = Bench::in_office("server", 1);
    let mut joiner = if state == NodeState::Gcks {
        Bench::in_office(name, 2)
    } else {
        Bench::joined(name, 2)
    };
    let mut request = ask(&mut joiner, &mut server, "server", Purpose::Rival, None);
    let mut core = server.at(0);
    prepare(&mut core);
    let judged = core.handle_auth_request(address(2), &mut request);
    let probes = core.is_attempting(address(2));
    let heard = core
        .node
        .office
        .as_ref()
        .is_some_and(|office| office.rival_heard.is_some());
    (judged, probes, heard)
}

/// Section 5.5: an office of higher rank is declined, and asked in turn; a lesser one is taken in. Any other refusal says
/// nothing about ranks.
#[test]
fn a_greater_office_is_declined_and_asked() {
    let member = |core: &mut Core<'_>| {
        core.add_member("m", 9, 0);
    };
    assert_eq!(
        judged("greater", NodeState::Gcks, |_| {}),
        (Err(DropReason::Unexpected), true, true)
    );
    assert_eq!(judged("lesser", NodeState::Gcks, member), (Ok(()), false, true));
    assert_eq!(
        judged("router", NodeState::Initial, |_| {}),
        (Ok(()), false, false)
    );
    let name = "outsider-in-office";
    assert!(name.starts_with(OUTSIDER));
    let evict = |core: &mut Core<'_>| {
        let entry = crate::node::EvictedUntil {
            digest: digest(&id("greater")),
            until: at(60_000),
        };
        core.node.evicted.push(entry).unwrap();
    };
    assert_eq!(
        judged("greater", NodeState::Gcks, evict),
        (Err(DropReason::Evicted), false, false)
    );
}

/// A node without office answers TEMPORARY_FAILURE, and so does one that merges to a router of another half.
#[test]
fn who_has_nothing_to_give_declines() {
    let resign = |core: &mut Core<'_>| {
        core.node.office = None;
        core.node.election = Election::Initial {
            stage: crate::election::Initial::Looking,
            waited: true,
            validated: true,
        };
    };
    assert_eq!(
        judged("router", NodeState::Initial, resign).0,
        Err(DropReason::Unexpected)
    );
    let mut server = Bench::in_office("server", 1);
    let mut joiner = Bench::joined("router", 2);
    let mut foreign = crate::testing::key(7, KeyState::Active);
    foreign.activation = 1;
    joiner.at(0).keys.insert(foreign).unwrap();
    let mut request = ask(&mut joiner, &mut server, "server", Purpose::Seek, None);
    let mut core = server.at(0);
    let greater = core.add_peer("greater", 9, NodeState::Gcks, 0);
    core.node.membership = Some(Membership::new(greater, [9; 8], at(0)));
    core.node.office.as_mut().unwrap().merging = Some(crate::group::MergeAsLesser { greater });
    let judged = core.handle_auth_request(address(2), &mut request);
    assert_eq!(judged, Err(DropReason::Unexpected));
}

/// Section 5.5: a W that registers with L has lost its office; anybody else changes nothing about the merge.
#[test]
fn a_greater_office_that_registers_has_lost_its_office() {
    for (name, lost) in [("greater", true), ("router", false)] {
        let mut server = Bench::in_office("server", 1);
        let mut joiner = Bench::joined(name, 2);
        let mut request = ask(&mut joiner, &mut server, "server", Purpose::Seek, None);
        let mut core = server.at(0);
        let greater = core.add_peer("greater", 2, NodeState::Gcks, 0);
        core.step(crate::election::Input::GreaterProved(crate::election::Who(
            greater.number(),
        )));
        core.node.membership = Some(Membership::new(greater, [9; 8], at(0)));
        core.node.office.as_mut().unwrap().merging = Some(crate::group::MergeAsLesser { greater });
        assert_eq!(core.handle_auth_request(address(2), &mut request), Ok(()));
        assert_eq!(core.node.membership.is_none(), lost, "{name}");
        assert_eq!(
            core.node.office.as_ref().unwrap().merging.is_none(),
            lost,
            "{name}"
        );
    }
}

/// A new registration replaces what there was with that peer, and nothing of others.
#[test]
fn a_registration_takes_the_place_of_what_was() {
    let (mut joiner, mut server) = (Bench::joined("joiner", 2), Bench::in_office("server", 1));
    let mut core = server.at(0);
    let row = core.add_member("joiner", 2, 0);
    let other = core.add_member("other", 7, 0);
    core.add_stranger("joiner", 2, claim(NodeState::Initial), 0);
    core.add_stranger("nine", 9, claim(NodeState::Initial), 0);
    for peer in [row, other] {
        core.sealed.insert(super::request_to(peer)).unwrap();
    }
    let mut request = ask(&mut joiner, &mut server, "server", Purpose::Seek, None);
    let mut core = server.at(0);
    assert_eq!(core.handle_auth_request(address(2), &mut request), Ok(()));
    assert!(core.sealed.rows().map(|sealed| sealed.peer).eq([other]));
    assert!(
        core.strangers
            .rows()
            .map(|stranger| stranger.address)
            .eq([address(9)])
    );
}

/// What an exchange cost is noted at the peer whose IKE SA it made, though another chose the same SPIi.
#[test]
fn the_cost_of_an_exchange_is_its_peers() {
    let (mut joiner, mut server) = (Bench::joined("joiner", 2), Bench::in_office("server", 1));
    let mut request = ask(&mut joiner, &mut server, "server", Purpose::Seek, None);
    let mut core = server.at(0);
    let other = core.add_member("other", 7, 0);
    let spi_i = core
        .handshakes
        .rows()
        .find_map(Handshake::half_open)
        .unwrap()
        .spi_i;
    let (own, theirs) = (DhSecret::generate(core.rng), DhSecret::generate(core.rng));
    let shared = own.agree(&theirs.public()).unwrap();
    let keys = IkeKeys::derive(&shared, &[1; 32], &[2; 32], &spi_i, &[5; 8]);
    core.peer_mut(other).sa = Some(IkeSa::new(&keys, spi_i, [5; 8], false, 0));
    core.handle_auth_request(address(2), &mut request).unwrap();
    server.drain(0);
    let core = server.at(0);
    let cost = |name| {
        core.peers
            .rows()
            .find(|peer| peer.identity == id(name))
            .unwrap()
            .exchange
            .0
    };
    assert_eq!(cost("other"), 0);
    assert!(cost("joiner") > 0);
}

#[test]
fn both_sides_of_an_exchange_agree() {
    let (mut joiner, mut server) = (Bench::joined("joiner", 2), Bench::in_office("server", 1));
    assert_eq!(
        exchange(&mut joiner, &mut server, "server", Purpose::Seek),
        (Ok(()), Ok(()))
    );
    assert!(joiner.at(0).node.membership.is_some());
    assert!(server.at(0).peers.rows().all(|peer| peer.registrant.is_some()));
}
