//! An outsider on the link who sees and sends anything (promise 5, section 5.4).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use karp_core::io::Role;

use super::{
    common::{
        Lan,
        dice::Dice,
        forge, peek, seeds,
        wire::{Injection, Sent},
    },
    nothing_refused, roles,
};

/// Addresses that no router has.
fn nowhere(dice: &mut Dice) -> SocketAddr {
    let [a, b] = dice.octets();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 66, a, b)), 848)
}

/// One forged claim to the office, from a fresh name, instance and address.
fn claim(lan: &mut Lan, dice: &mut Dice) {
    let name = format!("x{}", dice.below(1_000_000));
    let hint = forge::hint("lan", &name, dice.octets(), 1, &forge::pretender());
    let injection = Injection::new(nowhere(dice), lan.multicast(), hint);
    lan.inject(injection);
}

/// Routers start among thousands of forged claims: they find each other and take office all the same.
#[test]
fn start_among_thousands_of_forged_claims() {
    seeds(3, |seed| {
        let mut lan = Lan::of(seed, 3);
        let mut dice = Dice::new(seed, 99);
        lan.start_all();
        let mut settled = None;
        // 100 claims a second for two minutes.
        for _ in 0..12_000 {
            claim(&mut lan, &mut dice);
            lan.run(10);
            if settled.is_none() && lan.is_settled() {
                settled = Some(lan.now);
            }
        }
        // wait 4 s, validate up to 20 s, and the merges of those who took office apart.
        let settled = settled.unwrap_or_else(|| lan.fail("no group while the attack lasts"));
        assert!(
            settled <= 90_000,
            "seed {seed}: one group after {settled} ms under attack"
        );
        lan.settle(60_000);
        nothing_refused(&mut lan);
    });
}

/// A group in office is not moved by any number of claims, and does not spend itself on them.
#[test]
fn a_group_in_office_among_forged_claims() {
    seeds(3, |seed| {
        let mut lan = Lan::settled(seed, 3);
        let mut dice = Dice::new(seed, 99);
        let before: u32 = (0..3).map(|at| sent(&lan, at)).sum();
        for _ in 0..6_000 {
            claim(&mut lan, &mut dice);
            lan.run(10);
        }
        assert_eq!(lan.gcks(), 2);
        assert!(
            lan.nodes.iter().all(|node| roles(node).len() == 2),
            "nobody changed its part"
        );
        // Three hellos a second in 60 s, and the GCKS's probes: a limited rate.
        let sent: u32 = (0..3).map(|at| sent(&lan, at)).sum::<u32>() - before;
        assert!(
            sent <= 1_800,
            "seed {seed}: {sent} messages sent in 60 s of attack"
        );
        nothing_refused(&mut lan);
    });
}

fn sent(lan: &Lan, at: usize) -> u32 {
    use karp_core::io::MessageKind;
    MessageKind::ALL
        .iter()
        .map(|kind| lan.nodes[at].engine().counters().sent(*kind).messages)
        .sum()
}

/// A newcomer joins a group in office while claims rain.
#[test]
fn joining_among_forged_claims() {
    seeds(4, |seed| {
        let mut lan = Lan::of(seed, 3);
        let mut dice = Dice::new(seed, 99);
        lan.start(1);
        lan.start(2);
        lan.settle(8_000);
        lan.start(0);
        for _ in 0..3_000 {
            claim(&mut lan, &mut dice);
            lan.run(10);
        }
        assert!(lan.nodes[0].is_keyed(), "seed {seed}: 30 s are enough");
        lan.settle(60_000);
        nothing_refused(&mut lan);
    });
}

/// Whoever is on the link answers IKE_SA_INIT first; the one that authenticates wins.
fn racing(seed: u64, forge: impl Fn(&Sent) -> Vec<u8> + 'static) {
    let mut lan = Lan::of(seed, 3);
    lan.start(1);
    lan.start(2);
    lan.settle(8_000);
    lan.tap(move |sent, hand| {
        if sent.by == Some(0) && sent.is(peek::IKE_SA_INIT, false) {
            // Ahead of the answer of the one who was asked, from its address.
            hand.inject
                .push(Injection::new(sent.to, sent.from, forge(sent)).at_once());
        }
    });
    lan.start(0);
    lan.expect(10_000, "it is a member", |lan| lan.nodes[0].is_keyed());
    assert_eq!(roles(&lan.nodes[0]), [Role::Initial, Role::Member]);
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
        nothing_refused(&mut lan);
    });
}

/// Penalties are keyed by address, port and identity: an attacker with an honest router's name harms only itself.
#[test]
fn an_honest_name_at_another_address() {
    seeds(4, |seed| {
        let mut lan = Lan::of(seed, 3);
        lan.start(1);
        lan.start(2);
        lan.settle(8_000);
        let mut dice = Dice::new(seed, 99);
        let multicast = lan.multicast();
        for sequence in 1..200 {
            let hint = forge::hint("lan", "r3", [9; 8], sequence, &forge::pretender());
            let from = nowhere(&mut dice);
            lan.inject(Injection::new(from, multicast, hint));
            lan.run(20);
        }
        lan.start(0);
        for sequence in 200..400 {
            let hint = forge::hint("lan", "r3", [9; 8], sequence, &forge::pretender());
            let from = nowhere(&mut dice);
            lan.inject(Injection::new(from, multicast, hint));
            lan.run(20);
        }
        lan.expect(10_000, "it is a member", |lan| lan.nodes[0].is_keyed());
        assert_eq!(lan.gcks(), 2);
        nothing_refused(&mut lan);
    });
}

/// Announcements sent again from another address: the MAC covers the sender's address.
#[test]
fn announcements_sent_from_another_address() {
    seeds(3, |seed| {
        let mut lan = Lan::settled(seed, 4);
        let thief = lan.address_of(99);
        lan.tap(move |sent, hand| {
            if sent.header().exchange == peek::GCKS_ELECTION {
                hand.inject
                    .push(Injection::new(thief, sent.to, sent.octets.to_vec()).at_once());
            }
        });
        lan.run(20_000);
        let gcks = lan.gcks();
        lan.crash(gcks);
        lan.settle(15_000);
        nothing_refused(&mut lan);
    });
}

/// Everything is sent back to its sender.
#[test]
fn reflected_messages() {
    seeds(3, |seed| {
        let mut lan = Lan::of(seed, 4);
        lan.tap(|sent, hand| {
            hand.inject
                .push(Injection::new(sent.to, sent.from, sent.octets.to_vec()));
            if !sent.to.ip().is_multicast() {
                hand.inject
                    .push(Injection::new(sent.from, sent.from, sent.octets.to_vec()));
            }
        });
        lan.start_all();
        lan.settle(20_000);
        lan.run(20_000);
        let gcks = lan.gcks();
        lan.crash(gcks);
        lan.settle(20_000);
        nothing_refused(&mut lan);
    });
}

/// Two key servers are each told that somebody of higher rank serves: they probe, and stay.
#[test]
fn two_offices_are_told_of_a_third() {
    seeds(3, |seed| {
        let mut lan = Lan::of(seed, 4);
        let mut dice = Dice::new(seed, 99);
        lan.partition(&[&[0, 1], &[2, 3]]);
        lan.start_all();
        lan.settle(8_000);
        for _ in 0..500 {
            claim(&mut lan, &mut dice);
            lan.run(20);
        }
        assert_eq!(
            (lan.nodes[1].role(), lan.nodes[3].role()),
            (Role::Gcks, Role::Gcks)
        );
        lan.heal();
        for _ in 0..3_000 {
            claim(&mut lan, &mut dice);
            lan.run(20);
        }
        assert!(
            lan.is_settled(),
            "seed {seed}: the halves merge while the attack goes on"
        );
        nothing_refused(&mut lan);
    });
}
