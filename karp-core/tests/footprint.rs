//! What an engine costs in RAM, as a table and against its budgets: run with `--nocapture` to see it. The pieces have
//! limits of their own, in the unit test `footprint` of karp-core.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    reason = "a test may panic"
)]

use karp_core::{
    Engine,
    storage::{Fixed, HandshakeSlot, KeySlot, PeerSlot, SealedSlot, StrangerSlot},
};

/// An engine with inline tables, beside credentials and a generator without octets.
type Inline<const PEERS: usize, const HANDSHAKES: usize, const SEALED: usize, const STRANGERS: usize> =
    Engine<(), (), Fixed<PEERS, 10, HANDSHAKES, SEALED, STRANGERS>>;

/// A node of a link with four others, and room for four that it knows by hints alone: all but the rooms in which whole
/// messages are kept while an exchange or a request runs, of which it needs two each.
const RESTING: usize = size_of::<Inline<4, 0, 0, 4>>();
/// The same, with the least rooms for messages.
const LEAST: usize = size_of::<Inline<4, 2, 2, 4>>();

#[test]
fn an_engine_keeps_to_its_budget() {
    let peer = (size_of::<Inline<1024, 2, 2, 4>>() - size_of::<Inline<4, 2, 2, 4>>()) / 1020;
    let table = [
        ("Engine, 4 peers, at rest", RESTING, 12 * 1024),
        ("Engine, 4 peers, 2 handshakes, 2 requests", LEAST, 20 * 1024),
        (
            "- of it without any table",
            size_of::<Engine<(), (), ()>>(),
            8 * 1024,
        ),
        ("a further peer", peer, 512),
        ("a further handshake", size_of::<HandshakeSlot>(), 2624),
        ("a further outstanding request", size_of::<SealedSlot>(), 1280),
        ("a further traffic key", size_of::<KeySlot>(), 128),
        ("a further stranger", size_of::<StrangerSlot>(), 176),
    ];
    for (name, octets, budget) in table {
        println!("{name:44} {octets:6} of {budget:6} octets");
    }
    assert_eq!(peer, size_of::<PeerSlot>());
    for (name, octets, budget) in table {
        assert!(octets <= budget, "{name}: {octets} octets of {budget}");
    }
}
