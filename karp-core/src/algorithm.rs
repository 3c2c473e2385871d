//! The numbers by which the wire names what a traffic key is for: routing protocols and their algorithms
//! (PROTOCOL.md section 10).
//!
//! Names and sizes only: nothing here computes. A number that is not in the tables is no value of these types, so
//! whoever must carry unknown numbers on keeps the number itself.

/// A routing protocol that a traffic key can serve (PROTOCOL.md section 10, "routing protocols").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum RoutingProtocol {
    /// OSPF for IPv4 (RFC 2328).
    Ospfv2,
    /// OSPF for IPv6 (RFC 5340).
    Ospfv3,
    /// IS-IS (ISO/IEC 10589).
    Isis,
    /// RIP version 2 (RFC 2453).
    Ripv2,
    /// RIP for IPv6 (RFC 2080).
    Ripng,
    /// Bidirectional forwarding detection (RFC 5880).
    Bfd,
    /// Protocol independent multicast (RFC 7761).
    Pim,
    /// Label distribution protocol (RFC 5036).
    Ldp,
    /// Border gateway protocol (RFC 4271).
    Bgp,
    /// Babel (RFC 8966).
    Babel,
    /// Multicast source discovery protocol (RFC 3618).
    Msdp,
}

impl RoutingProtocol {
    /// Every protocol, in the order of their numbers.
    pub const ALL: [Self; 11] = [
        Self::Ospfv2,
        Self::Ospfv3,
        Self::Isis,
        Self::Ripv2,
        Self::Ripng,
        Self::Bfd,
        Self::Pim,
        Self::Ldp,
        Self::Bgp,
        Self::Babel,
        Self::Msdp,
    ];

    /// The protocol that `code` names, or `None` if section 10 does not list it.
    #[must_use]
    pub const fn from_code(code: u16) -> Option<Self> {
        Some(match code {
            1 => Self::Ospfv2,
            2 => Self::Ospfv3,
            3 => Self::Isis,
            4 => Self::Ripv2,
            5 => Self::Ripng,
            6 => Self::Bfd,
            7 => Self::Pim,
            8 => Self::Ldp,
            9 => Self::Bgp,
            10 => Self::Babel,
            11 => Self::Msdp,
            _ => return None,
        })
    }

    /// The protocol's number on the wire.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::Ospfv2 => 1,
            Self::Ospfv3 => 2,
            Self::Isis => 3,
            Self::Ripv2 => 4,
            Self::Ripng => 5,
            Self::Bfd => 6,
            Self::Pim => 7,
            Self::Ldp => 8,
            Self::Bgp => 9,
            Self::Babel => 10,
            Self::Msdp => 11,
        }
    }

    /// The protocol's name as section 10 writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ospfv2 => "OSPFv2",
            Self::Ospfv3 => "OSPFv3",
            Self::Isis => "IS-IS",
            Self::Ripv2 => "RIPv2",
            Self::Ripng => "RIPng",
            Self::Bfd => "BFD",
            Self::Pim => "PIM",
            Self::Ldp => "LDP",
            Self::Bgp => "BGP",
            Self::Babel => "Babel",
            Self::Msdp => "MSDP",
        }
    }

    /// The width in bits of the key id that the protocol's packets carry, or `None` if they carry none.
    ///
    /// - 8: OSPFv2 (RFC 5709; RFC 7474 widens it to 32, but a key may be used under both), RIPv2 (RFC 4822), BFD
    ///   (RFC 5880), and what rides on TCP-AO (RFC 5925: BGP, LDP, MSDP).
    /// - 16: OSPFv3 (RFC 7166), IS-IS (RFC 5310).
    /// - None: Babel (RFC 8967 tries each of the interface's keys), RIPng and PIM (protected by IPsec, whose SPI is no
    ///   key id of ours).
    #[must_use]
    pub const fn key_id_bits(self) -> Option<u8> {
        match self {
            Self::Ospfv2 | Self::Ripv2 | Self::Bfd | Self::Ldp | Self::Bgp | Self::Msdp => Some(8),
            Self::Ospfv3 | Self::Isis => Some(16),
            Self::Ripng | Self::Pim | Self::Babel => None,
        }
    }

    /// The greatest key id that the protocol's packets can carry; protocols that carry none take any.
    #[must_use]
    pub const fn max_key_id(self) -> u16 {
        match self.key_id_bits() {
            Some(8) => 255,
            Some(_) | None => u16::MAX,
        }
    }

    /// Whether the protocol defines `algorithm` for its packets. RIPng and PIM are protected by IPsec, which takes any
    /// HMAC.
    #[must_use]
    pub const fn takes(self, algorithm: RoutingAlgorithm) -> bool {
        use RoutingAlgorithm as A;
        match algorithm {
            A::HmacSha1 => !matches!(self, Self::Ldp | Self::Bgp | Self::Msdp | Self::Babel),
            A::HmacSha256 => !matches!(self, Self::Ldp | Self::Bgp | Self::Msdp | Self::Bfd),
            A::HmacSha384 | A::HmacSha512 => {
                !matches!(self, Self::Ldp | Self::Bgp | Self::Msdp | Self::Bfd | Self::Babel)
            }
            // RFC 5926 for TCP-AO, RFC 2385 for TCP-MD5.
            A::HmacSha1Cut96 | A::Aes128CmacCut96 | A::KeyedMd5 => {
                matches!(self, Self::Ldp | Self::Bgp | Self::Msdp)
            }
            A::Blake2s128 => matches!(self, Self::Babel),
        }
    }
}

/// An algorithm with which a routing protocol uses a traffic key (PROTOCOL.md section 10, "algorithms").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum RoutingAlgorithm {
    /// HMAC with SHA-1, not cut.
    HmacSha1,
    /// HMAC with SHA-256, not cut.
    HmacSha256,
    /// HMAC with SHA-384, not cut.
    HmacSha384,
    /// HMAC with SHA-512, not cut.
    HmacSha512,
    /// HMAC with SHA-1 cut to 96 bits (TCP-AO, RFC 5926).
    HmacSha1Cut96,
    /// AES-128 CMAC cut to 96 bits (TCP-AO, RFC 5926).
    Aes128CmacCut96,
    /// Keyed MD5, for TCP-MD5 only (RFC 2385).
    KeyedMd5,
    /// BLAKE2s with 128 bits of output (Babel, RFC 8967).
    Blake2s128,
}

impl RoutingAlgorithm {
    /// Every algorithm, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::HmacSha1,
        Self::HmacSha256,
        Self::HmacSha384,
        Self::HmacSha512,
        Self::HmacSha1Cut96,
        Self::Aes128CmacCut96,
        Self::KeyedMd5,
        Self::Blake2s128,
    ];

    /// The algorithm that `code` names, or `None` if section 10 does not list it.
    #[must_use]
    pub const fn from_code(code: u16) -> Option<Self> {
        Some(match code {
            1024 => Self::HmacSha1,
            1025 => Self::HmacSha256,
            1026 => Self::HmacSha384,
            1027 => Self::HmacSha512,
            1028 => Self::HmacSha1Cut96,
            1029 => Self::Aes128CmacCut96,
            1030 => Self::KeyedMd5,
            1031 => Self::Blake2s128,
            _ => return None,
        })
    }

    /// The algorithm's number on the wire.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::HmacSha1 => 1024,
            Self::HmacSha256 => 1025,
            Self::HmacSha384 => 1026,
            Self::HmacSha512 => 1027,
            Self::HmacSha1Cut96 => 1028,
            Self::Aes128CmacCut96 => 1029,
            Self::KeyedMd5 => 1030,
            Self::Blake2s128 => 1031,
        }
    }

    /// The length in octets of the digest that goes into a packet.
    #[must_use]
    pub const fn digest_len(self) -> usize {
        match self {
            Self::HmacSha1 => 20,
            Self::HmacSha256 => 32,
            Self::HmacSha384 => 48,
            Self::HmacSha512 => 64,
            Self::HmacSha1Cut96 | Self::Aes128CmacCut96 => 12,
            Self::KeyedMd5 | Self::Blake2s128 => 16,
        }
    }

    /// The algorithm's name as section 10 writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::HmacSha1 => "HMAC-SHA-1",
            Self::HmacSha256 => "HMAC-SHA-256",
            Self::HmacSha384 => "HMAC-SHA-384",
            Self::HmacSha512 => "HMAC-SHA-512",
            Self::HmacSha1Cut96 => "HMAC-SHA-1-96",
            Self::Aes128CmacCut96 => "AES-128-CMAC-96",
            Self::KeyedMd5 => "keyed MD5",
            Self::Blake2s128 => "BLAKE2s-128",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_a_round_trip_and_no_others_are_known() {
        let protocols = (0..=u16::MAX).filter_map(RoutingProtocol::from_code);
        assert!(protocols.eq(RoutingProtocol::ALL));
        assert!(
            RoutingProtocol::ALL
                .iter()
                .all(|p| RoutingProtocol::from_code(p.code()) == Some(*p))
        );
        let algorithms = (0..=u16::MAX).filter_map(RoutingAlgorithm::from_code);
        assert!(algorithms.eq(RoutingAlgorithm::ALL));
        assert!(
            RoutingAlgorithm::ALL
                .iter()
                .all(|a| RoutingAlgorithm::from_code(a.code()) == Some(*a))
        );
    }
}
