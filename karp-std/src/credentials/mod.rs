//! A node's credential store in memory: its own credential, its peers' and what each may do.
//!
//! Secrets are wiped when the store is dropped, are not printed and are not `Clone`. They are kept in ordinary memory,
//! neither locked against swapping nor out of a core dump: a hardware key store can stand behind
//! [`Credentials`] instead.

mod error;
mod files;
mod keys;

use std::{collections::BTreeMap, fmt};

use karp_core::{
    crypto::{SigningKey, is_acceptable_public_key},
    identity::{AuthMethod, Credentials, Grant, Identity},
};

pub(crate) use self::files::{check_secret_mode, read_file};
pub use self::{
    error::CredentialError,
    files::{MAX_FILE, read_public_file, read_secret_file, write_secret_file},
    keys::{
        MIN_PRE_SHARED_KEY, PreSharedKey, generate_pre_shared_key, generate_signing_key, parse_hex,
        parse_private_key, parse_public_key, private_key_text, public_key_text,
    },
};

/// How a listed peer and this node prove themselves to each other.
#[derive(Debug)]
pub enum Proof {
    /// By the pre-shared key that the whole group has.
    Shared,
    /// By a pre-shared key for this peer.
    PreSharedKey(PreSharedKey),
    /// By signatures: the peer's Ed25519 public key; this node signs with its own key.
    PublicKey([u8; 32]),
}

struct Peer {
    grant: Grant,
    proof: Proof,
    /// Somebody else has this peer's pre-shared key.
    shared: bool,
}

/// The credentials of one node in one group.
///
/// ```
/// use karp_core::identity::{Credentials, Grant, Identity};
/// use karp_std::credentials::{PreSharedKey, Proof, Store};
///
/// let (own, peer) = (Identity::fqdn("r1.example").unwrap(), Identity::fqdn("r2.example").unwrap());
/// let key = PreSharedKey::new(b"one key for r1 and r2 and nobody else")?;
/// let store = Store::new(own).with_peer(peer.clone(), Grant::FULL, Proof::PreSharedKey(key))?;
/// assert!(store.grant(&peer).may_serve && !store.is_shared(&peer));
/// # Ok::<(), karp_std::credentials::CredentialError>(())
/// ```
pub struct Store {
    own: Identity,
    own_grant: Grant,
    signing: Option<SigningKey>,
    public: Option<[u8; 32]>,
    group: Option<(PreSharedKey, Grant)>,
    peers: BTreeMap<Identity, Peer>,
}

impl Store {
    /// A store that knows nobody but the node itself, which may join and serve.
    #[must_use]
    pub fn new(own: Identity) -> Self {
        Self {
            own,
            own_grant: Grant::FULL,
            signing: None,
            public: None,
            group: None,
            peers: BTreeMap::new(),
        }
    }

    /// Sets what the node itself may do. It must at least be allowed to join.
    #[must_use]
    pub fn with_own_grant(mut self, grant: Grant) -> Self {
        self.own_grant = grant;
        self
    }

    /// Gives the node a signing key. Call it ahead of [`with_peer`](Self::with_peer) for peers that sign.
    #[must_use]
    pub fn with_signing_key(mut self, key: SigningKey) -> Self {
        self.public = Some(key.public());
        self.signing = Some(key);
        self
    }

    /// Gives the node the pre-shared key that the whole group has. Identities that are not listed have `unlisted`:
    /// [`Grant::NONE`] to admit listed peers only. Call it ahead of [`with_peer`](Self::with_peer).
    #[must_use]
    pub fn with_shared_key(mut self, key: PreSharedKey, unlisted: Grant) -> Self {
        for peer in self.peers.values_mut() {
            if let Proof::PreSharedKey(own) = &peer.proof {
                peer.shared |= own.same(&key);
            }
        }
        self.group = Some((key, unlisted));
        self
    }

    /// Lists a peer.
    ///
    /// # Errors
    /// If it is the node itself or listed already, if its proof needs a key that the store lacks, or if its public key
    /// is none.
    pub fn with_peer(
        mut self,
        identity: Identity,
        grant: Grant,
        proof: Proof,
    ) -> Result<Self, CredentialError> {
        self.add_peer(identity, grant, proof)?;
        Ok(self)
    }

    /// As [`with_peer`](Self::with_peer).
    ///
    /// # Errors
    /// As there; the store is unchanged then.
    pub fn add_peer(
        &mut self,
        identity: Identity,
        grant: Grant,
        proof: Proof,
    ) -> Result<(), CredentialError> {
        if identity == self.own {
            return Err(CredentialError::OwnIdentity);
        }
        if self.peers.contains_key(&identity) {
            return Err(CredentialError::Twice { identity });
        }
        let shared = match &proof {
            Proof::Shared if self.group.is_none() => return Err(CredentialError::NoSharedKey),
            Proof::Shared => true,
            Proof::PublicKey(_) if self.signing.is_none() => return Err(CredentialError::NoSigningKey),
            Proof::PublicKey(key) if !is_acceptable_public_key(key) => {
                return Err(CredentialError::WeakPublicKey);
            }
            // Two identities with one key pair are one router, or one key in two hands.
            Proof::PublicKey(key) => {
                self.mark_shared(|other| matches!(other, Proof::PublicKey(k) if k == key))
            }
            Proof::PreSharedKey(key) => {
                let group = self.group.as_ref().is_some_and(|(group, _)| group.same(key));
                // Not the short-circuit of `||`: the others must be marked as well.
                group | self.mark_shared(|other| matches!(other, Proof::PreSharedKey(k) if k.same(key)))
            }
        };
        self.peers.insert(identity, Peer { grant, proof, shared });
        Ok(())
    }

    /// Marks every listed peer with the same key as shared, and says whether there was one.
    fn mark_shared(&mut self, same: impl Fn(&Proof) -> bool) -> bool {
        let mut found = false;
        for peer in self.peers.values_mut().filter(|peer| same(&peer.proof)) {
            peer.shared = true;
            found = true;
        }
        found
    }

    /// The node's own identity.
    #[must_use]
    pub const fn own(&self) -> &Identity {
        &self.own
    }

    /// The listed peers with what they may do, in the order of their identities.
    pub fn peers(&self) -> impl Iterator<Item = (&Identity, Grant)> {
        self.peers.iter().map(|(identity, peer)| (identity, peer.grant))
    }
}

impl Credentials for Store {
    fn grant(&self, identity: &Identity) -> Grant {
        if *identity == self.own {
            return self.own_grant;
        }
        match self.peers.get(identity) {
            Some(peer) => peer.grant,
            None => self.group.as_ref().map_or(Grant::NONE, |(_, unlisted)| *unlisted),
        }
    }

    fn method(&self, peer: &Identity) -> Option<AuthMethod> {
        match self.peers.get(peer).map(|peer| &peer.proof) {
            Some(Proof::PublicKey(_)) => self.signing.as_ref().map(|_| AuthMethod::Signature),
            Some(Proof::PreSharedKey(_)) => Some(AuthMethod::SharedKey),
            Some(Proof::Shared) | None => self.group.as_ref().map(|_| AuthMethod::SharedKey),
        }
    }

    fn shared_key_auth(&self, peer: &Identity, parts: &[&[u8]]) -> Option<[u8; 32]> {
        let key = match self.peers.get(peer).map(|peer| &peer.proof) {
            // A peer that signs cannot fall back to a key that others have.
            Some(Proof::PublicKey(_)) => return None,
            Some(Proof::PreSharedKey(key)) => key,
            Some(Proof::Shared) | None => &self.group.as_ref()?.0,
        };
        Some(key.auth(parts))
    }

    fn sign(&self, parts: &[&[u8]]) -> Option<[u8; 64]> {
        self.signing.as_ref().map(|key| key.sign(parts))
    }

    fn public_key(&self) -> Option<[u8; 32]> {
        self.public
    }

    fn peer_public_key(&self, peer: &Identity) -> Option<[u8; 32]> {
        match self.peers.get(peer)?.proof {
            Proof::PublicKey(key) => Some(key),
            Proof::Shared | Proof::PreSharedKey(_) => None,
        }
    }

    fn is_shared(&self, peer: &Identity) -> bool {
        self.peers
            .get(peer)
            .map_or(self.group.is_some(), |peer| peer.shared)
    }

    fn expected(&self) -> usize {
        self.peers.values().filter(|peer| peer.grant.expected).count()
    }
}

/// Who is known and how; no key.
impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("own", &self.own)
            .field("signs", &self.signing.is_some())
            .field("shared_key", &self.group.is_some())
            .field("peers", &self.peers.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use karp_core::crypto::{Secret, verify};

    fn name(text: &str) -> Identity {
        Identity::fqdn(text).unwrap()
    }

    fn psk(fill: u8) -> PreSharedKey {
        PreSharedKey::new(&[fill; 32]).unwrap()
    }

    fn signing(fill: u8) -> SigningKey {
        SigningKey::from_seed(&Secret::from_bytes([fill; 32]))
    }

    #[test]
    fn strangers_have_nothing() {
        let store = Store::new(name("r1"));
        let stranger = name("r9");
        assert_eq!(store.grant(&stranger), Grant::NONE);
        assert_eq!(store.method(&stranger), None);
        assert_eq!(store.shared_key_auth(&stranger, &[b"x"]), None);
        assert_eq!(
            (
                store.public_key(),
                store.peer_public_key(&stranger),
                store.sign(&[b"x"])
            ),
            (None, None, None)
        );
        assert!(!store.is_shared(&stranger));
        assert_eq!(store.grant(&name("r1")), Grant::FULL);
    }

    #[test]
    fn both_sides_of_a_pair_compute_the_same() {
        let one = Store::new(name("r1"))
            .with_peer(name("r2"), Grant::FULL, Proof::PreSharedKey(psk(7)))
            .unwrap();
        let two = Store::new(name("r2"))
            .with_peer(name("r1"), Grant::MEMBER, Proof::PreSharedKey(psk(7)))
            .unwrap();
        let auth = one.shared_key_auth(&name("r2"), &[b"ab", b"c"]);
        assert!(auth.is_some());
        assert_eq!(auth, two.shared_key_auth(&name("r1"), &[b"a", b"bc"]));
        assert_eq!(one.method(&name("r2")), Some(AuthMethod::SharedKey));
        assert_eq!(two.grant(&name("r1")), Grant::MEMBER);
        assert!(!one.is_shared(&name("r2")) && !two.is_shared(&name("r1")));
    }

    #[test]
    fn signatures_verify_under_the_peers_key() {
        let one = Store::new(name("r1"))
            .with_signing_key(signing(1))
            .with_peer(name("r2"), Grant::FULL, Proof::PublicKey(signing(2).public()))
            .unwrap();
        assert_eq!(one.method(&name("r2")), Some(AuthMethod::Signature));
        assert_eq!(one.peer_public_key(&name("r2")), Some(signing(2).public()));
        assert!(verify(
            &one.public_key().unwrap(),
            &[b"abc"],
            &one.sign(&[b"a", b"bc"]).unwrap()
        ));
        assert!(!one.is_shared(&name("r2")));
    }

    /// Who signs is not believed on the strength of a key that everybody has.
    #[test]
    fn a_signer_cannot_fall_back_to_the_shared_key() {
        let store = Store::new(name("r1"))
            .with_signing_key(signing(1))
            .with_shared_key(psk(9), Grant::FULL)
            .with_peer(name("r2"), Grant::FULL, Proof::PublicKey(signing(2).public()))
            .unwrap();
        assert_eq!(store.shared_key_auth(&name("r2"), &[b"x"]), None);
        assert!(!store.is_shared(&name("r2")));
    }

    #[test]
    fn the_groups_key_admits_as_told() {
        let store = Store::new(name("r1"))
            .with_shared_key(psk(9), Grant::MEMBER)
            .with_peer(name("r2"), Grant::FULL, Proof::Shared)
            .unwrap()
            .with_peer(name("r3"), Grant::NONE, Proof::Shared)
            .unwrap();
        assert_eq!(store.grant(&name("r2")), Grant::FULL);
        assert_eq!(store.grant(&name("r3")), Grant::NONE);
        assert_eq!(store.grant(&name("anyone")), Grant::MEMBER);
        for peer in ["r2", "r3", "anyone"] {
            assert_eq!(store.method(&name(peer)), Some(AuthMethod::SharedKey));
            assert!(store.is_shared(&name(peer)), "{peer}");
        }
        let same = store.shared_key_auth(&name("r2"), &[b"x"]);
        assert_eq!(same, store.shared_key_auth(&name("anyone"), &[b"x"]));
    }

    #[test]
    fn a_key_in_two_hands_is_found() {
        let store = Store::new(name("r1"))
            .with_shared_key(psk(1), Grant::NONE)
            .with_peer(name("r2"), Grant::FULL, Proof::PreSharedKey(psk(2)))
            .unwrap()
            .with_peer(name("r3"), Grant::FULL, Proof::PreSharedKey(psk(3)))
            .unwrap()
            .with_peer(name("r4"), Grant::FULL, Proof::PreSharedKey(psk(2)))
            .unwrap()
            .with_peer(name("r5"), Grant::FULL, Proof::PreSharedKey(psk(1)))
            .unwrap();
        let shared = |peer| store.is_shared(&name(peer));
        assert!(shared("r2") && shared("r4") && shared("r5"));
        assert!(!shared("r3"));
        // The order in which the keys come does not matter.
        let store = Store::new(name("r1"))
            .with_peer(name("r2"), Grant::FULL, Proof::PreSharedKey(psk(1)))
            .unwrap()
            .with_shared_key(psk(1), Grant::NONE);
        assert!(store.is_shared(&name("r2")));
    }

    #[test]
    fn contradictions_are_refused() {
        let full = Grant::FULL;
        let refused =
            |store: Store, peer: &str, proof| store.with_peer(name(peer), full, proof).err().unwrap();
        let store = || Store::new(name("r1"));
        assert!(matches!(
            refused(store(), "r1", Proof::PreSharedKey(psk(1))),
            CredentialError::OwnIdentity
        ));
        assert!(matches!(
            refused(store(), "r2", Proof::Shared),
            CredentialError::NoSharedKey
        ));
        let key = signing(2).public();
        assert!(matches!(
            refused(store(), "r2", Proof::PublicKey(key)),
            CredentialError::NoSigningKey
        ));
        let signer = store().with_signing_key(signing(1));
        assert!(matches!(
            refused(signer, "r2", Proof::PublicKey([0; 32])),
            CredentialError::WeakPublicKey
        ));
        let twice = store()
            .with_peer(name("r2"), full, Proof::PreSharedKey(psk(1)))
            .unwrap();
        assert!(matches!(
            refused(twice, "r2", Proof::PreSharedKey(psk(2))),
            CredentialError::Twice { .. }
        ));
    }

    #[test]
    fn expected_peers_are_counted() {
        let expected = Grant {
            expected: true,
            ..Grant::FULL
        };
        let store = Store::new(name("r1"))
            .with_shared_key(psk(1), Grant::FULL)
            .with_peer(name("r2"), expected, Proof::Shared)
            .unwrap()
            .with_peer(name("r3"), Grant::FULL, Proof::Shared)
            .unwrap();
        assert_eq!(store.expected(), 1);
    }

    #[test]
    fn no_secret_is_printed() {
        let store = Store::new(name("r1"))
            .with_signing_key(signing(1))
            .with_shared_key(
                PreSharedKey::new(b"correct horse battery staple").unwrap(),
                Grant::FULL,
            );
        let text = format!("{store:?}");
        assert!(
            text.contains("r1") && !text.contains("horse") && !text.contains("0101"),
            "{text}"
        );
    }
}
