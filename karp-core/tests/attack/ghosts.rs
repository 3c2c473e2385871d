//! The dead made to speak: what a router said in earlier boots is genuine, and an attacker who kept it says it again.

use karp_core::{error::DropReason, time::Duration};

use super::{
    attacker::{REKEY, Stand, dropped},
    common::{
        Lan,
        history::{completed, nothing_refused},
        peek, seeds,
        wire::{Injection, Sent},
    },
};

/// The announcements of a router in each of two boots under one Rekey SA, and its exchanges. It is down at the end.
fn two_boots(lan: &mut Lan, of: usize) -> [Vec<Sent>; 2] {
    let mut boots = [Vec::new(), Vec::new()];
    for boot in &mut boots {
        lan.record = Some(Vec::new());
        lan.run(30_000);
        let record = lan.record.take().unwrap();
        *boot = record.into_iter().filter(|s| s.by == Some(of)).collect();
        lan.crash(of);
        lan.run(12_000);
        if !lan.nodes[of].is_up() {
            lan.start(of);
            lan.settle(40_000);
        }
    }
    lan.crash(of);
    boots
}

fn announcements(of: &[Sent]) -> Vec<Sent> {
    let mut own: Vec<Sent> = of.to_vec();
    own.retain(|s| {
        s.header().exchange == peek::GCKS_ELECTION && peek::notify(&s.octets, peek::GROUP_MAC).is_some()
    });
    own
}

fn say_again(lan: &mut Lan, sent: &Sent) {
    lan.inject(Injection::new(sent.from, sent.to, sent.octets.to_vec()));
}

/// A router that rebooted is heard in its new boot only: all of its earlier one is dropped, at the GCKS and at those who
/// know the router from announcements alone, and neither a part nor a key changes.
#[test]
fn words_of_an_earlier_boot() {
    seeds(3, |seed| {
        let mut lan = Lan::settled(seed, 4);
        lan.record = Some(Vec::new());
        lan.run(20_000);
        let record = lan.record.take().unwrap();
        lan.reboot(0);
        lan.settle(40_000);
        lan.run(20_000);
        let stand = Stand::of(&lan, &[0, 1, 2, 3]);
        let before: u32 = (0..4)
            .map(|at| lan.nodes[at].engine().counters().dropped_total())
            .sum();
        let own: Vec<&Sent> = record.iter().filter(|s| s.by == Some(0)).collect();
        assert!(own.len() >= 15);
        for sent in &own {
            say_again(&mut lan, sent);
            lan.run(20);
        }
        let after: u32 = (0..4)
            .map(|at| lan.nodes[at].engine().counters().dropped_total())
            .sum();
        assert!(
            after - before >= 4 * own.len() as u32,
            "seed {seed}: each is dropped by each router"
        );
        let foreign = (1..4)
            .map(|at| dropped(&lan, at, DropReason::OtherInstance))
            .sum::<u32>();
        assert!(foreign >= 3 * 15, "seed {seed}: {foreign} for their instance");
        stand.holds_with_keys(&lan);
        nothing_refused(&mut lan);
    });
}

/// A router that died after two boots under one Rekey SA is made to speak by turns: whenever one boot has been silent for
/// hold, the other is played. Neither is believed: both are of a generation that is over. So the heir of a dead GCKS does
/// not wait for it, and there are new keys.
#[test]
fn a_dead_router_that_speaks_by_turns() {
    seeds(3, |seed| {
        let mut lan = Lan::settled(seed, 5);
        let boots = two_boots(&mut lan, 0);
        let boots = boots.map(|boot| announcements(&boot));
        assert!(
            boots.iter().all(|boot| boot.len() >= 20),
            "seed {seed}: enough was said"
        );
        lan.run(6_000);
        let key = lan.key_of(1);
        lan.crash(4);
        let died = lan.now;
        let refused = |lan: &Lan| {
            let all = (1..4).map(|at| {
                dropped(lan, at, DropReason::OtherInstance) + dropped(lan, at, DropReason::Replayed)
            });
            all.sum::<u32>()
        };
        let before = refused(&lan);
        'attack: for turn in 0.. {
            for sent in &boots[turn % 2] {
                say_again(&mut lan, sent);
                lan.run(1_000);
                if lan.key_of(1) != key || lan.now > died + 200_000 {
                    break 'attack;
                }
            }
            lan.run(4_000);
        }
        let took = lan.now - died;
        // Silent for hold, an heir's hold, and the two phases of a rollover.
        assert!(took <= 20_000, "seed {seed}: new keys after {took} ms");
        assert!(
            refused(&lan) - before >= 24,
            "seed {seed}: the words of both boots were heard"
        );
        lan.settle(20_000);
        nothing_refused(&mut lan);
    });
}

/// The same while the GCKS lives: it knows the router's instance from an exchange, and does not wait for it.
#[test]
fn a_dead_member_that_speaks_by_turns() {
    seeds(3, |seed| {
        let mut lan = Lan::settled(seed, 5);
        let boots = two_boots(&mut lan, 0).map(|boot| announcements(&boot));
        let gcks = lan.gcks();
        let done = completed(&lan.nodes[gcks]);
        lan.command(gcks, REKEY).unwrap();
        let asked = lan.now;
        'attack: for turn in 0..8 {
            for sent in &boots[turn % 2] {
                say_again(&mut lan, sent);
                lan.run(1_000);
                if completed(&lan.nodes[gcks]) > done {
                    break 'attack;
                }
            }
            lan.run(4_000);
        }
        // Silent for hold, and a push that timed out.
        assert!(lan.now - asked <= 35_000, "seed {seed}: {} ms", lan.now - asked);
        assert!(completed(&lan.nodes[gcks]) > done, "seed {seed}");
        nothing_refused(&mut lan);
    });
}

/// An heir that never heard the dead router live cannot know its words for old. It waits for whoever speaks and does not
/// register until the Active key's successor is due, and no longer; no adjacency is lost.
#[test]
fn a_dead_router_speaks_to_an_heir_that_never_knew_it() {
    seeds(3, |seed| {
        let mut lan = Lan::of(seed, 4);
        lan.set(|s| {
            s.key_lifetime = Duration::from_secs(240);
            s.dtd = Duration::from_secs(5);
        });
        for at in [0, 1, 3] {
            lan.start(at);
        }
        lan.settle(20_000);
        lan.record = Some(Vec::new());
        lan.run(60_000);
        let mut words = announcements(&lan.record.take().unwrap());
        words.retain(|s| s.by == Some(0));
        lan.crash(0);
        lan.run(20_000);
        lan.start(2);
        lan.settle(60_000);
        lan.run(3_000);
        let key = lan.key_of(2);
        lan.crash(3);
        let died = lan.now;
        let mut said = 0;
        for sent in words.iter().cycle() {
            said += 1;
            say_again(&mut lan, sent);
            lan.run(2_000);
            if lan.key_of(2) != key {
                break;
            }
            assert!(lan.now - died <= 240_000, "seed {seed}: a lifetime at most");
        }
        println!("seed {seed}: held up for {} ms by {said} words", lan.now - died);
        assert!(lan.now - died >= 40_000, "seed {seed}: it was waited for");
        lan.settle(20_000);
        nothing_refused(&mut lan);
    });
}
