//! From the first message to the last: start, rollover, rekey, restart, end.

use karp_core::{
    Duration, Identity,
    io::MessageKind,
    keytable::RowState,
    pairwise::{Command, Cookies, DownReason, Event, Failure, Settings},
};

use crate::{
    common::{credentials::Proof, seeds},
    lab::{Lab, Link, bgp},
};

fn started_with(seed: u64, link: Link, change: impl Fn(usize, &mut Settings)) -> Lab {
    let mut lab = Lab::new(seed, link, Proof::PairKeys, |side, settings| {
        settings.tries = 12;
        change(side, settings);
    });
    lab.boot(1);
    lab.boot(0);
    assert!(lab.wait(120_000, Lab::settled), "{}", lab.story());
    lab.hitless = true;
    lab
}

fn started(seed: u64, link: Link) -> Lab {
    started_with(seed, link, |_, _| {})
}

fn count(lab: &Lab, side: usize, wanted: impl Fn(&Event) -> bool) -> usize {
    lab.events(side).iter().filter(|event| wanted(event)).count()
}

fn downs(lab: &Lab, side: usize) -> Vec<DownReason> {
    let reason = |event: &Event| match event {
        Event::Down { reason } => Some(*reason),
        _ => None,
    };
    lab.events(side).iter().filter_map(reason).collect()
}

fn sending(lab: &Lab, side: usize) -> Vec<u8> {
    lab.pair(side).key_table().sending(0).unwrap().octets().to_vec()
}

#[test]
fn one_starts_and_both_have_a_key() {
    for proof in [Proof::PairKeys, Proof::Signatures] {
        let mut lab = Lab::new(1, Link::CLEAN, proof, |_, _| {});
        lab.boot(1);
        lab.boot(0);
        assert!(lab.wait(1000, Lab::settled), "{}", lab.story());
        // IKE_SA_INIT, IKE_AUTH, CREATE_CHILD_SA and the request that shows that the key is held: four round trips.
        lab.run(1000);
        assert_eq!(lab.sent.len(), 8, "{}", lab.story());
        assert!(matches!(lab.events(0)[0], Event::Up { initiated: true, .. }));
        assert!(matches!(lab.events(1)[0], Event::Up { initiated: false, .. }));
        assert_eq!(sending(&lab, 0), sending(&lab, 1));
        let (a, b) = (lab.pair(0).key_table(), lab.pair(1).key_table());
        let (a, b) = (a.sending(0).unwrap(), b.sending(0).unwrap());
        assert_eq!((a.send_id, a.recv_id), (b.recv_id, b.send_id));
        assert_eq!((a.state, b.state), (RowState::Active, RowState::Active));
    }
}

#[test]
fn it_starts_over_a_rough_link() {
    seeds(25, |seed| {
        let mut lab = started(seed, Link::ROUGH);
        lab.run(2000);
        assert!(lab.accepted > 300, "{}", lab.accepted);
    });
}

/// Each side's packets are accepted through every change of the key, whoever asks for it, and over any link.
#[test]
fn rollovers_are_hitless() {
    for link in [Link::CLEAN, Link::ROUGH] {
        seeds(15, |seed| {
            let mut lab = started_with(seed, link, |_, settings| settings.dtd = Duration::from_secs(5));
            let mut keys = vec![sending(&lab, 0)];
            for turn in 0..6 {
                lab.command(turn % 2, Command::Rekey { session: 0 });
                let old = keys.last().unwrap().clone();
                let done = lab.wait(300_000, |lab| {
                    sending(lab, 0) != old && sending(lab, 0) == sending(lab, 1)
                });
                assert!(done, "seed {seed}\n{}", lab.story());
                keys.push(sending(&lab, 0));
                // Sometimes before the old key is gone.
                lab.run(if turn % 3 == 0 { 200 } else { 8_000 });
            }
            lab.run(60_000);
            keys.sort();
            keys.dedup();
            assert_eq!(keys.len(), 7);
            for side in [0, 1] {
                assert_eq!(lab.pair(side).key_table().rows().count(), 1, "{}", lab.story());
                assert!(downs(&lab, side).is_empty(), "{}", lab.story());
                assert_eq!(
                    count(&lab, side, |event| matches!(event, Event::KeyRemoved(_))),
                    6,
                    "{}",
                    lab.story()
                );
            }
        });
    }
}

/// Both ask for the next key at once, again and again.
#[test]
fn simultaneous_rollovers_are_hitless() {
    seeds(25, |seed| {
        let link = if seed % 2 == 0 { Link::CLEAN } else { Link::ROUGH };
        let mut lab = started_with(seed, link, |_, settings| settings.dtd = Duration::from_secs(2));
        for _ in 0..5 {
            let old = sending(&lab, 0);
            lab.command(0, Command::Rekey { session: 0 });
            lab.command(1, Command::Rekey { session: 0 });
            let done = lab.wait(300_000, |lab| sending(lab, 0) != old && sending(lab, 1) != old);
            assert!(done, "seed {seed}\n{}", lab.story());
            lab.run(seed * 37 % 3000);
        }
        lab.run(60_000);
        for side in [0, 1] {
            assert_eq!(
                lab.pair(side).key_table().rows().count(),
                1,
                "seed {seed}\n{}",
                lab.story()
            );
            assert!(downs(&lab, side).is_empty(), "seed {seed}\n{}", lab.story());
        }
        assert_eq!(sending(&lab, 0), sending(&lab, 1));
    });
}

/// The IKE SA is replaced by one side, then by the other, then by both at once, and keys go on.
#[test]
fn the_ike_sa_is_rekeyed() {
    seeds(25, |seed| {
        let link = if seed % 2 == 0 { Link::CLEAN } else { Link::ROUGH };
        let mut lab = started(seed, link);
        for turn in 0..9 {
            let before = lab.pair(0).ike_sa();
            if turn % 3 != 1 {
                lab.command(0, Command::RekeyIkeSa);
            }
            if turn % 3 != 0 {
                lab.command(1, Command::RekeyIkeSa);
            }
            let done = lab.wait(300_000, |lab| lab.pair(0).ike_sa() != before && lab.settled());
            assert!(done, "seed {seed} turn {turn}\n{}", lab.story());
            lab.run(seed * 53 % 2000);
        }
        // The keys are those of the first IKE SA, and a new one can be made under the last.
        let old = sending(&lab, 0);
        assert_eq!(lab.seen[0].len(), 1);
        lab.command(1, Command::Rekey { session: 0 });
        let done = lab.wait(300_000, |lab| sending(lab, 0) != old && sending(lab, 1) != old);
        assert!(done, "seed {seed}\n{}", lab.story());
        for side in [0, 1] {
            assert!(downs(&lab, side).is_empty(), "{}", lab.story());
        }
    });
}

/// Everything at once: new keys and new IKE SAs are asked for by both at random.
#[test]
fn what_crosses_is_sorted_out() {
    seeds(25, |seed| {
        let mut lab = started_with(seed, Link::ROUGH, |_, settings| {
            settings.dtd = Duration::from_secs(2)
        });
        let mut dice = crate::common::dice::Dice::new(seed, 77);
        for _ in 0..30 {
            let side = dice.index(2);
            let command = *dice.pick(&[Command::Rekey { session: 0 }, Command::RekeyIkeSa, Command::Probe]);
            lab.command(side, command);
            lab.run(dice.below(1500));
        }
        assert!(lab.wait(600_000, Lab::settled), "seed {seed}\n{}", lab.story());
        lab.run(60_000);
        assert!(lab.settled(), "seed {seed}\n{}", lab.story());
        for side in [0, 1] {
            assert!(downs(&lab, side).is_empty(), "seed {seed}\n{}", lab.story());
            assert_eq!(
                lab.pair(side).key_table().rows().count(),
                1,
                "seed {seed}\n{}",
                lab.story()
            );
        }
    });
}

/// Both start at once: one IKE SA is left, and one key.
#[test]
fn both_start_at_once() {
    seeds(60, |seed| {
        let link = if seed % 2 == 0 { Link::CLEAN } else { Link::ROUGH };
        let mut lab = Lab::new(seed, link, Proof::PairKeys, |_, settings| {
            settings.initiate = true;
            settings.tries = 12;
        });
        lab.boot(0);
        lab.boot(1);
        assert!(lab.wait(120_000, Lab::settled), "seed {seed}\n{}", lab.story());
        lab.hitless = true;
        lab.run(60_000);
        assert!(lab.settled(), "seed {seed}\n{}", lab.story());
        for side in [0, 1] {
            assert_eq!(
                lab.pair(side).key_table().rows().count(),
                1,
                "seed {seed}\n{}",
                lab.story()
            );
        }
        assert_eq!(sending(&lab, 0), sending(&lab, 1));
    });
}

/// A router that starts anew is given keys that it never had.
#[test]
fn a_restart_brings_new_keys() {
    seeds(15, |seed| {
        let link = if seed % 2 == 0 { Link::CLEAN } else { Link::ROUGH };
        for side in [0, 1] {
            let mut lab = Lab::new(seed, link, Proof::PairKeys, |_, settings| {
                settings.initiate = true;
                settings.tries = 5;
            });
            lab.boot(0);
            lab.boot(1);
            assert!(lab.wait(120_000, Lab::settled), "{}", lab.story());
            lab.run(3000);
            let before = lab.seen.clone();
            lab.sides[side].pair = None;
            lab.run(2000);
            lab.boot(side);
            let fresh = |lab: &Lab| lab.settled() && !before[0].contains(&sending(lab, 0));
            assert!(lab.wait(120_000, fresh), "seed {seed}\n{}", lab.story());
            for own in [0, 1] {
                for row in lab.pair(own).key_table().rows() {
                    let old = before[own].contains(row.octets());
                    // What the other side kept of the old session it accepts for DTD at most, and the restarted never.
                    assert!(!old || (own != side && row.state == RowState::Retiring));
                }
            }
            lab.run(60_000);
            for own in [0, 1] {
                for row in lab.pair(own).key_table().rows() {
                    assert!(
                        !before[own].contains(row.octets()),
                        "seed {seed}\n{}",
                        lab.story()
                    );
                }
            }
        }
    });
}

/// A peer that falls silent is found out, its keys go after DTD, and it is taken back when it is there again.
#[test]
fn a_lost_peer_loses_its_keys() {
    let mut lab = Lab::new(3, Link::CLEAN, Proof::PairKeys, |_, _| {});
    lab.boot(1);
    lab.boot(0);
    assert!(lab.wait(1000, Lab::settled));
    lab.run(1000);
    lab.cut = true;
    // Liveness after 10 s; five tries at 500 ms, doubled, are over after 15.5 s.
    lab.run(24_000);
    assert!(lab.pair(0).is_up() && lab.pair(1).is_up());
    lab.run(3_000);
    for side in [0, 1] {
        assert_eq!(downs(&lab, side), [DownReason::PeerLost], "{}", lab.story());
        assert!(lab.pair(side).key_table().sending(0).is_some(), "DTD is not over");
    }
    lab.run(31_000);
    for side in [0, 1] {
        assert_eq!(lab.pair(side).key_table().rows().count(), 0, "{}", lab.story());
    }
    lab.cut = false;
    assert!(lab.wait(120_000, Lab::settled), "{}", lab.story());
}

#[test]
fn stop_tells_the_peer_and_both_forget() {
    for side in [0, 1] {
        let mut lab = started(5, Link::CLEAN);
        lab.hitless = false;
        // The other side shall not begin anew at once.
        lab.command(side, Command::Stop);
        lab.run(100);
        assert_eq!(downs(&lab, side), [DownReason::Stopped]);
        assert_eq!(downs(&lab, 1 - side), [DownReason::Deleted]);
        for own in [0, 1] {
            assert!(!lab.pair(own).is_up());
            assert_eq!(lab.pair(own).key_table().rows().count(), 0);
        }
        lab.command(side, Command::Start);
        assert!(lab.wait(120_000, Lab::settled), "{}", lab.story());
    }
}

#[test]
fn lifetimes_renew_by_themselves() {
    let mut lab = started_with(9, Link::CLEAN, |_, settings| {
        settings.lifetime = Duration::from_secs(60);
        settings.ike_lifetime = Duration::from_secs(100);
        settings.dtd = Duration::from_secs(5);
    });
    lab.run(600_000);
    assert!(lab.settled(), "{}", lab.story());
    let keys = lab.pair(0).pair_counters().keys_made;
    // Replaced after 48 to 54 s.
    assert!((11..=13).contains(&keys), "{keys}");
    assert!((6..=7).contains(&lab.pair(0).pair_counters().ike_rekeys));
}

#[test]
fn a_cookie_is_given_to_who_asks() {
    seeds(20, |seed| {
        let link = if seed % 2 == 0 { Link::CLEAN } else { Link::ROUGH };
        let lab = started_with(seed, link, |_, settings| settings.cookies = Cookies::Always);
        assert!(lab.pair(0).pair_counters().cookies_given >= 1);
        assert!(lab.pair(1).pair_counters().cookies_asked >= 1);
    });
}

fn fails(change: impl Fn(&mut Lab)) -> (Vec<Failure>, Lab) {
    let mut lab = Lab::new(4, Link::CLEAN, Proof::PairKeys, |_, _| {});
    change(&mut lab);
    lab.boot(1);
    lab.boot(0);
    lab.run(4_000);
    assert!(!lab.pair(0).is_up() && !lab.pair(1).is_up(), "{}", lab.story());
    let reason = |event: &Event| match event {
        Event::Failed { reason } => Some(*reason),
        _ => None,
    };
    let reasons = lab.events(0).iter().filter_map(reason).collect();
    (reasons, lab)
}

#[test]
fn a_wrong_key_is_refused() {
    let (reasons, lab) = fails(|lab| lab.sides[0].store.spoil(&crate::lab::identity(1)));
    assert_eq!(reasons, [Failure::ProofRefused], "{}", lab.story());
    assert_eq!(lab.pair(1).pair_counters().failures, 1);
}

#[test]
fn another_identity_is_refused() {
    let stranger = Identity::fqdn("c.example").unwrap();
    let (reasons, lab) = fails(|lab| {
        lab.sides[1].settings.identity = stranger.clone();
        let store = &mut lab.sides[1].store;
        store.know(&crate::lab::identity(0));
    });
    // The initiator names whom it wants (IDr), and the responder is not that one.
    assert_eq!(reasons, [Failure::ProofRefused], "{}", lab.story());
}

#[test]
fn two_sessions_have_two_keys() {
    let mut lab = started_with(2, Link::CLEAN, |side, settings| {
        let mut second = bgp(side);
        second.local.port = Some(if side == 0 { 1790 } else { 179 });
        second.remote.port = Some(if side == 0 { 179 } else { 1790 });
        settings.sessions.push(second).unwrap();
    });
    let keys: Vec<_> = (0..2)
        .map(|session| lab.pair(0).key_table().sending(session).unwrap())
        .collect();
    assert_ne!(keys[0].octets(), keys[1].octets());
    assert_ne!(keys[0].recv_id, keys[1].recv_id);
    lab.command(1, Command::Rekey { session: 1 });
    lab.run(1000);
    let table = lab.pair(0).key_table();
    assert_eq!(table.sending(0).unwrap().octets(), keys[0].octets());
    assert_ne!(table.sending(1).unwrap().octets(), keys[1].octets());
}

/// A session that the peer does not have is refused, and the IKE SA stands.
#[test]
fn an_unknown_session_is_refused() {
    let mut lab = Lab::new(2, Link::CLEAN, Proof::PairKeys, |side, settings| {
        if side == 1 {
            settings.sessions.clear();
        }
    });
    lab.boot(1);
    lab.boot(0);
    lab.run(30_000);
    assert!(lab.pair(0).is_up() && lab.pair(1).is_up());
    assert!(lab.pair(0).key_table().sending(0).is_none());
    let asked = lab
        .sent
        .iter()
        .filter(|sent| sent.kind == MessageKind::CreateChild)
        .count();
    assert_eq!(asked, 1, "it is not repeated at once\n{}", lab.story());
}
