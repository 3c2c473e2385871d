//! What can be wrong with octets: the peer's faults ([`Error`]) and ours ([`Full`]), kept apart.

use core::fmt;

/// Why received octets were refused. Always the fault of who sent them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Error {
    /// The octets end before the structure does.
    Truncated,
    /// Octets are left after the structure's end.
    Trailing,
    /// A length or count field contradicts what it counts.
    BadLength,
    /// The header's major version is this and not 2 (RFC 7296 section 2.5).
    BadVersion(u8),
    /// A payload of this unknown type has its critical bit set (RFC 7296 section 2.5).
    UnknownCritical(u8),
    /// Something occurs again that may occur once.
    Duplicate,
    /// Something obligatory is not there.
    Missing,
    /// Something stands where it may not, or out of order.
    Misplaced,
    /// More entries than the text allows.
    TooMany,
    /// A field has a value that the text does not allow.
    BadValue,
    /// Well formed, but an algorithm or format that this implementation does not have, and no alternative to
    /// it.
    Unsupported,
    /// The message has to be protected by an SK payload and is not.
    NotSealed,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("ends too early"),
            Self::Trailing => f.write_str("octets after the end"),
            Self::BadLength => f.write_str("contradictory length"),
            Self::BadVersion(major) => write!(f, "major version {major}"),
            Self::UnknownCritical(ty) => write!(f, "unknown critical payload {ty}"),
            Self::Duplicate => f.write_str("repeated"),
            Self::Missing => f.write_str("something obligatory is missing"),
            Self::Misplaced => f.write_str("misplaced"),
            Self::TooMany => f.write_str("too many entries"),
            Self::BadValue => f.write_str("value not allowed"),
            Self::Unsupported => f.write_str("not supported"),
            Self::NotSealed => f.write_str("not sealed"),
        }
    }
}

impl core::error::Error for Error {}

/// The caller's buffer was too small for the message, or a part of it too long for its length field.
///
/// The sizes of [`size`](super::size) are what a configuration is checked against, so that this cannot happen
/// later.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no room for the message")
    }
}

impl core::error::Error for Full {}
