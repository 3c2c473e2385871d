//! A flood of IKE_SA_INIT requests from spoofed addresses: state stays bounded, cookies keep the honest in.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    net::SocketAddr,
    rc::Rc,
};

use karp_core::{error::DropReason, io::Recv};

use super::{
    attacker::{Stand, fresh, nowhere, template},
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

thread_local! {
    /// The time that an engine took.
    static SPENT: Cell<std::time::Duration> = const { Cell::new(std::time::Duration::ZERO) };
}

fn timed(call: &mut dyn FnMut()) {
    let clock = std::time::Instant::now();
    call();
    SPENT.set(SPENT.get() + clock.elapsed());
}

/// `burst` requests every `gap` ms for 12 s at the GCKS; a newcomer starts 5 s into it. How long the newcomer took, and
/// what the flood cost.
fn rate(seed: u64, sizes: Sizes, gap: u64, burst: u64, within: u64) {
    let template = template(seed);
    let mut dice = Dice::new(seed, 98);
    let mut lan = Lan::of(seed, 3);
    lan.nodes.iter_mut().for_each(|node| node.sizes = sizes);
    lan.start(1);
    lan.start(2);
    lan.settle(8_000);
    lan.run(3_000);
    let stand = Stand::of(&lan, &[1, 2]);
    let begun = lan.now;
    let target = lan.nodes[2].address;
    let mut datagrams = 0;
    let (mut started, mut joined) = (None, None);
    while lan.now < begun + 12_000 {
        let requests: Vec<_> = (0..burst)
            .map(|_| (nowhere(&mut dice), fresh(&template, &mut dice)))
            .collect();
        lan.around = timed;
        for (from, octets) in &requests {
            let recv = Recv {
                from: *from,
                to: target,
                hop_limit: Some(255),
            };
            lan.hand(2, recv, octets);
        }
        lan.around = |call| call();
        datagrams += u32::try_from(requests.len()).unwrap();
        lan.run(gap);
        if started.is_none() && lan.now >= begun + 5_000 {
            started = Some(lan.now);
            lan.start(0);
        }
        if joined.is_none() && lan.nodes[0].is_keyed() {
            joined = started.map(|at| lan.now - at);
        }
    }
    let joined = joined.unwrap_or_else(|| lan.fail("the newcomer is not in while the flood goes on"));
    assert!(joined <= within, "seed {seed}: the newcomer took {joined} ms");
    stand.holds(&lan);
    let counters = lan.nodes[2].engine().counters();
    // What was not answered by a cookie took one of the slots: as many as there are, every 3 s.
    assert!(
        counters.dropped(DropReason::RateLimited) >= datagrams * 3 / 4,
        "seed {seed}: {} of {} were answered without state",
        counters.dropped(DropReason::RateLimited),
        datagrams
    );
    println!(
        "seed {seed}: {} a second of virtual time, {:.1} us of the engine each; a newcomer joined in {joined} ms",
        1000 * burst / gap,
        SPENT.take().as_secs_f64() * 1e6 / f64::from(datagrams)
    );
    nothing_refused(&mut lan);
}

/// The rates that are survived: an honest router joins a server within 5 s at 5,000 requests a second, and a line card
/// with four slots at 1,000.
#[test]
fn the_rates_survived() {
    seeds(1, |seed| {
        rate(seed, Sizes::SERVER, 10, 50, 5_000);
        rate(seed, Sizes::LINE_CARD, 10, 10, 5_000);
    });
}

/// What is answered to a spoofed address is no larger than what was asked, and no more often: the flood is worth nothing
/// as a reflector.
#[test]
fn answers_are_no_larger_than_requests() {
    seeds(2, |seed| {
        let template = template(seed);
        let mut dice = Dice::new(seed, 98);
        let mut lan = Lan::of(seed, 3);
        lan.start_all();
        lan.settle(8_000);
        lan.record = Some(Vec::new());
        let mut asked = 0;
        for nth in 0..3_000 {
            // The GCKS, and two that are not.
            let target = lan.nodes[nth % 3].address;
            let request = fresh(&template, &mut dice);
            asked += request.len();
            lan.inject(Injection::new(nowhere(&mut dice), target, request));
            lan.run(2);
        }
        let record = lan.record.take().unwrap();
        let answers: Vec<_> = record
            .iter()
            .filter(|s| lan.nodes.iter().all(|node| node.address != s.to) && !s.to.ip().is_multicast())
            .collect();
        let told: usize = answers.iter().map(|s| s.octets.len()).sum();
        assert!(answers.len() > 2_000, "seed {seed}: {} answers", answers.len());
        assert!(
            answers.len() <= 3_000 && told <= asked,
            "seed {seed}: {told} octets for {asked}"
        );
    });
}

/// The same cookie, and the same request with it, over and over: one slot, one answer at a time, and none when the
/// secret has changed twice.
#[test]
fn cookies_replayed() {
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
        let busy = |lan: &mut Lan, dice: &mut Dice| {
            for _ in 0..6 {
                let request = fresh(&template, dice);
                lan.inject(Injection::new(nowhere(dice), target, request));
            }
            lan.run(20);
        };
        busy(&mut lan, &mut dice);
        // One address of the attacker's own, that can be answered.
        let home = nowhere(&mut dice);
        let request = fresh(&template, &mut dice);
        lan.record = Some(Vec::new());
        lan.inject(Injection::new(home, target, request.clone()));
        lan.run(20);
        let record = lan.record.as_ref().unwrap();
        let cookie = record
            .iter()
            .filter(|s| s.to == home)
            .find_map(|s| peek::notify(&s.octets, peek::COOKIE));
        let cookie = cookie.expect("the table is half full");
        let again = with_cookie(&request, &cookie);
        let bad = |lan: &Lan| lan.nodes[1].engine().counters().dropped(DropReason::BadCookie);
        // From other addresses it is worth nothing.
        let before = bad(&lan);
        for _ in 0..100 {
            lan.inject(Injection::new(nowhere(&mut dice), target, again.clone()));
            lan.run(2);
        }
        assert_eq!(bad(&lan) - before, 100, "seed {seed}");
        // From its own it makes one exchange, however often it comes.
        lan.record = Some(Vec::new());
        for _ in 0..100 {
            lan.inject(Injection::new(home, target, again.clone()));
            lan.run(2);
        }
        let record = lan.record.take().unwrap();
        let spis: std::collections::BTreeSet<[u8; 8]> = record
            .iter()
            .filter(|s| s.to == home && peek::notify(&s.octets, peek::COOKIE).is_none())
            .map(|s| s.header().spi_r)
            .collect();
        assert_eq!(spis.len(), 1, "seed {seed}: one half-open exchange");
        // Long after, it is no cookie any more.
        for _ in 0..60 {
            lan.run(5_000);
            busy(&mut lan, &mut dice);
        }
        let before = bad(&lan);
        lan.inject(Injection::new(home, target, again));
        lan.run(20);
        assert_eq!(
            bad(&lan) - before,
            1,
            "seed {seed}: five minutes later it has expired"
        );
    });
}

/// An attacker with addresses of its own answers every cookie, from 256 ports, and never finishes: the table of half-open
/// exchanges is full all the time. A newcomer starts 2 s into 10 s of it. How long it took, if it got in meanwhile.
fn exhaustion(seed: u64, sizes: Sizes, gap: u64) -> (Lan, Option<u64>) {
    let template = template(seed);
    let mut dice = Dice::new(seed, 98);
    let mut lan = Lan::of(seed, 3);
    lan.nodes.iter_mut().for_each(|node| node.sizes = sizes);
    lan.start(1);
    lan.start(2);
    lan.settle(8_000);
    let stand = Stand::of(&lan, &[1, 2]);
    let target = lan.nodes[2].address;
    let sent: Rc<RefCell<BTreeMap<SocketAddr, Vec<u8>>>> = Rc::default();
    let asked = Rc::clone(&sent);
    let count = Rc::new(Cell::new(0));
    let opened = Rc::clone(&count);
    lan.tap(move |message, hand| {
        let Some(request) = asked.borrow().get(&message.to).cloned() else {
            return;
        };
        match peek::notify(&message.octets, peek::COOKIE) {
            Some(cookie) => {
                let again = with_cookie(&request, &cookie);
                hand.inject.push(Injection::new(message.to, message.from, again));
            }
            None => opened.set(opened.get() + 1),
        }
    });
    let (begun, mut joined) = (lan.now, None);
    while lan.now < begun + 10_000 {
        let port = u16::try_from(dice.between(1, 256)).unwrap();
        let from = SocketAddr::new([10, 66, 0, 1].into(), port);
        let request = fresh(&template, &mut dice);
        sent.borrow_mut().insert(from, request.clone());
        lan.inject(Injection::new(from, target, request));
        lan.run(gap);
        if lan.now == begun + 2_000 {
            lan.start(0);
        }
        if joined.is_none() && lan.nodes[0].is_keyed() {
            joined = Some(lan.now - begun - 2_000);
        }
    }
    let least = 10_000 / gap * 9 / 10;
    assert!(
        count.get() >= least,
        "seed {seed}: {} exchanges were opened",
        count.get()
    );
    stand.holds(&lan);
    (lan, joined)
}

/// A newcomer's exchange takes a few milliseconds, and random replacement lets it live that long: a server lets it in
/// beside 1,000 opened exchanges a second, a line card with four slots beside 200. Against more a line card is shut for as
/// long as that lasts, and open within 5 s after.
#[test]
fn half_open_exhaustion() {
    seeds(1, |seed| {
        for (sizes, gap) in [(Sizes::SERVER, 1), (Sizes::LINE_CARD, 5)] {
            let (mut lan, joined) = exhaustion(seed, sizes, gap);
            let joined = joined.unwrap_or_else(|| lan.fail("the newcomer is not in"));
            println!("seed {seed}: in after {joined} ms beside {} a second", 1000 / gap);
            assert!(joined <= 5_000, "seed {seed}: {joined} ms");
            nothing_refused(&mut lan);
        }
        let (mut lan, joined) = exhaustion(seed, Sizes::LINE_CARD, 1);
        println!("seed {seed}: beside 1,000 a second a line card: {joined:?}");
        lan.settle(5_000);
        nothing_refused(&mut lan);
    });
}

/// Requests from the very address of the newcomer take its half-open exchange away, for there is one for each address:
/// it stays out while somebody on the link does that each time, and is in within 10 s after.
#[test]
fn requests_from_the_newcomers_address() {
    seeds(4, |seed| {
        let template = template(seed);
        let mut dice = Dice::new(seed, 98);
        let mut lan = Lan::of(seed, 3);
        lan.start(1);
        lan.start(2);
        lan.settle(8_000);
        let stand = Stand::of(&lan, &[1, 2]);
        let until = lan.now + 15_000;
        let target = lan.nodes[2].address;
        lan.tap(move |sent, hand| {
            if sent.at < until && sent.by == Some(0) && sent.is(peek::GSA_AUTH, false) {
                let request = fresh(&template, &mut dice);
                hand.inject
                    .push(Injection::new(sent.from, target, request).at_once());
            }
        });
        lan.start(0);
        lan.run(15_000);
        assert!(!lan.nodes[0].is_keyed(), "seed {seed}: it was kept out");
        let unknown = lan.nodes[2].engine().counters().dropped(DropReason::UnknownSpi);
        assert!(unknown >= 3, "seed {seed}: {unknown} of its proofs met nothing");
        let ended = lan.now;
        lan.settle(30_000);
        assert!(lan.now - ended <= 25_000, "seed {seed}: {} ms", lan.now - ended);
        assert!(lan.is_one_group(&[0, 1, 2]));
        stand.holds(&lan);
        nothing_refused(&mut lan);
    });
}
