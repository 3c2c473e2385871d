//! Reading what was written gives what was meant, and the octets are where the texts want them.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    missing_docs
)]

mod wire_support;

use std::net::{IpAddr, SocketAddr};

use karp_core::config::KeyUse;
use karp_core::wire::election::{Announcement, Draft};
use karp_core::wire::gsa::{
    self, GcAuth, KeyState, Keyed, Policies, Policy, ProtocolList, RekeySaPolicy, TekPolicy,
};
use karp_core::wire::notify::{
    ElectionFlags, ElectionState, Evicted, GroupMac, Handoff, Instance, KeyInUse, KeysInUse, NodeState,
    RekeyRequest,
};
use karp_core::wire::numbers::*;
use karp_core::wire::payload::{self, Delete, Id, KeyExchange, Notify};
use karp_core::wire::redirect::{self, Redirect, parse_redirected_from};
use karp_core::wire::rekey::Update;
use karp_core::wire::sa::{self, Choice, Purpose};
use karp_core::wire::size::StateShape;
use karp_core::wire::state::{Carrier, State};
use karp_core::wire::{Error, Flags, Full, Header, Payloads, Writer, auth, kd, sk};
use proptest::prelude::*;
use wire_support::*;

/// The data of the one notify that `write` writes.
fn notify_data(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let octets = clear(ExchangeType::INFORMATIONAL, Flags::NONE, 0, write);
    let payloads: Vec<_> = Payloads::of_message(&octets)
        .unwrap()
        .1
        .map(Result::unwrap)
        .collect();
    let [payload] = payloads[..] else {
        panic!("one payload")
    };
    Notify::parse(payload.body)
        .unwrap()
        .private_data()
        .unwrap()
        .to_vec()
}

fn loose(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut room = [0; 2048];
    let mut writer = Writer::new(&mut room);
    write(&mut writer);
    writer.finish().unwrap().to_vec()
}

fn election_state() -> impl Strategy<Value = ElectionState> {
    let states = prop_oneof![
        Just(NodeState::Initial),
        Just(NodeState::Member),
        Just(NodeState::Gcks)
    ];
    let spi = proptest::option::of(any::<[u8; 16]>().prop_filter("not zero", |spi| *spi != [0; 16]));
    let small = (any::<u8>(), any::<u8>(), any::<u16>(), any::<u16>(), any::<u64>());
    (states, small, spi, any::<u32>(), any::<u32>()).prop_map(
        |(state, small, rekey_sa, generation, members)| {
            let (flags, hold_multiplier, priority, interval_ms, router_id) = small;
            ElectionState {
                state,
                flags: ElectionFlags(flags),
                hold_multiplier,
                priority,
                interval_ms,
                router_id,
                rekey_sa,
                generation,
                members,
            }
        },
    )
}

fn key_state() -> impl Strategy<Value = KeyState> {
    prop_oneof![
        Just(KeyState::Pending),
        Just(KeyState::Active),
        Just(KeyState::Retiring)
    ]
}

fn protocol_list() -> impl Strategy<Value = ProtocolList> {
    proptest::collection::btree_map(any::<u16>(), any::<u16>(), 0..=8).prop_map(|entries| {
        let mut list = ProtocolList::new();
        for (protocol, algorithm) in entries {
            let keyed = Keyed {
                protocol: RoutingProtocol(protocol),
                algorithm: Algorithm(algorithm),
            };
            list.push(keyed).unwrap();
        }
        list
    })
}

fn tek_policy() -> impl Strategy<Value = TekPolicy> {
    (1_u16.., key_state(), any::<u32>(), protocol_list()).prop_map(|(id, state, lifetime_s, list)| {
        TekPolicy {
            id,
            state,
            lifetime_s,
            protocols: (state != KeyState::Retiring).then_some(list),
        }
    })
}

fn rekey_sa_policy() -> impl Strategy<Value = RekeySaPolicy> {
    let gcauth = proptest::option::of(prop_oneof![Just(GcAuth::Implicit), Just(GcAuth::Signature)]);
    let spi = any::<[u8; 16]>().prop_filter("not zero", |spi| *spi != [0; 16]);
    (spi, gcauth, any::<u32>(), any::<u32>()).prop_map(|(spi, gcauth, lifetime_s, initial_generation)| {
        RekeySaPolicy {
            spi,
            gcauth,
            lifetime_s,
            initial_generation,
        }
    })
}

fn socket() -> impl Strategy<Value = SocketAddr> {
    (any::<IpAddr>(), any::<u16>()).prop_map(|(address, port)| SocketAddr::new(address, port))
}

proptest! {
    #[test]
    fn headers(spi_i: [u8; 8], spi_r: [u8; 8], next: u8, exchange: u8, flags: u8, message_id: u32, extra in 0_usize..64) {
        let header = Header {
            spi_i,
            spi_r,
            next_payload: PayloadType(next),
            exchange: ExchangeType(exchange),
            flags: Flags(flags),
            message_id,
            length: u32::try_from(28 + extra).unwrap(),
        };
        let datagram = [&header.encode()[..], &vec![0; extra]].concat();
        prop_assert_eq!(Header::parse(&datagram), Ok(header));
        prop_assert_eq!(header.rekey_sa_spi().to_vec(), [spi_i, spi_r].concat());
    }

    #[test]
    fn notifies(
        state in election_state(),
        instance: [u8; 8],
        sequence: u32,
        keys in proptest::collection::vec((1_u16.., any::<bool>(), any::<[u8; 8]>()), 0..=8),
        nodes in proptest::collection::vec(any::<[u8; 16]>(), 0..=8),
        mac: ([u8; 16], [u8; 16]),
        request: (u16, u16),
    ) {
        prop_assert_eq!(ElectionState::parse(&notify_data(|w| state.write(w))), Ok(state));
        let value = Instance { instance, next_sequence: sequence };
        prop_assert_eq!(Instance::parse(&notify_data(|w| value.write(w))), Ok(value));
        let usage = |at, sent| match (at, sent) {
            (0, true) => KeyUse::Sending,
            (_, true) => KeyUse::Stopped,
            (_, false) => KeyUse::Unsent,
        };
        let keys = keys.into_iter().enumerate();
        let keys = keys.map(|(at, (id, sent, check))| KeyInUse { id, usage: usage(at, sent), check });
        let value = KeysInUse(keys.collect());
        prop_assert_eq!(KeysInUse::parse(&notify_data(|w| value.write(w))), Ok(value));
        let value = Evicted(nodes.into_iter().collect());
        prop_assert_eq!(Evicted::parse(&notify_data(|w| value.write(w))), Ok(value));
        let value = GroupMac { spi: mac.0, mac: mac.1 };
        prop_assert_eq!(GroupMac::parse(&notify_data(|w| { value.write(w); })), Ok(value));
        let value = Handoff(instance);
        prop_assert_eq!(Handoff::parse(&notify_data(|w| value.write(w))), Ok(value));
        let value = RekeyRequest { protocol: RoutingProtocol(request.0), reason: RekeyReason(request.1) };
        prop_assert_eq!(RekeyRequest::parse(&notify_data(|w| value.write(w))), Ok(value));
    }

    #[test]
    fn redirects(to in socket(), nonce in proptest::collection::vec(any::<u8>(), 16..=256)) {
        let value = Redirect { to, nonce: &nonce };
        let data = notify_data(|w| value.write(w));
        prop_assert_eq!(Redirect::parse(&data), Ok(value));
        let data = notify_data(|w| redirect::write_redirected_from(w, to));
        prop_assert_eq!(parse_redirected_from(&data), Ok(to));
    }

    #[test]
    fn simple_payloads(ty: u8, data in proptest::collection::vec(any::<u8>(), 1..=64), method: u16) {
        let octets = clear(ExchangeType::IKE_SA_INIT, Flags::INITIATOR, 0, |writer| {
            Id { ty: IdType(ty), data: &data }.write(writer, PayloadType::ID_I);
            KeyExchange { method, data: &data }.write(writer);
            payload::write_delete_ike(writer);
            payload::write_group(writer, &data);
        });
        let payloads: Vec<_> = Payloads::of_message(&octets).unwrap().1.map(Result::unwrap).collect();
        prop_assert_eq!(Id::parse(payloads[0].body), Ok(Id { ty: IdType(ty), data: &data }));
        prop_assert_eq!(KeyExchange::parse(payloads[1].body), Ok(KeyExchange { method, data: &data }));
        prop_assert!(Delete::parse(payloads[2].body).unwrap().is_ike_sa());
        prop_assert_eq!(Id::parse_group(payloads[3].body), Ok(&data[..]));
        prop_assert_eq!(payloads[3].next, PayloadType::NONE);
    }

    #[test]
    fn policies(rekey_sa in rekey_sa_policy(), tek in tek_policy(), dtd in 1_u16.., ipv6: bool) {
        let (source, destination) = sockets(ipv6);
        let octets = loose(|writer| {
            gsa::write_tek(writer, &tek);
            gsa::write_group(writer, dtd);
            gsa::write_rekey_sa(writer, &rekey_sa, source, destination);
        });
        let read: Result<Vec<_>, _> = Policies::new(&octets).collect();
        let written = vec![Policy::Tek(tek), Policy::Group { dtd_s: Some(dtd) }, Policy::RekeySa(rekey_sa)];
        prop_assert_eq!(read, Ok(written));
    }

    #[test]
    fn announcements(
        instance in any::<[u8; 8]>().prop_filter("not zero", |instance| *instance != [0; 8]),
        sequence: u32,
        group in proptest::collection::vec(any::<u8>(), 1..=64),
        id in proptest::collection::vec(any::<u8>(), 1..=64),
        state in election_state(),
        handoff in proptest::option::of(any::<[u8; 8]>()),
        signature in proptest::option::of(any::<[u8; 32]>()),
        macs in proptest::collection::btree_set(any::<[u8; 16]>(), 0..=2),
    ) {
        let macs: Vec<_> = macs.into_iter().collect();
        let id = Id { ty: IdType::FQDN, data: &id };
        let handoff = handoff.map(Handoff);
        let signed = signature.is_some();
        let mut room = [0; 1232];
        let draft = Draft { instance, sequence, group: &group, id, state, handoff, signed, macs: &macs };
        let mut unsigned = draft.write(&mut room).unwrap();
        let signature: Option<[u8; 64]> = signature.map(|half| [half, half].concat().try_into().unwrap());
        let mut covered = Vec::new();
        if let Some(signature) = &signature {
            covered.push(unsigned.signed_octets().unwrap().to_vec());
            unsigned.set_signature(signature);
        }
        for (index, spi) in macs.iter().enumerate() {
            covered.push(unsigned.mac_octets(index).unwrap().to_vec());
            unsigned.set_mac(index, spi);
        }
        let octets = unsigned.into_octets();
        let read = Announcement::parse(octets).unwrap();
        prop_assert_eq!((read.instance, read.sequence, read.group), (instance, sequence, &group[..]));
        prop_assert_eq!((read.id, read.state, read.handoff), (id, state, handoff));
        prop_assert_eq!(read.signature.map(|at| at.signature), signature.as_ref());
        let read_macs: Vec<_> = read.macs.iter().map(|at| at.value).collect();
        let written: Vec<_> = macs.iter().map(|spi| GroupMac { spi: *spi, mac: *spi }).collect();
        prop_assert_eq!(read_macs, written);
        // Both sides compute over the same octets.
        let offsets = read.signature.map(|at| at.offset).into_iter().chain(read.macs.iter().map(|at| at.offset));
        let read_covered: Vec<_> = offsets.map(|offset| octets[..offset].to_vec()).collect();
        prop_assert_eq!(read_covered, covered);
    }

    #[test]
    fn states(
        rekey_sa in proptest::option::of(rekey_sa_policy()),
        auth_key: [u8; 32],
        dtd in proptest::option::of(1_u16..),
        policies in proptest::collection::vec(tek_policy(), 0..=8),
        unicast: bool,
    ) {
        let mut written: Vec<TekPolicy> = Vec::new();
        for policy in policies {
            let again = |other: &TekPolicy| {
                other.id == policy.id || other.state == policy.state && policy.state != KeyState::Retiring
            };
            if !written.iter().any(again) {
                written.push(policy);
            }
        }
        let rekey_sa = rekey_sa.map(|policy| RekeySaPolicy {
            gcauth: unicast.then_some(policy.gcauth.unwrap_or(GcAuth::Implicit)),
            ..policy
        });
        let signed = rekey_sa.is_some_and(|policy| policy.gcauth == Some(GcAuth::Signature));
        let (source, destination) = sockets(false);
        let gsa = loose(|writer| {
            written.iter().for_each(|policy| gsa::write_tek(writer, policy));
            rekey_sa.iter().for_each(|policy| gsa::write_rekey_sa(writer, policy, source, destination));
            dtd.into_iter().for_each(|dtd| gsa::write_group(writer, dtd));
        });
        let mut slots = Vec::new();
        let mut kd = loose(|writer| {
            if signed {
                kd::write_auth_key(writer, &auth_key);
            }
            for policy in written.iter().filter(|policy| policy.state != KeyState::Retiring) {
                slots.push((Some(policy.id), kd::write_tek(writer, policy.id)));
            }
            if let Some(policy) = rekey_sa {
                slots.push((None, kd::write_rekey_sa(writer, &policy.spi)));
            }
        });
        for (number, (_, slot)) in (1..).zip(&slots) {
            let parts = slot.parts(&mut kd).unwrap();
            parts.nonce.fill(number);
            parts.text.fill(number + 1);
            parts.tag.fill(number + 2);
        }
        let carrier = if unicast { Carrier::Unicast } else { Carrier::Multicast };
        let state = State::parse(&gsa, &kd, carrier).unwrap();
        prop_assert_eq!(state.dtd_s, dtd);
        let read: Vec<_> = state.teks.iter().map(|tek| tek.policy.clone()).collect();
        prop_assert_eq!(read, written);
        prop_assert_eq!(state.rekey_sa.as_ref().map(|sa| sa.policy), rekey_sa);
        prop_assert_eq!(state.rekey_sa.as_ref().and_then(|sa| sa.auth_key), signed.then_some(auth_key));
        for (number, (id, slot)) in (1..).zip(&slots) {
            let wrapped = match id {
                Some(id) => state.teks.iter().find(|tek| tek.policy.id == *id).unwrap().key.unwrap(),
                None => state.rekey_sa.as_ref().unwrap().keys.unwrap(),
            };
            prop_assert_eq!((wrapped.nonce, wrapped.tag), (&[number; 12], &[number + 2; 16]));
            prop_assert!(wrapped.text.len() == slot.key_len && wrapped.text.iter().all(|octet| *octet == number + 1));
            prop_assert_eq!(wrapped.aad(), slot.aad.clone());
        }
    }

    #[test]
    fn a_small_buffer_is_full_and_nothing_else(size in 0_usize..300) {
        let mut room = vec![0xee; size];
        let state = state_of(&largest_shape(false, true));
        let id = Id { ty: IdType::FQDN, data: &[1; 30] };
        let draft = Draft {
            instance: SPI_I, sequence: 1, group: &[2; 30], id, state, handoff: None, signed: true, macs: &[REKEY_SPI],
        };
        let length = 28 + 38 + 38 + 48 + 80 + 40;
        match draft.write(&mut room) {
            Ok(unsigned) => prop_assert_eq!(unsigned.into_octets().len(), length),
            Err(Full) => prop_assert!(size < length),
        }
    }

    #[test]
    fn padding_is_taken_off(text in proptest::collection::vec(any::<u8>(), 0..64), pad in 0_u8..=255) {
        let padded = [&text[..], &vec![0xaa; usize::from(pad)], &[pad]].concat();
        prop_assert_eq!(sk::unpad(&padded), Ok(&text[..]));
        prop_assert_eq!(sk::unpad(&padded[usize::from(pad) + text.len()..]).is_ok(), pad == 0);
    }
}

#[test]
fn offers_and_answers() {
    for purpose in [Purpose::Group, Purpose::Pairwise] {
        let octets = clear(ExchangeType::IKE_SA_INIT, Flags::INITIATOR, 0, |w| {
            sa::write_offer(w, purpose)
        });
        let body = contents_of_clear(&octets).unwrap().sa.unwrap();
        let choice = Choice {
            number: 1,
            purpose,
            integ_none: false,
            ke: 31,
        };
        assert_eq!(sa::choose(body, None), Ok(Some(choice)));
        assert_eq!(sa::choose(body, Some(purpose)), Ok(Some(choice)));
        assert_eq!(sa::seeks_group(body), Ok(purpose == Purpose::Group));
        assert_eq!(sa::check_answer(body, purpose), Ok(()));
        let other = if purpose == Purpose::Group {
            Purpose::Pairwise
        } else {
            Purpose::Group
        };
        assert_eq!(sa::choose(body, Some(other)), Ok(None));
        assert_eq!(sa::check_answer(body, other), Err(Error::BadValue));
        let length = if purpose == Purpose::Group {
            sa::GROUP_LEN
        } else {
            sa::PAIRWISE_LEN
        };
        assert_eq!(body.len(), length);
    }
}

/// A proposal from transforms of (type, id, attributes).
fn proposal(last: u8, number: u8, transforms: &[(u8, u16, &[u8])]) -> Vec<u8> {
    let mut octets = Vec::new();
    for (index, (ty, id, attributes)) in transforms.iter().enumerate() {
        let more = if index + 1 == transforms.len() { 0 } else { 3 };
        let length = u8::try_from(8 + attributes.len()).unwrap();
        octets.extend([more, 0, 0, length, *ty, 0]);
        octets.extend(id.to_be_bytes());
        octets.extend(*attributes);
    }
    let length = u16::try_from(8 + octets.len()).unwrap().to_be_bytes();
    let count = u8::try_from(transforms.len()).unwrap();
    [&[last, 0, length[0], length[1], number, 1, 0, count][..], &octets].concat()
}

/// PROTOCOL.md section 3: what an unknown thing spoils.
#[test]
fn proposals_are_chosen_by_the_rules() {
    const KEY_LENGTH: &[u8] = &[0x80, 14, 1, 0];
    let (encr, prf, ke, kwa) = (
        (1, 28, &[][..]),
        (2, 5, &[][..]),
        (4, 31, &[][..]),
        (13, 1024, &[][..]),
    );
    let choice = |transforms: &[(u8, u16, &[u8])]| sa::choose(&proposal(0, 1, transforms), None).unwrap();
    let purpose = |transforms: &[(u8, u16, &[u8])]| choice(transforms).map(|choice| choice.purpose);
    assert_eq!(purpose(&[kwa, ke, prf, encr]), Some(Purpose::Group));
    // An unknown ID, or an attribute that does not belong there, spoils its transform alone.
    assert_eq!(
        purpose(&[encr, (1, 20, KEY_LENGTH), prf, (2, 7, &[]), (4, 19, &[]), ke]),
        Some(Purpose::Pairwise)
    );
    assert_eq!(purpose(&[(1, 28, KEY_LENGTH), prf, ke]), None);
    assert_eq!(purpose(&[encr, prf, (4, 19, &[])]), None);
    // An unknown type spoils the proposal, and a key wrap that is not ours does not make it a pairwise one.
    assert_eq!(purpose(&[encr, prf, ke, (99, 1, &[])]), None);
    assert_eq!(purpose(&[encr, prf, ke, (6, 36, &[])]), None);
    assert_eq!(purpose(&[encr, prf, ke, (13, 1, &[])]), None);
    assert_eq!(
        sa::seeks_group(&proposal(0, 1, &[encr, prf, ke, (13, 1, &[])])),
        Ok(true)
    );
    // Integrity: none, or NONE.
    assert_eq!(
        choice(&[encr, prf, ke, (3, 0, &[])]).map(|choice| choice.integ_none),
        Some(true)
    );
    assert_eq!(purpose(&[encr, prf, ke, (3, 12, &[])]), None);
    // The first acceptable one counts; numbers rise by one.
    let first = proposal(2, 1, &[encr, prf]);
    let second = [first.clone(), proposal(0, 2, &[encr, prf, ke, kwa])].concat();
    assert_eq!(
        sa::choose(&second, None).unwrap().map(|choice| choice.number),
        Some(2)
    );
    let third = [first.clone(), proposal(0, 3, &[encr, prf, ke, kwa])].concat();
    assert_eq!(sa::choose(&third, None), Err(Error::BadValue));
    assert!(sa::choose(&first, None).is_err(), "another was promised");
    assert_eq!(sa::check_answer(&second, Purpose::Group), Err(Error::TooMany));
    // An answer with more than was offered.
    assert!(sa::check_answer(&proposal(0, 1, &[encr, encr, prf, ke]), Purpose::Pairwise).is_err());
    assert!(sa::check_answer(&proposal(0, 2, &[encr, prf, ke]), Purpose::Pairwise).is_err());
}

/// What the answer is when nothing but INTEG NONE is asked for, octet for octet.
#[test]
fn an_answer_repeats_the_number_and_integ_none() {
    let choice = Choice {
        number: 3,
        purpose: Purpose::Group,
        integ_none: true,
        ke: 31,
    };
    let octets = clear(ExchangeType::IKE_SA_INIT, Flags::RESPONSE, 0, |w| {
        sa::write_answer(w, &choice)
    });
    let expected = proposal(
        0,
        3,
        &[
            (1, 28, &[]),
            (2, 5, &[]),
            (3, 0, &[]),
            (4, 31, &[]),
            (13, 1024, &[]),
        ],
    );
    assert_eq!(octets[28..32], [0, 0, 0, 52]);
    assert_eq!(octets[32..], expected[..]);
}

/// The layouts of PROTOCOL.md section 6 and RFC 9838 sections 4.4 and 4.5, written out by hand.
#[test]
fn policies_and_bags_have_the_layout_of_the_texts() {
    let mut list = ProtocolList::new();
    list.push(Keyed {
        protocol: RoutingProtocol::OSPFV2,
        algorithm: Algorithm::HMAC_SHA256,
    })
    .unwrap();
    let tek = TekPolicy {
        id: 0x42,
        state: KeyState::Active,
        lifetime_s: 3600,
        protocols: Some(list),
    };
    let wildcard: &[u8] = &[7, 0, 0, 16, 0, 0, 255, 255, 0, 0, 0, 0, 255, 255, 255, 255];
    let expected = [
        &[201, 4, 0, 68, 0, 0, 0, 0x42][..],
        wildcard,
        wildcard,
        &[0, 0, 0, 8, 2, 0, 0, 5],
        &[0xc0, 0x00, 0, 2],
        &[0, 1, 0, 4, 0, 0, 0x0e, 0x10],
        &[0x40, 0x01, 0, 4, 0, 1, 0x04, 0x01],
    ];
    assert_eq!(loose(|w| gsa::write_tek(w, &tek)), expected.concat());

    let policy = RekeySaPolicy {
        spi: REKEY_SPI,
        gcauth: Some(GcAuth::Signature),
        lifetime_s: 86400,
        initial_generation: 9,
    };
    let (source, destination) = sockets(false);
    let expected = [
        &[6, 16, 0, 103][..],
        &REKEY_SPI,
        &[7, 17, 0, 16, 3, 0x50, 3, 0x50, 192, 0, 2, 1, 192, 0, 2, 1],
        &[7, 17, 0, 16, 3, 0x50, 3, 0x50, 224, 0, 0, 254, 224, 0, 0, 254],
        &[3, 0, 0, 8, 1, 0, 0, 28, 3, 0, 0, 8, 13, 0, 4, 0],
        &[
            0, 0, 0, 19, 14, 0, 0, 2, 0x00, 0x12, 0x00, 0x07, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70,
        ],
        &[0, 1, 0, 4, 0, 1, 0x51, 0x80, 0, 2, 0, 4, 0, 0, 0, 9],
    ];
    assert_eq!(
        loose(|w| gsa::write_rekey_sa(w, &policy, source, destination)),
        expected.concat()
    );
    assert_eq!(loose(|w| gsa::write_group(w, 30)), [0, 0, 0, 8, 0x80, 2, 0, 30]);

    let bag = loose(|w| {
        assert_eq!(
            kd::write_tek(w, 0x42).aad[..],
            [201, 4, 0, 80, 0, 0, 0, 0x42, 0, 0, 0, 0, 0, 0, 0, 0]
        )
    });
    assert_eq!(bag[..12], [201, 4, 0, 80, 0, 0, 0, 0x42, 0, 1, 0, 68]);
    assert_eq!(bag.len(), kd::TEK_BAG_LEN);
    let bag = loose(|w| assert_eq!(kd::write_rekey_sa(w, &REKEY_SPI).aad.len(), 28));
    assert_eq!(bag[..4], [6, 16, 0, 128]);
    assert_eq!(bag[20..24], [0, 1, 0, 104]);
    let bag = loose(|w| kd::write_auth_key(w, &[5; 32]));
    assert_eq!(bag[..10], [0, 0, 0, 52, 0, 2, 0, 44, 0x30, 0x2a]);
    assert_eq!(bag[20..], [5; 32]);
}

/// RFC 9838 section 2.4.1.1: lengths as if IV, padding and tag were not there, and zeros for the signature.
#[test]
fn an_update_signs_what_the_text_says() {
    let shape = largest_shape(false, true);
    let update = sealed(ExchangeType::GSA_REKEY, Flags::INITIATOR, |writer| {
        write_state(writer, &shape, StateShape::NEEDED, false);
        auth::write_signature(writer, &[0x99; 64]);
    });
    let signed = Update::parse(&update).unwrap().signed.unwrap();
    assert_eq!(signed.signature, &[0x99; 64]);
    let parts = signed.parts().concat();
    let inner = update.len() - sk::OVERHEAD;
    assert_eq!(parts.len(), 32 + inner);
    assert_eq!(parts[..24], update[..24]);
    assert_eq!(parts[24..28], u32::try_from(32 + inner).unwrap().to_be_bytes());
    assert_eq!(parts[28..30], update[28..30]);
    assert_eq!(parts[30..32], u16::try_from(4 + inner).unwrap().to_be_bytes());
    assert_eq!(parts[32..parts.len() - 64], update[40..signed.offset]);
    assert_eq!(parts[parts.len() - 64..], [0; 64]);
    // Padding of another sender changes the lengths of the message, not what is signed.
    let mut padded = update[..update.len() - 17].to_vec();
    padded.extend([0, 0, 0, 3]);
    padded.extend([0x66; 16]);
    let length = u32::try_from(padded.len()).unwrap();
    padded[24..28].copy_from_slice(&length.to_be_bytes());
    padded[30..32].copy_from_slice(&u16::try_from(length - 28).unwrap().to_be_bytes());
    assert_eq!(
        Update::parse(&padded).unwrap().signed.unwrap().parts().concat(),
        parts
    );
}

#[test]
fn an_update_ends_with_its_signature() {
    let shape = largest_shape(false, true);
    let update = sealed(ExchangeType::GSA_REKEY, Flags::INITIATOR, |writer| {
        write_state(writer, &shape, StateShape::NEEDED, false);
        auth::write_signature(writer, &[0x99; 64]);
        payload::write_notify(writer, NotifyType::INITIAL_CONTACT, &[]);
    });
    assert_eq!(Update::parse(&update), Err(Error::Misplaced));
}
