//! A third party's word on the keys: packets that BIRD and FRR signed verify under karp's keys with
//! `karp_core::packet_auth`, and not under any other.

use std::{collections::BTreeMap, fmt, net::IpAddr, path::Path};

use anyhow::Context as _;
use karp_core::{
    algorithm::{RoutingAlgorithm, RoutingProtocol},
    crypto::{RoutingKey, Secret},
    packet_auth::{Algorithm, Error, Key},
};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::capture::Captured;

/// Where a key is known from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Origin {
    /// Made from the traffic key in karpd's file of kept keys.
    Kept,
    /// Read from a file of passwords that BIRD includes.
    BirdFile,
    /// The laboratory's own.
    Fixed,
}

impl Origin {
    /// In a word or two.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kept => "karpd's kept keys",
            Self::BirdFile => "BIRD's password files",
            Self::Fixed => "fixed keys",
        }
    }
}

/// Keys of OSPF, all for HMAC-SHA-256. An id may have several: it comes round again.
#[derive(Default)]
pub struct Keyring {
    /// By version and id.
    keys: BTreeMap<(u8, u16), Vec<Known>>,
}

struct Known {
    origin: Origin,
    text: Zeroizing<String>,
}

/// No octets of a key.
impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.keys()).finish()
    }
}

impl Keyring {
    /// Adds the key of a version of OSPF, if it is not there from this origin. Returns whether it was not.
    pub fn add(&mut self, version: u8, id: u16, origin: Origin, text: &str) -> bool {
        let is_new = !self.of(version, id, origin).any(|known| known == text);
        if is_new {
            self.keys.entry((version, id)).or_default().push(Known {
                origin,
                text: Zeroizing::new(text.to_owned()),
            });
        }
        is_new
    }

    /// Adds what OSPFv2 and OSPFv3 make of a traffic key (PROTOCOL.md section 6).
    pub fn derive(&mut self, tek: &Secret<32>, id: u16) {
        for (version, protocol) in [(2, RoutingProtocol::Ospfv2), (3, RoutingProtocol::Ospfv3)] {
            let algorithm = RoutingAlgorithm::HmacSha256.code();
            let key = RoutingKey::derive(tek, protocol.code(), id, algorithm);
            self.add(version, id, Origin::Kept, key.text());
        }
    }

    /// Adds the keys of a file of passwords that BIRD includes.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read_bird_file(&mut self, version: u8, path: &Path) -> anyhow::Result<()> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
        for (id, key) in passwords(&Zeroizing::new(text)) {
            self.add(version, id, Origin::BirdFile, &key);
        }
        Ok(())
    }

    /// How many keys it has of an origin, both versions together.
    #[must_use]
    pub fn count(&self, origin: Origin) -> usize {
        let keys = self.keys.values().flatten();
        keys.filter(|known| known.origin == origin).count()
    }

    /// The versions and ids about which two origins differ: each must have the same keys. Ids that only one has are left
    /// aside.
    #[must_use]
    pub fn contradictions(&self, one: Origin, other: Origin) -> Vec<(u8, u16)> {
        let texts = |(version, id): (u8, u16), origin| {
            let mut texts: Vec<&str> = self.of(version, id, origin).collect();
            texts.sort_unstable();
            texts
        };
        let differ = |name: &(u8, u16)| {
            let (one, other) = (texts(*name, one), texts(*name, other));
            !one.is_empty() && !other.is_empty() && one != other
        };
        self.keys.keys().copied().filter(differ).collect()
    }

    /// The newest key of an id that an origin has.
    #[must_use]
    pub fn text(&self, version: u8, id: u16, origin: Origin) -> Option<&str> {
        self.of(version, id, origin).last()
    }

    fn of(&self, version: u8, id: u16, origin: Origin) -> impl Iterator<Item = &str> {
        let keys = self.keys.get(&(version, id)).into_iter().flatten();
        keys.filter(move |known| known.origin == origin)
            .map(|known| known.text.as_str())
    }
}

/// The ids and keys in the text of a file of passwords: `password "KEY" { id N; ..`.
fn passwords(text: &str) -> Vec<(u16, Zeroizing<String>)> {
    let blocks = text.split("password \"").skip(1);
    blocks
        .filter_map(|block| {
            let (key, rest) = block.split_once('"')?;
            let (_, rest) = rest.split_once("id ")?;
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            Some((digits.parse().ok()?, Zeroizing::new(key.to_owned())))
        })
        .collect()
}

/// What became of packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Count {
    /// Verified under the key of their id.
    pub verified: u64,
    /// Of these, by type: Hello, Database Description, Link State Request, Update, Acknowledgment.
    pub types: [u64; 5],
    /// Under a key id that the keyring does not have.
    pub unknown: u64,
    /// Refused under the key that the keyring has for the id.
    pub refused: u64,
    /// Not authenticated, or no packet.
    pub other: u64,
    /// Verified under a key that differs in one character: there must be none.
    pub under_a_wrong_key: u64,
    /// Verified after one bit of the packet was turned over: there must be none.
    pub after_damage: u64,
}

/// What became of all packets of a capture, by source address and version of OSPF.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Check {
    /// The counts.
    pub counts: BTreeMap<(u8, IpAddr), Count>,
}

impl Check {
    /// Verifies every packet under the keys of one origin, and tries wrong keys and damaged packets.
    #[must_use]
    pub fn of(captured: &Captured, keyring: &Keyring, origin: Origin) -> Self {
        let mut check = Self::default();
        for packet in &captured.packets {
            let Some(version) = packet.version() else { continue };
            let count = check.counts.entry((version, packet.source)).or_default();
            let Ok(Some(id)) = packet.key_id() else {
                count.other += 1;
                continue;
            };
            let verify = |packet: &super::capture::Packet, key: &str| {
                packet.verify(|id| Some(Key::new(id, Algorithm::HmacSha256, key.as_bytes())))
            };
            let mut keys = keyring.of(version, id, origin).peekable();
            if keys.peek().is_none() {
                count.unknown += 1;
                continue;
            }
            let Some((key, verified)) = keys.find_map(|key| Some((key, verify(packet, key).ok()?))) else {
                count.refused += 1;
                continue;
            };
            count.verified += 1;
            let kind = usize::from(verified.packet_type).checked_sub(1);
            if let Some(of_type) = kind.and_then(|kind| count.types.get_mut(kind)) {
                *of_type += 1;
            }
            let wrong = Zeroizing::new(almost(key));
            count.under_a_wrong_key += u64::from(verify(packet, &wrong) != Err(Error::BadDigest));
            // The router id: no length depends on it, so nothing but the digest can tell.
            let mut damaged = packet.clone();
            if let Some(octet) = damaged.octets.get_mut(7) {
                *octet ^= 1;
            }
            count.after_damage += u64::from(verify(&damaged, key) != Err(Error::BadDigest));
        }
        check
    }

    /// Every packet verified that `is_expected` says should, some from each of these sources, and nothing verified that
    /// must not: an error in words otherwise. Packets under an unknown key are `allowed_unknown` at most in each count.
    ///
    /// # Errors
    /// What is wrong, in a line.
    pub fn demand(&self, sources: &[(u8, IpAddr)], allowed_unknown: u64) -> Result<(), String> {
        for (version, source) in sources {
            let name = format!("OSPFv{version} packets of {source}");
            let Some(count) = self.counts.get(&(*version, *source)) else {
                return Err(format!("no {name} were captured"));
            };
            if count.verified == 0 {
                return Err(format!("no {name} verified: {count:?}"));
            }
            if count.refused + count.other > 0 || count.unknown > allowed_unknown {
                return Err(format!("not all {name} verified: {count:?}"));
            }
            if count.under_a_wrong_key + count.after_damage > 0 {
                return Err(format!("{name} verified that must not: {count:?}"));
            }
        }
        Ok(())
    }

    /// How many packets verified.
    #[must_use]
    pub fn verified(&self) -> u64 {
        self.counts.values().map(|count| count.verified).sum()
    }

    /// For the summary.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let counts = self.counts.iter().map(|((version, source), count)| {
            json!({
                "version": version, "source": source.to_string(), "verified": count.verified, "types": count.types,
                "unknown_key": count.unknown, "refused": count.refused, "not_authenticated": count.other,
                "verified_under_a_wrong_key": count.under_a_wrong_key, "verified_after_damage": count.after_damage,
            })
        });
        counts.collect()
    }
}

/// A key that differs from this one in its last character.
fn almost(key: &str) -> String {
    let mut other = key.to_owned();
    let last = other.pop();
    other.push(if last == Some('A') { 'B' } else { 'A' });
    other
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use karp_core::packet_auth::{
        build::{Ospfv2Hello, Ospfv3Hello},
        ospfv2, ospfv3,
    };

    use super::{
        super::{capture::Packet, record::Watched},
        *,
    };

    const V4: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
    const V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

    const fn protocol(version: u8) -> Watched {
        if version == 2 {
            Watched::Ospf2
        } else {
            Watched::Ospf3
        }
    }

    fn signed(version: u8, id: u16, text: &str) -> Packet {
        let key = Key::new(id, Algorithm::HmacSha256, text.as_bytes());
        let mut octets = vec![0; 256];
        let (source, len) = if version == 2 {
            let len = Ospfv2Hello::DEFAULT.write(&mut octets).unwrap();
            let params = ospfv2::SignParams {
                mode: ospfv2::Mode::Rfc5709,
                sequence: 4,
                source: V4,
            };
            (V4.into(), ospfv2::sign(&mut octets, len, &key, &params))
        } else {
            let len = Ospfv3Hello::DEFAULT.write(&mut octets).unwrap();
            let params = ospfv3::SignParams {
                sequence: 4,
                source: V6,
            };
            (V6.into(), ospfv3::sign(&mut octets, len, &key, &params))
        };
        octets.truncate(len.unwrap());
        Packet {
            at_ms: 0,
            protocol: protocol(version),
            source,
            octets,
        }
    }

    fn captured(packets: Vec<Packet>) -> Captured {
        Captured {
            packets,
            fragments: 0,
        }
    }

    #[test]
    fn packets_verify_under_the_key_of_their_id_and_no_other() {
        let tek = Secret::from_bytes([7; 32]);
        let mut keyring = Keyring::default();
        keyring.derive(&tek, 9);
        let key = |protocol: RoutingProtocol| {
            let key = RoutingKey::derive(&tek, protocol.code(), 9, RoutingAlgorithm::HmacSha256.code());
            key.text().to_owned()
        };
        let (two, three) = (key(RoutingProtocol::Ospfv2), key(RoutingProtocol::Ospfv3));
        let right = captured(vec![signed(2, 9, &two), signed(3, 9, &three)]);
        let check = Check::of(&right, &keyring, Origin::Kept);
        assert_eq!(check.verified(), 2);
        check.demand(&[(2, V4.into()), (3, V6.into())], 0).unwrap();
        // The key of the other version, an unknown id, and somebody's who was not seen.
        let wrong = captured(vec![signed(2, 9, &three), signed(3, 8, &three)]);
        let check = Check::of(&wrong, &keyring, Origin::Kept);
        assert_eq!(check.counts[&(2, V4.into())].refused, 1);
        assert_eq!(check.counts[&(3, V6.into())].unknown, 1);
        for source in [(2, V4.into()), (3, V6.into()), (2, Ipv4Addr::BROADCAST.into())] {
            assert!(check.demand(&[source], 0).is_err());
        }
        assert_eq!(Check::of(&right, &keyring, Origin::BirdFile).verified(), 0);
    }

    #[test]
    fn a_file_of_passwords_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys");
        let text = "# karp\npassword \"first-key\" { id 4; algorithm hmac sha256; generate to \"2020-01-01\"; };\n\
                    password \"Second_key\" {\n  id 201;\n};\n";
        std::fs::write(&path, text).unwrap();
        let mut keyring = Keyring::default();
        keyring.read_bird_file(2, &path).unwrap();
        keyring.read_bird_file(2, &path).unwrap();
        assert_eq!(keyring.count(Origin::BirdFile), 2);
        assert_eq!(
            keyring.of(2, 201, Origin::BirdFile).collect::<Vec<_>>(),
            ["Second_key"]
        );
        keyring.add(2, 4, Origin::Kept, "first-key");
        assert!(keyring.contradictions(Origin::Kept, Origin::BirdFile).is_empty());
        keyring.add(2, 201, Origin::Kept, "another");
        assert_eq!(keyring.contradictions(Origin::Kept, Origin::BirdFile), [(2, 201)]);
        assert!(!format!("{keyring:?}").contains("key\""));
    }

    #[test]
    fn what_is_not_authenticated_does_not_count_as_verified() {
        let mut octets = vec![0; 64];
        let len = Ospfv2Hello::DEFAULT.write(&mut octets).unwrap();
        octets.truncate(len);
        let plain = Packet {
            at_ms: 0,
            protocol: Watched::Ospf2,
            source: V4.into(),
            octets,
        };
        let check = Check::of(&captured(vec![plain]), &Keyring::default(), Origin::Fixed);
        assert_eq!(check.counts[&(2, V4.into())].other, 1);
        assert!(check.demand(&[(2, V4.into())], 100).is_err());
    }
}
