//! Attempts: how many, at whom, and what becomes of them (PROTOCOL.md sections 4 and 5.4).

use std::format;

use super::super::{
    Handshake, Purpose,
    attempt::{Attempt, MAX_ATTEMPTS},
};
use crate::{
    election::{Election, Member, Who},
    io::Timer,
    node::{Core, PenaltyKey},
    testing::{Bench, KEYLESS, address, at, id, seconds},
    wire::NodeState,
};

fn attempts<'a>(core: &'a Core<'_>) -> impl Iterator<Item = &'a Attempt> {
    core.handshakes.rows().filter_map(Handshake::attempt)
}

fn start(core: &mut Core<'_>, name: &str, number: u8) -> bool {
    core.start_attempt(Purpose::Seek, address(number), id(name), None)
}

#[test]
fn debug_names_the_side_and_nothing_else() {
    let mut bench = Bench::joined("a", 1);
    let mut core = bench.at(0);
    assert!(start(&mut core, "b", 2));
    let row = core.handshakes.rows().next().unwrap();
    assert_eq!(format!("{row:?}"), "Attempt");
}

#[test]
fn attempts_are_counted_and_ended_together() {
    let mut bench = Bench::joined("a", 1);
    let mut core = bench.at(0);
    assert_eq!(core.attempts(), 0);
    assert!(start(&mut core, "b", 2) && start(&mut core, "c", 3));
    assert_eq!(core.attempts(), 2);
    core.end_attempts();
    assert_eq!(core.attempts(), 0);
}

/// An attempt at a peer counts as one at a proved one only if the peer proved itself at that very address.
#[test]
fn proved_is_who_proved_itself_there() {
    for (name, number, proved) in [("b", 2, true), ("b", 3, false), ("c", 2, false), ("c", 3, false)] {
        let mut bench = Bench::joined("a", 1);
        let mut core = bench.at(0);
        core.add_peer("b", 2, NodeState::Gcks, 0);
        assert!(start(&mut core, name, number));
        let found = attempts(&core).map(|attempt| attempt.proved);
        assert!(found.eq([proved]), "{name} at {number}");
    }
}

#[test]
fn nobody_is_tried_without_a_credential_in_common() {
    let mut bench = Bench::joined("a", 1);
    let mut core = bench.at(0);
    assert!(!start(&mut core, KEYLESS, 2));
    assert_eq!(core.attempts(), 0);
}

/// Section 4: four at once; one at a peer that has proved itself before takes the place of one at a hint, and never the
/// other way round.
#[test]
fn a_proved_peer_displaces_a_hint() {
    let mut bench = Bench::joined("a", 1);
    let mut core = bench.at(0);
    for number in 2..10 {
        core.strangers.retain(|_| true);
        core.add_peer(&format!("p{number}"), number, NodeState::Gcks, 0);
        if core.peers.is_full() {
            break;
        }
    }
    assert!(start(&mut core, "p2", 2));
    for number in 20..23 {
        assert!(start(&mut core, "hint", number));
    }
    assert_eq!(core.attempts(), MAX_ATTEMPTS);
    assert!(!start(&mut core, "hint", 30), "a hint displaces nobody");
    for number in 3..6 {
        assert!(start(&mut core, &format!("p{number}"), number));
        assert_eq!(core.attempts(), MAX_ATTEMPTS);
    }
    assert!(attempts(&core).all(|attempt| attempt.proved));
    assert!(
        !start(&mut core, "p6", 6),
        "nor does one that is proved displace another"
    );
    assert!((2..6).all(|number| core.is_attempting(address(number))));
}

/// A message belongs to the attempts of its SPI at its sender.
#[test]
fn a_family_has_one_spi_and_one_address() {
    let mut bench = Bench::joined("a", 1);
    let mut core = bench.at(0);
    assert!(start(&mut core, "b", 2) && start(&mut core, "c", 3));
    let spis: std::vec::Vec<_> = attempts(&core)
        .map(|attempt| (attempt.spi_i, attempt.to))
        .collect();
    for (spi, to) in &spis {
        assert_eq!(core.family(*spi, *to).count(), 1);
    }
    assert_eq!(core.family(spis[0].0, spis[1].1).count(), 0);
    assert_eq!(core.family([0; 8], spis[0].1).count(), 0);
}

/// Section 5.4: an unanswered IKE_SA_INIT is given up at 1.5 s and costs a penalty of 2 s; nothing is said about the
/// candidate as long as another attempt at it runs.
#[test]
fn an_attempt_ends_at_its_time() {
    let mut bench = Bench::joined("a", 1);
    let mut core = bench.at(0);
    assert!(start(&mut core, "b", 2));
    let key = PenaltyKey::new(address(2), &id("b"));
    let mut core = bench.at(1499);
    core.run_attempts();
    assert_eq!(core.attempts(), 1);
    assert!(start(&mut core, "b", 2));
    let mut core = bench.at(1500);
    core.run_attempts();
    assert_eq!(core.attempts(), 1);
    assert!(!core.node.penalties.bars(&key, at(1500)));
    let mut core = bench.at(2999);
    core.run_attempts();
    assert_eq!(core.attempts(), 0);
    assert!(core.node.penalties.bars(&key, at(4998)) && !core.node.penalties.bars(&key, at(4999)));
}

/// Section 4: while the table of strangers is full, an unanswered one gives its place up after 300 ms.
#[test]
fn an_attempt_is_short_under_attack() {
    let mut bench = Bench::joined("a", 1);
    let mut core = bench.at(0);
    for number in 10..14 {
        assert!(!core.under_attack());
        core.add_stranger("forged", number, crate::testing::claim(NodeState::Gcks), 0);
    }
    assert!(core.under_attack());
    assert!(start(&mut core, "b", 2));
    assert!(attempts(&core).map(|attempt| attempt.deadline).eq([at(300)]));
}

/// What calls for an attempt first: its next message, or its end.
#[test]
fn an_attempt_calls_for_its_next_message_or_its_end() {
    let mut bench = Bench::joined("a", 1);
    assert!(start(&mut bench.at(100), "b", 2));
    let due = |bench: &mut Bench| bench.at(0).handshakes.rows().next().unwrap().deadline();
    assert_eq!(due(&mut bench), at(100));
    for (sent, next) in [(100, 350), (350, 850), (850, 1600)] {
        assert_eq!(
            bench
                .drain(sent)
                .iter()
                .filter(|sent| sent.to == address(2))
                .count(),
            1
        );
        assert_eq!(due(&mut bench), at(next));
    }
}

/// The first copy of a message is no retransmission.
#[test]
fn what_is_sent_again_is_counted() {
    let mut bench = Bench::joined("a", 1);
    assert!(start(&mut bench.at(0), "b", 2));
    for (ms, counted) in [(0, 0), (250, 1), (750, 2)] {
        bench.drain(ms);
        assert_eq!(bench.at(ms).node.counters.retransmissions, counted);
    }
}

/// A member that joins an heir goes on as long as another attempt at it runs, and the turn comes back when none does.
#[test]
fn joining_fails_with_the_last_attempt() {
    let mut bench = Bench::joined("a", 1);
    let joining = Election::Member(Member::Joining(Who(1), Who(2)));
    let mut core = bench.at(0);
    core.node.election = joining;
    assert!(core.start_attempt(Purpose::Heir, address(2), id("b"), None));
    core.attempt_ended(Purpose::Heir);
    assert_eq!(core.node.election, joining);
    core.end_attempts();
    core.attempt_ended(Purpose::Heir);
    assert_ne!(core.node.election, joining);
}

/// An heir that is heard and serves is tried again, three times, half a hello later; only then has joining failed.
#[test]
fn an_heir_that_is_heard_is_tried_again() {
    let mut bench = Bench::joined("a", 1);
    let mut core = bench.at(0);
    let heir = core.add_peer("b", 2, NodeState::Gcks, 0);
    let joining = Election::Member(Member::Joining(Who(9), Who(heir.number())));
    core.node.election = joining;
    for _ in 0..3 {
        core.node.timers.clear(Timer::Join);
        core.attempt_ended(Purpose::Heir);
        assert_eq!(core.node.election, joining);
        let planned = core.node.timers.iter().find(|(timer, _)| *timer == Timer::Join);
        assert_eq!(
            planned.map(|(_, at)| at),
            Some(at(0).after(seconds(1).divided(2)))
        );
    }
    core.attempt_ended(Purpose::Heir);
    assert_ne!(core.node.election, joining);
}
