//! The sinks that a configuration names.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use karp_core::algorithm::{RoutingAlgorithm, RoutingProtocol};
use karp_std::sinks::{
    Sink, SinkError,
    bird::{self, BirdSink},
    frr::{self, FrrSink},
    hook::{self, HookSink},
    keychain::{self, KeyChainSink},
};

/// One sink as configured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SinkSettings {
    /// What it is.
    pub kind: SinkKind,
}

/// The kinds of sinks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SinkKind {
    /// BIRD: a file of passwords for each protocol, and its control socket.
    Bird {
        /// BIRD's control socket.
        socket: PathBuf,
        /// The included files.
        files: BTreeMap<RoutingProtocol, PathBuf>,
        /// Whose they are: user and group.
        owner: Option<(u32, u32)>,
    },
    /// FRR: a key chain for each protocol.
    Frr {
        /// Where the daemons' sockets are.
        directory: PathBuf,
        /// The chains by name.
        chains: BTreeMap<RoutingProtocol, String>,
    },
    /// RFC 8177's ietf-key-chain in a file.
    KeyChain {
        /// The file.
        file: PathBuf,
        /// The chains by name.
        chains: BTreeMap<RoutingProtocol, String>,
    },
    /// A program.
    Hook {
        /// It and its arguments.
        command: Vec<String>,
        /// How long it may take.
        timeout: Duration,
        /// What it is told of: all that the group keys.
        protocols: Vec<RoutingProtocol>,
    },
}

impl SinkSettings {
    /// The protocols that it is for.
    #[must_use]
    pub fn protocols(&self) -> Vec<RoutingProtocol> {
        match &self.kind {
            SinkKind::Bird { files, .. } => files.keys().copied().collect(),
            SinkKind::Frr { chains, .. } | SinkKind::KeyChain { chains, .. } => {
                chains.keys().copied().collect()
            }
            SinkKind::Hook { protocols, .. } => protocols.clone(),
        }
    }

    /// The files and key chains that it writes, which no other sink may.
    #[must_use]
    pub fn targets(&self) -> Vec<String> {
        match &self.kind {
            SinkKind::Bird { files, .. } => files.values().map(|file| file.display().to_string()).collect(),
            SinkKind::Frr { directory, chains } => {
                let of = |(protocol, chain): (&RoutingProtocol, &String)| {
                    format!(
                        "key chain {chain} of {} in {}",
                        protocol.name(),
                        directory.display()
                    )
                };
                chains.iter().map(of).collect()
            }
            SinkKind::KeyChain { file, .. } => vec![file.display().to_string()],
            SinkKind::Hook { .. } => Vec::new(),
        }
    }

    /// Whether it can key `protocol` with `algorithm`.
    ///
    /// # Errors
    /// Why not.
    pub fn takes(&self, protocol: RoutingProtocol, algorithm: RoutingAlgorithm) -> Result<(), SinkError> {
        match &self.kind {
            SinkKind::Bird { .. } => BirdSink::takes(protocol, algorithm),
            SinkKind::Frr { .. } => FrrSink::takes(protocol, algorithm),
            SinkKind::KeyChain { .. } => KeyChainSink::takes(protocol, algorithm),
            // What it cannot do is its own affair.
            SinkKind::Hook { .. } => Ok(()),
        }
    }

    /// The sink itself.
    ///
    /// # Errors
    /// What is wrong with its settings.
    pub fn build(&self) -> Result<Box<dyn Sink>, SinkError> {
        Ok(match &self.kind {
            SinkKind::Bird { socket, files, owner } => Box::new(BirdSink::new(bird::Settings {
                socket: socket.clone(),
                files: files.clone(),
                owner: *owner,
            })?),
            SinkKind::Frr { directory, chains } => Box::new(FrrSink::new(frr::Settings {
                directory: directory.clone(),
                chains: chains.clone(),
            })?),
            SinkKind::KeyChain { file, chains } => Box::new(KeyChainSink::new(keychain::Settings {
                file: file.clone(),
                chains: chains.clone(),
            })?),
            SinkKind::Hook { command, timeout, .. } => Box::new(HookSink::new(hook::Settings {
                command: command.clone(),
                timeout: *timeout,
            })?),
        })
    }

    /// Whether it writes files that belong to somebody else.
    #[must_use]
    pub const fn gives_files_away(&self) -> bool {
        matches!(self.kind, SinkKind::Bird { owner: Some(_), .. })
    }

    /// In a word or two.
    #[must_use]
    pub fn describe(&self) -> String {
        let named = |protocol: &RoutingProtocol, what: &str| format!("{} -> {what}", protocol.name());
        match &self.kind {
            SinkKind::Bird { socket, files, .. } => {
                let files: Vec<_> = files
                    .iter()
                    .map(|(p, file)| named(p, &file.display().to_string()))
                    .collect();
                format!("BIRD at {}: {}", socket.display(), files.join(", "))
            }
            SinkKind::Frr { directory, chains } => {
                let chains: Vec<_> = chains.iter().map(|(p, chain)| named(p, chain)).collect();
                format!("FRR in {}: {}", directory.display(), chains.join(", "))
            }
            SinkKind::KeyChain { file, chains } => {
                let chains: Vec<_> = chains.iter().map(|(p, chain)| named(p, chain)).collect();
                format!("key chains in {}: {}", file.display(), chains.join(", "))
            }
            SinkKind::Hook { command, timeout, .. } => {
                format!(
                    "the program {} (within {} ms)",
                    command.join(" "),
                    timeout.as_millis()
                )
            }
        }
    }
}
