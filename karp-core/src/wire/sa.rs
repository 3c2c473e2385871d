//! The SA payload: what an IKE SA is proposed and chosen with (RFC 7296 section 3.3, PROTOCOL.md section 3).

use super::numbers::{
    ENCR_CHACHA20_POLY1305, INTEG_NONE, KE_CURVE25519, KW_CHACHA20_POLY1305, PRF_HMAC_SHA2_256,
    SecurityProtocol, TransformType,
};
use super::substructure::{Transform, Transforms, body_of, write_transform};
use super::{Error, PayloadType, Reader, Writer};

/// "Last Substruc" of a proposal that another follows.
const MORE_PROPOSALS: u8 = 2;
/// "Last Substruc" of the last one.
const LAST: u8 = 0;

/// Octets of the body of an offer or answer for [`Purpose::Pairwise`]: a proposal of three transforms.
pub const PAIRWISE_LEN: usize = 32;
/// Octets of the SPI that a proposal for an IKE SA has when it replaces another (RFC 7296 section 3.3.1).
pub const IKE_SPI_LEN: usize = 8;
/// Octets of the body of an offer or answer for [`Purpose::Group`]: a proposal of four transforms.
pub const GROUP_LEN: usize = 40;

/// What the initiator means to do after IKE_SA_INIT. It says so by proposing a key wrap or not (PROTOCOL.md
/// section 3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Purpose {
    /// GSA_AUTH: to become a member. The proposal has a KWA transform.
    Group,
    /// IKE_AUTH: unicast keying. It has none.
    Pairwise,
}

/// A proposal: several transforms for each purpose, of which one each is to be chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Proposal<'a> {
    /// Its number, by which an answer names it.
    pub number: u8,
    /// What kind of SA is proposed.
    pub protocol: SecurityProtocol,
    /// The sender's SPI; empty in IKE_SA_INIT.
    pub spi: &'a [u8],
    /// How many transforms there are. None is legal on the wire and never acceptable.
    pub count: u8,
    transforms: &'a [u8],
}

impl<'a> Proposal<'a> {
    /// The transforms. Their lengths and number were checked.
    pub fn transforms(&self) -> impl Iterator<Item = Transform<'a>> + use<'a> {
        let empty = self.count == 0;
        Transforms::new(self.transforms)
            .take_while(move |_| !empty)
            .filter_map(Result::ok)
    }
}

/// The proposals of an SA payload. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Proposals<'a> {
    reader: Reader<'a>,
    previous: u8,
    done: bool,
}

impl<'a> Proposals<'a> {
    /// The proposals in the body of an SA payload.
    #[must_use]
    pub const fn new(body: &'a [u8]) -> Self {
        Self {
            reader: Reader::new(body),
            previous: 0,
            done: false,
        }
    }

    fn step(&mut self) -> Result<Proposal<'a>, Error> {
        let last = self.reader.u8()?;
        self.reader.u8()?; // reserved
        let mut body = body_of(self.reader.u16()?, &mut self.reader)?;
        let number = body.u8()?;
        let protocol = SecurityProtocol(body.u8()?);
        let spi_size = body.u8()?;
        let count = body.u8()?;
        let spi = body.take(usize::from(spi_size))?;
        let proposal = Proposal {
            number,
            protocol,
            spi,
            count,
            transforms: body.rest(),
        };
        check_transforms(&proposal)?;
        // RFC 7296 section 3.3.1: the first is 1 in an offer (an answer repeats the chosen one's number),
        // each other one more.
        if self.previous != 0 && self.previous.checked_add(1) != Some(number) || number == 0 {
            return Err(Error::BadValue);
        }
        self.previous = number;
        match last {
            MORE_PROPOSALS => {}
            LAST => {
                self.done = true;
                self.reader.finish()?;
            }
            _ => return Err(Error::BadValue),
        }
        Ok(proposal)
    }
}

impl<'a> Iterator for Proposals<'a> {
    type Item = Result<Proposal<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let step = self.step();
        self.done |= step.is_err();
        Some(step)
    }
}

/// What a responder chose from an SA payload.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Choice {
    /// The number of the chosen proposal.
    pub number: u8,
    /// Whether the proposal has a key wrap.
    pub purpose: Purpose,
    /// Whether the proposal names "no integrity algorithm"; the answer then does so as well (RFC 7296 section
    /// 3.3).
    pub integ_none: bool,
    /// The key exchange method. A KE payload of another one is answered by INVALID_KE_PAYLOAD with this.
    pub ke: u16,
}

/// Chooses the first acceptable proposal from the body of an SA payload; one of another purpose than `wanted`
/// is not acceptable. `None` if there is none: NO_PROPOSAL_CHOSEN.
///
/// # Errors
/// If any proposal is malformed, the acceptable ones notwithstanding.
pub fn choose(body: &[u8], wanted: Option<Purpose>) -> Result<Option<Choice>, Error> {
    let mut chosen = None;
    for proposal in Proposals::new(body) {
        let proposal = proposal?;
        let choice = judge(&proposal).filter(|choice| wanted.is_none_or(|wanted| wanted == choice.purpose));
        chosen = chosen.or(choice.filter(|_| proposal.spi.is_empty()));
    }
    Ok(chosen)
}

/// As [`choose`], for an IKE SA that replaces another (RFC 7296 section 1.3.2): with the SPI of the initiator, which
/// stands in the proposal. A zero SPI is none.
///
/// # Errors
/// If any proposal is malformed.
pub fn choose_rekey(body: &[u8]) -> Result<Option<(Choice, [u8; IKE_SPI_LEN])>, Error> {
    let mut chosen = None;
    for proposal in Proposals::new(body) {
        let proposal = proposal?;
        let choice = judge(&proposal).filter(|choice| choice.purpose == Purpose::Pairwise);
        chosen = chosen.or(choice.zip(ike_spi(&proposal)));
    }
    Ok(chosen)
}

/// What kind of SA the first proposal is for.
///
/// # Errors
/// If it is malformed, or there is none.
pub fn protocol_of(body: &[u8]) -> Result<SecurityProtocol, Error> {
    Ok(Proposals::new(body).next().ok_or(Error::Missing)??.protocol)
}

/// Whether any proposal in the body of an SA payload has a key wrap of whatever kind: the sender is looking
/// for a GCKS, even if it cannot be answered.
///
/// # Errors
/// If any proposal is malformed.
pub fn seeks_group(body: &[u8]) -> Result<bool, Error> {
    let mut seeks = false;
    for proposal in Proposals::new(body) {
        seeks |= proposal?
            .transforms()
            .any(|transform| transform.ty == TransformType::KWA);
    }
    Ok(seeks)
}

/// Checks the answer to an offer of [`write_offer`]: one proposal, number 1, exactly what was offered.
///
/// # Errors
/// [`Error::BadValue`] for anything else (RFC 7296 section 3.3.6 has the initiator check it), or that of a
/// malformed body.
pub fn check_answer(body: &[u8], offered: Purpose) -> Result<(), Error> {
    let mut proposals = Proposals::new(body);
    let proposal = proposals.next().ok_or(Error::Missing)??;
    if let Some(second) = proposals.next() {
        second?;
        return Err(Error::TooMany);
    }
    let transforms = match offered {
        Purpose::Group => 4,
        Purpose::Pairwise => 3,
    };
    let exact = Choice {
        number: 1,
        purpose: offered,
        integ_none: false,
        ke: KE_CURVE25519,
    };
    // One transform of each type: judging wants each type present, and the count leaves no room for more.
    if proposal.count == transforms && judge(&proposal) == Some(exact) && proposal.spi.is_empty() {
        Ok(())
    } else {
        Err(Error::BadValue)
    }
}

/// Checks the answer to an offer of [`write_rekey`], and gives the responder's SPI.
///
/// # Errors
/// As [`check_answer`].
pub fn check_rekey_answer(body: &[u8]) -> Result<[u8; IKE_SPI_LEN], Error> {
    let mut proposals = Proposals::new(body);
    let proposal = proposals.next().ok_or(Error::Missing)??;
    if let Some(second) = proposals.next() {
        second?;
        return Err(Error::TooMany);
    }
    let choice = judge(&proposal).filter(|choice| *choice == PAIRWISE && proposal.count == 3);
    choice.and_then(|_| ike_spi(&proposal)).ok_or(Error::BadValue)
}

/// What [`write_offer`] offers for a pairwise IKE SA.
pub const PAIRWISE: Choice = Choice {
    number: 1,
    purpose: Purpose::Pairwise,
    integ_none: false,
    ke: KE_CURVE25519,
};

fn ike_spi(proposal: &Proposal<'_>) -> Option<[u8; IKE_SPI_LEN]> {
    proposal
        .spi
        .try_into()
        .ok()
        .filter(|spi| *spi != [0; IKE_SPI_LEN])
}

/// Writes the SA payload of an initiator: one proposal.
pub fn write_offer(writer: &mut Writer<'_>, purpose: Purpose) {
    write_answer(
        writer,
        &Choice {
            number: 1,
            purpose,
            integ_none: false,
            ke: KE_CURVE25519,
        },
    );
}

/// Writes the SA payload of a responder: the chosen proposal's number with one transform of each type.
pub fn write_answer(writer: &mut Writer<'_>, choice: &Choice) {
    write_proposal(writer, choice, &[]);
}

/// Writes the SA payload for an IKE SA that replaces another, with the sender's SPI: of an initiator (with
/// [`PAIRWISE`]) or of a responder.
pub fn write_rekey(writer: &mut Writer<'_>, choice: &Choice, spi: &[u8; IKE_SPI_LEN]) {
    write_proposal(writer, choice, spi);
}

fn write_proposal(writer: &mut Writer<'_>, choice: &Choice, spi: &[u8]) {
    let Ok(spi_size) = u8::try_from(spi.len()) else {
        writer.fail();
        return;
    };
    let kwa = choice.purpose == Purpose::Group;
    let count = 3_u8
        .saturating_add(u8::from(kwa))
        .saturating_add(u8::from(choice.integ_none));
    let payload = writer.begin(PayloadType::SA);
    let proposal = writer.begin_sub(LAST, 0);
    writer.bytes(&[choice.number, SecurityProtocol::IKE.0, spi_size, count]);
    writer.bytes(spi);
    let bare = |_: &mut Writer<'_>| {};
    write_transform(writer, false, TransformType::ENCR, ENCR_CHACHA20_POLY1305, bare);
    write_transform(writer, false, TransformType::PRF, PRF_HMAC_SHA2_256, bare);
    if choice.integ_none {
        write_transform(writer, false, TransformType::INTEG, INTEG_NONE, bare);
    }
    write_transform(writer, !kwa, TransformType::KE, choice.ke, bare);
    if kwa {
        write_transform(writer, true, TransformType::KWA, KW_CHACHA20_POLY1305, bare);
    }
    writer.end(proposal);
    writer.end(payload);
}

/// What a proposal offers of one transform type.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Offer {
    Absent,
    /// Only algorithms that are not supported.
    Useless,
    Good,
}

impl Offer {
    const fn add(&mut self, good: bool) {
        *self = match self {
            Self::Good => Self::Good,
            Self::Absent | Self::Useless => {
                if good {
                    Self::Good
                } else {
                    Self::Useless
                }
            }
        };
    }
}

fn judge(proposal: &Proposal<'_>) -> Option<Choice> {
    if proposal.protocol != SecurityProtocol::IKE {
        return None;
    }
    let [mut encr, mut prf, mut integ, mut ke, mut kwa] = [Offer::Absent; 5];
    for transform in proposal.transforms() {
        // PROTOCOL.md section 3 after RFC 7296 section 3.3.6: an unknown ID or attribute spoils its transform
        // alone, an unknown type the whole proposal.
        let (offer, id) = match transform.ty {
            TransformType::ENCR => (&mut encr, ENCR_CHACHA20_POLY1305),
            TransformType::PRF => (&mut prf, PRF_HMAC_SHA2_256),
            TransformType::INTEG => (&mut integ, INTEG_NONE),
            TransformType::KE => (&mut ke, KE_CURVE25519),
            TransformType::KWA => (&mut kwa, KW_CHACHA20_POLY1305),
            _ => return None,
        };
        offer.add(transform.id == id && transform.is_bare());
    }
    if [encr, prf, ke].iter().any(|offer| *offer != Offer::Good) {
        return None;
    }
    let integ_none = match integ {
        Offer::Absent => false,
        Offer::Good => true,
        Offer::Useless => return None,
    };
    let purpose = match kwa {
        Offer::Absent => Purpose::Pairwise,
        Offer::Good => Purpose::Group,
        Offer::Useless => return None,
    };
    Some(Choice {
        number: proposal.number,
        purpose,
        integ_none,
        ke: KE_CURVE25519,
    })
}

fn check_transforms(proposal: &Proposal<'_>) -> Result<(), Error> {
    if proposal.count == 0 {
        return Reader::new(proposal.transforms).finish();
    }
    let mut transforms = Transforms::new(proposal.transforms);
    let mut count = 0_u8;
    for transform in transforms.by_ref() {
        transform?;
        count = count.checked_add(1).ok_or(Error::TooMany)?;
    }
    if count != proposal.count {
        return Err(Error::BadLength);
    }
    Reader::new(transforms.rest()).finish()
}
