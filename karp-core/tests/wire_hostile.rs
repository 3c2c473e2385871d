//! Octets that nobody meant: no parser panics, and nothing that was cut or bent is taken for something
//! malformed.
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

use karp_core::wire::election::Announcement;
use karp_core::wire::gsa::Policies;
use karp_core::wire::kd::Bags;
use karp_core::wire::notify::{
    ElectionState, Evicted, GroupMac, Handoff, Instance, KeysInUse, RekeyRequest, lists_identity_hash,
    parse_cookie, parse_invalid_ke,
};
use karp_core::wire::payload::{Cert, CertReq, Delete, Id, KeyExchange, Notify, parse_nonce};
use karp_core::wire::redirect::{Redirect, parse_redirected_from};
use karp_core::wire::rekey::Update;
use karp_core::wire::sa::{self, Proposals, Purpose};
use karp_core::wire::size::StateShape;
use karp_core::wire::state::{Carrier, State};
use karp_core::wire::substructure::{Attributes, Transforms};
use karp_core::wire::{Error, Header, PayloadType, Payloads, auth, sk};
use proptest::prelude::*;
use wire_support::{contents_of_clear, contents_of_sealed, largest_shape, samples};

/// Hands octets to every parser, follows every accessor, and checks what a view promises.
fn parse_everything(octets: &[u8]) {
    let _ = Header::parse(octets);
    for payload in Payloads::new(PayloadType::SA, octets, 0) {
        let Ok(payload) = payload else { break };
        assert_eq!(
            octets.get(payload.body_offset()..payload.end()),
            Some(payload.body)
        );
    }
    if let Ok(contents) = contents_of_clear(octets) {
        assert!(contents.id_i.is_none_or(|identity| identity.id.data.len() <= 64));
    }
    let _ = contents_of_sealed(octets);
    if let Ok(announcement) = Announcement::parse(octets) {
        for mac in &announcement.macs {
            assert_eq!(octets[mac.offset..mac.offset + 16], mac.value.mac);
        }
        // Nothing stands behind the last MAC.
        assert!(
            announcement
                .macs
                .last()
                .is_none_or(|mac| mac.offset + 16 == octets.len())
        );
        if let Some(signature) = announcement.signature {
            assert_eq!(
                octets[signature.offset..signature.offset + 64],
                signature.signature[..]
            );
        }
    }
    if let Some(signed) = Update::parse(octets).ok().and_then(|update| update.signed) {
        assert_eq!(octets[signed.offset..signed.offset + 64], signed.signature[..]);
        assert!(signed.parts().concat().len() <= octets.len());
    }
    if sk::locate(octets).is_ok() {
        let mut copy = octets.to_vec();
        let parts = sk::split(&mut copy).unwrap();
        let lengths = parts.aad.len() + parts.iv.len() + parts.text.len() + parts.tag.len();
        assert_eq!(lengths, octets.len());
    }
    let _ = sk::split(&mut octets.to_vec());
    let _ = sk::unpad(octets);
    for proposal in Proposals::new(octets).flatten() {
        assert_eq!(proposal.transforms().count(), usize::from(proposal.count));
        for transform in proposal.transforms() {
            assert!(transform.attributes().all(|attribute| attribute.is_ok()));
        }
    }
    let _ = sa::choose(octets, None);
    let _ = sa::seeks_group(octets);
    let _ = sa::check_answer(octets, Purpose::Group);
    let _ = sa::check_answer(octets, Purpose::Pairwise);
    Transforms::new(octets).for_each(drop);
    Attributes::new(octets).for_each(drop);
    Policies::new(octets).for_each(drop);
    for bag in Bags::new(octets).flatten() {
        if let karp_core::wire::kd::Bag::Tek { key, .. } = bag {
            assert_eq!(key.aad().len(), 16);
        }
    }
    let (front, back) = octets.split_at(octets.len() / 2);
    for carrier in [Carrier::Unicast, Carrier::Multicast] {
        let _ = State::parse(front, back, carrier);
        let _ = State::parse(octets, &[], carrier);
        let _ = State::parse(&[], octets, carrier);
    }
    let _ = KeyExchange::parse(octets);
    let _ = parse_nonce(octets);
    let _ = Id::parse(octets);
    let _ = Id::parse_group(octets);
    let _ = Cert::parse(octets);
    let _ = CertReq::parse(octets);
    let _ = Notify::parse(octets).map(|notify| notify.private_data());
    if let Ok(delete) = Delete::parse(octets) {
        assert!(delete.spis().all(|spi| spi.len() == usize::from(delete.spi_size)));
    }
    let _ = auth::Auth::parse(octets).and_then(|auth| auth.proof().map(|_| ()));
    let _ = auth::parse_public_key_info(octets);
    if let Ok(state) = ElectionState::parse(octets) {
        assert!(state.hold_ms() <= 300_000);
    }
    let _ = Instance::parse(octets);
    let _ = KeysInUse::parse(octets);
    let _ = Evicted::parse(octets);
    let _ = GroupMac::parse(octets);
    let _ = Handoff::parse(octets);
    let _ = RekeyRequest::parse(octets);
    let _ = Redirect::parse(octets);
    let _ = parse_redirected_from(octets);
    let _ = parse_cookie(octets);
    let _ = lists_identity_hash(octets);
    let _ = parse_invalid_ke(octets);
}

fn with_length(octets: &[u8]) -> Vec<u8> {
    let mut octets = octets.to_vec();
    let length = u32::try_from(octets.len()).unwrap();
    if let Some(field) = octets.get_mut(24..28) {
        field.copy_from_slice(&length.to_be_bytes());
    }
    octets
}

#[test]
fn every_truncation_is_refused() {
    for signatures in [false, true] {
        for sample in samples(&largest_shape(false, signatures), StateShape::LARGEST) {
            for length in 0..sample.octets.len() {
                let cut = &sample.octets[..length];
                assert!((sample.check)(cut).is_err(), "{} cut to {length}", sample.name);
                // Not even if the header owns up to it.
                assert!(
                    (sample.check)(&with_length(cut)).is_err(),
                    "{} cut to {length}",
                    sample.name
                );
                parse_everything(&with_length(cut));
            }
        }
    }
}

#[test]
fn octets_at_the_end_are_refused() {
    for sample in samples(&largest_shape(true, true), StateShape::NEEDED) {
        for extra in [&[0][..], &[0; 4], &[41, 0, 0, 8, 0, 0, 64, 22]] {
            let longer = [&sample.octets[..], extra].concat();
            assert!((sample.check)(&longer).is_err(), "{}", sample.name);
            assert!((sample.check)(&with_length(&longer)).is_err(), "{}", sample.name);
        }
    }
}

#[test]
fn every_flipped_bit_is_refused_or_harmless() {
    for sample in samples(&largest_shape(false, true), StateShape::LARGEST) {
        for bit in 0..sample.octets.len() * 8 {
            let mut octets = sample.octets.clone();
            octets[bit / 8] ^= 1 << (bit % 8);
            let _ = (sample.check)(&octets);
            parse_everything(&octets);
        }
    }
}

/// The same for the lengths alone, with every value.
#[test]
fn every_octet_of_a_state_may_have_any_value() {
    let shape = largest_shape(true, true);
    let sample = samples(&shape, StateShape::NEEDED)
        .into_iter()
        .find(|sample| sample.name == "GSA_REKEY");
    let sample = sample.unwrap();
    for at in 0..sample.octets.len() {
        for value in 0..=255 {
            let mut octets = sample.octets.clone();
            octets[at] = value;
            let _ = (sample.check)(&octets);
        }
    }
}

#[test]
fn a_critical_payload_that_is_unknown_refuses_the_message() {
    let mut chain = [0, 0x80, 0, 4];
    let collect = |chain: &[u8], ty| {
        let payloads: Result<Vec<_>, _> = Payloads::new(PayloadType(ty), chain, 0).collect();
        payloads.map(|payloads| payloads.len())
    };
    for ty in 1..=255 {
        let known = (33..=46).contains(&ty) || (50..=52).contains(&ty);
        let expected = if known {
            Ok(1)
        } else {
            Err(Error::UnknownCritical(ty))
        };
        assert_eq!(collect(&chain, ty), expected);
    }
    chain[1] = 0x7f;
    assert!(collect(&chain, 200).is_ok());
}

/// Octets with a plausible header, so that the parsers are not turned away at the door.
fn plausible() -> impl Strategy<Value = Vec<u8>> {
    let body = proptest::collection::vec(
        prop_oneof![4 => 0_u8..8, 2 => any::<u8>(), 1 => 33_u8..53],
        0..200,
    );
    (
        any::<[u8; 16]>(),
        33_u8..53,
        prop_oneof![34_u8..44, Just(249)],
        any::<u8>(),
        any::<u32>(),
        body,
    )
        .prop_map(|(spis, next, exchange, flags, id, body)| {
            let head = [
                &spis[..],
                &[next, 0x20, exchange, flags],
                &id.to_be_bytes(),
                &[0; 4],
            ]
            .concat();
            with_length(&[head, body].concat())
        })
}

proptest! {
    #[test]
    fn any_octets_are_taken_or_refused(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
        parse_everything(&octets);
        parse_everything(&with_length(&octets));
    }

    #[test]
    fn plausible_octets_are_taken_or_refused(octets in plausible()) {
        parse_everything(&octets);
    }

    #[test]
    fn bent_messages_are_taken_or_refused(
        pick in any::<prop::sample::Index>(),
        bends in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut samples = samples(&largest_shape(true, true), StateShape::LARGEST);
        let mut octets = samples.swap_remove(pick.index(samples.len())).octets;
        for (at, value) in bends {
            let at = at.index(octets.len());
            octets[at] = value;
        }
        parse_everything(&octets);
        parse_everything(octets.get(28..).unwrap());
    }
}
