//! What the tests of the wire share: a sample of every message, at its largest or nearly so, made by the real
//! writers.
#![allow(dead_code, unreachable_pub)]

use std::net::SocketAddr;

use karp_core::config::KeyUse;
use karp_core::wire::gsa::{self, GcAuth, KeyState, Keyed, ProtocolList, RekeySaPolicy, TekPolicy};
use karp_core::wire::message::Contents;
use karp_core::wire::notify::{
    self, ElectionFlags, ElectionState, Evicted, Handoff, Instance, KeyInUse, KeysInUse, NodeState,
    RekeyRequest,
};
use karp_core::wire::numbers::{Algorithm, IdType, RekeyReason, RoutingProtocol};
use karp_core::wire::payload::{self, Id, KeyExchange};
use karp_core::wire::redirect::{self, Redirect};
use karp_core::wire::sa::{self, Choice, Purpose};
use karp_core::wire::size::{Shape, StateShape};
use karp_core::wire::state::{Carrier, State};
use karp_core::wire::{
    Error, ExchangeType, Flags, Header, NotifyType, PayloadType, Payloads, Writer, auth, election, kd, rekey,
    sk,
};

pub const SPI_I: [u8; 8] = [0xa1; 8];
pub const SPI_R: [u8; 8] = [0xb2; 8];
pub const REKEY_SPI: [u8; 16] = [0xc3; 16];
pub const FORMER_SPI: [u8; 16] = [0xc4; 16];

/// A message and the parser that takes it.
pub struct Sample {
    pub name: &'static str,
    pub octets: Vec<u8>,
    pub check: fn(&[u8]) -> Result<(), Error>,
    /// What `size` says that it has, if it was made at its largest.
    pub size: usize,
}

pub fn largest_shape(ipv6: bool, signatures: bool) -> Shape {
    Shape {
        own_id: 64,
        peer_id: 64,
        group: 64,
        ipv6,
        protocols: 8,
        signatures,
        controller_signatures: signatures,
        evicted: 8,
    }
}

pub fn state_of(shape: &Shape) -> ElectionState {
    ElectionState {
        state: NodeState::Gcks,
        flags: ElectionFlags::KEYED.with(ElectionFlags::PREEMPT, shape.ipv6),
        hold_multiplier: 4,
        priority: 200,
        interval_ms: 1000,
        router_id: 0xc000_0201,
        rekey_sa: Some(REKEY_SPI),
        generation: 9,
        members: 3,
    }
}

pub fn protocols(count: usize) -> ProtocolList {
    let mut list = ProtocolList::new();
    for number in (1..).take(count) {
        list.push(Keyed {
            protocol: RoutingProtocol(number),
            algorithm: Algorithm::HMAC_SHA256,
        })
        .unwrap();
    }
    list
}

pub fn keys_in_use() -> KeysInUse {
    let usage = |id| match id {
        1 => KeyUse::Sending,
        2..=4 => KeyUse::Unsent,
        _ => KeyUse::Stopped,
    };
    KeysInUse(
        (1..=8)
            .map(|id| KeyInUse {
                id,
                usage: usage(id),
                check: [7; 8],
            })
            .collect(),
    )
}

pub fn evicted(count: usize) -> Evicted {
    Evicted((0..count).map(|_| [5; 16]).collect())
}

/// The policies of a state: live keys first.
pub fn tek_policies(shape: &Shape, state: StateShape) -> Vec<TekPolicy> {
    let live = [KeyState::Active, KeyState::Pending].into_iter().take(state.live);
    let retiring = (0..state.retiring).map(|_| KeyState::Retiring);
    (1..)
        .zip(live.chain(retiring))
        .map(|(id, state)| TekPolicy {
            id,
            state,
            lifetime_s: 3600,
            protocols: (state != KeyState::Retiring).then(|| protocols(shape.protocols)),
        })
        .collect()
}

pub fn sockets(ipv6: bool) -> (SocketAddr, SocketAddr) {
    if ipv6 {
        (
            "[fe80::1]:848".parse().unwrap(),
            "[ff02::114]:848".parse().unwrap(),
        )
    } else {
        (
            "192.0.2.1:848".parse().unwrap(),
            "224.0.0.254:848".parse().unwrap(),
        )
    }
}

/// Writes GSA and KD as a GCKS would.
pub fn write_state(writer: &mut Writer<'_>, shape: &Shape, state: StateShape, unicast: bool) {
    let signed = shape.controller_signatures;
    let gcauth = unicast.then_some(if signed {
        GcAuth::Signature
    } else {
        GcAuth::Implicit
    });
    let policies = tek_policies(shape, state);
    let open = writer.begin(PayloadType::GSA);
    if state.rekey_sa {
        let (source, destination) = sockets(shape.ipv6);
        let policy = RekeySaPolicy {
            spi: REKEY_SPI,
            gcauth,
            lifetime_s: 86400,
            initial_generation: 9,
        };
        gsa::write_rekey_sa(writer, &policy, source, destination);
    }
    gsa::write_group(writer, 30);
    for policy in &policies {
        gsa::write_tek(writer, policy);
    }
    writer.end(open);
    let open = writer.begin(PayloadType::KD);
    let mut slots = Vec::new();
    if state.rekey_sa {
        slots.push(kd::write_rekey_sa(writer, &REKEY_SPI));
        if unicast && signed {
            kd::write_auth_key(writer, &[0x11; 32]);
        }
    }
    for policy in policies
        .iter()
        .filter(|policy| policy.state != KeyState::Retiring)
    {
        slots.push(kd::write_tek(writer, policy.id));
    }
    writer.end(open);
    for slot in slots {
        let parts = slot.parts(writer.written_mut()).unwrap();
        parts.nonce.fill(1);
        parts.text.fill(2);
        parts.tag.fill(3);
    }
}

fn write_proof(writer: &mut Writer<'_>, shape: &Shape) {
    if shape.signatures {
        auth::write_raw_public_key(writer, &[0x22; 32]);
        auth::write_signature(writer, &[0x33; 64]);
    } else {
        auth::write_shared_key(writer, &[0x44; 32]);
    }
}

pub fn clear(
    exchange: ExchangeType,
    flags: Flags,
    message_id: u32,
    write: impl FnOnce(&mut Writer<'_>),
) -> Vec<u8> {
    let mut room = [0; 4096];
    let header = Header::new(SPI_I, SPI_R, exchange, flags, message_id);
    let mut writer = Writer::message(&mut room, &header);
    write(&mut writer);
    writer.finish().unwrap().to_vec()
}

/// A message with an SK payload whose inside is left in the clear.
pub fn sealed(exchange: ExchangeType, flags: Flags, write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut room = [0; 4096];
    let (spi_i, spi_r) = REKEY_SPI.split_at(8);
    let header = Header::new(
        spi_i.try_into().unwrap(),
        spi_r.try_into().unwrap(),
        exchange,
        flags,
        7,
    );
    let (mut writer, open) = sk::begin(&mut room, &header);
    write(&mut writer);
    let message = sk::finish(writer, open).unwrap();
    let parts = sk::split(message).unwrap();
    parts.iv.fill(0x55);
    parts.tag.fill(0x66);
    message.to_vec()
}

pub fn contents_of_clear(octets: &[u8]) -> Result<Contents<'_>, Error> {
    Contents::collect(Payloads::of_message(octets)?.1)
}

pub fn contents_of_sealed(octets: &[u8]) -> Result<Contents<'_>, Error> {
    let sealed = sk::locate(octets)?;
    let text = octets
        .get(sk::TEXT_AT..octets.len() - sk::TAG_LEN)
        .ok_or(Error::Truncated)?;
    Contents::collect(sk::inner(sealed.first, text)?)
}

fn check_init(octets: &[u8]) -> Result<(), Error> {
    let contents = contents_of_clear(octets)?;
    if contents.redirect.is_some() || contents.error.is_some() {
        return Ok(());
    }
    sa::choose(contents.sa.ok_or(Error::Missing)?, None)?;
    contents.ke.ok_or(Error::Missing)?;
    contents.nonce.ok_or(Error::Missing).map(|_| ())
}

fn check_sealed(octets: &[u8]) -> Result<(), Error> {
    let contents = contents_of_sealed(octets)?;
    if let Some(auth) = contents.auth {
        auth.proof()?;
    }
    match (contents.gsa, contents.kd) {
        (Some(gsa), Some(kd)) => State::parse(gsa, kd, Carrier::Unicast).map(|_| ()),
        (None, None) => Ok(()),
        (Some(_), None) | (None, Some(_)) => Err(Error::Missing),
    }
}

fn check_update(octets: &[u8]) -> Result<(), Error> {
    let update = rekey::Update::parse(octets)?;
    State::parse(update.gsa, update.kd, Carrier::Multicast).map(|_| ())
}

fn check_announcement(octets: &[u8]) -> Result<(), Error> {
    election::Announcement::parse(octets).map(|_| ())
}

pub fn announcement(shape: &Shape) -> Vec<u8> {
    let mut room = [0; 2048];
    let draft = election::Draft {
        instance: SPI_I,
        sequence: 5,
        group: &vec![b'g'; shape.group],
        id: Id {
            ty: IdType::FQDN,
            data: &vec![b'i'; shape.own_id],
        },
        state: state_of(shape),
        handoff: Some(Handoff(SPI_R)),
        signed: shape.controller_signatures,
        macs: &[REKEY_SPI, FORMER_SPI],
    };
    let mut unsigned = draft.write(&mut room).unwrap();
    unsigned.set_signature(&[0x77; 64]);
    unsigned.set_mac(0, &[0x78; 16]);
    unsigned.set_mac(1, &[0x79; 16]);
    unsigned.into_octets().to_vec()
}

/// Every message, made with the real writers.
pub fn samples(shape: &Shape, state: StateShape) -> Vec<Sample> {
    let own = vec![b'o'; shape.own_id];
    let own = Id {
        ty: IdType::FQDN,
        data: &own,
    };
    let peer = vec![b'p'; shape.peer_id];
    let peer = Id {
        ty: IdType::FQDN,
        data: &peer,
    };
    let group = vec![b'g'; shape.group];
    let instance = Instance {
        instance: SPI_I,
        next_sequence: 77,
    };
    let election_state = state_of(shape);
    let gateway: SocketAddr = "[2001:db8::1]:848".parse().unwrap();
    let evicted = evicted(shape.evicted);
    let write_evicted = |writer: &mut Writer<'_>| {
        if !evicted.0.is_empty() {
            evicted.write(writer);
        }
    };
    let answer = Flags::RESPONSE;
    let asks = Flags::INITIATOR;

    let init_request = clear(ExchangeType::IKE_SA_INIT, asks, 0, |writer| {
        payload::write_notify(writer, NotifyType::COOKIE, &[9; 64]);
        sa::write_offer(writer, Purpose::Group);
        KeyExchange {
            method: 31,
            data: &[8; 32],
        }
        .write(writer);
        writer.payload(PayloadType::NONCE, &[7; 32]);
        notify::write_signature_hashes(writer);
        payload::write_notify(writer, NotifyType::REDIRECT_SUPPORTED, &[]);
        redirect::write_redirected_from(writer, gateway);
    });
    let init_response = clear(ExchangeType::IKE_SA_INIT, answer, 0, |writer| {
        sa::write_answer(
            writer,
            &Choice {
                number: 2,
                purpose: Purpose::Group,
                integ_none: true,
                ke: 31,
            },
        );
        KeyExchange {
            method: 31,
            data: &[8; 32],
        }
        .write(writer);
        writer.payload(PayloadType::NONCE, &[7; 32]);
        auth::write_raw_public_key_request(writer);
        notify::write_signature_hashes(writer);
        payload::write_notify(writer, NotifyType::CHILDLESS_IKEV2_SUPPORTED, &[]);
    });
    let init_redirect = clear(ExchangeType::IKE_SA_INIT, answer, 0, |writer| {
        Redirect {
            to: gateway,
            nonce: &[3; 256],
        }
        .write(writer);
    });
    let auth_request = sealed(ExchangeType::GSA_AUTH, asks, |writer| {
        own.write(writer, PayloadType::ID_I);
        if shape.signatures {
            auth::write_raw_public_key_request(writer);
        }
        peer.write(writer, PayloadType::ID_R);
        write_proof(writer, shape);
        payload::write_group(writer, &group);
        instance.write(writer);
        election_state.write(writer);
        keys_in_use().write(writer);
        write_evicted(writer);
    });
    let auth_response = |state: Option<StateShape>| {
        sealed(ExchangeType::GSA_AUTH, answer, |writer| {
            own.write(writer, PayloadType::ID_R);
            write_proof(writer, shape);
            instance.write(writer);
            election_state.write(writer);
            write_evicted(writer);
            if let Some(state) = state {
                write_state(writer, shape, state, true);
            }
        })
    };
    let auth_refusal = sealed(ExchangeType::GSA_AUTH, answer, |writer| {
        own.write(writer, PayloadType::ID_R);
        write_proof(writer, shape);
        payload::write_notify(writer, NotifyType::AUTHORIZATION_FAILED, &[]);
        election_state.write(writer);
    });
    let registration = sealed(ExchangeType::GSA_REGISTRATION, asks, |writer| {
        payload::write_group(writer, &group);
        keys_in_use().write(writer);
        write_evicted(writer);
    });
    let push = sealed(ExchangeType::GSA_INBAND_REKEY, Flags::NONE, |writer| {
        write_evicted(writer);
        write_state(writer, shape, state, true);
    });
    let update = sealed(ExchangeType::GSA_REKEY, asks, |writer| {
        write_state(writer, shape, state, false);
        if shape.controller_signatures {
            auth::write_signature(writer, &[0; 64]);
        }
    });
    let request = sealed(ExchangeType::INFORMATIONAL, asks, |writer| {
        RekeyRequest {
            protocol: RoutingProtocol::OSPFV2,
            reason: RekeyReason::OPERATOR,
        }
        .write(writer);
    });
    let leave = sealed(ExchangeType::INFORMATIONAL, asks, payload::write_delete_ike);
    let empty = sealed(ExchangeType::INFORMATIONAL, asks, |_| {});

    use karp_core::wire::size;
    let sample = |name, octets, check, size| Sample {
        name,
        octets,
        check,
        size,
    };
    vec![
        sample(
            "IKE_SA_INIT request",
            init_request,
            check_init,
            size::IKE_SA_INIT_REQUEST,
        ),
        sample(
            "IKE_SA_INIT response",
            init_response,
            check_init,
            size::IKE_SA_INIT_RESPONSE,
        ),
        sample(
            "IKE_SA_INIT redirect",
            init_redirect,
            check_init,
            size::IKE_SA_INIT_REDIRECT,
        ),
        sample(
            "GSA_AUTH request",
            auth_request,
            check_sealed,
            shape.auth_request(),
        ),
        sample(
            "GSA_AUTH response",
            auth_response(Some(state)),
            check_sealed,
            shape.auth_response(Some(state)),
        ),
        sample(
            "GSA_AUTH waiting",
            auth_response(None),
            check_sealed,
            shape.auth_response(None),
        ),
        sample(
            "GSA_AUTH refusal",
            auth_refusal,
            check_sealed,
            shape.auth_refusal(),
        ),
        sample(
            "GSA_REGISTRATION",
            registration,
            check_sealed,
            shape.registration_request(),
        ),
        sample(
            "GSA_INBAND_REKEY",
            push,
            check_sealed,
            shape.unicast_state(Some(state)),
        ),
        sample("GSA_REKEY", update, check_update, shape.update(state)),
        sample("REKEY_REQUEST", request, check_sealed, size::INFORMATIONAL),
        sample("leave", leave, check_sealed, 65),
        sample("empty", empty, check_sealed, size::sealed(0)),
        sample(
            "announcement",
            announcement(shape),
            check_announcement,
            shape.announcement(),
        ),
    ]
}
