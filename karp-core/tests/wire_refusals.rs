//! What PROTOCOL.md has refused by name: announcements out of order (section 5.1), states that contradict
//! themselves (section 6), and what stands beside an SK payload.
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

use karp_core::wire::auth::{write_shared_key, write_signature};
use karp_core::wire::election::Announcement;
use karp_core::wire::gsa::{self, GcAuth, KeyState, RekeySaPolicy, TekPolicy};
use karp_core::wire::notify::{ElectionState, Evicted, GroupMac, Handoff, KeysInUse};
use karp_core::wire::numbers::*;
use karp_core::wire::payload::{Id, write_group, write_notify};
use karp_core::wire::state::{Carrier, State};
use karp_core::wire::{Error, Flags, Header, Writer, kd, sk};
use wire_support::*;

type Write = dyn Fn(&mut Writer<'_>);

fn announce(header: &Header, parts: &[&Write]) -> Result<(), Error> {
    let mut room = [0; 1232];
    let mut writer = Writer::message(&mut room, header);
    parts.iter().for_each(|part| part(&mut writer));
    Announcement::parse(writer.finish().unwrap()).map(|_| ())
}

#[test]
fn the_order_of_an_announcement_is_fixed() {
    let header = Header::new(SPI_I, [0; 8], ExchangeType::GCKS_ELECTION, Flags::INITIATOR, 1);
    let group: &Write = &|w| write_group(w, b"lab");
    let id: &Write = &|w| {
        Id {
            ty: IdType::FQDN,
            data: b"r1",
        }
        .write(w, PayloadType::ID_I)
    };
    let state: &Write = &|w| state_of(&largest_shape(false, true)).write(w);
    let handoff: &Write = &|w| Handoff(SPI_R).write(w);
    let auth: &Write = &|w| {
        write_signature(w, &[0; 64]);
    };
    let mac: &Write = &|w| {
        GroupMac {
            spi: REKEY_SPI,
            mac: [0; 16],
        }
        .write(w);
    };
    let former: &Write = &|w| {
        GroupMac {
            spi: FORMER_SPI,
            mac: [0; 16],
        }
        .write(w);
    };
    let third: &Write = &|w| {
        GroupMac {
            spi: [1; 16],
            mac: [0; 16],
        }
        .write(w);
    };
    let unknown: &Write = &|w| write_notify(w, NotifyType(60000), b"?");
    let vendor: &Write = &|w| w.payload(PayloadType::VENDOR, b"?");
    let all = [group, id, state, handoff, auth, mac, former];

    let check = |parts: &[&Write]| announce(&header, parts);
    assert_eq!(check(&all), Ok(()));
    assert_eq!(check(&[group, id, state]), Ok(()));
    assert_eq!(check(&[group, id, state, mac]), Ok(()));
    // Each part missing, then each two parts swapped.
    for gone in 0..3 {
        let mut parts = all.to_vec();
        parts.remove(gone);
        assert!(check(&parts).is_err(), "without {gone}");
    }
    for first in 0..all.len() {
        for second in first + 1..all.len() {
            // Which MAC is the present one is for the keys to say.
            let mut parts = all;
            parts.swap(first, second);
            assert_eq!(
                check(&parts).is_ok(),
                (first, second) == (5, 6),
                "{first} and {second}"
            );
        }
    }
    // Each part twice.
    for twice in 0..all.len() {
        let mut parts = all.to_vec();
        parts.insert(twice, all[twice]);
        assert!(check(&parts).is_err(), "{twice} twice");
    }
    assert_eq!(
        check(&[group, id, state, mac, former, third]),
        Err(Error::TooMany)
    );
    assert_eq!(check(&[group, id, state, mac, mac]), Err(Error::Duplicate));
    // Unknown notifies only where AUTH and the MACs cover them; other payloads nowhere.
    for at in 0..=all.len() {
        let mut parts = all.to_vec();
        parts.insert(at, unknown);
        assert_eq!(check(&parts).is_ok(), at <= 4, "unknown at {at}");
        parts[at] = vendor;
        assert_eq!(check(&parts), Err(Error::Misplaced), "vendor at {at}");
    }
    // HANDOFF behind the first MAC: what an outsider would append.
    assert_eq!(check(&[group, id, state, mac, handoff]), Err(Error::Misplaced));
    // AUTH by shared key has no place here.
    let shared: &Write = &|w| write_shared_key(w, &[0; 32]);
    assert_eq!(check(&[group, id, state, shared]), Err(Error::Unsupported));
    // The group is named by ID_KEY_ID.
    let fqdn: &Write = &|w| {
        Id {
            ty: IdType::FQDN,
            data: b"lab",
        }
        .write(w, PayloadType::ID_G)
    };
    assert_eq!(check(&[fqdn, id, state]), Err(Error::Unsupported));

    for bent in [
        Header {
            spi_r: SPI_R,
            ..header
        },
        Header {
            spi_i: [0; 8],
            ..header
        },
        Header {
            flags: Flags::NONE,
            ..header
        },
        Header {
            flags: Flags::INITIATOR_RESPONSE,
            ..header
        },
        Header {
            exchange: ExchangeType::INFORMATIONAL,
            ..header
        },
    ] {
        assert_eq!(announce(&bent, &all), Err(Error::BadValue));
    }
    // Other flags are not read.
    assert_eq!(
        announce(
            &Header {
                flags: Flags(0x1b),
                ..header
            },
            &all
        ),
        Ok(())
    );
}

#[test]
fn an_election_state_of_another_version_is_refused() {
    let mut data = [0; 40];
    data[0] = 1;
    let read = ElectionState::parse(&data).unwrap();
    assert_eq!(read.rekey_sa, None);
    data[1] = 3;
    assert_eq!(ElectionState::parse(&data), Err(Error::BadValue));
    data[1] = 0;
    data[0] = 2;
    assert_eq!(ElectionState::parse(&data), Err(Error::Unsupported));
    assert!(ElectionState::parse(&data[..39]).is_err());
    data[0] = 1;
    assert!(ElectionState::parse(&[&data[..], &[0]].concat()).is_err());
}

#[test]
fn keys_in_use_say_what_they_are_used_for() {
    let entry = |id, usage| [0, id, 0, usage, 5, 5, 5, 5, 5, 5, 5, 5];
    for usage in 1..=3 {
        assert!(KeysInUse::parse(&entry(9, usage)).is_ok());
        assert_eq!(
            KeysInUse::parse(&entry(0, usage)),
            Err(Error::BadValue),
            "key id 0"
        );
        let mut high = entry(9, usage);
        high[2] = 1;
        assert_eq!(KeysInUse::parse(&high), Err(Error::BadValue));
    }
    for usage in [0, 4, 255] {
        assert_eq!(KeysInUse::parse(&entry(9, usage)), Err(Error::BadValue));
    }
    assert_eq!(KeysInUse::parse(&entry(9, 2)[..11]), Err(Error::Truncated));
    // The one that is sent with comes first, and there is one.
    assert!(KeysInUse::parse(&[entry(9, 2), entry(8, 3)].concat()).is_ok());
    for first in 1..=3 {
        let late = [entry(9, first), entry(8, 2)].concat();
        assert_eq!(KeysInUse::parse(&late), Err(Error::BadValue));
    }
}

#[test]
fn lists_end_at_eight() {
    assert!(Evicted::parse(&[1; 128]).is_ok());
    assert_eq!(Evicted::parse(&[1; 144]), Err(Error::TooMany));
    let shown = |count| [0, 9, 0, 3, 5, 5, 5, 5, 5, 5, 5, 5].repeat(count);
    assert!(KeysInUse::parse(&shown(8)).is_ok());
    assert_eq!(KeysInUse::parse(&shown(9)), Err(Error::TooMany));
    let keyed = |number| gsa::Keyed {
        protocol: RoutingProtocol(number),
        algorithm: Algorithm::HMAC_SHA1,
    };
    let mut list = protocols(8);
    assert_eq!(list.push(keyed(1)), Err(Error::Duplicate));
    assert_eq!(list.push(keyed(9)), Err(Error::TooMany));
}

fn tek(id: u16, state: KeyState) -> TekPolicy {
    TekPolicy {
        id,
        state,
        lifetime_s: 60,
        protocols: (state != KeyState::Retiring).then(|| protocols(1)),
    }
}

fn octets(parts: &[&Write]) -> Vec<u8> {
    let mut room = [0; 2048];
    let mut writer = Writer::new(&mut room);
    parts.iter().for_each(|part| part(&mut writer));
    writer.finish().unwrap().to_vec()
}

fn state(gsa: &[&Write], kd: &[&Write], carrier: Carrier) -> Result<(), Error> {
    State::parse(&octets(gsa), &octets(kd), carrier).map(|_| ())
}

#[test]
fn a_state_is_refused_as_a_whole() {
    use Carrier::{Multicast, Unicast};
    let pending: &Write = &|w| gsa::write_tek(w, &tek(1, KeyState::Pending));
    let active: &Write = &|w| gsa::write_tek(w, &tek(2, KeyState::Active));
    let retiring: &Write = &|w| gsa::write_tek(w, &tek(3, KeyState::Retiring));
    let bag = |id: u16| move |w: &mut Writer<'_>| drop(kd::write_tek(w, id));
    let [bag1, bag2, bag3, bag4]: [&Write; 4] = [&bag(1), &bag(2), &bag(3), &bag(4)];
    let all: [&Write; 3] = [pending, active, retiring];
    assert_eq!(state(&all, &[bag2, bag1], Multicast), Ok(()));
    assert_eq!(
        state(&[retiring, active, pending], &[bag1, bag2], Unicast),
        Ok(())
    );
    assert_eq!(state(&[], &[], Unicast), Ok(()));
    // A live key without a bag, a bag without a policy, either twice.
    assert_eq!(state(&all, &[bag2], Multicast), Err(Error::Missing));
    assert_eq!(state(&all, &[bag1, bag2, bag4], Multicast), Err(Error::Misplaced));
    assert_eq!(
        state(&[active, active], &[bag2], Multicast),
        Err(Error::Duplicate)
    );
    assert_eq!(state(&[active], &[bag2, bag2], Multicast), Err(Error::Duplicate));
    // One Pending, one Active.
    let other: &Write = &|w| gsa::write_tek(w, &tek(4, KeyState::Active));
    assert_eq!(
        state(&[active, other], &[bag2, bag4], Multicast),
        Err(Error::Duplicate)
    );
    // A Retiring key's bag is given to nobody.
    let (gsa, kd) = (octets(&[retiring]), octets(&[bag3]));
    assert!(State::parse(&gsa, &kd, Unicast).unwrap().teks[0].key.is_none());
    // Nine keys.
    let many = octets(&[&|w: &mut Writer<'_>| {
        (1..=9).for_each(|id| gsa::write_tek(w, &tek(id, KeyState::Retiring)))
    }]);
    assert_eq!(State::parse(&many, &[], Unicast), Err(Error::TooMany));

    // The Rekey SA.
    let (source, destination) = sockets(false);
    let policy = |gcauth| RekeySaPolicy {
        spi: REKEY_SPI,
        gcauth,
        lifetime_s: 1,
        initial_generation: 0,
    };
    let rekey =
        |gcauth| move |w: &mut Writer<'_>| gsa::write_rekey_sa(w, &policy(gcauth), source, destination);
    let [implicit, signed, untold]: [&Write; 3] = [
        &rekey(Some(GcAuth::Implicit)),
        &rekey(Some(GcAuth::Signature)),
        &rekey(None),
    ];
    let keys: &Write = &|w| drop(kd::write_rekey_sa(w, &REKEY_SPI));
    let strange: &Write = &|w| drop(kd::write_rekey_sa(w, &FORMER_SPI));
    let auth_key: &Write = &|w| kd::write_auth_key(w, &[1; 32]);
    assert_eq!(state(&[implicit], &[keys], Unicast), Ok(()));
    assert_eq!(state(&[signed], &[auth_key, keys], Unicast), Ok(()));
    assert_eq!(state(&[untold], &[keys], Multicast), Ok(()));
    assert_eq!(state(&[untold], &[keys], Unicast), Err(Error::Missing));
    assert_eq!(state(&[implicit], &[keys], Multicast), Err(Error::Misplaced));
    assert_eq!(
        state(&[untold], &[keys, auth_key], Multicast),
        Err(Error::Misplaced)
    );
    assert_eq!(state(&[signed], &[keys], Unicast), Err(Error::Missing));
    assert_eq!(
        state(&[implicit], &[keys, auth_key], Unicast),
        Err(Error::Misplaced)
    );
    assert_eq!(state(&[], &[auth_key], Unicast), Err(Error::Misplaced));
    assert_eq!(
        state(&[signed], &[auth_key, auth_key, keys], Unicast),
        Err(Error::Duplicate)
    );
    assert_eq!(state(&[implicit], &[keys, keys], Unicast), Err(Error::Duplicate));
    assert_eq!(
        state(&[implicit, implicit], &[keys], Unicast),
        Err(Error::Duplicate)
    );
    assert_eq!(state(&[implicit], &[strange], Unicast), Err(Error::Misplaced));
    assert_eq!(state(&[], &[keys], Unicast), Err(Error::Misplaced));

    // Group-wide policy: once, and a DTD of at least a second.
    let dtd = |dtd_s| move |w: &mut Writer<'_>| gsa::write_group(w, dtd_s);
    let [half_minute, none]: [&Write; 2] = [&dtd(30), &dtd(0)];
    assert_eq!(state(&[half_minute], &[], Unicast), Ok(()));
    assert_eq!(
        state(&[half_minute, half_minute], &[], Unicast),
        Err(Error::Duplicate)
    );
    assert_eq!(state(&[none], &[], Unicast), Err(Error::BadValue));
}

/// Section 6: single policies that are refused, made by hand.
#[test]
fn a_policy_is_refused_for_its_attributes() {
    const HEAD: &[u8] = &[0, 0, 0, 5];
    const STATE: &[u8] = &[0xc0, 0, 0, 3];
    const LIFETIME: &[u8] = &[0, 1, 0, 4, 0, 0, 0, 9];
    const PRF: &[u8] = &[0, 0, 0, 8, 2, 0, 0, 5];
    let wildcard: &[u8] = &[7, 0, 0, 16, 0, 0, 255, 255, 0, 0, 0, 0, 255, 255, 255, 255];
    let check = |spi: &[u8], parts: &[&[u8]]| {
        let body = [spi, wildcard, wildcard, &parts.concat()].concat();
        let length = u8::try_from(body.len() + 4).unwrap();
        let spi_size = u8::try_from(spi.len()).unwrap();
        let policy = [&[201, spi_size, 0, length][..], &body].concat();
        State::parse(&policy, &[], Carrier::Unicast).map(|_| ())
    };
    assert_eq!(check(HEAD, &[PRF, STATE, LIFETIME]), Ok(()));
    // Attributes in any order, unknown ones skipped in either format and any number, GSA_NEXT_SPI too.
    let unknown: &[&[u8]] = &[
        PRF,
        &[0x80, 77, 0, 0],
        LIFETIME,
        &[0, 77, 0, 0],
        &[0, 77, 0, 1, 1],
        STATE,
    ];
    assert_eq!(check(HEAD, unknown), Ok(()));
    assert_eq!(
        check(
            HEAD,
            &[
                PRF,
                STATE,
                LIFETIME,
                &[0, 3, 0, 4, 0, 0, 0, 6],
                &[0, 3, 0, 4, 0, 0, 0, 7]
            ]
        ),
        Ok(())
    );
    assert_eq!(check(HEAD, &[PRF, STATE]), Err(Error::Missing));
    assert_eq!(check(HEAD, &[PRF, LIFETIME]), Err(Error::Missing));
    assert_eq!(
        check(HEAD, &[PRF, STATE, LIFETIME, LIFETIME]),
        Err(Error::Duplicate)
    );
    assert_eq!(check(HEAD, &[PRF, STATE, STATE, LIFETIME]), Err(Error::Duplicate));
    for value in [0, 4, 255] {
        assert_eq!(
            check(HEAD, &[PRF, &[0xc0, 0, 0, value], LIFETIME]),
            Err(Error::BadValue)
        );
    }
    // A format that is not the attribute's own; a lifetime of another length.
    assert_eq!(
        check(HEAD, &[PRF, &[0x40, 0, 0, 2, 0, 3], LIFETIME]),
        Err(Error::BadValue)
    );
    assert_eq!(check(HEAD, &[PRF, STATE, &[0x80, 1, 0, 9]]), Err(Error::BadValue));
    assert_eq!(
        check(HEAD, &[PRF, STATE, &[0, 1, 0, 2, 0, 9]]),
        Err(Error::BadLength)
    );
    // A live key that does not say what it keys; a list that says it twice, or in halves.
    assert_eq!(
        check(HEAD, &[PRF, &[0xc0, 0, 0, 2], LIFETIME]),
        Err(Error::Missing)
    );
    let twice: &[u8] = &[0x40, 1, 0, 8, 0, 1, 4, 0, 0, 1, 4, 1];
    assert_eq!(check(HEAD, &[PRF, STATE, LIFETIME, twice]), Err(Error::Duplicate));
    assert_eq!(
        check(HEAD, &[PRF, STATE, LIFETIME, &[0x40, 1, 0, 2, 0, 1]]),
        Err(Error::Truncated)
    );
    // The SPI is a key id.
    assert_eq!(
        check(&[0, 0, 0, 0], &[PRF, STATE, LIFETIME]),
        Err(Error::BadValue)
    );
    assert_eq!(
        check(&[0, 1, 0, 5], &[PRF, STATE, LIFETIME]),
        Err(Error::BadValue)
    );
    assert_eq!(check(&[5], &[PRF, STATE, LIFETIME]), Err(Error::BadLength));
    // Another PRF, or none.
    assert_eq!(
        check(HEAD, &[&[0, 0, 0, 8, 2, 0, 0, 7], STATE, LIFETIME]),
        Err(Error::Unsupported)
    );
    assert!(check(HEAD, &[STATE, LIFETIME]).is_err());
    // A policy of ESP and its bag are skipped.
    let esp = [3, 4, 0, 8, 0, 0, 0, 1];
    assert!(State::parse(&esp, &esp, Carrier::Unicast).is_ok_and(|state| state.teks.is_empty()));
}

#[test]
fn nothing_stands_beside_an_sk_payload() {
    let good = sealed(ExchangeType::INFORMATIONAL, Flags::NONE, |_| {});
    let read = sk::locate(&good).unwrap();
    assert_eq!(read.first, PayloadType::NONE);
    assert_eq!(good.len(), sk::OVERHEAD);
    assert_eq!(contents_of_sealed(&good), Ok(Default::default()));

    let header = Header::new(SPI_I, SPI_R, ExchangeType::INFORMATIONAL, Flags::NONE, 0);
    let message = |write: &Write| {
        let mut room = [0; 512];
        let mut writer = Writer::message(&mut room, &header);
        write(&mut writer);
        sk::locate(writer.finish().unwrap())
    };
    assert_eq!(message(&|_| {}), Err(Error::NotSealed));
    let before: &Write = &|w| {
        write_notify(w, NotifyType::INITIAL_CONTACT, &[]);
        w.payload(PayloadType::SK, &[0; 25]);
    };
    assert_eq!(message(before), Err(Error::NotSealed));
    let behind: &Write = &|w| {
        w.payload(PayloadType::SK, &[0; 25]);
        write_notify(w, NotifyType::INITIAL_CONTACT, &[]);
    };
    assert_eq!(message(behind), Err(Error::Trailing));
    assert_eq!(
        message(&|w| w.payload(PayloadType::SK, &[0; 24])),
        Err(Error::Truncated)
    );
    assert!(message(&|w| w.payload(PayloadType::SK, &[0; 25])).is_ok());
    assert_eq!(
        message(&|w| w.payload(PayloadType::SKF, &[0; 40])),
        Err(Error::NotSealed)
    );
    // Pad Length beyond the text.
    assert_eq!(sk::unpad(&[0, 2]), Err(Error::BadLength));
    assert_eq!(sk::unpad(&[]), Err(Error::BadLength));
}
