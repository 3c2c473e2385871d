//! FRR's key chains, through the vty socket of each daemon (tried with FRR 10.3).
//!
//! One chain for each protocol of the link is karp's: `key chain NAME` in ospfd for OSPFv2, in ospf6d for OSPFv3. What uses
//! it is the operator's configuration:
//!
//! ```text
//! interface eth0
//!  ip ospf authentication key-chain karp-eth0
//!  ipv6 ospf6 authentication keychain karp-eth0
//! ```
//!
//! How FRR behaves, and what follows from it:
//! - It sends with the lowest id whose send-lifetime is valid by its clock. So every key has a send-lifetime of fixed dates
//!   in the year 2000: without an end for the one key to send with, one second for all others. Only a clock that stands
//!   before that year can disturb it.
//! - It accepts the first key whose id is at least that of the packet, so that an id which is there counts for itself. So a
//!   key is there before anybody sends with it.
//! - A packet that waits to be sent refers to its key in memory that goes with the key. So a key stops being sent with in one
//!   change and is removed in another, some time later.
//! - Without a key it sends packets that nobody accepts. So there is always a key to send with, if need be a random one that
//!   nobody else has, under id 0 or the lowest that is free.
//! - Neither status nor silence proves anything. So every change is read back, in ospfd also what the interfaces send
//!   with. If no interface uses the chain, the keys are put in and the sink fails all the same: this router does not
//!   authenticate with them.
//!
//! A chain is part of the running configuration: `write memory` saves the keys of that moment, and at its next start the
//! daemon uses them until karp has replaced them.

mod chain;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use karp_core::{
    algorithm::{RoutingAlgorithm, RoutingProtocol},
    keytable::RowState,
};
use zeroize::Zeroizing;

use self::chain::{Chain, Change, Wanted};
use super::{KeySet, Sink, SinkError, SinkKey, blocker};
use crate::daemons::frr::{Vty, name};

/// How long a daemon gets to send what it made with a key before the key is taken away.
const SETTLING: Duration = Duration::from_millis(100);

/// The longest key in octets: what an HMAC with SHA-256 uses without cutting it down first.
const MAX_SECRET: usize = 64;

/// Where FRR is and which chains are karp's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The directory of the daemons' sockets: `/run/frr`, or `/run/frr/NAME` for daemons that were started with `-N NAME`.
    pub directory: PathBuf,
    /// The name of karp's chain for each protocol: OSPFv2, OSPFv3 or both. Whatever keys are in it are karp's.
    pub chains: BTreeMap<RoutingProtocol, String>,
}

/// The sink of one link for one instance of FRR.
#[derive(Debug)]
pub struct FrrSink {
    directory: PathBuf,
    links: Vec<Link>,
}

/// One chain of one daemon.
struct Link {
    protocol: RoutingProtocol,
    socket: PathBuf,
    chain: String,
    /// What is sent with while there is no key.
    blocker: Zeroizing<String>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("protocol", &self.protocol)
            .field("chain", &self.chain)
            .finish_non_exhaustive()
    }
}

/// The socket of the daemon that speaks `protocol`, in FRR's directory `directory`.
///
/// # Errors
/// If no daemon of FRR's can be keyed for it.
pub fn socket(directory: &Path, protocol: RoutingProtocol) -> Result<PathBuf, SinkError> {
    match protocol {
        RoutingProtocol::Ospfv2 => Ok(directory.join("ospfd.vty")),
        RoutingProtocol::Ospfv3 => Ok(directory.join("ospf6d.vty")),
        other => Err(SinkError::refused(
            format!("FRR takes no keys of karp's for {}", other.name()),
            "use it for OSPFv2 and OSPFv3",
        )),
    }
}

impl FrrSink {
    /// A sink for these chains. Nothing is connected to yet.
    ///
    /// # Errors
    /// If there is no chain, a protocol is none that FRR can be keyed for, or a chain's name none that it can have.
    pub fn new(settings: Settings) -> Result<Self, SinkError> {
        if settings.chains.is_empty() {
            return Err(SinkError::refused(
                "no chain for any protocol",
                "name one in chains",
            ));
        }
        let links = settings.chains.into_iter().map(|(protocol, chain)| {
            let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            if chain.is_empty() || chain.len() > 63 || !chain.chars().all(is_name) {
                return Err(SinkError::refused(
                    format!("`{}` is no name of a key chain", chain.escape_debug()),
                    "use at most 63 letters, digits, hyphens, dots and underscores",
                ));
            }
            Ok(Link {
                socket: socket(&settings.directory, protocol)?,
                protocol,
                chain,
                blocker: blocker::secret(),
            })
        });
        Ok(Self {
            links: links.collect::<Result<_, _>>()?,
            directory: settings.directory,
        })
    }

    /// Whether FRR can use keys of `algorithm` for `protocol`.
    ///
    /// # Errors
    /// Why not. Debian's FRR has no other algorithm than this but MD5, and offers others all the same.
    pub fn takes(protocol: RoutingProtocol, algorithm: RoutingAlgorithm) -> Result<(), SinkError> {
        socket(Path::new(""), protocol)?;
        if algorithm == RoutingAlgorithm::HmacSha256 {
            return Ok(());
        }
        Err(SinkError::refused(
            format!("FRR takes no {} for {}", algorithm.name(), protocol.name()),
            "set HMAC-SHA-256",
        ))
    }

    /// What `work` says for every daemon. Those that are not running are passed over, unless that is all of them.
    fn each<T>(
        &mut self,
        work: impl Fn(&mut Link) -> Result<T, SinkError>,
    ) -> Result<Vec<Option<T>>, SinkError> {
        let mut failed = None;
        let mut absent = None;
        let mut done = Vec::new();
        for link in &mut self.links {
            match work(link) {
                Ok(result) => done.push(Some(result)),
                Err(error) if error.is_not_running() => {
                    done.push(None);
                    absent = Some(error);
                }
                // The other daemon must not wait for this one.
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        match (failed, absent) {
            (Some(error), _) => Err(error),
            (None, Some(error)) if done.iter().all(Option::is_none) => Err(error),
            _ => Ok(done),
        }
    }
}

impl Sink for FrrSink {
    fn describe(&self) -> String {
        let chains: Vec<_> = self.links.iter().map(|link| link.chain.as_str()).collect();
        format!("frr {} {}", self.directory.display(), chains.join(","))
    }

    /// Of both daemons together if there are two: when one of them starts anew, its keys are put in again.
    fn epoch(&mut self) -> Result<Option<String>, SinkError> {
        let epochs = self.each(|link| Vty::connect(&link.socket)?.epoch())?;
        let named = epochs.into_iter().zip(&self.links).map(|(epoch, link)| {
            let epoch = epoch.as_deref().unwrap_or("down");
            format!("{} {epoch}", link.protocol.name())
        });
        let named: Vec<_> = named.collect();
        Ok((!named.is_empty()).then(|| named.join(", ")))
    }

    fn reconcile(&mut self, wanted: &KeySet) -> Result<(), SinkError> {
        self.each(|link| link.reconcile(wanted)).map(|_| ())
    }
}

impl Link {
    fn reconcile(&mut self, wanted: &KeySet) -> Result<(), SinkError> {
        let wanted = self.wanted(wanted)?;
        let mut vty = Vty::connect(&self.socket)?;

        let chain = self.read(&mut vty)?;
        let chain = self.apply(&mut vty, chain, |chain| chain.to_install(&wanted))?;
        let switches = !chain.to_activate(&wanted).is_empty();
        let chain = self.apply(&mut vty, chain, |chain| chain.to_activate(&wanted))?;
        self.check_sending(&mut vty, &wanted)?;
        let clears = chain.to_clear(&wanted);
        if switches && !clears.is_empty() {
            thread::sleep(SETTLING);
        }
        let chain = self.apply(&mut vty, chain, |chain| chain.to_clear(&wanted))?;
        if chain.is_used {
            return Ok(());
        }
        // Last, so that the keys are there when the operator follows the advice.
        Err(SinkError::refused(
            format!(
                "no interface of {} uses key chain {}",
                name(&self.socket),
                self.chain
            ),
            format!("set `{} {}` on the link's interface", self.uses(), self.chain),
        ))
    }

    /// The line with which an interface uses a chain, up to the chain's name.
    fn uses(&self) -> &'static str {
        match self.protocol {
            RoutingProtocol::Ospfv3 => "ipv6 ospf6 authentication keychain",
            _ => "ip ospf authentication key-chain",
        }
    }

    /// The keys that the chain should have, one of them to send with.
    fn wanted(&self, keys: &KeySet) -> Result<Vec<Wanted>, SinkError> {
        let mine = keys.of(self.protocol).map(wanted);
        let mut mine = mine.collect::<Result<Vec<_>, _>>()?;
        if !mine.iter().any(|key| key.sends) {
            let free = keys.free_id(self.protocol).and_then(|id| id.try_into().ok());
            mine.extend(free.map(|id| Wanted {
                id,
                secret: self.blocker.clone(),
                sends: true,
            }));
        }
        Ok(mine)
    }

    fn read(&self, vty: &mut Vty) -> Result<Chain, SinkError> {
        let shown = vty.show("show running-config")?;
        Chain::parse(shown.text(), &self.chain, self.uses()).ok_or_else(|| {
            SinkError::unreachable(
                format!(
                    "key chain {} as {} shows it makes no sense",
                    self.chain,
                    self.at()
                ),
                "see `show running-config` there",
            )
        })
    }

    /// Makes the changes that `due` names, and reads back that none is due any more.
    fn apply(
        &self,
        vty: &mut Vty,
        chain: Chain,
        due: impl Fn(&Chain) -> Vec<Change>,
    ) -> Result<Chain, SinkError> {
        let changes = due(&chain);
        if changes.is_empty() {
            return Ok(chain);
        }
        let blocks: Vec<_> = changes.into_iter().map(|change| change.commands).collect();
        vty.configure(&format!("key chain {}", self.chain), &blocks)?;
        let chain = self.read(vty)?;
        match due(&chain).first() {
            None => Ok(chain),
            Some(change) => Err(SinkError::refused(
                format!(
                    "{} took a change of key chain {} and does not show it: {}",
                    self.at(),
                    self.chain,
                    change.because
                ),
                "see the daemon's log, and whether something else writes this chain",
            )),
        }
    }

    /// That the interfaces which use the chain send with the right key. ospf6d does not show it.
    fn check_sending(&self, vty: &mut Vty, wanted: &[Wanted]) -> Result<(), SinkError> {
        if self.protocol != RoutingProtocol::Ospfv2 {
            return Ok(());
        }
        let Some(sends) = wanted.iter().find(|key| key.sends) else {
            return Ok(());
        };
        let shown = vty.show("show ip ospf interface json")?;
        let users = users(shown.text(), &self.chain).ok_or_else(|| {
            SinkError::unreachable(
                format!("the interfaces as {} shows them make no sense", self.at()),
                "see `show ip ospf interface json` there",
            )
        })?;
        if users.is_empty() {
            return Ok(());
        }
        let shown = vty.show("show ip ospf interface")?;
        let expected = format!(
            "Sending SA: Key {}, Algorithm {} - key chain {}",
            sends.id,
            chain::ALGORITHM,
            self.chain
        );
        let wrong = users
            .iter()
            .find(|name| sending(shown.text(), name) != Some(&expected));
        match wrong {
            None => Ok(()),
            Some(name) => Err(SinkError::refused(
                format!(
                    "{} does not send with key {} of key chain {} on {name}",
                    self.at(),
                    sends.id,
                    self.chain
                ),
                "see whether its clock stands before the year 2000, and whether something else writes this chain",
            )),
        }
    }

    fn at(&self) -> std::path::Display<'_> {
        self.socket.display()
    }
}

/// `key` in FRR's terms.
fn wanted(key: &SinkKey) -> Result<Wanted, SinkError> {
    FrrSink::takes(key.protocol, key.algorithm)?;
    let which = format!("key {} of {}", key.id, key.protocol.name());
    let Ok(id) = u8::try_from(key.id) else {
        // FRR would cut it to 8 bits.
        return Err(SinkError::refused(
            format!("{which}: FRR takes key ids up to 255"),
            "give the manual key another id",
        ));
    };
    let text = std::str::from_utf8(key.secret()).unwrap_or_default();
    if text.is_empty() || text.len() > MAX_SECRET || !text.bytes().all(|octet| octet.is_ascii_graphic()) {
        return Err(SinkError::refused(
            format!("{which} is none that FRR can hold"),
            format!("use 1 to {MAX_SECRET} printable ASCII characters without space for the manual key"),
        ));
    }
    Ok(Wanted {
        id,
        secret: Zeroizing::new(text.to_owned()),
        sends: key.state == RowState::Active,
    })
}

/// The interfaces that take part and use key chain `chain`, in the answer to `show ip ospf interface json`.
fn users(json: &str, chain: &str) -> Option<Vec<String>> {
    let shown: serde_json::Value = serde_json::from_str(json).ok()?;
    let shown = shown.as_object()?;
    let Some(interfaces) = shown.get("interfaces") else {
        // OSPF is not switched on.
        return shown.is_empty().then(Vec::new);
    };
    let interfaces = interfaces.as_object()?.iter();
    let users = interfaces.filter(|(_, interface)| {
        interface.get("ospfEnabled").and_then(|on| on.as_bool()) == Some(true)
            && interface.get("keychain").and_then(|name| name.as_str()) == Some(chain)
    });
    Some(users.map(|(name, _)| name.clone()).collect())
}

/// What interface `name` sends with, in the answer to `show ip ospf interface`.
fn sending<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = text.lines();
    lines.find(|line| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(" is "))
    })?;
    let block = lines.take_while(|line| line.starts_with(' '));
    block.map(str::trim).find(|line| line.starts_with("Sending SA: "))
}
