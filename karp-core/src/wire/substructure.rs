//! Transforms and attributes, which proposals, GSA policies and key bags share (RFC 7296 sections 3.3.2 and
//! 3.3.5).

use super::numbers::TransformType;
use super::{Error, Reader, Writer};

/// "Last Substruc" of a transform that another follows.
const MORE_TRANSFORMS: u8 = 3;
/// "Last Substruc" of the last one.
const LAST: u8 = 0;
/// The attribute format bit: set for type and value, clear for type, length and value.
const SHORT_FORMAT: u16 = 0x8000;

/// A transform: an algorithm for one purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Transform<'a> {
    /// The purpose.
    pub ty: TransformType,
    /// The algorithm; its meaning depends on the type.
    pub id: u16,
    attributes: &'a [u8],
}

impl<'a> Transform<'a> {
    /// The attributes. Their lengths were checked.
    #[must_use]
    pub const fn attributes(&self) -> Attributes<'a> {
        Attributes::new(self.attributes)
    }

    /// Whether the transform is its ID and nothing else. No algorithm of this suite has an attribute, so one
    /// that carries any is another algorithm (RFC 7296 section 3.3.6).
    #[must_use]
    pub const fn is_bare(&self) -> bool {
        self.attributes.is_empty()
    }
}

/// The transforms at the front of some octets, up to the one that says it is the last.
#[derive(Clone, Debug)]
pub struct Transforms<'a> {
    reader: Reader<'a>,
    done: bool,
}

impl<'a> Transforms<'a> {
    /// The transforms at the front of `octets`. At least one is expected.
    #[must_use]
    pub const fn new(octets: &'a [u8]) -> Self {
        Self {
            reader: Reader::new(octets),
            done: false,
        }
    }

    /// What stands behind the last transform, once the iterator has ended.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.reader.rest()
    }

    fn step(&mut self) -> Result<Transform<'a>, Error> {
        let last = self.reader.u8()?;
        self.reader.u8()?; // reserved, ignored (RFC 7296 section 3.3.2)
        let mut body = body_of(self.reader.u16()?, &mut self.reader)?;
        let ty = TransformType(body.u8()?);
        body.u8()?; // reserved
        let transform = Transform {
            ty,
            id: body.u16()?,
            attributes: body.rest(),
        };
        for attribute in transform.attributes() {
            attribute?;
        }
        match last {
            MORE_TRANSFORMS => {}
            LAST => self.done = true,
            _ => return Err(Error::BadValue),
        }
        Ok(transform)
    }
}

impl<'a> Iterator for Transforms<'a> {
    type Item = Result<Transform<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let step = self.step();
        self.done |= step.is_err();
        Some(step)
    }
}

/// An attribute: a type and its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Attribute<'a> {
    /// The type, without the format bit.
    pub ty: u16,
    /// The value.
    pub value: Value<'a>,
}

/// The value of an attribute, in the format that the sender chose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Value<'a> {
    /// Type and value (TV): two octets.
    Short(u16),
    /// Type, length and value (TLV).
    Long(&'a [u8]),
}

impl<'a> Value<'a> {
    /// The value of an attribute that is defined as TV.
    ///
    /// # Errors
    /// [`Error::BadValue`] if it was sent as TLV (RFC 7296 section 3.3.5 forbids it).
    pub const fn short(self) -> Result<u16, Error> {
        match self {
            Self::Short(value) => Ok(value),
            Self::Long(_) => Err(Error::BadValue),
        }
    }

    /// The value of an attribute that is defined as TLV.
    ///
    /// # Errors
    /// [`Error::BadValue`] if it was sent as TV (RFC 7296 section 3.3.5 forbids it).
    pub const fn long(self) -> Result<&'a [u8], Error> {
        match self {
            Self::Long(value) => Ok(value),
            Self::Short(_) => Err(Error::BadValue),
        }
    }

    /// The value of an attribute that is defined as a TLV of four octets.
    ///
    /// # Errors
    /// [`Error::BadValue`] if it was sent as TV, [`Error::BadLength`] if it is not four octets long.
    pub fn u32(self) -> Result<u32, Error> {
        let octets = <[u8; 4]>::try_from(self.long()?).map_err(|_| Error::BadLength)?;
        Ok(u32::from_be_bytes(octets))
    }
}

/// The attributes that some octets consist of.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    reader: Reader<'a>,
}

impl<'a> Attributes<'a> {
    /// The attributes that `octets` consist of.
    #[must_use]
    pub const fn new(octets: &'a [u8]) -> Self {
        Self {
            reader: Reader::new(octets),
        }
    }

    fn step(&mut self) -> Result<Attribute<'a>, Error> {
        let ty = self.reader.u16()?;
        let word = self.reader.u16()?;
        let value = if ty & SHORT_FORMAT != 0 {
            Value::Short(word)
        } else {
            Value::Long(self.reader.take(usize::from(word))?)
        };
        Ok(Attribute {
            ty: ty & !SHORT_FORMAT,
            value,
        })
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<Attribute<'a>, Error>;

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

/// Writes a transform; `last` if none follows. `attributes` writes its attributes.
pub fn write_transform(
    writer: &mut Writer<'_>,
    last: bool,
    ty: TransformType,
    id: u16,
    attributes: impl FnOnce(&mut Writer<'_>),
) {
    let open = writer.begin_sub(if last { LAST } else { MORE_TRANSFORMS }, 0);
    writer.bytes(&[ty.0, 0]);
    writer.u16(id);
    attributes(writer);
    writer.end(open);
}

/// Writes an attribute of two octets (TV).
pub fn write_short(writer: &mut Writer<'_>, ty: u16, value: u16) {
    writer.u16(ty | SHORT_FORMAT);
    writer.u16(value);
}

/// Writes an attribute with a length (TLV).
pub fn write_long(writer: &mut Writer<'_>, ty: u16, value: &[u8]) {
    let Ok(length) = u16::try_from(value.len()) else {
        writer.fail();
        return;
    };
    writer.u16(ty & !SHORT_FORMAT);
    writer.u16(length);
    writer.bytes(value);
}

/// The body of a substructure whose first two octets and Length were just read from `reader`; `length` counts
/// those four octets too.
pub(super) fn body_of<'a>(length: u16, reader: &mut Reader<'a>) -> Result<Reader<'a>, Error> {
    let body = usize::from(length).checked_sub(4).ok_or(Error::BadLength)?;
    reader.take(body).map(Reader::new)
}

/// Fills `slot`, which may be filled once.
pub(super) fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), Error> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Error::Duplicate),
    }
}
