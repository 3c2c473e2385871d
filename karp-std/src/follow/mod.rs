//! Following the routing protocol (PROTOCOL.md section 8): what a daemon shows of itself becomes election priorities and
//! requests for new keys.
//!
//! An [`Observer`] looks at one protocol of one daemon on one interface and gives [`Snapshot`]s. A [`Tracker`] is pure: it
//! compares each snapshot with what it saw before and says what follows ([`Advice`]).

pub mod bird;
pub mod frr;
mod tracker;

use std::{fmt, time::Duration};

use karp_core::{algorithm::RoutingProtocol, command::RekeyReason};

pub use self::tracker::{Priorities, Tracker};

/// What this router is to the routing protocol on the link.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum LinkRole {
    /// Designated router.
    Dr,
    /// Backup designated router.
    Bdr,
    /// Neither, on a link that has them, or a protocol that knows no such thing.
    Other,
}

/// A neighbour of the routing protocol.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Neighbour {
    /// Its router id, or its address where the protocol has none.
    pub id: String,
    /// Its state as the daemon writes it.
    pub state: String,
    /// The adjacency stands: Full, or Up, or whatever the protocol's last state is. `2-Way` between two routers that
    /// are neither DR nor BDR counts.
    pub up: bool,
}

/// What a daemon shows at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot {
    /// The protocol that was looked at.
    pub protocol: RoutingProtocol,
    /// Which run of the daemon this is, as [`Sink::epoch`](crate::sinks::Sink::epoch) has it.
    pub epoch: String,
    /// The router id, if the protocol has one.
    pub router_id: Option<u32>,
    /// What this router is on the link; `None` if the interface does not take part now.
    pub role: Option<LinkRole>,
    /// The neighbours on the link.
    pub neighbours: Vec<Neighbour>,
    /// The highest cryptographic sequence number that the daemon shows, and the highest that there can be.
    pub sequence: Option<(u64, u64)>,
}

/// Looks at one protocol of one daemon on one interface. It may block: give it a thread of its own.
pub trait Observer: Send {
    /// What it looks at, for logs and status.
    fn describe(&self) -> String;

    /// What the daemon shows now. A neighbour of which the daemon told that it went down is shown down once, even if it is
    /// up again by now.
    ///
    /// # Errors
    /// Why it cannot be seen. The next call tries from the beginning.
    fn snapshot(&mut self) -> Result<Snapshot, ObserveError>;

    /// Waits until something may have changed, `at_most` so long. Daemons that tell of events end it early.
    fn wait(&mut self, at_most: Duration);
}

/// Why a daemon could not be looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ObserveError {
    /// There is no daemon.
    pub not_running: bool,
    /// What is wrong, and what to do about it.
    pub problem: String,
}

impl fmt::Display for ObserveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)
    }
}

impl std::error::Error for ObserveError {}

/// What follows for the group from what was seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Advice {
    /// The daemon is there, for the first time or again after it was lost. `restarted`: it is another run of it, so it has
    /// lost its keys and its replay state.
    Reached {
        /// Which run.
        epoch: String,
        /// It is not the run that was seen last.
        restarted: bool,
    },
    /// The daemon is gone.
    Lost,
    /// The election priority that matches what this router is to the routing protocol.
    Priority(u16),
    /// New keys are wanted.
    Rekey(RoutingProtocol, RekeyReason),
}
