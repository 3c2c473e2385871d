//! A bounded cursor: every step either stays inside the octets or is refused.

use super::Error;

/// Reads big-endian fields from the front of a slice.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A cursor at the first of `octets`.
    #[must_use]
    pub const fn new(octets: &'a [u8]) -> Self {
        Self { rest: octets }
    }

    /// Octets not read yet.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.rest.len()
    }

    /// Whether everything was read.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What was not read yet, without moving.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `count` octets.
    ///
    /// # Errors
    /// [`Error::Truncated`] if there are fewer; then the cursor stays.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let (head, rest) = self.rest.split_at_checked(count).ok_or(Error::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    /// The next `N` octets as an array.
    ///
    /// # Errors
    /// [`Error::Truncated`] if there are fewer.
    pub fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], Error> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(Error::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    /// The next octet.
    ///
    /// # Errors
    /// [`Error::Truncated`] if there is none.
    pub fn u8(&mut self) -> Result<u8, Error> {
        self.array::<1>().map(|[octet]| *octet)
    }

    /// The next two octets.
    ///
    /// # Errors
    /// [`Error::Truncated`] if there are fewer.
    pub fn u16(&mut self) -> Result<u16, Error> {
        self.array().map(|octets| u16::from_be_bytes(*octets))
    }

    /// The next four octets.
    ///
    /// # Errors
    /// [`Error::Truncated`] if there are fewer.
    pub fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(|octets| u32::from_be_bytes(*octets))
    }

    /// The next eight octets.
    ///
    /// # Errors
    /// [`Error::Truncated`] if there are fewer.
    pub fn u64(&mut self) -> Result<u64, Error> {
        self.array().map(|octets| u64::from_be_bytes(*octets))
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// [`Error::Trailing`] if octets are left.
    pub const fn finish(self) -> Result<(), Error> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Error::Trailing)
        }
    }
}
