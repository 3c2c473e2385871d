//! Digests computed by other code: Python's hashlib and hmac.
//!
//! The script built each packet with `struct.pack` from the same field values as the tests do, took Ko = K (or K with the
//! protocol id) zero-padded to, or if longer hashed to, the digest's length, and computed
//! `hmac.new(ko, packet + apad, hash)`, Apad being `bytes.fromhex("878fe1f3") * 16` cut to the digest's length, with
//! the source address in its front for RFC 7474 and RFC 7166. It shares nothing with this crate.

use karp_core::packet_auth::Algorithm;

/// One algorithm's digests of the five sample packets, under the 28 characters of [`super::sample::TEXT`].
pub(crate) struct Pin {
    pub(crate) algorithm: Algorithm,
    pub(crate) ospfv2: &'static str,
    pub(crate) ospfv2_rfc7474: &'static str,
    pub(crate) ospfv3: &'static str,
    pub(crate) lan_hello: &'static str,
    pub(crate) lsp: &'static str,
}

pub(crate) const PINS: [Pin; 4] = [
    Pin {
        algorithm: Algorithm::HmacSha1,
        ospfv2: "2fc3fb554994a87093143328d88d4f31ef6456a6",
        ospfv2_rfc7474: "d0f8d2efc88ae9b021318d7c8eca147a6af181b7",
        ospfv3: "bcfce5397f4d713e6bcbe0ab7dba4d45dcb72fc4",
        lan_hello: "eb7b8c4fae18ed3de59ce9e793bf711515e3cbcc",
        lsp: "fd20fa7ff19a83742d9edc3398dd83bd0dd57459",
    },
    Pin {
        algorithm: Algorithm::HmacSha256,
        ospfv2: "c27a4d0e946b526fb6cfac7c3000bb5b3010b071c7e625db5a21842faf9837a7",
        ospfv2_rfc7474: "c403f814edce44b132673af0004263a30979979e9d8282e401dd5e4572256a6d",
        ospfv3: "214a82ea32e9017139d7fab341a0ca8a8f1232c4afea4ba538174922091ff168",
        lan_hello: "560d6bf94b20870335faf3721766d8212653836e62efa2a1bcbefabfd3d21aa8",
        lsp: "e3a783508a1ac21e56bce8e0d3a27da9d876c07ec18f1f5fffcda40f5b9bcab3",
    },
    Pin {
        algorithm: Algorithm::HmacSha384,
        ospfv2: "cacb8aab3f777c62c268c757eae432e02afb6fbc3affe3fcf5f91b4acc00262c8d2c5f236bf60d308633e1bd4217d8ae",
        ospfv2_rfc7474: "d08fdc08922f330051d20530f700968fdc5546ffd89ebf6eeba796503bc0555577003093c0a4dc2e6c363aefa8940d11",
        ospfv3: "d4ca9ce1328a3c04c4c4f8b25d7429b2e5c1d05836fcee601d77d531a0e4a32dfea933c4147e51212250ab9f798a5ac8",
        lan_hello: "0938d8a248231d762aed2b852d5513c5e15ac0178abff60c14b894be589a07c625814ac99a5962cdc897087af467b0b2",
        lsp: "931d4ea276e3628109751d3b5172b13d0ffda9eb76fa532032fa45b28a0ad86bbac0537748cd790bcebcccb53c8800a3",
    },
    Pin {
        algorithm: Algorithm::HmacSha512,
        ospfv2: "a4a8135fbfdf6406b7550490354485eab1f0f7a4246177f329f4aaa2ce4b768894054fdd7a2efcfa140ebb8f76c787dc5911b8120a49775b8ddafdf2f5c01008",
        ospfv2_rfc7474: "cf7499b785e08a2fc538beca6fda4fa65471e731aab4ad078136dd099b47b7c7f2627fcd957961130d7a677bcc9f121e341d1c7458dddbd4b59dc28005b246df",
        ospfv3: "6521ab8dd0266d0f993605b620353734aca7180dc463f814f20d7682f7fd1cab0ba32ab5adfe8a6a0da115020343b097fffa1a1ff3cbf543b3155d7c93bfbb83",
        lan_hello: "74101c31928f3f9d63d7d17c2f4f71b1301034024b9d0bd26078b94a299be99e11255bb1e278a109ab757a038b52e689e1d1ae786550935b4bd0aa22c62e67de",
        lsp: "469b3594cfea03e1ce1a62fd4c0b38f07ce7106f04e671e90cd601ca7ef4373d3bbbeea3f79d40d28f21191199836eb4a86ddde2e7f1001dd7f597f705fa40f9",
    },
];

/// Algorithm, length of a key of octets 0, 1, 2 and so on, and the first eight octets of the digests of the OSPFv2
/// packet (RFC 5709, then RFC 7474), the OSPFv3 packet and the LSP. The lengths lie around those of digest and block.
#[rustfmt::skip]
pub(crate) const KEY_LENGTHS: &[(Algorithm, usize, [&str; 4])] = &[
    (Algorithm::HmacSha1, 1, ["3a82decf7ca9c656", "767f16e3dd7c3ae8", "55f581d5f650c6f8", "e5ce761780c069e6"]),
    (Algorithm::HmacSha1, 18, ["d27bbfd7d97977a1", "c9ea8c7817d902b1", "0824338be321bb55", "4f7a2fa057236da5"]),
    (Algorithm::HmacSha1, 19, ["f6181252ca2229de", "0893bea9a8e207ec", "5af842ff6a533089", "3eaa121b8d521985"]),
    (Algorithm::HmacSha1, 20, ["f9103c684da1704f", "93d197ebf5d9447a", "93e888dac6939401", "1c0ef5250b7fe42b"]),
    (Algorithm::HmacSha1, 21, ["8c96bb53387e7942", "8970abcb4cb84ccc", "8c87e3fc8fff22eb", "8bd854bb4f1946f0"]),
    (Algorithm::HmacSha1, 64, ["3fea4016c8cd1d1f", "39c676522db8fb68", "6c103f04f7a74585", "15fba6cb654a69b4"]),
    (Algorithm::HmacSha1, 65, ["95bf48cef7ef299f", "1029f5d75ef5f5b5", "db15d5bd562b54e6", "de4a6dada97274cc"]),
    (Algorithm::HmacSha1, 256, ["f09e502dce2f9ac5", "6e9eee8070c0b6bd", "642d6b7048d17b7d", "0c11d41ffd0a6069"]),
    (Algorithm::HmacSha256, 1, ["806c090f9e779257", "d3daf99458bf41a5", "5989b450ed3bb4ee", "b34e5df81cb17b21"]),
    (Algorithm::HmacSha256, 30, ["892b28d5d3e4809f", "0b1eecdde0a59808", "139b81d7e2c769b1", "52598e7f7f0bce0b"]),
    (Algorithm::HmacSha256, 31, ["70c33d5de40108d8", "c8ddbd93153031ad", "ebb999daf398b0af", "21afeae2414c6920"]),
    (Algorithm::HmacSha256, 32, ["b9b43feda8a05db7", "132a9ee5bf2171e1", "12ac9c721e45b2b1", "5eecbd8ee7dacdbf"]),
    (Algorithm::HmacSha256, 33, ["87e9c262987c4fdc", "de4f801aad6a3be5", "1b39332b5ec6034c", "f2c553d3842ff7e9"]),
    (Algorithm::HmacSha256, 64, ["ee7c316ef21cf5a6", "d76daac6e4a4049e", "11ed97aa28176c1f", "09233dc3a6ed0b65"]),
    (Algorithm::HmacSha256, 65, ["b17d69ee3ec2196d", "ce53d91929428a99", "1bbe97a3dc27e89b", "9c1799919b2dc5db"]),
    (Algorithm::HmacSha256, 256, ["6ffb99e510d967f5", "21976c94d49877e1", "6dbe3bd0b4634a01", "218ca361f468555b"]),
    (Algorithm::HmacSha384, 1, ["4d41d40cee4cc819", "3878db2a3b12fbe0", "cf0aba8c57650b76", "66f15dce32277dee"]),
    (Algorithm::HmacSha384, 46, ["a307a8c65097311a", "80849503bde58ab3", "7001bf321513f45a", "d8726fbd1e73327d"]),
    (Algorithm::HmacSha384, 47, ["c53607ae496efc14", "6b91cbfd0144154f", "28f45287faff0bfb", "8ef487d2a531f1c0"]),
    (Algorithm::HmacSha384, 48, ["b9026ee4deee95c8", "7344000b3947cdaf", "3b452d0143d5e49c", "6b9d0790771e757e"]),
    (Algorithm::HmacSha384, 49, ["9378cc61204dd56c", "498d52f59290085c", "5a63dbe51fdad21d", "df0c826678c317b3"]),
    (Algorithm::HmacSha384, 128, ["ff9f4755157e3db6", "4b6102e894fc153e", "e9b17e0e0e0933fe", "eb49545543e97aac"]),
    (Algorithm::HmacSha384, 129, ["b7a7475cef5e82e3", "5c3cf73447428ad0", "31a8dc89964ca2a5", "5a8452b1cf774dd3"]),
    (Algorithm::HmacSha384, 256, ["8813367eeffe3335", "973a2d64f33f461b", "9feec251a6d997a8", "25d0a39606cac656"]),
    (Algorithm::HmacSha512, 1, ["c1021b0696d2aeaa", "11ea34075ccc4ce5", "16333301d0f07f78", "565ebf2e5e07f3f9"]),
    (Algorithm::HmacSha512, 62, ["e013f8441cb10603", "7eb0e4d70b9531f6", "bdce1d95a07c8c8f", "1602fe871b9106ce"]),
    (Algorithm::HmacSha512, 63, ["33679940d4fc6f6a", "36b6452cd7808507", "8a5cec3b63712840", "06f31bec5089d4a5"]),
    (Algorithm::HmacSha512, 64, ["a64f79d9fcbe2b20", "9641fd4c26c44512", "d91a8b0853a21e39", "e148555151f912cb"]),
    (Algorithm::HmacSha512, 65, ["77e7ac073b198210", "146a2220dab1302b", "a47cef40d82fe859", "a0106155d5694041"]),
    (Algorithm::HmacSha512, 128, ["df08ba790aa1a8bd", "2929f167cb3854cb", "a3f5197cf3d69a81", "085df0559c3dff51"]),
    (Algorithm::HmacSha512, 129, ["30f10eb5efdcb58d", "a163925ace54e3cc", "95c880578ba808d9", "deb7fd850c11a0f7"]),
    (Algorithm::HmacSha512, 256, ["049130f964cff879", "b13da8bc2b85ccc1", "dfa7ae324b862d18", "a43d46e8160e099a"]),
];
