//! What the wire must show: authenticated packets only, and each under a key that its sender's karpd had it send with.
//! (Babel's packets name no key.)
//!
//! The [`KeyLog`] is what karpd told of its keys, by its own clock; a [`Packet`](super::capture::Packet) has the
//! kernel's. Both are this machine's, so they differ by as much as a daemon takes to do what it was told: a packet under
//! a key may come [`BEFORE_MS`] earlier than the line that tells of it, and the key that was replaced is sent with for
//! up to [`AFTER_MS`] more (a sink that fails is retried; the others accept the old key for longer than that).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Write as _},
    net::IpAddr,
};

use karp_core::packet_auth::Error;
use serde_json::{Value, json};

use super::{
    capture::Captured,
    lab::{BLOCKER_ID, Lab},
    lines::router_of,
    record::{Event, Record, Watched},
};

/// So much earlier than karpd's word a key may be seen, in milliseconds.
pub const BEFORE_MS: u64 = 250;
/// So much longer than karpd's word a key may be seen, in milliseconds.
pub const AFTER_MS: u64 = 2000;
/// So many offenders are remembered.
const TOLD: usize = 12;

/// When routers were told to send with which keys.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KeyLog {
    /// For each router, in the order of time: from when on it sends with which key.
    activated: BTreeMap<usize, Vec<(u64, u16)>>,
    /// For each router and key: when it was removed last.
    removed: BTreeMap<(usize, u16), u64>,
    /// Ids that may be sent with at any time: manual keys, and the key that nobody has with which a daemon without keys
    /// is filled.
    always: Vec<u16>,
}

impl KeyLog {
    /// The log of what karpds told in `record`; keys with the ids of `always` may be sent with at any time.
    #[must_use]
    pub fn of(record: &Record, always: &[u16]) -> Self {
        let mut log = Self {
            always: always.to_vec(),
            ..Self::default()
        };
        for event in record.events() {
            if let Event::Karpd { router, event } = event {
                log.take(*router, event);
            }
        }
        log
    }

    fn take(&mut self, router: usize, event: &Value) {
        let (Some(at_ms), Some(id)) = (
            event.get("unix_ms").and_then(Value::as_u64),
            event
                .get("id")
                .and_then(Value::as_u64)
                .and_then(|id| u16::try_from(id).ok()),
        ) else {
            return;
        };
        match event.get("event").and_then(Value::as_str) {
            Some("key_activated") => {
                self.removed.remove(&(router, id));
                self.activated.entry(router).or_default().push((at_ms, id));
            }
            Some("key_removed") => {
                self.removed.insert((router, id), at_ms);
            }
            _ => {}
        }
    }

    /// Whether a router may have sent with a key then.
    fn judge(&self, router: usize, id: u16, at_ms: u64) -> Result<(), Offence> {
        if self.always.contains(&id) {
            return Ok(());
        }
        let log = self.activated.get(&router).map_or(&[][..], Vec::as_slice);
        let last = log
            .iter()
            .enumerate()
            .rev()
            .find(|(_, (from, of))| *of == id && *from <= at_ms + BEFORE_MS);
        let Some((place, _)) = last else {
            return Err(Offence::NotActivated(id));
        };
        let replaced = log.get(place + 1).map(|(at, _)| *at);
        let removed = self.removed.get(&(router, id)).copied();
        match replaced.into_iter().chain(removed).min() {
            Some(end) if at_ms > end + AFTER_MS => Err(Offence::Replaced(id)),
            _ => Ok(()),
        }
    }
}

/// What is wrong with a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Offence {
    /// It is not authenticated.
    Unauthenticated,
    /// Its sender is no router of the LAN.
    Stranger,
    /// Its sender was not told yet to send with its key.
    NotActivated(u16),
    /// Its sender was told to send with another key a while before.
    Replaced(u16),
    /// It is no packet of its protocol.
    Malformed,
}

/// A packet that should not be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Offender {
    /// When, in milliseconds of Unix time.
    pub at_ms: u64,
    /// Its source address.
    pub source: IpAddr,
    /// What is wrong.
    pub offence: Offence,
}

/// How long a router sent with a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Use {
    /// The first packet, in milliseconds of Unix time.
    pub first_ms: u64,
    /// The last one.
    pub last_ms: u64,
    /// How many.
    pub packets: u64,
}

/// What a capture showed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Audit {
    /// Packets that are authenticated, by their protocol.
    pub authenticated: BTreeMap<Watched, u64>,
    /// Packets that are not, by their source.
    pub unauthenticated: BTreeMap<IpAddr, u64>,
    /// Authenticated packets that should not be, by their source.
    pub unexpected: BTreeMap<IpAddr, u64>,
    /// The first few packets that should not be.
    pub offenders: Vec<Offender>,
    /// Which router sent with which key, by router, protocol, and key id.
    pub keys: BTreeMap<(usize, Watched, u16), Use>,
    /// Fragments, which were not looked into.
    pub fragments: u64,
}

impl Audit {
    /// Holds a capture against the log. `router` tells whose an address is.
    #[must_use]
    pub fn of(captured: &Captured, log: &KeyLog, router: impl Fn(IpAddr) -> Option<usize>) -> Self {
        let mut audit = Self {
            fragments: captured.fragments,
            ..Self::default()
        };
        for packet in &captured.packets {
            let offence = match packet.key_id() {
                Err(Error::NotAuthenticated) => Some(Offence::Unauthenticated),
                Err(_) => Some(Offence::Malformed),
                Ok(id) => {
                    *audit.authenticated.entry(packet.protocol).or_default() += 1;
                    match (router(packet.source), id) {
                        (None, _) => Some(Offence::Stranger),
                        (Some(_), None) => None,
                        (Some(router), Some(id)) => {
                            audit.used(router, packet.protocol, id, packet.at_ms);
                            log.judge(router, id, packet.at_ms).err()
                        }
                    }
                }
            };
            let Some(offence) = offence else { continue };
            let list = match offence {
                Offence::Unauthenticated => &mut audit.unauthenticated,
                _ => &mut audit.unexpected,
            };
            *list.entry(packet.source).or_default() += 1;
            if audit.offenders.len() < TOLD {
                audit.offenders.push(Offender {
                    at_ms: packet.at_ms,
                    source: packet.source,
                    offence,
                });
            }
        }
        audit
    }

    /// Holds the capture of a whole run against what its karpds told.
    #[must_use]
    pub fn of_lab(captured: &Captured, lab: &Lab) -> Self {
        let is_guest =
            |source: IpAddr| router_of(&source.to_string()).is_some_and(|host| lab.guests.contains(&host));
        let mut captured = captured.clone();
        captured.packets.retain(|packet| !is_guest(packet.source));
        let manual = lab.manual().map(|key| key.id);
        let always: Vec<u16> = manual.into_iter().chain([BLOCKER_ID]).collect();
        let log = KeyLog::of(&lab.record, &always);
        Self::of(&captured, &log, |source| {
            let host = router_of(&source.to_string())?;
            lab.routers
                .iter()
                .find(|router| router.host == host)
                .map(|router| router.index)
        })
    }

    fn used(&mut self, router: usize, protocol: Watched, id: u16, at_ms: u64) {
        let used = self.keys.entry((router, protocol, id)).or_insert(Use {
            first_ms: at_ms,
            last_ms: at_ms,
            packets: 0,
        });
        used.last_ms = at_ms;
        used.packets += 1;
    }

    /// Why it does not hold, a line each: packets that should not be, or none of one of these protocols. Times count from
    /// `began_ms`.
    #[must_use]
    pub fn complaints(&self, protocols: &[Watched], began_ms: u64) -> Vec<String> {
        let mut lines = Vec::new();
        for protocol in protocols {
            if !self.authenticated.contains_key(protocol) {
                lines.push(format!(
                    "the capture has no authenticated packet of {}",
                    protocol.name()
                ));
            }
        }
        for (source, packets) in &self.unauthenticated {
            lines.push(format!("{packets} packets of {source} are not authenticated"));
        }
        for (source, packets) in &self.unexpected {
            let mut line = format!("{packets} packets of {source} should not be there");
            let first = self.offenders.iter().find(|offender| offender.source == *source);
            if let Some(first) = first {
                let at = first.at_ms.saturating_sub(began_ms) as f64 / 1000.0;
                let _ = write!(line, ": the first at {at:.3} s, {}", first.offence);
            }
            lines.push(line);
        }
        lines
    }

    /// How many packets were seen of each router, with which keys in the order of their first use: a line for each
    /// protocol. And what should not be, with the first of each source.
    #[must_use]
    pub fn table(&self, protocols: &[Watched], began_ms: u64) -> String {
        let mut text = String::new();
        let mut row = |name: &str, value: String| {
            let _ = writeln!(text, "  {name:<58} {value}");
        };
        let lines: BTreeSet<(usize, Watched)> =
            self.keys.keys().map(|(router, of, _)| (*router, *of)).collect();
        for line in lines {
            let mut keys: Vec<(&Use, u16)> = self
                .keys
                .iter()
                .filter(|((router, of, _), _)| (*router, *of) == line)
                .map(|((.., id), used)| (used, *id))
                .collect();
            keys.sort_by_key(|(used, id)| (used.first_ms, *id));
            let packets: u64 = keys.iter().map(|(used, _)| used.packets).sum();
            let ids: Vec<String> = keys.iter().map(|(_, id)| id.to_string()).collect();
            let name = format!("wire: {} of r{}, authenticated", line.1.name(), line.0 + 1);
            row(&name, format!("{packets} packets under keys {}", ids.join(" ")));
        }
        for complaint in self.complaints(protocols, began_ms) {
            row("wire: should not be", complaint);
        }
        text
    }

    /// For the summary.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let authenticated: serde_json::Map<String, Value> = self
            .authenticated
            .iter()
            .map(|(protocol, packets)| (protocol.name().to_owned(), json!(packets)))
            .collect();
        json!({
            "wire_authenticated": authenticated,
            "wire_keys": self.keys.keys().map(|(.., id)| id).collect::<BTreeSet<_>>().len(),
            "wire_unauthenticated": self.unauthenticated.values().sum::<u64>(),
            "wire_unexpected": self.unexpected.values().sum::<u64>(),
            "wire_fragments": self.fragments,
        })
    }
}

impl fmt::Display for Offence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unauthenticated => f.write_str("not authenticated"),
            Self::Stranger => f.write_str("from no router of the LAN"),
            Self::NotActivated(id) => write!(f, "under key {id} before its karpd told of it"),
            Self::Replaced(id) => write!(f, "under key {id}, long after it was replaced or removed"),
            Self::Malformed => f.write_str("no packet of its protocol"),
        }
    }
}

#[cfg(test)]
mod tests {
    use karp_core::packet_auth::{Algorithm, Key, build::Ospfv2Hello, ospfv2};

    use super::{super::capture::Packet, *};

    const R1: [u8; 4] = [10, 9, 0, 1];

    fn hello(at_ms: u64, source: [u8; 4], key: Option<u16>) -> Packet {
        let mut octets = [0; 128];
        let hello = Ospfv2Hello {
            router_id: 9,
            ..Ospfv2Hello::DEFAULT
        };
        let mut len = hello.write(&mut octets).unwrap();
        if let Some(id) = key {
            let key = Key::new(id, Algorithm::HmacSha256, b"some key");
            let params = ospfv2::SignParams {
                mode: ospfv2::Mode::Rfc5709,
                sequence: 1,
                source: source.into(),
            };
            len = ospfv2::sign(&mut octets, len, &key, &params).unwrap();
        }
        Packet {
            at_ms,
            protocol: Watched::Ospf2,
            source: source.into(),
            octets: octets[..len].to_vec(),
        }
    }

    fn log() -> KeyLog {
        let mut record = Record::default();
        for (at_ms, event, id) in [
            (10_000, "key_installed", 5),
            (10_500, "key_activated", 5),
            (20_000, "key_activated", 6),
            (23_000, "key_removed", 5),
        ] {
            let event = json!({ "unix_ms": at_ms, "event": event, "id": id });
            record.take(Event::Karpd { router: 0, event });
        }
        KeyLog::of(&record, &[0])
    }

    fn audit(packets: Vec<Packet>) -> Audit {
        let captured = Captured {
            packets,
            fragments: 0,
        };
        Audit::of(&captured, &log(), |source| match source {
            IpAddr::V4(source) if source.octets() == R1 => Some(0),
            _ => None,
        })
    }

    fn offence(at_ms: u64, key: Option<u16>) -> Option<Offence> {
        let audit = audit(vec![hello(at_ms, R1, key)]);
        let complaints = audit.complaints(&[Watched::Ospf2], 0);
        assert_eq!(complaints.is_empty(), audit.offenders.is_empty());
        audit.offenders.first().map(|offender| offender.offence)
    }

    #[test]
    fn a_key_is_expected_from_its_activation_until_it_is_replaced() {
        assert_eq!(
            offence(10_100, Some(5)),
            Some(Offence::NotActivated(5)),
            "installed only"
        );
        assert_eq!(offence(10_300, Some(5)), None);
        assert_eq!(offence(19_000, Some(5)), None);
        assert_eq!(offence(20_000 + AFTER_MS, Some(5)), None);
        assert_eq!(offence(20_001 + AFTER_MS, Some(5)), Some(Offence::Replaced(5)));
        assert_eq!(offence(90_000, Some(6)), None);
        assert_eq!(offence(19_000, Some(6)), Some(Offence::NotActivated(6)));
        assert_eq!(offence(19_000, Some(77)), Some(Offence::NotActivated(77)));
    }

    #[test]
    fn the_blocker_may_be_sent_with_at_any_time() {
        assert_eq!(offence(1, Some(0)), None);
    }

    #[test]
    fn packets_without_authentication_are_counted_by_source() {
        let stranger = [10, 9, 0, 66];
        let audit = audit(vec![
            hello(11_000, R1, None),
            hello(11_000, R1, Some(5)),
            hello(11_000, stranger, None),
            hello(11_001, stranger, None),
            hello(11_002, stranger, Some(5)),
        ]);
        assert_eq!(audit.unauthenticated.values().collect::<Vec<_>>(), [&1, &2]);
        assert_eq!(audit.unexpected[&IpAddr::from(stranger)], 1);
        assert_eq!(audit.keys[&(0, Watched::Ospf2, 5)].packets, 1);
        assert_eq!(audit.authenticated[&Watched::Ospf2], 2);
        let complaints = audit.complaints(&[Watched::Ospf2], 10_000).join("\n");
        assert!(
            complaints.contains("2 packets of 10.9.0.66 are not authenticated"),
            "{complaints}"
        );
    }

    #[test]
    fn a_protocol_that_was_not_seen_does_not_hold() {
        let audit = audit(vec![hello(11_000, R1, Some(5))]);
        assert!(audit.complaints(&[Watched::Ospf2], 0).is_empty());
        assert_eq!(audit.complaints(&[Watched::Ospf2, Watched::Ospf3], 0).len(), 1);
    }
}
