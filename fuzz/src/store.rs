//! Credentials that prove nothing to anybody who can read: AUTH says who is talking to whom, and nothing of what was
//! said, so that the fuzzer's changes get past it. Grants are as strict as they ever are.

use karp_core::{
    Credentials, Grant, Identity,
    crypto::{Secret, SigningKey},
    identity::AuthMethod,
};

use crate::router::{COUNT, Options};

/// One router's store: it knows all three.
pub struct Store {
    own: usize,
    options: Options,
    signing: SigningKey,
}

/// The identity of router `at`.
pub fn identity(at: usize) -> Identity {
    Identity::fqdn(&format!("r{}.example", at + 1)).expect("a short name")
}

/// The router with this identity.
pub fn index(identity: &Identity) -> Option<usize> {
    let [b'r', digit, rest @ ..] = identity.octets() else {
        return None;
    };
    let at = usize::from(digit.checked_sub(b'1')?);
    (at < COUNT && rest == b".example" && identity.kind() == Identity::FQDN).then_some(at)
}

/// What a router may do, as all of them have it.
pub fn grant(identity: &Identity, options: Options) -> Grant {
    match index(identity) {
        None => Grant::NONE,
        Some(1) if options.second_may_not_serve() => Grant {
            may_serve: false,
            ..Grant::FULL
        },
        Some(_) => Grant::FULL,
    }
}

fn key(at: usize) -> SigningKey {
    SigningKey::from_seed(&Secret::from_bytes([at as u8 + 1; 32]))
}

impl Store {
    pub fn new(own: usize, options: Options) -> Self {
        Self {
            own,
            options,
            signing: key(own),
        }
    }
}

impl Credentials for Store {
    fn grant(&self, identity: &Identity) -> Grant {
        grant(identity, self.options)
    }

    fn method(&self, peer: &Identity) -> Option<AuthMethod> {
        index(peer)?;
        Some(if self.options.signatures() {
            AuthMethod::Signature
        } else {
            AuthMethod::SharedKey
        })
    }

    fn shared_key_auth(&self, peer: &Identity, _: &[&[u8]]) -> Option<[u8; 32]> {
        let peer = index(peer)?;
        let (low, high) = (self.own.min(peer), self.own.max(peer));
        (!self.options.signatures()).then_some([(low * COUNT + high) as u8 | 0x80; 32])
    }

    fn sign(&self, parts: &[&[u8]]) -> Option<[u8; 64]> {
        self.options.signatures().then(|| self.signing.sign(parts))
    }

    fn public_key(&self) -> Option<[u8; 32]> {
        self.options.signatures().then(|| self.signing.public())
    }

    fn peer_public_key(&self, peer: &Identity) -> Option<[u8; 32]> {
        index(peer).map(|peer| key(peer).public())
    }

    fn is_shared(&self, _: &Identity) -> bool {
        false
    }
}
