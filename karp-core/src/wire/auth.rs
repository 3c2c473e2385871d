//! How Ed25519 keys and signatures travel (RFC 7427 section 3, RFC 8420, RFC 7670), and the AUTH payload.

use super::numbers::{AuthMethod, CertEncoding};
use super::{Error, PayloadType, Reader, Writer};

/// The AlgorithmIdentifier of Ed25519 in DER: the object identifier and no parameters (RFC 8420 appendix A).
pub const ED25519_ALGORITHM: [u8; 7] = [0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70];
/// What stands before the 32 octets of an Ed25519 key in a SubjectPublicKeyInfo (RFC 8410 section 4).
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// Octets of a SubjectPublicKeyInfo of Ed25519.
pub const SPKI_LEN: usize = 44;
/// Octets of an Ed25519 signature.
pub const SIGNATURE_LEN: usize = 64;
/// Octets of an AUTH payload body with a signature: method, reserved, ASN.1 length, AlgorithmIdentifier,
/// signature.
pub const SIGNATURE_AUTH_LEN: usize = 76;
/// Octets of an AUTH payload body with a shared-key MAC of PRF_HMAC_SHA2_256.
pub const SHARED_KEY_AUTH_LEN: usize = 36;
/// Where the signature stands in the body of an AUTH payload.
pub(super) const SIGNATURE_AT: usize = 12;

/// An AUTH payload (RFC 7296 section 3.8).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Auth<'a> {
    /// How the sender proves who it is.
    pub method: AuthMethod,
    /// The authentication data as it stands.
    pub data: &'a [u8],
}

/// The authentication data of the two methods that are supported.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Proof<'a> {
    /// Method 2: a MAC.
    SharedKey(&'a [u8; 32]),
    /// Method 14 with Ed25519: a signature.
    Ed25519(&'a [u8; SIGNATURE_LEN]),
}

impl<'a> Auth<'a> {
    /// The body of an AUTH payload.
    ///
    /// # Errors
    /// [`Error::Truncated`].
    pub fn parse(body: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        let method = AuthMethod(reader.u8()?);
        reader.take(3)?; // reserved
        Ok(Self {
            method,
            data: reader.rest(),
        })
    }

    /// The data by method.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for another method or signature algorithm, [`Error::BadLength`] for data of a
    /// wrong length.
    pub fn proof(&self) -> Result<Proof<'a>, Error> {
        match self.method {
            AuthMethod::SHARED_KEY => self
                .data
                .try_into()
                .map(Proof::SharedKey)
                .map_err(|_| Error::BadLength),
            AuthMethod::DIGITAL_SIGNATURE => {
                // RFC 7427 section 3: one octet of length, the AlgorithmIdentifier, the signature.
                let mut reader = Reader::new(self.data);
                let length = reader.u8()?;
                if reader.take(usize::from(length))? != ED25519_ALGORITHM {
                    return Err(Error::Unsupported);
                }
                reader
                    .rest()
                    .try_into()
                    .map(Proof::Ed25519)
                    .map_err(|_| Error::BadLength)
            }
            _ => Err(Error::Unsupported),
        }
    }
}

/// Writes an AUTH payload with a shared-key MAC.
pub fn write_shared_key(writer: &mut Writer<'_>, mac: &[u8; 32]) {
    let open = writer.begin(PayloadType::AUTH);
    writer.bytes(&[AuthMethod::SHARED_KEY.0, 0, 0, 0]);
    writer.bytes(mac);
    writer.end(open);
}

/// Writes an AUTH payload with an Ed25519 signature and returns where in the message the signature begins, so
/// that zeros can stand there until it is computed.
pub fn write_signature(writer: &mut Writer<'_>, signature: &[u8; SIGNATURE_LEN]) -> usize {
    let open = writer.begin(PayloadType::AUTH);
    writer.bytes(&[AuthMethod::DIGITAL_SIGNATURE.0, 0, 0, 0, 7]);
    writer.bytes(&ED25519_ALGORITHM);
    let at = writer.position();
    writer.bytes(signature);
    writer.end(open);
    at
}

/// The SubjectPublicKeyInfo of an Ed25519 key: what a raw public key in CERT and an AUTH_KEY attribute carry.
#[must_use]
pub fn public_key_info(key: &[u8; 32]) -> [u8; SPKI_LEN] {
    let mut octets = [0; SPKI_LEN];
    let (head, tail) = octets.split_at_mut(SPKI_PREFIX.len());
    head.copy_from_slice(&SPKI_PREFIX);
    tail.copy_from_slice(key);
    octets
}

/// The Ed25519 key in a SubjectPublicKeyInfo.
///
/// # Errors
/// [`Error::Unsupported`] for a key of another algorithm, [`Error::BadLength`] for octets too few or too
/// many.
pub fn parse_public_key_info(octets: &[u8]) -> Result<&[u8; 32], Error> {
    let octets: &[u8; SPKI_LEN] = octets.try_into().map_err(|_| Error::BadLength)?;
    let mut reader = Reader::new(octets);
    if *reader.array()? != SPKI_PREFIX {
        return Err(Error::Unsupported);
    }
    reader.array()
}

/// Writes a CERT payload with a raw Ed25519 key (encoding 15).
pub fn write_raw_public_key(writer: &mut Writer<'_>, key: &[u8; 32]) {
    let open = writer.begin(PayloadType::CERT);
    writer.u8(CertEncoding::RAW_PUBLIC_KEY.0);
    writer.bytes(&public_key_info(key));
    writer.end(open);
}

/// Writes a CERTREQ payload for a raw public key: the authority field is empty (PROTOCOL.md section 4).
pub fn write_raw_public_key_request(writer: &mut Writer<'_>) {
    writer.payload(PayloadType::CERTREQ, &[CertEncoding::RAW_PUBLIC_KEY.0]);
}
