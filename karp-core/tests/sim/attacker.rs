//! Somebody on the link without any key, who hears all and can send anything. What it sends is judged by the laboratory
//! when it arrives (promise 5), and what it brings about by all other checks.

use std::net::SocketAddr;

use crate::common::{
    Lan,
    dice::Dice,
    forge::{self, Forge},
    peek::{self, ElectionState, INITIATOR, RESPONSE},
    wire::{Injection, Maker, Sent},
};

use super::fault::Attack;

/// An attack that goes on.
pub struct Attacker {
    attack: Attack,
    dice: Dice,
    pub next: u64,
    every: u64,
    end: u64,
}

impl Attacker {
    pub fn new(attack: Attack, seed: u64, salt: u64, now: u64, every: u64, ms: u64) -> Self {
        Self {
            attack,
            dice: Dice::new(seed, 7_000_000_000 + salt),
            next: now,
            every: every.max(1),
            end: now + ms,
        }
    }

    pub fn is_over(&self) -> bool {
        self.next > self.end
    }

    /// Sends one datagram, and plans the next one.
    pub fn act(&mut self, lan: &mut Lan) {
        let injection = match self.attack {
            Attack::Replay => self.replay(lan, false),
            Attack::Elsewhere => self.replay(lan, true),
            Attack::Flip => self.flip(lan),
            Attack::Announce => Some(self.announce(lan)),
            Attack::Exchange => self.exchange(lan),
        };
        if let Some(injection) = injection {
            if !lan.untraced {
                lan.note(&format!(
                    "attacker as {} -> {}  {:?}: {}",
                    lan.name_of(injection.from),
                    lan.name_of(injection.to),
                    self.attack,
                    peek::describe(&injection.octets)
                ));
            }
            lan.inject(injection);
        }
        self.next = lan.now + self.dice.between(1, 2 * self.every);
    }

    /// Anything that was ever sent.
    fn recorded(&mut self, lan: &Lan) -> Option<Sent> {
        let record = lan.record.as_deref().unwrap_or_default();
        if record.is_empty() {
            return None;
        }
        // Half of the time from the last thousand: what is fresh is more likely to be taken.
        let from = if self.dice.chance(50) {
            record.len().saturating_sub(1000)
        } else {
            0
        };
        Some(record[from + self.dice.index(record.len() - from)].clone())
    }

    fn replay(&mut self, lan: &Lan, elsewhere: bool) -> Option<Injection> {
        let sent = self.recorded(lan)?;
        let to = if self.dice.chance(70) {
            sent.to
        } else {
            self.somebody(lan)
        };
        let from = if elsewhere { self.any(lan) } else { sent.from };
        // From where it did not come, an announcement is another's word: its MACs cover the address (section 5.1).
        let maker = if from != sent.from && peek::election(&sent.octets).is_some() {
            Maker::Forger
        } else {
            Maker::Replayer
        };
        Some(Injection::new(from, to, sent.octets.to_vec()).by(maker))
    }

    fn flip(&mut self, lan: &Lan) -> Option<Injection> {
        let sent = self.recorded(lan)?;
        // The second MAC of an announcement is for those who do not hold the first one's Rekey SA. For the others the
        // message is the same without it (section 5.1).
        let macs = peek::payloads(&sent.octets)
            .iter()
            .filter(|payload| payload.notify().is_some_and(|notify| notify.0 == peek::GROUP_MAC))
            .count();
        let spared = if macs == 2 { 40 } else { 0 };
        let at = self.dice.index(sent.octets.len() - spared);
        let mask = 1 << self.dice.below(8);
        let octets = forge::flipped(&sent.octets, at, mask);
        Some(Injection::new(sent.from, sent.to, octets).by(Maker::Forger))
    }

    fn announce(&mut self, lan: &Lan) -> Injection {
        let who = self.dice.index(lan.nodes.len() + 2);
        let name = format!("r{}", who + 1);
        let mut state = forge::pretender();
        let known = lan.record.iter().flatten().rev().find_map(|sent| {
            let from = sent.by == Some(who);
            from.then(|| peek::election(&sent.octets).map(|state| (state, sent.header())))?
        });
        let mut instance = self.dice.octets();
        let mut sequence = u32::try_from(self.dice.below(1 << 20)).unwrap();
        if let Some((said, header)) = known
            && self.dice.chance(60)
        {
            state = said;
            sequence = header.id.saturating_add(sequence);
            if self.dice.chance(80) {
                instance = header.spi_i;
            }
        }
        match self.dice.below(4) {
            0 => state.flags |= ElectionState::LEAVING,
            1 => state.state = u8::try_from(self.dice.below(3)).unwrap(),
            2 => state.priority = u16::MAX,
            _ => {}
        }
        let mut message = forge::announcement(&lan.group, &name, instance, sequence, &state);
        if self.dice.chance(30) {
            message = message.notify(peek::HANDOFF, &self.dice.octets::<8>());
        }
        if self.dice.chance(50) {
            let mut mac = state.spi.to_vec();
            mac.extend(self.dice.octets::<16>());
            message = message.notify(peek::GROUP_MAC, &mac);
        }
        let from = if self.dice.chance(50) && who < lan.nodes.len() {
            lan.address_of(who)
        } else {
            self.any(lan)
        };
        Injection::new(from, lan.multicast(), message.finish()).by(Maker::Forger)
    }

    /// An answer to somebody's request, or a request of its own.
    fn exchange(&mut self, lan: &Lan) -> Option<Injection> {
        let sent = self.recorded(lan)?;
        let header = sent.header();
        let answer = |kind: u16, data: &[u8]| {
            Forge::new(header.spi_i, header.spi_r, header.exchange, RESPONSE, header.id)
                .notify(kind, data)
                .finish()
        };
        let octets = match self.dice.below(4) {
            0 => answer(peek::TEMPORARY_FAILURE, &[]),
            1 => answer(peek::COOKIE, &self.dice.octets::<24>()),
            2 => {
                let exchanges = [34, 35, 37, 39, 40, 41, 42, 249];
                let exchange = *self.dice.pick(&exchanges);
                Forge::new(
                    header.spi_i,
                    header.spi_r,
                    exchange,
                    INITIATOR,
                    header.id.wrapping_add(1),
                )
                .payload(peek::SK, &self.dice.octets::<60>())
                .finish()
            }
            _ => self.dice.octets::<64>().to_vec(),
        };
        let to = if self.dice.chance(50) {
            sent.from
        } else {
            self.somebody(lan)
        };
        let from = if self.dice.chance(50) {
            sent.to
        } else {
            self.any(lan)
        };
        let from = if from.ip().is_multicast() {
            self.any(lan)
        } else {
            from
        };
        Some(Injection::new(from, to, octets).by(Maker::Forger))
    }

    fn somebody(&mut self, lan: &Lan) -> SocketAddr {
        lan.address_of(self.dice.index(lan.nodes.len()))
    }

    /// The address of a router, or of nobody.
    fn any(&mut self, lan: &Lan) -> SocketAddr {
        lan.address_of(self.dice.index(lan.nodes.len() + 3))
    }
}
