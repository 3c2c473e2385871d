//! Who a router is, what it may do, and how it proves it.
//!
//! [`Credentials`] computes and never hands out: a pre-shared key or a signing key can stay in hardware behind the
//! trait. The engine asks for authentication data over parts of messages and for grants; it never sees a long-term
//! secret.

use core::{cmp::Ordering, fmt};

/// The most octets an identity can have, so that every message fits its datagram.
pub const MAX_IDENTITY: usize = 64;

/// An identity as an ID payload carries it: a type and up to [`MAX_IDENTITY`] octets (RFC 7296 section 3.5).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    kind: u8,
    octets: heapless::Vec<u8, MAX_IDENTITY, u8>,
}

impl Identity {
    /// ID_FQDN: the type that names like `r1.example` have.
    pub const FQDN: u8 = 2;
    /// ID_KEY_ID: an opaque octet string.
    pub const KEY_ID: u8 = 11;

    /// An identity of any type; `None` if it is empty or longer than [`MAX_IDENTITY`] octets.
    #[must_use]
    pub fn new(kind: u8, octets: &[u8]) -> Option<Self> {
        if octets.is_empty() {
            return None;
        }
        heapless::Vec::from_slice(octets)
            .ok()
            .map(|octets| Self { kind, octets })
    }

    /// A domain-name identity (ID_FQDN) such as `r1.example`; `None` if empty or too long.
    #[must_use]
    pub fn fqdn(name: &str) -> Option<Self> {
        Self::new(Self::FQDN, name.as_bytes())
    }

    /// The ID type (RFC 7296 section 3.5).
    #[must_use]
    pub const fn kind(&self) -> u8 {
        self.kind
    }

    /// The identification data.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// The text of a name that is printable; `None` for other identities.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        core::str::from_utf8(&self.octets)
            .ok()
            .filter(|text| text.chars().all(|c| c.is_ascii_graphic()))
    }

    /// The body of an ID payload: type, three reserved octets, data (RFC 7296 section 3.5).
    #[must_use]
    pub fn body(&self) -> ([u8; 4], &[u8]) {
        ([self.kind, 0, 0, 0], &self.octets)
    }
}

/// Octets decide before the type does (PROTOCOL.md section 5.2: "the higher identity octets").
impl Ord for Identity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.octets
            .as_slice()
            .cmp(other.octets.as_slice())
            .then(self.kind.cmp(&other.kind))
    }
}

impl PartialOrd for Identity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = self.as_str() {
            return f.write_str(text);
        }
        write!(f, "{}:", self.kind)?;
        self.octets.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Identity {
    fn format(&self, f: defmt::Formatter<'_>) {
        match self.as_str() {
            Some(text) => defmt::write!(f, "{=str}", text),
            None => defmt::write!(f, "{=u8}:{=[u8]:02x}", self.kind, self.octets.as_slice()),
        }
    }
}

/// What the credential store allows an identity (PROTOCOL.md section 4: authorisation, not only authentication).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Grant {
    /// It may register as a member of this group.
    pub may_join: bool,
    /// It may serve this group as GCKS.
    pub may_serve: bool,
    /// The first change from manual keys to automatic ones waits for it (PROTOCOL.md section 7).
    pub expected: bool,
}

impl Grant {
    /// Nothing at all: what an unknown identity has.
    pub const NONE: Self = Self {
        may_join: false,
        may_serve: false,
        expected: false,
    };
    /// May join and may serve.
    pub const FULL: Self = Self {
        may_join: true,
        may_serve: true,
        expected: false,
    };
    /// May join and never serve.
    pub const MEMBER: Self = Self {
        may_join: true,
        may_serve: false,
        expected: false,
    };
}

/// How this node proves itself to a peer, and expects the peer to prove itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum AuthMethod {
    /// Shared key message integrity code (method 2, RFC 7296 section 2.15).
    SharedKey,
    /// Digital signature with Ed25519 (method 14, RFC 7427, RFC 8420) by raw public keys.
    Signature,
}

/// The credential store of one node in one group.
///
/// It must answer the same for the same question while an exchange runs. None of its methods may block for long:
/// they are called while a datagram is handled.
pub trait Credentials {
    /// What `identity` may do here. Unknown identities have [`Grant::NONE`].
    fn grant(&self, identity: &Identity) -> Grant;

    /// How this node and `peer` authenticate each other; `None` if there is nothing in common with it.
    fn method(&self, peer: &Identity) -> Option<AuthMethod>;

    /// `prf(prf(key, "Key Pad for IKEv2"), parts)` under the key shared with `peer` (RFC 7296 section 2.15; the
    /// function [`crate::crypto::shared_key_auth`] computes it from a key in memory); `None` if there is no such key.
    fn shared_key_auth(&self, peer: &Identity, parts: &[&[u8]]) -> Option<[u8; 32]>;

    /// This node's Ed25519 signature over `parts`; `None` if it has no signing key.
    fn sign(&self, parts: &[&[u8]]) -> Option<[u8; 64]>;

    /// This node's own Ed25519 public key; `None` if it has no signing key.
    fn public_key(&self) -> Option<[u8; 32]>;

    /// The Ed25519 public key that the store has for `peer`; `None` if there is none.
    fn peer_public_key(&self, peer: &Identity) -> Option<[u8; 32]>;

    /// Whether `peer` could prove itself by the key of somebody else: a pre-shared key that several routers have.
    /// Such an identity cannot be evicted (PROTOCOL.md section 7).
    fn is_shared(&self, peer: &Identity) -> bool;

    /// How many identities have [`Grant::expected`], this node not counted.
    fn expected(&self) -> usize {
        0
    }
}

impl<T: Credentials + ?Sized> Credentials for &T {
    fn grant(&self, identity: &Identity) -> Grant {
        (**self).grant(identity)
    }
    fn method(&self, peer: &Identity) -> Option<AuthMethod> {
        (**self).method(peer)
    }
    fn shared_key_auth(&self, peer: &Identity, parts: &[&[u8]]) -> Option<[u8; 32]> {
        (**self).shared_key_auth(peer, parts)
    }
    fn sign(&self, parts: &[&[u8]]) -> Option<[u8; 64]> {
        (**self).sign(parts)
    }
    fn public_key(&self) -> Option<[u8; 32]> {
        (**self).public_key()
    }
    fn peer_public_key(&self, peer: &Identity) -> Option<[u8; 32]> {
        (**self).peer_public_key(peer)
    }
    fn is_shared(&self, peer: &Identity) -> bool {
        (**self).is_shared(peer)
    }
    fn expected(&self) -> usize {
        (**self).expected()
    }
}
