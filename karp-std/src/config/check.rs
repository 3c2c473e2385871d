//! From the file's shape to what the engine is made from.

use std::{
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    path::Path,
};

use karp_core::{
    algorithm::{RoutingAlgorithm, RoutingProtocol},
    config::{
        Config, Expiry, MAX_GROUP_NAME, MAX_MANUAL, MAX_PROTOCOLS, ManualKey, ProtocolPolicy, Settings,
    },
    error::ConfigError,
    identity::{Grant, Identity, MAX_IDENTITY},
};
use zeroize::Zeroizing;

use super::{
    ConfigFileError, Configuration, Loader, schema,
    source::Source,
    values::{Form, KeySource, Span, span_text},
};
use crate::{
    credentials::{
        CredentialError, PreSharedKey, Proof, Store, check_secret_mode, parse_hex, parse_private_key,
        parse_public_key, read_public_file, read_secret_file,
    },
    heap::Sizes,
};

type Result<T> = std::result::Result<T, ConfigFileError>;

/// The longest manual key in octets.
const MAX_MANUAL_SECRET: usize = 64;

/// Reads, checks and assembles. `mode` is the file's, if it was read from one.
pub(super) fn configuration(
    text: &str,
    path: &Path,
    loader: &Loader,
    mode: Option<u32>,
) -> Result<Configuration> {
    let (source, document) = Source::parse::<schema::Document>(text, path, |table| {
        !loader.others.iter().any(|other| other == table)
    })?;
    let check = Check {
        source,
        document,
        loader,
        path,
        mode,
    };
    let credentials = check.credentials()?;
    let storage = check.storage()?;
    let manual = check.manual_secrets()?;
    // Once to be checked, which consumes it, and once to be handed over.
    Config::new(check.settings(&manual)?).map_err(|error| check.explain(error))?;
    let settings = check.settings(&manual)?;
    Ok(Configuration {
        settings,
        interface: check.document.node.interface,
        credentials,
        storage,
    })
}

struct Check<'t> {
    source: Source,
    document: schema::Document,
    loader: &'t Loader,
    path: &'t Path,
    mode: Option<u32>,
}

impl Check<'_> {
    fn settings(&self, manual: &[Zeroizing<Vec<u8>>]) -> Result<Settings> {
        let schema::Document {
            node,
            group,
            policy,
            timers,
            ..
        } = &self.document;
        if group.name.is_empty() || group.name.len() > MAX_GROUP_NAME {
            return Err(self.explain(ConfigError::GroupName));
        }
        let ip = self.loader.address.or(node.address.map(|address| address.0));
        let ip = ip.ok_or_else(|| self.source.missing("node.address"))?;
        let identity = self.own_identity()?;
        let port = node.port.unwrap_or(karp_core::config::DEFAULT_PORT);
        let mut s = Settings::new(&group.name, identity, SocketAddr::new(ip, port));
        // Without one, the address tells routers apart as well as anything.
        s.router_id = match (node.router_id, ip) {
            (Some(id), _) => id.0,
            (None, IpAddr::V4(v4)) => v4.to_bits().into(),
            (None, IpAddr::V6(_)) => 0,
        };
        set(&mut s.priority, node.priority);
        set(&mut s.preempt, node.preempt);
        if node.may_serve == Some(false) && node.priority.is_none_or(|priority| priority != 0) {
            return Err(self.source.error(
                "node.may_serve",
                "a router that may not serve must not stand for election",
                "set node.priority to 0, or let it serve",
            ));
        }
        if let Some(address) = group.multicast {
            s.multicast.set_ip(address.0);
        }
        if let Some(port) = group.multicast_port {
            s.multicast.set_port(port);
        }
        set(&mut s.gtsm, group.gtsm);
        let span = |to: &mut karp_core::time::Duration, from: Option<Span>| set(to, from.map(|span| span.0));
        span(&mut s.hello, timers.hello);
        set(&mut s.hold_multiplier, timers.hold_multiplier);
        span(&mut s.retransmit, timers.retransmit);
        set(&mut s.tries, timers.tries);
        span(&mut s.min_rekey, timers.min_rekey);
        span(&mut s.key_lifetime, timers.key_lifetime);
        span(&mut s.rekey_sa_lifetime, timers.rekey_sa_lifetime);
        span(&mut s.dtd, timers.dtd);
        if let Some(ids) = &policy.key_ids {
            let &[first, last] = ids.as_slice() else {
                return Err(self.explain(ConfigError::KeyIds));
            };
            s.key_ids = (first, last);
        }
        if let Some(protocols) = &policy.protocols {
            s.protocols = self.protocols(protocols)?;
        }
        s.expiry = match policy.expiry {
            Some(schema::Expiry::FailClosed) => Expiry::FailClosed,
            Some(schema::Expiry::KeepLast) | None => Expiry::KeepLast,
        };
        set(&mut s.controller_signatures, policy.controller_signatures);
        set(&mut s.reboot_exempt, policy.reboot_exempt);
        set(&mut s.confirm_installs, policy.confirm_installs);
        self.manual_keys(&mut s, manual)?;
        Ok(s)
    }

    fn own_identity(&self) -> Result<Identity> {
        let text = self
            .loader
            .identity
            .as_ref()
            .or(self.document.node.identity.as_ref());
        let text = text.ok_or_else(|| self.source.missing("node.identity"))?;
        self.identity("node.identity", text)
    }

    fn identity(&self, path: &str, text: &str) -> Result<Identity> {
        let printable = text.chars().all(|c| c.is_ascii_graphic());
        Identity::fqdn(text).filter(|_| printable).ok_or_else(|| {
            self.source.error(
                path,
                format!("{text:?} cannot be an identity"),
                format!("give a name of 1 to {MAX_IDENTITY} printable ASCII characters without spaces, such as r1.example"),
            )
        })
    }

    fn protocols(&self, list: &[schema::Protocol]) -> Result<heapless::Vec<ProtocolPolicy, MAX_PROTOCOLS>> {
        let mut protocols = heapless::Vec::new();
        for (at, entry) in list.iter().enumerate() {
            let path = format!("policy.protocols[{at}]");
            let policy = ProtocolPolicy {
                protocol: self.protocol(&path, &entry.protocol)?,
                algorithm: self.algorithm(&path, &entry.algorithm)?,
                self_protecting: entry.self_protecting.unwrap_or(false),
            };
            protocols
                .push(policy)
                .map_err(|_| self.explain(ConfigError::Protocols))?;
        }
        Ok(protocols)
    }

    fn protocol(&self, path: &str, name: &str) -> Result<RoutingProtocol> {
        let found = RoutingProtocol::ALL
            .into_iter()
            .find(|one| same_name(one.name(), name));
        found.ok_or_else(|| {
            let known = RoutingProtocol::ALL.map(RoutingProtocol::name).join(", ");
            let problem = format!("{name:?} is no routing protocol known here");
            self.source.error(
                &format!("{path}.protocol"),
                problem,
                format!("give one of: {known}"),
            )
        })
    }

    fn algorithm(&self, path: &str, name: &str) -> Result<RoutingAlgorithm> {
        let found = RoutingAlgorithm::ALL
            .into_iter()
            .find(|one| same_name(one.name(), name));
        found.ok_or_else(|| {
            let known = RoutingAlgorithm::ALL.map(RoutingAlgorithm::name).join(", ");
            let problem = format!("{name:?} is no algorithm known here");
            self.source.error(
                &format!("{path}.algorithm"),
                problem,
                format!("give one of: {known}"),
            )
        })
    }

    fn manual_secrets(&self) -> Result<Vec<Zeroizing<Vec<u8>>>> {
        let keys = self.document.manual_key.iter().enumerate();
        keys.map(|(at, key)| self.key_octets(&format!("manual_key[{at}].secret"), &key.secret))
            .collect()
    }

    fn manual_keys(&self, settings: &mut Settings, secrets: &[Zeroizing<Vec<u8>>]) -> Result<()> {
        for (at, (key, octets)) in self.document.manual_key.iter().zip(secrets).enumerate() {
            let path = format!("manual_key[{at}]");
            let protocol = self.protocol(&path, &key.protocol)?;
            let algorithm = self.algorithm(&path, &key.algorithm)?;
            let secret = heapless::Vec::from_slice(octets)
                .ok()
                .filter(|secret| !secret.is_empty());
            let Some(secret) = secret else {
                return Err(self.source.error(
                    &format!("{path}.secret"),
                    format!("a secret of {} octets cannot be a manual key", octets.len()),
                    format!("give the one that the routers use now, of 1 to {MAX_MANUAL_SECRET} octets"),
                ));
            };
            let full = settings.manual_keys.push(ManualKey {
                protocol,
                algorithm,
                id: key.id,
                secret,
            });
            full.map_err(|_| {
                self.source.error(
                    &path,
                    format!("more than {MAX_MANUAL} manual keys"),
                    "leave only those that the routers send with or accept now",
                )
            })?;
        }
        Ok(())
    }

    fn credentials(&self) -> Result<Store> {
        let schema::Document {
            node,
            credential,
            shared,
            peer,
            ..
        } = &self.document;
        let own = self.own_identity()?;
        let mut store = Store::new(own.clone()).with_own_grant(grant(Some(true), node.may_serve, None));
        if let Some(key) = &credential.signing_key {
            let path = "credential.signing_key";
            let octets = self.key_text(path, key, true)?;
            let key = parse_private_key(&octets).map_err(|error| self.refused(path, &error))?;
            store = store.with_signing_key(key);
        }
        if let Some(shared) = shared {
            let key = self.pre_shared_key("shared.psk", &shared.psk)?;
            store = store.with_shared_key(key, grant(shared.may_join, shared.may_serve, None));
        }
        for (at, peer) in peer.iter().enumerate() {
            let path = format!("peer[{at}]");
            let identity = self.identity(&format!("{path}.identity"), &peer.identity)?;
            if self.loader.identity.is_some() && identity == own {
                continue;
            }
            let (field, proof) = self.proof(&path, peer)?;
            let grant = grant(peer.may_join, peer.may_serve, peer.expected);
            store.add_peer(identity, grant, proof).map_err(|error| {
                let field = match error {
                    CredentialError::OwnIdentity | CredentialError::Twice { .. } => "identity",
                    _ => field,
                };
                self.refused(&format!("{path}.{field}"), &error)
            })?;
        }
        Ok(store)
    }

    /// How a peer proves itself, and the field that says so.
    fn proof(&self, path: &str, peer: &schema::Peer) -> Result<(&'static str, Proof)> {
        match (&peer.psk, &peer.public_key) {
            (Some(_), Some(_)) => Err(self.source.error(
                &format!("{path}.public_key"),
                "the peer has both a pre-shared and a public key",
                "leave one out: both routers must choose the same",
            )),
            (Some(key), None) => {
                let key = self.pre_shared_key(&format!("{path}.psk"), key)?;
                Ok(("psk", Proof::PreSharedKey(key)))
            }
            (None, Some(key)) => {
                let path = format!("{path}.public_key");
                let text = self.key_text(&path, key, false)?;
                let key = parse_public_key(&text).map_err(|error| self.refused(&path, &error))?;
                Ok(("public_key", Proof::PublicKey(key)))
            }
            (None, None) => Ok(("psk", Proof::Shared)),
        }
    }

    fn pre_shared_key(&self, path: &str, source: &KeySource) -> Result<PreSharedKey> {
        let octets = self.key_octets(path, source)?;
        PreSharedKey::new(&octets).map_err(|error| self.refused(path, &error))
    }

    /// The octets of a secret.
    fn key_octets(&self, path: &str, source: &KeySource) -> Result<Zeroizing<Vec<u8>>> {
        let octets = self.raw(path, source, true)?;
        match source.form {
            Form::Text => Ok(octets),
            Form::File => Ok(Zeroizing::new(without_line_end(&octets).to_vec())),
            Form::Hex | Form::HexFile => {
                let text =
                    std::str::from_utf8(&octets).map_err(|_| self.refused(path, &CredentialError::Text))?;
                parse_hex(text.trim()).map_err(|error| self.refused(path, &error))
            }
        }
    }

    /// The text of a signing or public key, which is never given in hexadecimal alone.
    fn key_text(&self, path: &str, source: &KeySource, secret: bool) -> Result<Zeroizing<String>> {
        if matches!(source.form, Form::Hex | Form::HexFile) {
            return Err(self.source.error(
                path,
                "hex and hex_file are for pre-shared and manual keys",
                "give text or file, with the ed25519- text as key generation writes it",
            ));
        }
        let octets = self.raw(path, source, secret)?;
        let text = std::str::from_utf8(&octets).map_err(|_| self.refused(path, &CredentialError::Text))?;
        Ok(Zeroizing::new(text.to_owned()))
    }

    /// What stands in the configuration or in the file that it names.
    fn raw(&self, path: &str, source: &KeySource, secret: bool) -> Result<Zeroizing<Vec<u8>>> {
        let read = match source.form {
            Form::Text | Form::Hex => {
                // The configuration itself is a secret file then.
                let mode = self.mode.filter(|_| secret);
                let checked = mode.map_or(Ok(()), |mode| check_secret_mode(self.path, mode));
                checked.map(|()| Zeroizing::new(source.value.as_bytes().to_vec()))
            }
            Form::File | Form::HexFile => {
                let file = self.source.directory().join(source.value.as_str());
                if secret {
                    read_secret_file(&file)
                } else {
                    read_public_file(&file)
                }
            }
        };
        read.map_err(|error| self.refused(path, &error))
    }

    fn storage(&self) -> Result<Sizes> {
        let given = &self.document.storage;
        let mut sizes = Sizes::default();
        let take = |name: &str, to: &mut usize, from: Option<usize>, range: RangeInclusive<usize>| {
            set(to, from);
            if range.contains(to) {
                return Ok(());
            }
            let (least, most) = range.into_inner();
            let remedy = format!("give a number from {least} to {most}");
            Err(self.source.error(
                &format!("storage.{name}"),
                format!("{to} is out of range"),
                remedy,
            ))
        };
        take("peers", &mut sizes.peers, given.peers, Sizes::PEERS)?;
        take("keys", &mut sizes.keys, given.keys, Sizes::KEYS)?;
        take(
            "handshakes",
            &mut sizes.handshakes,
            given.handshakes,
            Sizes::OTHERS,
        )?;
        take("sealed", &mut sizes.sealed, given.sealed, Sizes::OTHERS)?;
        take("strangers", &mut sizes.strangers, given.strangers, Sizes::OTHERS)?;
        Ok(sizes)
    }

    fn refused(&self, path: &str, error: &CredentialError) -> ConfigFileError {
        self.source.error(path, error.problem(), error.remedy())
    }

    /// What karp-core found, in the file's terms.
    fn explain(&self, error: ConfigError) -> ConfigFileError {
        match error {
            ConfigError::OutOfRange { field, min, max, value } => self.out_of_range(field, min, max, value),
            ConfigError::GroupName => self.source.error(
                "group.name",
                format!("a name of {} octets", self.document.group.name.len()),
                format!("give 1 to {MAX_GROUP_NAME} octets, the same on every router of the link"),
            ),
            ConfigError::UnicastAddress => {
                let (field, problem) = if self.document.node.port == Some(0) {
                    ("node.port", "0 is no port")
                } else {
                    ("node.address", "this is not a unicast address")
                };
                self.source.error(field, problem, "give the address of this router's interface and a port from 1 to 65535")
            }
            ConfigError::MulticastAddress => {
                let (field, problem) = if self.document.group.multicast_port == Some(0) {
                    ("group.multicast_port", "0 is no port")
                } else {
                    ("group.multicast", "this is not a multicast address of node.address's family")
                };
                self.source.error(field, problem, "leave it out, or give 224.0.0.254 or ff02::114 and a port from 1 to 65535")
            }
            ConfigError::Protocols => self.source.error(
                "policy.protocols",
                "the list is empty, or too long, or has a protocol twice",
                format!("list 1 to {MAX_PROTOCOLS} routing protocols, each once"),
            ),
            ConfigError::Algorithm { protocol, algorithm } => self.wrong_algorithm(protocol, algorithm),
            ConfigError::KeyIds => self.source.error(
                "policy.key_ids",
                "this is no range that keys can be numbered from",
                "give the first and the last, such as [1, 255]: at least 8 ids, from 1 up, and none over 255 if a protocol has only 8 bits for it",
            ),
            ConfigError::ManualKey { id } => {
                let at = self.document.manual_key.iter().rposition(|key| key.id == id).unwrap_or(0);
                self.source.error(
                    &format!("manual_key[{at}].id"),
                    format!("id {id} is taken by another manual key of this protocol"),
                    "leave one of them out",
                )
            }
            ConfigError::MessageTooLong { message, octets, limit } => self.source.error(
                "policy.protocols",
                format!("a message ({message}) could have {octets} octets, and the smallest link carries {limit}"),
                "key fewer protocols, or shorten group.name and node.identity",
            ),
            ConfigError::Storage { table, min } => self.source.error(
                &format!("storage.{table}"),
                "the table is too small",
                format!("give at least {min}"),
            ),
            other => self.source.error("node", other.to_string(), "correct it; the example file shows how"),
        }
    }

    fn out_of_range(&self, field: &str, min: u64, max: u64, value: u64) -> ConfigFileError {
        match field.strip_suffix("_ms") {
            // What bounds it from below is another timer, and nothing bounds it from above.
            Some("key_lifetime") if max == u64::MAX => self.source.error(
                "timers.key_lifetime",
                format!(
                    "{} is too short for an overlap of timers.dtd at both ends",
                    span_text(value)
                ),
                format!("give at least {}, or shorten timers.dtd", span_text(min)),
            ),
            Some(name) => self.source.error(
                &format!("timers.{name}"),
                format!("{} is out of range", span_text(value)),
                format!("give {} to {}", span_text(min), span_text(max)),
            ),
            None => self.source.error(
                &format!("timers.{field}"),
                format!("{value} is out of range"),
                format!("give a number from {min} to {max}"),
            ),
        }
    }

    fn wrong_algorithm(&self, protocol: u16, algorithm: u16) -> ConfigFileError {
        let name = RoutingProtocol::from_code(protocol).map_or("the protocol", RoutingProtocol::name);
        let algorithm =
            RoutingAlgorithm::from_code(algorithm).map_or("this algorithm", RoutingAlgorithm::name);
        let list = self.document.policy.protocols.as_deref().unwrap_or_default();
        let path = match list.iter().position(|entry| same_name(&entry.protocol, name)) {
            Some(at) => format!("policy.protocols[{at}].algorithm"),
            None => "policy.protocols".to_owned(),
        };
        self.source.error(
            &path,
            format!("{name} cannot use {algorithm}"),
            format!("give one that {name} defines"),
        )
    }
}

fn set<T>(to: &mut T, from: Option<T>) {
    if let Some(from) = from {
        *to = from;
    }
}

/// What is not said is granted, except to be waited for.
fn grant(may_join: Option<bool>, may_serve: Option<bool>, expected: Option<bool>) -> Grant {
    Grant {
        may_join: may_join.unwrap_or(true),
        may_serve: may_serve.unwrap_or(true),
        expected: expected.unwrap_or(false),
    }
}

/// Names as people write them: `ospfv2`, `hmac-sha-256`, `HMAC SHA 256`.
fn same_name(one: &str, other: &str) -> bool {
    let letters = |name: &str| -> String {
        name.chars()
            .filter(char::is_ascii_alphanumeric)
            .map(|c| c.to_ascii_lowercase())
            .collect()
    };
    letters(one) == letters(other)
}

/// A text editor ends a file with a line feed that is no part of the secret.
fn without_line_end(octets: &[u8]) -> &[u8] {
    let octets = octets.strip_suffix(b"\n").unwrap_or(octets);
    octets.strip_suffix(b"\r").unwrap_or(octets)
}
