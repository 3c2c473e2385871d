//! karp-core allocates nothing: a whole group's life on the LAN in memory, with every call of an engine measured.
//!
//! A test binary of its own, for the counting allocator is the whole program's.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic"
)]

mod common;

use karp_core::{
    algorithm::RoutingProtocol,
    command::{Command, RekeyReason},
    time::Duration,
};

use common::{Lan, Link, credentials::Proof};

fn measured(call: &mut dyn FnMut()) {
    let counted = allocation_counter::measure(call);
    assert_eq!(counted.count_total, 0, "an engine allocated: {counted:?}");
}

/// The counter counts: a call that allocates is found.
#[test]
#[should_panic(expected = "an engine allocated")]
fn an_allocation_is_found() {
    measured(&mut || drop(std::hint::black_box(vec![0_u8; 100])));
}

fn life(proof: Proof) {
    let mut lan = Lan::new(1);
    lan.proof = proof;
    lan.add(5);
    lan.around = measured;
    lan.set(|s| {
        s.key_lifetime = Duration::from_secs(60);
        s.dtd = Duration::from_secs(5);
        s.rekey_sa_lifetime = Duration::from_secs(100);
    });
    lan.link = Link::BAD;
    lan.start_all();
    lan.settle(40_000);
    lan.run(130_000);
    lan.settle(40_000);
    let gcks = lan.gcks();
    let reason = RekeyReason::Operator;
    lan.command(
        gcks,
        Command::Rekey {
            protocol: RoutingProtocol::Ospfv2,
            reason,
        },
    )
    .unwrap();
    lan.run(10_000);
    lan.command(gcks, Command::HandOff).unwrap();
    lan.run(10_000);
    lan.settle(40_000);
    let gcks = lan.gcks();
    lan.crash(gcks);
    lan.settle(40_000);
    lan.start(gcks);
    lan.settle(60_000);
    lan.partition(&[&[0, 1], &[2, 3, 4]]);
    lan.settle(60_000);
    lan.heal();
    lan.settle(120_000);
    let gcks = lan.gcks();
    let gone = lan.nodes[(gcks + 1) % 5].identity.clone();
    lan.command(gcks, Command::Evict(&gone)).unwrap();
    lan.run(20_000);
    lan.command(gcks, Command::Leave).unwrap();
    lan.run(20_000);
}

#[test]
fn a_groups_life_with_pre_shared_keys() {
    life(Proof::PairKeys);
}

#[test]
fn a_groups_life_with_raw_public_keys() {
    life(Proof::Signatures);
}
