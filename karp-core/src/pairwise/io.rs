//! What goes into a pair and what comes out of it.

use core::net::SocketAddr;

use crate::{
    algorithm::RoutingProtocol,
    error::counted,
    io::MessageKind,
    time::{Duration, Instant},
};

/// A call of the host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// Take part: answer, and begin if the settings say so.
    Start,
    /// End the IKE SA and all its keys, tell the peer, and answer nothing more until the next start.
    Stop,
    /// New keys for the session with this place in [`Settings::sessions`](super::Settings): another key, or an old session
    /// that starts anew (PROTOCOL.md section 8).
    Rekey {
        /// The place.
        session: usize,
    },
    /// A new IKE SA in the place of the present one.
    RekeyIkeSa,
    /// Ask the peer whether it lives, without waiting for silence.
    Probe,
}

/// What [`Pair::poll`](super::Pair::poll) has to say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Send the first `len` octets of the buffer to `to`. Poll again.
    Transmit {
        /// The datagram's length in octets, at most 1232.
        len: usize,
        /// The destination.
        to: SocketAddr,
        /// What it is.
        kind: MessageKind,
    },
    /// Something happened that the host may want to know. Poll again.
    Event(Event),
    /// Nothing more to do before `next`, unless a datagram or a command comes. `next` is strictly later than the `now` of
    /// this poll; `None` means that no deadline runs.
    Idle {
        /// When to poll again at the latest, and what for.
        next: Option<(Instant, Timer)>,
    },
}

counted! {
    /// What a deadline is for.
    pub enum Timer {
        /// An initial exchange begins, is sent again or ends.
        Start = "start",
        /// A half-open exchange of the peer's ends.
        HalfOpen = "half_open",
        /// A request is sent again, or the peer counts as lost.
        Retransmit = "retransmit",
        /// An IKE SA is replaced, or one that was replaced ends.
        IkeSa = "ike_sa",
        /// A session's key is replaced or ends.
        Key = "key",
        /// The peer was silent.
        Liveness = "liveness",
        /// The cookie secret changes.
        Cookie = "cookie",
    }
}

/// Something that a host may want to know. Nothing important lives only in an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Event {
    /// There is an IKE SA with the peer, which proved who it is.
    Up {
        /// This side began it.
        initiated: bool,
        /// How long its initial exchange took, from the first message sent or seen here.
        elapsed: Duration,
    },
    /// There is none any more.
    Down {
        /// Why.
        reason: DownReason,
    },
    /// An attempt came to nothing. The next one follows by itself if the settings say so.
    Failed {
        /// Why.
        reason: Failure,
    },
    /// The IKE SA was replaced by another one.
    IkeSaRekeyed,
    /// A key is accepted from now on.
    KeyInstalled(KeyName),
    /// A key is the one to send with.
    KeyActivated(KeyName),
    /// A key is accepted and no longer sent with.
    KeyRetired(KeyName),
    /// A key is gone.
    KeyRemoved(KeyName),
}

/// What a key is called.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct KeyName {
    /// The place of its session in the settings.
    pub session: u8,
    /// The session's routing protocol.
    pub protocol: RoutingProtocol,
    /// The id in packets sent: what the peer wants to receive with (TCP-AO's SendID).
    pub send_id: u16,
    /// The id in packets received (TCP-AO's RecvID).
    pub recv_id: u16,
}

counted! {
    /// Why an IKE SA ended.
    pub enum DownReason {
        /// The host said stop.
        Stopped = "stopped",
        /// The peer ended it.
        Deleted = "deleted",
        /// The peer did not answer.
        PeerLost = "peer_lost",
        /// The peer started anew (INITIAL_CONTACT).
        PeerRestarted = "peer_restarted",
        /// What the peer sent broke the protocol (RFC 7296 section 2.21.3).
        ProtocolError = "protocol_error",
    }
}

counted! {
    /// Why an attempt came to nothing.
    pub enum Failure {
        /// No answer, or none that was good for anything.
        NoAnswer = "no_answer",
        /// The peer, or somebody in its name, takes none of what is proposed (NO_PROPOSAL_CHOSEN, INVALID_KE_PAYLOAD).
        /// Nobody proved to have said it.
        NoProposal = "no_proposal",
        /// The peer, or somebody in its name, sent another error outside SK. Nobody proved to have said it.
        Refused = "refused",
        /// The peer does not support childless IKE SAs (RFC 6023).
        NotChildless = "not_childless",
        /// The peer's proof is wrong: another key than this side has.
        BadProof = "bad_proof",
        /// The peer proved, or claimed, another identity than the configured one.
        WrongIdentity = "wrong_identity",
        /// The peer does not take this side's proof (AUTHENTICATION_FAILED).
        ProofRefused = "proof_refused",
        /// There is no credential for this peer.
        NoCredential = "no_credential",
    }
}

/// What a pair counted beside messages and drops. Every number saturates.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PairCounters {
    /// IKE SAs that this side initiated.
    pub initiated: u32,
    /// IKE SAs that the peer initiated.
    pub answered: u32,
    /// IKE SAs that replaced another, whoever asked.
    pub ike_rekeys: u32,
    /// Routing SAs made, whoever asked.
    pub keys_made: u32,
    /// Attempts of this side that came to nothing, and of the peer whose proof was wrong.
    pub failures: u32,
    /// Cookies asked of the peer.
    pub cookies_asked: u32,
    /// Cookies that the peer asked for and got.
    pub cookies_given: u32,
    /// Requests sent again.
    pub retransmissions: u32,
    /// Responses sent again because the request came again.
    pub responses_repeated: u32,
    /// Empty requests of the peer answered.
    pub probes_answered: u32,
    /// Answers to empty requests received.
    pub probes_confirmed: u32,
}
