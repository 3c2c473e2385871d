//! The data of the notifies that have any, as values (PROTOCOL.md sections 4, 5.1, 7 and 8).
//!
//! Each type has `parse`, which takes the notify's data, and `write`, which writes the whole notify payload.
//! A private notify has to have protocol 0 and no SPI: take its data from
//! [`Notify::private_data`](super::payload::Notify::private_data).

use heapless::Vec;

use super::numbers::{RekeyReason, RoutingProtocol, SignatureHash};
use super::payload::{begin_notify, write_notify};
use super::{Error, NotifyType, Reader, Writer};
use crate::config::KeyUse;

/// Most entries of KEYS_IN_USE (PROTOCOL.md section 4).
pub const MAX_KEYS_IN_USE: usize = 8;
/// Most entries of EVICTED (PROTOCOL.md section 4).
pub const MAX_EVICTED: usize = 8;
/// Most octets of a cookie (RFC 7296 section 2.6).
pub const MAX_COOKIE_LEN: usize = 64;

/// The state of a node in the election.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum NodeState {
    /// 0: without keys, or looking for a GCKS.
    Initial,
    /// 1: follows a GCKS.
    Member,
    /// 2: serves.
    Gcks,
}

/// The flags of an ELECTION_STATE. Unknown ones are kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ElectionFlags(pub u8);

impl ElectionFlags {
    /// The node was given the state of a group (PROTOCOL.md section 7).
    pub const KEYED: Self = Self(1);
    /// The node's policy lets a better-ranked one displace a serving GCKS.
    pub const PREEMPT: Self = Self(2);
    /// The node is about to go.
    pub const LEAVING: Self = Self(4);

    /// Whether all of `flags` are set.
    #[must_use]
    pub const fn has(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// These flags and `flags`, if `set`.
    #[must_use]
    pub const fn with(self, flags: Self, set: bool) -> Self {
        if set { Self(self.0 | flags.0) } else { self }
    }
}

/// ELECTION_STATE: what a node says of itself (PROTOCOL.md section 5.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ElectionState {
    /// Initial, Member or GCKS.
    pub state: NodeState,
    /// KEYED, PREEMPT, LEAVING.
    pub flags: ElectionFlags,
    /// How many announcement intervals of silence the node is given.
    pub hold_multiplier: u8,
    /// Its rank; 0 never serves.
    pub priority: u16,
    /// Its announcement interval in milliseconds.
    pub interval_ms: u16,
    /// Its router id; one of 32 bits fills the low half.
    pub router_id: u64,
    /// SPI of the Rekey SA that it holds. All zeros on the wire if there is none.
    pub rekey_sa: Option<[u8; 16]>,
    /// The newest generation whose keys its routing protocols hold (PROTOCOL.md section 7).
    pub generation: u32,
    /// At a GCKS the live members that it knows, itself not counted; else 0.
    pub members: u32,
}

impl ElectionState {
    /// Octets of the data.
    pub const LEN: usize = 40;
    /// The only version.
    pub const VERSION: u8 = 1;
    /// Longest hold in milliseconds, whatever is announced (PROTOCOL.md section 5.1).
    pub const MAX_HOLD_MS: u32 = 300_000;

    /// The data of an ELECTION_STATE.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for another version; [`Error::BadLength`] unless there are 40 octets;
    /// [`Error::BadValue`] for an unknown state. Any of these drops an announcement whole.
    pub fn parse(data: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(data);
        if reader.u8()? != Self::VERSION {
            return Err(Error::Unsupported);
        }
        if data.len() != Self::LEN {
            return Err(Error::BadLength);
        }
        let state = match reader.u8()? {
            0 => NodeState::Initial,
            1 => NodeState::Member,
            2 => NodeState::Gcks,
            _ => return Err(Error::BadValue),
        };
        Ok(Self {
            state,
            flags: ElectionFlags(reader.u8()?),
            hold_multiplier: reader.u8()?,
            priority: reader.u16()?,
            interval_ms: reader.u16()?,
            router_id: reader.u64()?,
            rekey_sa: Some(*reader.array()?).filter(|spi| *spi != [0; 16]),
            generation: reader.u32()?,
            members: reader.u32()?,
        })
    }

    /// Writes the notify.
    pub fn write(&self, writer: &mut Writer<'_>) {
        let open = begin_notify(writer, NotifyType::ELECTION_STATE);
        let state = match self.state {
            NodeState::Initial => 0,
            NodeState::Member => 1,
            NodeState::Gcks => 2,
        };
        writer.bytes(&[Self::VERSION, state, self.flags.0, self.hold_multiplier]);
        writer.u16(self.priority);
        writer.u16(self.interval_ms);
        writer.u64(self.router_id);
        writer.bytes(&self.rekey_sa.unwrap_or_default());
        writer.u32(self.generation);
        writer.u32(self.members);
        writer.end(open);
    }

    /// How long the node may be silent, in milliseconds: at most [`MAX_HOLD_MS`](Self::MAX_HOLD_MS).
    #[must_use]
    pub fn hold_ms(&self) -> u32 {
        let hold = u32::from(self.interval_ms).saturating_mul(u32::from(self.hold_multiplier));
        hold.min(Self::MAX_HOLD_MS)
    }
}

/// INSTANCE: under what the sender announces itself (PROTOCOL.md section 4).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Instance {
    /// Eight random octets, drawn at start.
    pub instance: [u8; 8],
    /// The sequence of its next announcement.
    pub next_sequence: u32,
}

impl Instance {
    /// Octets of the data.
    pub const LEN: usize = 12;

    /// The data of an INSTANCE.
    ///
    /// # Errors
    /// [`Error::Truncated`] or [`Error::Trailing`] unless there are 12 octets.
    pub fn parse(data: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(data);
        let instance = Self {
            instance: *reader.array()?,
            next_sequence: reader.u32()?,
        };
        reader.finish().map(|()| instance)
    }

    /// Writes the notify.
    pub fn write(&self, writer: &mut Writer<'_>) {
        let open = begin_notify(writer, NotifyType::INSTANCE);
        writer.bytes(&self.instance);
        writer.u32(self.next_sequence);
        writer.end(open);
    }
}

/// An entry of KEYS_IN_USE.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct KeyInUse {
    /// The key's id, not 0.
    pub id: u16,
    /// How far the key has come at the registrant.
    pub usage: KeyUse,
    /// The first 8 octets of prf(TEK, "KARP key check" | key id).
    pub check: [u8; 8],
}

/// KEYS_IN_USE: the traffic keys that a registrant has, the one that it sends with first (PROTOCOL.md section 4).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct KeysInUse(pub Vec<KeyInUse, MAX_KEYS_IN_USE>);

impl KeysInUse {
    /// Octets of an entry.
    pub const ENTRY_LEN: usize = 12;

    /// The data of a KEYS_IN_USE.
    ///
    /// # Errors
    /// [`Error::Truncated`] for a part of an entry, [`Error::TooMany`], [`Error::BadValue`] for key id 0, an unknown use,
    /// or a key that is sent with and is not the first.
    pub fn parse(data: &[u8]) -> Result<Self, Error> {
        let mut keys = Vec::new();
        let mut reader = Reader::new(data);
        while !reader.is_empty() {
            let id = reader.u16()?;
            let usage = match reader.u16()? {
                1 => KeyUse::Unsent,
                2 => KeyUse::Sending,
                3 => KeyUse::Stopped,
                _ => return Err(Error::BadValue),
            };
            let check = *reader.array()?;
            if id == 0 || (usage == KeyUse::Sending && !keys.is_empty()) {
                return Err(Error::BadValue);
            }
            keys.push(KeyInUse { id, usage, check })
                .map_err(|_| Error::TooMany)?;
        }
        Ok(Self(keys))
    }

    /// Writes the notify.
    pub fn write(&self, writer: &mut Writer<'_>) {
        let open = begin_notify(writer, NotifyType::KEYS_IN_USE);
        for key in &self.0 {
            writer.u16(key.id);
            writer.u16(match key.usage {
                KeyUse::Unsent => 1,
                KeyUse::Sending => 2,
                KeyUse::Stopped => 3,
            });
            writer.bytes(&key.check);
        }
        writer.end(open);
    }
}

/// EVICTED: who is out, by the first 16 octets of SHA-256 over the ID payload body (PROTOCOL.md section 4).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Evicted(pub Vec<[u8; 16], MAX_EVICTED>);

impl Evicted {
    /// Octets of an entry.
    pub const ENTRY_LEN: usize = 16;

    /// The data of an EVICTED.
    ///
    /// # Errors
    /// [`Error::Truncated`] for a part of an entry, [`Error::TooMany`].
    pub fn parse(data: &[u8]) -> Result<Self, Error> {
        let mut nodes = Vec::new();
        let mut reader = Reader::new(data);
        while !reader.is_empty() {
            nodes.push(*reader.array()?).map_err(|_| Error::TooMany)?;
        }
        Ok(Self(nodes))
    }

    /// Writes the notify.
    pub fn write(&self, writer: &mut Writer<'_>) {
        let open = begin_notify(writer, NotifyType::EVICTED);
        for node in &self.0 {
            writer.bytes(node);
        }
        writer.end(open);
    }
}

/// GROUP_MAC: proof that the sender of an announcement holds a Rekey SA (PROTOCOL.md section 5.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct GroupMac {
    /// Which Rekey SA.
    pub spi: [u8; 16],
    /// The MAC.
    pub mac: [u8; 16],
}

impl GroupMac {
    /// Octets of the data.
    pub const LEN: usize = 32;

    /// The data of a GROUP_MAC.
    ///
    /// # Errors
    /// [`Error::Truncated`] or [`Error::Trailing`] unless there are 32 octets.
    pub fn parse(data: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(data);
        let mac = Self {
            spi: *reader.array()?,
            mac: *reader.array()?,
        };
        reader.finish().map(|()| mac)
    }

    /// Writes the notify, and returns where in the message its MAC begins.
    pub fn write(&self, writer: &mut Writer<'_>) -> usize {
        let open = begin_notify(writer, NotifyType::GROUP_MAC);
        writer.bytes(&self.spi);
        let at = writer.position();
        writer.bytes(&self.mac);
        writer.end(open);
        at
    }
}

/// HANDOFF: the instance of the successor (PROTOCOL.md section 5.5).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Handoff(pub [u8; 8]);

impl Handoff {
    /// Octets of the data.
    pub const LEN: usize = 8;

    /// The data of a HANDOFF.
    ///
    /// # Errors
    /// [`Error::BadLength`] unless there are 8 octets.
    pub fn parse(data: &[u8]) -> Result<Self, Error> {
        data.try_into().map(Self).map_err(|_| Error::BadLength)
    }

    /// Writes the notify.
    pub fn write(&self, writer: &mut Writer<'_>) {
        write_notify(writer, NotifyType::HANDOFF, &self.0);
    }
}

/// REKEY_REQUEST: a member asks for new keys (PROTOCOL.md section 8).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct RekeyRequest {
    /// The routing protocol that needs them.
    pub protocol: RoutingProtocol,
    /// Why.
    pub reason: RekeyReason,
}

impl RekeyRequest {
    /// Octets of the data.
    pub const LEN: usize = 4;

    /// The data of a REKEY_REQUEST.
    ///
    /// # Errors
    /// [`Error::Truncated`] or [`Error::Trailing`] unless there are 4 octets.
    pub fn parse(data: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(data);
        let request = Self {
            protocol: RoutingProtocol(reader.u16()?),
            reason: RekeyReason(reader.u16()?),
        };
        reader.finish().map(|()| request)
    }

    /// Writes the notify.
    pub fn write(&self, writer: &mut Writer<'_>) {
        let open = begin_notify(writer, NotifyType::REKEY_REQUEST);
        writer.u16(self.protocol.0);
        writer.u16(self.reason.0);
        writer.end(open);
    }
}

/// The data of a COOKIE.
///
/// # Errors
/// [`Error::BadLength`] unless it has 1 to 64 octets (RFC 7296 section 2.6).
pub fn parse_cookie(data: &[u8]) -> Result<&[u8], Error> {
    if data.is_empty() || data.len() > MAX_COOKIE_LEN {
        Err(Error::BadLength)
    } else {
        Ok(data)
    }
}

/// Whether the data of a SIGNATURE_HASH_ALGORITHMS lists the Identity hash, which Ed25519 needs (RFC 8420).
///
/// # Errors
/// [`Error::Truncated`] for half an entry.
pub fn lists_identity_hash(data: &[u8]) -> Result<bool, Error> {
    let mut reader = Reader::new(data);
    let mut listed = false;
    while !reader.is_empty() {
        listed |= SignatureHash(reader.u16()?) == SignatureHash::IDENTITY;
    }
    Ok(listed)
}

/// Writes SIGNATURE_HASH_ALGORITHMS with the Identity hash alone (PROTOCOL.md section 4).
pub fn write_signature_hashes(writer: &mut Writer<'_>) {
    write_notify(
        writer,
        NotifyType::SIGNATURE_HASH_ALGORITHMS,
        &SignatureHash::IDENTITY.0.to_be_bytes(),
    );
}

/// The key exchange method that an INVALID_KE_PAYLOAD asks for (RFC 7296 section 1.3).
///
/// # Errors
/// [`Error::BadLength`] unless the data has two octets.
pub fn parse_invalid_ke(data: &[u8]) -> Result<u16, Error> {
    data.try_into()
        .map(u16::from_be_bytes)
        .map_err(|_| Error::BadLength)
}

/// Writes INVALID_KE_PAYLOAD: only `method` is accepted.
pub fn write_invalid_ke(writer: &mut Writer<'_>, method: u16) {
    write_notify(writer, NotifyType::INVALID_KE_PAYLOAD, &method.to_be_bytes());
}
