//! A node known by hints alone: unauthenticated announcements, one row for each address and port (PROTOCOL.md
//! section 5.4). A hint can make this node try the initial exchange and nothing else.

use core::net::SocketAddr;

use crate::{identity::Identity, peer, time::Instant, wire::ElectionState};

/// A row of the table of strangers.
pub struct Stranger {
    pub(crate) address: SocketAddr,
    pub(crate) identity: Identity,
    pub(crate) instance: [u8; 8],
    pub(crate) claim: ElectionState,
    pub(crate) heard: Instant,
}

impl Stranger {
    /// It was heard within its hold.
    pub(crate) fn is_heard(&self, now: Instant) -> bool {
        now < self.heard.after(peer::hold(&self.claim))
    }
}

impl core::fmt::Debug for Stranger {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Stranger")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}
