//! A member turned bad: it holds the group's keys and a good credential, and not the key that the GCKS signs with.
//!
//! What it can read and forge of the routing protocols is lost until it is evicted (PROTOCOL.md section 13). What these
//! tests show is what the key management itself loses to it.

use karp_core::{
    command::Command,
    crypto::{Secret, SigningKey},
    error::DropReason,
    identity::Grant,
    io::{Alarm, Event, Role},
    time::Duration,
};

use super::{
    attacker::{REKEY, Stand, dropped},
    common::{
        Lan, forge,
        history::{completed, nothing_refused, started},
        peek::{self, ElectionState},
        seeds,
        wire::{Injection, Sent},
    },
    puppet::{Puppet, Words, nothing},
};

/// A settled group of `count` routers, and one more member that the test plays.
fn infiltrated(seed: u64, count: usize) -> (Lan, Puppet) {
    infiltrate(Lan::of(seed, count + 1))
}

/// The same on a LAN that was prepared: the last router is the one to be played.
fn infiltrate(mut lan: Lan) -> (Lan, Puppet) {
    let last = lan.nodes.len() - 1;
    for at in 0..last {
        lan.start(at);
    }
    lan.settle(20_000);
    lan.run(3_000);
    let mut insider = Puppet::new(&mut lan, last);
    let gcks = lan.gcks();
    insider.join(&mut lan, gcks);
    (lan, insider)
}

/// Lets `ms` pass, with the insider announcing all that it should.
fn live(lan: &mut Lan, insider: &mut Puppet, ms: u64) {
    let end = lan.now + ms;
    while lan.now < end {
        let generation = lan.nodes[lan.gcks()].engine().generation();
        insider.announce(lan, generation);
        lan.run(1_000.min(end - lan.now));
    }
}

/// The last announcement of a router.
fn last_words(lan: &mut Lan, of: usize) -> Sent {
    lan.record = Some(Vec::new());
    lan.run(1_200);
    let record = lan.record.take().unwrap();
    let mut own = record
        .into_iter()
        .rev()
        .filter(|s| s.by == Some(of) && s.header().exchange == peek::GCKS_ELECTION);
    own.next().expect("it announces itself")
}

/// Says in the name and from the place of `as_of` what `state` says, with a sequence that is new.
fn impersonate<'a>(genuine: &Sent, name: &'a str, state: ElectionState, ahead: u32) -> Words<'a> {
    let header = genuine.header();
    Words {
        name,
        from: genuine.from,
        instance: header.spi_i,
        sequence: header.id + ahead,
        state,
        handoff: None,
        sign: None,
    }
}

/// The keys that the insider signs with when it signs: not the term's.
fn own_key(nth: u8) -> SigningKey {
    SigningKey::from_seed(&Secret::from_bytes([nth; 32]))
}

/// LEAVING, HANDOFF to itself and to another, the end of the office, another term: in the GCKS's name, from its address,
/// with good MACs. Unsigned or signed with another key all of it is dropped: nobody moves, no key changes, and the
/// words of the real GCKS are not pushed aside.
#[test]
fn forged_leaving_handoff_and_end_of_the_gcks() {
    seeds(3, |seed| {
        let (mut lan, mut insider) = infiltrated(seed, 4);
        live(&mut lan, &mut insider, 3_000);
        let gcks = lan.gcks();
        let name = lan.nodes[gcks].name.clone();
        let genuine = last_words(&mut lan, gcks);
        let state = peek::election(&genuine.octets).unwrap();
        let member = last_words(&mut lan, 0).header().spi_i;
        let stand = Stand::of(&lan, &[0, 1, 2, 3]);
        let key = own_key(1);
        let with_state = |code: u8, flags: u8| ElectionState {
            state: code,
            flags,
            ..state
        };
        let lies = [
            (
                with_state(ElectionState::GCKS, ElectionState::KEYED | ElectionState::LEAVING),
                None,
            ),
            (state, Some(insider.instance)),
            (state, Some(member)),
            (with_state(ElectionState::MEMBER, ElectionState::KEYED), None),
            (
                with_state(ElectionState::MEMBER, ElectionState::KEYED),
                Some(member),
            ),
            (with_state(ElectionState::INITIAL, 0), None),
            // As if it had rolled over further than it has: members would ask it for the state again and again.
            (
                ElectionState {
                    generation: state.generation + 9,
                    ..state
                },
                None,
            ),
        ];
        let before: u32 = (0..4).map(|at| dropped(&lan, at, DropReason::BadSignature)).sum();
        let mut told = 0;
        for ahead in [1_000, 2_000_000_000] {
            for (lie, handoff) in lies {
                for sign in [None, Some(&key)] {
                    let mut words = impersonate(&genuine, &name, lie, ahead + told);
                    words.handoff = handoff;
                    words.sign = sign;
                    let octets = insider.speak(&words);
                    lan.inject(Injection::new(genuine.from, lan.multicast(), octets));
                    told += 1;
                    lan.run(150);
                }
            }
        }
        let after: u32 = (0..4).map(|at| dropped(&lan, at, DropReason::BadSignature)).sum();
        // Three members each; the GCKS itself knows its own name.
        assert_eq!(
            after - before,
            3 * told,
            "seed {seed}: every one was read and refused"
        );
        live(&mut lan, &mut insider, 10_000);
        stand.holds_with_keys(&lan);
        assert!(lan.is_one_group(&[0, 1, 2, 3]));
        nothing_refused(&mut lan);
    });
}

/// Another term in the GCKS's name: its own name and instance, under a Rekey SA that nobody has. It may be an heir's
/// claim, so it is no forgery by itself; but while the real one is heard, nobody goes after it.
#[test]
fn another_term_in_the_name_of_the_gcks() {
    seeds(3, |seed| {
        let (mut lan, mut insider) = infiltrated(seed, 4);
        live(&mut lan, &mut insider, 3_000);
        let gcks = lan.gcks();
        let name = lan.nodes[gcks].name.clone();
        let genuine = last_words(&mut lan, gcks);
        let stand = Stand::of(&lan, &[0, 1, 2, 3]);
        let taken = |lan: &Lan| {
            (0..4)
                .map(|at| {
                    let kind = karp_core::io::MessageKind::Announcement;
                    lan.nodes[at].engine().counters().received(kind).messages
                })
                .sum::<u32>()
        };
        let before = taken(&lan);
        for nth in 0..40 {
            let state = ElectionState {
                spi: [nth; 16],
                ..forge::pretender()
            };
            let words = impersonate(&genuine, &name, state, 1_000_000 + u32::from(nth));
            let octets = insider.speak(&words);
            lan.inject(Injection::new(genuine.from, lan.multicast(), octets));
            lan.run(250);
        }
        assert!(
            taken(&lan) - before >= 120,
            "they were taken for what they may be"
        );
        stand.holds_with_keys(&lan);
        live(&mut lan, &mut insider, 5_000);
        stand.holds_with_keys(&lan);
        nothing_refused(&mut lan);
    });
}

/// Key updates that the insider seals itself: unsigned, signed with a key of its own, a genuine one under later Message
/// IDs, one with a key of the insider's. No key changes, no generation moves, and the next genuine update is taken.
#[test]
fn forged_key_updates() {
    seeds(3, |seed| {
        let (mut lan, mut insider) = infiltrated(seed, 4);
        live(&mut lan, &mut insider, 8_000);
        let gcks = lan.gcks();
        lan.record = Some(Vec::new());
        lan.command(gcks, REKEY).unwrap();
        live(&mut lan, &mut insider, 10_000);
        let record = lan.record.take().unwrap();
        let genuine = record
            .iter()
            .rev()
            .find(|s| s.header().exchange == peek::GSA_REKEY)
            .expect("a rollover was seen")
            .clone();
        let stand = Stand::of(&lan, &[0, 1, 2, 3]);
        let generation = lan.nodes[0].engine().generation();
        let key = own_key(2);
        let said = insider.payloads_of(&genuine.octets);
        let tek = Secret::from_bytes([0x5a; 32]);
        let [gsa, kd] = insider.group().state_with(200, &tek);
        let own = vec![(51, gsa), (52, kd)];
        let before = dropped(&lan, 0, DropReason::BadSignature);
        let mut sent = 0;
        for payloads in [&said, &own] {
            for sign in [None, Some(&key)] {
                for ahead in [0, 1, 1_000, u32::MAX - generation] {
                    let octets = insider.update(generation + ahead, payloads, sign);
                    lan.inject(Injection::new(genuine.from, lan.multicast(), octets));
                    sent += 1;
                    lan.run(20);
                }
            }
        }
        assert_eq!(
            dropped(&lan, 0, DropReason::BadSignature) - before,
            sent,
            "seed {seed}: every one was opened and refused"
        );
        stand.holds_with_keys(&lan);
        assert_eq!(lan.nodes[0].engine().generation(), generation);
        // The real one goes on.
        let before = lan.key_of(0);
        lan.command(gcks, REKEY).unwrap();
        live(&mut lan, &mut insider, 12_000);
        assert_ne!(lan.key_of(0), before);
        assert!(lan.is_one_group(&[0, 1, 2, 3]));
        nothing_refused(&mut lan);
    });
}

/// Without controller signatures the same update is taken: that is what they are for, and that the forgery is a good
/// one.
#[test]
fn without_controller_signatures_an_update_is_forged() {
    let mut lan = Lan::of(1, 4);
    lan.set(|s| s.controller_signatures = false);
    let (mut lan, mut insider) = infiltrate(lan);
    live(&mut lan, &mut insider, 5_000);
    lan.hellos.strict = false;
    let generation = lan.nodes[0].engine().generation();
    let [gsa, kd] = insider.group().state_with(200, &Secret::from_bytes([0x5a; 32]));
    let octets = insider.update(generation, &[(51, gsa), (52, kd)], None);
    let (from, to) = (lan.nodes[2].address, lan.multicast());
    lan.inject(Injection::new(from, to, octets));
    lan.run(20);
    assert_eq!(lan.nodes[0].engine().generation(), generation + 1);
    let id = |at: usize| {
        lan.nodes[at]
            .sending(lan.hellos.protocols[0], lan.now)
            .unwrap()
            .id
    };
    assert_eq!(id(0), 200, "a member sends with the insider's key");
}

/// It claims another office of top priority, in its own name, while the GCKS lives. Members stay where they are. The
/// GCKS hears another office "authentically" and holds its rollovers back for as long as that goes on: a rollover waits
/// until 2 x hold after the last claim, and an eviction does not wait at all.
#[test]
fn a_claimed_office_holds_rollovers_up_and_moves_nobody() {
    seeds(3, |seed| {
        let (mut lan, mut insider) = infiltrated(seed, 4);
        live(&mut lan, &mut insider, 9_000);
        let gcks = lan.gcks();
        let stand = Stand::of(&lan, &[0, 1, 2, 3]);
        let claim = |lan: &mut Lan, insider: &mut Puppet| {
            let octets = insider.speak(&Words {
                name: &insider.name,
                from: insider.address,
                instance: insider.instance,
                sequence: insider.sequence,
                state: forge::pretender(),
                handoff: None,
                sign: None,
            });
            insider.sequence += 1;
            lan.inject(Injection::new(insider.address, lan.multicast(), octets));
            lan.run(500);
        };
        let before = completed(&lan.nodes[gcks]);
        claim(&mut lan, &mut insider);
        lan.command(gcks, REKEY).unwrap();
        for _ in 0..60 {
            claim(&mut lan, &mut insider);
        }
        assert_eq!(
            completed(&lan.nodes[gcks]),
            before,
            "seed {seed}: 30 s without a rollover"
        );
        stand.holds_with_keys(&lan);
        let ended = lan.now;
        lan.expect(20_000, "the rollover", |lan| completed(&lan.nodes[gcks]) > before);
        // 2 x hold, and the two phases of the rollover.
        let took = lan.now - ended;
        assert!(
            took <= 8_000 + 6_000,
            "seed {seed}: {took} ms after the last claim"
        );
        stand.holds(&lan);
        assert!(lan.is_one_group(&[0, 1, 2, 3]));
        nothing_refused(&mut lan);
        // It goes on, and is put out.
        claim(&mut lan, &mut insider);
        let who = lan.nodes[insider.at].identity.clone();
        lan.command(gcks, Command::Evict(&who)).unwrap();
        let (begun, key) = (lan.now, lan.key_of(gcks));
        while lan.key_of(gcks) == key || !lan.is_one_group(&[0, 1, 2, 3]) {
            claim(&mut lan, &mut insider);
            assert!(
                lan.now - begun <= 9_000,
                "seed {seed}: an eviction takes 2 x hold at most"
            );
        }
    });
}

/// The GCKS dies, and the insider claims to be its heir in the names of others, from ever new addresses: members drop
/// their turn for it and find nobody there. While that goes on nobody takes office, and every router keeps its keys;
/// when it ends, there is an heir.
#[test]
fn forged_heirs_hold_the_succession_up_while_they_last() {
    seeds(3, |seed| {
        let (mut lan, mut insider) = infiltrated(seed, 4);
        live(&mut lan, &mut insider, 5_000);
        let key = lan.key_of(0);
        lan.crash(3);
        // Its words reach all others: the one in whose name it speaks does not believe them, and takes its turn.
        for nth in 0..80_u32 {
            let octets = insider.speak(&Words {
                name: &insider.name,
                from: lan.address_of(300 + nth as usize),
                instance: insider.instance,
                sequence: insider.sequence + nth,
                state: forge::pretender(),
                handoff: None,
                sign: None,
            });
            let from = lan.address_of(300 + nth as usize);
            lan.inject(Injection::new(from, lan.multicast(), octets));
            lan.run(250);
        }
        for at in 0..3 {
            assert_eq!(lan.key_of(at), key, "seed {seed}: the keys live on");
        }
        let ended = lan.now;
        lan.settle(20_000);
        let took = lan.now - ended;
        assert!(took <= 15_000, "seed {seed}: an heir {took} ms after the end");
        nothing_refused(&mut lan);
    });
}

/// It acknowledges in the name of a member that hears no update: the office activates a key that this member does not
/// have. Lost are the packets that this member refuses for as long as updates and pushes are kept from it, and nobody
/// else's.
#[test]
fn forged_acknowledgements_cost_the_deaf_member_alone() {
    seeds(3, |seed| {
        let (mut lan, mut insider) = infiltrated(seed, 4);
        live(&mut lan, &mut insider, 9_000);
        lan.hellos.strict = false;
        let gcks = lan.gcks();
        let until = lan.now + 6_000;
        let victim = lan.nodes[0].address;
        // An attacker in its way: updates and pushes do not reach it.
        lan.tap(move |sent, hand| {
            let update = [peek::GSA_REKEY, peek::GSA_INBAND_REKEY].contains(&sent.header().exchange);
            if update && sent.at < until && !sent.header().is_response() {
                hand.hide_from.push(0);
            }
            if sent.at < until && sent.from == victim && sent.header().exchange == peek::GCKS_ELECTION {
                hand.drop = true;
            }
        });
        let words = last_words(&mut lan, 0);
        let state = peek::election(&words.octets).unwrap();
        lan.command(gcks, REKEY).unwrap();
        for nth in 0..12 {
            let told = ElectionState {
                generation: lan.nodes[gcks].engine().generation(),
                ..state
            };
            let octets = insider.speak(&impersonate(&words, "r1", told, 10 + nth));
            lan.inject(Injection::new(words.from, lan.multicast(), octets));
            let generation = lan.nodes[gcks].engine().generation();
            insider.announce(&mut lan, generation);
            lan.run(400);
        }
        assert!(lan.hellos.refused > 0, "seed {seed}: it was left behind");
        live(&mut lan, &mut insider, 12_000);
        assert!(
            lan.is_one_group(&[1, 2, 3]),
            "seed {seed}: nobody else lost anything"
        );
        // Its own words are replays now. The state is pushed to it, and it is taken.
        lan.expect(30_000, "the victim has the key", |lan| {
            lan.key_of(0) == lan.key_of(gcks)
        });
        let refused = lan.hellos.refused;
        live(&mut lan, &mut insider, 5_000);
        assert_eq!(
            lan.hellos.refused, refused,
            "seed {seed}: nothing more is refused"
        );
    });
}

/// It speaks in a member's name with a sequence far ahead, so that the member's own words count as replays. The member
/// stays: it answers when it is asked. A rollover waits for its acknowledgement until the old key's end, less DTD, and
/// then goes on with an alarm; no adjacency is lost.
#[test]
fn a_member_made_mute_holds_a_rollover_up_until_the_keys_end() {
    seeds(2, |seed| {
        let mut lan = Lan::of(seed, 5);
        lan.set(|s| {
            s.key_lifetime = Duration::from_secs(120);
            s.dtd = Duration::from_secs(5);
        });
        let (mut lan, mut insider) = infiltrate(lan);
        live(&mut lan, &mut insider, 3_000);
        let gcks = lan.gcks();
        let words = last_words(&mut lan, 0);
        let state = peek::election(&words.octets).unwrap();
        let octets = insider.speak(&impersonate(&words, "r1", state, u32::MAX / 2));
        lan.inject(Injection::new(words.from, lan.multicast(), octets));
        lan.run(20);
        let before = dropped(&lan, gcks, DropReason::Replayed);
        let key = lan.key_of(gcks);
        lan.command(gcks, REKEY).unwrap();
        live(&mut lan, &mut insider, 20_000);
        assert!(
            dropped(&lan, gcks, DropReason::Replayed) >= before + 15,
            "seed {seed}"
        );
        assert_eq!(lan.key_of(gcks), key, "seed {seed}: the rollover waits");
        assert_eq!(lan.nodes[0].role(), Role::Member);
        let begun = lan.now;
        while lan.key_of(gcks) == key {
            live(&mut lan, &mut insider, 1_000);
            assert!(lan.now - begun < 120_000, "seed {seed}: a lifetime at most");
        }
        assert!(lan.nodes[gcks].told.alarms.contains(&Alarm::ActivatedWithoutAll));
        assert_eq!(
            lan.key_of(0),
            lan.key_of(gcks),
            "seed {seed}: the mute one has the key all the same"
        );
        nothing_refused(&mut lan);
        // Its key management restarts: another instance, another exchange, and it is heard again.
        lan.restart_keying(0, 500);
        lan.expect(30_000, "all are heard", |lan| {
            lan.is_one_group(&[0, 1, 2, 3])
                && !lan.nodes[gcks].told.alarms.contains(&Alarm::ActivatedWithoutAll)
        });
    });
}

/// It announces itself and never acknowledges: a laggard like any other. A rollover waits until the old key's end, less
/// DTD, and goes on with an alarm; evicting it does not wait.
#[test]
fn a_member_that_never_acknowledges() {
    seeds(2, |seed| {
        let mut lan = Lan::of(seed, 5);
        lan.set(|s| {
            s.key_lifetime = Duration::from_secs(60);
            s.dtd = Duration::from_secs(5);
        });
        let (mut lan, mut insider) = infiltrate(lan);
        let gcks = lan.gcks();
        let key = lan.key_of(gcks);
        lan.command(gcks, REKEY).unwrap();
        let begun = lan.now;
        while lan.key_of(gcks) == key {
            insider.announce(&mut lan, 0);
            lan.run(1_000);
            assert!(lan.now - begun < 60_000, "seed {seed}: a lifetime at most");
        }
        assert!(lan.now - begun > 20_000, "seed {seed}: it was waited for");
        assert!(lan.nodes[gcks].told.alarms.contains(&Alarm::ActivatedWithoutAll));
        nothing_refused(&mut lan);
        let who = lan.nodes[insider.at].identity.clone();
        let key = lan.key_of(gcks);
        lan.command(gcks, Command::Evict(&who)).unwrap();
        lan.expect(9_000, "it is put out", |lan| {
            lan.key_of(gcks) != key && lan.is_one_group(&[0, 1, 2, 3])
        });
    });
}

/// It asks for new keys without end. The interval doubles while rollovers follow each other at once, up to a sixteenth
/// of the lifetime: in ten minutes there are few, and no adjacency is lost.
#[test]
fn rekey_requests_without_end() {
    seeds(2, |seed| {
        let (mut lan, mut insider) = infiltrated(seed, 4);
        live(&mut lan, &mut insider, 3_000);
        let gcks = lan.gcks();
        let begun = started(&lan.nodes[gcks]);
        let mut asked = 0;
        for _ in 0..600 {
            // OSPFv2, an operator's wish.
            let wish = nothing().notify(50964, &[0, 1, 0, 5]);
            asked += usize::from(insider.request(&mut lan, peek::INFORMATIONAL, wish).is_some());
            let generation = lan.nodes[gcks].engine().generation();
            insider.announce(&mut lan, generation);
            lan.run(990);
        }
        let rollovers = started(&lan.nodes[gcks]) - begun;
        assert!(asked >= 590, "seed {seed}: {asked} requests were answered");
        assert!(
            (2..=9).contains(&rollovers),
            "seed {seed}: {rollovers} rollovers in 10 minutes"
        );
        assert!(lan.is_one_group(&[0, 1, 2, 3]));
        nothing_refused(&mut lan);
    });
}

/// It shows keys of every id that there is. Ids that others report are not given to new keys; when none is left, the one
/// that rests longest is. Keys go on changing.
#[test]
fn key_id_exhaustion() {
    seeds(2, |seed| {
        let (mut lan, mut insider) = infiltrated(seed, 4);
        live(&mut lan, &mut insider, 3_000);
        let gcks = lan.gcks();
        let mut ids = 1..=255_u16;
        let mut shown = 0;
        loop {
            let mut keys = Vec::new();
            for id in ids.by_ref().take(8) {
                keys.extend(id.to_be_bytes());
                keys.extend([0, 3]);
                keys.extend([0xee; 8]);
            }
            if keys.is_empty() {
                break;
            }
            let ask = nothing()
                .identity(peek::IDG, 11, lan.group.as_bytes())
                .notify(50963, &keys);
            shown += usize::from(insider.request(&mut lan, peek::GSA_REGISTRATION, ask).is_some());
            lan.run(110);
        }
        assert_eq!(shown, 32, "seed {seed}: every request was taken");
        for _ in 0..4 {
            let key = lan.key_of(gcks);
            lan.command(gcks, REKEY).unwrap();
            live(&mut lan, &mut insider, 45_000);
            assert_ne!(lan.key_of(gcks), key, "seed {seed}: a new key found an id");
            assert!(lan.is_one_group(&[0, 1, 2, 3]));
        }
        nothing_refused(&mut lan);
    });
}

/// It registers as an office that merges, and asks on without ever showing a key. What is activated waits for it, as it
/// would for another half, until the old key's end; when it stops, for 2 x hold. Nobody yields to it, for it may not
/// serve, and evicting it does not wait.
#[test]
fn an_office_that_merges_for_ever() {
    seeds(2, |seed| {
        let mut lan = Lan::of(seed, 5);
        lan.set(|s| {
            s.key_lifetime = Duration::from_secs(120);
            s.dtd = Duration::from_secs(5);
        });
        let (mut lan, mut insider) = infiltrate(lan);
        let gcks = lan.gcks();
        let stand = Stand::of(&lan, &[0, 1, 2, 3]);
        let office = ElectionState {
            priority: 1,
            router_id: 1,
            members: 0,
            ..forge::pretender()
        };
        let taken = insider.register(&mut lan, gcks, &office, &[]);
        assert!(taken.is_some_and(|answer| answer.notify(peek::ELECTION_STATE).is_some()));
        let key = lan.key_of(gcks);
        let begun = lan.now;
        while lan.key_of(gcks) == key {
            let ask = nothing().identity(peek::IDG, 11, lan.group.as_bytes());
            insider.request(&mut lan, peek::GSA_REGISTRATION, ask);
            lan.run(992);
            assert!(lan.now - begun < 120_000, "seed {seed}: a lifetime at most");
        }
        let held = lan.now - begun;
        println!("seed {seed}: held up for {held} ms");
        assert!(held > 20_000, "seed {seed}: it was waited for");
        stand.holds(&lan);
        nothing_refused(&mut lan);
        let who = lan.nodes[insider.at].identity.clone();
        let key = lan.key_of(gcks);
        lan.command(gcks, Command::Evict(&who)).unwrap();
        lan.expect(9_000, "it is put out", |lan| {
            lan.key_of(gcks) != key && lan.is_one_group(&[0, 1, 2, 3])
        });
    });
}

/// A member that may join and not serve takes the part of the heir after the GCKS's death. It proves who it is, and is
/// refused for what it may not: the others go past it.
#[test]
fn an_heir_that_may_not_serve() {
    seeds(3, |seed| {
        let mut lan = Lan::of(seed, 5);
        let who = lan.nodes[4].identity.clone();
        for at in 0..4 {
            lan.nodes[at].store.grant(&who, Grant::MEMBER);
        }
        let (mut lan, mut insider) = infiltrate(lan);
        live(&mut lan, &mut insider, 5_000);
        lan.crash(3);
        for _ in 0..30 {
            let octets = insider.speak(&Words {
                name: &insider.name,
                from: insider.address,
                instance: insider.instance,
                sequence: insider.sequence,
                state: forge::pretender(),
                handoff: None,
                sign: None,
            });
            insider.sequence += 1;
            lan.inject(Injection::new(insider.address, lan.multicast(), octets));
            lan.run(500);
        }
        // The claims go on all the time, and there is an heir: who may not serve is no candidate.
        assert!(lan.is_one_group(&[0, 1, 2]), "seed {seed}: 15 s are enough");
        nothing_refused(&mut lan);
    });
}

/// Put out, with all the keys that it had: it opens nothing that is sent from then on, and nothing that it says under
/// the former Rekey SA is believed.
#[test]
fn an_evicted_insider_reads_and_says_nothing_more() {
    seeds(3, |seed| {
        let (mut lan, mut insider) = infiltrated(seed, 4);
        live(&mut lan, &mut insider, 9_000);
        let gcks = lan.gcks();
        // Until then it has what all have, and reads updates.
        let had = insider.group().routing_keys();
        assert!(had.contains(&lan.key_of(gcks).unwrap()));
        insider.mail();
        lan.command(gcks, REKEY).unwrap();
        live(&mut lan, &mut insider, 3_000);
        let mail = insider.mail();
        let updates = mail.iter().filter(|s| s.header().exchange == peek::GSA_REKEY);
        assert!(updates.clone().count() > 0);
        assert!(
            updates
                .into_iter()
                .all(|s| insider.group().open(&s.octets).is_some())
        );
        live(&mut lan, &mut insider, 9_000);
        let who = lan.nodes[insider.at].identity.clone();
        lan.command(gcks, Command::Evict(&who)).unwrap();
        insider.mail();
        let mut seen = 0;
        for round in 0..40 {
            if round == 20 {
                lan.command(gcks, REKEY).unwrap();
            }
            insider.announce(&mut lan, 5);
            lan.run(1_000);
            for sent in insider.mail() {
                if sent.octets[16] == peek::SK {
                    seen += 1;
                    let ike = insider.ike.as_ref().unwrap();
                    assert!(insider.group().open(&sent.octets).is_none() && ike.open(&sent.octets).is_none());
                }
            }
        }
        assert!(seen >= 4, "seed {seed}: {seen} sealed messages were sent");
        assert!(lan.is_one_group(&[0, 1, 2, 3]));
        for at in 0..4 {
            let rows = lan.nodes[at].rows(lan.now);
            assert!(rows.iter().all(|row| !had.contains(&row.octets)), "seed {seed}");
        }
        assert!(
            insider
                .register(&mut lan, gcks, &Puppet::newcomer(), &[])
                .is_some_and(|answer| { answer.notify(46).is_some() && answer.notify(50966).is_none() }),
            "seed {seed}: AUTHORIZATION_FAILED"
        );
        assert!(dropped(&lan, gcks, DropReason::Evicted) > 0, "seed {seed}");
        nothing_refused(&mut lan);
    });
}

/// It says LEAVING in the name of a member: the office does not wait for that one any more. The member hears updates as
/// before; if one is kept from it just then, it is left behind until it finds that out and registers again.
#[test]
fn forged_leaving_of_a_member() {
    seeds(3, |seed| {
        let (mut lan, mut insider) = infiltrated(seed, 4);
        live(&mut lan, &mut insider, 9_000);
        let gcks = lan.gcks();
        let words = last_words(&mut lan, 0);
        let state = peek::election(&words.octets).unwrap();
        let leaving = ElectionState {
            flags: state.flags | ElectionState::LEAVING,
            ..state
        };
        let octets = insider.speak(&impersonate(&words, "r1", leaving, 1));
        lan.inject(Injection::new(words.from, lan.multicast(), octets));
        live(&mut lan, &mut insider, 3_000);
        assert!(
            lan.nodes[gcks].saw(|e| matches!(e, Event::PeerLeft { peer } if *peer == lan.nodes[0].identity)),
            "seed {seed}: the GCKS believes it"
        );
        let key = lan.key_of(0);
        lan.command(gcks, REKEY).unwrap();
        live(&mut lan, &mut insider, 10_000);
        assert!(
            lan.key_of(0) != key && lan.is_one_group(&[0, 1, 2, 3]),
            "seed {seed}: it hears updates"
        );
        nothing_refused(&mut lan);
        lan.hellos.strict = false;
        let until = lan.now + 6_000;
        lan.tap(move |sent, hand| {
            if sent.header().exchange == peek::GSA_REKEY && sent.at < until {
                hand.hide_from.push(0);
            }
        });
        lan.command(gcks, REKEY).unwrap();
        live(&mut lan, &mut insider, 6_000);
        let deaf = lan.now;
        lan.expect(20_000, "it has registered again", |lan| {
            lan.is_one_group(&[0, 1, 2, 3])
        });
        println!("seed {seed}: back {} ms after it could hear", lan.now - deaf);
        let refused = lan.hellos.refused;
        live(&mut lan, &mut insider, 5_000);
        assert_eq!(lan.hellos.refused, refused);
    });
}

/// In a group that preempts it gives a member the highest priority, in the member's name. The GCKS hands over to that one,
/// which may serve and hands back: the office moves while the insider goes on, and nothing else is lost.
#[test]
fn a_forged_priority_moves_the_office_of_a_group_that_preempts() {
    seeds(3, |seed| {
        let mut lan = Lan::of(seed, 5);
        lan.set(|s| s.preempt = true);
        let (mut lan, mut insider) = infiltrate(lan);
        live(&mut lan, &mut insider, 9_000);
        assert_eq!(lan.gcks(), 3);
        for nth in 0..20 {
            let words = last_words(&mut lan, 0);
            let Some(state) = peek::election(&words.octets).filter(|s| s.spi == insider.group().spi) else {
                break;
            };
            let best = ElectionState {
                priority: u16::MAX,
                ..state
            };
            let octets = insider.speak(&impersonate(&words, "r1", best, 1 + nth % 2));
            lan.inject(Injection::new(words.from, lan.multicast(), octets));
            lan.run(300);
            if lan.nodes[0].role() == Role::Gcks {
                break;
            }
        }
        lan.expect(10_000, "the office moved", |lan| {
            lan.nodes[0].role() == Role::Gcks
        });
        // The insider knows no key of that office: it is over.
        lan.expect(90_000, "the office is where it belongs", |lan| {
            lan.nodes[3].role() == Role::Gcks && lan.is_one_group(&[0, 1, 2, 3])
        });
        nothing_refused(&mut lan);
    });
}

/// Message IDs far ahead, behind, and the last there is: requests only move forward, and what it does to its own window is
/// its own affair.
#[test]
fn message_ids_outside_the_window() {
    let (mut lan, mut insider) = infiltrated(1, 4);
    live(&mut lan, &mut insider, 3_000);
    let gcks = lan.gcks();
    let stand = Stand::of(&lan, &[0, 1, 2, 3]);
    let mut ask = |lan: &mut Lan, id: u32| {
        lan.run(110);
        insider
            .request_as(lan, id, peek::INFORMATIONAL, nothing())
            .is_some()
    };
    assert!(ask(&mut lan, 2));
    assert!(ask(&mut lan, 1_000_000), "a gap is one that was given up");
    let before = dropped(&lan, gcks, DropReason::OutOfWindow);
    assert!(!ask(&mut lan, 3) && !ask(&mut lan, 999_999) && !ask(&mut lan, u32::MAX));
    assert_eq!(dropped(&lan, gcks, DropReason::OutOfWindow), before + 3);
    assert!(ask(&mut lan, 1_000_000), "the last one again");
    assert!(ask(&mut lan, u32::MAX - 1));
    assert!(!ask(&mut lan, u32::MAX) && !ask(&mut lan, 0));
    stand.holds_with_keys(&lan);
    nothing_refused(&mut lan);
}
