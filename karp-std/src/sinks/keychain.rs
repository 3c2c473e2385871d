//! A file with the keys as an instance of ietf-key-chain (RFC 8177) in JSON (RFC 7951), for whatever takes YANG data:
//! Holo, or a NETCONF, RESTCONF or gNMI client.
//!
//! Each protocol of the link has a chain of its own. Its keys have separate lifetimes for sending and accepting, so the
//! reader needs the feature `independent-send-accept-lifetime`, and `hex-key-string` for manual keys that are not
//! printable text. All dates are fixed ones, far away: what a key is for changes with the file and never with the clock.
//!
//! | key | send-lifetime | accept-lifetime |
//! | --- | --- | --- |
//! | not sent with yet | from the end of the year 9999 | always |
//! | sent with | always | always |
//! | not sent with any more | one second in the year 2000 | always |
//!
//! The file has the mode 0600 and is replaced as a whole. Whoever reads it must look for that: karp does not tell. A chain is
//! never empty: while there is no key to send with, it has a random one that nobody else has.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use karp_core::{
    algorithm::{RoutingAlgorithm, RoutingProtocol},
    keytable::RowState,
};
use serde::Serialize;
use zeroize::Zeroizing;

use super::{KeySet, Sink, SinkError, SinkKey, blocker, file};

/// The longest name of a chain that is taken, in octets.
const MAX_NAME: usize = 255;

/// Where the file is and which chains are in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The file. Its directory must exist.
    pub file: PathBuf,
    /// The name of each protocol's chain.
    pub chains: BTreeMap<RoutingProtocol, String>,
}

/// The sink of one link that writes such a file.
pub struct KeyChainSink {
    settings: Settings,
    blocker: Zeroizing<String>,
}

impl fmt::Debug for KeyChainSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyChainSink")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl KeyChainSink {
    /// A sink with these settings. Nothing is written yet.
    ///
    /// # Errors
    /// If there is no chain, two have the same name, a name is empty, too long or has control characters, or the path
    /// names no file.
    pub fn new(settings: Settings) -> Result<Self, SinkError> {
        if settings.chains.is_empty() {
            return Err(SinkError::refused(
                "no chain for any protocol",
                "name one in chains",
            ));
        }
        if settings.file.file_name().is_none() {
            return Err(SinkError::refused(
                format!("file: {} names no file", settings.file.display()),
                "give the path of a file",
            ));
        }
        for (protocol, name) in &settings.chains {
            let field = format!("chains.{}", protocol.name());
            if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
                return Err(SinkError::refused(
                    format!("{field}: `{}` is no name of a key chain", name.escape_debug()),
                    format!("give 1 to {MAX_NAME} octets without control characters"),
                ));
            }
            if settings
                .chains
                .iter()
                .any(|(other, its)| other != protocol && its == name)
            {
                return Err(SinkError::refused(
                    format!("{field}: `{name}` is another protocol's chain"),
                    "give each protocol a chain of its own: a key serves one protocol",
                ));
            }
        }
        Ok(Self {
            settings,
            blocker: blocker::secret(),
        })
    }

    /// Whether RFC 8177 has a name for `algorithm`. It does not name protocols.
    ///
    /// # Errors
    /// Why not.
    pub fn takes(protocol: RoutingProtocol, algorithm: RoutingAlgorithm) -> Result<(), SinkError> {
        identity(algorithm).map(|_| ()).ok_or_else(|| {
            SinkError::refused(
                format!(
                    "ietf-key-chain has no name for {}, the algorithm of {}",
                    algorithm.name(),
                    protocol.name()
                ),
                "use HMAC-SHA-256",
            )
        })
    }

    fn content(&self, wanted: &KeySet) -> Result<Zeroizing<Vec<u8>>, SinkError> {
        let chains = self.settings.chains.iter();
        // Owned beside the rows that point to it.
        let hex: BTreeMap<_, _> = wanted
            .iter()
            .filter(|key| text(key).is_none())
            .map(|key| ((key.protocol, key.id), hexadecimal(key.secret())))
            .collect();
        let chains = chains.map(|(protocol, name)| {
            let rows = wanted.of(*protocol).map(|key| {
                Self::takes(key.protocol, key.algorithm)?;
                let string = match (text(key), hex.get(&(key.protocol, key.id))) {
                    (None, Some(octets)) => KeyString::Hexadecimal(octets),
                    (text, _) => KeyString::Text(text.unwrap_or_default()),
                };
                Ok(Key::new(key.id, key.state, key.algorithm, string))
            });
            let mut rows = rows.collect::<Result<Vec<_>, SinkError>>()?;
            if wanted.sending(*protocol).is_none() {
                let free = wanted.free_id(*protocol);
                let algorithm = usual_algorithm(*protocol);
                rows.extend(
                    free.map(|id| Key::new(id, RowState::Active, algorithm, KeyString::Text(&self.blocker))),
                );
            }
            Ok(Chain { name, keys: rows })
        });
        let document = Document {
            chains: Chains {
                chains: chains.collect::<Result<_, SinkError>>()?,
            },
        };
        // Room for all of it, so that it does not move while it grows: a character is at most six octets in JSON.
        let name = |chain: &Chain<'_>| 6 * chain.name.len() + 200;
        let rows: usize = wanted.iter().map(|key| 6 * key.secret().len() + 1000).sum();
        let names: usize = document.chains.chains.iter().map(name).sum();
        let blockers = 1000 * document.chains.chains.len();
        let mut octets = Zeroizing::new(Vec::with_capacity(rows + names + blockers + 200));
        serde_json::to_writer_pretty(&mut *octets, &document)
            .map_err(|error| self.failed(&format!("cannot be written as JSON ({error})")))?;
        octets.push(b'\n');
        Ok(octets)
    }

    fn failed(&self, problem: &str) -> SinkError {
        SinkError::refused(
            format!("{}: {problem}", self.settings.file.display()),
            "see that the directory exists and karp may write there",
        )
    }

    fn path(&self) -> &Path {
        &self.settings.file
    }
}

impl Sink for KeyChainSink {
    fn describe(&self) -> String {
        format!("key-chain {}", self.path().display())
    }

    /// There is no daemon to look at: whoever reads the file comes and goes by itself.
    fn epoch(&mut self) -> Result<Option<String>, SinkError> {
        Ok(None)
    }

    fn reconcile(&mut self, wanted: &KeySet) -> Result<(), SinkError> {
        let content = self.content(wanted)?;
        // A file that cannot be read is replaced like one with other keys.
        let found = file::read(self.path(), None).ok().flatten();
        if found.is_some_and(|found| found.fits && found.content == content) {
            return Ok(());
        }
        file::replace(self.path(), &content, None)
            .map_err(|error| self.failed(&format!("cannot be replaced ({error})")))
    }
}

/// RFC 8177's identity for an algorithm.
fn identity(algorithm: RoutingAlgorithm) -> Option<&'static str> {
    Some(match algorithm {
        RoutingAlgorithm::HmacSha1 => "ietf-key-chain:hmac-sha-1",
        RoutingAlgorithm::HmacSha256 => "ietf-key-chain:hmac-sha-256",
        RoutingAlgorithm::HmacSha384 => "ietf-key-chain:hmac-sha-384",
        RoutingAlgorithm::HmacSha512 => "ietf-key-chain:hmac-sha-512",
        RoutingAlgorithm::HmacSha1Cut96 => "ietf-key-chain:hmac-sha-1-12",
        RoutingAlgorithm::Aes128CmacCut96 => "ietf-key-chain:aes-cmac-prf-128",
        RoutingAlgorithm::KeyedMd5 => "ietf-key-chain:md5",
        RoutingAlgorithm::Blake2s128 => return None,
    })
}

/// What the protocol is most likely to be set to, for a key that is to match nothing.
fn usual_algorithm(protocol: RoutingProtocol) -> RoutingAlgorithm {
    let mut usual = [RoutingAlgorithm::HmacSha256, RoutingAlgorithm::HmacSha1].into_iter();
    usual
        .find(|algorithm| protocol.takes(*algorithm))
        .unwrap_or(RoutingAlgorithm::HmacSha1Cut96)
}

/// The key as text, if it is printable ASCII: a `keystring` then. Other octets go into a `hexadecimal-string`.
fn text(key: &SinkKey) -> Option<&str> {
    let is_printable = |octet: &u8| (b' '..=b'~').contains(octet);
    let secret = key.secret();
    std::str::from_utf8(secret)
        .ok()
        .filter(|_| secret.iter().all(is_printable))
}

/// As yang:hex-string: pairs of digits with colons between.
fn hexadecimal(octets: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(3 * octets.len()));
    for (at, octet) in octets.iter().enumerate() {
        if at > 0 {
            text.push(':');
        }
        let digits = [octet >> 4, octet & 15].map(u32::from);
        text.extend(digits.iter().filter_map(|digit| char::from_digit(*digit, 16)));
    }
    text
}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "ietf-key-chain:key-chains")]
    chains: Chains<'a>,
}

#[derive(Serialize)]
struct Chains<'a> {
    #[serde(rename = "key-chain")]
    chains: Vec<Chain<'a>>,
}

#[derive(Serialize)]
struct Chain<'a> {
    name: &'a str,
    #[serde(rename = "key")]
    keys: Vec<Key<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Key<'a> {
    /// 64 bits in YANG, and so a string in JSON.
    key_id: String,
    lifetime: Lifetimes,
    crypto_algorithm: &'static str,
    key_string: KeyString<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Lifetimes {
    send_lifetime: Lifetime,
    accept_lifetime: Lifetime,
}

/// YANG's empty is `[null]` in JSON.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case", untagged)]
enum Lifetime {
    #[serde(rename_all = "kebab-case")]
    Always { always: [(); 1] },
    #[serde(rename_all = "kebab-case")]
    NotYet {
        start_date_time: &'static str,
        no_end_time: [(); 1],
    },
    #[serde(rename_all = "kebab-case")]
    Over {
        start_date_time: &'static str,
        end_date_time: &'static str,
    },
}

#[derive(Serialize)]
enum KeyString<'a> {
    #[serde(rename = "keystring")]
    Text(&'a str),
    #[serde(rename = "hexadecimal-string")]
    Hexadecimal(&'a str),
}

impl<'a> Key<'a> {
    fn new(id: u16, state: RowState, algorithm: RoutingAlgorithm, key_string: KeyString<'a>) -> Self {
        Self {
            key_id: id.to_string(),
            lifetime: Lifetimes {
                send_lifetime: match state {
                    RowState::Active => Lifetime::Always { always: [()] },
                    RowState::Pending => Lifetime::NotYet {
                        start_date_time: "9999-12-31T00:00:00Z",
                        no_end_time: [()],
                    },
                    RowState::Retiring => Lifetime::Over {
                        start_date_time: "2000-01-01T00:00:00Z",
                        end_date_time: "2000-01-01T00:00:01Z",
                    },
                },
                accept_lifetime: Lifetime::Always { always: [()] },
            },
            // The callers have asked for it.
            crypto_algorithm: identity(algorithm).unwrap_or_default(),
            key_string,
        }
    }
}

#[cfg(test)]
mod tests;
