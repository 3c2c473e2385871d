//! The initiator: which replies it takes, and what it makes of them (PROTOCOL.md sections 4 and 5.4).

use std::vec::Vec;

use super::{
    super::{Handshake, Purpose},
    ask, exchange, refused_with, request_to,
};
use crate::{
    election::{Election, Initial},
    error::DropReason,
    io::{Alarm, MessageKind},
    node::{Core, PenaltyKey, digest},
    storage::Handle,
    testing::{Bench, MEMBER_ONLY, Proof, address, at, claim, id},
    wire::{
        ExchangeType, Flags, Header, NodeState, NotifyType, Writer, payload::write_notify, redirect::Redirect,
    },
};

/// An answer to `request`'s IKE_SA_INIT made by `fill`.
fn init_answer(spi_i: [u8; 8], fill: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut buffer = [0; 1232];
    let header = Header::new(spi_i, [0; 8], ExchangeType::IKE_SA_INIT, Flags::RESPONSE, 0);
    let mut writer = Writer::message(&mut buffer, &header);
    fill(&mut writer);
    writer.finish().unwrap().to_vec()
}

fn cookie(spi_i: [u8; 8], value: &[u8]) -> Vec<u8> {
    init_answer(spi_i, |writer| write_notify(writer, NotifyType::COOKIE, value))
}

/// The attempts, in the order of their rows.
fn attempts(core: &Core<'_>) -> Vec<(Handle, [u8; 8], bool)> {
    let rows = core
        .handshakes
        .iter()
        .filter_map(|(row, handshake)| Some((row, handshake.attempt()?)));
    rows.map(|(row, attempt)| (row, attempt.spi_i, !attempt.cookie.is_empty()))
        .collect()
}

/// Section 4: a response has an SPIr, and answers with the group that was offered.
#[test]
fn a_response_needs_an_spi_and_the_group() {
    let (mut joiner, mut server) = (Bench::joined("joiner", 2), Bench::in_office("server", 1));
    assert!(
        joiner
            .at(0)
            .start_attempt(Purpose::Seek, address(1), id("server"), None)
    );
    let request = joiner.one(0, MessageKind::InitRequest).octets;
    server.at(0).handle_init_request(address(2), &request).unwrap();
    let response = server.one(0, MessageKind::InitResponse).octets;
    let ke = response
        .windows(4)
        .rposition(|octets| octets == [0, 31, 0, 0])
        .unwrap();
    for (from, to) in [(8..16, &[0; 8][..]), (ke..ke + 2, &[0, 19])] {
        let mut bent = response.clone();
        bent[from].copy_from_slice(to);
        let verdict = joiner.at(0).handle_init_response(address(1), &bent);
        assert_eq!(verdict, Err(DropReason::BadKeyMaterial));
    }
    assert_eq!(joiner.at(0).handle_init_response(address(1), &response), Ok(()));
    assert_eq!(
        joiner.at(0).handle_init_response(address(1), &response),
        Err(DropReason::Replayed)
    );
}

/// Section 4: a COOKIE is one more reply. The attempt without it goes on under another SPI, and takes no second cookie as
/// long as one with a cookie runs.
#[test]
fn one_cookie_is_tried_at_a_time() {
    let mut joiner = Bench::joined("joiner", 2);
    let mut core = joiner.at(0);
    assert!(core.start_attempt(Purpose::Seek, address(1), id("server"), None));
    let [(root, first, false)] = attempts(&core)[..] else {
        panic!()
    };
    assert_eq!(
        core.handle_init_response(address(1), &cookie(first, b"one")),
        Ok(())
    );
    let [(_, second, false), (sibling, kept, true)] = attempts(&core)[..] else {
        panic!()
    };
    assert_eq!(kept, first);
    assert_ne!(
        second, first,
        "an answer to one is not to be taken for an answer to the other"
    );
    // The one with the cookie goes first.
    let next = |core: &Core<'_>, row| {
        core.handshakes
            .get(row)
            .and_then(Handshake::attempt)
            .unwrap()
            .next
    };
    assert_eq!(
        (next(&core, sibling), next(&core, root)),
        (Some(at(0)), Some(at(250)))
    );
    assert_eq!(
        core.handle_init_response(address(1), &cookie(first, b"one")),
        Err(DropReason::Replayed)
    );
    assert_eq!(
        core.handle_init_response(address(1), &cookie(second, b"two")),
        Err(DropReason::RateLimited)
    );
    // Another attempt is not concerned.
    assert!(core.start_attempt(Purpose::Seek, address(3), id("other"), None));
    let other = attempts(&core)[2].1;
    assert_eq!(
        core.handle_init_response(address(3), &cookie(other, b"three")),
        Ok(())
    );
    // When the one with the cookie has come to nothing another is taken.
    core.handshakes.remove(sibling);
    assert_eq!(
        core.handle_init_response(address(1), &cookie(second, b"two")),
        Ok(())
    );
}

/// An attempt that has not been begun anew takes its own cookie, whatever another at the same address has.
#[test]
fn each_attempt_has_a_first_cookie() {
    let mut joiner = Bench::joined("joiner", 2);
    let mut core = joiner.at(0);
    assert!(core.start_attempt(Purpose::Seek, address(1), id("server"), None));
    assert!(core.start_attempt(Purpose::Seek, address(1), id("server"), None));
    let spis: Vec<_> = attempts(&core).iter().map(|(_, spi, _)| *spi).collect();
    assert_eq!(
        core.handle_init_response(address(1), &cookie(spis[0], b"one")),
        Ok(())
    );
    assert_eq!(
        core.handle_init_response(address(1), &cookie(spis[1], b"two")),
        Ok(())
    );
}

/// Whom the one attempt that was begun by a REDIRECT to `to` takes its target for.
fn redirected(to: u8, prepare: impl FnOnce(&mut Core<'_>)) -> Result<crate::identity::Identity, DropReason> {
    let mut joiner = Bench::joined("joiner", 2);
    let mut core = joiner.at(0);
    core.add_stranger("nine", 9, claim(NodeState::Gcks), 0);
    core.add_stranger("five", 5, claim(NodeState::Gcks), 0);
    core.add_peer("seven", 7, NodeState::Gcks, 0);
    assert!(core.start_attempt(Purpose::Seek, address(1), id("server"), None));
    prepare(&mut core);
    let root = core.handshakes.rows().find_map(Handshake::attempt).unwrap();
    let (spi, nonce) = (root.spi_i, root.nonce);
    let answer = init_answer(spi, |writer| {
        Redirect {
            to: address(to),
            nonce: &nonce,
        }
        .write(writer);
    });
    core.handle_init_response(address(1), &answer)?;
    let mut rows = core.handshakes.rows().filter_map(Handshake::attempt);
    let found = rows.find(|attempt| attempt.to == address(to)).unwrap();
    assert_eq!((found.redirected_from, found.redirects), (Some(address(1)), 1));
    Ok(found.expect.clone())
}

/// RFC 5685, section 4: a hint to another address, to somebody who is known there; three at most.
#[test]
fn a_redirect_leads_to_whom_is_known_there() {
    assert_eq!(redirected(5, |_| {}), Ok(id("five")));
    assert_eq!(redirected(9, |_| {}), Ok(id("nine")));
    assert_eq!(redirected(7, |_| {}), Ok(id("seven")));
    assert_eq!(redirected(8, |_| {}), Err(DropReason::Unexpected));
    assert_eq!(
        redirected(2, |_| {}),
        Err(DropReason::RateLimited),
        "to this node itself"
    );
    let busy = redirected(5, |core| {
        assert!(core.start_attempt(Purpose::Seek, address(5), id("five"), None));
    });
    assert_eq!(busy, Err(DropReason::RateLimited));
    let often = redirected(5, |core| {
        let mut rows = core.handshakes.rows_mut().filter_map(Handshake::attempt_mut);
        rows.next().unwrap().redirects = 3;
    });
    assert_eq!(often, Err(DropReason::RateLimited));
}

/// A response under another SPI, or to a request that was not sent yet, belongs to no attempt.
#[test]
fn a_response_belongs_to_an_attempt_that_asked() {
    let (mut joiner, mut server) = (Bench::joined("joiner", 2), Bench::in_office("server", 1));
    let mut request = ask(&mut joiner, &mut server, "server", Purpose::Seek, None);
    server
        .at(0)
        .handle_auth_request(address(2), &mut request)
        .unwrap();
    let response = server.one(0, MessageKind::AuthResponse).octets;
    let mut bent = response.clone();
    bent[15] ^= 1;
    assert_eq!(
        joiner.at(0).handle_auth_response(address(1), &bent),
        Err(DropReason::UnknownSpi)
    );
    let mut core = joiner.at(0);
    for attempt in core.handshakes.rows_mut().filter_map(Handshake::attempt_mut) {
        let response = attempt.messages.response().to_vec();
        attempt.messages.begin(&response);
    }
    assert_eq!(
        core.handle_auth_response(address(1), &response),
        Err(DropReason::UnknownSpi)
    );
}

/// Only whom this node asked can answer, and only by its own proof: anything else leaves the attempt waiting.
#[test]
fn another_name_or_a_wrong_proof_is_no_answer() {
    let wrong = Bench::with("server", 1, Proof::WrongKey, |_| {}).serving();
    for (mut server, expect) in [(Bench::in_office("server", 1), "another"), (wrong, "server")] {
        let mut joiner = Bench::joined("joiner", 2);
        let mut request = ask(&mut joiner, &mut server, expect, Purpose::Seek, None);
        let _ = server.at(0).handle_auth_request(address(2), &mut request);
        // A server that cannot prove the joiner answers AUTHENTICATION_FAILED; let it take the joiner for proved.
        let mut core = server.at(0);
        for half_open in core.handshakes.rows_mut().filter_map(Handshake::half_open_mut) {
            if let super::HalfOpenStage::Keyed {
                verdict: Some(verdict),
                ..
            } = &mut half_open.stage
            {
                verdict.answer = super::AuthAnswer::Registered;
            }
        }
        let response = server.one(0, MessageKind::AuthResponse).octets;
        let mut core = joiner.at(0);
        assert_eq!(
            core.handle_auth_response(address(1), &response),
            Err(DropReason::BadProof)
        );
        assert_eq!(core.attempts(), 1);
        assert!(core.node.membership.is_none());
    }
}

/// What a joiner makes of an error of a proved server: the alarm, how long the server is left alone, and whether it waits
/// for room.
fn after_refusal(error: NotifyType) -> (Vec<Alarm>, u64, bool) {
    let (mut joiner, mut server) = (Bench::joined("joiner", 2), Bench::in_office("server", 1));
    let key = PenaltyKey::new(address(1), &id("server"));
    let mut barred = 0;
    for times in 1..3 {
        assert_eq!(
            refused_with(&mut joiner, &mut server, "server", error),
            Ok(()),
            "{times}"
        );
        let core = joiner.at(0);
        assert_eq!(core.attempts(), 0);
        barred = core.node.penalties.next_end(at(0)).unwrap().as_millis();
        assert!(core.node.penalties.bars(&key, at(barred - 1)));
    }
    let core = joiner.at(0);
    let raised = Alarm::ALL
        .iter()
        .copied()
        .filter(|alarm| core.node.alarms.is_raised(*alarm));
    (raised.collect(), barred, core.node.full.is_some())
}

/// Section 5.4: only a failure in SK that AUTH proves doubles; TEMPORARY_FAILURE and REGISTRATION_FAILED do not.
#[test]
fn a_proved_refusal_says_what_it_is() {
    assert_eq!(
        after_refusal(NotifyType::TEMPORARY_FAILURE),
        ([].into(), 2000, false)
    );
    assert_eq!(
        after_refusal(NotifyType::REGISTRATION_FAILED),
        ([Alarm::GroupFull].into(), 2000, true)
    );
    assert_eq!(
        after_refusal(NotifyType::AUTHENTICATION_FAILED),
        ([Alarm::ProofRefused].into(), 4000, false)
    );
    assert_eq!(
        after_refusal(NotifyType::AUTHORIZATION_FAILED),
        ([Alarm::NotAuthorised].into(), 4000, false)
    );
}

/// Section 4: a peer that proves its identity but may not serve, or was evicted, is penalised and not followed.
#[test]
fn who_may_not_serve_is_not_followed() {
    let name = "member-in-office";
    assert!(name.starts_with(MEMBER_ONLY));
    for (name, evicted) in [(name, false), ("server", true)] {
        let (mut joiner, mut server) = (Bench::joined("joiner", 2), Bench::in_office(name, 1));
        if evicted {
            let entry = crate::node::EvictedUntil {
                digest: digest(&id(name)),
                until: at(60_000),
            };
            joiner.at(0).node.evicted.push(entry).unwrap();
        }
        let (judged, answered) = exchange(&mut joiner, &mut server, name, Purpose::Seek);
        assert_eq!((judged, answered), (Ok(()), Ok(())));
        let core = joiner.at(0);
        assert!(core.node.membership.is_none() && core.node.alarms.is_raised(Alarm::CandidateRefused));
        assert!(
            core.node
                .penalties
                .bars(&PenaltyKey::new(address(1), &id(name)), at(1999))
        );
    }
}

/// Section 5.5: GSA_AUTH has to show the instance that HANDOFF named, and an office.
#[test]
fn a_named_successor_shows_its_instance() {
    for right in [true, false] {
        let (mut joiner, mut server) = (Bench::joined("joiner", 2), Bench::in_office("server", 1));
        let named = if right { server.at(0).node.instance } else { [9; 8] };
        let mut request = ask(&mut joiner, &mut server, "server", Purpose::Seek, Some(named));
        server
            .at(0)
            .handle_auth_request(address(2), &mut request)
            .unwrap();
        let response = server.one(0, MessageKind::AuthResponse).octets;
        let mut core = joiner.at(0);
        assert_eq!(core.handle_auth_response(address(1), &response), Ok(()));
        assert_eq!(core.node.membership.is_some(), right);
    }
}

/// Section 5.5: another office that proved itself was heard authentically; a peer that is no office, or one that proved
/// nothing, was not.
#[test]
fn a_proved_rival_is_heard() {
    let heard = |name: &str, expect: &str, purpose| {
        let (mut office, mut server) = (Bench::in_office("office", 2), Bench::in_office(name, 1));
        let _ = exchange(&mut office, &mut server, expect, purpose);
        let core = office.at(0);
        let heard = core.node.office.as_ref().unwrap().rival_heard;
        heard.is_some()
    };
    assert!(heard("server", "server", Purpose::Rival));
    assert!(
        !heard("another", "server", Purpose::Rival),
        "who did not prove itself"
    );
    assert!(
        !heard("server", "server", Purpose::Seek),
        "who was not asked as a rival"
    );
}

#[test]
fn a_proved_member_is_no_rival() {
    let (mut office, mut server) = (Bench::in_office("office", 2), Bench::in_office("server", 1));
    let mut request = ask(&mut office, &mut server, "server", Purpose::Rival, None);
    let mut core = server.at(0);
    let _ = core.handle_auth_request(address(2), &mut request);
    // It lost its office meanwhile, and says so.
    core.node.election = Election::Initial {
        stage: Initial::Looking,
        waited: true,
        validated: true,
    };
    let response = server.one(0, MessageKind::AuthResponse).octets;
    let mut core = office.at(0);
    let _ = core.handle_auth_response(address(1), &response);
    assert_eq!(core.node.office.as_ref().unwrap().rival_heard, None);
}

/// A registration replaces what there was with that peer, and nothing of others: hints from its address, requests to it.
#[test]
fn a_registration_takes_the_place_of_what_was() {
    let (mut joiner, mut server) = (Bench::joined("joiner", 2), Bench::in_office("server", 1));
    let mut core = joiner.at(0);
    let row = core.add_peer("server", 1, NodeState::Gcks, 0);
    let other = core.add_peer("other", 7, NodeState::Member, 0);
    core.add_stranger("server", 1, claim(NodeState::Gcks), 0);
    core.add_stranger("nine", 9, claim(NodeState::Initial), 0);
    core.sealed.insert(request_to(row)).unwrap();
    core.sealed.insert(request_to(other)).unwrap();
    let (judged, answered) = exchange(&mut joiner, &mut server, "server", Purpose::Seek);
    assert_eq!((judged, answered), (Ok(()), Ok(())));
    let core = joiner.at(0);
    assert!(core.sealed.rows().map(|sealed| sealed.peer).eq([other]));
    assert!(
        core.strangers
            .rows()
            .map(|stranger| stranger.address)
            .eq([address(9)])
    );
    assert!(core.peers.get(row).unwrap().sa.is_some());
}
