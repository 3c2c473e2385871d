//! Forged announcements: hints, in any number, of any rank, from anywhere (promise 5, section 5.4).

use karp_core::{
    error::DropReason,
    io::{MessageKind, Role},
};

use super::{
    attacker::{claim, messages_sent, nowhere},
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
