//! What fills the memory of a node, piece by piece, with a limit for each so that none grows unnoticed. `cargo test -p
//! karp-core footprint -- --nocapture` prints the table; the sum is tests/footprint.rs's.

use std::{println, vec::Vec};

use crate::{
    config::{Config, ManualKey, ResumedKey, Settings},
    counters::Counters,
    election::Penalties,
    exchange::{Attempt, HalfOpen, IkeSa},
    group::{Office, TrafficKey},
    identity::Identity,
    node::{Installs, Node, PenaltyKey, Refusal, RekeySa, RekeySas, RestingIds},
    peer::{Peer, Registrant},
    sealed::Sealed,
    stranger::Stranger,
    timers::Timers,
};

#[test]
fn each_piece_keeps_to_its_limit() {
    let pieces = [
        ("Node", size_of::<Node>(), 7984),
        ("- Config", size_of::<Config>(), 1736),
        ("- - Settings", size_of::<Settings>(), 1736),
        ("- - ManualKey, of 8", size_of::<ManualKey>(), 80),
        ("- - ResumedKey, of 8", size_of::<ResumedKey>(), 72),
        ("- Office", size_of::<Option<Office>>(), 1504),
        ("- RekeySas", size_of::<RekeySas>(), 1064),
        ("- - RekeySa, of 4", size_of::<RekeySa>(), 256),
        ("- Penalties", size_of::<Penalties<PenaltyKey, 16>>(), 776),
        ("- RestingIds", size_of::<RestingIds>(), 688),
        ("- Refusal, of 2", size_of::<Refusal>(), 336),
        ("- Counters", size_of::<Counters>(), 512),
        ("- Timers", size_of::<Timers>(), 136),
        ("- Installs", size_of::<Installs>(), 160),
        ("Peer", size_of::<Peer>(), 448),
        ("- IkeSa", size_of::<IkeSa>(), 168),
        ("- Registrant", size_of::<Registrant>(), 56),
        ("- Identity", size_of::<Identity>(), 66),
        ("TrafficKey", size_of::<TrafficKey>(), 120),
        ("Attempt", size_of::<Attempt>(), 2592),
        ("HalfOpen", size_of::<HalfOpen>(), 1736),
        ("Sealed", size_of::<Sealed>(), 1272),
        ("Stranger", size_of::<Stranger>(), 160),
    ];
    for (name, octets, limit) in pieces {
        println!("{name:24} {octets:6} of {limit:6}");
    }
    let over: Vec<_> = pieces
        .iter()
        .filter(|(_, octets, limit)| octets > limit)
        .collect();
    assert!(over.is_empty(), "{over:?} have grown beyond their limits");
}
