//! Announcements: exchange type 249 (PROTOCOL.md section 5.1).
//!
//! The order of an announcement's payloads is fixed, for what is authenticated is a prefix of the octets: a
//! receiver that skipped something behind it would believe an outsider. MACs and signature are computed by
//! the caller, who has the keys.

use heapless::Vec;

use super::auth::{Auth, Proof, SIGNATURE_AT, SIGNATURE_LEN, write_signature};
use super::header::Flags;
use super::notify::{ElectionState, GroupMac, Handoff};
use super::payload::{Id, Notify, write_group};
use super::substructure::once;
use super::{Error, ExchangeType, Full, Header, NotifyType, Payload, PayloadType, Payloads, Writer};

/// Most GROUP_MACs: one under the present Rekey SA, one under the former.
pub const MAX_MACS: usize = 2;
/// Octets of a MAC.
pub const MAC_LEN: usize = 16;
/// Octets of a MAC in its notify before it: notify head and SPI.
const MAC_AT: usize = 20;

/// A signature in an announcement. It covers the sender's address and port and then all octets before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SignatureAt<'a> {
    /// Where it begins in the datagram: it covers `datagram[..offset]`.
    pub offset: usize,
    /// The signature.
    pub signature: &'a [u8; SIGNATURE_LEN],
}

/// A MAC in an announcement. It covers the sender's address and port and then all octets before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct MacAt {
    /// Where it begins in the datagram: it covers `datagram[..offset]`, earlier MACs included.
    pub offset: usize,
    /// Under which Rekey SA it was made, and the MAC.
    pub value: GroupMac,
}

/// A well-formed announcement. Nothing in it is authenticated yet.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Announcement<'a> {
    /// The sender's instance: eight octets drawn at its start, not all zero.
    pub instance: [u8; 8],
    /// The sequence of the announcement.
    pub sequence: u32,
    /// The group's name.
    pub group: &'a [u8],
    /// Who the sender says it is.
    pub id: Id<'a>,
    /// What it says of itself.
    pub state: ElectionState,
    /// The instance of the successor, if it hands off.
    pub handoff: Option<Handoff>,
    /// The signature, if it signs.
    pub signature: Option<SignatureAt<'a>>,
    /// The MACs, the present Rekey SA's first.
    pub macs: Vec<MacAt, MAX_MACS>,
}

/// How far the fixed order has been read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Start,
    Group,
    Id,
    State,
    Handoff,
    Auth,
    Mac,
}

impl<'a> Announcement<'a> {
    /// The announcement in a datagram.
    ///
    /// # Errors
    /// Any deviation from section 5.1: another exchange type, an SPIr, a response, an instance of zeros
    /// ([`Error::BadValue`]), a payload out of order, repeated or foreign ([`Error::Misplaced`]), a third MAC
    /// ([`Error::TooMany`]), one that is missing ([`Error::Missing`]), another version of ELECTION_STATE
    /// ([`Error::Unsupported`]).
    pub fn parse(datagram: &'a [u8]) -> Result<Self, Error> {
        let (header, payloads) = Payloads::of_message(datagram)?;
        let addressed = header.exchange == ExchangeType::GCKS_ELECTION && header.spi_r == [0; 8];
        if !addressed || header.spi_i == [0; 8] || !header.flags.is_initiator() || header.flags.is_response()
        {
            return Err(Error::BadValue);
        }
        let mut stage = Stage::Start;
        let (mut group, mut id, mut state, mut handoff, mut signature) = (None, None, None, None, None);
        let mut macs: Vec<MacAt, MAX_MACS> = Vec::new();
        for payload in payloads {
            let payload = payload?;
            let Some(next) = stage_of(&payload)? else {
                // An unknown notify: it may stand anywhere ahead of AUTH and the MACs, where both cover it.
                if stage >= Stage::Auth {
                    return Err(Error::Misplaced);
                }
                continue;
            };
            // Forward only; no step over an obligatory one; only MACs repeat.
            let in_order = match next {
                Stage::Start => false,
                Stage::Group => stage == Stage::Start,
                Stage::Id => stage == Stage::Group,
                Stage::State => stage == Stage::Id,
                Stage::Handoff => stage == Stage::State,
                Stage::Auth => stage == Stage::State || stage == Stage::Handoff,
                Stage::Mac => stage >= Stage::State,
            };
            if !in_order {
                return Err(Error::Misplaced);
            }
            stage = next;
            match next {
                Stage::Start => {}
                Stage::Group => once(&mut group, Id::parse_group(payload.body)?)?,
                Stage::Id => once(&mut id, Id::parse(payload.body)?)?,
                Stage::State => once(&mut state, ElectionState::parse(private_data(&payload)?)?)?,
                Stage::Handoff => once(&mut handoff, Handoff::parse(private_data(&payload)?)?)?,
                Stage::Auth => once(&mut signature, parse_signature(&payload)?)?,
                Stage::Mac => {
                    let value = GroupMac::parse(private_data(&payload)?)?;
                    if macs.iter().any(|mac| mac.value.spi == value.spi) {
                        return Err(Error::Duplicate);
                    }
                    let offset = payload.body_offset().saturating_add(MAC_AT);
                    macs.push(MacAt { offset, value }).map_err(|_| Error::TooMany)?;
                }
            }
        }
        Ok(Self {
            instance: header.spi_i,
            sequence: header.message_id,
            group: group.ok_or(Error::Missing)?,
            id: id.ok_or(Error::Missing)?,
            state: state.ok_or(Error::Missing)?,
            handoff,
            signature,
            macs,
        })
    }
}

/// The place of a payload in the order; `None` for an unknown notify.
fn stage_of(payload: &Payload<'_>) -> Result<Option<Stage>, Error> {
    Ok(Some(match payload.ty {
        PayloadType::ID_G => Stage::Group,
        PayloadType::ID_I => Stage::Id,
        PayloadType::AUTH => Stage::Auth,
        PayloadType::NOTIFY => match Notify::parse(payload.body)?.ty {
            NotifyType::ELECTION_STATE => Stage::State,
            NotifyType::HANDOFF => Stage::Handoff,
            NotifyType::GROUP_MAC => Stage::Mac,
            _ => return Ok(None),
        },
        _ => return Err(Error::Misplaced),
    }))
}

fn private_data<'a>(payload: &Payload<'a>) -> Result<&'a [u8], Error> {
    Notify::parse(payload.body)?.private_data()
}

fn parse_signature<'a>(payload: &Payload<'a>) -> Result<SignatureAt<'a>, Error> {
    match Auth::parse(payload.body)?.proof()? {
        Proof::Ed25519(signature) => Ok(SignatureAt {
            offset: payload.body_offset().saturating_add(SIGNATURE_AT),
            signature,
        }),
        Proof::SharedKey(_) => Err(Error::Unsupported),
    }
}

/// What an announcement is to say.
#[derive(Clone, Copy, Debug)]
pub struct Draft<'a> {
    /// The node's instance.
    pub instance: [u8; 8],
    /// The sequence of this announcement.
    pub sequence: u32,
    /// The group's name.
    pub group: &'a [u8],
    /// The node's identity.
    pub id: Id<'a>,
    /// What it says of itself.
    pub state: ElectionState,
    /// The successor, if it hands off.
    pub handoff: Option<Handoff>,
    /// Whether to leave room for a signature.
    pub signed: bool,
    /// SPIs of the Rekey SAs to leave room for a MAC of, the present one first; at most [`MAX_MACS`].
    pub macs: &'a [[u8; 16]],
}

/// An announcement with final lengths, whose signature and MACs are still zero.
///
/// Fill them in from front to back: each covers those before it.
#[derive(Debug)]
pub struct Unsigned<'b> {
    octets: &'b mut [u8],
    signature: Option<usize>,
    macs: Vec<usize, MAX_MACS>,
}

impl<'a> Draft<'a> {
    /// Writes the announcement.
    ///
    /// # Errors
    /// [`Full`] if it finds no room in `octets`, or has too many MACs.
    pub fn write(self, octets: &mut [u8]) -> Result<Unsigned<'_>, Full> {
        let exchange = ExchangeType::GCKS_ELECTION;
        let header = Header::new(self.instance, [0; 8], exchange, Flags::INITIATOR, self.sequence);
        let mut writer = Writer::message(octets, &header);
        write_group(&mut writer, self.group);
        self.id.write(&mut writer, PayloadType::ID_I);
        self.state.write(&mut writer);
        if let Some(handoff) = self.handoff {
            handoff.write(&mut writer);
        }
        let signature = self
            .signed
            .then(|| write_signature(&mut writer, &[0; SIGNATURE_LEN]));
        let mut macs = Vec::new();
        for spi in self.macs {
            let at = GroupMac {
                spi: *spi,
                mac: [0; MAC_LEN],
            }
            .write(&mut writer);
            macs.push(at).map_err(|_| Full)?;
        }
        Ok(Unsigned {
            octets: writer.finish()?,
            signature,
            macs,
        })
    }
}

impl<'b> Unsigned<'b> {
    /// What the signature covers behind address and port; `None` if there is to be none.
    #[must_use]
    pub fn signed_octets(&self) -> Option<&[u8]> {
        self.octets.get(..self.signature?)
    }

    /// Fills in the signature, if there is to be one.
    pub fn set_signature(&mut self, signature: &[u8; SIGNATURE_LEN]) {
        fill(self.octets, self.signature, signature);
    }

    /// What the MAC of number `index` covers behind address and port; `None` if there is no such.
    #[must_use]
    pub fn mac_octets(&self, index: usize) -> Option<&[u8]> {
        self.octets.get(..*self.macs.get(index)?)
    }

    /// Fills in the MAC of number `index`, if there is such.
    pub fn set_mac(&mut self, index: usize, mac: &[u8; MAC_LEN]) {
        fill(self.octets, self.macs.get(index).copied(), mac);
    }

    /// The octets of the announcement.
    #[must_use]
    pub fn into_octets(self) -> &'b mut [u8] {
        self.octets
    }
}

fn fill(octets: &mut [u8], at: Option<usize>, value: &[u8]) {
    let room = at.and_then(|at| octets.get_mut(at..at.checked_add(value.len())?));
    if let Some(room) = room {
        room.copy_from_slice(value);
    }
}
