//! What can go wrong, and a run's whole plan of it.

use std::fmt::{self, Display, Formatter};

use karp_core::{command::RekeyReason, config::Settings, time::Duration};

use crate::common::{Link, Sign, credentials::Proof, lan::Family, node::Host};

/// Whom a fault strikes. Some are known only when it does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who {
    Node(usize),
    /// The first router in office.
    Gcks,
    /// The router at which the sign was last seen that the fault waited for.
    Latest,
}

/// One thing that goes wrong, or that somebody asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// A router loses power and all its memory.
    Crash(Who),
    /// A router that is down boots, one whose key management is down starts that, one that left joins.
    Start(Who),
    /// A crash, and a start at once.
    Reboot(Who),
    /// A router does nothing for so many ms.
    Pause(Who, u64),
    /// The key management dies, the routing protocols run on.
    StopKeying(Who),
    /// Only routers of one part hear each other.
    Split(Vec<Vec<usize>>),
    /// Everybody hears everybody.
    Heal,
    /// `to` does not hear `from` any more, or does again.
    Reach {
        from: usize,
        to: usize,
        hears: bool,
    },
    /// How every link is from now on that has no fault of its own.
    Link(Link),
    /// Datagrams of one exchange type are lost for so many ms, on their way from some to some; empty lists are everybody.
    Lose {
        exchange: u8,
        from: Vec<usize>,
        to: Vec<usize>,
        ms: u64,
    },
    Rekey(Who, RekeyReason),
    HandOff,
    Priority(Who, u16),
    Leave(Who),
    Evict(Who),
    /// Somebody without any key is at work for `ms`, once in `every` ms.
    Attack {
        attack: Attack,
        ms: u64,
        every: u64,
        salt: u64,
    },
    /// The next time that `sign` is seen, but within `within` ms, something else goes wrong `after` ms later.
    When {
        sign: Sign,
        within: u64,
        after: u64,
        then: Box<Fault>,
    },
}

/// What somebody without any key does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Attack {
    /// Sends again what was ever sent, to where it went or to somebody else.
    Replay,
    /// The same from another address.
    Elsewhere,
    /// Sends what was just sent with a bit changed.
    Flip,
    /// Writes announcements in the name of routers and strangers.
    Announce,
    /// Writes answers and requests of the initial exchange.
    Exchange,
}

impl Attack {
    pub const ALL: [Self; 5] = [
        Self::Replay,
        Self::Elsewhere,
        Self::Flip,
        Self::Announce,
        Self::Exchange,
    ];
}

impl Fault {
    /// Whether it names a router from `nodes` on: such a fault cannot strike a smaller LAN.
    pub fn names_beyond(&self, nodes: usize) -> bool {
        let beyond = |who: &Who| matches!(who, Who::Node(at) if *at >= nodes);
        match self {
            Self::Crash(who)
            | Self::Start(who)
            | Self::Reboot(who)
            | Self::Pause(who, _)
            | Self::StopKeying(who)
            | Self::Rekey(who, _)
            | Self::Priority(who, _)
            | Self::Leave(who)
            | Self::Evict(who) => beyond(who),
            Self::Reach { from, to, .. } => *from >= nodes || *to >= nodes,
            Self::Split(parts) => parts.iter().flatten().any(|at| *at >= nodes),
            Self::Lose { from, to, .. } => from.iter().chain(to).any(|at| *at >= nodes),
            Self::When { then, .. } => then.names_beyond(nodes),
            Self::Heal | Self::Link(_) | Self::HandOff | Self::Attack { .. } => false,
        }
    }

    /// Whether it is, or leads to, an attack.
    pub fn is_attack(&self) -> bool {
        match self {
            Self::Attack { .. } => true,
            Self::When { then, .. } => then.is_attack(),
            _ => false,
        }
    }
}

/// How the group is set up: the same for the whole run.
#[derive(Clone, PartialEq, Debug)]
pub struct Setup {
    pub family: Family,
    pub proof: Proof,
    pub preempt: bool,
    pub signatures: bool,
    /// Lifetimes and overlap in seconds.
    pub key_lifetime: u64,
    pub dtd: u64,
    pub rekey_sa_lifetime: u64,
    /// How every link is at the beginning.
    pub link: Link,
    /// Links that are of their own kind: from, to.
    pub links: Vec<((usize, usize), Link)>,
    /// How much faster than the LAN's time each clock runs, in parts per million.
    pub clocks: Vec<i64>,
    pub hosts: Vec<Host>,
    pub priorities: Vec<u16>,
    /// Routers that the others do not trust.
    pub strangers: Vec<usize>,
}

impl Setup {
    /// A group in which nothing is out of the ordinary, with keys that live as long as by default.
    pub fn plain(nodes: usize) -> Self {
        Self {
            family: Family::V4,
            proof: Proof::PairKeys,
            preempt: false,
            signatures: true,
            key_lifetime: 3600,
            dtd: 30,
            rekey_sa_lifetime: 24 * 3600,
            link: Link::CLEAN,
            links: Vec::new(),
            clocks: vec![0; nodes],
            hosts: vec![Host::Reads; nodes],
            priorities: vec![100; nodes],
            strangers: Vec::new(),
        }
    }

    /// What of it is in the settings.
    pub fn tweak(&self) -> impl Fn(&mut Settings) + 'static {
        let Self {
            preempt, signatures, ..
        } = *self;
        let seconds = Duration::from_secs;
        let (key, dtd, sa) = (
            seconds(self.key_lifetime),
            seconds(self.dtd),
            seconds(self.rekey_sa_lifetime),
        );
        move |settings| {
            settings.preempt = preempt;
            settings.controller_signatures = signatures;
            settings.key_lifetime = key;
            settings.dtd = dtd;
            settings.rekey_sa_lifetime = sa;
        }
    }
}

/// All that decides a run.
#[derive(Clone, PartialEq, Debug)]
pub struct Schedule {
    pub seed: u64,
    pub profile: &'static str,
    pub nodes: usize,
    pub setup: Setup,
    /// What goes wrong, by the LAN's time in ms.
    pub faults: Vec<(u64, Fault)>,
    /// When everything is mended, and the quiet begins.
    pub span: u64,
}

impl Display for Schedule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Setup {
            family,
            proof,
            preempt,
            signatures,
            key_lifetime,
            dtd,
            rekey_sa_lifetime,
            link,
            links,
            clocks,
            hosts,
            priorities,
            strangers,
        } = &self.setup;
        writeln!(
            f,
            "seed {} profile {}: {} routers, {family:?}, {proof:?}, preempt {preempt}, signatures {signatures}",
            self.seed, self.profile, self.nodes
        )?;
        writeln!(
            f,
            "  keys live {key_lifetime} s, overlap {dtd} s, Rekey SAs live {rekey_sa_lifetime} s; links: {link}"
        )?;
        for ((from, to), link) in links {
            writeln!(f, "  from {} to {}: {link}", name(*from), name(*to))?;
        }
        let mut odd = Vec::new();
        for at in 0..self.nodes {
            let clock = clocks.get(at).copied().unwrap_or(0);
            let host = hosts.get(at).copied().unwrap_or(Host::Reads);
            let priority = priorities.get(at).copied().unwrap_or(100);
            if clock != 0 || host != Host::Reads || priority != 100 || strangers.contains(&at) {
                let stranger = if strangers.contains(&at) {
                    ", a stranger"
                } else {
                    ""
                };
                odd.push(format!(
                    "{}: clock {clock:+} ppm, host {host:?}, priority {priority}{stranger}",
                    name(at)
                ));
            }
        }
        odd.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        for (at, fault) in &self.faults {
            writeln!(f, "{:>7}.{:03} s  {fault:?}", at / 1000, at % 1000)?;
        }
        write!(
            f,
            "{:>7}.{:03} s  everything is mended",
            self.span / 1000,
            self.span % 1000
        )
    }
}

fn name(at: usize) -> String {
    format!("r{}", at + 1)
}
