//! What can go wrong, by whose fault it is.
//!
//! Nothing here carries text or secrets. A [`DropReason`] maps one to one to a counter
//! ([`Counters`](crate::counters::Counters)).

/// Names every variant of an enum for counting and for people.
macro_rules! counted {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[cfg_attr(feature = "defmt", derive(defmt::Format))]
        #[non_exhaustive]
        pub enum $name { $($(#[$vmeta])* $variant,)+ }

        impl $name {
            /// Every variant, in the order of the counters.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// A short name for logs and metrics, in snake case.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }
    };
}
pub(crate) use counted;

counted! {
    /// Why a datagram was dropped without effect, ordered by blame: first what a peer's message is, then how a peer
    /// behaves, then what we are short of.
    pub enum DropReason {
        /// TTL or hop limit is not 255 (PROTOCOL.md section 2, GTSM).
        HopLimit = "hop_limit",
        /// Not a well-formed message of this protocol.
        Malformed = "malformed",
        /// A critical payload that this version does not know (RFC 7296 section 2.5).
        UnknownCritical = "unknown_critical",
        /// An exchange type that is not spoken here.
        UnknownExchange = "unknown_exchange",
        /// An announcement of another version of the protocol.
        OtherVersion = "other_version",
        /// A message of another group on the same link.
        OtherGroup = "other_group",
        /// Our own message, come back by multicast.
        Own = "own",
        /// Unicast where multicast belongs, or the other way round.
        WrongDestination = "wrong_destination",
        /// A seal, MAC or signature does not verify.
        BadSeal = "bad_seal",
        /// A controller signature is missing or wrong.
        BadSignature = "bad_signature",
        /// The peer's proof in the initial exchange is wrong.
        BadProof = "bad_proof",
        /// The peer is not authorised for what it wants.
        NotAuthorised = "not_authorised",
        /// The peer was evicted from the group.
        Evicted = "evicted",
        /// The peer claims our own identity.
        OwnIdentity = "own_identity",
        /// An announcement or key update that was taken before, or is older than one that was.
        Replayed = "replayed",
        /// An announcement of an instance other than the one that this identity has.
        OtherInstance = "other_instance",
        /// A Message ID outside the window.
        OutOfWindow = "out_of_window",
        /// A repeat of a request that was answered less than 100 ms ago.
        RepeatedTooSoon = "repeated_too_soon",
        /// No IKE SA, Rekey SA or attempt that this message belongs to.
        UnknownSpi = "unknown_spi",
        /// An error notify outside SK: no evidence of anything (PROTOCOL.md section 4).
        UnprotectedError = "unprotected_error",
        /// A cookie that was not issued here, or that has expired.
        BadCookie = "bad_cookie",
        /// No acceptable proposal.
        NoProposal = "no_proposal",
        /// Key material of the wrong kind: a low-order point, a nonce of the wrong length.
        BadKeyMaterial = "bad_key_material",
        /// A state whose generation is older than the one applied.
        StaleState = "stale_state",
        /// A message that has no place in the present state of this node.
        Unexpected = "unexpected",
        /// More than this node answers in the time.
        RateLimited = "rate_limited",
        /// A table is full: peers, handshakes, keys or strangers.
        TableFull = "table_full",
        /// The buffer handed in is too small for the answer.
        NoRoom = "no_room",
        /// The node has left the group, or was never told to join.
        NotJoined = "not_joined",
    }
}

/// What is wrong with a configuration, naming the field. The host turns it into text (karp-std adds file and line).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ConfigError {
    /// A field is outside its range; the bounds are inclusive.
    OutOfRange {
        /// The field's name in [`Settings`](crate::config::Settings).
        field: &'static str,
        /// The least that it can be.
        min: u64,
        /// The most that it can be.
        max: u64,
        /// What it was.
        value: u64,
    },
    /// The group's name is empty or longer than 64 octets.
    GroupName,
    /// The address cannot be a node's unicast address.
    UnicastAddress,
    /// The address is not a multicast address, or not of the unicast address's family.
    MulticastAddress,
    /// No routing protocol is keyed, or one is listed twice, or more than eight are.
    Protocols,
    /// A protocol cannot use the algorithm that the policy gives it.
    Algorithm {
        /// The protocol's number (PROTOCOL.md section 10).
        protocol: u16,
        /// The algorithm's number.
        algorithm: u16,
    },
    /// The key id range is empty, holds 0, is smaller than 8, or is wider than a keyed protocol's field.
    KeyIds,
    /// Two manual keys share protocol and id, or a manual key's secret is empty or longer than 64 octets.
    ManualKey {
        /// The key's id.
        id: u16,
    },
    /// A key to resume with has id 0, or the id of another one.
    ResumedKey {
        /// The key's id.
        id: u16,
    },
    /// A message could exceed the 1232 octets that every link carries (PROTOCOL.md section 2).
    MessageTooLong {
        /// The message that could.
        message: &'static str,
        /// How long it could get, in octets.
        octets: usize,
        /// The most that it may have.
        limit: usize,
    },
    /// Storage is too small: at least one peer, eight keys, two handshakes and two sealed messages.
    Storage {
        /// The table that is too small.
        table: &'static str,
        /// How many slots it needs at least.
        min: usize,
    },
    /// The credentials do not grant this node itself what it is configured to do: its own identity must be allowed
    /// to join.
    OwnGrant,
    /// A pair's peer has the identity of this router itself.
    PeerIdentity,
    /// The credentials have nothing for a pair's peer.
    NoCredential,
}

impl core::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match *self {
            Self::OutOfRange { field, min, max, value } => {
                write!(f, "{field} is {value}; it must be from {min} to {max}")
            }
            Self::GroupName => f.write_str("group must have 1 to 64 octets; give a shorter name"),
            Self::UnicastAddress => f.write_str(
                "address must be a unicast address with a port that other routers can reach; name the interface's own",
            ),
            Self::MulticastAddress => f.write_str(
                "multicast must be a multicast address with a port, of the same family as address; 224.0.0.254 or ff02::114 serve",
            ),
            Self::Protocols => f.write_str("protocols must list one to eight routing protocols, each once"),
            Self::Algorithm { protocol, algorithm } => {
                write!(f, "protocols: algorithm {algorithm} cannot authenticate protocol {protocol}; choose one that it defines")
            }
            Self::KeyIds => f.write_str(
                "key_ids must be a range of at least 8 ids from 1 up that the narrowest keyed protocol can carry (255, or 65535)",
            ),
            Self::ManualKey { id } => {
                write!(f, "manual key {id}: its secret must have 1 to 64 octets, and its id must be the only one of its protocol")
            }
            Self::ResumedKey { id } => {
                write!(f, "resumed key {id}: its id must be from 1 up and the only one; hand in each key once")
            }
            Self::MessageTooLong { message, octets, limit } => write!(
                f,
                "{message} could have {octets} octets and every link carries only {limit}; shorten identities or group, or key fewer protocols"
            ),
            Self::Storage { table, min } => write!(f, "storage: {table} needs at least {min} slots"),
            Self::OwnGrant => f.write_str("credentials: this router's own identity may not join the group; grant it"),
            Self::PeerIdentity => f.write_str("peer must be another identity than this router's own"),
            Self::NoCredential => {
                f.write_str("credentials: there is no key for the peer; give a pre-shared key, or its public key")
            }
        }
    }
}

impl core::error::Error for ConfigError {}

/// Why a command was refused. Nothing changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum CommandError {
    /// The node is not part of the group: tell it to join first.
    NotJoined,
    /// Only the GCKS can do that: give the command to the router that `gcks()` names.
    NotGcks,
    /// The identity shares its pre-shared key with others, so it cannot be kept out: give each router a key of its own.
    SharedKey,
    /// The identity is not known here.
    UnknownIdentity,
    /// A node cannot evict itself: let it leave.
    OwnIdentity,
    /// The generation was never given to the host.
    UnknownGeneration,
    /// No other node may serve, so office cannot be handed over.
    NoSuccessor,
    /// There is no manual key to migrate from.
    NothingToMigrate,
    /// The pair has no session in this place.
    UnknownSession,
}

impl core::fmt::Display for CommandError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::NotJoined => "this router is not part of the group; join first",
            Self::NotGcks => "only the key server can do that; give the command to the router in office",
            Self::SharedKey => {
                "that router's pre-shared key is shared with others, so it cannot be kept out; give each router its own key"
            }
            Self::UnknownIdentity => "no such identity is known here",
            Self::OwnIdentity => "a router cannot evict itself; let it leave",
            Self::UnknownGeneration => "no state of that generation was given to the host",
            Self::NoSuccessor => "no other live router may serve, so the office cannot be handed over",
            Self::NothingToMigrate => "there is no manual key to migrate from",
            Self::UnknownSession => "the pair has no session in that place; count them from 0",
        })
    }
}

impl core::error::Error for CommandError {}
