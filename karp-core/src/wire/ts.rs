//! Traffic selectors, which name the session that a routing SA is for (RFC 7296 section 3.13, PROTOCOL.md section 9).

use core::net::IpAddr;

use super::substructure::body_of;
use super::{Error, PayloadType, Reader, Writer};

/// TS_IPV4_ADDR_RANGE.
const IPV4_RANGE: u8 = 7;
/// TS_IPV6_ADDR_RANGE.
const IPV6_RANGE: u8 = 8;

/// One end of a session: all packets of one IP protocol and port at one address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Selector {
    /// The address.
    pub address: IpAddr,
    /// The IP protocol: 6 for TCP, 17 for UDP.
    pub ip_protocol: u8,
    /// The port; `None` for any.
    pub port: Option<u16>,
}

impl Selector {
    /// The one selector in the body of a TSi or TSr payload; `None` if it is well formed and names another thing than one
    /// address with one port or all: a session is never that.
    ///
    /// # Errors
    /// [`Error::Truncated`], [`Error::BadLength`] or [`Error::Trailing`] for a malformed body.
    pub fn parse(body: &[u8]) -> Result<Option<Self>, Error> {
        let mut reader = Reader::new(body);
        let count = reader.u8()?;
        reader.take(3)?; // reserved
        let mut found = None;
        for _ in 0..count {
            found = Self::parse_one(&mut reader)?;
        }
        reader.finish()?;
        Ok(found.filter(|_| count == 1))
    }

    fn parse_one(reader: &mut Reader<'_>) -> Result<Option<Self>, Error> {
        let kind = reader.u8()?;
        let ip_protocol = reader.u8()?;
        let mut body = body_of(reader.u16()?, reader)?;
        if kind != IPV4_RANGE && kind != IPV6_RANGE {
            return Ok(None);
        }
        let port = match (body.u16()?, body.u16()?) {
            (0, u16::MAX) => Some(None),
            (first, last) => (first == last).then_some(Some(first)),
        };
        let (first, last): (IpAddr, IpAddr) = if kind == IPV4_RANGE {
            ((*body.array::<4>()?).into(), (*body.array::<4>()?).into())
        } else {
            ((*body.array::<16>()?).into(), (*body.array::<16>()?).into())
        };
        body.finish()?;
        Ok(port.filter(|_| first == last).map(|port| Self {
            address: first,
            ip_protocol,
            port,
        }))
    }

    /// Writes a TSi or TSr payload with this selector alone.
    pub fn write(&self, writer: &mut Writer<'_>, ty: PayloadType) {
        let payload = writer.begin(ty);
        writer.bytes(&[1, 0, 0, 0]);
        let kind = if self.address.is_ipv4() {
            IPV4_RANGE
        } else {
            IPV6_RANGE
        };
        let selector = writer.begin_sub(kind, self.ip_protocol);
        let (first, last) = self.port.map_or((0, u16::MAX), |port| (port, port));
        writer.u16(first);
        writer.u16(last);
        for _ in 0..2 {
            match self.address {
                IpAddr::V4(address) => writer.bytes(&address.octets()),
                IpAddr::V6(address) => writer.bytes(&address.octets()),
            }
        }
        writer.end(selector);
        writer.end(payload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn body(selector: &Selector) -> Vec<u8> {
        let mut octets = [0; 64];
        let mut writer = Writer::new(&mut octets);
        selector.write(&mut writer, PayloadType::TS_I);
        writer.finish().unwrap()[4..].to_vec()
    }

    #[test]
    fn what_is_written_is_read() {
        for (address, port) in [
            ("192.0.2.1", Some(179)),
            ("fe80::1", Some(0)),
            ("192.0.2.1", None),
        ] {
            let selector = Selector {
                address: address.parse().unwrap(),
                ip_protocol: 6,
                port,
            };
            let octets = body(&selector);
            assert_eq!(Selector::parse(&octets), Ok(Some(selector)));
            for cut in 0..octets.len() {
                assert!(Selector::parse(&octets[..cut]).is_err(), "cut at {cut}");
            }
        }
    }

    #[test]
    fn what_names_no_session_is_no_selector() {
        let selector = Selector {
            address: "192.0.2.1".parse().unwrap(),
            ip_protocol: 6,
            port: Some(179),
        };
        let octets = body(&selector);
        for (at, value, what) in [(4, 9, "type"), (8, 1, "port range"), (15, 9, "address range")] {
            let mut other = octets.clone();
            other[at] = value;
            assert_eq!(Selector::parse(&other), Ok(None), "{what}");
        }
        let mut two = octets.clone();
        two[0] = 2;
        two.extend_from_slice(&octets[4..]);
        assert_eq!(Selector::parse(&two), Ok(None), "two selectors");
        two.push(0);
        assert!(Selector::parse(&two).is_err(), "an octet behind");
    }
}
