//! What goes into the engine and what comes out of it.

use core::net::SocketAddr;

use crate::{
    error::{DropReason, counted},
    identity::Identity,
    time::{Duration, Instant},
};

/// Where a datagram came from and how it came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Recv {
    /// The sender's address and port.
    pub from: SocketAddr,
    /// Where it was sent to: this node's address, or the group's multicast address.
    pub to: SocketAddr,
    /// TTL or hop limit on arrival; `None` if the host cannot know it, which GTSM refuses.
    pub hop_limit: Option<u8>,
}

/// What became of a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Handled {
    /// It was taken. Poll the engine.
    Accepted,
    /// It was dropped; nothing but the counters changed.
    Dropped(DropReason),
}

counted! {
    /// The kinds of messages, for statistics and traces.
    pub enum MessageKind {
        /// GCKS_ELECTION (249), multicast.
        Announcement = "announcement",
        /// IKE_SA_INIT (34), a request.
        InitRequest = "init_request",
        /// IKE_SA_INIT, a response, a cookie or a redirection.
        InitResponse = "init_response",
        /// GSA_AUTH (39), a request.
        AuthRequest = "auth_request",
        /// GSA_AUTH, a response.
        AuthResponse = "auth_response",
        /// GSA_REGISTRATION (40), a member pulls the state.
        Registration = "registration",
        /// GSA_INBAND_REKEY (42), the GCKS pushes the state.
        InbandRekey = "inband_rekey",
        /// INFORMATIONAL (37): rekey request, leave, liveness.
        Informational = "informational",
        /// A response to one of the three above, or to CREATE_CHILD_SA.
        Response = "response",
        /// CREATE_CHILD_SA (36), of a pair: a key, or another IKE SA.
        CreateChild = "create_child",
        /// GSA_REKEY (41), multicast.
        KeyUpdate = "key_update",
    }
}

counted! {
    /// What a deadline is for.
    pub enum Timer {
        /// The next announcement.
        Hello = "hello",
        /// The end of an Initial node's wait (PROTOCOL.md section 5.3).
        Wait = "wait",
        /// A turn to take office.
        Turn = "turn",
        /// The end of validation under attack (section 5.4).
        Validate = "validate",
        /// The next attempt to join somebody.
        Join = "join",
        /// The state is asked for again.
        Pull = "pull",
        /// The GCKS is asked whether it lives.
        Liveness = "liveness",
        /// A key update is repeated or sent anew.
        Update = "update",
        /// A step of a rollover.
        Rollover = "rollover",
        /// A handoff or a merge ends.
        Succession = "succession",
        /// The Rekey SA's lifetime ends.
        RekeySa = "rekey_sa",
        /// The cookie secret changes.
        Cookie = "cookie",
        /// A peer's hold ends.
        Hold = "hold",
        /// A key's lifetime ends, or its omission is due.
        Key = "key",
        /// A handshake is retransmitted or ends.
        Handshake = "handshake",
        /// A request is retransmitted.
        Retransmit = "retransmit",
        /// An answer owed was held back by a rate limit.
        Reply = "reply",
    }
}

/// What [`Engine::poll`](crate::Engine::poll) has to say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Send the first `len` octets of the buffer from the node's unicast socket to `to`. Poll again.
    Transmit {
        /// The datagram's length in octets, at most 1232.
        len: usize,
        /// The destination, unicast or the group's multicast address.
        to: SocketAddr,
        /// What it is.
        kind: MessageKind,
    },
    /// Something happened that the host may want to know. Poll again.
    Event(Event),
    /// Nothing more to do before `next`, unless a datagram or a command comes. `next` is strictly later than the
    /// `now` of this poll; `None` means that no deadline runs.
    Idle {
        /// When to poll again at the latest, and what for.
        next: Option<(Instant, Timer)>,
    },
}

/// What part a node has in its group.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Role {
    /// Not part of the group.
    #[default]
    Left,
    /// Looking for a GCKS; it may still have traffic keys.
    Initial,
    /// Registered and keyed.
    Member,
    /// The key server.
    Gcks,
}

/// Something that a host may want to know. Nothing important lives only in an event: the same can be read from the
/// engine at any time.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Event {
    /// The node's part changed.
    RoleChanged {
        /// Its part now.
        role: Role,
    },
    /// The node follows another GCKS, or none.
    GcksChanged {
        /// The GCKS it follows, itself not named.
        gcks: Option<Identity>,
    },
    /// The key table changed. A host that fills a daemon's keys installs them and confirms with
    /// [`Command::Installed`](crate::command::Command::Installed); the group waits for it.
    StateApplied {
        /// What to confirm.
        generation: u32,
    },
    /// A traffic key was installed: its rows are accepted from now on.
    KeyInstalled {
        /// The key id.
        id: u16,
    },
    /// A traffic key became the one to send with.
    KeyActivated {
        /// The key id.
        id: u16,
    },
    /// A traffic key is accepted and no longer sent with.
    KeyRetired {
        /// The key id.
        id: u16,
    },
    /// A traffic key is gone.
    KeyRemoved {
        /// The key id.
        id: u16,
    },
    /// A peer registered here and was given the keys (at a GCKS), or this node registered with it (at a member).
    PeerJoined {
        /// Who.
        peer: Identity,
        /// How many octets its initial exchange took, both directions, headers of UDP and IP not counted.
        octets: u32,
        /// How long its initial exchange took, from the first message sent or seen here.
        elapsed: Duration,
    },
    /// A member left, was evicted or fell silent.
    PeerLeft {
        /// Who.
        peer: Identity,
    },
    /// A rollover began: a new key is being distributed.
    RekeyStarted {
        /// The new key's id.
        id: u16,
    },
    /// Every live member has acknowledged the activation of the new key.
    RekeyCompleted {
        /// The new key's id.
        id: u16,
    },
    /// Something needs a person's attention, or no longer does.
    Alarm {
        /// What.
        alarm: Alarm,
        /// Whether it began (`true`) or ended.
        raised: bool,
    },
}

counted! {
    /// Conditions that a person should know of.
    pub enum Alarm {
        /// A rollover was activated although a live member had not acknowledged (section 7).
        ActivatedWithoutAll = "activated_without_all",
        /// The last traffic key has passed its lifetime without a successor.
        KeyExpired = "key_expired",
        /// The GCKS's table of peers is full (REGISTRATION_FAILED).
        GroupFull = "group_full",
        /// Priority is 0 and nobody else may serve (section 5.2).
        ServingUnwillingly = "serving_unwillingly",
        /// A candidate proved its identity and may not serve, or its proof was wrong.
        CandidateRefused = "candidate_refused",
        /// A peer does not accept this node's proof.
        ProofRefused = "proof_refused",
        /// This node was evicted or is not authorised.
        NotAuthorised = "not_authorised",
        /// The node waits for its host to confirm an installation.
        InstallPending = "install_pending",
        /// The migration from manual keys waits for expected routers.
        MigrationWaits = "migration_waits",
    }
}
