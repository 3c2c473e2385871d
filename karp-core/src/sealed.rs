//! Messages kept as octets because they may have to go out again as the same ones: sealing spends an IV, and nothing is
//! encoded twice under one (PROTOCOL.md section 3).

use crate::{
    io::MessageKind,
    storage::Handle,
    time::{Duration, Instant},
    wire::MAX_DATAGRAM,
};

/// What a request is about, for when it is answered or given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Request {
    /// GSA_REGISTRATION: the state is pulled.
    Pull,
    /// GSA_INBAND_REKEY: the state is pushed.
    Push,
    /// INFORMATIONAL: new keys are wanted.
    Rekey,
    /// INFORMATIONAL: does the GCKS live?
    Probe,
}

impl Request {
    pub(crate) const fn kind(self) -> MessageKind {
        match self {
            Self::Pull => MessageKind::Registration,
            Self::Push => MessageKind::InbandRekey,
            Self::Rekey | Self::Probe => MessageKind::Informational,
        }
    }
}

/// A request that waits for its answer. Window size 1: a peer has one at most.
pub struct Sealed {
    pub(crate) peer: Handle,
    pub(crate) request: Request,
    pub(crate) message_id: u32,
    pub(crate) octets: heapless::Vec<u8, MAX_DATAGRAM>,
    /// How often it was sent.
    pub(crate) sent: u8,
    /// When it is sent again or given up.
    pub(crate) next: Instant,
    /// The wait after the next sending.
    pub(crate) wait: Duration,
}

impl core::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Sealed")
            .field("request", &self.request)
            .field("sent", &self.sent)
            .finish_non_exhaustive()
    }
}
