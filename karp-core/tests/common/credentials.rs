//! What the routers of a scenario know of each other.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use karp_core::{
    crypto::{Secret, SigningKey, shared_key_auth},
    identity::{AuthMethod, Credentials, Grant, Identity},
};
use sha2::{Digest, Sha256};

/// How the routers of a group prove themselves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Proof {
    /// A pre-shared key for each pair of routers.
    #[default]
    PairKeys,
    /// One pre-shared key for all.
    OneKey,
    /// Raw Ed25519 public keys.
    Signatures,
}

/// One router's credential store. A scenario changes it before the router starts.
#[derive(Clone)]
pub struct Store {
    me: Identity,
    proof: Proof,
    /// What each identity may do, as this router has it.
    pub grants: BTreeMap<Identity, Grant>,
    /// The pre-shared key with each identity.
    pub keys: BTreeMap<Identity, Vec<u8>>,
    /// The public key of each identity.
    pub public: BTreeMap<Identity, [u8; 32]>,
    /// Identities whose pre-shared key others have.
    pub shared: BTreeSet<Identity>,
    signing: Rc<SigningKey>,
}

impl Store {
    /// An empty store of `me`.
    pub fn new(me: &Identity, proof: Proof) -> Self {
        Self {
            me: me.clone(),
            proof,
            grants: BTreeMap::from([(me.clone(), Grant::FULL)]),
            keys: BTreeMap::new(),
            public: BTreeMap::new(),
            shared: BTreeSet::new(),
            signing: Rc::new(signing_key(me)),
        }
    }

    /// Learns all that a consistent configuration has of `peer`.
    pub fn know(&mut self, peer: &Identity) {
        self.grants.insert(peer.clone(), Grant::FULL);
        self.public.insert(peer.clone(), signing_key(peer).public());
        let key = match self.proof {
            Proof::OneKey => {
                self.shared.insert(peer.clone());
                digest(&[b"the one key of the group"])
            }
            Proof::PairKeys | Proof::Signatures => {
                let (low, high) = if self.me < *peer {
                    (&self.me, peer)
                } else {
                    (peer, &self.me)
                };
                digest(&[b"pair", low.octets(), b"|", high.octets()])
            }
        };
        self.keys.insert(peer.clone(), key.to_vec());
    }

    /// Sets what `peer` may do.
    pub fn grant(&mut self, peer: &Identity, grant: Grant) {
        self.grants.insert(peer.clone(), grant);
    }

    /// Gives this store a wrong key for `peer`.
    pub fn spoil(&mut self, peer: &Identity) {
        self.keys.insert(peer.clone(), vec![0x55; 32]);
        self.public.insert(
            peer.clone(),
            signing_key(&Identity::fqdn("somebody.else").unwrap()).public(),
        );
    }
}

fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}

fn signing_key(identity: &Identity) -> SigningKey {
    SigningKey::from_seed(&Secret::from_bytes(digest(&[b"signing key", identity.octets()])))
}

impl Credentials for Store {
    fn grant(&self, identity: &Identity) -> Grant {
        self.grants.get(identity).copied().unwrap_or(Grant::NONE)
    }

    fn method(&self, peer: &Identity) -> Option<AuthMethod> {
        match self.proof {
            Proof::Signatures => self.public.contains_key(peer).then_some(AuthMethod::Signature),
            Proof::PairKeys | Proof::OneKey => self.keys.contains_key(peer).then_some(AuthMethod::SharedKey),
        }
    }

    fn shared_key_auth(&self, peer: &Identity, parts: &[&[u8]]) -> Option<[u8; 32]> {
        if self.proof == Proof::Signatures {
            return None;
        }
        self.keys.get(peer).map(|key| shared_key_auth(key, parts))
    }

    fn sign(&self, parts: &[&[u8]]) -> Option<[u8; 64]> {
        (self.proof == Proof::Signatures).then(|| self.signing.sign(parts))
    }

    fn public_key(&self) -> Option<[u8; 32]> {
        (self.proof == Proof::Signatures).then(|| self.signing.public())
    }

    fn peer_public_key(&self, peer: &Identity) -> Option<[u8; 32]> {
        self.public.get(peer).copied()
    }

    fn is_shared(&self, peer: &Identity) -> bool {
        self.shared.contains(peer)
    }

    fn expected(&self) -> usize {
        self.grants
            .iter()
            .filter(|(identity, grant)| **identity != self.me && grant.expected)
            .count()
    }
}
