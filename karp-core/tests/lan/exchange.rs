//! The initial exchange and the life of an IKE SA, seen from the link (section 4).

use karp_core::{
    io::{Event, Role},
    time::Duration,
};

use super::{
    common::{Lan, Link, forge, peek, room::Sizes, seeds, wire::Injection},
    nothing_refused, roles,
};

/// Four messages, in their order, none longer than every link carries; and both sides tell the same size.
#[test]
fn four_messages_make_a_member() {
    seeds(3, |seed| {
        let mut lan = Lan::of(seed, 2);
        lan.start(0);
        lan.settle(6_000);
        lan.record = Some(Vec::new());
        lan.start(1);
        lan.settle(2_000);
        let record = lan.record.as_ref().unwrap();
        let unicast: Vec<_> = record.iter().filter(|s| !s.to.ip().is_multicast()).collect();
        let seen: Vec<_> = unicast
            .iter()
            .map(|s| (s.by.unwrap(), s.header().exchange, s.header().is_response()))
            .collect();
        assert_eq!(
            seen,
            [
                (1, peek::IKE_SA_INIT, false),
                (0, peek::IKE_SA_INIT, true),
                (1, peek::GSA_AUTH, false),
                (0, peek::GSA_AUTH, true)
            ]
        );
        assert_eq!(unicast[0].header().spi_r, [0; 8]);
        assert_ne!(unicast[1].header().spi_r, [0; 8]);
        let octets: usize = unicast.iter().map(|s| s.octets.len()).sum();
        for at in [0, 1] {
            let told = lan.nodes[at].events.iter().find_map(|(_, event)| match event {
                Event::PeerJoined { octets, elapsed, .. } => Some((*octets as usize, elapsed.as_millis())),
                _ => None,
            });
            let (told, elapsed) = told.unwrap();
            assert_eq!(told, octets, "both directions");
            assert!(elapsed <= 20, "{elapsed} ms");
        }
        let init = peek::payloads(&unicast[0].octets);
        let kinds: Vec<u8> = init.iter().map(|p| p.kind).collect();
        assert_eq!(kinds[..3], [peek::SA, peek::KE, peek::NONCE], "SAi, KEi, Ni");
        let notifies: Vec<u16> = init.iter().filter_map(|p| p.notify()).map(|n| n.0).collect();
        assert!(
            notifies.contains(&16431) && notifies.contains(&16406),
            "SIG_HASH and REDIRECT_SUPPORTED"
        );
        let response = peek::payloads(&unicast[1].octets);
        assert!(
            response.iter().filter_map(|p| p.notify()).any(|n| n.0 == 16418),
            "CHILDLESS"
        );
    });
}

/// Requests are repeated octet for octet until they are answered, with back-off.
#[test]
fn requests_are_repeated_as_the_same_octets() {
    seeds(4, |seed| {
        let mut lan = Lan::of(seed, 2);
        lan.start(0);
        lan.settle(6_000);
        let mut lost = 0;
        lan.tap(move |sent, hand| {
            if sent.by == Some(1) && sent.is(peek::GSA_AUTH, false) && lost < 2 {
                lost += 1;
                hand.drop = true;
            }
        });
        lan.record = Some(Vec::new());
        lan.start(1);
        lan.settle(10_000);
        let record = lan.record.as_ref().unwrap();
        let asked: Vec<_> = record
            .iter()
            .filter(|s| s.by == Some(1) && s.is(peek::GSA_AUTH, false))
            .collect();
        assert_eq!(asked.len(), 3, "seed {seed}");
        assert!(asked.iter().all(|sent| sent.octets == asked[0].octets));
        let gaps = [asked[1].at - asked[0].at, asked[2].at - asked[1].at];
        assert_eq!(gaps, [500, 1000], "first 500 ms, factor 2");
    });
}

/// A response is kept as octets: a repeated request is answered with the same ones, and nothing is done twice.
#[test]
fn a_lost_response_is_sent_again_as_the_same_octets() {
    seeds(4, |seed| {
        let mut lan = Lan::of(seed, 2);
        lan.start(0);
        lan.settle(6_000);
        let mut lost = [0, 0];
        lan.tap(move |sent, hand| {
            let which = match sent.header().exchange {
                peek::IKE_SA_INIT => 0,
                peek::GSA_AUTH => 1,
                _ => return,
            };
            if sent.by == Some(0) && lost[which] < 1 {
                lost[which] += 1;
                hand.drop = true;
            }
        });
        lan.record = Some(Vec::new());
        lan.start(1);
        lan.settle(10_000);
        let record = lan.record.as_ref().unwrap();
        for exchange in [peek::IKE_SA_INIT, peek::GSA_AUTH] {
            let answers: Vec<_> = record
                .iter()
                .filter(|s| s.by == Some(0) && s.is(exchange, true))
                .collect();
            assert_eq!(answers.len(), 2, "seed {seed}, exchange {exchange}");
            assert_eq!(answers[0].octets, answers[1].octets);
        }
        assert_eq!(lan.nodes[0].engine().counters().handshakes_answered, 1);
    });
}

/// Every exchange completes however much is lost, as long as something comes through.
#[test]
fn joining_at_half_loss() {
    seeds(10, |seed| {
        let mut lan = Lan::of(seed, 3);
        lan.start(0);
        lan.start(2);
        lan.settle(6_000);
        lan.link = Link::lossy(50);
        lan.start(1);
        lan.expect(120_000, "it is a member", |lan| lan.nodes[1].is_keyed());
        lan.link = Link::CLEAN;
        lan.settle(60_000);
    });
}

/// A node that is not in office answers REDIRECT, and the newcomer finds the GCKS by it.
#[test]
fn a_member_redirects_to_the_gcks() {
    seeds(5, |seed| {
        let mut lan = Lan::of(seed, 3);
        for at in [0, 2] {
            lan.nodes[at].set(|s| s.priority = 0);
        }
        // r3 never hears that r2 serves; somebody says that r1 does.
        lan.tap(|sent, hand| {
            if peek::election(&sent.octets).is_some_and(|state| state.state == peek::ElectionState::GCKS) {
                hand.hide_from.push(2);
            }
        });
        lan.start_all();
        lan.expect(8_000, "r1 follows r2", |lan| lan.is_one_group(&[0, 1]));
        assert_eq!(lan.nodes[2].role(), Role::Initial);
        lan.record = Some(Vec::new());
        let claim = forge::hint("lan", "r1", [7; 8], 1, &forge::pretender());
        lan.inject(Injection::new(lan.nodes[0].address, lan.multicast(), claim));
        lan.expect(3_000, "it is a member", |lan| lan.nodes[2].is_keyed());
        assert_eq!(lan.nodes[2].engine().gcks(), Some(&lan.nodes[1].identity));
        let record = lan.record.as_ref().unwrap();
        let redirects = record
            .iter()
            .filter(|s| s.by == Some(0) && peek::notify(&s.octets, peek::REDIRECT).is_some());
        assert!(redirects.count() >= 1, "seed {seed}: r1 answered with REDIRECT");
        let from = record
            .iter()
            .any(|s| s.by == Some(2) && peek::notify(&s.octets, 16408).is_some());
        assert!(from, "the retry carries REDIRECTED_FROM");
        assert_eq!(lan.gcks(), 1);
    });
}

/// A node that follows nobody answers TEMPORARY_FAILURE, and that ends nothing.
#[test]
fn a_node_without_a_gcks_answers_temporary_failure() {
    seeds(5, |seed| {
        let mut lan = Lan::of(seed, 2);
        lan.nodes[0].set(|s| s.priority = 0);
        lan.start(0);
        lan.run(500);
        lan.record = Some(Vec::new());
        lan.nodes[1].set(|s| s.hello = Duration::from_secs(2));
        lan.start(1);
        lan.run(100);
        let claim = forge::hint("lan", "r1", [7; 8], 1, &forge::pretender());
        lan.inject(Injection::new(lan.nodes[0].address, lan.multicast(), claim));
        lan.run(2_000);
        let record = lan.record.as_ref().unwrap();
        let said = record.iter().any(|s| {
            s.by == Some(0)
                && s.is(peek::IKE_SA_INIT, true)
                && peek::notify(&s.octets, peek::TEMPORARY_FAILURE).is_some()
        });
        assert!(said, "seed {seed}");
        lan.settle(40_000);
        assert_eq!(lan.gcks(), 1);
        assert_eq!(roles(&lan.nodes[0]), [Role::Initial, Role::Member]);
    });
}

/// A half-open exchange is recognised by its nonce, not by its SPI, and an attacker's copy of a request costs nothing.
#[test]
fn a_copied_request_with_another_source_does_not_disturb() {
    seeds(4, |seed| {
        let mut lan = Lan::of(seed, 2);
        lan.start(0);
        lan.settle(6_000);
        let stranger = lan.address_of(200);
        lan.tap(move |sent, hand| {
            if sent.by == Some(1) && (sent.is(peek::IKE_SA_INIT, false) || sent.is(peek::GSA_AUTH, false)) {
                hand.inject
                    .push(Injection::new(stranger, sent.to, sent.octets.to_vec()).at_once());
            }
        });
        lan.start(1);
        lan.settle(5_000);
        nothing_refused(&mut lan);
    });
}

/// A line card's tables: four handshakes, eight peers. Seven routers start at once.
#[test]
fn small_tables_serve_a_small_group() {
    seeds(4, |seed| {
        let mut lan = Lan::of(seed, 7);
        lan.nodes
            .iter_mut()
            .for_each(|node| node.sizes = Sizes::LINE_CARD);
        lan.link = if seed % 2 == 0 { Link::BAD } else { Link::CLEAN };
        lan.start_all();
        lan.settle(60_000);
        let gcks = lan.gcks();
        lan.crash(gcks);
        lan.settle(60_000);
        nothing_refused(&mut lan);
    });
}

/// The GCKS is full: who is in stays in, who is not stays out with an alarm, and no candidate is penalised.
#[test]
fn a_full_group_stays_as_it_is() {
    use karp_core::io::Alarm;
    seeds(3, |seed| {
        let mut lan = Lan::of(seed, 4);
        lan.nodes[3].sizes = Sizes {
            peers: 2,
            ..Sizes::SERVER
        };
        lan.nodes[3].set(|s| s.priority = 200);
        for at in [0, 1, 3] {
            lan.start(at);
        }
        lan.settle(8_000);
        assert_eq!(lan.gcks(), 3);
        lan.nodes[2].set(|s| s.priority = 0);
        lan.start(2);
        lan.run(30_000);
        assert_eq!(lan.nodes[2].role(), Role::Initial);
        assert!(
            lan.nodes[2].told.alarms.contains(&Alarm::GroupFull),
            "seed {seed}"
        );
        assert!(lan.is_one_group(&[0, 1, 3]));
        // Somebody leaves, and there is room.
        lan.command(0, karp_core::command::Command::Leave).unwrap();
        lan.expect(90_000, "there is room now", |lan| lan.is_one_group(&[1, 2, 3]));
    });
}

/// A second registration of an identity replaces the first, and nothing of the first is used any more.
#[test]
fn a_new_registration_replaces_the_earlier_one() {
    seeds(4, |seed| {
        let mut lan = Lan::settled(seed, 3);
        lan.run(10_000);
        lan.reboot(0);
        lan.settle(30_000);
        let peers = lan.nodes[2].engine().peers().count();
        assert!(peers <= 2, "seed {seed}: {peers} peers, and there are two");
    });
}
