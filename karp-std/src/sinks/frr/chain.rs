//! What a key chain of FRR holds and what has to change in it. Nothing here talks to a daemon.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

/// The send-lifetime of the key that is sent with. FRR gives keys no rank but their ids and reads dates only, so both
/// dates here stand for a plain yes or no.
const SENDS: &str = "00:00:00 Jan 1 2000 infinite";
/// The send-lifetime of a key that is accepted only: a second long ago.
const ACCEPTS: &str = "00:00:00 Jan 1 2000 00:00:01 Jan 1 2000";
/// The accept-lifetime of a key that somebody gave another one.
const ALWAYS: &str = "00:00:00 Jan 1 2000 infinite";
/// A date up to here is past. A daemon shows dates in its own time zone, so the above may read as the day before or after.
const PAST: u32 = 2000;
/// What FRR calls the algorithm.
pub(super) const ALGORITHM: &str = "hmac-sha-256";

/// When a key is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lifetime {
    /// Since long and without an end; also what a key has that was given none.
    Always,
    /// It has ended for good.
    Over,
    /// By the daemon's clock, or not to be understood.
    Other,
}

/// A key as the daemon shows it.
#[derive(Clone, PartialEq, Eq)]
struct Held {
    secret: Option<Zeroizing<String>>,
    is_hmac_sha_256: bool,
    sends: Lifetime,
    accepts: Lifetime,
}

/// A key as it should be.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) id: u8,
    pub(super) secret: Zeroizing<String>,
    /// It is the one to send with; otherwise it is accepted only.
    pub(super) sends: bool,
}

/// One chain.
#[derive(Clone, PartialEq, Eq, Default)]
pub(super) struct Chain {
    keys: BTreeMap<u32, Held>,
    /// An interface authenticates with it.
    pub(super) is_used: bool,
}

/// Something that has to change: what it is in words, of which none is a key, and the commands that do it below
/// `key chain NAME`.
pub(super) struct Change {
    pub(super) because: String,
    pub(super) commands: Vec<Zeroizing<String>>,
}

impl Chain {
    /// The chain `name` in the text of `show running-config`; empty if it is not there. An interface uses it where it has
    /// the line `uses` and then the name. `None`: a key in it has no id.
    pub(super) fn parse(configuration: &str, name: &str, uses: &str) -> Option<Self> {
        let mut chain = Self::default();
        let mut is_mine = false;
        let mut is_interface = false;
        let mut held: Option<&mut Held> = None;
        for line in configuration.lines() {
            if !line.starts_with(' ') {
                is_mine = words(line, "key chain ") == Some(name);
                is_interface = line.starts_with("interface ");
                held = None;
            } else if is_interface {
                // In ospfd an address may follow.
                let used = words(line.trim_start(), uses).and_then(|rest| rest.split_whitespace().next());
                chain.is_used |= used == Some(name);
            } else if let Some(id) = words(line, " key ").filter(|_| is_mine) {
                held = Some(chain.keys.entry(id.parse().ok()?).or_insert_with(Held::unset));
            } else if let Some(held) = &mut held {
                held.take(line);
            }
        }
        Some(chain)
    }

    /// First step: what is new is accepted. Keys with which the daemon may be sending are left as they are.
    pub(super) fn to_install(&self, wanted: &[Wanted]) -> Vec<Change> {
        let idle = wanted.iter().filter(|key| !self.may_send(key.id));
        let missing = idle.filter_map(|key| {
            let held = self.keys.get(&key.id.into());
            (!held.is_some_and(|held| held.is_key(key))).then(|| key.define(ACCEPTS, held))
        });
        missing.collect()
    }

    /// Second step: the key to send with sends, and then no other does. FRR sends with the lowest id of those that may.
    pub(super) fn to_activate(&self, wanted: &[Wanted]) -> Vec<Change> {
        let mut changes = Vec::new();
        for key in wanted.iter().filter(|key| key.sends) {
            let held = self.keys.get(&key.id.into());
            match held {
                Some(held) if held.is_key(key) && held.sends == Lifetime::Always => {}
                Some(held) if held.is_key(key) => changes.push(lifetime(key.id.into(), SENDS)),
                _ => changes.push(key.define(SENDS, held)),
            }
        }
        let is_sender = |id: u32| wanted.iter().any(|key| key.sends && u32::from(key.id) == id);
        let others = self
            .keys
            .iter()
            .filter(|(id, held)| held.sends != Lifetime::Over && !is_sender(**id));
        changes.extend(others.map(|(id, _)| lifetime(*id, ACCEPTS)));
        changes
    }

    /// Last step: what is not wanted goes, and what could not be replaced while it was sent with is replaced.
    pub(super) fn to_clear(&self, wanted: &[Wanted]) -> Vec<Change> {
        let mut changes = self.to_install(wanted);
        let is_wanted = |id: u32| wanted.iter().any(|key| u32::from(key.id) == id);
        let unwanted = self.keys.keys().filter(|id| !is_wanted(**id));
        changes.extend(unwanted.map(|id| Change {
            because: format!("key {id} is still there"),
            commands: vec![command(format!("no key {id}"))],
        }));
        changes
    }

    /// Whether the daemon sends with key `id`, or may do so now or at another time.
    fn may_send(&self, id: u8) -> bool {
        let held = self.keys.get(&id.into());
        held.is_some_and(|held| held.sends != Lifetime::Over)
    }
}

impl Held {
    fn unset() -> Self {
        Self {
            secret: None,
            is_hmac_sha_256: false,
            sends: Lifetime::Always,
            accepts: Lifetime::Always,
        }
    }

    fn take(&mut self, line: &str) {
        if let Some(secret) = words(line, "  key-string ") {
            self.secret = Some(Zeroizing::new(secret.to_owned()));
        } else if let Some(algorithm) = words(line, "  cryptographic-algorithm ") {
            self.is_hmac_sha_256 = algorithm == ALGORITHM;
        } else if let Some(dates) = words(line, "  send-lifetime ") {
            self.sends = Lifetime::parse(dates);
        } else if let Some(dates) = words(line, "  accept-lifetime ") {
            self.accepts = Lifetime::parse(dates);
        }
    }

    /// It is `key`, and accepted.
    fn is_key(&self, key: &Wanted) -> bool {
        self.is_hmac_sha_256 && self.accepts == Lifetime::Always && self.secret.as_ref() == Some(&key.secret)
    }
}

impl Lifetime {
    /// `HH:MM:SS Mon D YYYY` and then `infinite`, `duration N` or another such date.
    fn parse(dates: &str) -> Self {
        let words: Vec<&str> = dates.split_whitespace().collect();
        let is_past = |year: &str| year.parse().is_ok_and(|year: u32| year <= PAST);
        match words.as_slice() {
            [_, _, _, year, "infinite"] if is_past(year) => Self::Always,
            [_, _, _, _, _, _, _, year] if is_past(year) => Self::Over,
            _ => Self::Other,
        }
    }
}

impl Wanted {
    /// The whole key. The lifetime comes first, for FRR sends with a key that has none; that these commands run in one go
    /// keeps even the first moment from mattering.
    fn define(&self, send_lifetime: &str, held: Option<&Held>) -> Change {
        let mut commands = vec![
            command(format!("key {}", self.id)),
            command(format!("send-lifetime {send_lifetime}")),
        ];
        // `no accept-lifetime` fails, as `no send-lifetime` does.
        if held.is_some_and(|held| held.accepts != Lifetime::Always) {
            commands.push(command(format!("accept-lifetime {ALWAYS}")));
        }
        let mut secret = Zeroizing::new(String::with_capacity(self.secret.len() + 16));
        secret.push_str("key-string ");
        secret.push_str(&self.secret);
        commands.push(secret);
        commands.push(command(format!("cryptographic-algorithm {ALGORITHM}")));
        commands.push(command("exit"));
        let because = match held {
            None => format!("key {} is not there", self.id),
            Some(_) => format!("key {} is another key or not accepted at all times", self.id),
        };
        Change { because, commands }
    }
}

fn lifetime(id: u32, send_lifetime: &str) -> Change {
    let because = if send_lifetime == SENDS {
        format!("key {id} is not sent with")
    } else {
        format!("key {id} may still be sent with")
    };
    let commands = [
        format!("key {id}"),
        format!("send-lifetime {send_lifetime}"),
        "exit".to_owned(),
    ];
    Change {
        because,
        commands: commands.into_iter().map(command).collect(),
    }
}

fn command(text: impl Into<String>) -> Zeroizing<String> {
    Zeroizing::new(text.into())
}

/// What follows `prefix` in `line`, without the blanks at the end.
fn words<'a>(line: &'a str, prefix: &str) -> Option<&'a str> {
    line.strip_prefix(prefix).map(str::trim_end)
}
