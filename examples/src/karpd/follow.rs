//! Following the routing protocol: a thread that looks at the daemon and tells the group what follows.

use std::path::PathBuf;

use karp_core::algorithm::RoutingProtocol;

/// Which daemon is looked at, and what follows from what it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FollowSettings {
    /// The daemon.
    pub kind: FollowKind,
    /// The protocol that is followed.
    pub protocol: RoutingProtocol,
    /// The interface, as the daemon knows it.
    pub interface: String,
    /// The election priorities.
    pub priorities: Priorities,
}

/// Kinds of daemons.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FollowKind {
    /// BIRD.
    Bird {
        /// Its control socket.
        socket: PathBuf,
        /// The protocol's name in its configuration.
        instance: String,
    },
    /// FRR.
    Frr {
        /// Where the daemons' sockets are.
        directory: PathBuf,
    },
}

/// Election priorities by what the router is to the routing protocol (PROTOCOL.md section 8).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Priorities {
    /// As designated router.
    pub dr: u16,
    /// As its backup.
    pub bdr: u16,
    /// As neither.
    pub other: u16,
}

impl FollowSettings {
    /// In a word or two.
    #[must_use]
    pub fn describe(&self) -> String {
        let protocol = self.protocol.name();
        match &self.kind {
            FollowKind::Bird { socket, instance } => {
                format!(
                    "BIRD at {}, {protocol} instance {instance} on {}",
                    socket.display(),
                    self.interface
                )
            }
            FollowKind::Frr { directory } => {
                format!("FRR in {}, {protocol} on {}", directory.display(), self.interface)
            }
        }
    }
}

/// What an observer saw, as it reaches the group's thread.
pub struct Seen;
