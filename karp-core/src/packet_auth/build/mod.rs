//! Small well-formed packets, for examples and tests.
//!
//! Each is a struct of the fields worth choosing, with a `DEFAULT` to start from and a `write` that puts the packet into a
//! buffer and returns its length in octets. They are not authenticated yet, and their checksums are zero: `sign` comes
//! next. The rest of a routing protocol is not here.

mod isis;
mod ospf;

pub use isis::{Csnp, LanHello, Level, Lsp, PointToPointHello, Psnp};
pub use ospf::{Ospfv2Hello, Ospfv3Hello};

use super::{Error, put, sum};

/// Writes one field after the other, and remembers if one did not fit.
struct Writer<'b> {
    buf: &'b mut [u8],
    at: Result<usize, Error>,
}

impl<'b> Writer<'b> {
    const fn new(buf: &'b mut [u8]) -> Self {
        Self { buf, at: Ok(0) }
    }

    fn octets(&mut self, octets: &[u8]) -> &mut Self {
        self.at = self.at.and_then(|at| {
            put(self.buf, at, octets)?;
            sum(at, octets.len())
        });
        self
    }

    fn u8(&mut self, value: u8) -> &mut Self {
        self.octets(&[value])
    }

    fn u16(&mut self, value: u16) -> &mut Self {
        self.octets(&value.to_be_bytes())
    }

    fn u32(&mut self, value: u32) -> &mut Self {
        self.octets(&value.to_be_bytes())
    }

    /// Ends the packet: writes its length (16 bits) at `length_at`, and returns it.
    fn finish(&mut self, length_at: usize) -> Result<usize, Error> {
        let len = self.at?;
        let field = u16::try_from(len).map_err(|_| Error::NoRoom)?;
        put(self.buf, length_at, &field.to_be_bytes())?;
        Ok(len)
    }
}
