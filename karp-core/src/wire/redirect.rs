//! Where to go instead: REDIRECT and REDIRECTED_FROM (RFC 5685 section 9, PROTOCOL.md section 4).
//!
//! RFC 5685 knows gateways by address alone; a node serves on any port, so the identity types are private
//! ones that carry the port behind the address.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::numbers::GatewayType;
use super::payload::{NONCE_LEN, begin_notify};
use super::{Error, NotifyType, Reader, Writer};

/// Most octets of a gateway's identity with its type and length.
pub const MAX_GATEWAY_LEN: usize = 20;

/// REDIRECT: ask that node, it is the GCKS I follow.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Redirect<'a> {
    /// Where to go.
    pub to: SocketAddr,
    /// The Ni that is answered, by which the initiator tells that the sender saw its request; 16 to 256
    /// octets.
    pub nonce: &'a [u8],
}

impl<'a> Redirect<'a> {
    /// The data of a REDIRECT in an IKE_SA_INIT response.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a gateway without port, [`Error::BadLength`] for a nonce of a wrong length.
    pub fn parse(data: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(data);
        let to = parse_gateway(&mut reader)?;
        let nonce = reader.rest();
        if !NONCE_LEN.contains(&nonce.len()) {
            return Err(Error::BadLength);
        }
        Ok(Self { to, nonce })
    }

    /// Writes the notify.
    pub fn write(&self, writer: &mut Writer<'_>) {
        let open = begin_notify(writer, NotifyType::REDIRECT);
        write_gateway(writer, self.to);
        writer.bytes(self.nonce);
        writer.end(open);
    }
}

/// The data of a REDIRECTED_FROM: who sent the initiator here.
///
/// # Errors
/// [`Error::Unsupported`] for a gateway without port, [`Error::Trailing`].
pub fn parse_redirected_from(data: &[u8]) -> Result<SocketAddr, Error> {
    let mut reader = Reader::new(data);
    let from = parse_gateway(&mut reader)?;
    reader.finish().map(|()| from)
}

/// Writes REDIRECTED_FROM.
pub fn write_redirected_from(writer: &mut Writer<'_>, from: SocketAddr) {
    let open = begin_notify(writer, NotifyType::REDIRECTED_FROM);
    write_gateway(writer, from);
    writer.end(open);
}

fn parse_gateway(reader: &mut Reader<'_>) -> Result<SocketAddr, Error> {
    let ty = GatewayType(reader.u8()?);
    let length = reader.u8()?;
    let mut identity = Reader::new(reader.take(usize::from(length))?);
    let address = match ty {
        GatewayType::IPV4_PORT => IpAddr::V4(Ipv4Addr::from(*identity.array::<4>()?)),
        GatewayType::IPV6_PORT => IpAddr::V6(Ipv6Addr::from(*identity.array::<16>()?)),
        _ => return Err(Error::Unsupported),
    };
    let gateway = SocketAddr::new(address, identity.u16()?);
    identity.finish().map(|()| gateway).map_err(|_| Error::BadLength)
}

fn write_gateway(writer: &mut Writer<'_>, gateway: SocketAddr) {
    match gateway.ip() {
        IpAddr::V4(address) => {
            writer.bytes(&[GatewayType::IPV4_PORT.0, 6]);
            writer.bytes(&address.octets());
        }
        IpAddr::V6(address) => {
            writer.bytes(&[GatewayType::IPV6_PORT.0, 18]);
            writer.bytes(&address.octets());
        }
    }
    writer.u16(gateway.port());
}
