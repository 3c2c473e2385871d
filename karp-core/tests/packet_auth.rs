//! Whole routing packets, signed and verified: round trips, digests computed elsewhere, and everything that must be
//! refused.
#![cfg(feature = "packet-auth")]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

#[path = "packet_auth/pins.rs"]
mod pins;
#[path = "packet_auth/sample.rs"]
mod sample;

use std::cell::Cell;
use std::net::Ipv4Addr;

use karp_core::algorithm::RoutingAlgorithm;
use karp_core::packet_auth::build::{LanHello, Lsp, Ospfv2Hello, Ospfv3Hello};
use karp_core::packet_auth::isis::Esn;
use karp_core::packet_auth::ospfv2::Mode;
use karp_core::packet_auth::{Algorithm, Error, Key, isis, ospfv2, ospfv3};
use proptest::prelude::*;
use sample::{Accepted, ESN, SAMPLES, SEQUENCE_32, SEQUENCE_64, SOURCE_4, SOURCE_6, Sample, TEXT, digest};

#[test]
fn every_protocol_and_algorithm_makes_the_round_trip() {
    for sample in SAMPLES {
        for algorithm in Algorithm::ALL {
            let key = sample.key(algorithm, TEXT);
            let packet = sample.signed(&key);
            let sequence = match sample {
                Sample::Ospfv2(Mode::Rfc5709) => SEQUENCE_32,
                Sample::Ospfv2(Mode::Rfc7474) | Sample::Ospfv3 | Sample::Ospfv3Lls => SEQUENCE_64,
                Sample::LanHello | Sample::PointToPointHello | Sample::Csnp => 77,
                Sample::Lsp | Sample::Purge | Sample::Psnp => 0,
            };
            let accepted = Accepted {
                key_id: sample.key_id(),
                sequence,
                len: packet.len(),
            };
            assert_eq!(
                sample.verify(&packet, key),
                Ok(accepted),
                "{sample:?} {algorithm:?}"
            );
        }
    }
}

#[test]
fn digests_are_those_that_other_code_computes() {
    for pin in &pins::PINS {
        for (sample, expected) in [
            (Sample::Ospfv2(Mode::Rfc5709), pin.ospfv2),
            (Sample::Ospfv2(Mode::Rfc7474), pin.ospfv2_rfc7474),
            (Sample::Ospfv3, pin.ospfv3),
            (Sample::LanHello, pin.lan_hello),
            (Sample::Lsp, pin.lsp),
        ] {
            let packet = sample.signed(&sample.key(pin.algorithm, TEXT));
            assert_eq!(
                digest(&packet, pin.algorithm),
                expected,
                "{sample:?} {:?}",
                pin.algorithm
            );
        }
    }
}

#[test]
fn keys_of_every_length_follow_the_key_rule() {
    let octets: Vec<u8> = (0..=255).collect();
    for (algorithm, len, expected) in pins::KEY_LENGTHS {
        let samples = [
            Sample::Ospfv2(Mode::Rfc5709),
            Sample::Ospfv2(Mode::Rfc7474),
            Sample::Ospfv3,
            Sample::Lsp,
        ];
        for (sample, expected) in samples.into_iter().zip(expected) {
            let key = sample.key(*algorithm, &octets[..*len]);
            let packet = sample.signed(&key);
            assert!(
                digest(&packet, *algorithm).starts_with(expected),
                "{sample:?} {algorithm:?} {len}"
            );
            assert!(sample.verify(&packet, key).is_ok());
        }
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    for sample in SAMPLES {
        let key = sample.key(Algorithm::HmacSha256, TEXT);
        let mut packet = sample.signed(&key);
        for at in 0..packet.len() {
            for bit in 0..8 {
                packet[at] ^= 1 << bit;
                let refused = sample.verify(&packet, key).is_err();
                assert_eq!(
                    refused,
                    !sample.uncovered(at),
                    "{sample:?}, octet {at}, bit {bit}"
                );
                packet[at] ^= 1 << bit;
            }
        }
        assert!(sample.verify(&packet, key).is_ok());
    }
}

#[test]
fn every_truncation_is_refused() {
    for sample in SAMPLES {
        let key = sample.key(Algorithm::HmacSha1, TEXT);
        let packet = sample.signed(&key);
        for len in 0..packet.len() {
            let error = sample.verify(&packet[..len], key).unwrap_err();
            assert!(
                matches!(error, Error::Truncated | Error::NotAuthenticated),
                "{sample:?} {len} {error:?}"
            );
        }
    }
}

#[test]
fn the_wrong_key_is_refused() {
    for sample in SAMPLES {
        let key = sample.key(Algorithm::HmacSha256, TEXT);
        let packet = sample.signed(&key);
        let id = u32::from(sample.key_id());
        let other = Key {
            octets: b"dGhlIGtleSBvZiB0aGlzIGxpbmst",
            ..key
        };
        assert_eq!(sample.verify(&packet, other), Err(Error::BadDigest));
        let other = Key { id: 20, ..key };
        assert_eq!(sample.verify(&packet, other), Err(Error::UnknownKey(id)));
        let other = Key {
            algorithm: Algorithm::HmacSha512,
            ..key
        };
        assert_eq!(sample.verify(&packet, other), Err(Error::WrongLength));
        let other = Key { octets: &[], ..key };
        assert_eq!(sample.verify(&packet, other), Err(Error::EmptyKey));
    }
}

#[test]
fn a_look_up_is_asked_once_for_the_packet_s_key_id_and_must_answer_with_it() {
    let key = Key::new(19, Algorithm::HmacSha256, TEXT);
    let sample = Sample::Ospfv2(Mode::Rfc7474);
    let mut packet = sample.signed(&key);
    let asked = Cell::new(None);
    let lookup = |id| {
        asked.set(Some(id));
        Some(Key { id: 18, ..key })
    };
    assert_eq!(
        ospfv2::verify(&packet, Mode::Rfc7474, SOURCE_4, lookup),
        Err(Error::UnknownKey(19))
    );
    assert_eq!(asked.take(), Some(19));
    // A key id that only RFC 7474's 32 bits can hold is nobody's.
    packet[20] = 1;
    assert_eq!(
        ospfv2::verify(&packet, Mode::Rfc7474, SOURCE_4, lookup),
        Err(Error::UnknownKey(0x0100_0013))
    );
    assert_eq!(asked.take(), None);
}

#[test]
fn another_source_address_is_refused_where_it_is_protected() {
    let other = Ipv4Addr::new(192, 0, 2, 2);
    for (mode, expected) in [(Mode::Rfc5709, Ok(())), (Mode::Rfc7474, Err(Error::BadDigest))] {
        let sample = Sample::Ospfv2(mode);
        let key = sample.key(Algorithm::HmacSha256, TEXT);
        let packet = sample.signed(&key);
        assert_eq!(
            ospfv2::verify(&packet, mode, other, |_| Some(key)).map(|_| ()),
            expected
        );
    }
    for algorithm in Algorithm::ALL {
        let key = Sample::Ospfv3.key(algorithm, TEXT);
        let packet = Sample::Ospfv3.signed(&key);
        for octet in 0..16 {
            let mut other = SOURCE_6.octets();
            other[octet] ^= 1;
            assert_eq!(
                ospfv3::verify(&packet, other.into(), |_| Some(key)),
                Err(Error::BadDigest)
            );
        }
    }
}

#[test]
fn a_packet_of_the_other_mode_or_of_none_is_not_authenticated() {
    for (mode, other) in [(Mode::Rfc5709, Mode::Rfc7474), (Mode::Rfc7474, Mode::Rfc5709)] {
        let sample = Sample::Ospfv2(mode);
        let key = sample.key(Algorithm::HmacSha256, TEXT);
        let packet = sample.signed(&key);
        assert_eq!(
            ospfv2::verify(&packet, other, SOURCE_4, |_| Some(key)),
            Err(Error::NotAuthenticated)
        );
    }
    for sample in SAMPLES {
        let mut buf = [0; 400];
        let len = sample.build(&mut buf);
        let key = sample.key(Algorithm::HmacSha256, TEXT);
        assert_eq!(
            sample.verify(&buf[..len], key),
            Err(Error::NotAuthenticated),
            "{sample:?}"
        );
    }
}

#[test]
fn signing_refuses_what_cannot_be_right_and_leaves_the_buffer_alone() {
    for sample in SAMPLES {
        let mut buf = [0xaa; 400];
        let len = sample.build(&mut buf);
        let key = sample.key(Algorithm::HmacSha512, TEXT);
        let total = sample.sign(&mut buf.clone(), len, &key).unwrap();
        let before = buf;
        for room in 0..total {
            let expected = if room < len {
                Error::Truncated
            } else {
                Error::NoRoom
            };
            assert_eq!(sample.sign(&mut buf[..room], len, &key), Err(expected));
        }
        assert!(sample.sign(&mut buf[..total], len, &key).is_ok());
        buf = before;
        assert_eq!(
            sample.sign(&mut buf, len, &Key { octets: &[], ..key }),
            Err(Error::EmptyKey)
        );
        for wrong in (0..len).chain(len + 1..400) {
            assert!(sample.sign(&mut buf, wrong, &key).is_err(), "{sample:?} {wrong}");
        }
        assert_eq!(buf, before, "{sample:?}");
    }

    let sample = Sample::Ospfv2(Mode::Rfc5709);
    let mut buf = [0; 400];
    let len = sample.build(&mut buf);
    let key = Key::new(256, Algorithm::HmacSha256, TEXT);
    let params = ospfv2::SignParams {
        mode: Mode::Rfc5709,
        sequence: 1 << 32,
        source: SOURCE_4,
    };
    assert_eq!(
        ospfv2::sign(&mut buf, len, &key, &params),
        Err(Error::KeyIdTooWide)
    );
    let key = Key { id: 255, ..key };
    assert_eq!(
        ospfv2::sign(&mut buf, len, &key, &params),
        Err(Error::SequenceExhausted)
    );
}

#[test]
fn octets_after_an_ospf_packet_need_an_option_that_announces_them() {
    for mode in [Mode::Rfc5709, Mode::Rfc7474] {
        for (options, expected) in [(0x02, Err(Error::Malformed)), (0x12, Ok(()))] {
            let key = Key::new(1, Algorithm::HmacSha1, TEXT);
            let mut buf = [0; 200];
            let len = Ospfv2Hello {
                options,
                ..Ospfv2Hello::DEFAULT
            }
            .write(&mut buf)
            .unwrap();
            let params = ospfv2::SignParams {
                mode,
                sequence: 1,
                source: SOURCE_4,
            };
            let signed = ospfv2::sign(&mut buf, len, &key, &params).unwrap();
            let verified = ospfv2::verify(&buf[..signed + 12], mode, SOURCE_4, |_| Some(key));
            assert_eq!(verified.map(|v| assert_eq!(v.signed_len, signed)), expected);
        }
    }
    let key = Sample::Ospfv3.key(Algorithm::HmacSha1, TEXT);
    let mut packet = Sample::Ospfv3.signed(&key);
    packet.push(0);
    assert_eq!(Sample::Ospfv3.verify(&packet, key), Err(Error::Malformed));
}

#[test]
fn ospfv3_signing_announces_the_trailer_and_clears_checksums() {
    let key = Sample::Ospfv3Lls.key(Algorithm::HmacSha256, TEXT);
    let packet = Sample::Ospfv3Lls.signed(&key);
    assert_eq!(packet[21..24], [0, 0x06, 0x13]);
    assert_eq!(packet[40..44], [0, 0, 0, 3]);
    // Type, length, reserved, key id, sequence number.
    assert_eq!(
        packet[52..68],
        [0, 1, 0, 48, 0, 0, 0x12, 0x34, 0, 0, 0, 5, 1, 2, 3, 4]
    );

    // A Hello that does not announce its trailer is refused before any digest is computed.
    let mut silent = packet;
    silent[22] &= !0x04;
    assert_eq!(
        Sample::Ospfv3Lls.verify(&silent, key),
        Err(Error::NotAuthenticated)
    );

    // A Database Description packet has its options elsewhere; a Link State Acknowledgment has none.
    let mut buf = [0; 200];
    for (packet_type, len, options_at) in [(2, 28, Some(18)), (5, 16, None)] {
        buf[..16].copy_from_slice(&[3, packet_type, 0, len, 0, 0, 0, 1, 0, 0, 0, 0, 0xff, 0xff, 0, 0]);
        let params = ospfv3::SignParams {
            sequence: 1,
            source: SOURCE_6,
        };
        let total = ospfv3::sign(&mut buf, usize::from(len), &key, &params).unwrap();
        assert_eq!(buf[12..14], [0, 0]);
        if let Some(at) = options_at {
            assert_eq!(buf[at], 0x04);
        }
        let verified = ospfv3::verify(&buf[..total], SOURCE_6, |_| Some(key)).unwrap();
        assert_eq!(
            (verified.packet_type, verified.packet_len),
            (packet_type, usize::from(len))
        );
    }
}

#[test]
fn an_lsp_s_lifetime_may_fall_but_not_to_zero() {
    let key = Sample::Lsp.key(Algorithm::HmacSha256, TEXT);
    let mut packet = Sample::Lsp.signed(&key);
    packet[10..12].copy_from_slice(&[0, 1]);
    assert!(Sample::Lsp.verify(&packet, key).is_ok());
    packet[10..12].copy_from_slice(&[0, 0]);
    assert_eq!(Sample::Lsp.verify(&packet, key), Err(Error::ForgedPurge));
    assert!(Sample::Purge.verify(&Sample::Purge.signed(&key), key).is_ok());
}

#[test]
fn an_lsp_s_checksum_covers_the_digest() {
    for algorithm in Algorithm::ALL {
        for sequence in 0..600 {
            let mut buf = [0; 200];
            let len = Lsp {
                sequence,
                ..Lsp::DEFAULT
            }
            .write(&mut buf)
            .unwrap();
            let len = isis::sign(&mut buf, len, &Key::new(1, algorithm, TEXT)).unwrap();
            let (c0, c1) = buf[12..len].iter().fold((0, 0), |(c0, c1), octet| {
                let c0 = (c0 + u32::from(*octet)) % 255;
                (c0, (c1 + c0) % 255)
            });
            assert_eq!((c0, c1), (0, 0));
            assert!(buf[24] != 0 && buf[25] != 0);
        }
    }
}

#[test]
fn isis_signing_again_uses_the_same_tlv() {
    let key = Sample::LanHello.key(Algorithm::HmacSha256, TEXT);
    let mut packet = Sample::LanHello.signed(&key);
    let len = packet.len();
    let next = Esn { packet: 78, ..ESN };
    assert_eq!(isis::add_esn(&mut packet, len, next), Ok(len));
    assert_eq!(isis::verify(&packet, |_| Some(key)), Err(Error::BadDigest));
    assert_eq!(isis::sign(&mut packet, len, &Key { id: 5, ..key }), Ok(len));
    let verified = isis::verify(&packet, |id| Some(Key { id, ..key })).unwrap();
    assert_eq!((verified.key_id, verified.esn), (5, Some(next)));
    assert!(verified.esn > Some(ESN));

    let other = Key {
        algorithm: Algorithm::HmacSha1,
        ..key
    };
    assert_eq!(isis::sign(&mut packet, len, &other), Err(Error::WrongLength));
}

#[test]
fn isis_link_padding_is_ignored_but_a_second_tlv_is_not() {
    let key = Sample::Psnp.key(Algorithm::HmacSha1, TEXT);
    let mut packet = Sample::Psnp.signed(&key);
    let len = packet.len();
    packet.extend([0; 46]);
    assert_eq!(Sample::Psnp.verify(&packet, key).map(|v| v.len), Ok(len));

    let tlv: Vec<u8> = packet[17..len].to_vec();
    packet[len..len + tlv.len()].copy_from_slice(&tlv);
    packet[9] += u8::try_from(tlv.len()).unwrap();
    assert_eq!(Sample::Psnp.verify(&packet, key), Err(Error::Malformed));
}

#[test]
fn extended_sequence_numbers_keep_to_their_rules() {
    let mut buf = [0; 400];
    let len = Sample::Lsp.build(&mut buf);
    assert_eq!(isis::add_esn(&mut buf, len, ESN), Err(Error::Unsupported));
    let len = Sample::Psnp.build(&mut buf);
    assert_eq!(
        isis::add_esn(
            &mut buf,
            len,
            Esn {
                session: 0,
                packet: 1
            }
        ),
        Err(Error::Malformed)
    );
    assert_eq!(isis::add_esn(&mut buf[..len + 13], len, ESN), Err(Error::NoRoom));
    assert_eq!(isis::add_esn(&mut buf, len, ESN), Ok(len + isis::ESN_LEN));
    assert!(
        Esn {
            session: 2,
            packet: 0
        } > Esn {
            session: 1,
            packet: u32::MAX
        }
    );

    // Two of them, or one of another length, make the PDU invalid even if it is signed.
    for tlvs in [
        &[11, 12, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1].repeat(2)[..],
        &[11, 13, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
    ] {
        let len = Sample::Psnp.build(&mut buf);
        buf[len..len + tlvs.len()].copy_from_slice(tlvs);
        let len = len + tlvs.len();
        buf[9] = u8::try_from(len).unwrap();
        let key = Sample::Psnp.key(Algorithm::HmacSha1, TEXT);
        assert_eq!(Sample::Psnp.verify(&buf[..len], key), Err(Error::Malformed));
        assert_eq!(isis::sign(&mut buf, len, &key), Err(Error::Malformed));
    }
}

#[test]
fn algorithms_that_are_no_whole_hmac_are_unsupported() {
    for code in 0..=u16::MAX {
        let expected = match code {
            1024 => Ok(Algorithm::HmacSha1),
            1025 => Ok(Algorithm::HmacSha256),
            1026 => Ok(Algorithm::HmacSha384),
            1027 => Ok(Algorithm::HmacSha512),
            _ => Err(Error::Unsupported),
        };
        assert_eq!(Algorithm::try_from(code), expected);
    }
    assert_eq!(
        Algorithm::try_from(RoutingAlgorithm::KeyedMd5),
        Err(Error::Unsupported)
    );
}

#[test]
fn a_key_does_not_show_its_octets() {
    let shown = format!("{:?}", Key::new(7, Algorithm::HmacSha1, TEXT));
    assert_eq!(shown, "Key { id: 7, algorithm: HmacSha1, .. }");
}

#[test]
fn builders_say_when_there_is_no_room() {
    for sample in SAMPLES {
        let mut whole = [0; 400];
        let len = sample.build(&mut whole);
        assert!(len < 100);
    }
    let hello = Ospfv2Hello {
        neighbors: &[1, 2, 3],
        ..Ospfv2Hello::DEFAULT
    };
    assert_eq!(hello.write(&mut [0; 55]), Err(Error::NoRoom));
    assert_eq!(hello.write(&mut [0; 56]), Ok(56));
    let neighbors = vec![0; 16_373];
    let hello = Ospfv3Hello {
        neighbors: &neighbors,
        ..Ospfv3Hello::DEFAULT
    };
    assert_eq!(hello.write(&mut [0; 70_000]), Ok(65_528));
    let hello = LanHello {
        neighbors: &[[0; 6]; 43],
        ..LanHello::DEFAULT
    };
    assert_eq!(hello.write(&mut [0; 1500]), Err(Error::NoRoom));
    let hello = LanHello {
        area: &[0; 255],
        ..LanHello::DEFAULT
    };
    assert_eq!(hello.write(&mut [0; 1500]), Err(Error::NoRoom));
}

/// Octets that look like a packet more often than chance would have it: a signed sample, changed in places and cut.
fn near_packets() -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    (
        prop::sample::select(&SAMPLES[..]),
        changes,
        0..200_usize,
        prop::collection::vec(any::<u8>(), 0..20),
    )
        .prop_map(|(sample, changes, len, tail)| {
            let mut packet = sample.signed(&sample.key(Algorithm::HmacSha256, TEXT));
            for (index, octet) in changes {
                let at = index.index(packet.len());
                packet[at] = octet;
            }
            packet.truncate(len);
            packet.extend(tail);
            packet
        })
}

/// Hands octets to everything that takes octets. Nothing may panic; what a `verify` accepts must be a packet that a
/// `sign` with the key makes.
fn try_everything(octets: &[u8], key: Key<'_>) {
    for mode in [Mode::Rfc5709, Mode::Rfc7474] {
        let _ = ospfv2::verify(octets, mode, SOURCE_4, |id| Some(Key { id, ..key }));
        let params = ospfv2::SignParams {
            mode,
            sequence: 1,
            source: SOURCE_4,
        };
        let mut buf = octets.to_vec();
        buf.extend([0; 80]);
        if let Ok(len) = ospfv2::sign(&mut buf, octets.len(), &key, &params) {
            ospfv2::verify(&buf[..len], mode, SOURCE_4, |_| Some(key)).unwrap();
        }
    }
    let _ = ospfv3::verify(octets, SOURCE_6, |id| Some(Key { id, ..key }));
    let mut buf = octets.to_vec();
    buf.extend([0; 80]);
    let params = ospfv3::SignParams {
        sequence: 1,
        source: SOURCE_6,
    };
    if let Ok(len) = ospfv3::sign(&mut buf, octets.len(), &key, &params) {
        ospfv3::verify(&buf[..len], SOURCE_6, |_| Some(key)).unwrap();
    }
    let _ = isis::verify(octets, |id| Some(Key { id, ..key }));
    let mut buf = octets.to_vec();
    buf.extend([0; 100]);
    let len = isis::add_esn(&mut buf, octets.len(), ESN).unwrap_or(octets.len());
    if let Ok(len) = isis::sign(&mut buf, len, &key) {
        match isis::verify(&buf[..len], |_| Some(key)) {
            Ok(_) | Err(Error::ForgedPurge) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

proptest! {
    #[test]
    fn any_octets_are_handled(octets in prop::collection::vec(any::<u8>(), 0..300), algorithm in 0..4_usize) {
        try_everything(&octets, Key::new(19, Algorithm::ALL[algorithm], TEXT));
    }

    #[test]
    fn any_near_packets_are_handled(octets in near_packets(), algorithm in 0..4_usize) {
        try_everything(&octets, Key::new(19, Algorithm::ALL[algorithm], TEXT));
    }

    #[test]
    fn any_options_and_numbers_make_the_round_trip(
        router_id in any::<u32>(),
        options in any::<u8>(),
        sequence in any::<u32>(),
        neighbors in prop::collection::vec(any::<u32>(), 0..40),
        octets in prop::collection::vec(any::<u8>(), 1..200),
        algorithm in 0..4_usize,
    ) {
        let key = Key::new(3, Algorithm::ALL[algorithm], &octets);
        let mut buf = [0; 400];
        let len = Ospfv2Hello { router_id, options, neighbors: &neighbors, ..Ospfv2Hello::DEFAULT }.write(&mut buf)?;
        for mode in [Mode::Rfc5709, Mode::Rfc7474] {
            let params = ospfv2::SignParams { mode, sequence: sequence.into(), source: SOURCE_4 };
            let total = ospfv2::sign(&mut buf, len, &key, &params)?;
            prop_assert_eq!(total, len + ospfv2::overhead(mode, key.algorithm));
            let verified = ospfv2::verify(&buf[..total], mode, SOURCE_4, |_| Some(key))?;
            prop_assert_eq!(verified.sequence, u64::from(sequence));
            prop_assert_eq!(verified.router_id, router_id);
            prop_assert_eq!(verified.packet_len, len);
        }
    }
}
