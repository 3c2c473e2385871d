//! Whoever is on the link can answer first (section 4, *racing replies*).

use std::{cell::Cell, rc::Rc};

use karp_core::{
    error::DropReason,
    io::{MessageKind, Role},
};

use super::{
    attacker::{Stand, dropped},
    common::{
        Lan, forge,
        history::{nothing_refused, roles},
        peek, seeds,
        wire::{Injection, Sent},
    },
    puppet::{Inner, Racer, nothing},
};

/// Whoever is on the link answers IKE_SA_INIT first; the one that authenticates wins.
fn racing(seed: u64, forge: impl Fn(&Sent) -> Vec<u8> + 'static) {
    let mut lan = Lan::of(seed, 3);
    lan.start(1);
    lan.start(2);
    lan.settle(8_000);
    let raced = Rc::new(Cell::new(0));
    let count = Rc::clone(&raced);
    lan.tap(move |sent, hand| {
        if sent.by == Some(0) && sent.is(peek::IKE_SA_INIT, false) {
            count.set(count.get() + 1);
            // Ahead of the answer of the one who was asked, from its address.
            hand.inject
                .push(Injection::new(sent.to, sent.from, forge(sent)).at_once());
        }
    });
    lan.start(0);
    lan.expect(10_000, "it is a member", |lan| lan.nodes[0].is_keyed());
    assert_eq!(roles(&lan.nodes[0]), [Role::Initial, Role::Member]);
    // Beside the genuine answer each forged one was read, and taken for one more reply or dropped.
    let counters = lan.nodes[0].engine().counters();
    let read = counters.received(MessageKind::InitResponse).messages + counters.dropped_total();
    assert!(
        raced.get() >= 1 && read > raced.get(),
        "seed {seed}: {read} of {}",
        raced.get()
    );
    lan.settle(5_000);
    nothing_refused(&mut lan);
}

/// An answer to this request with a key that nobody has.
fn false_answer(sent: &Sent) -> Vec<u8> {
    let header = sent.header();
    let request = peek::payloads(&sent.octets);
    let body = |kind| request.iter().find(|p| p.kind == kind).unwrap().body;
    let mut key = body(peek::KE).to_vec();
    let last = key.len() - 1;
    key[last - 8..last].fill(0x42);
    forge::Forge::new(header.spi_i, [0x66; 8], peek::IKE_SA_INIT, peek::RESPONSE, 0)
        .payload(peek::SA, body(peek::SA))
        .payload(peek::KE, &key)
        .payload(peek::NONCE, &[0x99; 32])
        .notify(16431, &[0, 5])
        .notify(16418, &[])
        .finish()
}

#[test]
fn racing_replies() {
    seeds(4, |seed| racing(seed, false_answer));
}

#[test]
fn racing_cookies() {
    seeds(4, |seed| {
        racing(seed, |sent| {
            forge::Forge::new(sent.header().spi_i, [0; 8], peek::IKE_SA_INIT, peek::RESPONSE, 0)
                .notify(peek::COOKIE, &[0x77; 32])
                .finish()
        });
    });
}

#[test]
fn racing_temporary_failures() {
    seeds(4, |seed| {
        racing(seed, |sent| {
            forge::Forge::new(sent.header().spi_i, [0; 8], peek::IKE_SA_INIT, peek::RESPONSE, 0)
                .notify(peek::TEMPORARY_FAILURE, &[])
                .finish()
        });
    });
}

#[test]
fn racing_error_notifies() {
    for error in [7, 14, 17, 24, 35, 38, 44, 45, 46, 49] {
        seeds(1, |seed| {
            racing(seed, move |sent| {
                forge::Forge::new(sent.header().spi_i, [0; 8], peek::IKE_SA_INIT, peek::RESPONSE, 0)
                    .notify(error, &[])
                    .finish()
            });
        });
    }
}

/// REDIRECT to an address where nobody is, with the right nonce.
#[test]
fn racing_redirects() {
    seeds(4, |seed| {
        racing(seed, |sent| {
            let nonce = peek::payloads(&sent.octets)
                .into_iter()
                .find(|p| p.kind == peek::NONCE)
                .unwrap()
                .body
                .to_vec();
            let mut data = vec![241, 6, 10, 66, 6, 6];
            data.extend(848_u16.to_be_bytes());
            data.extend(nonce);
            forge::Forge::new(sent.header().spi_i, [0; 8], peek::IKE_SA_INIT, peek::RESPONSE, 0)
                .notify(peek::REDIRECT, &data)
                .finish()
        });
    });
}

/// A public key of low order in the answer (RFC 7748 section 6.1).
#[test]
fn racing_low_order_points() {
    seeds(4, |seed| {
        racing(seed, |sent| {
            let answer = false_answer(sent);
            let mut zero = vec![0, 31, 0, 0];
            zero.extend([0; 32]);
            forge::with_body(&answer, peek::KE, 0, &zero)
        });
    });
}

/// Every genuine answer is raced by a copy under the same SPI with another key, made by `alter`.
fn racing_copies(seed: u64, spis_are_forged: bool, alter: impl Fn(&Sent) -> Vec<u8> + 'static) {
    let mut lan = Lan::of(seed, 3);
    lan.checks.spis_are_forged = spis_are_forged;
    lan.start(1);
    lan.start(2);
    lan.settle(8_000);
    lan.tap(move |sent, hand| {
        if sent.is(peek::IKE_SA_INIT, true) && !peek::payloads(&sent.octets).is_empty() {
            hand.inject
                .push(Injection::new(sent.from, sent.to, alter(sent)).at_once());
        }
    });
    lan.start(0);
    lan.expect(10_000, "it is a member", |lan| lan.nodes[0].is_keyed());
    let received = lan.nodes[0]
        .engine()
        .counters()
        .received(MessageKind::InitResponse);
    assert!(
        received.messages >= 2,
        "seed {seed}: the copy was taken for one more reply"
    );
    lan.settle(5_000);
    nothing_refused(&mut lan);
}

#[test]
fn racing_replies_with_the_same_spi() {
    seeds(4, |seed| {
        racing_copies(seed, true, |sent| {
            forge::with_body(&sent.octets, peek::KE, 8, &[0x42; 8])
        });
    });
}

/// The copy differs where no key depends on it: two attempts have one key, and still never one nonce (promise 4).
#[test]
fn racing_replies_with_the_same_keys() {
    seeds(4, |seed| {
        racing_copies(seed, false, |sent| {
            let header = sent.header();
            let mut copy = forge::Forge::new(
                header.spi_i,
                header.spi_r,
                header.exchange,
                header.flags,
                header.id,
            );
            for payload in peek::payloads(&sent.octets) {
                copy = copy.payload(payload.kind, payload.body);
            }
            copy.notify(40_000, b"nobody knows this").finish()
        });
    });
}

/// An unprotected error in the middle of GSA_AUTH ends nothing.
#[test]
fn an_unprotected_error_in_gsa_auth() {
    seeds(4, |seed| {
        let mut lan = Lan::of(seed, 3);
        lan.start(1);
        lan.start(2);
        lan.settle(8_000);
        lan.tap(|sent, hand| {
            if sent.by == Some(0) && sent.is(peek::GSA_AUTH, false) {
                let header = sent.header();
                let error = forge::Forge::new(header.spi_i, header.spi_r, peek::GSA_AUTH, peek::RESPONSE, 1);
                let error = error.notify(24, &[]).finish();
                hand.inject
                    .push(Injection::new(sent.to, sent.from, error).at_once());
                let sealed = forge::Forge::new(header.spi_i, header.spi_r, peek::GSA_AUTH, peek::RESPONSE, 1);
                let sealed = sealed.payload(peek::SK, &[0x5a; 120]).finish();
                hand.inject
                    .push(Injection::new(sent.to, sent.from, sealed).at_once());
            }
        });
        lan.start(0);
        lan.settle(3_000);
        let drops = lan.nodes[0].engine().counters().dropped_total();
        assert!(drops >= 2, "seed {seed}: both were read");
        nothing_refused(&mut lan);
    });
}

/// What the racer says under the keys that it made with the newcomer.
type Lie = fn() -> forge::Forge;

const LIES: [Lie; 5] = [
    // AUTHENTICATION_FAILED, AUTHORIZATION_FAILED, TEMPORARY_FAILURE: nobody is proved.
    || nothing().notify(24, &[]),
    || nothing().identity(36, 2, b"r3").notify(46, &[]),
    || nothing().notify(peek::TEMPORARY_FAILURE, &[]),
    // The right name, a wrong proof.
    || {
        let mut auth = vec![2, 0, 0, 0];
        auth.extend([0x33; 32]);
        nothing().identity(36, 2, b"r3").payload(peek::AUTH, &auth)
    },
    || nothing(),
];

/// A newcomer starts beside a racer that answers each IKE_SA_INIT first and lies under its keys for 20 s. `alone`: what
/// the newcomer sends reaches nobody else for that time. The count is of its lies.
fn lied_to(seed: u64, lie: Lie, alone: bool) -> (Lan, Rc<Cell<u32>>) {
    let mut lan = Lan::of(seed, 3);
    lan.start(1);
    lan.start(2);
    lan.settle(8_000);
    let mut racer = Racer::new(seed);
    let until = lan.now + 20_000;
    let lies = Rc::new(Cell::new(0));
    let told = Rc::clone(&lies);
    lan.tap(move |sent, hand| {
        if sent.at >= until || sent.by != Some(0) {
            return;
        }
        hand.drop = alone && !sent.to.ip().is_multicast();
        if sent.is(peek::IKE_SA_INIT, false) {
            let answer = racer.answer(sent);
            hand.inject
                .push(Injection::new(sent.to, sent.from, answer).at_once());
        } else if sent.is(peek::GSA_AUTH, false)
            && let Some((inner, answer)) = racer.meet(sent, lie())
        {
            let _: Inner = inner;
            told.set(told.get() + 1);
            hand.inject
                .push(Injection::new(sent.to, sent.from, answer).at_once());
        }
    });
    lan.start(0);
    (lan, lies)
}

/// Lies told under a fresh Diffie-Hellman, beside genuine answers: the first that authenticates wins, so the newcomer is
/// in at once, and the honest GCKS is not penalised.
#[test]
fn lies_beside_the_truth() {
    for lie in LIES {
        seeds(2, |seed| {
            let (mut lan, lies) = lied_to(seed, lie, false);
            lan.expect(3_000, "it is a member", |lan| lan.nodes[0].is_keyed());
            assert!(lies.get() >= 1, "seed {seed}");
            assert!(
                !lan.nodes[0].saw(|event| matches!(event, karp_core::io::Event::Alarm { raised: true, .. }))
            );
            nothing_refused(&mut lan);
        });
    }
}

/// The same while nothing else gets through: the penalty that this costs the honest GCKS is 16 s at most, so the newcomer
/// is in that long after the attack, and an attempt's life.
#[test]
fn lies_instead_of_the_truth() {
    for lie in LIES {
        seeds(2, |seed| {
            let (mut lan, lies) = lied_to(seed, lie, true);
            let stand = Stand::of(&lan, &[1, 2]);
            lan.run(20_000);
            assert!(lies.get() >= 2, "seed {seed}: {} lies", lies.get());
            assert!(!lan.nodes[0].is_keyed() || lan.nodes[0].role() == Role::Gcks);
            let ended = lan.now;
            lan.settle(40_000);
            assert!(
                lan.now - ended <= 16_000 + 4_000,
                "seed {seed}: {} ms after",
                lan.now - ended
            );
            if roles(&lan.nodes[0]).contains(&Role::Gcks) {
                // It took office after validate, and merged: the others may have followed it for a while.
                return;
            }
            stand.holds(&lan);
            nothing_refused(&mut lan);
        });
    }
}

/// Unsealed and sealed forgeries over the IKE SAs that there are: deletes, INITIAL_CONTACT, error notifies, empty
/// messages, under every exchange type and from the right address. Not one is taken, and no IKE SA ends.
#[test]
fn forged_deletes_and_initial_contacts() {
    seeds(3, |seed| {
        let mut lan = Lan::of(seed, 4);
        lan.record = Some(Vec::new());
        lan.start_all();
        lan.settle(20_000);
        lan.run(3_000);
        let record = lan.record.take().unwrap();
        let stand = Stand::of(&lan, &[0, 1, 2, 3]);
        let before: u32 = (0..4)
            .map(|at| lan.nodes[at].engine().counters().dropped_total())
            .sum();
        let joined: Vec<&Sent> = record.iter().filter(|s| s.is(peek::GSA_AUTH, true)).collect();
        assert!(joined.len() >= 3);
        let mut sent = 0;
        for answer in &joined {
            let header = answer.header();
            for exchange in [
                peek::INFORMATIONAL,
                peek::GSA_REGISTRATION,
                peek::GSA_INBAND_REKEY,
                peek::GSA_AUTH,
            ] {
                for flags in [
                    0,
                    peek::INITIATOR,
                    peek::RESPONSE,
                    peek::RESPONSE | peek::INITIATOR,
                ] {
                    for id in [0, 1, 2, 3, u32::MAX] {
                        let head = || forge::Forge::new(header.spi_i, header.spi_r, exchange, flags, id);
                        let forged = [
                            // D of the IKE SA, INITIAL_CONTACT, INVALID_SPI, and nothing.
                            head().payload(42, &[1, 0, 0, 0]).finish(),
                            head().notify(16384, &[]).finish(),
                            head().notify(11, &[]).finish(),
                            head().payload(peek::SK, &[0x5a; 48]).finish(),
                            head().finish(),
                        ];
                        for octets in forged {
                            // Either end may be the one who is told.
                            lan.inject(Injection::new(answer.from, answer.to, octets.clone()));
                            lan.inject(Injection::new(answer.to, answer.from, octets));
                            sent += 2;
                        }
                    }
                }
            }
            lan.run(5);
        }
        let after: u32 = (0..4)
            .map(|at| lan.nodes[at].engine().counters().dropped_total())
            .sum();
        assert!(
            after - before >= sent,
            "seed {seed}: {} of {sent} were dropped",
            after - before
        );
        // The IKE SAs are there: who lags is pushed the state over them.
        let exchanges = |lan: &Lan| {
            lan.nodes
                .iter()
                .map(|node| node.engine().counters().handshakes_initiated)
                .sum::<u32>()
        };
        let count = exchanges(&lan);
        lan.run(20_000);
        stand.holds_with_keys(&lan);
        assert_eq!(
            exchanges(&lan),
            count,
            "seed {seed}: nobody had to register again"
        );
        assert!(
            (0..4).all(|at| dropped(&lan, at, DropReason::BadSeal) > 0),
            "seed {seed}: seals were tried"
        );
        nothing_refused(&mut lan);
    });
}
