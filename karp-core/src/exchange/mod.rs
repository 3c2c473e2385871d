//! The initial exchange and what it leaves behind (PROTOCOL.md section 4).

mod attempt;
pub(crate) mod auth;
mod cookie;
mod half_open;
mod initiator;
pub(crate) mod messages;
mod responder;
mod sa;
#[cfg(test)]
mod tests;

pub(crate) use attempt::{Attempt, MAX_FIRST, Purpose};
pub(crate) use half_open::HalfOpen;
pub(crate) use sa::{IkeSa, KeyWrap, Opened, open, seal, wire_fault};

use crate::time::Instant;

/// An exchange under way: ours or somebody else's. Attempts and half-open exchanges share one table (section 11).
#[allow(clippy::large_enum_variant, reason = "there is no allocator to box with")]
pub enum Handshake {
    /// This node is the initiator.
    Attempt(Attempt),
    /// This node is the responder.
    HalfOpen(HalfOpen),
}

impl core::fmt::Debug for Handshake {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Attempt(_) => "Attempt",
            Self::HalfOpen(_) => "HalfOpen",
        })
    }
}

impl Handshake {
    pub(crate) const fn attempt(&self) -> Option<&Attempt> {
        match self {
            Self::Attempt(attempt) => Some(attempt),
            Self::HalfOpen(_) => None,
        }
    }

    pub(crate) const fn attempt_mut(&mut self) -> Option<&mut Attempt> {
        match self {
            Self::Attempt(attempt) => Some(attempt),
            Self::HalfOpen(_) => None,
        }
    }

    pub(crate) const fn half_open(&self) -> Option<&HalfOpen> {
        match self {
            Self::Attempt(_) => None,
            Self::HalfOpen(half_open) => Some(half_open),
        }
    }

    pub(crate) const fn half_open_mut(&mut self) -> Option<&mut HalfOpen> {
        match self {
            Self::Attempt(_) => None,
            Self::HalfOpen(half_open) => Some(half_open),
        }
    }

    /// When something has to be done about it at the latest.
    pub(crate) fn deadline(&self) -> Instant {
        match self {
            Self::Attempt(attempt) => attempt.deadline.min(attempt.next.unwrap_or(attempt.deadline)),
            Self::HalfOpen(half_open) => half_open.deadline,
        }
    }
}
