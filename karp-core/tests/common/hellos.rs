//! The routing protocols of the LAN: every router multicasts packets under the key that its key table names for
//! sending, and whoever hears one looks the key up by its id. Promise 3 is checked the way they feel it.
//!
//! A refusal is nobody's fault only for a reason that PROTOCOL.md grants: [`Excuse`] has them all, and each is counted.

use std::collections::BTreeMap;

use karp_core::{
    algorithm::RoutingProtocol,
    io::{Alarm, Role},
    time::Instant,
};

use super::{
    keys::{Held, State},
    node::Node,
};

/// Why a routing packet may be refused between two that belong together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Excuse {
    /// An eviction is being carried out.
    Eviction,
    /// A key was activated without the laggards.
    WithoutLaggards,
    /// The sender's key outlived its lifetime.
    OutlivedKey,
    /// The office that made the change had not heard the one that it left behind for hold.
    Silent,
    /// The office is an heir, and never heard the one that it left behind.
    NeverHeard,
    /// The key management of one of the two was down for longer than hold, and is not back.
    KeyingDown,
    /// The two were in different parts of the link, and have not been in one group since.
    OtherHalf,
}

impl Excuse {
    pub const ALL: [Self; 7] = [
        Self::Eviction,
        Self::WithoutLaggards,
        Self::OutlivedKey,
        Self::Silent,
        Self::NeverHeard,
        Self::KeyingDown,
        Self::OtherHalf,
    ];

    /// The sentence of PROTOCOL.md that grants it.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Eviction => {
                "section 12, promise 3: \"but for [..] an eviction\"; section 7: \"all older ones deleted without overlap\""
            }
            Self::WithoutLaggards => {
                "section 7: \"Only at (old key's expiry - DTD) [..] is a rollover activated without the laggards, and that raises an alarm\""
            }
            Self::OutlivedKey => {
                "section 12, promise 3: \"a key that outlived its lifetime under keep-last\""
            }
            Self::Silent => {
                "section 7: \"A member leaves the live set only [..] when it is silent for hold and a push timed out\""
            }
            Self::NeverHeard => "section 12, promise 3: \"a member that the heir never heard\"",
            Self::KeyingDown => {
                "section 13: \"What the group changes after that, it cannot follow before it is back\""
            }
            Self::OtherHalf => {
                "section 12, promise 3: \"the other half of a partition in the moments before the offices hear each other\""
            }
        }
    }
}

/// What an office does to a key that others may not be ready for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Turn {
    /// It sends with it, and all who hear of that.
    Activated,
    /// It does not accept it any more.
    Removed,
}

/// When an office did so, and whom it had heard.
#[derive(Clone, Debug)]
struct Turned {
    office: usize,
    at: u64,
    /// The office began so many ms before.
    served: u64,
    /// When it had last heard each router.
    heard: BTreeMap<usize, u64>,
}

/// Who accepted whom, and what must hold from then on.
pub struct Hellos {
    /// A packet of each router every so many ms; 0 for none.
    pub every: u64,
    /// The protocols that send.
    pub protocols: Vec<RoutingProtocol>,
    /// Refusals between routers that belong together fail the run. Off, they are only counted.
    pub strict: bool,
    /// Until when an eviction excuses refusals, in the LAN's time.
    pub excused_until: u64,
    pub sent: u64,
    pub accepted: u64,
    /// Refused between routers that belong together.
    pub refused: u64,
    /// Refused with an excuse, by [`Excuse::ALL`].
    pub excuses: [u64; Excuse::ALL.len()],
    /// Refused by a router that has no reason to have the key.
    pub foreign: u64,
    /// One accepted the other once, in these boots and since they last were apart, when both followed one Rekey SA or
    /// by a manual key: they are neighbours.
    agreed: Vec<Vec<bool>>,
    /// They were apart, and have not found together since.
    apart: Vec<Vec<bool>>,
    /// Whose doing it was that a router began to send with a key, or dropped it: the office that it held or followed.
    causes: BTreeMap<(Turn, usize, Vec<u8>), usize>,
    /// What offices did to which key.
    turns: BTreeMap<(Turn, Vec<u8>), Vec<Turned>>,
}

impl Default for Hellos {
    fn default() -> Self {
        Self {
            every: 250,
            protocols: vec![RoutingProtocol::Ospfv2],
            strict: true,
            excused_until: 0,
            sent: 0,
            accepted: 0,
            refused: 0,
            excuses: [0; Excuse::ALL.len()],
            foreign: 0,
            agreed: Vec::new(),
            apart: Vec::new(),
            causes: BTreeMap::new(),
            turns: BTreeMap::new(),
        }
    }
}

/// A routing packet on its way.
#[derive(Clone, Debug)]
pub struct Hello {
    pub from: usize,
    pub to: usize,
    pub life: u32,
    /// When it was sent.
    pub sent: u64,
    pub row: Held,
    /// Its engine had told its routing protocols to send with another key, if any, and they had not got to it.
    pub lags: bool,
    /// The Rekey SA that the sender followed.
    pub spi: Option<[u8; 16]>,
    /// The office that the sender held or followed.
    pub office: Option<usize>,
}

impl Hellos {
    pub fn grow(&mut self, nodes: usize) {
        for table in [&mut self.agreed, &mut self.apart] {
            table.resize_with(nodes, Vec::new);
            table.iter_mut().for_each(|row| row.resize(nodes, false));
        }
    }

    /// The router starts anew or leaves: it is nobody's neighbour any more.
    pub fn forget(&mut self, node: usize) {
        for other in 0..self.agreed.len() {
            for (a, b) in [(node, other), (other, node)] {
                self.agreed[a][b] = false;
                self.apart[a][b] = false;
            }
        }
    }

    /// The two cannot hear each other: their keys may go different ways.
    pub fn part(&mut self, a: usize, b: usize) {
        for (a, b) in [(a, b), (b, a)] {
            self.agreed[a][b] = false;
            self.apart[a][b] = true;
        }
    }

    /// The router may miss what the others do, for a pause or a gap: parted from all.
    pub fn part_all(&mut self, node: usize) {
        for other in 0..self.agreed.len() {
            if other != node {
                self.part(node, other);
            }
        }
    }

    /// Whether the two are neighbours.
    pub fn are_neighbours(&self, a: usize, b: usize) -> bool {
        self.agreed[a][b] && self.agreed[b][a]
    }

    /// How many refusals had an excuse.
    pub fn excused(&self) -> u64 {
        self.excuses.iter().sum()
    }

    /// A router activates a key, or drops one; `office` is the one that it holds or follows.
    pub fn turns(&mut self, nodes: &[Node], at: usize, office: Option<usize>, id: u16, now: u64, turn: Turn) {
        let node = &nodes[at];
        // One that was dropped is in its table no more, but was when that was last looked at.
        let rows = match turn {
            Turn::Activated => node.rows(now),
            Turn::Removed => node.told.rows.clone(),
        };
        for row in rows.into_iter().filter(|row| row.id == id && !row.manual) {
            if turn == Turn::Activated && row.state != State::Active {
                continue;
            }
            if let Some(office) = office {
                self.causes.insert((turn, at, row.octets.clone()), office);
            }
            if node.role() == Role::Gcks {
                self.turns.entry((turn, row.octets)).or_default().push(Turned {
                    office: at,
                    at: now,
                    served: now - node.keyed_since,
                    heard: node.heard.clone(),
                });
            }
        }
    }

    /// A packet arrives.
    pub fn arrive(&mut self, nodes: &[Node], hello: &Hello, now: u64) -> Result<(), String> {
        let (from, to) = (hello.from, hello.to);
        let receiver = &nodes[to];
        if !receiver.routes()
            || receiver.is_paused()
            || nodes[from].lives != hello.life
            || !nodes[from].routes()
        {
            return Ok(());
        }
        let left = receiver.left_at.max(nodes[from].left_at);
        if left.is_some_and(|left| left >= hello.sent) {
            return Ok(());
        }
        let row = receiver.checks_with(hello.row.protocol, hello.row.id, now);
        let same_sa =
            receiver.is_keyed() && hello.spi.is_some() && receiver.engine().rekey_sa_spi() == hello.spi;
        if row.is_some_and(|row| row.octets == hello.row.octets) {
            self.accepted += 1;
            // What two halves accept of each other while they merge makes no neighbours yet.
            if same_sa || hello.row.manual {
                self.agreed[from][to] = true;
                self.apart[from][to] = false;
            }
            return Ok(());
        }
        // Who was put out has no claim on anybody, nor the other way round.
        let same_realm = nodes[from].realm == receiver.realm;
        let same_sa = same_sa && !hello.row.manual;
        let agreed = self.agreed[from][to];
        if !same_realm || !agreed && !same_sa {
            self.foreign += 1;
            return Ok(());
        }
        // A packet from before the receiver came to this Rekey SA, or before its routing protocols had the first keys,
        // says nothing of what the two have in common.
        if !agreed && receiver.keyed_since.max(receiver.fed_since) > hello.sent {
            self.foreign += 1;
            return Ok(());
        }
        // Nor does one from a sender that came to this office later than the receiver, before its routing protocols have
        // what it was given then: no key of one half is given to the other (section 5.5).
        if !agreed
            && hello.lags
            && nodes[from].follows_since > receiver.follows_since.max(receiver.keyed_since)
        {
            self.foreign += 1;
            return Ok(());
        }
        // Who sends with a key that the office does not know comes from another half, and changes it with all that do
        // (section 7); the receiver never had it.
        let office = hello.office.map(|office| nodes[office].rows(now));
        let known = office.is_some_and(|rows| rows.iter().any(|row| row.octets == hello.row.octets));
        if !agreed && !known {
            self.foreign += 1;
            return Ok(());
        }
        if let Some(excuse) = self.excuse(nodes, hello, now) {
            self.excuses[excuse as usize] += 1;
            return Ok(());
        }
        self.refused += 1;
        if !self.strict {
            return Ok(());
        }
        let why = if agreed {
            "they were neighbours"
        } else {
            "they follow one Rekey SA"
        };
        let have: Vec<String> = receiver.rows(now).iter().map(Held::short).collect();
        Err(format!(
            "promise 3: {} refuses a packet of {} under key {} ({:?}); {why}; it has {have:?}",
            receiver.name, nodes[from].name, hello.row.id, hello.row.protocol
        ))
    }

    /// What PROTOCOL.md grants for this refusal, if anything.
    fn excuse(&self, nodes: &[Node], hello: &Hello, now: u64) -> Option<Excuse> {
        let (from, to) = (hello.from, hello.to);
        let alarm = |node: &Node, alarm| node.told.alarms.contains(&alarm);
        if now < self.excused_until {
            return Some(Excuse::Eviction);
        }
        if nodes.iter().any(|node| alarm(node, Alarm::ActivatedWithoutAll)) {
            return Some(Excuse::WithoutLaggards);
        }
        if alarm(&nodes[from], Alarm::KeyExpired) || Self::is_over(&nodes[from], hello, now) {
            return Some(Excuse::OutlivedKey);
        }
        if nodes[from].is_cut_off(hello.sent, now) || nodes[to].is_cut_off(hello.sent, now) {
            return Some(Excuse::KeyingDown);
        }
        if !self.agreed[from][to] && self.apart[from][to] {
            return Some(Excuse::OtherHalf);
        }
        // The receiver was left behind by the activation that the sender followed, or the sender by the omission that the
        // receiver followed.
        let changes = [(Turn::Activated, from, to), (Turn::Removed, to, from)];
        changes.into_iter().find_map(|(turn, followed, left)| {
            let key = &hello.row.octets;
            let office = self.causes.get(&(turn, followed, key.clone()))?;
            let mut turned = self.turns.get(&(turn, key.clone()))?.iter();
            let turned = turned.rfind(|turned| turned.office == *office)?;
            Self::unheard(nodes, turned, left)
        })
    }

    /// Whether the key's life is over by the receiver's count: lifetimes travel in seconds, rounded up (section 6), and
    /// clocks differ by 1 % each.
    fn is_over(sender: &Node, hello: &Hello, now: u64) -> bool {
        let Some(engine) = &sender.engine else {
            return false;
        };
        let lifetime = engine.config().settings().key_lifetime.as_millis();
        let left = |end: Instant| end.since(sender.clock.local(now)).as_millis();
        hello
            .row
            .expires
            .is_some_and(|end| left(end) <= 1_000 + lifetime / 50)
    }

    /// Whether an office did not know of `left` when it made a change.
    fn unheard(nodes: &[Node], turned: &Turned, left: usize) -> Option<Excuse> {
        if turned.office == left {
            return None;
        }
        let hold = nodes[left].hold;
        let heard = turned.heard.get(&left);
        if heard.is_some_and(|heard| turned.at - heard <= hold) {
            return None;
        }
        let since_office = heard.is_some_and(|heard| turned.at - heard < turned.served);
        Some(if since_office || turned.served > 60_000 {
            Excuse::Silent
        } else {
            Excuse::NeverHeard
        })
    }
}
