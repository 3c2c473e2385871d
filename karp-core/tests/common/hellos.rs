//! The routing protocols of the LAN: every router multicasts packets under the key that its key table names for
//! sending, and whoever hears one looks the key up by its id. Promise 3 is checked the way they feel it.

use karp_core::{algorithm::RoutingProtocol, io::Alarm};

use super::{keys::Held, node::Node};

/// Who accepted whom, and what must hold from then on.
pub struct Hellos {
    /// A packet of each router every so many ms; 0 for none.
    pub every: u64,
    /// The protocols that send.
    pub protocols: Vec<RoutingProtocol>,
    /// Refusals between routers that belong together fail the run. Off, they are only counted.
    pub strict: bool,
    /// Until when a refusal is nobody's fault, in the LAN's time.
    pub excused_until: u64,
    pub sent: u64,
    pub accepted: u64,
    /// Refused between routers that belong together.
    pub refused: u64,
    /// Refused while that was nobody's fault.
    pub excused: u64,
    /// Refused by a router that has no reason to have the key.
    pub foreign: u64,
    /// One accepted the other once, in these boots and since they last were apart, when both followed one Rekey SA or
    /// by a manual key: they are neighbours.
    agreed: Vec<Vec<bool>>,
    /// They were apart, and have not found together since.
    apart: Vec<Vec<bool>>,
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
            excused: 0,
            foreign: 0,
            agreed: Vec::new(),
            apart: Vec::new(),
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
    /// The Rekey SA that the sender followed.
    pub spi: Option<[u8; 16]>,
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
        let row = receiver.receiving(hello.row.protocol, hello.row.id, now);
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
        if !same_realm || !self.agreed[from][to] && (!same_sa || self.apart[from][to]) {
            self.foreign += 1;
            return Ok(());
        }
        // A packet from before the receiver came to this Rekey SA says nothing of what the two have in common.
        if !self.agreed[from][to] && receiver.keyed_since > hello.sent {
            self.foreign += 1;
            return Ok(());
        }
        // Promise 3 excepts what section 7's alarms stand for: a key that has outlived its time for want of a key server,
        // and an activation without the laggards at the old key's end.
        let alarm = |node: &Node, alarm| node.told.alarms.contains(&alarm);
        let forced = nodes.iter().any(|node| alarm(node, Alarm::ActivatedWithoutAll));
        if now < self.excused_until || forced || alarm(&nodes[from], Alarm::KeyExpired) {
            self.excused += 1;
            return Ok(());
        }
        self.refused += 1;
        if !self.strict {
            return Ok(());
        }
        let why = if self.agreed[from][to] {
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
}
