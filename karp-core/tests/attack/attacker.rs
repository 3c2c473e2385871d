//! What the scripted attackers have in common: addresses, forgeries, and the measure of what they cost.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use karp_core::{
    algorithm::RoutingProtocol,
    command::{Command, RekeyReason},
    error::DropReason,
    io::MessageKind,
};

use super::common::{Lan, dice::Dice, forge, history::roles, peek, wire::Injection};

/// What an operator says to have new keys.
pub const REKEY: Command<'_> = Command::Rekey {
    protocol: RoutingProtocol::Ospfv2,
    reason: RekeyReason::Operator,
};

/// An address that no router has.
pub fn nowhere(dice: &mut Dice) -> SocketAddr {
    let [a, b] = dice.octets();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 66, a, b)), 848)
}

/// One forged claim to the office, from a fresh name, instance and address.
pub fn claim(lan: &mut Lan, dice: &mut Dice) {
    let name = format!("x{}", dice.below(1_000_000));
    let hint = forge::hint("lan", &name, dice.octets(), 1, &forge::pretender());
    let injection = Injection::new(nowhere(dice), lan.multicast(), hint);
    lan.inject(injection);
}

/// How many messages a router sent in this boot.
pub fn messages_sent(lan: &Lan, at: usize) -> u32 {
    let counters = lan.nodes[at].engine().counters();
    MessageKind::ALL
        .iter()
        .map(|kind| counters.sent(*kind).messages)
        .sum()
}

/// How many datagrams a router dropped for `reason` in this boot.
pub fn dropped(lan: &Lan, at: usize, reason: DropReason) -> u32 {
    lan.nodes[at].engine().counters().dropped(reason)
}

/// A genuine request with another SPI, nonce and public key.
pub fn fresh(template: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut octets = template.to_vec();
    octets[..8].copy_from_slice(&dice.octets::<8>());
    let octets = forge::with_body(&octets, peek::NONCE, 0, &dice.octets::<32>());
    forge::with_body(&octets, peek::KE, 4, &dice.octets::<32>())
}

/// What a router of this group sends to begin.
pub fn template(seed: u64) -> Vec<u8> {
    let mut lan = Lan::of(seed, 2);
    lan.record = Some(Vec::new());
    lan.start_all();
    lan.settle(8_000);
    let record = lan.record.take().unwrap();
    record
        .iter()
        .find(|sent| sent.is(peek::IKE_SA_INIT, false))
        .unwrap()
        .octets
        .to_vec()
}

/// How some routers stood before an attack.
pub struct Stand {
    who: Vec<usize>,
    parts: Vec<usize>,
    keys: Vec<Option<Vec<u8>>>,
    followed: Vec<Option<karp_core::Identity>>,
}

impl Stand {
    /// Remembers how `who` stand.
    pub fn of(lan: &Lan, who: &[usize]) -> Self {
        Self {
            who: who.to_vec(),
            parts: who.iter().map(|at| roles(&lan.nodes[*at]).len()).collect(),
            keys: who.iter().map(|at| lan.key_of(*at)).collect(),
            followed: who
                .iter()
                .map(|at| lan.nodes[*at].engine().gcks().cloned())
                .collect(),
        }
    }

    /// Nobody changed its part or its GCKS, not even for a moment.
    #[track_caller]
    pub fn holds(&self, lan: &Lan) {
        for (nth, at) in self.who.iter().enumerate() {
            let node = &lan.nodes[*at];
            let parts = roles(node);
            if parts.len() != self.parts[nth] || node.engine().gcks() != self.followed[nth].as_ref() {
                lan.fail(&format!("{} was moved: {parts:?}", node.name));
            }
        }
    }

    /// That, and everybody sends with the key of then.
    #[track_caller]
    pub fn holds_with_keys(&self, lan: &Lan) {
        self.holds(lan);
        for (nth, at) in self.who.iter().enumerate() {
            if lan.key_of(*at) != self.keys[nth] {
                lan.fail(&format!("{} sends with another key", lan.nodes[*at].name));
            }
        }
    }
}
