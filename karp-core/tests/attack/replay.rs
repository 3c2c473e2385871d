//! What was said once is not taken twice: announcements, key updates and exchanges of this and of earlier terms.

use karp_core::{
    command::Command,
    error::DropReason,
    io::{Handled, Recv, Role},
};

use super::{
    attacker::REKEY,
    common::{
        Lan,
        dice::Dice,
        history::{nothing_refused, roles},
        peek, seeds,
        wire::{Injection, Sent},
    },
};

/// Puts everything of `record` on the link again, from where it came, a few a millisecond.
fn replay(lan: &mut Lan, record: &[Sent]) {
    for (count, sent) in record.iter().enumerate() {
        lan.inject(Injection::new(sent.from, sent.to, sent.octets.to_vec()));
        if count % 4 == 0 {
            lan.run(1);
        }
    }
    lan.run(10);
}

/// What the routers that are up have dropped so far, their own words come back not counted.
fn all_dropped(lan: &Lan) -> u32 {
    let up = lan.nodes.iter().filter(|node| node.is_up());
    let counters = up.map(|node| node.engine().counters());
    counters
        .map(|counters| counters.dropped_total() - counters.dropped(DropReason::Own))
        .sum()
}

#[test]
fn a_whole_life_is_replayed() {
    seeds(3, |seed| {
        let mut lan = Lan::of(seed, 4);
        lan.record = Some(Vec::new());
        lan.start_all();
        lan.settle(8_000);
        lan.run(8_000);
        lan.command(0, REKEY).unwrap();
        lan.run(20_000);
        let record = lan.record.take().unwrap();
        let (key, generation) = (lan.key_of(0), lan.nodes[0].engine().generation());
        replay(&mut lan, &record);
        assert_eq!(lan.key_of(0), key);
        assert_eq!(lan.nodes[0].engine().generation(), generation);
        lan.run(20_000);
        assert!(lan.is_settled());
        assert!(
            lan.nodes.iter().all(|node| roles(node).len() == 2),
            "seed {seed}: nobody's part changed"
        );
        assert!(lan.nodes[0].engine().counters().dropped(DropReason::Replayed) > 10);
        nothing_refused(&mut lan);
    });
}

/// After a failover and a handoff, the words of earlier offices are replayed, LEAVING and HANDOFF among them.
#[test]
fn earlier_terms_are_replayed() {
    seeds(3, |seed| {
        let mut lan = Lan::of(seed, 5);
        lan.record = Some(Vec::new());
        lan.start_all();
        lan.settle(8_000);
        lan.run(3_000);
        lan.hand_off(4);
        lan.succeed(4, 20_000);
        let office = lan.gcks();
        lan.command(office, Command::Leave).unwrap();
        lan.run(15_000);
        lan.settle(20_000);
        let record = lan.record.take().unwrap();
        let before: Vec<usize> = lan.nodes.iter().map(|node| roles(node).len()).collect();
        let key = lan.key_of(0);
        let heard = all_dropped(&lan);
        replay(&mut lan, &record);
        assert!(
            all_dropped(&lan) - heard >= record.len() as u32,
            "seed {seed}: they were heard"
        );
        lan.run(5_000);
        assert!(lan.is_settled(), "seed {seed}");
        let after: Vec<usize> = lan.nodes.iter().map(|node| roles(node).len()).collect();
        assert_eq!(before, after, "seed {seed}: nobody's part changed");
        assert_eq!(lan.key_of(0), key);
        nothing_refused(&mut lan);
    });
}

/// The office is dead, and its last words are replayed: they do not keep it alive.
#[test]
fn a_dead_gcks_is_not_kept_alive_by_its_words() {
    seeds(3, |seed| {
        let mut lan = Lan::settled(seed, 3);
        lan.record = Some(Vec::new());
        lan.run(10_000);
        let record = lan.record.take().unwrap();
        lan.crash(2);
        let heard = all_dropped(&lan);
        for _ in 0..8 {
            replay(&mut lan, &record);
            lan.run(700);
        }
        assert!(
            all_dropped(&lan) - heard >= 8 * 2 * 10,
            "seed {seed}: they were heard"
        );
        assert_eq!(lan.gcks(), 1, "seed {seed}");
        lan.settle(5_000);
        nothing_refused(&mut lan);
    });
}

/// One key update, twice, late, and to a group that it is not for.
#[test]
fn key_updates() {
    seeds(3, |seed| {
        let mut lan = Lan::settled(seed, 3);
        let mut other = Lan::settled(seed + 1_000, 3);
        lan.run(8_000);
        other.run(8_000);
        let updates = |lan: &mut Lan| {
            lan.record = Some(Vec::new());
            lan.command(2, REKEY).unwrap();
            lan.run(8_000);
            let mut record = lan.record.take().unwrap();
            record.retain(|sent| sent.header().exchange == peek::GSA_REKEY);
            assert!(record.len() >= 2, "two phases");
            record
        };
        let (ours, theirs) = (updates(&mut lan), updates(&mut other));
        let generation = lan.nodes[0].engine().generation();
        for update in &ours {
            let recv = Recv {
                from: update.from,
                to: update.to,
                hop_limit: Some(255),
            };
            assert_eq!(
                lan.hand(0, recv, &update.octets),
                Handled::Dropped(DropReason::Replayed)
            );
        }
        for update in &theirs {
            let recv = Recv {
                from: update.from,
                to: update.to,
                hop_limit: Some(255),
            };
            assert_eq!(
                lan.hand(0, recv, &update.octets),
                Handled::Dropped(DropReason::UnknownSpi),
                "another group's"
            );
        }
        assert_eq!(lan.nodes[0].engine().generation(), generation);
        nothing_refused(&mut lan);
    });
}

/// A GCKS's update from before a Rekey SA was replaced by eviction.
#[test]
fn an_update_of_the_former_rekey_sa() {
    seeds(3, |seed| {
        let mut lan = Lan::settled(seed, 4);
        lan.run(8_000);
        lan.tap(|sent, hand| hand.drop = sent.header().exchange == peek::GSA_REKEY);
        lan.record = Some(Vec::new());
        lan.command(3, REKEY).unwrap();
        lan.run(50);
        let record = lan.record.take().unwrap();
        let held_back = record
            .iter()
            .find(|s| s.header().exchange == peek::GSA_REKEY)
            .unwrap()
            .clone();
        lan.untap();
        let gone = lan.nodes[0].identity.clone();
        lan.command(3, Command::Evict(&gone)).unwrap();
        lan.run(15_000);
        let key = lan.key_of(1);
        let recv = Recv {
            from: held_back.from,
            to: held_back.to,
            hop_limit: Some(255),
        };
        for at in [1, 2] {
            assert_ne!(lan.hand(at, recv, &held_back.octets), Handled::Accepted);
        }
        assert_eq!(lan.key_of(1), key);
        assert_eq!(lan.nodes[1].role(), Role::Member);
    });
}

/// Responses and pushes of an IKE SA that came late or twice.
#[test]
fn unicast_messages_twice_and_late() {
    seeds(3, |seed| {
        let mut lan = Lan::of(seed, 4);
        lan.tap(|sent, hand| {
            if !sent.to.ip().is_multicast() {
                for delay in [1, 90, 150, 700, 4_000] {
                    let mut again = Injection::new(sent.from, sent.to, sent.octets.to_vec());
                    again.delay = delay;
                    hand.inject.push(again);
                }
            }
        });
        lan.start_all();
        lan.settle(10_000);
        lan.run(8_000);
        lan.command(1, REKEY).unwrap();
        lan.run(10_000);
        assert!(all_dropped(&lan) >= 100, "seed {seed}: copies were heard");
        lan.reboot(0);
        lan.settle(30_000);
        let gcks = lan.gcks();
        lan.crash(gcks);
        lan.settle(20_000);
        nothing_refused(&mut lan);
    });
}

/// An attacker holds every datagram back for up to a second and a half, delivers it twice and out of order, and drops a
/// tenth: it is a bad link to the engines. The group forms, changes its key and its GCKS, and loses no routing packet.
#[test]
fn everything_is_held_back() {
    seeds(3, |seed| {
        let mut lan = Lan::of(seed, 4);
        let mut dice = Dice::new(seed, 93);
        lan.tap(move |sent, hand| {
            hand.drop = true;
            if dice.chance(10) {
                return;
            }
            for _ in 0..2 {
                let mut late = Injection::new(sent.from, sent.to, sent.octets.to_vec());
                late.delay = dice.between(1, 1_500);
                hand.inject.push(late);
            }
        });
        lan.start_all();
        lan.settle(90_000);
        lan.run(10_000);
        let key = lan.key_of(0);
        let gcks = lan.gcks();
        lan.command(gcks, REKEY).unwrap();
        lan.expect(60_000, "a new key", |lan| {
            lan.key_of(0) != key && lan.is_settled()
        });
        lan.crash(gcks);
        lan.expect(90_000, "an heir", |lan| lan.is_settled());
        let replays: u32 = (0..4)
            .filter(|at| lan.nodes[*at].is_up())
            .map(|at| lan.nodes[at].engine().counters().dropped(DropReason::Replayed))
            .sum();
        assert!(replays >= 50, "seed {seed}: {replays} came twice");
        nothing_refused(&mut lan);
    });
}
