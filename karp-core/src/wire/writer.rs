//! Writes a message into the caller's memory.
//!
//! The writer latches "full": a field that finds no room is dropped with all that follow, and
//! [`Writer::finish`] says so once. It keeps the chain of Next Payload fields and patches lengths when a
//! structure ends; everything that can only be computed over finished octets (MAC, signature, wrapped key) is
//! written as zeros and filled in later at its offset.

use super::{Full, Header, PayloadType};

/// A message being written.
#[derive(Debug)]
pub struct Writer<'b> {
    octets: &'b mut [u8],
    at: usize,
    full: bool,
    /// Where the type of the next payload has to be put.
    next: Option<usize>,
    /// Whether a header with a length to patch stands in front.
    headed: bool,
}

/// A payload or substructure that was begun and has to be ended.
#[derive(Debug)]
#[must_use = "a structure that is not ended has no length"]
pub struct Open {
    at: usize,
}

impl Open {
    /// Where the structure begins.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.at
    }
}

impl<'b> Writer<'b> {
    /// A writer of loose structures, without a header.
    #[must_use]
    pub const fn new(octets: &'b mut [u8]) -> Self {
        Self {
            octets,
            at: 0,
            full: false,
            next: None,
            headed: false,
        }
    }

    /// A writer of a message: `header` stands in front, and its Next Payload and Length are patched in the
    /// end.
    #[must_use]
    pub fn message(octets: &'b mut [u8], header: &Header) -> Self {
        let mut writer = Self::new(octets);
        writer.bytes(
            &Header {
                next_payload: PayloadType::NONE,
                ..*header
            }
            .encode(),
        );
        writer.next = Some(Header::NEXT_PAYLOAD_AT);
        writer.headed = true;
        writer
    }

    /// Octets written so far.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.at
    }

    /// Whether something found no room.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.full
    }

    /// The octets written so far. Lengths of structures that are not ended are still zero.
    #[must_use]
    pub fn written(&self) -> &[u8] {
        self.octets.get(..self.at).unwrap_or_default()
    }

    /// The octets written so far, to fill in what was left zero.
    #[must_use]
    pub fn written_mut(&mut self) -> &mut [u8] {
        self.octets.get_mut(..self.at).unwrap_or_default()
    }

    /// Writes octets.
    pub fn bytes(&mut self, octets: &[u8]) {
        if let Some(room) = self.room(octets.len()) {
            room.copy_from_slice(octets);
        }
    }

    /// Writes `count` zeros.
    pub fn zeros(&mut self, count: usize) {
        if let Some(room) = self.room(count) {
            room.fill(0);
        }
    }

    /// Writes one octet.
    pub fn u8(&mut self, value: u8) {
        self.bytes(&[value]);
    }

    /// Writes two octets.
    pub fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    /// Writes four octets.
    pub fn u32(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    /// Writes eight octets.
    pub fn u64(&mut self, value: u64) {
        self.bytes(&value.to_be_bytes());
    }

    /// Overwrites octets that were written before.
    pub fn patch(&mut self, at: usize, octets: &[u8]) {
        let end = at.checked_add(octets.len()).filter(|end| *end <= self.at);
        match end.and_then(|end| self.octets.get_mut(at..end)) {
            Some(room) => room.copy_from_slice(octets),
            None => self.full = true,
        }
    }

    /// Begins a payload: its type goes into the Next Payload field before it. The critical bit is never set,
    /// for every type that is sent is one that the peer has to know (RFC 7296 section 3.2).
    pub fn begin(&mut self, ty: PayloadType) -> Open {
        if let Some(next) = self.next {
            self.patch(next, &[ty.0]);
        }
        self.next = Some(self.at);
        self.begin_sub(0, 0)
    }

    /// Begins a substructure of the common shape: two octets, then a Length that counts all of it. Proposals,
    /// transforms, traffic selectors, policies and key bags have it.
    pub fn begin_sub(&mut self, first: u8, second: u8) -> Open {
        let at = self.at;
        self.bytes(&[first, second, 0, 0]);
        Open { at }
    }

    /// Ends a payload or substructure: its Length is known now.
    pub fn end(&mut self, open: Open) {
        let length = self
            .at
            .checked_sub(open.at)
            .and_then(|length| u16::try_from(length).ok());
        match (length, open.at.checked_add(2)) {
            (Some(length), Some(at)) => self.patch(at, &length.to_be_bytes()),
            _ => self.full = true,
        }
    }

    /// Writes a payload whose body is `octets`.
    pub fn payload(&mut self, ty: PayloadType, octets: &[u8]) {
        let open = self.begin(ty);
        self.bytes(octets);
        self.end(open);
    }

    /// Ends the message: the header's Length is patched. Nothing else is computed; offsets stay good.
    ///
    /// # Errors
    /// [`Full`] if something found no room.
    pub fn finish(mut self) -> Result<&'b mut [u8], Full> {
        if self.headed {
            match u32::try_from(self.at) {
                Ok(length) => self.patch(Header::LENGTH_AT, &length.to_be_bytes()),
                Err(_) => self.full = true,
            }
        }
        if self.full {
            return Err(Full);
        }
        self.octets.get_mut(..self.at).ok_or(Full)
    }

    /// Latches "full" from outside, for a structure that cannot be written.
    pub(super) const fn fail(&mut self) {
        self.full = true;
    }

    fn room(&mut self, count: usize) -> Option<&mut [u8]> {
        // Once full, nothing more is written: a later, shorter field must not slip in behind a gap.
        if self.full {
            return None;
        }
        let end = self.at.checked_add(count).filter(|end| *end <= self.octets.len());
        let Some(end) = end else {
            self.full = true;
            return None;
        };
        let start = core::mem::replace(&mut self.at, end);
        self.octets.get_mut(start..end)
    }
}
