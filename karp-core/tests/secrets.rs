//! Secrets stay where they belong: nothing that can be printed of a whole group's life has octets of a key in it, and an
//! engine's memory has none after it was dropped.
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
mod leaks;
#[path = "secrets/memory.rs"]
mod memory;

use std::fmt::Write as _;

use karp_core::{
    algorithm::{RoutingAlgorithm, RoutingProtocol},
    command::{Command, RekeyReason},
    config::{Config, ManualKey},
    error::{CommandError, DropReason},
    identity::Identity,
    io::Event,
    time::Duration,
};

use common::{Lan, Link, credentials::Proof, forge};
use leaks::Leaks;

/// A key of the kind that people type in, long enough to be told from chance.
const MANUAL: &[u8] = b"bAqv7Zt0wK3x typed by hand";

/// Takes note of all keys that there are now: traffic keys, what is derived from them, keys between routers.
fn learn(lan: &Lan, leaks: &mut Leaks) {
    for node in lan.nodes.iter().filter(|node| node.is_up()) {
        let now = node.clock.local(lan.now);
        for key in node.engine().resumable_keys(now) {
            leaks.add(&format!("traffic key {}", key.id), key.key.expose());
        }
        for row in node.rows(lan.now) {
            leaks.add(&format!("routing key {}", row.id), &row.octets);
        }
        for (peer, key) in &node.store.keys {
            leaks.add(&format!("the pre-shared key with {peer}"), key);
        }
    }
}

/// All that can be printed of a LAN, and of what was said and done on it since.
fn print(lan: &Lan, text: &mut String) {
    for node in lan.nodes.iter().filter(|node| node.is_up()) {
        let engine = node.engine();
        let now = node.clock.local(lan.now);
        writeln!(text, "{engine:?} {engine:#?} {:?}", engine.config()).unwrap();
        writeln!(text, "{:?} {:?}", engine.role(), engine.gcks()).unwrap();
        writeln!(text, "{:?}", engine.peers().collect::<Vec<_>>()).unwrap();
        writeln!(text, "{:?}", engine.counters()).unwrap();
        writeln!(text, "{:?}", engine.alarms().collect::<Vec<_>>()).unwrap();
        for row in engine.key_table().rows(now) {
            writeln!(text, "{row:?} {row:#?} {:?}", row.fingerprint()).unwrap();
        }
        for key in engine.resumable_keys(now) {
            writeln!(
                text,
                "{:?} {:?} {:?} {:?}",
                key.id, key.key, key.usage, key.lifetime
            )
            .unwrap();
        }
        for (at, event) in &node.events {
            writeln!(text, "{at} {event:?} {event:#?}").unwrap();
        }
    }
}

fn printed_life(proof: Proof) {
    let mut lan = Lan::new(5);
    lan.proof = proof;
    lan.add(4);
    lan.set(|s| {
        s.key_lifetime = Duration::from_secs(60);
        s.dtd = Duration::from_secs(5);
        s.rekey_sa_lifetime = Duration::from_secs(100);
        let key = ManualKey {
            protocol: RoutingProtocol::Ospfv2,
            algorithm: RoutingAlgorithm::HmacSha256,
            id: 7,
            secret: heapless::Vec::from_slice(MANUAL).unwrap(),
        };
        assert!(s.manual_keys.push(key).is_ok());
    });
    lan.link = Link::BAD;
    let mut leaks = Leaks::default();
    leaks.add("the manual key", MANUAL);
    let mut text = String::new();
    let refused: std::rc::Rc<std::cell::RefCell<Vec<CommandError>>> = std::rc::Rc::default();
    let note = |result: Result<(), CommandError>| {
        if let Err(why) = result {
            refused.borrow_mut().push(why);
        }
    };
    lan.trace.keep = None;
    // What routers accept of each other is judged elsewhere, and here many things go wrong at once.
    lan.hellos.strict = false;
    let mut scene = |lan: &mut Lan, ms: u64| {
        for _ in 0..ms / 500 {
            lan.run(500);
            learn(lan, &mut leaks);
        }
        print(lan, &mut text);
    };
    lan.start_all();
    scene(&mut lan, 20_000);
    note(lan.command(0, Command::Migrate));
    scene(&mut lan, 80_000);
    let reason = RekeyReason::Compromise;
    let protocol = RoutingProtocol::Ospfv2;
    note(lan.command(0, Command::Rekey { protocol, reason }));
    note(lan.command(0, Command::Installed { generation: 99 }));
    note(lan.command(0, Command::HandOff));
    note(lan.command(0, Command::Evict(&Identity::fqdn("nobody").unwrap())));
    scene(&mut lan, 10_000);
    lan.settle(60_000);
    let gcks = lan.gcks();
    lan.crash(gcks);
    scene(&mut lan, 30_000);
    lan.start(gcks);
    scene(&mut lan, 60_000);
    lan.partition(&[&[0, 1], &[2, 3]]);
    scene(&mut lan, 40_000);
    lan.heal();
    scene(&mut lan, 60_000);
    lan.settle(60_000);
    // An attacker adds what he can to what is said.
    let hint = forge::hint("lan", "r9", [9; 8], 1, &forge::pretender());
    let handled = [&hint[..], &hint[..30], b"octets"].map(|octets| {
        let recv = karp_core::io::Recv {
            from: lan.address_of(8),
            to: lan.multicast(),
            hop_limit: Some(255),
        };
        lan.hand(0, recv, octets)
    });
    let gcks = lan.gcks();
    let gone = lan.nodes[(gcks + 1) % 4].identity.clone();
    note(lan.command(gcks, Command::Evict(&gone)));
    scene(&mut lan, 20_000);
    note(lan.command(gcks, Command::Leave));
    scene(&mut lan, 20_000);

    writeln!(text, "{handled:?} {:?}", DropReason::ALL).unwrap();
    for why in refused.borrow().iter() {
        writeln!(text, "{why} {why:?}").unwrap();
    }
    assert!(refused.borrow().len() >= 3, "{refused:?}");
    for line in lan.trace.lines() {
        writeln!(text, "{line}").unwrap();
    }
    let nodes = &lan.nodes;
    assert!(
        nodes
            .iter()
            .any(|node| node.saw(|event| matches!(event, Event::KeyRemoved { .. })))
    );
    println!("{} octets of text, {} windows of keys", text.len(), leaks.len());
    assert!(leaks.len() > 500 && text.len() > 100_000);
    for line in text.lines() {
        assert_eq!(leaks.in_text(line), None, "a key can be read in {line:?}");
    }
    // The same search finds each key, were it printed.
    leaks::prove(&leaks, MANUAL);
    for node in lan.nodes.iter().filter(|node| node.is_up()) {
        for row in node.rows(lan.now) {
            leaks::prove(&leaks, &row.octets);
        }
    }
}

#[test]
fn nothing_printed_shows_a_key_with_pre_shared_keys() {
    printed_life(Proof::PairKeys);
}

#[test]
fn nothing_printed_shows_a_key_with_raw_public_keys() {
    printed_life(Proof::Signatures);
}

/// What is refused of a configuration is named without its secrets.
#[test]
fn an_error_of_the_configuration_shows_no_key() {
    let mut lan = Lan::of(1, 1);
    lan.nodes[0].set(|s| {
        for _ in 0..2 {
            let key = ManualKey {
                protocol: RoutingProtocol::Ospfv2,
                algorithm: RoutingAlgorithm::HmacSha256,
                id: 7,
                secret: heapless::Vec::from_slice(MANUAL).unwrap(),
            };
            assert!(s.manual_keys.push(key).is_ok());
        }
    });
    let mut leaks = Leaks::default();
    leaks.add("the manual key", MANUAL);
    let error = Config::new(lan.nodes[0].settings("lan", 0, &[])).expect_err("the id is given twice");
    assert_eq!(leaks.in_text(&format!("{error} {error:?}")), None);
    leaks::prove(&leaks, MANUAL);
}
