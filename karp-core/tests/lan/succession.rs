//! Who serves after whom: sticky office, preemption, handoff, failover.

use karp_core::{
    command::Command,
    error::{CommandError, DropReason},
    io::{Alarm, Event, Role},
};

use super::{
    common::{Lan, Link, peek, seeds},
    nothing_refused, roles, since,
};

#[test]
fn the_office_is_sticky() {
    seeds(3, |seed| {
        let mut lan = Lan::of(seed, 3);
        lan.start(0);
        lan.settle(6_000);
        lan.nodes[2].set(|s| s.priority = 250);
        lan.start(1);
        lan.start(2);
        lan.settle(3_000);
        lan.command(1, Command::SetPriority(200)).unwrap();
        lan.run(30_000);
        assert_eq!(
            lan.gcks(),
            0,
            "neither a better newcomer nor a raised priority displaces it"
        );
        assert_eq!(roles(&lan.nodes[0]), [Role::Initial, Role::Gcks]);
    });
}

#[test]
fn preempt_hands_the_office_to_a_better_newcomer() {
    seeds(5, |seed| {
        let mut lan = Lan::of(seed, 3);
        lan.set(|s| s.preempt = true);
        lan.start(0);
        lan.start(1);
        lan.settle(8_000);
        assert_eq!(lan.gcks(), 1);
        lan.start(2);
        lan.expect(20_000, "the better one serves", |lan| {
            lan.is_settled() && lan.nodes[2].role() == Role::Gcks
        });
        assert_eq!(
            roles(&lan.nodes[2]),
            [Role::Initial, Role::Member, Role::Gcks],
            "by a handoff and no other way"
        );
        assert_eq!(lan.nodes[1].engine().counters().handoffs, 1);
        nothing_refused(&mut lan);
    });
}

#[test]
fn preempt_follows_a_raised_priority() {
    seeds(5, |seed| {
        let mut lan = Lan::of(seed, 4);
        lan.set(|s| s.preempt = true);
        lan.link = Link::BAD;
        lan.start_all();
        lan.settle(30_000);
        let better = lan.a_member();
        lan.command(better, Command::SetPriority(200)).unwrap();
        lan.expect(40_000, "the raised one serves", |lan| {
            lan.is_settled() && lan.nodes[better].role() == Role::Gcks
        });
        nothing_refused(&mut lan);
    });
}

#[test]
fn priority_zero_hands_off_whatever_the_policy() {
    seeds(5, |seed| {
        let mut lan = Lan::settled(seed, 3);
        lan.command(2, Command::SetPriority(0)).unwrap();
        lan.expect(12_000, "the next one serves", |lan| {
            lan.is_settled() && lan.nodes[1].role() == Role::Gcks
        });
        lan.crash(1);
        lan.settle(12_000);
        assert_eq!(lan.gcks(), 0, "priority 0 never serves, not even as an heir");
        nothing_refused(&mut lan);
    });
}

#[test]
fn priority_zero_stays_with_an_alarm_while_nobody_else_may_serve() {
    seeds(3, |seed| {
        let mut lan = Lan::of(seed, 2);
        lan.nodes[0].set(|s| s.priority = 0);
        lan.start_all();
        lan.settle(8_000);
        lan.command(1, Command::SetPriority(0)).unwrap();
        lan.run(2_000);
        assert!(lan.nodes[1].told.alarms.contains(&Alarm::ServingUnwillingly));
        lan.run(20_000);
        assert_eq!(lan.gcks(), 1);
        lan.command(0, Command::SetPriority(50)).unwrap();
        lan.expect(15_000, "the willing one serves", |lan| {
            lan.is_settled() && lan.nodes[0].role() == Role::Gcks
        });
        assert!(
            !lan.nodes[1].told.alarms.contains(&Alarm::ServingUnwillingly),
            "the alarm ends"
        );
        nothing_refused(&mut lan);
    });
}

#[test]
fn handoff_by_command() {
    seeds(6, |seed| {
        let mut lan = Lan::of(seed, 5);
        lan.link = Link::BAD;
        lan.start_all();
        lan.settle(30_000);
        for _ in 0..3 {
            let old = lan.gcks();
            lan.hand_off(old);
            lan.expect(40_000, "another serves", |lan| {
                lan.is_settled() && lan.nodes[old].role() == Role::Member
            });
            lan.run(10_000);
        }
        nothing_refused(&mut lan);
    });
}

#[test]
fn handoff_is_refused_with_the_reason() {
    seeds(1, |seed| {
        let mut lan = Lan::of(seed, 2);
        lan.nodes[0].set(|s| s.priority = 0);
        lan.boot(1);
        assert_eq!(lan.command(1, Command::HandOff), Err(CommandError::NotJoined));
        lan.command(1, Command::Join).unwrap();
        lan.settle(8_000);
        assert_eq!(
            lan.command(1, Command::HandOff),
            Err(CommandError::NoSuccessor),
            "nobody is there"
        );
        lan.start(0);
        lan.settle(3_000);
        assert_eq!(
            lan.command(1, Command::HandOff),
            Err(CommandError::NoSuccessor),
            "nobody may serve"
        );
        assert_eq!(lan.command(0, Command::HandOff), Err(CommandError::NotGcks));
    });
}

/// The successor dies as it is named: the old one resumes, and makes the rollover that the handoff stopped.
#[test]
fn handoff_to_a_dead_successor_is_taken_back() {
    seeds(5, |seed| {
        let mut lan = Lan::settled(seed, 4);
        lan.crash(2);
        lan.hand_off(3);
        lan.run(200);
        lan.expect(20_000, "somebody serves", |lan| lan.is_settled());
        assert!(
            [1, 3].contains(&lan.gcks()),
            "the old one, or the next that it can name"
        );
        nothing_refused(&mut lan);
    });
}

#[test]
fn handoff_to_a_successor_that_dies_taking_office() {
    seeds(8, |seed| {
        let mut lan = Lan::settled(seed, 4);
        lan.hand_off(3);
        let after = lan.dice.below(40);
        lan.run(after);
        lan.crash(2);
        lan.settle(30_000);
        nothing_refused(&mut lan);
    });
}

/// The successor never answers: after hold the old one resumes, and makes the rollover that had to wait.
#[test]
fn a_handoff_to_a_silent_successor_is_taken_back() {
    seeds(5, |seed| {
        let mut lan = Lan::of(seed, 3);
        lan.nodes[0].set(|s| s.priority = 0);
        lan.start_all();
        lan.settle(8_000);
        lan.run(10_000);
        lan.tap(|sent, hand| {
            if sent.by == Some(2) && peek::notify(&sent.octets, peek::HANDOFF).is_some() {
                hand.crash.push(1);
            }
        });
        let rekey = Command::Rekey {
            protocol: karp_core::algorithm::RoutingProtocol::Ospfv2,
            reason: karp_core::command::RekeyReason::Operator,
        };
        let key = lan.key_of(2);
        lan.hand_off(2);
        lan.command(2, rekey).unwrap();
        lan.run(3_000);
        assert!(!lan.nodes[1].is_up(), "seed {seed}: it dies as it is named");
        assert_eq!(lan.nodes[2].role(), Role::Gcks);
        assert_eq!(
            lan.key_of(2),
            key,
            "no rollover goes on while the office is handed over"
        );
        lan.untap();
        lan.expect(30_000, "a new key", |lan| {
            lan.is_settled() && lan.key_of(2) != key
        });
        assert_eq!(lan.gcks(), 2);
        assert_eq!(lan.nodes[2].engine().counters().handoffs, 0);
        lan.start(1);
        lan.settle(30_000);
        nothing_refused(&mut lan);
    });
}

#[test]
fn old_gcks_dies_in_the_handoff() {
    seeds(8, |seed| {
        let mut lan = Lan::settled(seed, 4);
        lan.hand_off(3);
        let after = lan.dice.below(40);
        lan.run(after);
        lan.crash(3);
        lan.settle(30_000);
        nothing_refused(&mut lan);
    });
}

/// A rollover runs, and the office moves: the new key is abandoned, never lost by one and used by another.
#[test]
fn handoff_in_the_middle_of_a_rollover() {
    seeds(10, |seed| {
        let mut lan = Lan::of(seed, 5);
        lan.link = Link::lossy(20);
        lan.start_all();
        lan.settle(60_000);
        lan.run(10_000);
        let old = lan.gcks();
        let reason = karp_core::command::RekeyReason::Operator;
        let protocol = karp_core::algorithm::RoutingProtocol::Ospfv2;
        lan.command(old, Command::Rekey { protocol, reason }).unwrap();
        let after = lan.dice.below(1_500);
        lan.run(after);
        lan.hand_off(old);
        lan.run(3_000);
        lan.settle(90_000);
        nothing_refused(&mut lan);
    });
}

/// The second takes over if the first died as well: one hello later.
#[test]
fn failover_has_a_rank_delay() {
    seeds(5, |seed| {
        let mut lan = Lan::settled(seed, 4);
        let crashed = lan.now;
        lan.crash(3);
        lan.run(2_000);
        lan.crash(2);
        lan.expect(9_000, "the third takes office", |lan| {
            lan.nodes[1].role() == Role::Gcks
        });
        let took = since(&lan.nodes[1]) - crashed;
        assert!((3_000..=8_000).contains(&took), "seed {seed}: {took} ms");
        lan.settle(8_000);
        nothing_refused(&mut lan);
    });
}

#[test]
fn failover_until_one_is_left() {
    seeds(3, |seed| {
        let mut lan = Lan::of(seed, 6);
        lan.link = Link::BAD;
        lan.start_all();
        lan.settle(30_000);
        for _ in 0..5 {
            lan.run(3_000);
            let gcks = lan.gcks();
            lan.crash(gcks);
            lan.settle(40_000);
        }
        nothing_refused(&mut lan);
    });
}

#[test]
fn failover_of_fifty() {
    seeds(1, |seed| {
        let mut lan = Lan::of(seed, 50);
        lan.start_all();
        lan.settle(40_000);
        let gcks = lan.gcks();
        lan.crash(gcks);
        lan.settle(20_000);
        lan.run(30_000);
        lan.settle(10_000);
        nothing_refused(&mut lan);
    });
}

/// In the last hello of hold the best members ask the GCKS, and an answer ends the silence (section 5.3).
#[test]
fn four_lost_announcements_make_no_heir() {
    seeds(5, |seed| {
        let mut lan = Lan::settled(seed, 4);
        let until = lan.now + 20_000;
        lan.tap(move |sent, hand| {
            hand.drop =
                sent.at < until && sent.by == Some(3) && sent.header().exchange == peek::GCKS_ELECTION;
        });
        lan.run(30_000);
        assert_eq!(lan.gcks(), 3);
        for at in 0..3 {
            assert_eq!(
                roles(&lan.nodes[at]),
                [Role::Initial, Role::Member],
                "seed {seed}"
            );
        }
        nothing_refused(&mut lan);
    });
}

/// What an heir inherits it shows: an heir that was never given a Pending key does not lose those that were.
#[test]
fn gcks_dies_between_the_copies_of_an_activation() {
    seeds(20, |seed| {
        let mut lan = Lan::settled(seed, 5);
        lan.run(10_000);
        let protocol = karp_core::algorithm::RoutingProtocol::Ospfv2;
        let reason = karp_core::command::RekeyReason::Operator;
        lan.command(4, Command::Rekey { protocol, reason }).unwrap();
        // The nth update goes to one router only, and the GCKS dies as it leaves.
        let (wanted, lucky) = (lan.dice.between(1, 3), lan.dice.index(4));
        let mut seen = 0;
        lan.tap(move |sent, hand| {
            if sent.by == Some(4) && sent.header().exchange == peek::GSA_REKEY {
                seen += 1;
                if seen == wanted {
                    hand.hide_from = (0..5).filter(|at| *at != lucky).collect();
                    hand.crash.push(4);
                }
            }
        });
        lan.run(20_000);
        lan.untap();
        if lan.nodes[4].is_up() {
            lan.crash(4);
        }
        lan.settle(60_000);
        nothing_refused(&mut lan);
    });
}

/// Two offices cannot share a Rekey SA, and a member that missed the change is told of it by REDIRECT or hears it.
#[test]
fn a_member_that_missed_the_handoff_follows() {
    seeds(5, |seed| {
        let mut lan = Lan::settled(seed, 4);
        let deaf_until = lan.now + 3_000;
        lan.tap(move |sent, hand| {
            if sent.at < deaf_until {
                hand.hide_from.push(0);
            }
        });
        lan.hand_off(3);
        lan.run(3_000);
        lan.succeed(3, 20_000);
        assert_eq!(lan.nodes[0].engine().gcks(), Some(&lan.nodes[2].identity));
        nothing_refused(&mut lan);
    });
}

/// A handoff that an outsider writes moves nobody.
#[test]
fn a_forged_handoff_is_dropped() {
    seeds(3, |seed| {
        let mut lan = Lan::settled(seed, 3);
        lan.record = Some(Vec::new());
        lan.run(2_000);
        let heard = lan.record.take().unwrap();
        let of = |by| {
            heard
                .iter()
                .rev()
                .find(|s| s.by == Some(by) && s.header().exchange == peek::GCKS_ELECTION)
        };
        let (office, member) = (of(2).unwrap().clone(), of(1).unwrap().header().spi_i);
        // Put ahead of AUTH and the MACs, and at the end: both are dropped whole (section 5.1).
        for at_end in [false, true] {
            let forged = with_handoff(&office.octets, member, at_end);
            lan.inject(super::common::wire::Injection::new(
                office.from,
                office.to,
                forged,
            ));
            lan.run(500);
        }
        lan.run(10_000);
        assert_eq!(lan.gcks(), 2);
        assert_eq!(roles(&lan.nodes[1]), [Role::Initial, Role::Member]);
        let counters = lan.nodes[1].engine().counters();
        let dropped = [
            DropReason::Malformed,
            DropReason::BadSeal,
            DropReason::BadSignature,
            DropReason::Replayed,
        ];
        assert!(dropped.iter().map(|r| counters.dropped(*r)).sum::<u32>() >= 2);
        assert!(!lan.nodes[1].saw(|e| matches!(e, Event::RoleChanged { role: Role::Gcks })));
    });
}

fn with_handoff(octets: &[u8], instance: [u8; 8], at_end: bool) -> Vec<u8> {
    let header = peek::Header::of(octets).unwrap();
    let mut forged = super::common::forge::Forge::new(
        header.spi_i,
        header.spi_r,
        header.exchange,
        header.flags,
        header.id + 5,
    );
    for payload in peek::payloads(octets) {
        forged = forged.payload(payload.kind, payload.body);
        if !at_end && payload.notify().is_some_and(|n| n.0 == peek::ELECTION_STATE) {
            forged = forged.notify(peek::HANDOFF, &instance);
        }
    }
    if at_end {
        forged = forged.notify(peek::HANDOFF, &instance);
    }
    forged.finish()
}

/// Two handoffs in a row, and a router that heard nothing of the first: the second waits until it has registered, or it
/// could authenticate nobody any more.
#[test]
fn a_second_handoff_waits_for_those_who_missed_the_first() {
    seeds(8, |seed| {
        let mut lan = Lan::settled(seed, 5);
        let deaf_until = lan.now + 2_500;
        lan.tap(move |sent, hand| {
            if sent.at < deaf_until {
                hand.hide_from.push(0);
            }
        });
        lan.hand_off(4);
        lan.expect(2_000, "the next one serves", |lan| {
            lan.nodes[3].role() == Role::Gcks && lan.nodes[4].role() == Role::Member
        });
        let took = lan.now;
        lan.run(200);
        lan.hand_off(3);
        lan.expect(20_000, "the one after it serves", |lan| {
            lan.nodes[3].role() == Role::Member && lan.is_settled()
        });
        assert!(
            since(&lan.nodes[lan.gcks()]) >= took + 4_000,
            "seed {seed}: the first had its own wait"
        );
        let later = &roles(&lan.nodes[0])[2..];
        assert!(
            !later.contains(&Role::Initial),
            "seed {seed}: it never lost its membership"
        );
        nothing_refused(&mut lan);
    });
}

/// Who hands its office over and says so is no other office: its followers are waited for as long as they are heard.
#[test]
fn the_predecessor_is_no_other_office() {
    seeds(8, |seed| {
        let mut lan = Lan::of(seed, 4);
        lan.nodes[0].set(|s| s.priority = 0);
        lan.start_all();
        lan.settle(8_000);
        lan.run(10_000);
        let (now, member) = (lan.now, lan.nodes[0].address);
        lan.tap(move |sent, hand| {
            // r1 cannot register with the successor for a long time, and the predecessor does not hear at once that that
            // serves: it goes on naming it.
            if sent.by == Some(2) && sent.to == member && sent.at < now + 14_000 {
                hand.drop = true;
            }
            if sent.by == Some(2) && sent.at < now + 1_500 {
                hand.hide_from.push(3);
            }
        });
        let key = lan.key_of(0);
        lan.hand_off(3);
        lan.run(12_500);
        assert_eq!(lan.nodes[2].role(), Role::Gcks, "seed {seed}");
        assert_eq!(
            lan.key_of(2),
            key,
            "seed {seed}: no key is changed without r1, which is heard"
        );
        lan.settle(30_000);
        nothing_refused(&mut lan);
    });
}
