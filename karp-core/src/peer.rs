//! A node that has proved itself: by an exchange, or by the MAC of a Rekey SA in common.

use core::net::SocketAddr;

use crate::{
    config,
    exchange::IkeSa,
    identity::Identity,
    io::Role,
    time::{Duration, Instant},
    wire::{ElectionFlags, ElectionState, NodeState, notify::Instance},
};

/// Under what a peer announces itself (PROTOCOL.md section 5.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct KnownInstance {
    pub(crate) instance: [u8; 8],
    /// The least sequence that is still taken.
    pub(crate) next: u32,
    /// It was told inside SK: only another exchange, or a change of this node's Rekey SA, can replace it.
    pub(crate) proved: bool,
}

impl KnownInstance {
    /// What N(INSTANCE) said. Announcements of the same instance that were taken meanwhile stay taken.
    pub(crate) fn proved(before: Option<Self>, said: &Instance) -> Self {
        let same = before.filter(|known| known.instance == said.instance);
        let next = same.map_or(said.next_sequence, |known| known.next.max(said.next_sequence));
        Self {
            instance: said.instance,
            next,
            proved: true,
        }
    }
}

/// What this node's office knows of a registrant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Registrant {
    /// It was given the state: it is KEYED. Otherwise it waits (section 7).
    pub(crate) given: bool,
    /// It counts: what it has not acknowledged is waited for.
    pub(crate) live: bool,
    /// The newest generation under the office's Rekey SA that it announced.
    pub(crate) acked: Option<u32>,
    /// It announces the next Rekey SA.
    pub(crate) has_next_sa: bool,
    /// Since when it has been silent for hold, so that the state was sent to it.
    pub(crate) silent: bool,
    /// It is an office that merges into this one (section 5.5), or a router that comes from another half (section 7).
    /// Keys up to this number were made before its merge: newer ones alone are given to it.
    pub(crate) merging: Option<u32>,
    /// It is an office.
    pub(crate) office: bool,
    /// It was heard under this office's Rekey SA since it was given the state.
    pub(crate) confirmed: bool,
    /// When it was last heard under this office's Rekey SA, or answered.
    pub(crate) heard: Instant,
    /// Its last request or registration.
    pub(crate) asked: Instant,
    /// What KEYS_IN_USE of its last request showed.
    pub(crate) shows: Shows,
}

impl Registrant {
    /// When one that waits and does not ask is given up. A rollover waits for one that merges.
    pub(crate) fn given_up_at(&self, hold: Duration) -> Instant {
        let holds = if self.merging.is_some() { 2 } else { 4 };
        self.asked.after(hold.times(holds))
    }
}

/// What KEYS_IN_USE showed, judged at once: the list itself is not kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Shows {
    /// A key that is or was Active here: it has not rebooted since that was made.
    pub(crate) active: bool,
    /// The key that it sends with, and which is known here but not Active: while an office merges, that one's half may
    /// send so as well.
    pub(crate) lags: bool,
    /// The key that is Active here, which it stopped sending with and does not go back to.
    pub(crate) beyond: bool,
    /// The key that it sends with, and nobody knows that here, or it was never Active here and none is shown that was:
    /// it comes from another half, where others send as it does.
    pub(crate) foreign: bool,
    /// It sends with the key that is Active here: only that makes another office continuing (section 5.5).
    pub(crate) current: bool,
    /// A key whose id is another key's here.
    pub(crate) conflict: bool,
    /// That other key is Pending or Active.
    pub(crate) lasting_conflict: bool,
    /// The number of the Pending key, if it was shown: at a merge, the whole half of that office holds it.
    pub(crate) pending: Option<u32>,
}

impl Shows {
    /// It has not rebooted since the keys here were made, and can have all of them at once (section 7).
    pub(crate) const fn continuing(&self) -> bool {
        self.active && !self.foreign
    }
}

/// An answer owed to a peer's request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct OwedReply {
    pub(crate) message_id: u32,
    pub(crate) kind: ReplyKind,
    /// Not before this.
    pub(crate) at: Instant,
}

/// What answers a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ReplyKind {
    /// GSA_REGISTRATION, by the state or without it.
    Registration,
    /// GSA_INBAND_REKEY, by SK{}.
    InbandRekey,
    /// INFORMATIONAL, by SK{}.
    Informational,
}

/// A row of the table of peers.
pub struct Peer {
    pub(crate) identity: Identity,
    pub(crate) address: SocketAddr,
    pub(crate) instance: Option<KnownInstance>,
    /// Its newest authenticated ELECTION_STATE.
    pub(crate) claim: Option<ElectionState>,
    /// When it was last heard, authenticated.
    pub(crate) heard: Option<Instant>,
    /// The Rekey SA whose MAC authenticated it then; none if an exchange did.
    pub(crate) under: Option<[u8; 16]>,
    pub(crate) sa: Option<IkeSa>,
    pub(crate) registrant: Option<Registrant>,
    /// The instance that holds this office's Rekey SA.
    pub(crate) holder: Option<[u8; 8]>,
    /// The number of the newest key that an earlier instance can have had (section 7).
    pub(crate) earlier: u32,
    pub(crate) reply: Option<OwedReply>,
    /// The state is to be pushed to it.
    pub(crate) push: bool,
    /// Its initial exchange, for the host: octets and milliseconds.
    pub(crate) exchange: (u32, u32),
    /// It is registered, or this node with it; and what the host was told of that.
    pub(crate) joined: bool,
    pub(crate) told_joined: bool,
}

impl Peer {
    pub(crate) fn new(identity: Identity, address: SocketAddr) -> Self {
        Self {
            identity,
            address,
            instance: None,
            claim: None,
            heard: None,
            under: None,
            sa: None,
            registrant: None,
            holder: None,
            earlier: 0,
            reply: None,
            push: false,
            exchange: (0, 0),
            joined: false,
            told_joined: false,
        }
    }

    /// How long it may be silent (section 5.1).
    pub(crate) fn hold(&self) -> Option<Duration> {
        self.claim.as_ref().map(hold)
    }

    /// When a registrant that counts falls silent: not heard under this office's Rekey SA for its hold. One that was given
    /// the state and never heard so may not have got it, and has time to register once more.
    pub(crate) fn silent_at(&self) -> Option<Instant> {
        let registrant = self.registrant?;
        let holds = if registrant.confirmed { 1 } else { 2 };
        Some(registrant.heard.after(self.hold()?.times(holds)))
    }

    /// It was heard, authenticated, within its hold.
    pub(crate) fn is_heard(&self, now: Instant) -> bool {
        match (self.heard, self.hold()) {
            (Some(heard), Some(hold)) => now < heard.after(hold),
            _ => false,
        }
    }

    /// It claims to serve.
    pub(crate) fn serves(&self) -> bool {
        self.claim.is_some_and(|claim| claim.state == NodeState::Gcks)
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.claim
            .is_some_and(|claim| claim.flags.has(ElectionFlags::LEAVING))
    }

    pub(crate) fn is_keyed(&self) -> bool {
        self.claim
            .is_some_and(|claim| claim.flags.has(ElectionFlags::KEYED))
    }

    /// It was given the state by this office and counts.
    pub(crate) fn is_live(&self) -> bool {
        self.registrant.is_some_and(|registrant| registrant.live)
    }

    /// Registered here and waiting for the state.
    pub(crate) fn waits(&self) -> bool {
        self.registrant.is_some_and(|registrant| !registrant.given)
    }
}

/// How long the sender of `claim` may be silent.
pub(crate) fn hold(claim: &ElectionState) -> Duration {
    config::hold(
        Duration::from_millis(u64::from(claim.interval_ms)),
        claim.hold_multiplier,
    )
}

/// The election's role for the state on the wire.
pub(crate) const fn role(state: NodeState) -> Role {
    match state {
        NodeState::Initial => Role::Initial,
        NodeState::Member => Role::Member,
        NodeState::Gcks => Role::Gcks,
    }
}

impl core::fmt::Debug for Peer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Peer")
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}
