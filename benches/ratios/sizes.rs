//! How large an engine is: it allocates nothing, so this is all of its memory but the stack.

use benches::measure::Report;
use karp_core::{
    Engine,
    storage::{Fixed, HandshakeSlot, KeySlot, PeerSlot, SealedSlot, StrangerSlot},
};

/// An engine with inline tables, beside credentials and a generator without octets.
type Inline<const PEERS: usize> = Engine<(), (), Fixed<PEERS, 10, 4, 4, 8>>;

pub(crate) fn measure(report: &mut Report) {
    let few = size_of::<Inline<4>>();
    let some = size_of::<Inline<32>>();
    let many = size_of::<Inline<1024>>();
    for (name, octets) in [
        ("Engine, 4 peers", few),
        ("Engine, 32 peers", some),
        ("Engine, 1024 peers", many),
        ("of it without tables (Node)", size_of::<Engine<(), (), ()>>()),
        ("PeerSlot", size_of::<PeerSlot>()),
        ("HandshakeSlot", size_of::<HandshakeSlot>()),
        ("SealedSlot", size_of::<SealedSlot>()),
        ("KeySlot", size_of::<KeySlot>()),
        ("StrangerSlot", size_of::<StrangerSlot>()),
    ] {
        report.figure(name, octets, "octets");
    }
    for (name, octets) in [
        ("octets_per_peer_4_to_32", (some - few) / 28),
        ("octets_per_peer_32_to_1024", (many - some) / 992),
    ] {
        report.value(name, octets as f64, Some(512.0));
    }
}
