//! Octets of any kind, at any node, in any state: never a panic, never a change (section "bad input" of the brief).

use std::net::SocketAddr;

use karp_core::{
    command::{Command, RekeyReason},
    identity::Identity,
    io::{Handled, Recv, Role},
};

use super::common::{
    Lan,
    dice::Dice,
    forge,
    history::nothing_refused,
    keys::Held,
    peek, seeds,
    wire::{Injection, Sent},
};

/// What must not change by a message that is bad.
#[derive(PartialEq, Eq, Debug)]
struct Snapshot {
    role: Role,
    gcks: Option<Identity>,
    generation: u32,
    spi: Option<[u8; 16]>,
    rows: Vec<Held>,
}

fn snapshot(lan: &Lan, at: usize) -> Snapshot {
    let engine = lan.nodes[at].engine();
    Snapshot {
        role: engine.role(),
        gcks: engine.gcks().cloned(),
        generation: engine.generation(),
        spi: engine.rekey_sa_spi(),
        rows: lan.nodes[at].rows(lan.now),
    }
}

/// Hands a datagram to a router. It must change nothing that counts; returns whether it was taken.
fn offer(lan: &mut Lan, at: usize, from: SocketAddr, to: SocketAddr, octets: &[u8]) -> bool {
    let before = snapshot(lan, at);
    let handled = lan.hand(
        at,
        Recv {
            from,
            to,
            hop_limit: Some(255),
        },
        octets,
    );
    let after = snapshot(lan, at);
    if before != after {
        lan.fail(&format!(
            "{} was changed by {}: {before:?} {after:?}",
            lan.nodes[at].name,
            peek::describe(octets)
        ));
    }
    handled == Handled::Accepted
}

/// Every kind of message that a group sends in its life: start, join, rollover, push, handoff, leave.
fn corpus(seed: u64) -> Vec<Sent> {
    let mut lan = Lan::of(seed, 4);
    lan.record = Some(Vec::new());
    lan.start_all();
    lan.settle(8_000);
    lan.run(6_000);
    lan.command(
        0,
        Command::Rekey {
            protocol: karp_core::algorithm::RoutingProtocol::Ospfv2,
            reason: RekeyReason::Operator,
        },
    )
    .unwrap();
    lan.run(6_000);
    lan.hand_off(3);
    lan.run(12_000);
    lan.reboot(0);
    lan.run(12_000);
    let gone = lan.nodes[1].identity.clone();
    let gcks = lan.gcks();
    lan.command(gcks, Command::Evict(&gone)).unwrap();
    lan.run(10_000);
    lan.command(0, Command::Leave).unwrap();
    lan.run(2_000);
    let record = lan.record.take().unwrap();
    // The first two of each exchange, direction and length.
    let mut chosen: Vec<Sent> = Vec::new();
    for sent in record {
        let header = sent.header();
        let like = |other: &&Sent| {
            let theirs = other.header();
            (theirs.exchange, theirs.is_response(), other.octets.len())
                == (header.exchange, header.is_response(), sent.octets.len())
        };
        if chosen.iter().filter(like).count() < 2 {
            chosen.push(sent);
        }
    }
    let kinds: std::collections::BTreeSet<u8> = chosen.iter().map(|s| s.header().exchange).collect();
    for exchange in [
        peek::IKE_SA_INIT,
        peek::GSA_AUTH,
        peek::GSA_REGISTRATION,
        peek::GSA_REKEY,
        peek::GSA_INBAND_REKEY,
        peek::INFORMATIONAL,
        peek::GCKS_ELECTION,
    ] {
        assert!(kinds.contains(&exchange), "the corpus lacks exchange {exchange}");
    }
    chosen
}

/// The same routers in each state: waiting to start, joining, member, key server, rolling over.
fn states(seed: u64) -> Vec<Lan> {
    let initial = {
        let mut lan = Lan::of(seed, 4);
        lan.start_all();
        lan.run(500);
        lan
    };
    let joining = {
        let mut lan = Lan::of(seed, 4);
        lan.tap(|sent, hand| hand.drop = sent.is(peek::GSA_AUTH, true));
        lan.start_all();
        lan.run(5_000);
        lan
    };
    let settled = Lan::settled(seed, 4);
    let rolling = {
        let mut lan = Lan::settled(seed, 4);
        lan.tap(|sent, hand| hand.drop = sent.header().exchange == peek::GSA_REKEY);
        let gcks = lan.gcks();
        lan.command(
            gcks,
            Command::Rekey {
                protocol: karp_core::algorithm::RoutingProtocol::Ospfv2,
                reason: RekeyReason::Operator,
            },
        )
        .unwrap();
        lan.run(100);
        lan
    };
    vec![initial, joining, settled, rolling]
}

/// Messages of another run: valid in form, foreign in every key.
#[test]
fn valid_messages_of_another_life() {
    let corpus = corpus(1);
    for mut lan in states(2) {
        for sent in &corpus {
            for at in 0..4 {
                offer(&mut lan, at, sent.from, sent.to, &sent.octets);
                let own = lan.nodes[at].address;
                offer(&mut lan, at, sent.from, own, &sent.octets);
            }
        }
        lan.untap();
        lan.settle(60_000);
    }
}

/// Messages of the very same run, cut off at every length.
#[test]
fn truncated_messages() {
    let corpus = corpus(3);
    for mut lan in states(3) {
        for sent in &corpus {
            for length in 0..sent.octets.len() {
                let at = length % 4;
                let to = if sent.to.ip().is_multicast() {
                    sent.to
                } else {
                    lan.nodes[at].address
                };
                // A truncated message may still be a shorter one only if its header's length says so: it does not.
                let taken = offer(&mut lan, at, sent.from, to, &sent.octets[..length]);
                assert!(!taken, "{} octets of {}", length, peek::describe(&sent.octets));
            }
        }
        lan.untap();
        lan.settle(60_000);
    }
}

/// Cut off at every length, with a header that agrees.
#[test]
fn shortened_messages() {
    let corpus = corpus(4);
    for mut lan in states(4) {
        for sent in &corpus {
            for length in (28..sent.octets.len()).step_by(3) {
                let mut octets = sent.octets[..length].to_vec();
                octets[24..28].copy_from_slice(&(length as u32).to_be_bytes());
                let at = length % 4;
                let to = if sent.to.ip().is_multicast() {
                    sent.to
                } else {
                    lan.nodes[at].address
                };
                offer(&mut lan, at, sent.from, to, &octets);
            }
        }
        lan.untap();
        lan.settle(60_000);
    }
}

/// Messages on their way in a live group, each octet of each changed in turn and offered just before the true one.
#[test]
fn flipped_bits_on_the_way() {
    seeds(2, |seed| {
        let mut lan = Lan::of(seed, 3);
        let mut dice = Dice::new(seed, 97);
        lan.checks.spis_are_forged = true;
        let multicast = lan.multicast();
        let addresses: Vec<SocketAddr> = lan.nodes.iter().map(|node| node.address).collect();
        lan.tap(move |sent, hand| {
            // Each distinct answer takes one of four attempts: an attacker who makes more of them delays joins.
            let copies = if sent.header().exchange == peek::IKE_SA_INIT {
                1
            } else {
                24
            };
            for _ in 0..copies {
                let at = dice.index(sent.octets.len());
                let mask = 1 << dice.below(8);
                // An Initial node's hint is protected by nothing: it stays what it says.
                let header = sent.header();
                let hint = header.exchange == peek::GCKS_ELECTION
                    && peek::notify(&sent.octets, peek::GROUP_MAC).is_none();
                if hint || (header.exchange == peek::IKE_SA_INIT && at < 16) {
                    continue;
                }
                let octets = forge::flipped(&sent.octets, at, mask);
                let to = if sent.to == multicast { multicast } else { sent.to };
                assert!(to == multicast || addresses.contains(&to));
                hand.inject.push(Injection::new(sent.from, to, octets).at_once());
            }
        });
        lan.start_all();
        lan.settle(30_000);
        lan.run(10_000);
        let rekey = Command::Rekey {
            protocol: karp_core::algorithm::RoutingProtocol::Ospfv2,
            reason: RekeyReason::Operator,
        };
        let key = lan.key_of(0);
        lan.command(0, rekey).unwrap();
        lan.expect(20_000, "a new key", |lan| {
            lan.is_settled() && lan.key_of(0) != key
        });
        let gcks = lan.gcks();
        lan.crash(gcks);
        lan.settle(20_000);
        nothing_refused(&mut lan);
    });
}

/// Sealed messages of the same run with one bit changed, at every octet: dropped, and the true one is taken after.
#[test]
fn flipped_bits_in_every_octet_of_what_is_sealed() {
    let mut lan = Lan::settled(5, 2);
    lan.record = Some(Vec::new());
    lan.run(3_000);
    let rekey = Command::Rekey {
        protocol: karp_core::algorithm::RoutingProtocol::Ospfv2,
        reason: RekeyReason::Operator,
    };
    lan.tap(|sent, hand| hand.drop = sent.header().exchange == peek::GSA_REKEY);
    lan.command(1, rekey).unwrap();
    lan.run(20);
    let record = lan.record.take().unwrap();
    let update = record
        .iter()
        .find(|s| s.header().exchange == peek::GSA_REKEY)
        .expect("an update was sent")
        .clone();
    let hello = record
        .iter()
        .rev()
        .find(|s| s.by == Some(1) && s.header().exchange == peek::GCKS_ELECTION)
        .unwrap();
    for message in [&update, hello] {
        for at in 0..message.octets.len() {
            // A MAC under a Rekey SA that nobody here has is no evidence: that makes a hint of the announcement.
            let is_mac_spi = (message.octets.len() - 32..message.octets.len() - 16).contains(&at);
            if message.header().exchange == peek::GCKS_ELECTION && is_mac_spi {
                continue;
            }
            for mask in [0x01, 0x80] {
                let bad = forge::flipped(&message.octets, at, mask);
                assert!(
                    !offer(&mut lan, 0, message.from, message.to, &bad),
                    "octet {at} ^ {mask:02x}"
                );
            }
        }
    }
    let generation = lan.nodes[0].engine().generation();
    let recv = Recv {
        from: update.from,
        to: update.to,
        hop_limit: Some(255),
    };
    assert_eq!(lan.hand(0, recv, &update.octets), Handled::Accepted);
    assert!(lan.nodes[0].engine().generation() > generation);
    // From another address or to another destination it would not have been.
    assert_ne!(
        lan.hand(0, recv, &update.octets),
        Handled::Accepted,
        "and not twice"
    );
}

/// Any octets: every exchange type, every length up to what a link carries.
#[test]
fn random_octets() {
    let mut dice = Dice::new(6, 96);
    for mut lan in states(6) {
        let (multicast, from) = (lan.multicast(), lan.address_of(90));
        for length in 0..1500 {
            let mut octets: Vec<u8> = (0..length).map(|_| dice.octets::<1>()[0]).collect();
            let at = length % 4;
            let to = if length % 3 == 0 {
                multicast
            } else {
                lan.nodes[at].address
            };
            offer(&mut lan, at, from, to, &octets);
            if length >= 28 {
                // The same with a header that passes.
                let exchange = *dice.pick(&[34, 35, 36, 37, 39, 40, 41, 42, 43, 249, 250]);
                let first = *dice.pick(&[0, 33, 34, 35, 40, 41, 46, 50, 51, 52, 53, 200]);
                let flags = *dice.pick(&[0x08, 0x20, 0x28, 0]);
                octets[16..20].copy_from_slice(&[first, 0x20, exchange, flags]);
                octets[24..28].copy_from_slice(&(length as u32).to_be_bytes());
                let from = lan.nodes[(at + 1) % 4].address;
                offer(&mut lan, at, from, to, &octets);
            }
        }
        for exchange in 0..=255 {
            let header = forge::Forge::new(dice.octets(), dice.octets(), exchange, 0x08, 0).finish();
            for at in 0..4 {
                let to = lan.nodes[at].address;
                offer(&mut lan, at, from, to, &header);
                offer(&mut lan, at, from, multicast, &header);
            }
        }
        lan.untap();
        lan.settle(60_000);
    }
}

/// Unknown payloads: skipped if they are not critical, refused if they are (RFC 7296 section 2.5).
#[test]
fn unknown_payloads() {
    use karp_core::error::DropReason;
    let corpus = corpus(7);
    let request = corpus.iter().find(|s| s.is(peek::IKE_SA_INIT, false)).unwrap();
    let mut lan = Lan::of(8, 1);
    lan.start(0);
    lan.settle(6_000);
    let (to, from) = (lan.nodes[0].address, lan.address_of(50));
    let header = request.header();
    let with_unknown = |critical: bool| {
        let mut forged = forge::Forge::new(
            header.spi_i,
            header.spi_r,
            header.exchange,
            header.flags,
            header.id,
        );
        for payload in peek::payloads(&request.octets) {
            forged = forged.payload(payload.kind, payload.body);
        }
        let mut octets = forged.payload(200, &[1, 2, 3, 4]).finish();
        let at = octets.len() - 7;
        octets[at] = if critical { 0x80 } else { 0 };
        octets
    };
    let recv = Recv {
        from,
        to,
        hop_limit: Some(255),
    };
    assert_eq!(
        lan.hand(0, recv, &with_unknown(true)),
        Handled::Dropped(DropReason::UnknownCritical)
    );
    assert_eq!(lan.hand(0, recv, &with_unknown(false)), Handled::Accepted);
}

/// A message of every length from 0 to 1500 under every exchange type from 0 to 255, to a member and to a GCKS, unicast
/// and multicast by turns: none is taken, none changes anything, and the group goes on.
#[test]
fn every_length_and_exchange_type() {
    let mut dice = Dice::new(9, 94);
    let mut lan = Lan::settled(9, 2);
    lan.trace.keep = Some(10);
    let noise: Vec<u8> = (0..1500).map(|_| dice.octets::<1>()[0]).collect();
    let before: Vec<Snapshot> = (0..2).map(|at| snapshot(&lan, at)).collect();
    let (from, multicast) = (lan.nodes[0].address, lan.multicast());
    let counted = |lan: &Lan| -> u32 {
        (0..2)
            .map(|at| lan.nodes[at].engine().counters().dropped_total())
            .sum()
    };
    let dropped_before = counted(&lan);
    let mut sent = 0_u32;
    for exchange in 0..=255_u8 {
        for length in 0..=1500_usize {
            let at = (length + usize::from(exchange)) % 2;
            let mut octets = noise[..length].to_vec();
            if length >= 28 {
                let first = noise[(length * 7 + usize::from(exchange)) % 1500] % 60;
                let flags = [0x08, 0x20, 0x28, 0][length / 2 % 4];
                octets[16..20].copy_from_slice(&[first, 0x20, exchange, flags]);
                octets[24..28].copy_from_slice(&u32::try_from(length).unwrap().to_be_bytes());
            }
            let to = if length % 4 < 2 {
                lan.nodes[at].address
            } else {
                multicast
            };
            let node = &mut lan.nodes[at];
            let local = node.clock.local(lan.now);
            let recv = Recv {
                from,
                to,
                hop_limit: Some(255),
            };
            let handled = node
                .engine
                .as_mut()
                .unwrap()
                .handle_datagram(local, recv, &mut octets);
            assert_ne!(handled, Handled::Accepted, "exchange {exchange}, {length} octets");
            sent += 1;
        }
    }
    assert_eq!(counted(&lan) - dropped_before, sent);
    for (at, before) in before.iter().enumerate() {
        assert_eq!(*before, snapshot(&lan, at));
    }
    lan.run(5_000);
    nothing_refused(&mut lan);
}
