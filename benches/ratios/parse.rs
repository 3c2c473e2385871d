//! Parsing: every kind of message, as its receiver reads it once the seal is open.

use std::hint::black_box;

use benches::{
    exchange::{exchange, newcomer},
    measure::{Off, Report, Series},
    primitives::sealed_parts,
    router::{Group, Proof, Router, Tables, identity, signing_key},
};
use karp_core::{
    crypto::{OpenKey, SealKey, Secret, WrapKey, group_mac, prf, shared_key_auth, unwrap_key, verify},
    io::MessageKind,
    wire::{
        ElectionFlags, ElectionState, ExchangeType, Flags, Header, KeyState, NodeState, PayloadType,
        Payloads, ProtocolList, Writer,
        auth::{SIGNATURE_LEN, write_shared_key, write_signature},
        election::Announcement,
        gsa::{self, GcAuth, Keyed, RekeySaPolicy, TekPolicy},
        kd,
        message::Contents,
        notify::{Instance, KeyInUse, KeysInUse, RekeyRequest},
        numbers,
        payload::{Id, write_group},
        rekey::Update,
        sa::{Purpose, check_answer, choose},
        sk,
        state::{Carrier, State},
    },
};

use crate::Rounds;

/// Parses in a row, for one takes too little to be timed.
const BATCH: u32 = 500;

/// A kind of message: how it is parsed, and the primitives that its receiver needs besides.
struct Kind<'a> {
    name: &'static str,
    octets: usize,
    parse: Box<dyn Fn() -> bool + 'a>,
    parsed: Series,
    needs: Series,
    bare: Box<dyn Fn() + 'a>,
}

impl<'a> Kind<'a> {
    fn new(
        name: &'static str,
        message: &[u8],
        parse: Box<dyn Fn() -> bool + 'a>,
        bare: Box<dyn Fn() + 'a>,
    ) -> Self {
        Self {
            name,
            octets: message.len(),
            parse,
            parsed: Series::default(),
            needs: Series::default(),
            bare,
        }
    }
}

fn header(exchange: ExchangeType) -> Header {
    Header::new([1; 8], [2; 8], exchange, Flags::INITIATOR, 1)
}

/// A sealed message in the clear, IV and tag in their places.
fn message(exchange: ExchangeType, fill: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut buffer = [0; 1232];
    let (mut writer, open) = sk::begin(&mut buffer, &header(exchange));
    fill(&mut writer);
    let message = sk::finish(writer, open).expect("room for a message");
    message.to_vec()
}

fn write_election_state(writer: &mut Writer<'_>) {
    let state = ElectionState {
        state: NodeState::Gcks,
        flags: ElectionFlags::KEYED,
        hold_multiplier: 4,
        priority: 100,
        interval_ms: 1000,
        router_id: 1,
        rekey_sa: Some([3; 16]),
        generation: 7,
        members: 10,
    };
    state.write(writer);
}

fn write_identity(writer: &mut Writer<'_>, n: u16, ty: PayloadType) {
    let identity = identity(n);
    let id = Id {
        ty: numbers::IdType(identity.kind()),
        data: identity.octets(),
    };
    id.write(writer, ty);
}

fn write_instance(writer: &mut Writer<'_>) {
    let instance = Instance {
        instance: [4; 8],
        next_sequence: 9,
    };
    instance.write(writer);
}

/// GSA and KD with these traffic keys and, in unicast, a Rekey SA that signs.
fn write_state(writer: &mut Writer<'_>, rekey_sa: bool, teks: &[(u16, KeyState)]) {
    let address = |port| std::net::SocketAddr::from(([10, 0, 0, 1], port));
    let open = writer.begin(PayloadType::GSA);
    if rekey_sa {
        let policy = RekeySaPolicy {
            spi: [3; 16],
            gcauth: Some(GcAuth::Signature),
            lifetime_s: 86_400,
            initial_generation: 7,
        };
        gsa::write_rekey_sa(writer, &policy, address(848), address(848));
    }
    gsa::write_group(writer, 30);
    for (id, state) in teks {
        let mut protocols = ProtocolList::new();
        let keyed = Keyed {
            protocol: numbers::RoutingProtocol(1),
            algorithm: numbers::Algorithm(1025),
        };
        protocols.push(keyed).expect("room for a protocol");
        let policy = TekPolicy {
            id: *id,
            state: *state,
            lifetime_s: 3600,
            protocols: Some(protocols),
        };
        gsa::write_tek(writer, &policy);
    }
    writer.end(open);
    let open = writer.begin(PayloadType::KD);
    if rekey_sa {
        kd::write_rekey_sa(writer, &[3; 16]);
    }
    for (id, _) in teks {
        kd::write_tek(writer, *id);
    }
    if rekey_sa {
        kd::write_auth_key(writer, &signing_key(1).public());
    }
    writer.end(open);
}

/// What a receiver reads of an opened message of an IKE SA.
fn read_sealed(message: &[u8]) -> bool {
    let Ok(sealed) = sk::locate(message) else {
        return false;
    };
    let text = &message[sk::TEXT_AT..message.len() - sk::TAG_LEN];
    let contents = sk::inner(sealed.first, text).and_then(Contents::collect);
    black_box(contents).is_ok_and(|contents| match (contents.gsa, contents.kd) {
        (Some(gsa), Some(kd)) => black_box(State::parse(gsa, kd, Carrier::Unicast)).is_ok(),
        _ => true,
    })
}

fn read_update(message: &[u8]) -> bool {
    let update = black_box(Update::parse(message));
    update.is_ok_and(|update| black_box(State::parse(update.gsa, update.kd, Carrier::Multicast)).is_ok())
}

fn read_init(message: &[u8]) -> bool {
    let contents = Payloads::of_message(message).and_then(|(_, payloads)| Contents::collect(payloads));
    black_box(contents).is_ok_and(|contents| {
        contents.sa.is_some_and(|sa| {
            if message[19] & 0x20 == 0 {
                choose(sa, Some(Purpose::Group)).is_ok()
            } else {
                check_answer(sa, Purpose::Group).is_ok()
            }
        })
    })
}

/// The primitives of receiving: an open of so many octets, unwraps, a proof.
struct Receiving {
    open: OpenKey,
    sealed: Vec<(usize, Vec<u8>, [u8; 16])>,
    wrapped: ([u8; 96], [u8; 60]),
    signature: [u8; 64],
    public: [u8; 32],
}

impl Receiving {
    fn new(sizes: &[usize]) -> Self {
        let keymat = Secret::<36>::from_bytes([7; 36]);
        let open = OpenKey::new(&keymat);
        let mut seal = SealKey::new(keymat);
        let mut sealed = Vec::new();
        for (at, octets) in sizes.iter().enumerate() {
            let (aad, mut text) = sealed_parts(*octets);
            let iv = seal.next_iv().expect("few messages");
            let tag = seal.seal(iv, &aad, &mut text).expect("a short text");
            sealed.push((at, text, tag));
        }
        let mut wrap = WrapKey::new(Secret::from_bytes([8; 32]));
        let (mut rekey_sa, mut tek) = ([0; 96], [0; 60]);
        let wrapped = wrap.wrap(&[0; 28], &Secret::<68>::from_bytes([1; 68]), &mut rekey_sa);
        wrapped.expect("room for a Rekey SA");
        let wrapped = wrap.wrap(&[0; 16], &Secret::<32>::from_bytes([1; 32]), &mut tek);
        wrapped.expect("room for a traffic key");
        let key = signing_key(9);
        Self {
            open,
            sealed,
            wrapped: (rekey_sa, tek),
            signature: key.sign(&[&[5; 300]]),
            public: key.public(),
        }
    }

    /// Opens the message at this place of the sizes.
    fn open(&self, octets: usize) {
        let fitting = self
            .sealed
            .iter()
            .find(|(_, text, _)| text.len() + sk::AAD_LEN + sk::IV_LEN + sk::TAG_LEN == octets);
        let (at, text, tag) = fitting.expect("a size that was named");
        let mut text = text.clone();
        let iv = u64::try_from(*at).expect("few sizes").to_be_bytes();
        let opened = self.open.open(&iv, &[1; sk::AAD_LEN], &mut text, tag);
        opened.expect("what was sealed");
    }

    fn unwrap(&self, rekey_sa: bool, teks: usize) {
        let key = Secret::from_bytes([8; 32]);
        if rekey_sa {
            let keys: Secret<68> = unwrap_key(&key, &[0; 28], &self.wrapped.0).expect("what was wrapped");
            black_box(keys);
        }
        for _ in 0..teks {
            let tek: Secret<32> = unwrap_key(&key, &[0; 16], &self.wrapped.1).expect("what was wrapped");
            black_box(tek);
        }
    }

    fn verify(&self) {
        assert!(verify(&self.public, &[&[5; 300]], &self.signature));
    }
}

fn shared_key_proof(octets: usize) {
    let id = prf(&[1; 32], &[&[2; 18]]);
    black_box(shared_key_auth(
        b"a key of sixteen octets",
        &[&vec![1; octets], &[2; 32], &id],
    ));
}

pub(crate) fn measure(group: &Group, rounds: &Rounds, report: &mut Report) -> Result<(), String> {
    if group.proof != Proof::SharedKey {
        return Err("the messages built here prove themselves by a shared key".to_owned());
    }
    // Messages that are not sealed are those of real engines; sealed ones are built as engines build them.
    let (mut gcks, hint) = Router::in_office(group, 1, Tables::new(16, 64, 8, 8))?;
    let mut member = newcomer(group, 0, 4711)?;
    let done = exchange(&mut member, &mut gcks, &hint, &mut [Off, Off])?;
    let octets = |kind| {
        let mut of_kind = done.0.iter().filter(|sent| sent.kind == kind);
        of_kind
            .next()
            .map(|sent| sent.octets.clone())
            .ok_or(format!("no {kind:?}"))
    };
    let init_request = octets(MessageKind::InitRequest)?;
    let init_response = octets(MessageKind::InitResponse)?;
    let one = [(7, KeyState::Active)];
    let two = [(9, KeyState::Pending), (7, KeyState::Active)];
    let auth_request = message(ExchangeType::GSA_AUTH, |writer| {
        write_identity(writer, 0, PayloadType::ID_I);
        write_identity(writer, 1, PayloadType::ID_R);
        write_shared_key(writer, &[6; 32]);
        write_group(writer, b"lan");
        write_instance(writer);
        write_election_state(writer);
    });
    let auth_response = message(ExchangeType::GSA_AUTH, |writer| {
        write_identity(writer, 1, PayloadType::ID_R);
        write_shared_key(writer, &[6; 32]);
        write_instance(writer);
        write_election_state(writer);
        write_state(writer, true, &one);
    });
    for (built, kind) in [
        (&auth_request, MessageKind::AuthRequest),
        (&auth_response, MessageKind::AuthResponse),
    ] {
        let real = octets(kind)?.len();
        if built.len() != real {
            return Err(format!("{kind:?} has {real} octets, {} were built", built.len()));
        }
    }
    let registration = message(ExchangeType::GSA_REGISTRATION, |writer| {
        write_group(writer, b"lan");
        let mut keys = KeysInUse::default();
        let shown = KeyInUse {
            id: 7,
            usage: karp_core::config::KeyUse::Sending,
            check: [8; 8],
        };
        keys.0.push(shown).expect("room for a key");
        keys.write(writer);
    });
    let inband_rekey = message(ExchangeType::GSA_INBAND_REKEY, |writer| {
        write_state(writer, true, &two)
    });
    let informational = message(ExchangeType::INFORMATIONAL, |writer| {
        let request = RekeyRequest {
            protocol: numbers::RoutingProtocol(1),
            reason: numbers::RekeyReason(1),
        };
        request.write(writer);
    });
    let update = message(ExchangeType::GSA_REKEY, |writer| {
        write_state(writer, false, &two);
        write_signature(writer, &[0; SIGNATURE_LEN]);
    });
    let announcement = gcks.next_announcement().ok_or("no announcement")?;

    let receiving = Receiving::new(
        &[
            &auth_request,
            &auth_response,
            &registration,
            &inband_rekey,
            &informational,
            &update,
        ]
        .map(|message| message.len()),
    );
    let receiving = &receiving;
    let pair = karp_core::crypto::DhSecret::generate(&mut benches::router::Dice::new(1));
    let pair = &pair;
    let agree = move || drop(pair.agree(&[9; 32]).expect("a good public value"));
    let gsk_h = Secret::<32>::from_bytes([7; 32]);
    let mut kinds = vec![
        Kind::new(
            "announcement",
            &announcement,
            Box::new(|| black_box(Announcement::parse(black_box(&announcement))).is_ok()),
            Box::new(|| {
                black_box(group_mac(&gsk_h, &[&[0; 18], &announcement]));
                receiving.verify();
            }),
        ),
        Kind::new(
            "ike_sa_init_request",
            &init_request,
            Box::new(|| read_init(black_box(&init_request))),
            Box::new(agree),
        ),
        Kind::new(
            "ike_sa_init_response",
            &init_response,
            Box::new(|| read_init(black_box(&init_response))),
            Box::new(agree),
        ),
        Kind::new(
            "gsa_auth_request",
            &auth_request,
            Box::new(|| read_sealed(black_box(&auth_request))),
            Box::new(|| {
                receiving.open(auth_request.len());
                shared_key_proof(init_request.len());
            }),
        ),
        Kind::new(
            "gsa_auth_response",
            &auth_response,
            Box::new(|| read_sealed(black_box(&auth_response))),
            Box::new(|| {
                receiving.open(auth_response.len());
                shared_key_proof(init_response.len());
                receiving.unwrap(true, 1);
            }),
        ),
        Kind::new(
            "gsa_registration_request",
            &registration,
            Box::new(|| read_sealed(black_box(&registration))),
            Box::new(|| receiving.open(registration.len())),
        ),
        Kind::new(
            "gsa_inband_rekey",
            &inband_rekey,
            Box::new(|| read_sealed(black_box(&inband_rekey))),
            Box::new(|| {
                receiving.open(inband_rekey.len());
                receiving.unwrap(true, 2);
            }),
        ),
        Kind::new(
            "informational",
            &informational,
            Box::new(|| read_sealed(black_box(&informational))),
            Box::new(|| receiving.open(informational.len())),
        ),
        Kind::new(
            "gsa_rekey",
            &update,
            Box::new(|| read_update(black_box(&update))),
            Box::new(|| {
                receiving.open(update.len());
                receiving.verify();
                receiving.unwrap(false, 2);
            }),
        ),
    ];
    for kind in &kinds {
        if !(kind.parse)() {
            return Err(format!("{} is not well-formed", kind.name));
        }
    }
    for _ in 0..rounds.parses {
        for kind in &mut kinds {
            let (parse, bare) = (&kind.parse, &kind.bare);
            kind.parsed.batch(BATCH, parse);
            kind.needs.time(bare);
        }
    }
    for kind in &kinds {
        let label = format!("{}, {} octets", kind.name, kind.octets);
        report.row(&label, &kind.parsed);
        report.row("  the primitives of its receiver", &kind.needs);
        report.ratio(&format!("parse_{}", kind.name), &kind.parsed, &kind.needs, None);
    }
    Ok(())
}
