//! A flood of IKE_SA_INIT requests from spoofed addresses: state stays bounded, cookies keep the honest in.

use karp_core::error::DropReason;

use super::{
    attacker::{fresh, nowhere, template},
    common::{
        Lan,
        dice::Dice,
        forge,
        history::{nothing_refused, roles},
        peek,
        room::Sizes,
        seeds,
        wire::Injection,
    },
};

/// `rate` requests a second for 30 s; a member joins ten seconds into it.
fn flood(seed: u64, sizes: Sizes, gap: u64, burst: u64) {
    let template = template(seed);
    let mut dice = Dice::new(seed, 98);
    let mut lan = Lan::of(seed, 3);
    lan.nodes.iter_mut().for_each(|node| node.sizes = sizes);
    lan.start(1);
    lan.start(2);
    lan.settle(8_000);
    let (end, mut started) = (lan.now + 30_000, false);
    lan.record = Some(Vec::new());
    let target = lan.nodes[2].address;
    while lan.now < end {
        for _ in 0..burst {
            let request = fresh(&template, &mut dice);
            lan.inject(Injection::new(nowhere(&mut dice), target, request));
        }
        lan.run(gap);
        if !started && lan.now + 20_000 > end {
            started = true;
            lan.start(0);
        }
    }
    assert!(
        lan.nodes[0].is_keyed(),
        "seed {seed}: the honest one got in while the flood went on"
    );
    assert_eq!(lan.gcks(), 2);
    assert!(lan.nodes[1..].iter().all(|node| roles(node).len() == 2));
    let record = lan.record.as_ref().unwrap();
    let cookies = record
        .iter()
        .filter(|s| peek::notify(&s.octets, peek::COOKIE).is_some())
        .count();
    assert!(cookies > 100, "seed {seed}: {cookies} cookies");
    lan.settle(5_000);
    nothing_refused(&mut lan);
}

#[test]
fn a_server_under_500_a_second() {
    seeds(2, |seed| flood(seed, Sizes::SERVER, 10, 5));
}

#[test]
fn a_line_card_under_100_a_second() {
    seeds(3, |seed| flood(seed, Sizes::LINE_CARD, 10, 1));
}

/// A cookie is good for the nonce, the SPI and the address that it was made for, and for a while.
#[test]
fn a_cookie_serves_nobody_else() {
    seeds(3, |seed| {
        let template = template(seed);
        let mut dice = Dice::new(seed, 98);
        let mut lan = Lan::of(seed, 2);
        lan.nodes
            .iter_mut()
            .for_each(|node| node.sizes = Sizes::LINE_CARD);
        lan.start(1);
        lan.settle(8_000);
        let target = lan.nodes[1].address;
        lan.record = Some(Vec::new());
        for _ in 0..10 {
            let request = fresh(&template, &mut dice);
            lan.inject(Injection::new(nowhere(&mut dice), target, request));
        }
        lan.run(50);
        let cookie = lan
            .record
            .as_ref()
            .unwrap()
            .iter()
            .find_map(|s| peek::notify(&s.octets, peek::COOKIE));
        let cookie = cookie.expect("from half of the table on it asks for a cookie");
        for _ in 0..10 {
            let request = with_cookie(&fresh(&template, &mut dice), &cookie);
            lan.inject(Injection::new(nowhere(&mut dice), target, request));
        }
        lan.run(50);
        assert!(
            lan.nodes[1].engine().counters().dropped(DropReason::BadCookie) >= 10,
            "seed {seed}"
        );
    });
}

/// The request with N(COOKIE) in front, as RFC 7296 section 2.6 has it.
fn with_cookie(request: &[u8], cookie: &[u8]) -> Vec<u8> {
    let header = peek::Header::of(request).unwrap();
    let mut again = forge::Forge::new(
        header.spi_i,
        header.spi_r,
        header.exchange,
        header.flags,
        header.id,
    );
    again = again.notify(peek::COOKIE, cookie);
    for payload in peek::payloads(request) {
        again = again.payload(payload.kind, payload.body);
    }
    again.finish()
}

/// Half-open exchanges that are never finished: one for each source address, gone after 3 s.
#[test]
fn half_open_exchanges_end() {
    seeds(2, |seed| {
        let template = template(seed);
        let mut dice = Dice::new(seed, 98);
        let mut lan = Lan::of(seed, 2);
        lan.start(1);
        lan.settle(8_000);
        let target = lan.nodes[1].address;
        let one = nowhere(&mut dice);
        lan.record = Some(Vec::new());
        for _ in 0..100 {
            let request = fresh(&template, &mut dice);
            lan.inject(Injection::new(one, target, request));
        }
        lan.run(500);
        let asked = lan
            .record
            .as_ref()
            .unwrap()
            .iter()
            .any(|s| peek::notify(&s.octets, peek::COOKIE).is_some());
        assert!(!asked, "seed {seed}: one address cannot fill half of the table");
        lan.start(0);
        lan.settle(3_000);
    });
}
