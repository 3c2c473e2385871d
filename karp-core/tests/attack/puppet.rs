//! A router that is played by hand: its identity and credential are good, and it does what the test says. It holds what
//! a member is given, taken from the messages by a key schedule of the test's own.

use std::{cell::RefCell, net::SocketAddr, rc::Rc};

use karp_core::{
    Credentials as _,
    crypto::{
        DhSecret, IkeKeys, OpenKey, RekeySaKeys, RoutingKey, SealKey, Secret, SigningKey, WrapKey, group_mac,
        key_wrap_key, prf, unwrap_key,
    },
    wire::{
        self, KeyState, Writer,
        gsa::{self, TekPolicy},
        kd,
        state::{Carrier, State},
    },
};
use rand_chacha::ChaCha8Rng;

use super::common::{
    Lan,
    credentials::Store,
    dice::generator,
    forge::{self, Forge},
    peek::{self, ElectionState, Header, INITIATOR, RESPONSE},
    wire::{Injection, Sent},
};

/// The proposal of a node that means GSA_AUTH: ENCR 28, PRF 5, KE 31, KWA 1024.
pub const SUITE: [(u8, u16); 4] = [(1, 28), (2, 5), (4, 31), (13, 1024)];

/// The body of an SA payload with one proposal.
pub fn proposal(transforms: &[(u8, u16)]) -> Vec<u8> {
    let length = u16::try_from(8 + 8 * transforms.len()).unwrap();
    let mut body = vec![0, 0];
    body.extend(length.to_be_bytes());
    body.extend([1, 1, 0, u8::try_from(transforms.len()).unwrap()]);
    for (nth, (kind, id)) in transforms.iter().enumerate() {
        let more = if nth + 1 < transforms.len() { 3 } else { 0 };
        body.extend([more, 0, 0, 8, *kind, 0]);
        body.extend(id.to_be_bytes());
    }
    body
}

/// A payload inside SK, once it is open.
pub struct Inner(Vec<u8>);

impl Inner {
    fn payloads(&self) -> Vec<peek::Payload<'_>> {
        peek::payloads(&self.0)
    }

    fn body(&self, kind: u8) -> Option<Vec<u8>> {
        let payloads = self.payloads();
        payloads.iter().find(|p| p.kind == kind).map(|p| p.body.to_vec())
    }

    /// The data of a notify.
    pub fn notify(&self, kind: u16) -> Option<Vec<u8>> {
        peek::notify(&self.0, kind)
    }
}

/// An IKE SA seen from one end.
pub struct Ike {
    spi_i: [u8; 8],
    spi_r: [u8; 8],
    initiator: bool,
    seal: SealKey,
    open: OpenKey,
    wrap: Secret<32>,
    next: u32,
    pub peer: SocketAddr,
}

impl Ike {
    fn new(keys: &IkeKeys, spi_i: [u8; 8], spi_r: [u8; 8], initiator: bool, peer: SocketAddr) -> Self {
        let (out, into) = if initiator {
            (&keys.sk_ei, &keys.sk_er)
        } else {
            (&keys.sk_er, &keys.sk_ei)
        };
        Self {
            spi_i,
            spi_r,
            initiator,
            seal: SealKey::starting_at(out.duplicate(), 0),
            open: OpenKey::new(into),
            wrap: key_wrap_key(&keys.sk_d),
            next: 2,
            peer,
        }
    }

    /// A sealed message with these payloads.
    pub fn message(&mut self, exchange: u8, response: bool, id: u32, payloads: Forge) -> Vec<u8> {
        let flags = if response { RESPONSE } else { 0 } | if self.initiator { INITIATOR } else { 0 };
        let head = Forge::new(self.spi_i, self.spi_r, exchange, flags, id);
        sealed(&mut self.seal, head, payloads)
    }

    /// Opens a message of the other end.
    pub fn open(&self, octets: &[u8]) -> Option<Inner> {
        opened(&self.open, octets)
    }
}

/// No payloads yet.
pub fn nothing() -> Forge {
    Forge::new([0; 8], [0; 8], 0, 0, 0)
}

/// Seals `payloads` behind `head`.
fn sealed(key: &mut SealKey, head: Forge, payloads: Forge) -> Vec<u8> {
    let inner = payloads.finish();
    let mut text = inner[Header::LEN..].to_vec();
    text.push(0);
    let mut body = vec![0; 8];
    body.extend(&text);
    body.extend([0; 16]);
    let mut octets = head.payload(peek::SK, &body).finish();
    octets[28] = inner[16];
    let iv = key.next_iv().unwrap();
    octets[32..40].copy_from_slice(&iv.octets());
    let tag = key.seal(iv, &octets[..32], &mut text).unwrap();
    let end = octets.len() - 16;
    octets[40..end].copy_from_slice(&text);
    octets[end..].copy_from_slice(&tag);
    octets
}

fn opened(key: &OpenKey, octets: &[u8]) -> Option<Inner> {
    let payloads = peek::payloads(octets);
    let sk = payloads.first().filter(|p| p.kind == peek::SK)?;
    let (iv, rest) = sk.body.split_at_checked(8)?;
    let (text, tag) = rest.split_at_checked(rest.len().checked_sub(16)?)?;
    let mut text = text.to_vec();
    key.open(
        iv.try_into().unwrap(),
        &octets[..32],
        &mut text,
        tag.try_into().unwrap(),
    )
    .ok()?;
    text.pop();
    // As a message again, for the reader of clear payloads.
    let mut inner = vec![0; Header::LEN];
    inner[16] = octets[28];
    inner.extend(text);
    Some(Inner(inner))
}

/// Somebody on the link who answers IKE_SA_INIT with a key of its own, as the one who was asked, and so has an IKE SA with
/// whoever takes it at its word.
pub struct Racer {
    rng: ChaCha8Rng,
    made: Vec<Ike>,
}

impl Racer {
    pub fn new(seed: u64) -> Self {
        Self {
            rng: generator(seed, 6_000),
            made: Vec::new(),
        }
    }

    /// An answer to this IKE_SA_INIT request.
    pub fn answer(&mut self, request: &Sent) -> Vec<u8> {
        let clear = peek::payloads(&request.octets);
        let body = |kind| clear.iter().find(|p| p.kind == kind).unwrap().body;
        let secret = DhSecret::generate(&mut self.rng);
        let spi_i = request.header().spi_i;
        let spi_r = *Secret::<8>::random(&mut self.rng).expose();
        let nonce = *Secret::<32>::random(&mut self.rng).expose();
        let shared = secret.agree(&body(peek::KE)[4..]).unwrap();
        let keys = IkeKeys::derive(&shared, body(peek::NONCE), &nonce, &spi_i, &spi_r);
        self.made.push(Ike::new(&keys, spi_i, spi_r, false, request.from));
        let mut ke = vec![0, 31, 0, 0];
        ke.extend(secret.public());
        Forge::new(spi_i, spi_r, peek::IKE_SA_INIT, RESPONSE, 0)
            .payload(peek::SA, body(peek::SA))
            .payload(peek::KE, &ke)
            .payload(peek::NONCE, &nonce)
            .notify(16431, &[0, 5])
            .notify(16418, &[])
            .finish()
    }

    /// What a GSA_AUTH request said that was meant for it, and a sealed answer with `payloads`.
    pub fn meet(&mut self, request: &Sent, payloads: Forge) -> Option<(Inner, Vec<u8>)> {
        let spis = request.header().spis();
        let ike = self
            .made
            .iter_mut()
            .find(|ike| [ike.spi_i, ike.spi_r].concat() == spis)?;
        let inner = ike.open(&request.octets)?;
        Some((inner, ike.message(peek::GSA_AUTH, true, 1, payloads)))
    }
}

/// What a member is given.
pub struct Group {
    pub spi: [u8; 16],
    pub keys: RekeySaKeys,
    pub teks: Vec<(u16, Secret<32>)>,
}

impl Group {
    /// Opens a key update, if it is under this Rekey SA.
    pub fn open(&self, octets: &[u8]) -> Option<Inner> {
        opened(&OpenKey::new(&self.keys.gsk_e), octets)
    }

    /// The routing keys of OSPFv2 with HMAC-SHA-256 that come of its traffic keys (PROTOCOL.md section 6).
    pub fn routing_keys(&self) -> Vec<Vec<u8>> {
        let keys = self
            .teks
            .iter()
            .map(|(id, tek)| RoutingKey::derive(tek, 1, *id, 1025));
        keys.map(|key| key.octets().to_vec()).collect()
    }

    /// GSA and KD with one Active key, wrapped under GSK_w.
    pub fn state_with(&self, id: u16, tek: &Secret<32>) -> [Vec<u8>; 2] {
        let mut protocols = gsa::ProtocolList::new();
        protocols
            .push(gsa::Keyed {
                protocol: wire::numbers::RoutingProtocol(1),
                algorithm: wire::numbers::Algorithm(1025),
            })
            .unwrap();
        let mut octets = [0; 512];
        let mut writer = Writer::new(&mut octets);
        gsa::write_group(&mut writer, 30);
        gsa::write_tek(
            &mut writer,
            &TekPolicy {
                id,
                state: KeyState::Active,
                lifetime_s: 3600,
                protocols: Some(protocols),
            },
        );
        let policies = writer.finish().unwrap().to_vec();
        let mut writer = Writer::new(&mut octets);
        let slot = kd::write_tek(&mut writer, id);
        let bags = writer.finish().unwrap();
        let aad = slot.aad.clone();
        let mut wrapped = [0; 60];
        WrapKey::new(self.keys.gsk_w.duplicate())
            .wrap(&aad, tek, &mut wrapped)
            .unwrap();
        bags[slot.at..slot.at + 60].copy_from_slice(&wrapped);
        [policies, bags.to_vec()]
    }
}

/// An announcement to be made with a Rekey SA's key.
pub struct Words<'a> {
    pub name: &'a str,
    pub from: SocketAddr,
    pub instance: [u8; 8],
    pub sequence: u32,
    pub state: ElectionState,
    pub handoff: Option<[u8; 8]>,
    pub sign: Option<&'a SigningKey>,
}

/// 16 octets of address and 2 of port, as MACs cover them.
fn place(address: SocketAddr) -> Vec<u8> {
    let ip = match address.ip() {
        std::net::IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        std::net::IpAddr::V6(ip) => ip,
    };
    let mut octets = ip.octets().to_vec();
    octets.extend(address.port().to_be_bytes());
    octets
}

/// AUTH with a signature of zeros.
fn signature_body() -> Vec<u8> {
    let mut body = vec![14, 0, 0, 0, 7];
    body.extend(wire::auth::ED25519_ALGORITHM);
    body.extend([0; 64]);
    body
}

/// The router that is played.
pub struct Puppet {
    /// Its place on the LAN; the engine there stays down.
    pub at: usize,
    pub name: String,
    pub address: SocketAddr,
    store: Store,
    mail: Rc<RefCell<Vec<Sent>>>,
    rng: ChaCha8Rng,
    pub instance: [u8; 8],
    pub sequence: u32,
    pub ike: Option<Ike>,
    pub group: Option<Group>,
}

impl Puppet {
    /// Plays the router at `at`, which stays down. It reads all that is sent from now on.
    pub fn new(lan: &mut Lan, at: usize) -> Self {
        assert!(!lan.nodes[at].is_up());
        let mail = Rc::new(RefCell::new(Vec::new()));
        let box_of = Rc::clone(&mail);
        lan.tap(move |sent, _| box_of.borrow_mut().push(sent.clone()));
        let node = &lan.nodes[at];
        Self {
            at,
            name: node.name.clone(),
            address: node.address,
            store: node.store.clone(),
            mail,
            rng: generator(lan.seed, 7_000 + at as u64),
            instance: [0x70 + u8::try_from(at).unwrap(); 8],
            sequence: 1,
            ike: None,
            group: None,
        }
    }

    /// All that was sent since the last look.
    pub fn mail(&self) -> Vec<Sent> {
        std::mem::take(&mut *self.mail.borrow_mut())
    }

    /// Sends, and lets the answer come.
    fn ask(&self, lan: &mut Lan, to: SocketAddr, octets: Vec<u8>, exchange: u8) -> Option<Sent> {
        self.mail();
        lan.inject(Injection::new(self.address, to, octets));
        lan.run(8);
        let mail = self.mail();
        mail.into_iter()
            .find(|sent| sent.to == self.address && sent.is(exchange, true))
    }

    /// What it says of itself before it is anything.
    pub fn newcomer() -> ElectionState {
        ElectionState {
            state: ElectionState::INITIAL,
            flags: 0,
            priority: 1,
            router_id: 1,
            spi: [0; 16],
            generation: 0,
            members: 0,
            ..forge::pretender()
        }
    }

    /// Becomes a member of the office at `gcks`, by its own credential.
    #[track_caller]
    pub fn join(&mut self, lan: &mut Lan, gcks: usize) {
        let answer = self.register(lan, gcks, &Self::newcomer(), &[]).unwrap();
        self.take(&answer);
        assert!(self.group.is_some(), "it was given the state");
    }

    /// IKE_SA_INIT and GSA_AUTH with `gcks`: what the answer said, whatever that was.
    pub fn register(
        &mut self,
        lan: &mut Lan,
        gcks: usize,
        state: &ElectionState,
        keys: &[u8],
    ) -> Option<Inner> {
        let to = lan.nodes[gcks].address;
        let secret = DhSecret::generate(&mut self.rng);
        let spi_i = *Secret::<8>::random(&mut self.rng).expose();
        let nonce = *Secret::<32>::random(&mut self.rng).expose();
        let mut ke = vec![0, 31, 0, 0];
        ke.extend(secret.public());
        let first = Forge::new(spi_i, [0; 8], peek::IKE_SA_INIT, INITIATOR, 0)
            .payload(peek::SA, &proposal(&SUITE))
            .payload(peek::KE, &ke)
            .payload(peek::NONCE, &nonce)
            .notify(16431, &[0, 5])
            .finish();
        let response = self.ask(lan, to, first.clone(), peek::IKE_SA_INIT)?;
        let clear = peek::payloads(&response.octets);
        let body = |kind| clear.iter().find(|p| p.kind == kind).map(|p| p.body.to_vec());
        let (theirs, nonce_r) = (body(peek::KE)?, body(peek::NONCE)?);
        let shared = secret.agree(&theirs[4..]).ok()?;
        let spi_r = response.header().spi_r;
        let keys_of = IkeKeys::derive(&shared, &nonce, &nonce_r, &spi_i, &spi_r);
        let mut ike = Ike::new(&keys_of, spi_i, spi_r, true, to);
        let mut id = vec![2, 0, 0, 0];
        id.extend(self.name.as_bytes());
        let mac = prf(keys_of.sk_pi.expose(), &[&id]);
        let gcks_id = lan.nodes[gcks].identity.clone();
        let proof = self.store.shared_key_auth(&gcks_id, &[&first, &nonce_r, &mac])?;
        let mut auth = vec![2, 0, 0, 0];
        auth.extend(proof);
        let mut instance = self.instance.to_vec();
        instance.extend(self.sequence.to_be_bytes());
        let mut payloads = nothing()
            .payload(peek::IDI, &id)
            .payload(peek::AUTH, &auth)
            .identity(peek::IDG, 11, lan.group.as_bytes())
            .notify(50965, &instance)
            .notify(peek::ELECTION_STATE, &state.octets());
        if !keys.is_empty() {
            payloads = payloads.notify(50963, keys);
        }
        let request = ike.message(peek::GSA_AUTH, false, 1, payloads);
        let answer = self.ask(lan, to, request, peek::GSA_AUTH)?;
        let inner = ike.open(&answer.octets);
        self.ike = Some(ike);
        inner
    }

    /// Takes a state that came in SK.
    pub fn take(&mut self, inner: &Inner) {
        let (Some(gsa), Some(kd)) = (inner.body(51), inner.body(52)) else {
            return;
        };
        let wrap = &self.ike.as_ref().unwrap().wrap;
        let state = State::parse(&gsa, &kd, Carrier::Unicast).unwrap();
        let blob = |wrapped: &kd::Wrapped<'_>| [&wrapped.nonce[..], wrapped.text, &wrapped.tag[..]].concat();
        let Some(sa) = &state.rekey_sa else { return };
        let wrapped = sa.keys.as_ref().unwrap();
        let octets: Secret<68> = unwrap_key(wrap, &wrapped.aad(), &blob(wrapped)).unwrap();
        let teks = state.teks.iter().filter_map(|tek| {
            let wrapped = tek.key.as_ref()?;
            let key = unwrap_key(wrap, &wrapped.aad(), &blob(wrapped)).unwrap();
            Some((tek.policy.id, key))
        });
        self.group = Some(Group {
            spi: sa.policy.spi,
            keys: RekeySaKeys::from_octets(octets.expose(), &sa.policy.spi),
            teks: teks.collect(),
        });
    }

    /// The group's keys.
    pub fn group(&self) -> &Group {
        self.group.as_ref().expect("it is a member")
    }

    /// Sends a request over the IKE SA and opens the answer.
    pub fn request(&mut self, lan: &mut Lan, exchange: u8, payloads: Forge) -> Option<Inner> {
        let ike = self.ike.as_mut()?;
        let id = ike.next;
        ike.next += 1;
        self.request_as(lan, id, exchange, payloads)
    }

    /// The same under a Message ID of choice.
    pub fn request_as(&mut self, lan: &mut Lan, id: u32, exchange: u8, payloads: Forge) -> Option<Inner> {
        let ike = self.ike.as_mut()?;
        let (to, request) = (ike.peer, ike.message(exchange, false, id, payloads));
        let answer = self.ask(lan, to, request, exchange)?;
        self.ike.as_ref()?.open(&answer.octets)
    }

    /// An announcement with a good MAC, whoever it says to be from.
    pub fn speak(&self, words: &Words<'_>) -> Vec<u8> {
        let mut message =
            forge::announcement("lan", words.name, words.instance, words.sequence, &words.state);
        if let Some(instance) = words.handoff {
            message = message.notify(peek::HANDOFF, &instance);
        }
        if words.sign.is_some() {
            message = message.payload(peek::AUTH, &signature_body());
        }
        let mut mac = self.group().spi.to_vec();
        mac.extend([0; 16]);
        let mut octets = message.notify(peek::GROUP_MAC, &mac).finish();
        let from = place(words.from);
        // The MAC's payload: 8 octets of heads, 16 of SPI, 16 of MAC.
        let signed = octets.len() - 40 - 64;
        if let Some(key) = words.sign {
            let signature = key.sign(&[&from, &octets[..signed]]);
            octets[signed..signed + 64].copy_from_slice(&signature);
        }
        let at = octets.len() - 16;
        let mac = group_mac(&self.group().keys.gsk_h, &[&from, &octets[..at]]);
        octets[at..].copy_from_slice(&mac);
        octets
    }

    /// What it says as the member that it is, with the generation that it claims to have.
    pub fn announce(&mut self, lan: &mut Lan, generation: u32) {
        let state = ElectionState {
            state: ElectionState::MEMBER,
            flags: ElectionState::KEYED,
            spi: self.group().spi,
            generation,
            ..Self::newcomer()
        };
        let octets = self.speak(&Words {
            name: &self.name,
            from: self.address,
            instance: self.instance,
            sequence: self.sequence,
            state,
            handoff: None,
            sign: None,
        });
        self.sequence += 1;
        lan.inject(Injection::new(self.address, lan.multicast(), octets));
    }

    /// A key update under the group's Rekey SA. `sign` signs as section 7 has it.
    pub fn update(&self, id: u32, payloads: &[(u8, Vec<u8>)], sign: Option<&SigningKey>) -> Vec<u8> {
        let group = self.group();
        let chain = |signature: Option<&[u8]>| {
            let mut chain = nothing();
            for (kind, body) in payloads {
                chain = chain.payload(*kind, body);
            }
            match signature {
                Some(signature) => {
                    let mut body = signature_body();
                    body[12..].copy_from_slice(signature);
                    chain.payload(peek::AUTH, &body)
                }
                None => chain,
            }
        };
        let mut spi_i = [0; 8];
        let mut spi_r = [0; 8];
        spi_i.copy_from_slice(&group.spi[..8]);
        spi_r.copy_from_slice(&group.spi[8..]);
        let head = Forge::new(spi_i, spi_r, peek::GSA_REKEY, INITIATOR, id);
        let mut seal = SealKey::starting_at(group.keys.gsk_e.duplicate(), u64::MAX / 2);
        let signature = sign.map(|key| {
            let inner = chain(Some(&[0; 64])).finish();
            let text = &inner[Header::LEN..];
            // The header and SK header with lengths that leave out IV, padding and tag.
            let mut head = Forge::new(spi_i, spi_r, peek::GSA_REKEY, INITIATOR, id)
                .payload(peek::SK, text)
                .finish();
            head[28] = inner[16];
            key.sign(&[&head])
        });
        sealed(&mut seal, head, chain(signature.as_ref().map(|s| &s[..])))
    }

    /// The payloads of a genuine update, signature left out.
    pub fn payloads_of(&self, update: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let inner = self.group().open(update).expect("it is under the Rekey SA");
        let payloads = inner.payloads();
        let plain = payloads.iter().filter(|p| p.kind != peek::AUTH);
        plain.map(|p| (p.kind, p.body.to_vec())).collect()
    }
}
