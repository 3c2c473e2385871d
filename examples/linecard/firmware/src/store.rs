//! The card's credentials: its own identity, one other router's, and how the two prove themselves.

use karp_core::{
    Credentials, Grant, Identity,
    crypto::{Secret, SigningKey, is_acceptable_public_key, shared_key_auth},
    identity::AuthMethod,
};
use linecard_link::console;

enum Proof {
    SharedKey(Secret<32>),
    Signature { own: SigningKey, peer: [u8; 32] },
}

/// Who may be in the group: two routers, each of which may serve.
pub(crate) struct Store {
    own: Identity,
    peer: Identity,
    proof: Proof,
}

impl Store {
    /// The store of `own`, which knows `peer`. `None` if the peer's public key is none.
    pub(crate) fn new(own: Identity, peer: Identity, proof: &console::Proof) -> Option<Self> {
        let proof = match proof {
            console::Proof::SharedKey(key) => Proof::SharedKey(Secret::from_bytes(*key)),
            console::Proof::Signature { own, peer } if is_acceptable_public_key(peer) => Proof::Signature {
                own: SigningKey::from_seed(&Secret::from_bytes(*own)),
                peer: *peer,
            },
            console::Proof::Signature { .. } => return None,
        };
        Some(Self { own, peer, proof })
    }
}

impl Credentials for Store {
    fn grant(&self, identity: &Identity) -> Grant {
        if *identity == self.own || *identity == self.peer {
            Grant::FULL
        } else {
            Grant::NONE
        }
    }

    fn method(&self, peer: &Identity) -> Option<AuthMethod> {
        (*peer == self.peer).then_some(match self.proof {
            Proof::SharedKey(_) => AuthMethod::SharedKey,
            Proof::Signature { .. } => AuthMethod::Signature,
        })
    }

    fn shared_key_auth(&self, peer: &Identity, parts: &[&[u8]]) -> Option<[u8; 32]> {
        match &self.proof {
            Proof::SharedKey(key) if *peer == self.peer => Some(shared_key_auth(key.expose(), parts)),
            Proof::SharedKey(_) | Proof::Signature { .. } => None,
        }
    }

    fn sign(&self, parts: &[&[u8]]) -> Option<[u8; 64]> {
        match &self.proof {
            Proof::Signature { own, .. } => Some(own.sign(parts)),
            Proof::SharedKey(_) => None,
        }
    }

    fn public_key(&self) -> Option<[u8; 32]> {
        match &self.proof {
            Proof::Signature { own, .. } => Some(own.public()),
            Proof::SharedKey(_) => None,
        }
    }

    fn peer_public_key(&self, peer: &Identity) -> Option<[u8; 32]> {
        match &self.proof {
            Proof::Signature { peer: key, .. } if *peer == self.peer => Some(*key),
            Proof::Signature { .. } | Proof::SharedKey(_) => None,
        }
    }

    /// The key is this pair's alone.
    fn is_shared(&self, _: &Identity) -> bool {
        false
    }
}
