//! What a routing protocol or an operator asks of the engine (PROTOCOL.md section 8).

use crate::{algorithm::RoutingProtocol, identity::Identity};

/// Why new keys are wanted (PROTOCOL.md section 8; the numbers go on the wire).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum RekeyReason {
    /// A new session began that the protocol does not protect against the packets of an earlier one.
    NewSession,
    /// Sequence numbers near their end.
    SequenceExhausted,
    /// A neighbour restarted.
    PeerRestarted,
    /// A key may be known to others.
    Compromise,
    /// An operator asked.
    Operator,
}

impl RekeyReason {
    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::NewSession => 1,
            Self::SequenceExhausted => 2,
            Self::PeerRestarted => 3,
            Self::Compromise => 4,
            Self::Operator => 5,
        }
    }

    /// The reason with this number, if there is one.
    #[must_use]
    pub const fn from_code(code: u16) -> Option<Self> {
        Some(match code {
            1 => Self::NewSession,
            2 => Self::SequenceExhausted,
            3 => Self::PeerRestarted,
            4 => Self::Compromise,
            5 => Self::Operator,
            _ => return None,
        })
    }
}

/// A call of the host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command<'a> {
    /// Begin to take part in the group.
    Join,
    /// Stop: hand over the office if this node has it, say goodbye, forget the group's keys.
    Leave,
    /// The election priority; 0 never serves. Role hints map to 200 (DR), 150 (BDR) and 100.
    SetPriority(u16),
    /// The routing protocols hold the keys of the state with this generation
    /// ([`Event::StateApplied`](crate::io::Event::StateApplied)).
    Installed {
        /// The generation that the event named.
        generation: u32,
    },
    /// New keys are wanted. Requests within the minimum interval are merged; none is lost.
    Rekey {
        /// The protocol that asks.
        protocol: RoutingProtocol,
        /// Why.
        reason: RekeyReason,
    },
    /// Put an identity out of the group and change all keys (GCKS only).
    Evict(&'a Identity),
    /// Move from manual to automatic keys without waiting for every expected router.
    Migrate,
    /// Hand the office over to the best live member (GCKS only). One that took office a moment ago waits first until its
    /// members have registered.
    HandOff,
}
