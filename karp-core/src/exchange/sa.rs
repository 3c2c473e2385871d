//! An IKE SA: what two nodes have in common after the initial exchange (PROTOCOL.md sections 3 and 4).

use crate::{
    crypto::{IkeKeys, OpenKey, SealKey, Secret, WrapKey, key_wrap_key},
    error::DropReason,
    time::Instant,
    wire::{self, ExchangeType, Flags, Header, PayloadType, Payloads, Writer, sk},
};

/// SK_w on the side that wraps, the GCKS's, or on the one that unwraps.
pub(crate) enum KeyWrap {
    Wraps(WrapKey),
    Unwraps(Secret<32>),
}

/// The IKE SA with one peer. There is one at most: a new registration replaces it (section 4).
pub(crate) struct IkeSa {
    pub(crate) spi_i: [u8; 8],
    pub(crate) spi_r: [u8; 8],
    /// This node was the initiator of the initial exchange.
    pub(crate) initiator: bool,
    seal: SealKey,
    open: OpenKey,
    pub(crate) wrap: KeyWrap,
    /// The Message ID of this node's next request.
    pub(crate) next_request: u32,
    /// The Message ID expected of the peer's next request.
    pub(crate) expected: u32,
    /// When the peer's last request was answered.
    pub(crate) answered: Option<Instant>,
}

/// What a sealed message turned out to be.
pub(crate) struct Opened<'d> {
    pub(crate) first: PayloadType,
    pub(crate) text: &'d [u8],
}

impl<'d> Opened<'d> {
    /// The payloads inside.
    pub(crate) fn payloads(&self) -> Result<Payloads<'d>, DropReason> {
        sk::inner(self.first, self.text).map_err(wire_fault)
    }
}

/// Maps the wire's complaint to the counter that it belongs to.
pub(crate) fn wire_fault(error: wire::Error) -> DropReason {
    if let wire::Error::UnknownCritical(_) = error {
        DropReason::UnknownCritical
    } else {
        DropReason::Malformed
    }
}

impl IkeSa {
    /// The IKE SA from the keys of an exchange. GSA_AUTH has Message ID 1, so the initiator goes on with 2 and the
    /// GCKS's own requests begin at 0 (section 4).
    ///
    /// `first_iv` is where this end begins to count its IVs.
    pub(crate) fn new(
        keys: &IkeKeys,
        spi_i: [u8; 8],
        spi_r: [u8; 8],
        initiator: bool,
        first_iv: u64,
    ) -> Self {
        let wrap = key_wrap_key(&keys.sk_d);
        let (out, into) = if initiator {
            (&keys.sk_ei, &keys.sk_er)
        } else {
            (&keys.sk_er, &keys.sk_ei)
        };
        Self {
            spi_i,
            spi_r,
            initiator,
            seal: SealKey::starting_at(out.duplicate(), first_iv),
            open: OpenKey::new(into),
            wrap: if initiator {
                KeyWrap::Unwraps(wrap)
            } else {
                KeyWrap::Wraps(WrapKey::new(wrap))
            },
            next_request: if initiator { 2 } else { 0 },
            expected: if initiator { 0 } else { 2 },
            answered: None,
        }
    }

    /// The IKE SA, and none of its keys is left here: it goes from the exchange to the peer.
    pub(crate) fn take_out(&mut self) -> Self {
        Self {
            spi_i: self.spi_i,
            spi_r: self.spi_r,
            initiator: self.initiator,
            seal: self.seal.take_out(),
            open: self.open.take_out(),
            wrap: match &mut self.wrap {
                KeyWrap::Wraps(key) => KeyWrap::Wraps(key.take_out()),
                KeyWrap::Unwraps(key) => KeyWrap::Unwraps(key.take_out()),
            },
            next_request: self.next_request,
            expected: self.expected,
            answered: self.answered,
        }
    }

    /// Opens `datagram`, a sealed message, in place.
    pub(crate) fn open<'d>(&self, datagram: &'d mut [u8]) -> Result<Opened<'d>, DropReason> {
        open(&self.open, datagram)
    }

    /// The header of a message of this IKE SA.
    pub(crate) fn header(&self, exchange: ExchangeType, response: bool, message_id: u32) -> Header {
        let flags = match (self.initiator, response) {
            (true, true) => Flags::INITIATOR_RESPONSE,
            (true, false) => Flags::INITIATOR,
            (false, true) => Flags::RESPONSE,
            (false, false) => Flags::NONE,
        };
        Header::new(self.spi_i, self.spi_r, exchange, flags, message_id)
    }

    /// Writes a message into `buffer`: `fill` adds the payloads, `patch` changes the finished octets before they are
    /// sealed (keys are wrapped there). Returns its length.
    pub(crate) fn seal<T>(
        &mut self,
        header: &Header,
        buffer: &mut [u8],
        fill: impl FnOnce(&mut Writer<'_>) -> T,
        patch: impl FnOnce(&mut KeyWrap, &mut [u8], T) -> Option<()>,
    ) -> Option<usize> {
        let (mut writer, open) = sk::begin(buffer, header);
        let filled = fill(&mut writer);
        let message = sk::finish(writer, open).ok()?;
        patch(&mut self.wrap, message, filled)?;
        seal(&mut self.seal, message)
    }

    /// As [`Self::seal`], for messages without wrapped keys.
    pub(crate) fn seal_plain(
        &mut self,
        header: &Header,
        buffer: &mut [u8],
        fill: impl FnOnce(&mut Writer<'_>),
    ) -> Option<usize> {
        self.seal(header, buffer, fill, |_, _, ()| Some(()))
    }
}

/// Seals a finished message in place. The IV is spent before anything is sealed (section 3).
pub(crate) fn seal(key: &mut SealKey, message: &mut [u8]) -> Option<usize> {
    let len = message.len();
    let iv = key.next_iv().ok()?;
    let parts = sk::split(message).ok()?;
    *parts.iv = iv.octets();
    // The IV lies behind the additional data, which is complete.
    *parts.tag = key.seal(iv, parts.aad, parts.text).ok()?;
    Some(len)
}

/// Opens a sealed message in place: only then are its payloads looked at.
pub(crate) fn open<'d>(key: &OpenKey, datagram: &'d mut [u8]) -> Result<Opened<'d>, DropReason> {
    let first = sk::locate(datagram).map_err(wire_fault)?.first;
    let parts = sk::split(datagram).map_err(wire_fault)?;
    key.open(parts.iv, parts.aad, parts.text, parts.tag)
        .map_err(|_| DropReason::BadSeal)?;
    Ok(Opened {
        first,
        text: parts.text,
    })
}
