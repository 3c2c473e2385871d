//! What can be wrong with a credential. No error holds or shows any part of a secret.

use std::{fmt, io, path::PathBuf};

use karp_core::identity::Identity;

/// Why a credential was refused.
#[derive(Debug)]
#[non_exhaustive]
pub enum CredentialError {
    /// A secret file can be read or written by others than its owner.
    Mode {
        /// The file.
        file: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// What stands at the path is no regular file.
    NotAFile {
        /// The path.
        file: PathBuf,
    },
    /// The file is too large to be what it should be.
    TooLarge {
        /// The file.
        file: PathBuf,
        /// How many octets it can have.
        limit: usize,
    },
    /// The file cannot be read or written.
    Io {
        /// The file.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A pre-shared key has fewer than 16 octets (PROTOCOL.md section 3).
    ShortKey {
        /// How many it has.
        octets: usize,
    },
    /// Octets in hexadecimal that are none.
    Hex {
        /// The place of the first character that is no hexadecimal digit, counted from 1; `None` if the number of
        /// digits is odd or zero.
        at: Option<usize>,
    },
    /// A text file that is not UTF-8.
    Text,
    /// A signing key's text is not of the form that [`private_key_text`](super::private_key_text) writes.
    PrivateKey,
    /// A public key stands where a private one belongs.
    PublicForPrivate,
    /// A public key's text is not of the form that [`public_key_text`](super::public_key_text) writes.
    PublicKey,
    /// A private key stands where a public one belongs.
    PrivateForPublic,
    /// 32 octets that are no point of the curve, or one of low order.
    WeakPublicKey,
    /// The peer has the node's own identity.
    OwnIdentity,
    /// The identity is listed twice.
    Twice {
        /// The identity.
        identity: Identity,
    },
    /// A peer is to prove itself by signature and this node has no signing key to answer with.
    NoSigningKey,
    /// A peer has no key of its own, and there is none that all share.
    NoSharedKey,
}

impl CredentialError {
    /// What is wrong, without the remedy.
    #[must_use]
    pub fn problem(&self) -> String {
        match self {
            Self::Mode { file, mode } => {
                format!(
                    "{} has mode {:04o}, so others than its owner can get at the secret",
                    file.display(),
                    mode
                )
            }
            Self::NotAFile { file } => format!("{} is not a regular file", file.display()),
            Self::TooLarge { file, limit } => format!("{} holds more than {limit} octets", file.display()),
            Self::Io { file, source } => format!("{}: {source}", file.display()),
            Self::ShortKey { octets } => format!("a pre-shared key of {octets} octets can be guessed"),
            Self::Hex { at: Some(at) } => format!("character {at} is no hexadecimal digit"),
            Self::Hex { at: None } => "the number of hexadecimal digits is odd or zero".to_owned(),
            Self::Text => "the file is not text in UTF-8".to_owned(),
            Self::PrivateKey => "this is not the text of an Ed25519 private key".to_owned(),
            Self::PublicForPrivate => "this is a public key, and a private one belongs here".to_owned(),
            Self::PublicKey => "this is not the text of an Ed25519 public key".to_owned(),
            Self::PrivateForPublic => "this is a private key, and a public one belongs here".to_owned(),
            Self::WeakPublicKey => "these octets are no usable Ed25519 public key".to_owned(),
            Self::OwnIdentity => "this is the router's own identity".to_owned(),
            Self::Twice { identity } => format!("{identity} is listed twice"),
            Self::NoSigningKey => {
                "this router has no signing key to prove itself with to a peer that signs".to_owned()
            }
            Self::NoSharedKey => {
                "the peer has no key: neither one of its own nor one that all share".to_owned()
            }
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Mode { file, .. } => format!("run: chmod 600 {}", file.display()),
            Self::NotAFile { .. } => "name a regular file".to_owned(),
            Self::TooLarge { .. } => "name the file that holds the key alone".to_owned(),
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => "create the file or correct its path".to_owned(),
                io::ErrorKind::PermissionDenied => {
                    "run as the file's owner, or give the file to the user that karp runs as".to_owned()
                }
                io::ErrorKind::AlreadyExists => {
                    "remove the old file first, or choose another name".to_owned()
                }
                _ => "see that the file can be read".to_owned(),
            },
            Self::ShortKey { .. } => "give at least 16 octets, best 32 random ones".to_owned(),
            Self::Hex { .. } => {
                "give two digits from 0 to 9 and a to f for every octet, and nothing else".to_owned()
            }
            Self::Text => "give text, or use hex_file for octets in hexadecimal".to_owned(),
            Self::PrivateKey => {
                "give ed25519-private: and 64 hexadecimal digits, as key generation writes it".to_owned()
            }
            Self::PublicForPrivate => {
                "give the ed25519-private: text, which never leaves this router".to_owned()
            }
            Self::PublicKey => {
                "give ed25519-public: and 64 hexadecimal digits, as key generation writes it".to_owned()
            }
            Self::PrivateForPublic => {
                "give the ed25519-public: text, and make a new key pair for the peer: this one has been shown"
                    .to_owned()
            }
            Self::WeakPublicKey => "copy the peer's ed25519-public: text again".to_owned(),
            Self::OwnIdentity => "list only the other routers".to_owned(),
            Self::Twice { .. } => "list each router once".to_owned(),
            Self::NoSigningKey => "give credential.signing_key, or give the peer a pre-shared key".to_owned(),
            Self::NoSharedKey => "give the peer psk or public_key, or give shared.psk".to_owned(),
        }
    }
}

impl fmt::Display for CredentialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.problem(), self.remedy())
    }
}

impl std::error::Error for CredentialError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
