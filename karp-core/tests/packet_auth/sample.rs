//! The packets that the tests run over, and one face for the three protocols' `sign` and `verify`.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use karp_core::packet_auth::build::{
    Csnp, LanHello, Level, Lsp, Ospfv2Hello, Ospfv3Hello, PointToPointHello, Psnp,
};
use karp_core::packet_auth::isis::Esn;
use karp_core::packet_auth::ospfv2::Mode;
use karp_core::packet_auth::{Algorithm, Error, Key, isis, ospfv2, ospfv3};

/// A routing key as PROTOCOL.md section 6 makes it: 28 characters of base64url.
pub(crate) const TEXT: &[u8] = b"dGhlIGtleSBvZiB0aGlzIGxpbmss";
pub(crate) const SOURCE_4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(crate) const SOURCE_6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 1, 2);
pub(crate) const SYSTEM: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(crate) const SEQUENCE_32: u64 = 0x0102_0304;
pub(crate) const SEQUENCE_64: u64 = 5 << 32 | SEQUENCE_32;
pub(crate) const ESN: Esn = Esn {
    session: 9,
    packet: 77,
};

/// What all three protocols' `Verified` have in common, for tests that run over all samples.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Accepted {
    pub(crate) key_id: u16,
    pub(crate) sequence: u64,
    pub(crate) len: usize,
}

/// The kinds of packet that the tests run over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sample {
    Ospfv2(Mode),
    Ospfv3,
    Ospfv3Lls,
    LanHello,
    PointToPointHello,
    Lsp,
    Purge,
    Csnp,
    Psnp,
}

pub(crate) const SAMPLES: [Sample; 10] = [
    Sample::Ospfv2(Mode::Rfc5709),
    Sample::Ospfv2(Mode::Rfc7474),
    Sample::Ospfv3,
    Sample::Ospfv3Lls,
    Sample::LanHello,
    Sample::PointToPointHello,
    Sample::Lsp,
    Sample::Purge,
    Sample::Csnp,
    Sample::Psnp,
];

impl Sample {
    pub(crate) fn key_id(self) -> u16 {
        if matches!(self, Self::Ospfv2(_)) {
            19
        } else {
            0x1234
        }
    }

    pub(crate) fn key(self, algorithm: Algorithm, octets: &[u8]) -> Key<'_> {
        Key::new(self.key_id(), algorithm, octets)
    }

    /// The packet before it is signed.
    pub(crate) fn build(self, buf: &mut [u8]) -> usize {
        match self {
            Self::Ospfv2(_) => Ospfv2Hello {
                router_id: 0xc000_0201,
                area_id: 7,
                designated: 0xc000_0201,
                backup: 0xc000_0202,
                neighbors: &[0xc000_0202],
                ..Ospfv2Hello::DEFAULT
            }
            .write(buf),
            Self::Ospfv3 => ospfv3_hello(0x13).write(buf),
            Self::Ospfv3Lls => ospfv3_hello(0x213).write(buf).map(|len| {
                // A block with the extended options TLV, and a checksum that signing must set to zero.
                let block = [0xde, 0xad, 0, 3, 0, 1, 0, 4, 0, 0, 0, 1];
                buf[len..len + block.len()].copy_from_slice(&block);
                len + block.len()
            }),
            Self::LanHello => LanHello {
                system_id: SYSTEM,
                lan_id: [2, 0, 0, 0, 0, 1, 1],
                neighbors: &[[2, 0, 0, 0, 0, 2]],
                ..LanHello::DEFAULT
            }
            .write(buf)
            .and_then(|len| isis::add_esn(buf, len, ESN)),
            Self::PointToPointHello => PointToPointHello {
                system_id: SYSTEM,
                ..PointToPointHello::DEFAULT
            }
            .write(buf)
            .and_then(|len| isis::add_esn(buf, len, ESN)),
            Self::Lsp => Lsp {
                level: Level::Two,
                lsp_id: [2, 0, 0, 0, 0, 1, 0, 0],
                sequence: 5,
                ..Lsp::DEFAULT
            }
            .write(buf),
            Self::Purge => Lsp {
                lsp_id: [2, 0, 0, 0, 0, 1, 0, 0],
                remaining_lifetime: 0,
                ..Lsp::DEFAULT
            }
            .write(buf),
            Self::Csnp => Csnp {
                level: Level::Two,
                system_id: SYSTEM,
            }
            .write(buf)
            .and_then(|len| isis::add_esn(buf, len, ESN)),
            Self::Psnp => Psnp {
                level: Level::One,
                system_id: SYSTEM,
            }
            .write(buf),
        }
        .unwrap()
    }

    pub(crate) fn sign(self, buf: &mut [u8], len: usize, key: &Key<'_>) -> Result<usize, Error> {
        match self {
            Self::Ospfv2(mode) => {
                let sequence = if mode == Mode::Rfc5709 {
                    SEQUENCE_32
                } else {
                    SEQUENCE_64
                };
                ospfv2::sign(
                    buf,
                    len,
                    key,
                    &ospfv2::SignParams {
                        mode,
                        sequence,
                        source: SOURCE_4,
                    },
                )
            }
            Self::Ospfv3 | Self::Ospfv3Lls => {
                let params = ospfv3::SignParams {
                    sequence: SEQUENCE_64,
                    source: SOURCE_6,
                };
                ospfv3::sign(buf, len, key, &params)
            }
            Self::LanHello | Self::PointToPointHello | Self::Lsp | Self::Purge | Self::Csnp | Self::Psnp => {
                isis::sign(buf, len, key)
            }
        }
    }

    pub(crate) fn verify(self, packet: &[u8], key: Key<'_>) -> Result<Accepted, Error> {
        let lookup = |id| (id == key.id).then_some(key);
        match self {
            Self::Ospfv2(mode) => ospfv2::verify(packet, mode, SOURCE_4, lookup).map(|v| {
                assert_eq!((v.packet_type, v.router_id, v.area_id), (1, 0xc000_0201, 7));
                Accepted {
                    key_id: v.key_id,
                    sequence: v.sequence,
                    len: v.signed_len,
                }
            }),
            Self::Ospfv3 | Self::Ospfv3Lls => ospfv3::verify(packet, SOURCE_6, lookup).map(|v| {
                assert_eq!((v.packet_type, v.router_id, v.area_id), (1, 0xc000_0201, 7));
                assert_eq!(v.lls_len, if self == Self::Ospfv3 { 0 } else { 12 });
                let len = v.packet_len + v.lls_len + ospfv3::overhead(key.algorithm);
                Accepted {
                    key_id: v.key_id,
                    sequence: v.sequence,
                    len,
                }
            }),
            Self::LanHello | Self::PointToPointHello | Self::Lsp | Self::Purge | Self::Csnp | Self::Psnp => {
                isis::verify(packet, lookup).map(|v| {
                    assert_eq!(v.system_id, SYSTEM);
                    let sequence = v.esn.map_or(0, |esn| u64::from(esn.packet));
                    Accepted {
                        key_id: v.key_id,
                        sequence,
                        len: v.pdu_len,
                    }
                })
            }
        }
    }

    /// A signed packet.
    pub(crate) fn signed(self, key: &Key<'_>) -> Vec<u8> {
        let mut buf = [0xaa; 400];
        let len = self.build(&mut buf);
        let len = self.sign(&mut buf, len, key).unwrap();
        buf[..len].to_vec()
    }

    /// Octets that no digest covers: of an LSP the remaining lifetime and the checksum (RFC 5310 section 3.4).
    pub(crate) fn uncovered(self, at: usize) -> bool {
        matches!(self, Self::Lsp | Self::Purge) && matches!(at, 10 | 11 | 24 | 25)
    }
}

pub(crate) fn ospfv3_hello(options: u32) -> Ospfv3Hello<'static> {
    Ospfv3Hello {
        router_id: 0xc000_0201,
        area_id: 7,
        options,
        designated: 0xc000_0201,
        backup: 0xc000_0202,
        neighbors: &[0xc000_0202],
        ..Ospfv3Hello::DEFAULT
    }
}

pub(crate) fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        write!(text, "{octet:02x}").unwrap();
        text
    })
}

/// The digest of a signed sample; all samples end with it.
pub(crate) fn digest(packet: &[u8], algorithm: Algorithm) -> String {
    hex(&packet[packet.len() - algorithm.digest_len()..])
}
