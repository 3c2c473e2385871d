//! The GSA payload: policies of the Rekey SA, of the group and of the traffic keys (RFC 9838 section 4.4,
//! PROTOCOL.md section 6).
//!
//! Here are single policies; what the policies of a message and the bags of its KD payload have to be to each
//! other is the matter of [`state`](super::state).

use core::net::{IpAddr, SocketAddr};

use heapless::Vec;

use super::auth::ED25519_ALGORITHM;
use super::numbers::{self, Algorithm, RoutingProtocol, SecurityProtocol, TransformType};
use super::substructure::{
    Attributes, Transforms, Value, body_of, once, write_long, write_short, write_transform,
};
use super::{Error, Reader, Writer};

/// Most routing protocols that one traffic key keys (PROTOCOL.md section 6).
pub const MAX_PROTOCOLS: usize = 8;

/// Traffic selector of the whole IPv4 address space, any protocol, any port: what traffic key policies have
/// on both sides.
const WILDCARD: [u8; 16] = [7, 0, 0, 16, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];
const TS_IPV4_ADDR_RANGE: u8 = 7;
const TS_IPV6_ADDR_RANGE: u8 = 8;
const UDP: u8 = 17;

/// How a traffic key stands (KARP_KEY_STATE). The order is that of its life: a state only moves forward.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum KeyState {
    /// 1: accepted, not sent with.
    Pending,
    /// 2: sent with.
    Active,
    /// 3: still accepted.
    Retiring,
}

impl KeyState {
    const fn from_wire(value: u16) -> Result<Self, Error> {
        match value {
            1 => Ok(Self::Pending),
            2 => Ok(Self::Active),
            3 => Ok(Self::Retiring),
            _ => Err(Error::BadValue),
        }
    }

    const fn to_wire(self) -> u16 {
        match self {
            Self::Pending => 1,
            Self::Active => 2,
            Self::Retiring => 3,
        }
    }
}

/// A routing protocol and the algorithm that it uses its key with.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Keyed {
    /// The protocol.
    pub protocol: RoutingProtocol,
    /// The algorithm.
    pub algorithm: Algorithm,
}

/// What a traffic key keys (KARP_PROTOCOLS): at most eight protocols, each once.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ProtocolList(Vec<Keyed, MAX_PROTOCOLS>);

impl ProtocolList {
    /// No protocol.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a protocol.
    ///
    /// # Errors
    /// [`Error::Duplicate`] if it is listed already, [`Error::TooMany`] if eight others are.
    pub fn push(&mut self, keyed: Keyed) -> Result<(), Error> {
        if self.algorithm_of(keyed.protocol).is_some() {
            return Err(Error::Duplicate);
        }
        self.0.push(keyed).map_err(|_| Error::TooMany)
    }

    /// The entries, in the order they were added.
    #[must_use]
    pub fn as_slice(&self) -> &[Keyed] {
        &self.0
    }

    /// The algorithm of a protocol, if it is listed.
    #[must_use]
    pub fn algorithm_of(&self, protocol: RoutingProtocol) -> Option<Algorithm> {
        self.0
            .iter()
            .find(|keyed| keyed.protocol == protocol)
            .map(|keyed| keyed.algorithm)
    }

    fn parse(octets: &[u8]) -> Result<Self, Error> {
        let mut list = Self::new();
        let mut reader = Reader::new(octets);
        while !reader.is_empty() {
            let protocol = RoutingProtocol(reader.u16()?);
            list.push(Keyed {
                protocol,
                algorithm: Algorithm(reader.u16()?),
            })?;
        }
        Ok(list)
    }
}

/// How a GCKS proves that an update is its own (GCAUTH).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum GcAuth {
    /// Not beyond holding the Rekey SA.
    Implicit,
    /// By Ed25519 with the key of its term.
    Signature,
}

/// The policy of a Rekey SA.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct RekeySaPolicy {
    /// Its SPI, which both SPI fields of an update's header make up.
    pub spi: [u8; 16],
    /// How updates are authenticated; absent in a GSA_REKEY.
    pub gcauth: Option<GcAuth>,
    /// Seconds that it still lives.
    pub lifetime_s: u32,
    /// The generation of this state: the Message ID of the next update. Not on the wire if 0.
    pub initial_generation: u32,
}

/// The policy of a traffic key.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct TekPolicy {
    /// The key's id, not 0. It is the low half of the SPI.
    pub id: u16,
    /// How it stands.
    pub state: KeyState,
    /// Seconds that it still lives, rounded up.
    pub lifetime_s: u32,
    /// What it keys. Obligatory unless the key is Retiring; then it is not sent.
    pub protocols: Option<ProtocolList>,
}

/// A policy of a GSA payload.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Policy {
    /// Of a Rekey SA (protocol GIKE_UPDATE).
    RekeySa(RekeySaPolicy),
    /// Of a traffic key (protocol ROUTING).
    Tek(TekPolicy),
    /// Group-wide (protocol 0).
    Group {
        /// GWP_DTD: how long a key that retires is still accepted, in seconds, 1 to 65535.
        dtd_s: Option<u16>,
    },
    /// Of a protocol that is not known here. It is skipped, and the bags of its keys with it.
    Unknown(SecurityProtocol),
}

/// The policies in the body of a GSA payload. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Policies<'a> {
    reader: Reader<'a>,
}

impl<'a> Policies<'a> {
    /// The policies in `body`.
    #[must_use]
    pub const fn new(body: &'a [u8]) -> Self {
        Self {
            reader: Reader::new(body),
        }
    }

    fn step(&mut self) -> Result<Policy, Error> {
        let protocol = SecurityProtocol(self.reader.u8()?);
        let spi_size = self.reader.u8()?;
        let mut body = body_of(self.reader.u16()?, &mut self.reader)?;
        match protocol {
            // RFC 9838 section 4.4.3: what is the SPI Size elsewhere is reserved here.
            SecurityProtocol::NONE => parse_group(body.rest()),
            SecurityProtocol::GIKE_UPDATE if spi_size == 16 => parse_rekey_sa(*body.array()?, body),
            SecurityProtocol::ROUTING if spi_size == 4 => parse_tek(key_id(body.u32()?)?, body),
            SecurityProtocol::GIKE_UPDATE | SecurityProtocol::ROUTING => Err(Error::BadLength),
            _ => Ok(Policy::Unknown(protocol)),
        }
    }
}

impl Iterator for Policies<'_> {
    type Item = Result<Policy, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() {
            return None;
        }
        let step = self.step();
        if step.is_err() {
            self.reader = Reader::new(&[]);
        }
        Some(step)
    }
}

/// The key id in an SPI: the upper half has to be zero (PROTOCOL.md section 6), and an SPI of 0 names
/// nothing.
pub(super) fn key_id(spi: u32) -> Result<u16, Error> {
    u16::try_from(spi)
        .ok()
        .filter(|id| *id != 0)
        .ok_or(Error::BadValue)
}

fn parse_group(octets: &[u8]) -> Result<Policy, Error> {
    let [mut atd, mut dtd, mut sender_id_bits] = [None; 3];
    for attribute in Attributes::new(octets) {
        let attribute = attribute?;
        let slot = match attribute.ty {
            numbers::GWP_ATD => &mut atd,
            numbers::GWP_DTD => &mut dtd,
            numbers::GWP_SENDER_ID_BITS => &mut sender_id_bits,
            _ => continue,
        };
        once(slot, attribute.value.short()?)?;
    }
    if dtd == Some(0) {
        return Err(Error::BadValue);
    }
    Ok(Policy::Group { dtd_s: dtd })
}

fn parse_rekey_sa(spi: [u8; 16], mut body: Reader<'_>) -> Result<Policy, Error> {
    if spi == [0; 16] {
        return Err(Error::BadValue);
    }
    skip_selector(&mut body)?;
    skip_selector(&mut body)?;
    let (mut encr, mut integ, mut kwa, mut gcauth) = (None, None, None, None);
    let mut transforms = Transforms::new(body.rest());
    for transform in transforms.by_ref() {
        let transform = transform?;
        // The GCKS has chosen already: what is not known cannot be passed over.
        match (transform.ty, transform.id) {
            (TransformType::ENCR, numbers::ENCR_CHACHA20_POLY1305) if transform.is_bare() => {
                once(&mut encr, ())?;
            }
            // RFC 9838 section 4.4.2.1: an AEAD comes without INTEG, or with NONE.
            (TransformType::INTEG, numbers::INTEG_NONE) if transform.is_bare() => once(&mut integ, ())?,
            (TransformType::KWA, numbers::KW_CHACHA20_POLY1305) if transform.is_bare() => once(&mut kwa, ())?,
            (TransformType::GCAUTH, numbers::GCAUTH_IMPLICIT) if transform.is_bare() => {
                once(&mut gcauth, GcAuth::Implicit)?;
            }
            (TransformType::GCAUTH, numbers::GCAUTH_DIGITAL_SIGNATURE) => {
                check_signature_algorithm(transform.attributes())?;
                once(&mut gcauth, GcAuth::Signature)?;
            }
            _ => return Err(Error::Unsupported),
        }
    }
    if encr.is_none() || kwa.is_none() {
        return Err(Error::Missing);
    }
    let mut lifetime = None;
    let mut generation = None;
    for attribute in Attributes::new(transforms.rest()) {
        let attribute = attribute?;
        match attribute.ty {
            numbers::GSA_KEY_LIFETIME => once(&mut lifetime, attribute.value.u32()?)?,
            numbers::GSA_INITIAL_MESSAGE_ID => once(&mut generation, attribute.value.u32()?)?,
            _ => {}
        }
    }
    Ok(Policy::RekeySa(RekeySaPolicy {
        spi,
        gcauth,
        lifetime_s: lifetime.ok_or(Error::Missing)?,
        initial_generation: generation.unwrap_or_default(),
    }))
}

fn parse_tek(id: u16, mut body: Reader<'_>) -> Result<Policy, Error> {
    skip_selector(&mut body)?;
    skip_selector(&mut body)?;
    let mut prf = None;
    let mut transforms = Transforms::new(body.rest());
    for transform in transforms.by_ref() {
        let transform = transform?;
        match (transform.ty, transform.id) {
            (TransformType::PRF, numbers::PRF_HMAC_SHA2_256) if transform.is_bare() => once(&mut prf, ())?,
            _ => return Err(Error::Unsupported),
        }
    }
    let (mut state, mut lifetime, mut protocols) = (None, None, None);
    for attribute in Attributes::new(transforms.rest()) {
        let attribute = attribute?;
        match attribute.ty {
            numbers::GSA_KEY_LIFETIME => once(&mut lifetime, attribute.value.u32()?)?,
            numbers::KARP_KEY_STATE => {
                once(&mut state, attribute.value.short().and_then(KeyState::from_wire)?)?;
            }
            numbers::KARP_PROTOCOLS => {
                once(
                    &mut protocols,
                    attribute.value.long().and_then(ProtocolList::parse)?,
                )?;
            }
            _ => {}
        }
    }
    let state = state.ok_or(Error::Missing)?;
    // PROTOCOL.md section 6: the list is there unless the key is Retiring.
    if protocols.is_none() && state != KeyState::Retiring {
        return Err(Error::Missing);
    }
    Ok(Policy::Tek(TekPolicy {
        id,
        state,
        lifetime_s: lifetime.ok_or(Error::Missing)?,
        protocols,
    }))
}

/// Steps over a traffic selector (RFC 7296 section 3.13.1); it is ignored on receipt, so only its Length
/// matters.
fn skip_selector(reader: &mut Reader<'_>) -> Result<(), Error> {
    reader.u16()?;
    // Two octets of type and protocol, two of length, and two ports at least.
    let length = reader.u16()?;
    if length < 8 {
        return Err(Error::BadLength);
    }
    body_of(length, reader).map(|_| ())
}

fn check_signature_algorithm(attributes: Attributes<'_>) -> Result<(), Error> {
    let mut algorithm = None;
    for attribute in attributes {
        let attribute = attribute?;
        match (attribute.ty, attribute.value) {
            (numbers::ATTRIBUTE_SIGNATURE_ALGORITHM, Value::Long(octets)) => once(&mut algorithm, octets)?,
            _ => return Err(Error::Unsupported),
        }
    }
    match algorithm {
        Some(octets) if octets == ED25519_ALGORITHM => Ok(()),
        Some(_) => Err(Error::Unsupported),
        None => Err(Error::Missing),
    }
}

/// Writes the policy of a Rekey SA into an open GSA payload. `source` is where the GCKS sends updates from,
/// `destination` the multicast address that they go to.
pub fn write_rekey_sa(
    writer: &mut Writer<'_>,
    policy: &RekeySaPolicy,
    source: SocketAddr,
    destination: SocketAddr,
) {
    let open = writer.begin_sub(SecurityProtocol::GIKE_UPDATE.0, 16);
    writer.bytes(&policy.spi);
    write_selector(writer, source);
    write_selector(writer, destination);
    let bare = |_: &mut Writer<'_>| {};
    let last = policy.gcauth.is_none();
    write_transform(
        writer,
        false,
        TransformType::ENCR,
        numbers::ENCR_CHACHA20_POLY1305,
        bare,
    );
    write_transform(
        writer,
        last,
        TransformType::KWA,
        numbers::KW_CHACHA20_POLY1305,
        bare,
    );
    match policy.gcauth {
        Some(GcAuth::Implicit) => {
            write_transform(
                writer,
                true,
                TransformType::GCAUTH,
                numbers::GCAUTH_IMPLICIT,
                bare,
            );
        }
        Some(GcAuth::Signature) => {
            write_transform(
                writer,
                true,
                TransformType::GCAUTH,
                numbers::GCAUTH_DIGITAL_SIGNATURE,
                |writer: &mut Writer<'_>| {
                    write_long(writer, numbers::ATTRIBUTE_SIGNATURE_ALGORITHM, &ED25519_ALGORITHM);
                },
            );
        }
        None => {}
    }
    write_long(
        writer,
        numbers::GSA_KEY_LIFETIME,
        &policy.lifetime_s.to_be_bytes(),
    );
    if policy.initial_generation != 0 {
        write_long(
            writer,
            numbers::GSA_INITIAL_MESSAGE_ID,
            &policy.initial_generation.to_be_bytes(),
        );
    }
    writer.end(open);
}

/// Writes the group-wide policy into an open GSA payload.
pub fn write_group(writer: &mut Writer<'_>, dtd_s: u16) {
    let open = writer.begin_sub(SecurityProtocol::NONE.0, 0);
    write_short(writer, numbers::GWP_DTD, dtd_s);
    writer.end(open);
}

/// Writes the policy of a traffic key into an open GSA payload. What it keys is left out if it is Retiring.
pub fn write_tek(writer: &mut Writer<'_>, policy: &TekPolicy) {
    let open = writer.begin_sub(SecurityProtocol::ROUTING.0, 4);
    writer.u32(u32::from(policy.id));
    writer.bytes(&WILDCARD);
    writer.bytes(&WILDCARD);
    write_transform(
        writer,
        true,
        TransformType::PRF,
        numbers::PRF_HMAC_SHA2_256,
        |_: &mut Writer<'_>| {},
    );
    write_short(writer, numbers::KARP_KEY_STATE, policy.state.to_wire());
    write_long(
        writer,
        numbers::GSA_KEY_LIFETIME,
        &policy.lifetime_s.to_be_bytes(),
    );
    if let Some(protocols) = policy
        .protocols
        .as_ref()
        .filter(|_| policy.state != KeyState::Retiring)
    {
        let mut value = Vec::<u8, { 4 * MAX_PROTOCOLS }>::new();
        for keyed in protocols.as_slice() {
            let [p0, p1] = keyed.protocol.0.to_be_bytes();
            let [a0, a1] = keyed.algorithm.0.to_be_bytes();
            if value.extend_from_slice(&[p0, p1, a0, a1]).is_err() {
                writer.fail();
            }
        }
        write_long(writer, numbers::KARP_PROTOCOLS, &value);
    }
    writer.end(open);
}

/// Writes a traffic selector of one UDP address and port (RFC 7296 section 3.13.1).
fn write_selector(writer: &mut Writer<'_>, socket: SocketAddr) {
    let ty = if socket.is_ipv4() {
        TS_IPV4_ADDR_RANGE
    } else {
        TS_IPV6_ADDR_RANGE
    };
    let open = writer.begin_sub(ty, UDP);
    writer.u16(socket.port());
    writer.u16(socket.port());
    for _ in 0..2 {
        match socket.ip() {
            IpAddr::V4(address) => writer.bytes(&address.octets()),
            IpAddr::V6(address) => writer.bytes(&address.octets()),
        }
    }
    writer.end(open);
}
