//! Single rules of the formats that no whole message shows: each field refused for itself, each notify taken for what it
//! is. Whole messages are in `tests/wire_*.rs`.

use std::{format, vec, vec::Vec};

use super::{
    ElectionFlags, ElectionState, Error, ExchangeType, Flags, Full, Header, KeyState, NodeState, NotifyType,
    PayloadType, Payloads, Writer,
    auth::ED25519_ALGORITHM,
    gsa::{self, Policies, Policy},
    kd::Bags,
    message::Contents,
    notify::{MAX_COOKIE_LEN, lists_identity_hash, parse_cookie, parse_invalid_ke, write_invalid_ke},
    numbers::{self, SecurityProtocol, TransformType},
    payload::{Delete, Id, MAX_ID_LEN, Notify, write_notify},
    reader::Reader,
    rekey::Update,
    sa::{Purpose, choose},
    size::{MAX_RETIRING, Shape, StateShape},
    sk,
    state::{Carrier, State},
    substructure::{write_long, write_short},
};

/// A substructure with its Length.
fn sub(head: [u8; 2], body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&head[..], &length, body].concat()
}

fn transform(last: bool, ty: TransformType, id: u16, attributes: &[u8]) -> Vec<u8> {
    let id = id.to_be_bytes();
    sub(
        [if last { 0 } else { 3 }, 0],
        &[&[ty.0, 0, id[0], id[1]], attributes].concat(),
    )
}

fn long(ty: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).unwrap();
    [&ty.to_be_bytes()[..], &length.to_be_bytes(), value].concat()
}

/// The wildcard of IPv4 (PROTOCOL.md section 6).
const SELECTOR: [u8; 16] = [7, 0, 0, 16, 0, 0, 255, 255, 0, 0, 0, 0, 255, 255, 255, 255];
/// Key Length, an attribute that no transform of ours has.
const KEY_LENGTH: [u8; 4] = [0x80, 14, 1, 0];

fn encr(last: bool, attributes: &[u8]) -> Vec<u8> {
    transform(
        last,
        TransformType::ENCR,
        numbers::ENCR_CHACHA20_POLY1305,
        attributes,
    )
}

fn kwa(last: bool, attributes: &[u8]) -> Vec<u8> {
    transform(
        last,
        TransformType::KWA,
        numbers::KW_CHACHA20_POLY1305,
        attributes,
    )
}

/// A Rekey SA's policy with these selectors and transforms.
fn rekey_sa(selectors: [&[u8]; 2], transforms: &[Vec<u8>]) -> Result<Policy, Error> {
    let lifetime = long(numbers::GSA_KEY_LIFETIME, &[0, 0, 0, 9]);
    let body = [
        &[1; 16][..],
        selectors[0],
        selectors[1],
        &transforms.concat(),
        &lifetime,
    ]
    .concat();
    policy(&sub([SecurityProtocol::GIKE_UPDATE.0, 16], &body))
}

fn policy(octets: &[u8]) -> Result<Policy, Error> {
    Policies::new(octets).next().unwrap()
}

/// RFC 9838 sections 4.4 and 4.5: a Rekey SA has an SPI of 16 octets, a traffic key one of 4.
#[test]
fn spis_have_their_size() {
    for (protocol, size) in [
        (SecurityProtocol::GIKE_UPDATE, 4),
        (SecurityProtocol::ROUTING, 16),
        (SecurityProtocol::GIKE_UPDATE, 15),
        (SecurityProtocol::ROUTING, 0),
    ] {
        let octets = sub([protocol.0, size], &[1; 200]);
        assert_eq!(policy(&octets), Err(Error::BadLength), "{protocol:?} {size}");
        assert_eq!(
            Bags::new(&octets).next().unwrap().err(),
            Some(Error::BadLength),
            "{protocol:?} {size}"
        );
    }
}

/// Each transform occurs once and without attributes; ENCR and KWA have to be there (PROTOCOL.md section 6).
#[test]
fn transforms_of_a_rekey_sa_are_the_suites() {
    let both = [&SELECTOR[..]; 2];
    let integ = |attributes: &[u8]| transform(true, TransformType::INTEG, numbers::INTEG_NONE, attributes);
    let gcauth = |id, attributes: &[u8]| transform(true, TransformType::GCAUTH, id, attributes);
    let algorithm = |octets: &[u8]| long(numbers::ATTRIBUTE_SIGNATURE_ALGORITHM, octets);
    let with = |third: Vec<u8>| rekey_sa(both, &[encr(false, &[]), kwa(false, &[]), third]);
    assert!(rekey_sa(both, &[encr(false, &[]), kwa(true, &[])]).is_ok());
    assert_eq!(rekey_sa(both, &[encr(true, &[])]), Err(Error::Missing));
    assert_eq!(rekey_sa(both, &[kwa(true, &[])]), Err(Error::Missing));
    assert_eq!(
        rekey_sa(both, &[encr(false, &KEY_LENGTH), kwa(true, &[])]),
        Err(Error::Unsupported)
    );
    assert_eq!(
        rekey_sa(both, &[encr(false, &[]), kwa(true, &KEY_LENGTH)]),
        Err(Error::Unsupported)
    );
    assert!(with(integ(&[])).is_ok());
    assert_eq!(with(integ(&KEY_LENGTH)), Err(Error::Unsupported));
    assert!(with(gcauth(numbers::GCAUTH_IMPLICIT, &[])).is_ok());
    assert_eq!(
        with(gcauth(numbers::GCAUTH_IMPLICIT, &KEY_LENGTH)),
        Err(Error::Unsupported)
    );
    let signature = numbers::GCAUTH_DIGITAL_SIGNATURE;
    assert!(with(gcauth(signature, &algorithm(&ED25519_ALGORITHM))).is_ok());
    assert_eq!(
        with(gcauth(signature, &algorithm(&ED25519_ALGORITHM[1..]))),
        Err(Error::Unsupported)
    );
    assert_eq!(with(gcauth(signature, &[])), Err(Error::Missing));
}

#[test]
fn the_transform_of_a_traffic_key_is_bare() {
    let tek = |attributes: &[u8]| {
        let prf = transform(true, TransformType::PRF, numbers::PRF_HMAC_SHA2_256, attributes);
        let state = [0xc0, 0, 0, 3];
        let lifetime = long(numbers::GSA_KEY_LIFETIME, &[0, 0, 0, 9]);
        let body = [&[0, 0, 0, 7][..], &SELECTOR, &SELECTOR, &prf, &state, &lifetime].concat();
        policy(&sub([SecurityProtocol::ROUTING.0, 4], &body))
    };
    assert!(tek(&[]).is_ok());
    assert_eq!(tek(&KEY_LENGTH), Err(Error::Unsupported));
}

/// A traffic selector is ignored on receipt but for its Length, which is 8 at least (RFC 7296 section 3.13.1).
#[test]
fn a_selector_has_eight_octets_at_least() {
    let with = |selector: &[u8]| rekey_sa([&SELECTOR, selector], &[encr(false, &[]), kwa(true, &[])]);
    assert!(with(&[7, 0, 0, 8, 0, 0, 0, 0]).is_ok());
    assert_eq!(with(&[7, 0, 0, 7, 0, 0, 0]), Err(Error::BadLength));
    assert_eq!(with(&[7, 0, 0, 4]), Err(Error::BadLength));
}

/// Every attribute of the group-wide policy occurs once, those that are ignored as well (PROTOCOL.md section 6).
#[test]
fn group_wide_attributes_occur_once() {
    let short = |ty: u16| [(ty | 0x8000).to_be_bytes(), [0, 5]].concat();
    for ty in [numbers::GWP_ATD, numbers::GWP_DTD, numbers::GWP_SENDER_ID_BITS] {
        let one = sub([SecurityProtocol::NONE.0, 0], &short(ty));
        let expected = (ty == numbers::GWP_DTD).then_some(5);
        assert_eq!(policy(&one), Ok(Policy::Group { dtd_s: expected }));
        let two = sub([SecurityProtocol::NONE.0, 0], &[short(ty), short(ty)].concat());
        assert_eq!(policy(&two), Err(Error::Duplicate), "{ty}");
    }
}

/// The header of another major version names it; the minor one does not matter (RFC 7296 section 2.5).
#[test]
fn another_major_version_is_named() {
    let mut octets = vec![0; 28];
    octets[27] = 28;
    for (version, parsed) in [(0x20, Ok(())), (0x2f, Ok(())), (0x31, Err(Error::BadVersion(3)))] {
        octets[17] = version;
        assert_eq!(Header::parse(&octets).map(|_| ()), parsed);
    }
}

/// The contents of a message that `fill` writes.
fn contents<T>(fill: impl FnOnce(&mut Writer<'_>), look: impl FnOnce(Contents<'_>) -> T) -> Result<T, Error> {
    let mut buffer = [0; 1232];
    let header = Header::new([1; 8], [2; 8], ExchangeType::IKE_SA_INIT, Flags::RESPONSE, 0);
    let mut writer = Writer::message(&mut buffer, &header);
    fill(&mut writer);
    let (_, payloads) = Payloads::of_message(writer.finish().unwrap()).unwrap();
    Contents::collect(payloads).map(look)
}

#[test]
fn certreq_names_what_is_wanted() {
    let wanted = |encodings: &[u8]| {
        contents(
            |writer| {
                encodings
                    .iter()
                    .for_each(|one| writer.payload(PayloadType::CERTREQ, &[*one]))
            },
            |contents| (contents.wants_raw_public_key, contents.wants_x509),
        )
    };
    assert_eq!(wanted(&[]), Ok((false, false)));
    assert_eq!(wanted(&[15]), Ok((true, false)));
    assert_eq!(wanted(&[4]), Ok((false, true)));
    assert_eq!(wanted(&[4, 15]), Ok((true, true)));
    assert_eq!(wanted(&[7]), Ok((false, false)));
}

/// D for protocol 1 ends the IKE SA, whatever else is deleted beside it.
#[test]
fn delete_of_the_ike_sa_is_told_from_others() {
    let (ike, esp): (&[u8], &[u8]) = (&[1, 0, 0, 0], &[3, 4, 0, 1, 0, 0, 0, 9]);
    assert_eq!(
        [ike, esp].map(|body| Delete::parse(body).unwrap().is_ike_sa()),
        [true, false]
    );
    let deletes = |bodies: &[&[u8]]| {
        contents(
            |writer| {
                bodies
                    .iter()
                    .for_each(|body| writer.payload(PayloadType::DELETE, body))
            },
            |contents| contents.deletes_ike_sa,
        )
    };
    assert_eq!(deletes(&[]), Ok(false));
    assert_eq!(deletes(&[esp]), Ok(false));
    assert_eq!(
        [deletes(&[ike]), deletes(&[ike, esp]), deletes(&[esp, ike])],
        [Ok(true); 3]
    );
}

#[test]
fn notifies_are_what_they_say() {
    let of = |ty, data: &[u8]| {
        contents(
            |writer| write_notify(writer, ty, data),
            |contents| {
                [
                    contents.redirected_from.is_some(),
                    contents.childless_supported,
                    contents.initial_contact,
                    contents.identity_hash,
                    contents.handoff.is_some(),
                    contents.error.is_some(),
                ]
            },
        )
    };
    let gateway = [241, 6, 192, 0, 2, 1, 3, 80];
    for (at, (ty, data)) in [
        (NotifyType::REDIRECTED_FROM, &gateway[..]),
        (NotifyType::CHILDLESS_IKEV2_SUPPORTED, &[]),
        (NotifyType::INITIAL_CONTACT, &[]),
        (NotifyType::SIGNATURE_HASH_ALGORITHMS, &[0, 5]),
        (NotifyType::HANDOFF, &[8; 8]),
        (NotifyType::TEMPORARY_FAILURE, &[]),
    ]
    .into_iter()
    .enumerate()
    {
        let mut expected = [false; 6];
        expected[at] = true;
        assert_eq!(of(ty, data), Ok(expected), "{ty:?}");
    }
    assert_eq!(of(NotifyType(40_000), &[]), Ok([false; 6]));
    assert!(of(NotifyType::HANDOFF, &[8; 7]).is_err());
}

/// RFC 7427 section 4: one entry of many is enough, in whichever notify it stands.
#[test]
fn the_identity_hash_is_found_among_others() {
    assert_eq!(lists_identity_hash(&[]), Ok(false));
    assert_eq!(lists_identity_hash(&[0, 5]), Ok(true));
    assert_eq!(lists_identity_hash(&[0, 2, 0, 5, 0, 4]), Ok(true));
    assert_eq!(lists_identity_hash(&[0, 2, 0, 4]), Ok(false));
    assert_eq!(lists_identity_hash(&[0, 5, 0]), Err(Error::Truncated));
    let both = |first: &[u8], second: &[u8]| {
        contents(
            |writer| {
                write_notify(writer, NotifyType::SIGNATURE_HASH_ALGORITHMS, first);
                write_notify(writer, NotifyType::SIGNATURE_HASH_ALGORITHMS, second);
            },
            |contents| contents.identity_hash,
        )
    };
    assert_eq!([both(&[0, 5], &[0, 2]), both(&[0, 2], &[0, 5])], [Ok(true); 2]);
    assert_eq!(both(&[0, 2], &[0, 3]), Ok(false));
}

/// RFC 7296 section 3.10.1: error types lie below 16384.
#[test]
fn errors_lie_below_16384() {
    assert!(NotifyType(16_383).is_error() && !NotifyType(16_384).is_error());
}

#[test]
fn invalid_ke_names_the_method_that_is_taken() {
    let told = contents(
        |writer| write_invalid_ke(writer, 31),
        |contents| (contents.invalid_ke, contents.error),
    );
    assert_eq!(told, Ok((Some(31), Some(NotifyType::INVALID_KE_PAYLOAD))));
    assert_eq!(parse_invalid_ke(&[0x12, 0x34]), Ok(0x1234));
    assert_eq!(parse_invalid_ke(&[0; 3]), Err(Error::BadLength));
}

#[test]
fn lengths_have_their_limits() {
    assert_eq!(parse_cookie(&[]), Err(Error::BadLength));
    assert_eq!(parse_cookie(&[7]), Ok(&[7][..]));
    assert!(parse_cookie(&[7; MAX_COOKIE_LEN]).is_ok());
    assert_eq!(parse_cookie(&[7; MAX_COOKIE_LEN + 1]), Err(Error::BadLength));
    let id = |len: usize| Id::parse(&vec![2; len + 4]).map(|id| id.data.len());
    assert_eq!((id(0), id(1)), (Err(Error::BadLength), Ok(1)));
    assert_eq!(
        (id(MAX_ID_LEN), id(MAX_ID_LEN + 1)),
        (Ok(MAX_ID_LEN), Err(Error::BadLength))
    );
}

/// PROTOCOL.md section 2: private notifies have protocol 0 and no SPI.
#[test]
fn private_notifies_have_neither_protocol_nor_spi() {
    for (body, private) in [
        (&[0, 0, 0xc7, 0x10, 9][..], true),
        (&[1, 0, 0xc7, 0x10, 9], false),
        (&[0, 1, 0xc7, 0x10, 9], false),
    ] {
        assert_eq!(
            Notify::parse(body).unwrap().private_data().is_ok(),
            private,
            "{body:?}"
        );
    }
}

#[test]
fn a_flag_that_is_set_stays_set() {
    let keyed = ElectionFlags::KEYED;
    assert_eq!(keyed.with(ElectionFlags::KEYED, true), keyed);
    assert_eq!(keyed.with(ElectionFlags::KEYED, false), keyed);
    assert_eq!(keyed.with(ElectionFlags::LEAVING, true), ElectionFlags(5));
}

/// PROTOCOL.md section 5.1: the announced interval times the multiplier, at most 300 s.
#[test]
fn hold_is_interval_times_multiplier() {
    let hold = |interval_ms, hold_multiplier| {
        ElectionState {
            interval_ms,
            hold_multiplier,
            ..crate::testing::claim(NodeState::Member)
        }
        .hold_ms()
    };
    assert_eq!(
        [hold(1000, 4), hold(60_000, 4), hold(60_000, 6), hold(0, 4)],
        [4000, 240_000, 300_000, 0]
    );
}

/// A key update is a request of exchange 41 (PROTOCOL.md section 7).
#[test]
fn an_update_is_a_request_of_its_exchange() {
    let update = |exchange, flags| {
        let mut buffer = [0; 200];
        let header = Header::new([1; 8], [2; 8], exchange, flags, 0);
        let (mut writer, open) = sk::begin(&mut buffer, &header);
        writer.payload(PayloadType::GSA, &[]);
        writer.payload(PayloadType::KD, &[]);
        let message = sk::finish(writer, open).unwrap();
        Update::parse(message).map(|_| ())
    };
    assert_eq!(update(ExchangeType::GSA_REKEY, Flags::INITIATOR), Ok(()));
    for (exchange, flags) in [
        (ExchangeType::GSA_INBAND_REKEY, Flags::INITIATOR),
        (ExchangeType::GSA_REKEY, Flags::NONE),
        (ExchangeType::GSA_REKEY, Flags::RESPONSE),
        (ExchangeType::GSA_REKEY, Flags::INITIATOR_RESPONSE),
    ] {
        assert_eq!(
            update(exchange, flags),
            Err(Error::BadValue),
            "{exchange:?} {flags:?}"
        );
    }
}

/// A proposal for this protocol with this SPI, these transforms, and this count of them.
fn proposal(
    protocol: SecurityProtocol,
    spi: &[u8],
    transforms: &[Vec<u8>],
    count: u8,
    behind: &[u8],
) -> Vec<u8> {
    let spi_size = u8::try_from(spi.len()).unwrap();
    sub(
        [0, 0],
        &[
            &[1, protocol.0, spi_size, count],
            spi,
            &transforms.concat(),
            behind,
        ]
        .concat(),
    )
}

/// A proposal counts for the IKE SA alone and without SPI; its number of transforms has to be right.
#[test]
fn a_proposal_is_for_the_ike_sa() {
    let transforms = [
        encr(false, &[]),
        transform(false, TransformType::PRF, numbers::PRF_HMAC_SHA2_256, &[]),
        transform(false, TransformType::KE, numbers::KE_CURVE25519, &[]),
        kwa(true, &[]),
    ];
    let chosen = |octets: &[u8]| choose(octets, Some(Purpose::Group)).map(|choice| choice.is_some());
    let ike = SecurityProtocol::IKE;
    assert_eq!(chosen(&proposal(ike, &[], &transforms, 4, &[])), Ok(true));
    assert_eq!(chosen(&proposal(ike, &[9; 8], &transforms, 4, &[])), Ok(false));
    assert_eq!(
        chosen(&proposal(SecurityProtocol(3), &[], &transforms, 4, &[])),
        Ok(false)
    );
    assert_eq!(
        chosen(&proposal(ike, &[], &transforms, 3, &[])),
        Err(Error::BadLength)
    );
    assert_eq!(
        chosen(&proposal(ike, &[], &transforms, 5, &[])),
        Err(Error::BadLength)
    );
    assert!(chosen(&proposal(ike, &[], &transforms, 4, &[0])).is_err());
    assert!(chosen(&proposal(ike, &[], &[], 0, &[0])).is_err());
}

/// PROTOCOL.md section 2: the largest message is that of the largest type, and Retiring keys fill what is left, six at most.
#[test]
fn sizes_bound_what_is_sent() {
    let shape = Shape {
        own_id: 5,
        peer_id: 64,
        group: 3,
        ipv6: false,
        protocols: 1,
        signatures: true,
        controller_signatures: true,
        evicted: 8,
    };
    let each = [
        shape.announcement(),
        shape.auth_request(),
        shape.auth_response(None),
        shape.auth_refusal(),
        shape.registration_request(),
        shape.unicast_state(Some(StateShape::NEEDED)),
        shape.update(StateShape::NEEDED),
    ];
    assert_eq!(shape.largest(), each.into_iter().max().unwrap());
    let one = shape.update(StateShape {
        retiring: 1,
        ..StateShape::NEEDED
    }) - shape.update(StateShape::NEEDED);
    let limit = super::MAX_DATAGRAM;
    for (octets, fit) in [
        (0, MAX_RETIRING),
        (limit - MAX_RETIRING * one, MAX_RETIRING),
        (limit, 0),
        (limit + 1, 0),
    ] {
        assert_eq!(Shape::retiring_that_fit(octets), fit);
    }
    for fit in 0..MAX_RETIRING {
        assert_eq!(Shape::retiring_that_fit(limit - fit * one), fit);
        assert_eq!(Shape::retiring_that_fit(limit - fit * one - (one - 1)), fit);
    }
}

/// What cannot be written latches: the message is refused as a whole.
#[test]
fn a_value_that_is_too_long_for_its_field_fails_the_message() {
    let mut buffer = [0; 200];
    let header = Header::new([1; 8], [2; 8], ExchangeType::IKE_SA_INIT, Flags::RESPONSE, 0);
    let mut writer = Writer::message(&mut buffer, &header);
    assert!(!writer.is_full());
    write_long(&mut writer, 1, &vec![0; 65_536]);
    assert!(writer.is_full());
    assert_eq!(writer.finish().err(), Some(Full));
    assert_eq!(format!("{Full}"), "no room for the message");
}

#[test]
fn attributes_have_the_format_bit() {
    let written = |fill: fn(&mut Writer<'_>)| {
        let mut buffer = [0; 100];
        let header = Header::new([1; 8], [2; 8], ExchangeType::IKE_SA_INIT, Flags::RESPONSE, 0);
        let mut writer = Writer::message(&mut buffer, &header);
        fill(&mut writer);
        writer.finish().unwrap()[28..].to_vec()
    };
    assert_eq!(written(|writer| write_short(writer, 14, 256)), [0x80, 14, 1, 0]);
    assert_eq!(
        written(|writer| write_short(writer, 0x800e, 256)),
        [0x80, 14, 1, 0]
    );
    assert_eq!(
        written(|writer| write_long(writer, 0x800e, &[7])),
        [0, 14, 0, 1, 7]
    );
}

#[test]
fn a_reader_knows_what_is_left() {
    let mut reader = Reader::new(&[1, 2, 3]);
    assert_eq!(reader.len(), 3);
    assert_eq!(reader.u16(), Ok(0x0102));
    assert_eq!((reader.len(), reader.is_empty()), (1, false));
}

/// There is one Pending and one Active key at most; of several Retiring ones the first is found.
#[test]
fn a_states_keys_are_found_by_their_state() {
    let mut buffer = [0; 600];
    let header = Header::new([1; 8], [2; 8], ExchangeType::GSA_REKEY, Flags::INITIATOR, 0);
    let mut writer = Writer::message(&mut buffer, &header);
    let gsa = writer.begin(PayloadType::GSA);
    for id in [7, 8] {
        let policy = gsa::TekPolicy {
            id,
            state: KeyState::Retiring,
            lifetime_s: 9,
            protocols: None,
        };
        gsa::write_tek(&mut writer, &policy);
    }
    writer.end(gsa);
    writer.payload(PayloadType::KD, &[]);
    let (_, payloads) = Payloads::of_message(writer.finish().unwrap()).unwrap();
    let contents = Contents::collect(payloads).unwrap();
    let state = State::parse(contents.gsa.unwrap(), contents.kd.unwrap(), Carrier::Multicast).unwrap();
    let found = |wanted| state.tek_in(wanted).map(|tek| tek.policy.id);
    assert_eq!(
        [KeyState::Pending, KeyState::Active, KeyState::Retiring].map(found),
        [None, None, Some(7)]
    );
}
