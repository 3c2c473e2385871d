//! The bare primitives that a message needs, in its sizes, by the functions of `karp_core::crypto`.

use std::hint::black_box;

use crate::router::{Dice, SHARED_KEY, identity, signing_key};
use karp_core::crypto::{
    DhSecret, IkeKeys, OpenKey, RekeySaKeys, SealKey, Secret, SigningKey, WRAP_OVERHEAD, WrapKey, ct_eq,
    key_wrap_key, prf, shared_key_auth, unwrap_key, verify,
};
use karp_core::wire::sk;

/// Octets of additional data of a wrapped traffic key and of a wrapped Rekey SA.
const AAD: (usize, usize) = (16, 28);

/// Octets of the messages of an initial exchange.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExchangeSizes {
    /// IKE_SA_INIT, as asked.
    pub init_request: usize,
    /// IKE_SA_INIT, as answered.
    pub init_response: usize,
    /// GSA_AUTH, as asked.
    pub auth_request: usize,
    /// GSA_AUTH, as answered.
    pub auth_response: usize,
}

impl ExchangeSizes {
    /// All of them.
    #[must_use]
    pub const fn sum(&self) -> usize {
        self.init_request + self.init_response + self.auth_request + self.auth_response
    }
}

/// A sealed message of so many octets: its additional data and its text.
#[must_use]
pub fn sealed_parts(octets: usize) -> (Vec<u8>, Vec<u8>) {
    let text = octets - sk::AAD_LEN - sk::IV_LEN - sk::TAG_LEN;
    (vec![1; sk::AAD_LEN], vec![2; text])
}

/// What one side proves itself with, and what the other checks it by.
struct Prover {
    key: SigningKey,
    public: [u8; 32],
}

/// All of the primitives of an exchange, both sides. The term's AUTH key is not made here: it is made for a term.
pub fn exchange(sizes: &ExchangeSizes, signs: bool, dice: &mut Dice) {
    thread_local! {
        static FIXED: (Prover, [Vec<u8>; 4]) = {
            let key = signing_key(0);
            let public = key.public();
            (Prover { key, public }, core::array::from_fn(|_| vec![3; 1500]))
        };
    }
    FIXED.with(|(prover, octets)| exchange_with(sizes, signs.then_some(prover), octets, dice));
}

fn exchange_with(sizes: &ExchangeSizes, signs: Option<&Prover>, octets: &[Vec<u8>; 4], dice: &mut Dice) {
    let (ni, nr, spi_i, spi_r) = (
        Secret::<32>::random(dice),
        Secret::<32>::random(dice),
        Secret::<8>::random(dice),
        Secret::<8>::random(dice),
    );
    // Two key pairs, two agreements, two key schedules.
    let (initiator, responder) = (DhSecret::generate(dice), DhSecret::generate(dice));
    let derive = |own: &DhSecret, peer: &DhSecret| {
        let shared = own.agree(&peer.public()).expect("a good public value");
        let keys = IkeKeys::derive(&shared, ni.expose(), nr.expose(), spi_i.expose(), spi_r.expose());
        let wrap = key_wrap_key(&keys.sk_d);
        (keys, wrap)
    };
    let (theirs, wrapping) = derive(&responder, &initiator);
    let (ours, unwrapping) = derive(&initiator, &responder);
    // AUTH of both, made and checked: its sender's first message, the other's nonce, and the MAC of the identity.
    let id = identity(0);
    let (head, name) = id.body();
    for (message, nonce, key, checked_by) in [
        (&octets[0][..sizes.init_request], &nr, &ours.sk_pi, &theirs.sk_pi),
        (&octets[1][..sizes.init_response], &ni, &theirs.sk_pr, &ours.sk_pr),
    ] {
        let made = prf(key.expose(), &[&head, name]);
        let parts: [&[u8]; 3] = [message, nonce.expose(), &made];
        let seen = prf(checked_by.expose(), &[&head, name]);
        let checked: [&[u8]; 3] = [message, nonce.expose(), &seen];
        match signs {
            Some(prover) => {
                let signature = prover.key.sign(&parts);
                assert!(verify(&prover.public, &checked, &signature));
            }
            None => {
                let mac = shared_key_auth(SHARED_KEY, &parts);
                assert!(ct_eq(&mac, &shared_key_auth(SHARED_KEY, &checked)));
            }
        }
    }
    // The request is sealed and opened.
    seal_and_open(ours.sk_ei, &theirs.sk_ei, &octets[2], sizes.auth_request);
    // The GCKS wraps a Rekey SA and a traffic key and seals the response; the member opens and unwraps.
    let mut wrapping = WrapKey::new(wrapping);
    let (mut rekey_sa, mut tek) = ([0; 68 + WRAP_OVERHEAD], [0; 32 + WRAP_OVERHEAD]);
    let aad = [0; 28];
    let wrapped = wrapping.wrap(&aad[..AAD.1], &Secret::<68>::from_bytes([4; 68]), &mut rekey_sa);
    wrapped.expect("room for a Rekey SA");
    let wrapped = wrapping.wrap(&aad[..AAD.0], &Secret::<32>::from_bytes([5; 32]), &mut tek);
    wrapped.expect("room for a traffic key");
    seal_and_open(theirs.sk_er, &ours.sk_er, &octets[3], sizes.auth_response);
    let keys: Secret<68> = unwrap_key(&unwrapping, &aad[..AAD.1], &rekey_sa).expect("what was wrapped");
    black_box(RekeySaKeys::from_octets(keys.expose(), &[6; 16]));
    let tek: Secret<32> = unwrap_key(&unwrapping, &aad[..AAD.0], &tek).expect("what was wrapped");
    black_box(tek);
}

fn seal_and_open(seal: Secret<36>, open: &Secret<36>, octets: &[u8], len: usize) {
    let mut text = [0; 1232];
    let text = &mut text[..len - sk::AAD_LEN - sk::IV_LEN - sk::TAG_LEN];
    let mut seal = SealKey::new(seal);
    let iv = seal.next_iv().expect("the first IV");
    let number = iv.octets();
    let tag = seal.seal(iv, &octets[..sk::AAD_LEN], text).expect("a short text");
    let open = OpenKey::new(open);
    let opened = open.open(&number, &octets[..sk::AAD_LEN], text, &tag);
    opened.expect("what was sealed");
}

/// The primitives of a key update of so many octets with a Pending and an Active key.
pub struct Update {
    seal: SealKey,
    open: OpenKey,
    wrap: WrapKey,
    unwrap: Secret<32>,
    term: Option<(SigningKey, [u8; 32])>,
    aad: Vec<u8>,
    plain: Vec<u8>,
    text: Vec<u8>,
    iv: [u8; 8],
    tag: [u8; 16],
    signature: [u8; 64],
    wrapped: [[u8; 32 + WRAP_OVERHEAD]; 2],
}

impl Update {
    /// Those of an update of so many octets, with or without a signature of the term.
    #[must_use]
    pub fn new(octets: usize, signed: bool) -> Self {
        let (aad, plain) = sealed_parts(octets);
        let keymat = Secret::<36>::from_bytes([7; 36]);
        let term = signing_key(9);
        let public = term.public();
        Self {
            open: OpenKey::new(&keymat),
            seal: SealKey::new(keymat),
            wrap: WrapKey::new(Secret::from_bytes([8; 32])),
            unwrap: Secret::from_bytes([8; 32]),
            term: signed.then_some((term, public)),
            aad,
            text: plain.clone(),
            plain,
            iv: [0; 8],
            tag: [0; 16],
            signature: [0; 64],
            wrapped: [[0; 32 + WRAP_OVERHEAD]; 2],
        }
    }

    /// What a signature covers: head, payloads, zeros for the signature.
    fn covered(&self) -> [&[u8]; 3] {
        let payloads = self.plain.len() - 1 - 64;
        [&self.aad, &self.plain[..payloads], &[0; 64]]
    }

    /// Back to the text in the clear, before the next [`create`](Self::create).
    pub fn reset(&mut self) {
        self.text.copy_from_slice(&self.plain);
    }

    /// Two wraps, a signature, a seal.
    pub fn create(&mut self) {
        for (octet, to) in (10..).zip(&mut self.wrapped) {
            let key = Secret::<32>::from_bytes([octet; 32]);
            let wrapped = self.wrap.wrap(&self.aad[..AAD.0], &key, to);
            wrapped.expect("room for a traffic key");
        }
        if let Some((key, _)) = &self.term {
            self.signature = key.sign(&self.covered());
        }
        let iv = self.seal.next_iv().expect("few updates");
        self.iv = iv.octets();
        self.tag = self
            .seal
            .seal(iv, &self.aad, &mut self.text)
            .expect("a short text");
    }

    /// An open, a verification, two unwraps, of what was created last.
    pub fn apply(&mut self) {
        let opened = self.open.open(&self.iv, &self.aad, &mut self.text, &self.tag);
        opened.expect("what was sealed");
        if let Some((_, public)) = &self.term {
            assert!(verify(public, &self.covered(), &self.signature));
        }
        for wrapped in &self.wrapped {
            let key: Secret<32> =
                unwrap_key(&self.unwrap, &self.aad[..AAD.0], wrapped).expect("what was wrapped");
            black_box(key);
        }
    }
}
