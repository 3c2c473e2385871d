//! AUTH and cookies: what proves something and what does not.

use super::super::auth::{CertRule, Covered};
use crate::{
    crypto::Secret,
    testing::{Bench, Proof, address, id},
    wire::{
        ExchangeType, Flags, Header, PayloadType, Payloads, Writer,
        auth::{write_raw_public_key, write_signature},
        message::Contents,
        numbers::IdType,
        payload::Id,
    },
};

const SK_P: [u8; 32] = [3; 32];

/// Writes a message that holds ID and what `fill` adds, and hands its contents to `check`.
fn with_contents<T>(fill: impl FnOnce(&mut Writer<'_>), check: impl FnOnce(&Contents<'_>) -> T) -> T {
    let header = Header::new([1; 8], [2; 8], ExchangeType::GSA_AUTH, Flags::INITIATOR, 1);
    let mut buffer = [0; 1232];
    let mut writer = Writer::message(&mut buffer, &header);
    fill(&mut writer);
    let message = writer.finish().unwrap();
    let (_, payloads) = Payloads::of_message(message).unwrap();
    check(&Contents::collect(payloads).unwrap())
}

/// The sender `prover` proves itself over `message` and `nonce`; whether `peer` at the other side believes that it is
/// `named` and sent these.
fn believed(prover: Proof, verifier: Proof, named: &str, sent: [&[u8]; 2], had: [&[u8]; 2]) -> bool {
    let sk_p = Secret::from_bytes(SK_P);
    let mut prover = Bench::with("prover", 1, prover, |_| {});
    let mut verifier = Bench::with("verifier", 2, verifier, |_| {});
    let covered = |[message, nonce]: [&'static [u8]; 2]| (message, nonce);
    let _ = covered;
    let by = Covered {
        message: sent[0],
        nonce: sent[1],
        sk_p: &sk_p,
    };
    let against = Covered {
        message: had[0],
        nonce: had[1],
        sk_p: &sk_p,
    };
    with_contents(
        |writer| {
            let core = prover.at(0);
            let written = by.write(
                writer,
                &id("prover"),
                PayloadType::ID_I,
                |_| {},
                &id("verifier"),
                core.creds,
            );
            assert!(written);
        },
        |contents| against.verify(contents, &id(named), verifier.at(0).creds, CertRule::Required),
    )
}

#[test]
fn auth_covers_message_nonce_and_identity() {
    let said: [&[u8]; 2] = [b"first message", b"nonce"];
    for proof in [Proof::SharedKey, Proof::Signature] {
        assert!(believed(proof, proof, "prover", said, said));
        assert!(!believed(proof, proof, "another", said, said));
        assert!(!believed(
            proof,
            proof,
            "prover",
            said,
            [b"another message", b"nonce"]
        ));
        assert!(!believed(
            proof,
            proof,
            "prover",
            said,
            [b"first message", b"other"]
        ));
    }
    assert!(!believed(Proof::WrongKey, Proof::SharedKey, "prover", said, said));
    // By the method that the store has for the peer, and no other.
    assert!(!believed(
        Proof::SharedKey,
        Proof::Signature,
        "prover",
        said,
        said
    ));
    assert!(!believed(
        Proof::Signature,
        Proof::SharedKey,
        "prover",
        said,
        said
    ));
}

/// Section 4: CERT accompanies method 14 and must equal the stored key; so must the key that made the signature.
#[test]
fn certificate_and_signature_are_both_the_stored_keys() {
    let sk_p = Secret::from_bytes(SK_P);
    let said: (&[u8], &[u8]) = (b"first message", b"nonce");
    let covered = Covered {
        message: said.0,
        nonce: said.1,
        sk_p: &sk_p,
    };
    let (own, other) = (
        crate::testing::Store::pair(&id("prover")),
        crate::testing::Store::pair(&id("another")),
    );
    let (head, octets) = (id("prover").body().0, b"prover");
    let mac = crate::crypto::prf(&SK_P, &[&head, octets]);
    let parts: [&[u8]; 3] = [said.0, said.1, &mac];
    for (shown, signer, good) in [
        (Some(&own), &own, true),
        (Some(&other), &own, false),
        (Some(&own), &other, false),
        (Some(&other), &other, false),
        (None, &own, false),
    ] {
        let mut verifier = Bench::with("verifier", 2, Proof::Signature, |_| {});
        let found = with_contents(
            |writer| {
                Id {
                    ty: IdType::FQDN,
                    data: b"prover",
                }
                .write(writer, PayloadType::ID_I);
                if let Some(shown) = shown {
                    write_raw_public_key(writer, &shown.public());
                }
                write_signature(writer, &signer.sign(&parts));
            },
            |contents| covered.verify(contents, &id("prover"), verifier.at(0).creds, CertRule::Required),
        );
        assert_eq!(found, good);
    }
}

/// RFC 7296 section 2.6: a cookie is good for its nonce, SPI and address, under the present secret and the one before.
#[test]
fn cookies_are_taken_until_the_second_change_of_the_secret() {
    let mut bench = Bench::new("a", 1);
    let core = bench.at(0);
    let (nonce, spi) = ([1; 32], [2; 8]);
    let cookie = core.node.cookies.make(&nonce, &spi, address(2));
    let taken = |core: &crate::node::Core<'_>| core.node.cookies.check(&cookie, &nonce, &spi, address(2));
    assert!(taken(&core));
    for other in [
        core.node.cookies.check(&cookie, &[9; 32], &spi, address(2)),
        core.node.cookies.check(&cookie, &nonce, &[9; 8], address(2)),
        core.node.cookies.check(&cookie, &nonce, &spi, address(3)),
        core.node.cookies.check(&cookie[..32], &nonce, &spi, address(2)),
        core.node.cookies.check(&[], &nonce, &spi, address(2)),
    ] {
        assert!(!other);
    }
    let mut wrong = cookie.clone();
    wrong[0] = wrong[0].wrapping_add(1);
    assert!(!core.node.cookies.check(&wrong, &nonce, &spi, address(2)));
    core.node.cookies.turn(core.rng);
    assert!(taken(&core));
    let fresh = core.node.cookies.make(&nonce, &spi, address(2));
    assert_ne!(fresh, cookie);
    assert!(core.node.cookies.check(&fresh, &nonce, &spi, address(2)));
    core.node.cookies.turn(core.rng);
    assert!(!taken(&core));
    assert!(core.node.cookies.check(&fresh, &nonce, &spi, address(2)));
}
