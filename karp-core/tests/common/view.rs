//! What can be asked of a LAN.

use std::net::SocketAddr;

use karp_core::io::Role;

use super::{keys::Held, lan::Lan};

impl Lan {
    /// Lets time pass until every part of the link has one GCKS and one key (promise 6).
    #[track_caller]
    pub fn settle(&mut self, limit: u64) -> u64 {
        self.expect(limit, "one GCKS and one key everywhere", Self::is_settled)
    }

    /// Lets time pass until another than `old` serves, and all is settled.
    #[track_caller]
    pub fn succeed(&mut self, old: usize, limit: u64) -> u64 {
        self.expect(limit, "another serves, with one key everywhere", |lan| {
            lan.nodes[old].role() != Role::Gcks && lan.is_settled()
        })
    }

    /// Whether every part of the link has one GCKS that all follow, and all send with one key that all accept.
    pub fn is_settled(&self) -> bool {
        let mut done = vec![false; self.nodes.len()];
        for first in 0..self.nodes.len() {
            if done[first] || !self.nodes[first].is_present() {
                continue;
            }
            let part: Vec<usize> = (first..self.nodes.len())
                .filter(|at| {
                    let node = &self.nodes[*at];
                    node.is_present()
                        && node.realm == self.nodes[first].realm
                        && self.reach[first][*at]
                        && self.reach[*at][first]
                })
                .collect();
            part.iter().for_each(|at| done[*at] = true);
            if !self.is_one_group(&part) {
                return false;
            }
        }
        true
    }

    /// Whether these routers are one group with one GCKS and one key.
    pub fn is_one_group(&self, part: &[usize]) -> bool {
        let mut serving = part.iter().filter(|at| self.nodes[**at].role() == Role::Gcks);
        let (Some(gcks), None) = (serving.next(), serving.next()) else {
            return false;
        };
        let gcks = &self.nodes[*gcks];
        let protocol = self.hellos.protocols[0];
        let Some(key) = gcks.sending(protocol, self.now) else {
            return false;
        };
        let spi = gcks.engine().rekey_sa_spi();
        part.iter().all(|at| {
            let node = &self.nodes[*at];
            let follows = node.role() == Role::Gcks || node.engine().gcks() == Some(&gcks.identity);
            follows
                && node.is_keyed()
                && node.engine().rekey_sa_spi() == spi
                && node
                    .sending(protocol, self.now)
                    .is_some_and(|row| row.octets == key.octets)
        })
    }

    /// The one router in office; fails the run if there is none or more than one.
    #[track_caller]
    pub fn gcks(&self) -> usize {
        let serving: Vec<usize> = (0..self.nodes.len())
            .filter(|at| self.nodes[*at].role() == Role::Gcks)
            .collect();
        if serving.len() != 1 {
            self.fail(&format!("there should be one GCKS, there are {serving:?}"));
        }
        serving[0]
    }

    /// Some router that is a member.
    #[track_caller]
    pub fn a_member(&self) -> usize {
        self.nodes
            .iter()
            .position(|node| node.role() == Role::Member)
            .expect("there is a member")
    }

    /// Octets of the key that this router's OSPFv2 sends with.
    pub fn key_of(&self, at: usize) -> Option<Vec<u8>> {
        self.nodes[at]
            .sending(self.hellos.protocols[0], self.now)
            .map(|row| row.octets)
    }

    /// A router's name, or the address itself.
    pub fn name_of(&self, address: SocketAddr) -> String {
        if address.ip().is_multicast() {
            return "all".into();
        }
        let node = self.nodes.iter().find(|node| node.address == address);
        node.map_or_else(|| address.to_string(), |node| node.name.clone())
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        println!("the last of the run with seed {}, at {} ms:", self.seed, self.now);
        self.trace.lines().for_each(|line| println!("{line}"));
        for node in &self.nodes {
            let rows: Vec<String> = node.rows(self.now).iter().map(Held::short).collect();
            match &node.engine {
                Some(engine) => println!(
                    "{}: {:?} follows {:?} generation {} keys {rows:?}",
                    node.name,
                    engine.role(),
                    engine.gcks(),
                    engine.generation()
                ),
                None => println!("{}: down", node.name),
            }
        }
    }
}
