//! A message is lost or somebody dies, at every step of the initial exchange and of a rollover.

use karp_core::{
    algorithm::RoutingProtocol,
    command::{Command, RekeyReason},
};

use super::{
    common::{Lan, peek, seeds},
    nothing_refused,
};

/// What happens when the chosen message is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    Lost,
    SenderDies,
    SenderDiesAfter,
    ReceiverDies,
}

const FAULTS: [Fault; 4] = [
    Fault::Lost,
    Fault::SenderDies,
    Fault::SenderDiesAfter,
    Fault::ReceiverDies,
];

/// r3 joins r2's group of two; the `nth` unicast message between r3 and anybody meets `fault`. Whoever died comes
/// back 3 s later.
fn exchange(seed: u64, nth: usize, fault: Fault) {
    let mut lan = Lan::of(seed, 3);
    lan.nodes[2].set(|s| s.priority = 50);
    lan.start(0);
    lan.start(1);
    lan.settle(8_000);
    let addresses: Vec<_> = lan.nodes.iter().map(|node| node.address).collect();
    let mut seen = 0;
    lan.tap(move |sent, hand| {
        let receiver = addresses.iter().position(|address| *address == sent.to);
        let (Some(by), Some(to)) = (sent.by, receiver) else {
            return;
        };
        if by != 2 && to != 2 {
            return;
        }
        seen += 1;
        if seen == nth {
            match fault {
                Fault::Lost => hand.drop = true,
                Fault::SenderDies => {
                    hand.drop = true;
                    hand.crash.push(by);
                }
                Fault::SenderDiesAfter => hand.crash.push(by),
                Fault::ReceiverDies => hand.crash.push(to),
            }
        }
    });
    lan.start(2);
    lan.run(3_000);
    lan.start_all();
    lan.settle(60_000);
    lan.run(10_000);
    assert!(lan.is_settled(), "seed {seed}: message {nth}, {fault:?}");
    nothing_refused(&mut lan);
}

#[test]
fn initial_exchange_each_message_lost() {
    seeds(2, |seed| (1..=6).for_each(|nth| exchange(seed, nth, Fault::Lost)));
}

#[test]
fn initial_exchange_sender_dies_before_each_message() {
    seeds(2, |seed| {
        (1..=6).for_each(|nth| exchange(seed, nth, Fault::SenderDies))
    });
}

#[test]
fn initial_exchange_sender_dies_after_each_message() {
    seeds(2, |seed| {
        (1..=6).for_each(|nth| exchange(seed, nth, Fault::SenderDiesAfter))
    });
}

#[test]
fn initial_exchange_receiver_dies_at_each_message() {
    seeds(2, |seed| {
        (1..=6).for_each(|nth| exchange(seed, nth, Fault::ReceiverDies))
    });
}

/// Four routers roll over; the `nth` message after the request meets `fault`.
fn rollover(seed: u64, nth: usize, fault: Fault) {
    let mut lan = Lan::settled(seed, 4);
    lan.run(8_000);
    let victim = lan.dice.index(3);
    let mut seen = 0;
    lan.tap(move |sent, hand| {
        let Some(by) = sent.by else { return };
        let kind = sent.header().exchange;
        // Announcements count as well: they are the acknowledgements.
        if seen == 0 && kind != peek::GSA_REKEY {
            return;
        }
        seen += 1;
        if seen == nth {
            match fault {
                Fault::Lost => hand.drop = true,
                Fault::SenderDies => {
                    hand.drop = true;
                    hand.crash.push(by);
                }
                Fault::SenderDiesAfter => hand.crash.push(by),
                Fault::ReceiverDies => hand.crash.push(if by == 3 { victim } else { 3 }),
            }
        }
    });
    lan.command(
        3,
        Command::Rekey {
            protocol: RoutingProtocol::Ospfv2,
            reason: RekeyReason::Operator,
        },
    )
    .unwrap();
    lan.run(6_000);
    lan.untap();
    lan.settle(30_000);
    lan.start_all();
    lan.settle(60_000);
    lan.run(40_000);
    assert!(lan.is_settled(), "seed {seed}: message {nth}, {fault:?}");
    nothing_refused(&mut lan);
}

#[test]
fn rollover_each_message_lost() {
    seeds(1, |seed| {
        (1..=12).for_each(|nth| rollover(seed, nth, Fault::Lost))
    });
}

#[test]
fn rollover_sender_dies_before_each_message() {
    seeds(1, |seed| {
        (1..=12).for_each(|nth| rollover(seed, nth, Fault::SenderDies))
    });
}

#[test]
fn rollover_sender_dies_after_each_message() {
    seeds(1, |seed| {
        (1..=12).for_each(|nth| rollover(seed, nth, Fault::SenderDiesAfter))
    });
}

#[test]
fn rollover_receiver_dies_at_each_message() {
    seeds(1, |seed| {
        (1..=12).for_each(|nth| rollover(seed, nth, Fault::ReceiverDies))
    });
}

/// The same fault strikes twice: the second while the first is being mended.
#[test]
fn two_faults_in_one_rollover() {
    seeds(12, |seed| {
        let mut lan = Lan::settled(seed, 5);
        lan.run(8_000);
        let gcks = lan.gcks();
        lan.command(
            gcks,
            Command::Rekey {
                protocol: RoutingProtocol::Ospfv2,
                reason: RekeyReason::Operator,
            },
        )
        .unwrap();
        for _ in 0..2 {
            let after = lan.dice.below(3_000);
            lan.run(after);
            let up: Vec<usize> = (0..5).filter(|at| lan.nodes[*at].is_up()).collect();
            let victim = *lan.dice.pick(&up);
            lan.crash(victim);
        }
        lan.settle(40_000);
        lan.start_all();
        lan.settle(60_000);
        nothing_refused(&mut lan);
    });
}

/// Every fault in turn, while the link is bad as well.
#[test]
fn faults_on_a_bad_link() {
    seeds(3, |seed| {
        for fault in FAULTS {
            let mut lan = Lan::of(seed, 4);
            lan.link = super::common::Link::BAD;
            lan.start_all();
            lan.settle(40_000);
            let mut seen = 0;
            let nth = lan.dice.between(1, 30);
            lan.tap(move |sent, hand| {
                seen += 1;
                if seen == nth {
                    match fault {
                        Fault::Lost => hand.drop = true,
                        _ => hand.crash.extend(sent.by),
                    }
                }
            });
            lan.run(20_000);
            lan.start_all();
            lan.settle(80_000);
            nothing_refused(&mut lan);
        }
    });
}
