//! How often what happened: one number for each [`DropReason`], message kind and transition.

use crate::{error::DropReason, io::MessageKind};

/// Messages and octets of one kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// Messages.
    pub messages: u32,
    /// Octets, headers of UDP and IP not counted.
    pub octets: u64,
}

/// What an engine counted since it was made. Every number saturates.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Counters {
    dropped: [u32; DropReason::COUNT],
    sent: [Traffic; MessageKind::COUNT],
    received: [Traffic; MessageKind::COUNT],
    /// Requests sent again because no answer came.
    pub retransmissions: u32,
    /// Initial exchanges completed as initiator.
    pub handshakes_initiated: u32,
    /// Initial exchanges completed as responder.
    pub handshakes_answered: u32,
    /// Rollovers completed as GCKS.
    pub rollovers: u32,
    /// Times this node took office after another's silence.
    pub failovers: u32,
    /// Offices handed over to a successor.
    pub handoffs: u32,
    /// Identities evicted.
    pub evictions: u32,
    /// Merges into a greater office.
    pub merges: u32,
    /// Times the node was found to have been asleep for longer than its hold.
    pub pauses: u32,
    /// Changes of role.
    pub role_changes: u32,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            dropped: [0; DropReason::COUNT],
            sent: [Traffic::default(); MessageKind::COUNT],
            received: [Traffic::default(); MessageKind::COUNT],
            retransmissions: 0,
            handshakes_initiated: 0,
            handshakes_answered: 0,
            rollovers: 0,
            failovers: 0,
            handoffs: 0,
            evictions: 0,
            merges: 0,
            pauses: 0,
            role_changes: 0,
        }
    }
}

impl Counters {
    /// How many datagrams were dropped for `reason`.
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u32 {
        position(DropReason::ALL, reason)
            .and_then(|at| self.dropped.get(at))
            .copied()
            .unwrap_or(0)
    }

    /// How many datagrams were dropped at all.
    #[must_use]
    pub fn dropped_total(&self) -> u32 {
        self.dropped.iter().fold(0, |sum, n| sum.saturating_add(*n))
    }

    /// What was sent of `kind`.
    #[must_use]
    pub fn sent(&self, kind: MessageKind) -> Traffic {
        position(MessageKind::ALL, kind)
            .and_then(|at| self.sent.get(at))
            .copied()
            .unwrap_or_default()
    }

    /// What was received and taken of `kind`.
    #[must_use]
    pub fn received(&self, kind: MessageKind) -> Traffic {
        position(MessageKind::ALL, kind)
            .and_then(|at| self.received.get(at))
            .copied()
            .unwrap_or_default()
    }

    pub(crate) fn count_drop(&mut self, reason: DropReason) {
        if let Some(n) = position(DropReason::ALL, reason).and_then(|at| self.dropped.get_mut(at)) {
            *n = n.saturating_add(1);
        }
    }

    pub(crate) fn count_sent(&mut self, kind: MessageKind, octets: usize) {
        add(&mut self.sent, kind, octets);
    }

    pub(crate) fn count_received(&mut self, kind: MessageKind, octets: usize) {
        add(&mut self.received, kind, octets);
    }
}

pub(crate) fn bump(counter: &mut u32) {
    *counter = counter.saturating_add(1);
}

fn add(table: &mut [Traffic; MessageKind::COUNT], kind: MessageKind, octets: usize) {
    if let Some(entry) = position(MessageKind::ALL, kind).and_then(|at| table.get_mut(at)) {
        entry.messages = entry.messages.saturating_add(1);
        entry.octets = entry
            .octets
            .saturating_add(u64::try_from(octets).unwrap_or(u64::MAX));
    }
}

fn position<T: PartialEq>(all: &[T], one: T) -> Option<usize> {
    all.iter().position(|other| *other == one)
}
