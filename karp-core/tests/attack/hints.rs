//! Forged announcements: hints, in any number, of any rank, from anywhere (promise 5, section 5.4).

use karp_core::{
    error::DropReason,
    io::{MessageKind, Recv, Role},
};

use super::{
    attacker::{REKEY, Stand, claim, dropped, messages_sent, nowhere},
    common::{
        Lan,
        dice::Dice,
        forge,
        history::{nothing_refused, roles},
        peek, seeds,
        wire::Injection,
    },
};

/// Routers start among thousands of forged claims: they find each other and take office all the same.
#[test]
fn start_among_thousands_of_forged_claims() {
    seeds(2, |seed| {
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
        let before: u32 = (0..3).map(|at| messages_sent(&lan, at)).sum();
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
        let sent: u32 = (0..3).map(|at| messages_sent(&lan, at)).sum::<u32>() - before;
        assert!(
            sent <= 1_800,
            "seed {seed}: {sent} messages sent in 60 s of attack"
        );
        nothing_refused(&mut lan);
    });
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
        assert!(
            (0..4).all(|at| dropped(&lan, at, DropReason::BadSeal) >= 50),
            "seed {seed}: they were tried"
        );
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
        let back = |at| dropped(&lan, at, DropReason::Own) + dropped(&lan, at, DropReason::WrongDestination);
        assert!((0..4).all(|at| back(at) >= 40), "seed {seed}: they came back");
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

/// One claim of the highest rank there is, said once. It costs the GCKS two exchanges of three tries while it is
/// remembered, which is for hold, and members nothing.
#[test]
fn one_forged_claim() {
    seeds(4, |seed| {
        let mut lan = Lan::settled(seed, 4);
        lan.record = Some(Vec::new());
        let stand = Stand::of(&lan, &[0, 1, 2, 3]);
        // A name that may serve here; of others nobody takes note.
        let hint = forge::hint("lan", "r1", [9; 8], 1, &forge::pretender());
        let from = nowhere(&mut Dice::new(seed, 99));
        lan.inject(Injection::new(from, lan.multicast(), hint));
        lan.run(10_000);
        let record = lan.record.take().unwrap();
        let asked = record.iter().filter(|s| s.to == from);
        assert_eq!(
            asked.clone().count(),
            6,
            "seed {seed}: at 0, 250 and 750 ms, and once again"
        );
        assert!(
            asked.into_iter().all(|s| s.by == Some(3)),
            "the GCKS alone looks into it"
        );
        stand.holds_with_keys(&lan);
        nothing_refused(&mut lan);
    });
}

/// Ten thousand different senders with names that may serve, in ten seconds. Each router remembers as many as its table
/// has rows; the GCKS tries four at once; no part and no key changes; and a rollover goes through, held up by 2 x hold.
#[test]
fn ten_thousand_senders() {
    seeds(1, |seed| {
        let mut lan = Lan::settled(seed, 4);
        lan.run(9_000);
        let mut dice = Dice::new(seed, 99);
        let stand = Stand::of(&lan, &[0, 1, 2, 3]);
        let before: Vec<(u32, u32)> = (0..4)
            .map(|at| (heard(&lan, at), messages_sent(&lan, at)))
            .collect();
        for nth in 0..10_000_u32 {
            let name = format!("r{}", dice.between(1, 4));
            let instance = (u64::from(nth) + 1).to_be_bytes();
            let hint = forge::hint("lan", &name, instance, 1, &forge::pretender());
            let from = std::net::SocketAddr::new([10, 66, (nth >> 8) as u8, nth as u8].into(), 848);
            lan.inject(Injection::new(from, lan.multicast(), hint));
            if nth % 10 == 9 {
                lan.run(10);
            }
        }
        for (at, (before_heard, before_sent)) in before.into_iter().enumerate() {
            // Those in a router's own name it drops.
            assert!(
                heard(&lan, at) - before_heard >= 7_000,
                "seed {seed}: they were taken in"
            );
            let sent = messages_sent(&lan, at) - before_sent;
            // 10 s of hellos; at the GCKS four attempts of 300 ms at a time.
            let most = if at == 3 { 400 } else { 20 };
            assert!(sent <= most, "seed {seed}: r{} sent {sent}", at + 1);
        }
        stand.holds_with_keys(&lan);
        nothing_refused(&mut lan);
    });
}

fn heard(lan: &Lan, at: usize) -> u32 {
    let counters = lan.nodes[at].engine().counters();
    counters.received(MessageKind::Announcement).messages
}

/// Hints from the very address of the GCKS, in other names, ten times as many as its own words: they take its row among
/// a newcomer's strangers. Whenever the GCKS speaks, the newcomer asks it at once, so it gets in.
#[test]
fn hints_from_the_address_of_the_gcks() {
    seeds(4, |seed| {
        let mut lan = Lan::of(seed, 3);
        lan.start(1);
        lan.start(2);
        lan.settle(8_000);
        lan.start(0);
        let from = lan.nodes[2].address;
        for sequence in 0..200 {
            let mut state = forge::pretender();
            state.state = peek::ElectionState::INITIAL;
            let hint = forge::hint("lan", "nobody", [9; 8], sequence, &state);
            lan.inject(Injection::new(from, lan.multicast(), hint));
            lan.run(20);
        }
        assert!(lan.nodes[0].is_keyed(), "seed {seed}: 4 s are enough");
        nothing_refused(&mut lan);
    });
}

/// A hint of somebody that may join and has not registered may be a router that restarted, so a rollover waits for it:
/// for 2 x hold, however long the knocking lasts, and the next one as long again.
#[test]
fn knocking_without_end() {
    seeds(3, |seed| {
        let mut lan = Lan::of(seed, 4);
        for at in [0, 1, 2] {
            lan.start(at);
        }
        lan.settle(20_000);
        lan.run(20_000);
        let gcks = lan.gcks();
        // r4 may join, and is down.
        let knock = |lan: &mut Lan, nth: u32| {
            let mut state = forge::pretender();
            state.state = peek::ElectionState::INITIAL;
            let hint = forge::hint("lan", "r4", [9; 8], nth, &state);
            let from = lan.nodes[3].address;
            lan.inject(Injection::new(from, lan.multicast(), hint));
            lan.run(250);
        };
        let mut nth = 0;
        for _ in 0..3 {
            let key = lan.key_of(gcks);
            lan.command(gcks, REKEY).unwrap();
            let asked = lan.now;
            while lan.key_of(gcks) == key {
                knock(&mut lan, nth);
                nth += 1;
                assert!(lan.now - asked < 60_000);
            }
            let took = lan.now - asked;
            // 5 s of minimum rekey interval may come first.
            assert!(
                (8_000..=8_000 + 6_000).contains(&took),
                "seed {seed}: it took {took} ms"
            );
            for _ in 0..80 {
                knock(&mut lan, nth);
                nth += 1;
            }
        }
        nothing_refused(&mut lan);
    });
}

/// An outsider gives the GCKS work in the names of honest routers, from their own addresses: their announcements and
/// registrations are what they were.
#[test]
fn honest_names_at_honest_addresses() {
    seeds(3, |seed| {
        let mut lan = Lan::settled(seed, 4);
        let stand = Stand::of(&lan, &[0, 1, 2, 3]);
        let mut dice = Dice::new(seed, 99);
        let before: u32 = (0..4).map(|at| heard(&lan, at)).sum();
        for sequence in 0..600 {
            let at = dice.index(4);
            let mut state = forge::pretender();
            state.state = u8::try_from(dice.below(3)).unwrap();
            state.flags = u8::try_from(dice.below(8)).unwrap();
            let hint = forge::hint("lan", &format!("r{}", at + 1), dice.octets(), sequence, &state);
            lan.inject(Injection::new(lan.nodes[at].address, lan.multicast(), hint));
            lan.run(50);
        }
        assert!((0..4).map(|at| heard(&lan, at)).sum::<u32>() - before >= 3 * 600);
        stand.holds_with_keys(&lan);
        // And who is barred by none of it is found when it is needed.
        lan.crash(3);
        lan.settle(12_000);
        nothing_refused(&mut lan);
    });
}

/// Two key servers of two halves are each told, from the other's own address and in its name, that the other ranks highest
/// of all. Each probes, and yields to nothing but a proof: both serve on, and when the link is whole one of them is left,
/// by their true ranks.
#[test]
fn two_offices_are_told_that_the_other_ranks_higher() {
    seeds(3, |seed| {
        let mut lan = Lan::of(seed, 4);
        lan.partition(&[&[0, 1], &[2, 3]]);
        lan.start_all();
        lan.settle(8_000);
        lan.record = Some(Vec::new());
        let tell_both = |lan: &mut Lan, sequence: u32| {
            for (told, other) in [(1, 3), (3, 1)] {
                let name = lan.nodes[other].name.clone();
                let hint = forge::hint("lan", &name, [9; 8], sequence, &forge::pretender());
                let recv = Recv {
                    from: lan.nodes[other].address,
                    to: lan.multicast(),
                    hop_limit: Some(255),
                };
                lan.hand(told, recv, &hint);
            }
            lan.run(200);
        };
        for sequence in 0..100 {
            tell_both(&mut lan, sequence);
            let serve = [1, 3].map(|at| lan.nodes[at].role());
            assert_eq!(serve, [Role::Gcks; 2], "seed {seed}");
        }
        let record = lan.record.take().unwrap();
        let probes = |by: usize| {
            record
                .iter()
                .any(|s| s.by == Some(by) && s.is(peek::IKE_SA_INIT, false))
        };
        assert!(probes(1) && probes(3), "seed {seed}: each looked into it");
        lan.heal();
        let healed = lan.now;
        for sequence in 100.. {
            tell_both(&mut lan, sequence);
            if lan.is_settled() {
                break;
            }
            assert!(
                lan.now - healed <= 60_000,
                "seed {seed}: no group while the attack goes on"
            );
        }
        assert_eq!(lan.gcks(), 3, "seed {seed}: the better one serves");
        nothing_refused(&mut lan);
    });
}
