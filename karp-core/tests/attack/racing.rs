//! Whoever is on the link can answer first (section 4, *racing replies*).

use karp_core::io::Role;

use super::common::{
    Lan, forge,
    history::{nothing_refused, roles},
    peek, seeds,
    wire::{Injection, Sent},
};

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
