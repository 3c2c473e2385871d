//! What an exchange is proposed and made with: downgrades, points of small order, critical payloads (sections 3 and 4).

use karp_core::{
    crypto::DhSecret,
    error::DropReason,
    io::{Handled, Recv},
};

use super::{
    attacker::{Stand, dropped, fresh, nowhere, template},
    common::{
        Lan,
        dice::{Dice, generator},
        forge,
        history::nothing_refused,
        peek, seeds,
        wire::Injection,
    },
    puppet::{Puppet, SUITE, nothing, proposal},
};

/// The request with another payload of `kind`.
fn replaced(request: &[u8], kind: u8, body: &[u8]) -> Vec<u8> {
    let header = peek::Header::of(request).unwrap();
    let mut forged = forge::Forge::new(
        header.spi_i,
        header.spi_r,
        header.exchange,
        header.flags,
        header.id,
    );
    for payload in peek::payloads(request) {
        let body = if payload.kind == kind { body } else { payload.body };
        forged = forged.payload(payload.kind, body);
    }
    forged.finish()
}

/// Weaker proposals and strange ones: without the key wrap, with DES, with MD5, with a 768-bit group, with none.
fn weaker() -> Vec<Vec<u8>> {
    let with = |kind: u8, id: u16| {
        let mut transforms = SUITE;
        transforms
            .iter_mut()
            .filter(|t| t.0 == kind)
            .for_each(|t| t.1 = id);
        proposal(&transforms)
    };
    let mut extra = SUITE.to_vec();
    extra.push((200, 1));
    vec![
        proposal(&SUITE[..3]),
        proposal(&SUITE[1..]),
        with(1, 2),
        with(1, 11),
        with(2, 1),
        with(4, 1),
        with(4, 0),
        with(13, 1),
        proposal(&extra),
        proposal(&[]),
    ]
}

/// Each of them is refused by NO_PROPOSAL_CHOSEN or as malformed, without state; beside a good proposal the good one is
/// chosen.
#[test]
fn weaker_proposals() {
    seeds(2, |seed| {
        let template = template(seed);
        let mut dice = Dice::new(seed, 95);
        let mut lan = Lan::settled(seed, 2);
        let target = lan.nodes[1].address;
        for sa in weaker() {
            let octets = replaced(&fresh(&template, &mut dice), peek::SA, &sa);
            let recv = Recv {
                from: nowhere(&mut dice),
                to: target,
                hop_limit: Some(255),
            };
            let handled = lan.hand(1, recv, &octets);
            assert!(
                matches!(
                    handled,
                    Handled::Dropped(DropReason::NoProposal | DropReason::Malformed)
                ),
                "seed {seed}: {handled:?} to {sa:02x?}"
            );
        }
        let refused = dropped(&lan, 1, DropReason::NoProposal);
        assert!(refused >= 8, "seed {seed}: {refused}");
        nothing_refused(&mut lan);
    });
}

/// An attacker on the way changes the proposal of a newcomer's requests, or the answer to it, to a weaker one: the
/// exchange does not come about, by NO_PROPOSAL_CHOSEN or by AUTH, which covers both messages. While it lasts the newcomer
/// stays out; then it is in.
#[test]
fn a_downgrade_on_the_way() {
    seeds(2, |seed| {
        for response in [false, true] {
            let mut lan = Lan::of(seed, 3);
            lan.start(1);
            lan.start(2);
            lan.settle(8_000);
            let until = lan.now + 10_000;
            let mut weaker = weaker().into_iter().cycle();
            lan.tap(move |sent, hand| {
                let joins = sent.is(peek::IKE_SA_INIT, response) && !peek::payloads(&sent.octets).is_empty();
                if sent.at < until && joins {
                    hand.alter = Some(replaced(&sent.octets, peek::SA, &weaker.next().unwrap()));
                }
            });
            let stand = Stand::of(&lan, &[1, 2]);
            lan.start(0);
            lan.run(10_000);
            assert!(!lan.nodes[0].is_keyed(), "seed {seed}");
            let at = if response { 0 } else { 2 };
            let seen = dropped(&lan, at, DropReason::NoProposal) + dropped(&lan, at, DropReason::Malformed);
            assert!(seen >= 3, "seed {seed}: {seen} were seen");
            lan.settle(20_000);
            stand.holds(&lan);
            nothing_refused(&mut lan);
        }
    });
}

/// The proposal of another suite beside the good one, put there on the way: the good one is chosen, the request is another
/// one than the newcomer sent, and its proof does not hold. Nothing that an attacker adds is agreed on.
#[test]
fn an_addition_on_the_way_breaks_the_proof() {
    seeds(2, |seed| {
        let mut lan = Lan::of(seed, 3);
        lan.start(1);
        lan.start(2);
        lan.settle(8_000);
        let until = lan.now + 10_000;
        lan.tap(move |sent, hand| {
            if sent.at < until && sent.is(peek::IKE_SA_INIT, false) {
                let header = sent.header();
                let mut octets = forge::Forge::new(
                    header.spi_i,
                    header.spi_r,
                    header.exchange,
                    header.flags,
                    header.id,
                );
                for payload in peek::payloads(&sent.octets) {
                    octets = octets.payload(payload.kind, payload.body);
                }
                hand.alter = Some(octets.notify(40_001, b"put there").finish());
            }
        });
        lan.start(0);
        lan.run(10_000);
        assert!(!lan.nodes[0].is_keyed(), "seed {seed}");
        assert!(dropped(&lan, 2, DropReason::BadProof) >= 1, "seed {seed}");
        lan.settle(40_000);
        nothing_refused(&mut lan);
    });
}

/// The encodings of the points of small order of Curve25519: order 1, 2, 4 and 8, and those not reduced; each with the
/// bit that X25519 ignores clear and set.
fn small_order() -> Vec<[u8; 32]> {
    let from_hex = |text: &str| -> [u8; 32] {
        let digits: Vec<u8> = text
            .chars()
            .map(|digit| digit.to_digit(16).unwrap() as u8)
            .collect();
        let octets: Vec<u8> = digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect();
        octets.try_into().unwrap()
    };
    let points = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];
    let mut all: Vec<[u8; 32]> = points.iter().map(|point| from_hex(point)).collect();
    for mut point in all.clone() {
        point[31] |= 0x80;
        all.push(point);
    }
    all
}

/// Each of them, in a request to the GCKS with a GSA_AUTH behind it, and in the answer to a newcomer: no key comes of any,
/// and the newcomer gets in by the genuine answer.
#[test]
fn public_keys_of_small_order() {
    for point in small_order() {
        let secret = DhSecret::generate(&mut generator(1, 1));
        assert!(secret.agree(&point).is_err(), "{point:02x?} is of small order");
    }
    seeds(2, |seed| {
        let template = template(seed);
        let mut dice = Dice::new(seed, 95);
        let mut lan = Lan::of(seed, 3);
        lan.start(1);
        lan.start(2);
        lan.settle(8_000);
        let target = lan.nodes[2].address;
        for point in small_order() {
            let from = nowhere(&mut dice);
            let octets = forge::with_body(&fresh(&template, &mut dice), peek::KE, 4, &point);
            lan.record = Some(Vec::new());
            lan.inject(Injection::new(from, target, octets));
            lan.run(5);
            let record = lan.record.take().unwrap();
            let answer = record
                .iter()
                .find(|s| s.to == from)
                .expect("the key is looked at when it is needed");
            let header = answer.header();
            let before = dropped(&lan, 2, DropReason::BadKeyMaterial);
            let auth = forge::Forge::new(header.spi_i, header.spi_r, peek::GSA_AUTH, peek::INITIATOR, 1);
            lan.inject(Injection::new(
                from,
                target,
                auth.payload(peek::SK, &[0; 200]).finish(),
            ));
            lan.run(5);
            assert_eq!(
                dropped(&lan, 2, DropReason::BadKeyMaterial),
                before + 1,
                "seed {seed}: {point:02x?}"
            );
            // The next one takes its place in the table.
            lan.run(3_000);
        }
        let mut points = small_order().into_iter().cycle();
        lan.tap(move |sent, hand| {
            if sent.by == Some(2)
                && sent.is(peek::IKE_SA_INIT, true)
                && !peek::payloads(&sent.octets).is_empty()
            {
                for point in points.by_ref().take(14) {
                    let octets = forge::with_body(&sent.octets, peek::KE, 4, &point);
                    hand.inject
                        .push(Injection::new(sent.from, sent.to, octets).at_once());
                }
            }
        });
        lan.start(0);
        lan.expect(5_000, "it is a member", |lan| lan.nodes[0].is_keyed());
        assert_eq!(dropped(&lan, 0, DropReason::BadKeyMaterial), 14, "seed {seed}");
        nothing_refused(&mut lan);
    });
}

/// Unknown payloads that say they are critical, where only a member can put them: the request is refused whole and counted.
/// One that is not critical is skipped (RFC 7296 section 2.5).
#[test]
fn unknown_critical_payloads_under_seal() {
    seeds(2, |seed| {
        let mut lan = Lan::of(seed, 4);
        for at in 0..3 {
            lan.start(at);
        }
        lan.settle(20_000);
        lan.run(3_000);
        let gcks = lan.gcks();
        let mut insider = Puppet::new(&mut lan, 3);
        insider.join(&mut lan, gcks);
        let stand = Stand::of(&lan, &[0, 1, 2]);
        for kind in [1, 32, 47, 54, 127, 200, 255] {
            assert!(
                insider
                    .request(&mut lan, peek::INFORMATIONAL, nothing().payload(kind, &[7; 9]))
                    .is_some()
            );
            lan.run(110);
            let before = dropped(&lan, gcks, DropReason::UnknownCritical);
            let critical = nothing().payload(kind, &[7; 9]).critical();
            assert!(
                insider.request(&mut lan, peek::INFORMATIONAL, critical).is_none(),
                "seed {seed}: {kind}"
            );
            assert_eq!(
                dropped(&lan, gcks, DropReason::UnknownCritical),
                before + 1,
                "seed {seed}: {kind}"
            );
            lan.run(110);
        }
        stand.holds_with_keys(&lan);
    });
}
