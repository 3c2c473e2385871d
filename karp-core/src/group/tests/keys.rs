//! Traffic keys at one node: applied, made, advanced, ended (PROTOCOL.md sections 6 and 7).

use std::vec::Vec;

use super::super::{CheckedState, CheckedTek, apply::manual_bit};
use crate::{
    config::{Expiry, KeyUse, ResumedKey},
    crypto::Secret,
    io::Alarm,
    node::{Core, ManualStage},
    testing::{Bench, Proof, at, key, seconds},
    wire::{KeyState, gsa::TekPolicy},
};

fn listed(id: u16, state: KeyState, octet: u8) -> CheckedTek {
    CheckedTek {
        policy: TekPolicy {
            id,
            state,
            lifetime_s: 100,
            protocols: Some(key(id, state).protocols),
        },
        key: (state != Retiring).then(|| Secret::from_bytes([octet; 32])),
    }
}

fn state(teks: impl IntoIterator<Item = CheckedTek>) -> CheckedState {
    CheckedState {
        rekey_sa: None,
        dtd_s: None,
        teks: teks.into_iter().collect(),
    }
}

/// The living keys, by id.
fn living(core: &Core<'_>) -> Vec<(u16, KeyState)> {
    let mut all: Vec<_> = core
        .keys
        .rows()
        .filter(|key| key.lives())
        .map(|key| (key.id, key.state))
        .collect();
    all.sort_unstable_by_key(|(id, _)| *id);
    all
}

fn add(core: &mut Core<'_>, id: u16, state: KeyState, change: impl FnOnce(&mut super::super::TrafficKey)) {
    let mut key = key(id, state);
    change(&mut key);
    core.keys.insert(key).unwrap();
}

fn get<'a>(core: &'a Core<'_>, id: u16) -> &'a super::super::TrafficKey {
    core.keys.rows().find(|key| key.lives() && key.id == id).unwrap()
}

use KeyState::{Active, Pending, Retiring};

/// Section 7: absence deletes only what a state of the same Rekey SA had listed, and only a whole state has absences.
#[test]
fn absence_deletes_what_the_same_rekey_sa_had_listed() {
    let (ours, theirs) = ([1; 16], [2; 16]);
    for (spi, complete, left) in [
        (Some(ours), true, &[2, 3, 4][..]),
        (Some(ours), false, &[1, 2, 3, 4]),
        (None, true, &[1, 2, 3, 4]),
    ] {
        let mut bench = Bench::new("a", 1);
        let mut core = bench.at(0);
        add(&mut core, 1, Retiring, |key| key.listed_by = Some(ours));
        add(&mut core, 2, Retiring, |key| key.listed_by = Some(theirs));
        add(&mut core, 3, Retiring, |_| {});
        core.apply_keys(&state([listed(4, Active, 4)]), spi, complete);
        let ids: Vec<_> = living(&core).iter().map(|(id, _)| *id).collect();
        assert_eq!(ids, left, "{spi:?} {complete}");
    }
}

/// Section 6: a state's key displaces another of its id; the same key gets its new time and place.
#[test]
fn a_states_key_displaces_another_of_its_id() {
    let mut bench = Bench::new("a", 1);
    let mut core = bench.at(0);
    core.apply_keys(&state([listed(7, Pending, 1)]), Some([1; 16]), true);
    let mut core = bench.at(5000);
    core.apply_keys(&state([listed(7, Active, 1)]), Some([2; 16]), true);
    let found = get(&core, 7);
    assert_eq!(
        (found.state, found.expires, found.listed_by, found.tek.expose()[0]),
        (Active, at(105_000), Some([2; 16]), 1)
    );
    core.apply_keys(&state([listed(7, Pending, 9)]), Some([2; 16]), true);
    assert_eq!((get(&core, 7).state, get(&core, 7).tek.expose()[0]), (Pending, 9));
    assert_eq!(living(&core).len(), 1);
}

/// Section 7: a key's state only moves forward; a Retiring key that was never sent with may still become Active, one that
/// was may not.
#[test]
fn keys_move_forward() {
    for (from, was_active, to, end) in [
        (Pending, false, Active, Active),
        (Pending, false, Retiring, Retiring),
        (Active, true, Pending, Active),
        (Active, true, Retiring, Retiring),
        (Retiring, true, Active, Retiring),
        (Retiring, false, Active, Active),
        (Retiring, false, Pending, Retiring),
    ] {
        let mut bench = Bench::new("a", 1);
        let mut core = bench.at(0);
        add(&mut core, 7, from, |key| key.was_active = was_active);
        let row = core.keys.find(|key| key.id == 7).unwrap();
        core.advance_key(row, to);
        assert_eq!(get(&core, 7).state, end, "{from:?} {was_active} {to:?}");
    }
}

/// A node has one Active key. The one before it is accepted, for DTD at least under keep-last, and is not sent with.
#[test]
fn an_activation_retires_the_one_before() {
    for (expiry, expires) in [(Expiry::KeepLast, 40_000), (Expiry::FailClosed, 11_000)] {
        let mut bench = Bench::with("a", 1, Proof::SharedKey, |settings| settings.expiry = expiry);
        let mut core = bench.at(10_000);
        for (id, state, expires) in [(1, Active, 11_000), (2, Retiring, 12_000), (3, Pending, 13_000)] {
            add(&mut core, id, state, |key| key.expires = at(expires));
        }
        core.node.activations = 4;
        let row = core.keys.find(|key| key.id == 3).unwrap();
        core.advance_key(row, Active);
        assert_eq!(living(&core), [(1, Retiring), (2, Retiring), (3, Active)]);
        assert_eq!(get(&core, 1).expires, at(expires));
        assert_eq!(get(&core, 2).expires, at(12_000), "only the one that was Active");
        assert_eq!((get(&core, 3).activation, get(&core, 3).was_active), (5, true));
    }
}

#[test]
fn all_pending_keys_retire_together() {
    let mut bench = Bench::new("a", 1);
    let mut core = bench.at(0);
    for (id, state) in [(1, Pending), (2, Active), (3, Pending)] {
        add(&mut core, id, state, |key| key.activation = 3);
    }
    core.retire_pending();
    assert_eq!(living(&core), [(1, Retiring), (2, Active), (3, Retiring)]);
    assert_eq!(get(&core, 1).activation, 0, "it was never sent with");
}

/// Section 7: the Active key is sent with; without one the last that was, never one that was not.
#[test]
fn the_last_activated_is_sent_with() {
    let mut bench = Bench::new("a", 1);
    let mut core = bench.at(0);
    let sending = |core: &Core<'_>| {
        core.sending_key()
            .and_then(|row| core.keys.get(row))
            .map(|key| key.id)
    };
    add(&mut core, 1, Retiring, |_| {});
    assert_eq!(sending(&core), None);
    add(&mut core, 2, Retiring, |key| key.activation = 2);
    add(&mut core, 3, Active, |key| key.activation = 3);
    assert_eq!(sending(&core), Some(3));
    let row = core.keys.find(|key| key.id == 3).unwrap();
    core.keys.get_mut(row).unwrap().gone = true;
    assert_eq!(sending(&core), Some(2));
}

/// What a key's end does at `now`: the ids that are left, and whether the alarm is raised.
fn after_expiry(expiry: Expiry, current: bool) -> (Vec<u16>, bool) {
    let mut bench = Bench::with("a", 1, Proof::SharedKey, |settings| settings.expiry = expiry);
    let mut core = bench.at(1000);
    let spi = [1; 16];
    if current {
        core.node.sas.replace(crate::testing::rekey_sa(1), at(0));
    }
    add(&mut core, 1, Active, |key| {
        (key.expires, key.activation) = (at(1000), 2)
    });
    add(&mut core, 2, Retiring, |key| {
        (key.expires, key.activation) = (at(1000), 1)
    });
    add(&mut core, 3, Retiring, |key| {
        (key.expires, key.activation) = (at(1001), 1)
    });
    add(&mut core, 4, Pending, |key| {
        (key.expires, key.listed_by) = (at(1000), Some(spi))
    });
    add(&mut core, 5, Pending, |key| {
        (key.expires, key.listed_by) = (at(1000), Some([2; 16]))
    });
    add(&mut core, 6, Pending, |key| key.expires = at(1000));
    add(&mut core, 7, Retiring, |key| {
        (key.expires, key.listed_by) = (at(1000), Some(spi))
    });
    core.run_keys();
    let left = living(&core).iter().map(|(id, _)| *id).collect();
    (left, core.node.alarms.is_raised(Alarm::KeyExpired))
}

/// Section 7: a key ends at its time, but for the last one under keep-last, and for a Pending one that the current Rekey
/// SA's state lists: that is the rollover's business.
#[test]
fn keys_end_at_their_time() {
    assert_eq!(after_expiry(Expiry::KeepLast, true), ([1, 3, 4].into(), true));
    assert_eq!(after_expiry(Expiry::FailClosed, true), ([3, 4].into(), true));
    assert_eq!(after_expiry(Expiry::KeepLast, false), ([1, 3].into(), true));
    let mut bench = Bench::new("a", 1);
    let mut core = bench.at(999);
    add(&mut core, 1, Active, |key| {
        (key.expires, key.activation) = (at(1000), 2)
    });
    core.run_keys();
    assert!(!core.node.alarms.is_raised(Alarm::KeyExpired));
}

/// The next end of a key, or the time at which one is left out, or a manual key's; nothing that is over calls again.
#[test]
fn the_next_end_of_a_key_calls() {
    let mut bench = Bench::new("a", 1);
    let mut core = bench.at(1000);
    assert_eq!(core.next_key_deadline(), None);
    add(&mut core, 1, Active, |key| key.expires = at(1000));
    assert_eq!(core.next_key_deadline(), None);
    add(&mut core, 2, Retiring, |key| key.expires = at(9000));
    assert_eq!(core.next_key_deadline(), Some(at(9000)));
    add(&mut core, 3, Retiring, |key| {
        (key.expires, key.omit_at) = (at(9500), Some(at(8000)))
    });
    assert_eq!(core.next_key_deadline(), Some(at(8000)));
    core.node.manual = ManualStage::Ending(at(7000));
    assert_eq!(core.next_key_deadline(), Some(at(7000)));
    add(&mut core, 4, Retiring, |key| {
        (key.expires, key.gone) = (at(2000), true)
    });
    assert_eq!(
        core.next_key_deadline(),
        Some(at(7000)),
        "one that is gone has no end"
    );
    core.run_keys();
    assert_eq!(core.node.manual, ManualStage::Ending(at(7000)));
    let mut core = bench.at(7000);
    core.run_keys();
    assert_eq!(core.node.manual, ManualStage::Dropped);
}

/// Section 8: what a host resumes with comes back as far as it had come.
#[test]
fn resumed_keys_are_what_they_were() {
    for (usage, state) in [
        (KeyUse::Unsent, Retiring),
        (KeyUse::Stopped, Retiring),
        (KeyUse::Sending, Active),
    ] {
        let mut bench = Bench::new("a", 1);
        let mut core = bench.at(0);
        core.resume_key(&ResumedKey {
            id: 7,
            key: Secret::from_bytes([7; 32]),
            usage,
            lifetime: seconds(60),
            protocols: heapless::Vec::new(),
        });
        let found = get(&core, 7);
        assert_eq!((found.state, found.expires), (state, at(60_000)));
        let sending = core
            .sending_key()
            .is_some_and(|row| core.keys.get(row).is_some_and(|key| key.state == Active));
        assert_eq!(found.usage(sending), usage);
    }
}

/// A full table makes room by a key that the host was told is gone, then by the oldest that is only accepted; never by
/// one that is Pending or Active.
#[test]
fn the_oldest_retiring_key_makes_room() {
    let mut bench = Bench::new("a", 1);
    let mut core = bench.at(0);
    add(&mut core, 1, Active, |_| {});
    add(&mut core, 2, Pending, |_| {});
    for id in 3..10 {
        add(&mut core, id, Retiring, |key| key.activation = 20 - u32::from(id));
    }
    add(&mut core, 10, Active, |key| key.gone = true);
    let ids = |core: &Core<'_>| core.keys.rows().map(|key| key.id).collect::<Vec<_>>();
    assert!(core.insert_key(key(11, Pending)).is_some());
    assert!(!ids(&core).contains(&10) && ids(&core).contains(&9));
    assert!(core.insert_key(key(12, Pending)).is_some());
    assert!(!ids(&core).contains(&9) && ids(&core).contains(&1) && ids(&core).contains(&2));
}

#[test]
fn a_manual_key_has_one_bit() {
    assert_eq!([0, 1, 2, 7].map(manual_bit), [1, 2, 4, 128]);
    assert_eq!(manual_bit(8), 0);
}

/// Section 7: the successor of the Active key is due with a quarter of its life and DTD to spare, and is activated without
/// the laggards DTD before the old one's end.
#[test]
fn the_active_keys_successor_is_due() {
    let mut bench = Bench::in_office("a", 1);
    let mut core = bench.at(0);
    let due = |core: &Core<'_>| {
        let office = core.node.office.as_ref().unwrap();
        (office.key_due, office.force_due)
    };
    add(&mut core, 1, Retiring, |key| key.expires = at(5_000_000));
    add(&mut core, 2, Active, |key| {
        (key.expires, key.gone) = (at(6_000_000), true)
    });
    core.plan_key_life();
    assert_eq!(due(&core), (None, None));
    add(&mut core, 3, Active, |key| key.expires = at(3_600_000));
    core.plan_key_life();
    assert_eq!(due(&core), (Some(at(2_670_000)), Some(at(3_570_000))));
}

/// An office whose key ids are those from 1 to 16.
fn of_few_ids() -> Bench {
    Bench::with("a", 1, Proof::SharedKey, |settings| settings.key_ids = (1, 16)).serving()
}

fn drawn(core: &mut Core<'_>) -> Option<u16> {
    core.make_key(crate::command::RekeyReason::Operator);
    let pending = core.pending_keys().next()?;
    core.keys.get(pending).map(|key| key.id)
}

/// Section 6: an id is drawn from those that neither a key has nor rest.
#[test]
fn an_id_is_drawn_from_those_not_in_use() {
    let mut bench = of_few_ids();
    let mut core = bench.at(1000);
    for id in 1..7 {
        add(&mut core, id, Retiring, |_| {});
    }
    // 16 is free, 15 rests until now: that is over.
    for id in 7..16 {
        let until = if id == 15 { at(1000) } else { at(1001) };
        core.node.resting_ids.push(id, until);
    }
    core.rest_id(16, seconds(1));
    assert_eq!(drawn(&mut core), Some(15));
}

/// Section 7: if the range is exhausted, the one that has rested longest, and at last that of the oldest key.
#[test]
fn the_oldest_id_is_taken_when_none_is_free() {
    let mut bench = of_few_ids();
    let mut core = bench.at(1000);
    add(&mut core, 5, Retiring, |_| {});
    for id in [99, 5].into_iter().chain(9..17).chain(1..9) {
        core.rest_id(id, seconds(60));
    }
    assert_eq!(drawn(&mut core), Some(9), "in the range, and no key's");
    let mut bench = of_few_ids();
    let mut core = bench.at(1000);
    // Sixteen keys do not fit the table: the others rest as ids of keys that live.
    for id in 1..10 {
        let state = if id == 4 { Active } else { Retiring };
        add(&mut core, id, state, |key| {
            key.activation = u32::from(if id == 4 { 1 } else { 30 - id })
        });
    }
    for id in 1..10 {
        core.rest_id(id, seconds(60));
    }
    core.node.config = crate::Config::new({
        let mut settings = crate::Settings::new("lan", crate::testing::id("a"), crate::testing::address(1));
        settings.key_ids = (1, 9);
        settings
    })
    .unwrap();
    assert_eq!(drawn(&mut core), Some(9), "the oldest that is only accepted");
    assert_eq!(get(&core, 4).state, Active);
}

/// A Pending key that has to wait does not age: below half of its life it gets a new one, and the others hear of it.
#[test]
fn a_pending_key_is_renewed() {
    for (state, left, renewed) in [
        (Pending, 1_800_000, false),
        (Pending, 1_799_999, true),
        (Active, 1_000, false),
    ] {
        let mut bench = Bench::in_office("a", 1);
        let mut core = bench.at(1000);
        add(&mut core, 7, state, |key| key.expires = at(1000 + left));
        core.renew_pending();
        let expires = if renewed { 3_601_000 } else { 1000 + left };
        assert_eq!(get(&core, 7).expires, at(expires), "{state:?} {left}");
        assert_eq!(core.node.office.as_ref().unwrap().update_owed, renewed);
    }
}

/// Section 7: what is older than the Active key may go DTD after all have that; an abandoned one, which is younger, not
/// before the next activation, and an inherited one that was never Active not at all.
#[test]
fn only_what_is_older_than_the_active_key_is_left_out() {
    let mut bench = Bench::in_office("a", 1);
    let mut core = bench.at(1000);
    add(&mut core, 9, Retiring, |key| {
        (key.made, key.was_active) = (1, true)
    });
    core.schedule_omission();
    assert_eq!(
        get(&core, 9).omit_at,
        None,
        "without an Active key nothing is left out"
    );
    add(&mut core, 1, Active, |key| key.made = 3);
    add(&mut core, 2, Retiring, |key| key.made = 2);
    add(&mut core, 3, Retiring, |key| key.was_active = true);
    add(&mut core, 4, Retiring, |_| {});
    add(&mut core, 5, Retiring, |key| key.made = 4);
    add(&mut core, 6, Retiring, |key| {
        (key.made, key.was_active) = (3, true)
    });
    add(&mut core, 7, Retiring, |key| {
        (key.made, key.omit_at) = (1, Some(at(2000)))
    });
    add(&mut core, 8, Pending, |key| key.made = 1);
    core.schedule_omission();
    let due = Some(at(31_000));
    let found: Vec<_> = (1..10).map(|id| get(&core, id).omit_at).collect();
    assert_eq!(
        found,
        [None, due, due, None, None, None, Some(at(2000)), None, due]
    );
}

/// Whether a key that is due at 1000 is left out at `ms` after `prepare`.
fn is_omitted(ms: u64, prepare: impl FnOnce(&mut Core<'_>)) -> bool {
    let mut bench = Bench::in_office("a", 1);
    let mut core = bench.at(ms);
    add(&mut core, 7, Retiring, |key| key.omit_at = Some(at(1000)));
    add(&mut core, 8, Retiring, |_| {});
    prepare(&mut core);
    core.omit_keys();
    let left = living(&core);
    assert!(left.contains(&(8, Retiring)));
    let owed = core.node.office.as_ref().unwrap().update_owed;
    assert_eq!(owed, left.len() == 1);
    left.len() == 1
}

/// Sections 5.5 and 7: nothing is left out while a merge lasts, nor within 2 x hold of its time while somebody knocks.
#[test]
fn keys_are_left_out_in_quiet() {
    assert!(!is_omitted(999, |_| {}));
    assert!(is_omitted(1000, |_| {}));
    assert!(!is_omitted(1000, |core| {
        let until = at(2000);
        core.node.office.as_mut().unwrap().merge = Some(super::super::merge::MergeAsGreater { until });
    }));
    assert!(!is_omitted(1000, |core| {
        let greater = core.add_peer("g", 9, crate::wire::NodeState::Gcks, 0);
        core.node.office.as_mut().unwrap().merging = Some(super::super::MergeAsLesser { greater });
    }));
    assert!(!is_omitted(1000, |core| core
        .node
        .office
        .as_mut()
        .unwrap()
        .rival_heard = Some(at(900))));
    let knock = |ms| {
        is_omitted(ms, |core| {
            core.add_stranger(
                "k",
                9,
                crate::testing::claim(crate::wire::NodeState::Initial),
                8000,
            );
        })
    };
    assert!(!knock(8999));
    assert!(knock(9000));
}
