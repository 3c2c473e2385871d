//! Handing the office over (PROTOCOL.md section 5.5, *handoff*).

use super::{Office, membership::who, rollover::Input};
use crate::{
    election::{self, Election, Gcks},
    io::Alarm,
    node::Core,
    peer::Peer,
    storage::Handle,
};

impl Core<'_> {
    /// Whether the office is to go to somebody else, and to whom (section 5.5, handoff).
    pub(crate) fn consider_handoff(&mut self) {
        if self.node.election != Election::Gcks(Gcks::Serving) {
            return;
        }
        let unwilling = self.node.priority == 0;
        let Some(office) = self.node.office.as_ref() else {
            return;
        };
        // Two handoffs in a row would leave those who missed the first without a Rekey SA in common with anybody: an heir
        // hands over when its own wait is over.
        if self.heir_waits(office) && !self.node.leaving {
            return;
        }
        let wanted = unwilling || office.hand_off || self.node.leaving;
        let preempt = self.node.config.settings().preempt;
        let chosen = if wanted || preempt {
            self.successor(office, !wanted)
        } else {
            None
        };
        self.node
            .alarms
            .set(Alarm::ServingUnwillingly, unwilling && chosen.is_none());
        if let Some(row) = chosen {
            // What was asked for is kept until somebody can be named.
            if let Some(office) = self.node.office.as_mut() {
                office.hand_off = false;
            }
            self.step(election::Input::HandOff(who(row)));
            self.roll(Input::Abandon);
        }
    }

    /// The best live member that may serve and is not behind; a better one than this node, if `better`.
    pub(crate) fn successor(&self, office: &Office, better: bool) -> Option<Handle> {
        let settings = self.node.config.settings();
        let own = (self.node.priority, settings.router_id, &settings.identity);
        let fit = |peer: &Peer| {
            let current = peer
                .registrant
                .is_some_and(|row| row.given && row.live && row.acked >= Some(office.content));
            let blocked = office.blocked.is_some_and(|(instance, until, _)| {
                until > self.now && peer.instance.is_some_and(|known| known.instance == instance)
            });
            current && !blocked && self.creds.grant(&peer.identity).may_serve
        };
        self.peers
            .iter()
            .filter(|(_, peer)| fit(peer))
            .filter_map(|(row, peer)| {
                let claim = peer.claim?;
                Some((row, (claim.priority, claim.router_id, &peer.identity)))
            })
            .filter(|(_, rank)| rank.0 > 0 && (!better || *rank > own))
            .max_by(|(_, a), (_, b)| a.cmp(b))
            .map(|(row, _)| row)
    }

    /// The successor stayed silent for hold: this node resumes, restarts the rollover that the handoff stopped, and
    /// does not try that instance again for 2 x hold, doubling (section 5.5).
    pub(crate) fn handoff_failed(&mut self) {
        let Election::Gcks(Gcks::HandingOff(to)) = self.node.election else {
            return;
        };
        let instance = self
            .peers
            .get(Handle::from_number(to.0))
            .and_then(|peer| peer.instance);
        let span = self.hold().times(2);
        let now = self.now;
        if let (Some(office), Some(known)) = (self.node.office.as_mut(), instance) {
            let span = match office.blocked {
                Some((blocked, _, before)) if blocked == known.instance => before.times(2),
                Some(_) | None => span,
            };
            office.blocked = Some((known.instance, now.after(span), span));
        }
        self.step(election::Input::HandoffFailed);
        // What the handoff stopped is still wanted.
        self.roll(Input::Check);
    }

    /// Whom this node's announcements name as successor.
    pub(crate) fn handoff_to(&self) -> Option<[u8; 8]> {
        let legacy = self.node.legacy.as_ref().map(|legacy| legacy.successor);
        match self.node.election {
            Election::Gcks(Gcks::HandingOff(to)) => {
                let peer = self.peers.get(Handle::from_number(to.0))?;
                peer.instance.map(|known| known.instance)
            }
            Election::Member(_) => legacy,
            Election::Left | Election::Initial { .. } | Election::Gcks(_) => None,
        }
    }
}
