//! A UDP datagram in an IPv4 packet, checksums and all.

use core::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

use smoltcp::wire::{IpAddress, IpProtocol, Ipv4Packet, UdpPacket};

const IPV4: usize = 20;
const UDP: usize = 8;
/// Octets in front of the datagram.
pub const HEADERS: usize = IPV4 + UDP;

/// Where a datagram came from, where it went, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Envelope {
    /// The sender.
    pub from: SocketAddrV4,
    /// The receiver, or the group.
    pub to: SocketAddrV4,
    /// The time to live on arrival.
    pub hop_limit: u8,
}

/// Writes the headers in front of the `len` octets of datagram that stand in `packet` after the first [`HEADERS`]. The
/// packet's length; `None` if it is not all there.
pub fn seal(packet: &mut [u8], len: usize, envelope: Envelope) -> Option<usize> {
    let total = HEADERS.checked_add(len)?;
    let (from, to) = (*envelope.from.ip(), *envelope.to.ip());
    let mut ip = Ipv4Packet::new_unchecked(packet.get_mut(..total)?);
    ip.set_version(4);
    ip.set_header_len(20);
    ip.set_dscp(48);
    ip.set_ecn(0);
    ip.set_total_len(u16::try_from(total).ok()?);
    ip.set_ident(0);
    ip.clear_flags();
    ip.set_dont_frag(true);
    ip.set_frag_offset(0);
    ip.set_hop_limit(envelope.hop_limit);
    ip.set_next_header(IpProtocol::Udp);
    ip.set_src_addr(from);
    ip.set_dst_addr(to);
    ip.fill_checksum();
    let mut udp = UdpPacket::new_unchecked(ip.payload_mut());
    udp.set_src_port(envelope.from.port());
    udp.set_dst_port(envelope.to.port());
    udp.set_len(u16::try_from(UDP.checked_add(len)?).ok()?);
    udp.fill_checksum(&IpAddress::Ipv4(from), &IpAddress::Ipv4(to));
    Some(total)
}

/// The datagram in `packet`; `None` if it is not one, or damaged, or a fragment.
pub fn open(packet: &mut [u8]) -> Option<(Envelope, &mut [u8])> {
    let ip = Ipv4Packet::new_checked(&*packet).ok()?;
    if !ip.verify_checksum()
        || ip.more_frags()
        || ip.frag_offset() != 0
        || ip.next_header() != IpProtocol::Udp
    {
        return None;
    }
    let (from, to, hop_limit) = (ip.src_addr(), ip.dst_addr(), ip.hop_limit());
    let udp = UdpPacket::new_checked(ip.payload()).ok()?;
    if !udp.verify_checksum(&IpAddress::Ipv4(from), &IpAddress::Ipv4(to)) {
        return None;
    }
    let envelope = Envelope {
        from: SocketAddrV4::new(from, udp.src_port()),
        to: SocketAddrV4::new(to, udp.dst_port()),
        hop_limit,
    };
    let begin = usize::from(ip.header_len()).checked_add(UDP)?;
    let len = udp.payload().len();
    packet
        .get_mut(begin..)?
        .get_mut(..len)
        .map(|payload| (envelope, payload))
}

/// The IPv4 address and port of `address`; the line knows no others.
#[must_use]
pub const fn v4(address: SocketAddr) -> SocketAddrV4 {
    match address.ip() {
        IpAddr::V4(ip) => SocketAddrV4::new(ip, address.port()),
        IpAddr::V6(_) => SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0),
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    const ENVELOPE: Envelope = Envelope {
        from: SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 848),
        to: SocketAddrV4::new(Ipv4Addr::new(224, 0, 0, 254), 848),
        hop_limit: 255,
    };

    fn packet(text: &[u8]) -> Vec<u8> {
        let mut packet = Vec::from([0xaa; HEADERS]);
        packet.extend(text);
        let len = seal(&mut packet, text.len(), ENVELOPE).unwrap();
        assert_eq!(len, packet.len());
        packet
    }

    #[test]
    fn what_is_sealed_is_opened() {
        for text in [&b"x"[..], &[0; 1232], b""] {
            let mut packet = packet(text);
            let (envelope, payload) = open(&mut packet).unwrap();
            assert_eq!((envelope, &*payload), (ENVELOPE, text));
        }
        assert_eq!(seal(&mut [0; 30], 3, ENVELOPE), None);
    }

    #[test]
    fn damage_is_noticed_wherever_it_is() {
        let whole = packet(b"a datagram");
        for at in 0..whole.len() {
            let mut packet = whole.clone();
            packet[at] ^= 0x10;
            assert_eq!(open(&mut packet), None, "octet {at}");
        }
        for len in 0..whole.len() {
            assert_eq!(open(&mut whole.clone()[..len]), None, "{len} octets");
        }
    }
}
