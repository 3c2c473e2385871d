//! What follows for a group from what its routing daemon shows, without a daemon, a clock or a thread.

use std::collections::BTreeMap;

use karp_core::{algorithm::RoutingProtocol, command::RekeyReason};

use super::{Advice, LinkRole, Neighbour, ObserveError, Snapshot};

/// Neighbours that are gone and still remembered. A link has fewer routers; this keeps forged ids from filling the memory.
const MAX_GONE: usize = 1024;

/// The election priority for each role on the link (PROTOCOL.md section 8).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Priorities {
    /// As designated router.
    pub dr: u16,
    /// As backup designated router.
    pub bdr: u16,
    /// Otherwise.
    pub other: u16,
}

impl Default for Priorities {
    fn default() -> Self {
        Self {
            dr: 200,
            bdr: 150,
            other: 100,
        }
    }
}

impl Priorities {
    fn of(self, role: LinkRole) -> u16 {
        match role {
            LinkRole::Dr => self.dr,
            LinkRole::Bdr => self.bdr,
            LinkRole::Other => self.other,
        }
    }
}

/// Compares each snapshot of one observer with what was seen before.
///
/// It asks for new keys where packets of an earlier session could be replayed:
///
/// - The daemon is another run than the one that was seen last: it has lost its replay state
///   ([`RekeyReason::NewSession`]). The first run that is seen is no such case.
/// - A neighbour is up again, which was up before and went down in between, all under the same sending key: it, or the
///   state about it, began anew ([`RekeyReason::PeerRestarted`]). When neighbours come up for the first time, or after the
///   key has changed, there is nothing to replay. One request covers all that went down before it was made.
/// - The sequence number is in the last sixteenth of its space ([`RekeyReason::SequenceExhausted`]), once until it was
///   below again.
///
/// Whether a protocol protects itself, and so needs none of this, is the group's policy and not looked at here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tracker {
    priorities: Priorities,
    priority: Option<u16>,
    /// The run of the daemon that was seen last.
    epoch: Option<String>,
    is_there: bool,
    neighbours: BTreeMap<String, Seen>,
    exhausted: bool,
    /// Looks so far.
    looks: u64,
    /// At which look, and under which key, new keys were asked for because of a neighbour.
    asked: Option<(u64, u16)>,
}

/// What is remembered of a neighbour that was up.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Seen {
    /// The key that was sent with when it was seen up last.
    under: Option<u16>,
    /// It was fully adjacent, and not only 2-Way.
    full: bool,
    /// The look at which it had gone down.
    down_at: Option<u64>,
}

impl Tracker {
    /// A tracker that has seen nothing yet.
    #[must_use]
    pub fn new(priorities: Priorities) -> Self {
        Self {
            priorities,
            priority: None,
            epoch: None,
            is_there: false,
            neighbours: BTreeMap::new(),
            exhausted: false,
            looks: 0,
            asked: None,
        }
    }

    /// What follows from `seen`, while the protocol sends with the key `sending_key`.
    pub fn look(&mut self, seen: &Result<Snapshot, ObserveError>, sending_key: Option<u16>) -> Vec<Advice> {
        self.looks = self.looks.saturating_add(1);
        let mut advice = Vec::new();
        let snapshot = match seen {
            Ok(snapshot) => snapshot,
            Err(error) => {
                // One that only does not answer has lost nothing.
                if error.not_running && self.is_there {
                    self.is_there = false;
                    advice.push(Advice::Lost);
                }
                return advice;
            }
        };
        let rekey = |reason| Advice::Rekey(snapshot.protocol, reason);
        let restarted = self.epoch.as_ref().is_some_and(|epoch| *epoch != snapshot.epoch);
        if restarted || !self.is_there {
            advice.push(Advice::Reached {
                epoch: snapshot.epoch.clone(),
                restarted,
            });
        }
        self.is_there = true;
        self.epoch = Some(snapshot.epoch.clone());
        if restarted {
            // What its neighbours do now is the consequence.
            self.neighbours.clear();
            self.asked = None;
            if sending_key.is_some() {
                advice.push(rekey(RekeyReason::NewSession));
            }
        }
        // Without a role it may be about to get one: until then the old priority is as good as any.
        let priority = snapshot.role.map(|role| self.priorities.of(role));
        if priority.is_some() && priority != self.priority {
            self.priority = priority;
            advice.extend(priority.map(Advice::Priority));
        }
        if self.neighbours_restarted(snapshot, sending_key) {
            advice.push(rekey(RekeyReason::PeerRestarted));
        }
        if self.ran_out(snapshot) && sending_key.is_some() {
            advice.push(rekey(RekeyReason::SequenceExhausted));
        }
        advice
    }

    fn neighbours_restarted(&mut self, snapshot: &Snapshot, sending_key: Option<u16>) -> bool {
        let mut restarted = false;
        for (id, seen) in &mut self.neighbours {
            let now = snapshot.neighbours.iter().find(|now| now.id == *id);
            let is_down = now.is_none_or(|now| is_down(now, snapshot.protocol, seen.full));
            if is_down && seen.down_at.is_none() {
                seen.down_at = Some(self.looks);
            }
        }
        for now in snapshot.neighbours.iter().filter(|now| now.up) {
            let full = !now.state.starts_with("2-Way");
            let is = Seen {
                under: sending_key,
                full,
                down_at: None,
            };
            let Some(was) = self.neighbours.insert(now.id.clone(), is) else {
                continue;
            };
            let (Some(down_at), Some(key)) = (was.down_at, sending_key) else {
                continue;
            };
            let covered = self
                .asked
                .is_some_and(|(look, under)| under == key && down_at <= look);
            restarted |= was.under == Some(key) && !covered;
        }
        if restarted {
            self.asked = sending_key.map(|key| (self.looks, key));
        }
        // Who went under another key has nothing to bring back.
        self.neighbours
            .retain(|_, seen| seen.down_at.is_none() || seen.under == sending_key);
        while self.neighbours.len() > MAX_GONE {
            let gone = self.neighbours.iter().filter(|(_, seen)| seen.down_at.is_some());
            let Some(oldest) = gone.min_by_key(|(_, seen)| seen.down_at) else {
                break;
            };
            let oldest = oldest.0.clone();
            self.neighbours.remove(&oldest);
        }
        restarted
    }

    /// Whether the sequence number has just come near its end.
    fn ran_out(&mut self, snapshot: &Snapshot) -> bool {
        let near = snapshot
            .sequence
            .is_some_and(|(sequence, max)| sequence >= max - max / 16);
        let just_now = near && !self.exhausted;
        self.exhausted = near;
        just_now
    }
}

/// Whether `now`, which was up, has lost its session. An OSPF adjacency that is being formed may be just that, after a
/// change of the DR (RFC 2328 section 10.3, AdjOK?); unless it was formed already, when only a mismatch begins it
/// again, as after a restart.
fn is_down(now: &Neighbour, protocol: RoutingProtocol, was_full: bool) -> bool {
    let is_ospf = matches!(protocol, RoutingProtocol::Ospfv2 | RoutingProtocol::Ospfv3);
    let state = now.state.split('/').next().unwrap_or_default();
    match state {
        _ if now.up => false,
        "2-Way" if is_ospf => false,
        "ExStart" | "Exchange" | "Loading" if is_ospf => was_full,
        _ => true,
    }
}

#[cfg(test)]
mod tests;
