//! The SA payload of a routing SA: the keys of one session of a routing protocol (PROTOCOL.md section 9).
//!
//! A proposal of protocol ROUTING (201). Its SPI is what the sender wants to receive with: routing protocol (16) | key id
//! (16), and its transforms are the algorithm (type INTEG) and Curve25519 (type KE).

use super::numbers::{Algorithm, KE_CURVE25519, RoutingProtocol, SecurityProtocol, TransformType};
use super::sa::{Proposal, Proposals};
use super::substructure::write_transform;
use super::{Error, NotifyType, PayloadType, Reader, Writer};

/// Octets of the SPI of a routing SA.
pub const SPI_LEN: usize = 4;

/// The SPI of a routing SA: what one side receives with.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct RoutingSpi {
    /// The routing protocol.
    pub protocol: RoutingProtocol,
    /// The key id in its packets; never 0 on the wire.
    pub key_id: u16,
}

impl RoutingSpi {
    /// From the octets of an SPI.
    ///
    /// # Errors
    /// [`Error::BadLength`] unless there are four, [`Error::BadValue`] for key id 0.
    pub fn parse(octets: &[u8]) -> Result<Self, Error> {
        let octets: &[u8; SPI_LEN] = octets.try_into().map_err(|_| Error::BadLength)?;
        let mut reader = Reader::new(octets);
        let spi = Self {
            protocol: RoutingProtocol(reader.u16()?),
            key_id: reader.u16()?,
        };
        if spi.key_id == 0 {
            return Err(Error::BadValue);
        }
        Ok(spi)
    }

    fn write(self, writer: &mut Writer<'_>) {
        writer.u16(self.protocol.0);
        writer.u16(self.key_id);
    }
}

/// What was chosen from an offer, or the offer itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct RoutingChoice {
    /// The number of the proposal.
    pub number: u8,
    /// The sender's SPI.
    pub spi: RoutingSpi,
    /// What the session's packets are authenticated with.
    pub algorithm: Algorithm,
}

impl RoutingChoice {
    /// Writes the SA payload, of an offer or an answer.
    pub fn write(&self, writer: &mut Writer<'_>) {
        let payload = writer.begin(PayloadType::SA);
        let proposal = writer.begin_sub(0, 0);
        writer.bytes(&[self.number, SecurityProtocol::ROUTING.0, 4, 2]);
        self.spi.write(writer);
        let bare = |_: &mut Writer<'_>| {};
        write_transform(writer, false, TransformType::INTEG, self.algorithm.0, bare);
        write_transform(writer, true, TransformType::KE, KE_CURVE25519, bare);
        writer.end(proposal);
        writer.end(payload);
    }
}

/// The SPI of the first routing proposal: it tells which protocol the SA is for, before an algorithm can be chosen.
///
/// # Errors
/// If any proposal is malformed, or there is no such proposal.
pub fn first_spi(body: &[u8]) -> Result<RoutingSpi, Error> {
    let mut first = None;
    for proposal in Proposals::new(body) {
        let proposal = proposal?;
        if proposal.protocol == SecurityProtocol::ROUTING {
            first = first.or(Some(RoutingSpi::parse(proposal.spi)?));
        }
    }
    first.ok_or(Error::Missing)
}

/// Chooses the first proposal with `algorithm` for `protocol`; `None` if there is none: NO_PROPOSAL_CHOSEN.
///
/// # Errors
/// If any proposal is malformed.
pub fn choose(
    body: &[u8],
    protocol: RoutingProtocol,
    algorithm: Algorithm,
) -> Result<Option<RoutingChoice>, Error> {
    let mut chosen = None;
    for proposal in Proposals::new(body) {
        chosen = chosen.or(judge(&proposal?, protocol, algorithm));
    }
    Ok(chosen)
}

/// Checks the answer to `offer`, and gives the responder's SPI.
///
/// # Errors
/// [`Error::BadValue`] for anything but what was offered, [`Error::TooMany`] for a second proposal.
pub fn check_answer(body: &[u8], offer: &RoutingChoice) -> Result<RoutingSpi, Error> {
    let mut proposals = Proposals::new(body);
    let proposal = proposals.next().ok_or(Error::Missing)??;
    if let Some(second) = proposals.next() {
        second?;
        return Err(Error::TooMany);
    }
    judge(&proposal, offer.spi.protocol, offer.algorithm)
        .filter(|choice| proposal.count == 2 && choice.number == offer.number)
        .map(|choice| choice.spi)
        .ok_or(Error::BadValue)
}

fn judge(proposal: &Proposal<'_>, protocol: RoutingProtocol, algorithm: Algorithm) -> Option<RoutingChoice> {
    let spi = RoutingSpi::parse(proposal.spi).ok()?;
    if proposal.protocol != SecurityProtocol::ROUTING || spi.protocol != protocol {
        return None;
    }
    let (mut integ, mut ke) = (false, false);
    for transform in proposal.transforms() {
        match transform.ty {
            TransformType::INTEG => integ |= transform.id == algorithm.0 && transform.is_bare(),
            TransformType::KE => ke |= transform.id == KE_CURVE25519 && transform.is_bare(),
            _ => return None,
        }
    }
    (integ && ke).then_some(RoutingChoice {
        number: proposal.number,
        spi,
        algorithm,
    })
}

/// Writes REKEY_SA: the routing SA that is replaced, by the initiator's SPI (RFC 7296 section 1.3.3).
pub fn write_rekey_sa(writer: &mut Writer<'_>, spi: RoutingSpi) {
    write_notify_about(writer, NotifyType::REKEY_SA, spi);
}

/// Writes CHILD_SA_NOT_FOUND about an SPI (RFC 7296 section 2.25).
pub fn write_not_found(writer: &mut Writer<'_>, spi: RoutingSpi) {
    write_notify_about(writer, NotifyType::CHILD_SA_NOT_FOUND, spi);
}

fn write_notify_about(writer: &mut Writer<'_>, ty: NotifyType, spi: RoutingSpi) {
    let open = writer.begin(PayloadType::NOTIFY);
    writer.bytes(&[SecurityProtocol::ROUTING.0, 4]);
    writer.u16(ty.0);
    spi.write(writer);
    writer.end(open);
}

/// Writes a Delete payload for one routing SA, by what its sender receives with (RFC 7296 section 1.4.1).
pub fn write_delete(writer: &mut Writer<'_>, spi: RoutingSpi) {
    let open = writer.begin(PayloadType::DELETE);
    writer.bytes(&[SecurityProtocol::ROUTING.0, 4, 0, 1]);
    spi.write(writer);
    writer.end(open);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const OFFER: RoutingChoice = RoutingChoice {
        number: 1,
        spi: RoutingSpi {
            protocol: RoutingProtocol::BGP,
            key_id: 77,
        },
        algorithm: Algorithm::AES128_CMAC_96,
    };

    fn body(choice: &RoutingChoice) -> Vec<u8> {
        let mut octets = [0; 64];
        let mut writer = Writer::new(&mut octets);
        choice.write(&mut writer);
        writer.finish().unwrap()[4..].to_vec()
    }

    #[test]
    fn what_is_offered_is_chosen() {
        let octets = body(&OFFER);
        let chosen = choose(&octets, RoutingProtocol::BGP, Algorithm::AES128_CMAC_96);
        assert_eq!(chosen, Ok(Some(OFFER)));
        assert_eq!(first_spi(&octets), Ok(OFFER.spi));
        assert_eq!(choose(&octets, RoutingProtocol::LDP, OFFER.algorithm), Ok(None));
        assert_eq!(
            choose(&octets, RoutingProtocol::BGP, Algorithm::HMAC_SHA1_96),
            Ok(None)
        );
        for cut in 0..octets.len() {
            assert!(first_spi(&octets[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn the_answer_is_what_was_offered() {
        let theirs = RoutingChoice {
            spi: RoutingSpi {
                key_id: 9,
                ..OFFER.spi
            },
            ..OFFER
        };
        assert_eq!(check_answer(&body(&theirs), &OFFER), Ok(theirs.spi));
        for other in [
            RoutingChoice { number: 2, ..theirs },
            RoutingChoice {
                algorithm: Algorithm::HMAC_SHA1_96,
                ..theirs
            },
            RoutingChoice {
                spi: RoutingSpi {
                    protocol: RoutingProtocol::LDP,
                    key_id: 9,
                },
                ..theirs
            },
        ] {
            assert_eq!(check_answer(&body(&other), &OFFER), Err(Error::BadValue));
        }
    }

    #[test]
    fn key_id_zero_is_none() {
        assert_eq!(RoutingSpi::parse(&[0, 9, 0, 0]), Err(Error::BadValue));
        assert_eq!(RoutingSpi::parse(&[0, 9, 0]), Err(Error::BadLength));
    }
}
