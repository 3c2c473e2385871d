//! Published test vectors, run through the crate's own functions: RFC 4231, 5869, 7634, 7748, 8032, 8439; Project
//! Wycheproof in a file of its own; last, the derivations of PROTOCOL.md against values that Python computed.
//!
//! What needs a chosen IV on the sealing side is tested in `src/crypto/aead.rs`: no public function takes one.
#![cfg(not(fuzzing))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::arithmetic_side_effects)]

use std::convert::Infallible;

use karp_core::crypto::{
    AuthFailed, DhError, DhSecret, IkeKeys, OpenKey, RekeySaKeys, Secret, SharedSecret, SigningKey,
    child_keymat, fingerprint, group_mac, identity_digest, is_acceptable_public_key, key_check, key_wrap_key,
    prf, prf_plus, rekey_skeyseed, shared_key_auth, skeyseed, verify, verify_group_mac,
};
use rand_core::{TryCryptoRng, TryRng};

#[path = "vectors/wycheproof.rs"]
mod project_wycheproof;

/// Octets of a string of hexadecimal digits, white space left out.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|c| !c.is_ascii_whitespace()).collect();
    assert!(digits.len().is_multiple_of(2));
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn hex_array<const N: usize>(text: &str) -> [u8; N] {
    hex(text).try_into().unwrap()
}

/// A generator that gives out what it was told to: the way to a given secret without an interface for it.
struct Told(Vec<u8>);

impl TryRng for Told {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut octets = [0; 4];
        self.try_fill_bytes(&mut octets)?;
        Ok(u32::from_le_bytes(octets))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut octets = [0; 8];
        self.try_fill_bytes(&mut octets)?;
        Ok(u64::from_le_bytes(octets))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        out.copy_from_slice(&self.0.drain(..out.len()).collect::<Vec<u8>>());
        Ok(())
    }
}

impl TryCryptoRng for Told {}

fn dh_secret(octets: &[u8]) -> DhSecret {
    DhSecret::generate(&mut Told(octets.to_vec()))
}

fn agree(secret: &[u8], public: &[u8]) -> Vec<u8> {
    dh_secret(secret).agree(public).unwrap().expose().to_vec()
}

/// The octets `from` up to and with `to`.
fn count(from: u8, to: u8) -> Vec<u8> {
    (from..=to).collect()
}

// --- HMAC-SHA-256: RFC 4231 section 4 ---

#[test]
fn rfc4231() {
    let long_key = [0xaa; 131];
    let cases: [(&[u8], &[u8], &str); 6] = [
        (&[0x0b; 20], b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        (
            b"Jefe",
            b"what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        (&[0xaa; 20], &[0xdd; 50], "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
        (&count(1, 25), &[0xcd; 50], "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"),
        (
            &long_key,
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        ),
        (
            &long_key,
            b"This is a test using a larger than block-size key and a larger than block-size data. The key needs to \
              be hashed before being used by the HMAC algorithm.",
            "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
        ),
    ];
    for (key, text, mac) in cases {
        assert_eq!(prf(key, &[text]), hex_array(mac));
        let (front, back) = text.split_at(text.len() / 3);
        assert_eq!(prf(key, &[front, b"", back]), hex_array(mac));
    }
    // Case 5 is cut to 16 octets, as GROUP_MAC is.
    let mac = prf(&[0x0c; 20], &[b"Test With Truncation"]);
    assert_eq!(mac[..16], hex("a3b6167473100ee06e0c796c2955552b"));
}

// --- HKDF: RFC 5869 appendix A, the three SHA-256 cases; extract is prf, expand is prf+ ---

#[test]
fn rfc5869() {
    let run = |ikm: &[u8], salt: &[u8], info: &[u8], prk: &str, okm: &str| {
        let key = prf(salt, &[ikm]);
        assert_eq!(key, hex_array(prk));
        let mut out = vec![0; hex(okm).len()];
        prf_plus(&key, &[info], &mut out).unwrap();
        assert_eq!(out, hex(okm));
    };
    run(
        &[0x0b; 22],
        &count(0, 12),
        &count(0xf0, 0xf9),
        "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    );
    run(
        &count(0, 0x4f),
        &count(0x60, 0xaf),
        &count(0xb0, 0xff),
        "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
        "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09\
         da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
    );
    run(
        &[0x0b; 22],
        &[],
        &[],
        "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
    );
}

// --- ChaCha20-Poly1305: RFC 8439 section 2.8.2; RFC 7634 appendices A and B ---

/// Opens through [`OpenKey`], whose nonce is salt | IV; before that, everything that is damaged must be refused.
fn opens(key: &[u8], nonce: &[u8], aad: &[u8], sealed: &[u8], tag: &[u8], text: &[u8]) {
    let key = OpenKey::new(&Secret::from_bytes(
        [key, &nonce[..4]].concat().try_into().unwrap(),
    ));
    let iv: [u8; 8] = nonce[4..].try_into().unwrap();
    let tag: [u8; 16] = tag.try_into().unwrap();
    let refused = |iv: [u8; 8], aad: &[u8], sealed: &[u8], tag: [u8; 16]| {
        let mut buffer = sealed.to_vec();
        assert_eq!(key.open(&iv, aad, &mut buffer, &tag), Err(AuthFailed));
        assert_eq!(buffer, sealed, "a bad tag leaves the text as it was");
    };
    for i in 0..16 {
        let mut forged = tag;
        forged[i] ^= 0x10;
        refused(iv, aad, sealed, forged);
    }
    let mut other_iv = iv;
    other_iv[7] ^= 1;
    refused(other_iv, aad, sealed, tag);
    refused(iv, &[aad, b"\0"].concat(), sealed, tag);
    let mut damaged = sealed.to_vec();
    damaged[0] ^= 0x80;
    refused(iv, aad, &damaged, tag);

    let mut buffer = sealed.to_vec();
    assert_eq!(key.open(&iv, aad, &mut buffer, &tag), Ok(()));
    assert_eq!(buffer, text);
}

#[test]
fn rfc8439() {
    opens(
        &count(0x80, 0x9f),
        &hex("070000004041424344454647"),
        &hex("50515253c0c1c2c3c4c5c6c7"),
        &hex("d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b
              1a71de0a9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc
              3ff4def08e4b7a9de576d26586cec64b6116"),
        &hex("1ae10b594f09e26a7e902ecbd0600691"),
        b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen \
          would be it.",
    );
}

#[test]
fn rfc7634_esp() {
    opens(
        &count(0x80, 0x9f),
        &hex("a0a1a2a3 1011121314151617"),
        &hex("0102030400000005"),
        &hex(
            "24039428b97f417e3c13753a4f05087b67c352e6a7fab1b982d466ef407ae5c614ee8099d52844eb61aa95dfab4c02f7
              2aa71e7c4c4f64c9befe2facc638e8f3cbec163fac469b502773f6fb94e664da9165b82829f641e0",
        ),
        &hex("76aaa8266b7fb0f7b11b369907e1ad43"),
        &hex(
            "45000054a6f200004001e778c6336405c000020508005b7a3a080000553bec100007362708090a0b0c0d0e0f10111213
              1415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f303132333435363701020204",
        ),
    );
}

/// The whole IKEv2 message, taken apart as a receiver does: header and SK header are the associated data.
#[test]
fn rfc7634_ikev2() {
    let message = hex(
        "c0c1c2c3c4c5c6c7 d0d1d2d3d4d5d6d7 2e202500 00000009 00000045 29000029
         1011121314151617 610394701f8d017f7c12924889 6b71bfe25236efd7cdc67066906315b2",
    );
    assert_eq!(message.len(), 0x45);
    let (aad, rest) = message.split_at(32);
    let (iv, rest) = rest.split_at(8);
    let (sealed, tag) = rest.split_at(rest.len() - 16);
    opens(
        &count(0x80, 0x9f),
        &[&hex("a0a1a2a3"), iv].concat(),
        aad,
        sealed,
        tag,
        &hex("0000000c 00004001 0000000a 00"),
    );
}

// --- X25519: RFC 7748 sections 5.2 and 6.1 ---

const ALICE: &str = "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a";
const BOB: &str = "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb";
const BETWEEN_THEM: &str = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742";

#[test]
fn rfc7748_scalar_multiplication() {
    for (scalar, point, result) in [
        (
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
        ),
        (
            "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
            "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
            "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
        ),
    ] {
        assert_eq!(agree(&hex(scalar), &hex(point)), hex(result));
    }
}

#[test]
fn rfc7748_iterated() {
    let mut nine = vec![0; 32];
    nine[0] = 9;
    let (mut k, mut u) = (nine.clone(), nine);
    for n in 1..=1000 {
        (k, u) = (agree(&k, &u), k);
        if n == 1 {
            assert_eq!(
                k,
                hex("422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079")
            );
        }
    }
    assert_eq!(
        k,
        hex("684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51")
    );
}

#[test]
fn rfc7748_diffie_hellman() {
    let (alice, bob) = (dh_secret(&hex(ALICE)), dh_secret(&hex(BOB)));
    assert_eq!(
        alice.public(),
        hex_array("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
    );
    assert_eq!(
        bob.public(),
        hex_array("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
    );
    for (ours, theirs) in [(&alice, &bob), (&bob, &alice), (&alice.duplicate(), &bob)] {
        assert_eq!(
            ours.agree(&theirs.public()).unwrap().expose(),
            &hex_array(BETWEEN_THEM)
        );
    }
    assert_eq!(format!("{alice:?}"), "DhSecret([redacted])");
}

#[test]
fn low_order_and_odd_lengths_are_refused() {
    let secret = dh_secret(&[0x42; 32]);
    for point in [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ] {
        let mut point: [u8; 32] = hex_array(point);
        assert_eq!(secret.agree(&point).unwrap_err(), DhError::LowOrder);
        point[31] |= 0x80; // the top bit is not looked at
        assert_eq!(secret.agree(&point).unwrap_err(), DhError::LowOrder);
    }
    for len in (0..80).filter(|len| *len != 32) {
        assert_eq!(secret.agree(&vec![9; len]).unwrap_err(), DhError::Length);
    }
}

// --- Ed25519: RFC 8032 section 7.1, tests 1 to 3 and SHA(abc) ---

#[test]
fn rfc8032() {
    for (seed, public, text, signature) in [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b\
             d25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c\
             387b2eaeb4302aeeb00d291612bb0c00",
        ),
        (
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659\
             4a7c15e9716ed28dc027beceea1ec40a",
        ),
        (
            "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
            "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd\
             454d4423643ce80e2a9ac94fa54ca49f",
            "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e030\
             3dca179c138ac17ad9bef1177331a704",
        ),
    ] {
        let key = SigningKey::from_seed(&Secret::from_bytes(hex_array(seed)));
        let (text, signature) = (hex(text), hex_array::<64>(signature));
        assert_eq!(key.public(), hex_array(public));
        assert_eq!(SigningKey::generate(&mut Told(hex(seed))).public(), key.public());
        assert_eq!(key.sign(&[&text]), signature);
        let (front, back) = text.split_at(text.len() / 2);
        assert_eq!(key.sign(&[front, back]), signature);
        assert!(verify(&key.public(), &[&text], &signature));
        assert!(verify(&key.public(), &[front, b"", back], &signature));
        assert!(!verify(&key.public(), &[&text, b"\0"], &signature));
        for i in 0..64 {
            let mut forged = signature;
            forged[i] ^= 1;
            assert!(!verify(&key.public(), &[&text], &forged));
        }
        assert_eq!(format!("{key:?}"), "SigningKey([redacted])");
    }
}

/// Under a key of low order one signature fits every message, or one message in eight: R = identity, S = 0.
#[test]
fn weak_public_keys_are_refused() {
    let mut signature = [0; 64];
    signature[0] = 1;
    for weak in [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    ] {
        let weak = hex_array(weak);
        assert!(!is_acceptable_public_key(&weak));
        for text in 0..32_u8 {
            assert!(!verify(&weak, &[&[text]], &signature));
        }
    }
    let no_point = hex_array("0200000000000000000000000000000000000000000000000000000000000000");
    assert!(!is_acceptable_public_key(&no_point));
    assert!(is_acceptable_public_key(
        &SigningKey::from_seed(&Secret::from_bytes([1; 32])).public()
    ));
}

// --- PROTOCOL.md's derivations, against Python's hmac and hashlib ---

/// RFC 7748's shared secret.
fn shared() -> SharedSecret {
    dh_secret(&hex(ALICE))
        .agree(&dh_secret(&hex(BOB)).public())
        .unwrap()
}

fn keymat_of(keys: &IkeKeys) -> Vec<u8> {
    let IkeKeys {
        sk_d,
        sk_ei,
        sk_er,
        sk_pi,
        sk_pr,
    } = keys;
    [
        &sk_d.expose()[..],
        sk_ei.expose(),
        sk_er.expose(),
        sk_pi.expose(),
        sk_pr.expose(),
    ]
    .concat()
}

#[test]
fn keys_of_an_ike_sa() {
    let keys = IkeKeys::derive(&shared(), &[0x11; 32], &[0x22; 32], &[0x33; 8], &[0x44; 8]);
    assert_eq!(
        keymat_of(&keys),
        hex("e4cb8cf94a16b768e73e70c224fbcffbebf951b2cc83baf0624df4a3de2767e7
             2fa26620fd06fa4b2c35e53c9e1fc2d793c002aed2c9f878b6f179ac837b71cc2944df26
             03ec4d5744b94055ddbda338a10a885ff4410c2f74a40435b92de544268d9b92180b85e1
             834571c5854deeb73d6440f7e06341f5cf75a4b1a538cccd448ca12f59bb19c9
             0a2265bd4b8f24d81d36356088076ea4d729315a33946372dc309fd194ea8a23")
    );
    assert_eq!(
        key_wrap_key(&keys.sk_d).expose(),
        &hex_array("fe9d870f22e7290aa7ceb54536264a748974318fb6a2e778f9e3a31ccc4883d4")
    );
    assert_eq!(
        rekey_skeyseed(&keys.sk_d, &shared(), &[0x55; 32], &[0x66; 32]).expose(),
        &hex_array("75f80f8df9849f4b8483beff058910c2897bc96bc590f6be2e55be699e646fb4")
    );
    let next = IkeKeys::rekey(
        &keys.sk_d,
        &shared(),
        &[0x55; 32],
        &[0x66; 32],
        &[0x77; 8],
        &[0x88; 8],
    );
    assert_eq!(
        next.sk_d.expose(),
        &hex_array("1a7d248f7f750e5f8eafc92260827f132191e00f72d80c23d40d07e796af657f")
    );
    assert_eq!(
        next.sk_pr.expose(),
        &hex_array("750eb8bcbfd6fd86b599cae610247df206d752fd0e6b49bfd68f145217833f7c")
    );
    assert_eq!(
        child_keymat::<40>(&keys.sk_d, Some(&shared()), &[0x55; 32], &[0x66; 32]).expose()[..],
        hex("45a462d59fab413ca11153ebd2bdc4666bb0250701236ae0a4f73155224d2933e651d9926b012393")
    );
    assert_eq!(
        child_keymat::<40>(&keys.sk_d, None, &[0x55; 32], &[0x66; 32]).expose()[..],
        hex("f4d116f9f152cd6be25f11dfa120b91926ddbea262e4803b922198e9ef3aee7c3db08437013e2c19")
    );
}

/// Nonces short, whole and long: Ni | Nr as a key of half a block, one block, and more than one block.
#[test]
fn skeyseed_of_nonces_of_every_size() {
    for (len, seed) in [
        (
            16,
            "d1cddadece6502e483bf546f4fb127692dfb4e95732a5b1437a8a81b5235b65e",
        ),
        (
            32,
            "f6dee8a91f146722eabbe1977b898cb5b38c189f6ac5198e0bb5ca09500e3faf",
        ),
        (
            256,
            "67218fda3f3c51402ff0f7d9ae5ac2e461380da8b61de3fe340e6bdaef13e5b3",
        ),
    ] {
        assert_eq!(
            skeyseed(&vec![0x11; len], &vec![0x22; len], &shared()).expose(),
            &hex_array(seed)
        );
    }
}

#[test]
fn keys_of_a_rekey_sa() {
    let octets: [u8; 68] = count(0, 67).try_into().unwrap();
    let keys = RekeySaKeys::from_octets(&octets, &count(0xe0, 0xef).try_into().unwrap());
    assert_eq!(
        keys.gsk_h.expose(),
        &hex_array("aea382e25bb8165340bb1fa6967fa362646c67c63852ffba4be0c75634a8bce7")
    );
    let parts: [&[u8]; 3] = [&[0; 16], &848_u16.to_be_bytes(), b"hello"];
    let mac = group_mac(&keys.gsk_h, &parts);
    assert_eq!(mac, hex_array("83a477ba9904b0923abc23f5a412de76"));
    assert!(verify_group_mac(&keys.gsk_h, &parts, &mac));
    let drawn = RekeySaKeys::random(&mut Told(octets.to_vec()), &[0; 16]);
    assert_eq!(drawn.octets().expose(), &octets);
}

#[test]
fn smaller_derivations() {
    let tek = Secret::from_bytes(count(0, 31).try_into().unwrap());
    assert_eq!(key_check(&tek, 7), hex_array("9ddff998ae00cdc5"));
    assert_eq!(fingerprint(tek.expose()).to_string(), "be19ea38");
    assert_eq!(
        identity_digest(&[&[2, 0, 0, 0], b"a.example"]),
        hex_array("401abe955e7659151b3a2eddc1a7e599")
    );
    assert_eq!(
        shared_key_auth(b"correct horse battery", &[b"message", b"nonce", b"mac"]),
        hex_array("dc862b05766ef5b7344f6b87c3aacfb22382cef058ad98c5f49906102e5cda69")
    );
}
