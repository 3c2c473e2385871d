//! What an endpoint tells its host while it works, and how often what happened to its sockets.

use std::{io, net::SocketAddr};

use karp_core::{
    error::DropReason,
    io::{Event, MessageKind},
};

use crate::socket::SocketError;

/// Something that happened in a call of an endpoint, handed to the closure that came with the call. Nothing is queued
/// and nothing important lives only here: engine and counters show the same at any time.
#[derive(Debug)]
#[non_exhaustive]
pub enum Notice<'a> {
    /// The engine's event.
    Event(&'a Event),
    /// A datagram went out.
    Sent {
        /// What it was.
        kind: MessageKind,
        /// Where to.
        to: SocketAddr,
        /// Its length, headers of UDP and IP not counted.
        octets: usize,
    },
    /// A datagram came in and the engine took it.
    Received {
        /// Who sent it.
        from: SocketAddr,
        /// Its length, headers of UDP and IP not counted.
        octets: usize,
    },
    /// A datagram came in and the engine dropped it.
    Dropped {
        /// Why.
        reason: DropReason,
        /// Who sent it.
        from: SocketAddr,
        /// Its length, headers of UDP and IP not counted.
        octets: usize,
    },
    /// A datagram could not be sent. The engine goes on as if it were lost on the way.
    SendFailed {
        /// What it was.
        kind: MessageKind,
        /// Where it should have gone.
        to: SocketAddr,
        /// What the system says.
        error: &'a io::Error,
    },
    /// Nothing can be sent to the group: the interface is down or gone, or has lost its address. Told once; the
    /// endpoint tries every second to get back on the link.
    LinkLost {
        /// What is wrong with it.
        error: &'a SocketError,
    },
    /// The group can be reached again.
    LinkRestored,
}

/// What happened to an endpoint's sockets since it was opened. What the engine thinks of the datagrams is in
/// [`karp_core::counters::Counters`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SocketCounters {
    /// Datagrams read, those lost on purpose included.
    pub received: u64,
    /// Their octets.
    pub received_octets: u64,
    /// Datagrams sent.
    pub sent: u64,
    /// Their octets.
    pub sent_octets: u64,
    /// Datagrams that the system would not send.
    pub send_failed: u64,
    /// Reads that failed.
    pub receive_failed: u64,
    /// Datagrams thrown away because they were longer than any UDP datagram can be.
    pub too_long: u64,
    /// Datagrams thrown away because they came by another interface than the group's.
    pub other_interface: u64,
    /// Datagrams lost on purpose, see [`Endpoint::set_loss`](super::Endpoint::set_loss).
    pub lost_on_purpose: u64,
    /// Times the link was lost.
    pub link_losses: u64,
    /// Times the group was joined anew.
    pub rejoins: u64,
}
