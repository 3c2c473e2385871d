//! IS-IS PDUs of each kind, with no more in them than their headers and the TLVs of area, protocols and neighbours.

use super::super::isis::Kind;
use super::{Error, Writer};

/// An IS-IS level.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Level {
    /// Within an area.
    One,
    /// Between areas.
    Two,
}

impl Level {
    const fn pick(self, one: Kind, two: Kind) -> Kind {
        match self {
            Self::One => one,
            Self::Two => two,
        }
    }

    /// The level as a bit: 1 or 2.
    const fn bit(self) -> u8 {
        match self {
            Self::One => 1,
            Self::Two => 2,
        }
    }
}

/// A Hello on a LAN (ISO/IEC 10589 sections 9.5 and 9.6).
#[derive(Clone, Copy, Debug)]
pub struct LanHello<'a> {
    /// The level; the circuit serves this one only.
    pub level: Level,
    /// The sender's system id.
    pub system_id: [u8; 6],
    /// Seconds for which a neighbour may rely on this Hello.
    pub holding_time: u16,
    /// The sender's priority in the election of the designated system, 0 to 127.
    pub priority: u8,
    /// The designated system's id and its number for the LAN.
    pub lan_id: [u8; 7],
    /// The area address, at most 13 octets.
    pub area: &'a [u8],
    /// The LAN addresses from which Hellos were seen, at most 42.
    pub neighbors: &'a [[u8; 6]],
}

impl LanHello<'_> {
    /// Level 1, area 49.0001, 30 seconds, priority 64, nobody seen, system id 0 (which no system has).
    pub const DEFAULT: Self = Self {
        level: Level::One,
        system_id: [0; 6],
        holding_time: 30,
        priority: 64,
        lan_id: [0; 7],
        area: &[0x49, 0, 1],
        neighbors: &[],
    };

    /// Writes the PDU and returns its length in octets.
    ///
    /// # Errors
    ///
    /// [`Error::NoRoom`] if it is longer than the buffer, or a field than its TLV.
    pub fn write(&self, buf: &mut [u8]) -> Result<usize, Error> {
        let kind = self.level.pick(Kind::LanHello1, Kind::LanHello2);
        let mut w = Writer::new(buf);
        header(&mut w, kind)
            .u8(self.level.bit())
            .octets(&self.system_id)
            .u16(self.holding_time);
        w.u16(0).u8(self.priority & 0x7f).octets(&self.lan_id);
        area_and_protocols(&mut w, self.area)?;
        if !self.neighbors.is_empty() {
            tlv(&mut w, 6, self.neighbors.as_flattened())?;
        }
        w.finish(kind.length_at())
    }
}

/// A Hello on a point-to-point link (ISO/IEC 10589 section 9.7).
#[derive(Clone, Copy, Debug)]
pub struct PointToPointHello<'a> {
    /// The sender's system id.
    pub system_id: [u8; 6],
    /// Seconds for which the neighbour may rely on this Hello.
    pub holding_time: u16,
    /// The sender's number for the link.
    pub circuit_id: u8,
    /// The area address, at most 13 octets.
    pub area: &'a [u8],
}

impl PointToPointHello<'_> {
    /// Area 49.0001, 30 seconds, circuit 1, system id 0 (which no system has). Both levels.
    pub const DEFAULT: Self = Self {
        system_id: [0; 6],
        holding_time: 30,
        circuit_id: 1,
        area: &[0x49, 0, 1],
    };

    /// Writes the PDU and returns its length in octets.
    ///
    /// # Errors
    ///
    /// [`Error::NoRoom`] if it is longer than the buffer, or the area than its TLV.
    pub fn write(&self, buf: &mut [u8]) -> Result<usize, Error> {
        let kind = Kind::PointToPointHello;
        let mut w = Writer::new(buf);
        header(&mut w, kind)
            .u8(3)
            .octets(&self.system_id)
            .u16(self.holding_time)
            .u16(0)
            .u8(self.circuit_id);
        area_and_protocols(&mut w, self.area)?;
        w.finish(kind.length_at())
    }
}

/// A link state PDU (ISO/IEC 10589 sections 9.8 and 9.9) that announces no links.
#[derive(Clone, Copy, Debug)]
pub struct Lsp<'a> {
    /// The level.
    pub level: Level,
    /// The originator's system id, pseudonode number and fragment number.
    pub lsp_id: [u8; 8],
    /// Seconds it still lives. An LSP of 0 is a purge and is written without area and protocols.
    pub remaining_lifetime: u16,
    /// Its sequence number.
    pub sequence: u32,
    /// The area address, at most 13 octets.
    pub area: &'a [u8],
}

impl Lsp<'_> {
    /// Level 1, area 49.0001, 1200 seconds, sequence number 1, LSP id 0 (which no system has).
    pub const DEFAULT: Self = Self {
        level: Level::One,
        lsp_id: [0; 8],
        remaining_lifetime: 1200,
        sequence: 1,
        area: &[0x49, 0, 1],
    };

    /// Writes the PDU and returns its length in octets.
    ///
    /// # Errors
    ///
    /// [`Error::NoRoom`] if it is longer than the buffer, or the area than its TLV.
    pub fn write(&self, buf: &mut [u8]) -> Result<usize, Error> {
        let kind = self.level.pick(Kind::Lsp1, Kind::Lsp2);
        // The type of system: level 1 only, or both.
        let system = match self.level {
            Level::One => 1,
            Level::Two => 3,
        };
        let mut w = Writer::new(buf);
        header(&mut w, kind)
            .u16(0)
            .u16(self.remaining_lifetime)
            .octets(&self.lsp_id);
        w.u32(self.sequence).u16(0).u8(system);
        if self.remaining_lifetime != 0 {
            area_and_protocols(&mut w, self.area)?;
        }
        w.finish(kind.length_at())
    }
}

/// A complete sequence numbers PDU (ISO/IEC 10589 sections 9.10 and 9.11) for all LSP ids, listing none.
#[derive(Clone, Copy, Debug)]
pub struct Csnp {
    /// The level.
    pub level: Level,
    /// The sender's system id.
    pub system_id: [u8; 6],
}

impl Csnp {
    /// Writes the PDU, 33 octets, and returns its length.
    ///
    /// # Errors
    ///
    /// [`Error::NoRoom`] if it is longer than the buffer.
    pub fn write(&self, buf: &mut [u8]) -> Result<usize, Error> {
        let kind = self.level.pick(Kind::Csnp1, Kind::Csnp2);
        let mut w = Writer::new(buf);
        header(&mut w, kind)
            .u16(0)
            .octets(&self.system_id)
            .u8(0)
            .octets(&[0; 8])
            .octets(&[0xff; 8]);
        w.finish(kind.length_at())
    }
}

/// A partial sequence numbers PDU (ISO/IEC 10589 sections 9.12 and 9.13) that lists no LSPs.
#[derive(Clone, Copy, Debug)]
pub struct Psnp {
    /// The level.
    pub level: Level,
    /// The sender's system id.
    pub system_id: [u8; 6],
}

impl Psnp {
    /// Writes the PDU, 17 octets, and returns its length.
    ///
    /// # Errors
    ///
    /// [`Error::NoRoom`] if it is longer than the buffer.
    pub fn write(&self, buf: &mut [u8]) -> Result<usize, Error> {
        let kind = self.level.pick(Kind::Psnp1, Kind::Psnp2);
        let mut w = Writer::new(buf);
        header(&mut w, kind).u16(0).octets(&self.system_id).u8(0);
        w.finish(kind.length_at())
    }
}

/// The eight octets that all PDUs begin with.
fn header<'w, 'b>(w: &'w mut Writer<'b>, kind: Kind) -> &'w mut Writer<'b> {
    w.octets(&[0x83, kind.header_len(), 1, 0, kind.code(), 1, 0, 0])
}

/// TLV 1, area addresses, and TLV 129, protocols (IPv4 and IPv6).
fn area_and_protocols(w: &mut Writer<'_>, area: &[u8]) -> Result<(), Error> {
    let len = u8::try_from(area.len())
        .ok()
        .filter(|len| *len < u8::MAX)
        .ok_or(Error::NoRoom)?;
    w.octets(&[1, len.saturating_add(1), len]).octets(area);
    tlv(w, 129, &[0xcc, 0x8e])
}

fn tlv(w: &mut Writer<'_>, tlv_type: u8, value: &[u8]) -> Result<(), Error> {
    let len = u8::try_from(value.len()).map_err(|_| Error::NoRoom)?;
    w.u8(tlv_type).u8(len).octets(value);
    Ok(())
}
