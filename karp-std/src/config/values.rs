//! Values that TOML has no type for: spans of time, router ids, and where a secret comes from.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
};

use karp_core::time::Duration;
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Unexpected, Visitor},
};
use zeroize::Zeroizing;

const UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1000),
    ("min", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

/// A span of time with its unit: `"500ms"`, `"30s"`, `"5min"`, `"1h"`, `"7d"`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Span(pub(super) Duration);

/// A span in the form of the file, in the largest unit that it is a whole number of.
pub(super) fn span_text(ms: u64) -> String {
    let unit = UNITS
        .iter()
        .rev()
        .find(|(_, size)| ms != 0 && ms.is_multiple_of(*size));
    let (name, size) = unit.unwrap_or(&("s", 1000));
    format!("{}{name}", ms / size)
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Span;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number with its unit (ms, s, min, h or d) in quotes, such as \"500ms\"")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Span, E> {
                let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
                let (number, unit) = text.split_at(end);
                let size = UNITS
                    .iter()
                    .find(|(name, _)| *name == unit.trim())
                    .map(|(_, size)| *size);
                let ms = number
                    .parse::<u64>()
                    .ok()
                    .zip(size)
                    .and_then(|(n, size)| n.checked_mul(size));
                ms.map(|ms| Span(Duration::from_millis(ms)))
                    .ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// A router id: a whole number, or an IPv4 address for the 32 bits that it stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct RouterId(pub(super) u64);

impl<'de> Deserialize<'de> for RouterId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = RouterId;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a router id in quotes, such as \"10.9.255.1\", or a whole number from 0 up")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<RouterId, E> {
                let id = text.parse::<Ipv4Addr>();
                id.map(|id| RouterId(id.to_bits().into()))
                    .map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
            }
            fn visit_u64<E: Error>(self, id: u64) -> Result<RouterId, E> {
                Ok(RouterId(id))
            }
            fn visit_i64<E: Error>(self, id: i64) -> Result<RouterId, E> {
                let checked = u64::try_from(id);
                checked
                    .map(RouterId)
                    .map_err(|_| E::invalid_value(Unexpected::Signed(id), &self))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// An IP address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Address(pub(super) IpAddr);

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Address;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "an IP address without prefix length in quotes, such as \"10.9.0.1\" or \"fd09::1\"",
                )
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Address, E> {
                text.parse()
                    .map(Address)
                    .map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// How the octets of a key are given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// The text's own octets.
    Text,
    /// Hexadecimal digits.
    Hex,
    /// A file with the octets; one line feed at its end is left out.
    File,
    /// A file with hexadecimal digits.
    HexFile,
}

const FORMS: [(&str, Form); 4] = [
    ("text", Form::Text),
    ("hex", Form::Hex),
    ("file", Form::File),
    ("hex_file", Form::HexFile),
];

/// Where a key comes from: a table with one of `text`, `hex`, `file` and `hex_file`. No error shows its content.
pub(super) struct KeySource {
    pub(super) form: Form,
    pub(super) value: Zeroizing<String>,
}

impl<'de> Deserialize<'de> for KeySource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KeyTable)
    }
}

/// Whoever writes the key itself in place of the table must not read it in the log: every wrong type has one message.
struct KeyTable;

impl<'de> Visitor<'de> for KeyTable {
    type Value = KeySource;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table such as { file = \"r2.psk\" }, with one of text, hex, file and hex_file")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<KeySource, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<String>()? {
            let form = FORMS.iter().find(|(name, _)| *name == key).map(|(_, form)| *form);
            let (Some(form), None) = (form, &found) else {
                return Err(wrong_key(&self));
            };
            found = Some(KeySource {
                form,
                value: map.next_value::<Quiet>()?.0,
            });
        }
        found.ok_or_else(|| wrong_key(&self))
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<KeySource, E> {
        Err(wrong_key(&self))
    }
    fn visit_i64<E: Error>(self, _: i64) -> Result<KeySource, E> {
        Err(wrong_key(&self))
    }
    fn visit_u64<E: Error>(self, _: u64) -> Result<KeySource, E> {
        Err(wrong_key(&self))
    }
    fn visit_i128<E: Error>(self, _: i128) -> Result<KeySource, E> {
        Err(wrong_key(&self))
    }
    fn visit_f64<E: Error>(self, _: f64) -> Result<KeySource, E> {
        Err(wrong_key(&self))
    }
}

fn wrong_key<E: Error>(expected: &KeyTable) -> E {
    E::custom(format_args!(
        "this is no source of a key, expected {}",
        expected as &dyn serde::de::Expected
    ))
}

/// Text that no error shows.
struct Quiet(Zeroizing<String>);

impl<'de> Deserialize<'de> for Quiet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Quiet;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text in quotes")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Quiet, E> {
                Ok(Quiet(Zeroizing::new(text.to_owned())))
            }
            fn visit_string<E: Error>(self, text: String) -> Result<Quiet, E> {
                Ok(Quiet(Zeroizing::new(text)))
            }
            fn visit_i64<E: Error>(self, _: i64) -> Result<Quiet, E> {
                Err(E::custom(
                    "this is a number without quotes, expected text in quotes",
                ))
            }
            fn visit_u64<E: Error>(self, _: u64) -> Result<Quiet, E> {
                Err(E::custom(
                    "this is a number without quotes, expected text in quotes",
                ))
            }
            fn visit_i128<E: Error>(self, _: i128) -> Result<Quiet, E> {
                Err(E::custom(
                    "this is a number without quotes, expected text in quotes",
                ))
            }
            fn visit_f64<E: Error>(self, _: f64) -> Result<Quiet, E> {
                Err(E::custom(
                    "this is a number without quotes, expected text in quotes",
                ))
            }
        }
        deserializer.deserialize_any(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct One {
        at: Span,
    }

    fn span(text: &str) -> Result<u64, String> {
        let parsed = toml::from_str::<One>(&format!("at = {text}"));
        parsed
            .map(|one| one.at.0.as_millis())
            .map_err(|error| error.message().to_owned())
    }

    #[test]
    fn spans_have_units() {
        for (text, ms) in [
            ("500ms", 500),
            ("1s", 1000),
            ("5min", 300_000),
            ("1 h", 3_600_000),
            ("7d", 604_800_000),
        ] {
            assert_eq!(span(&format!("\"{text}\"")), Ok(ms));
        }
        for wrong in [
            "\"500\"",
            "\"s\"",
            "\"-1s\"",
            "\"1.5s\"",
            "\"1m\"",
            "\"99999999999999999999d\"",
            "1000",
            "\"\"",
        ] {
            let message = span(wrong).unwrap_err();
            assert!(message.contains("with its unit"), "{wrong}: {message}");
        }
    }

    #[test]
    fn spans_are_written_as_they_are_read() {
        for text in ["0s", "1ms", "1500ms", "59s", "1min", "24h", "25h", "30d"] {
            let ms = span(&format!("\"{text}\"")).unwrap();
            let again = span(&format!("\"{}\"", span_text(ms))).unwrap();
            assert_eq!(again, ms);
        }
        assert_eq!(span_text(86_400_000), "1d");
        assert_eq!(span_text(50), "50ms");
    }
}
