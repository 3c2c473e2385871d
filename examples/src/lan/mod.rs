//! The life of a network on loopback: from manual keys to automatic ones, rollovers, the loss and the return of the key
//! server, a change of office, a leave and an eviction, while every router's hellos are signed and verified all the time.
//!
//! [`run`] plays the whole; [`plan`] says with what. The protocol runs on real UDP sockets and in real time. One thread
//! drives all routers, in a fixed order, so that what happens is judged in one place:
//!
//! 1. hellos that came in are judged, each by the key table of its receiver;
//! 2. every endpoint reads its datagrams and does what is due;
//! 3. hellos that are due go out.
//!
//! A hello therefore waits in a socket for one round at the most, and none is on its way while keys change twice.
//!
//! # What counts
//!
//! A router is *keyed and live* while it runs, was neither told to leave nor evicted, and its key table has a key to
//! send with that comes from the group: the manual key of its configuration, or what a key server has given it. A router
//! that rebooted or came back has none (its configuration has no manual key any more) until it is a member, and sends no
//! hellos until then. On a very lossy link it may in the meantime give up looking and take office by itself; it
//! then sends under a key of its own until it finds the others, and is not counted as keyed.
//!
//! A hello counts as sent by a keyed live router according to what its sender was when it sent it, and as refused by one
//! according to what its receiver was when it judged it. **No hello from a keyed live router may be refused by a keyed
//! live router.** All others are counted apart, by what they were.
//!
//! One exception is the protocol's own and is counted apart: an eviction deletes the old keys without overlap
//! (PROTOCOL.md section 7), so between the command and the moment at which all remaining routers send with the new key,
//! a hello under a key from before the eviction may be refused for its unknown key. These are shown as `cut over`.

mod film;
mod network;
pub mod plan;
mod report;
mod router;
mod steps;
mod tally;

pub use report::Summary;

use plan::Options;

use crate::{picture::Chart, timeline::Timeline};

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// What the last line says.
    pub summary: Summary,
    /// Why it is not what it should be.
    pub failure: Option<String>,
    /// The longest time for which the machine ran nothing of this program. Beyond the routers' hold, a failure says
    /// nothing about the protocol.
    pub longest_stall_ms: u64,
    /// The routers' hold in milliseconds.
    pub hold_ms: u64,
    /// It was ended from outside.
    pub interrupted: bool,
    /// The run as a picture.
    pub chart: Chart,
}

impl Outcome {
    /// The machine stood still for longer than any router's patience: the run proves nothing.
    #[must_use]
    pub const fn is_stalled(&self) -> bool {
        self.longest_stall_ms >= self.hold_ms
    }
}

/// Plays the whole demonstration and writes it to `timeline`.
///
/// # Errors
/// Sockets that cannot be had. What goes wrong later is in the [`Outcome`].
pub fn run(options: Options, timeline: Timeline) -> anyhow::Result<Outcome> {
    let mut network = network::Network::open(options, timeline)?;
    let ended = steps::play(&mut network);
    Ok(report::finish(network, ended))
}
