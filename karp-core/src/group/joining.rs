//! Whom a node tries to register with: an heir, a named successor, or whoever claims the office (PROTOCOL.md sections
//! 5.3 to 5.5).

use crate::{
    election::{Election, Input, Member, Survey},
    exchange::Purpose,
    identity::Identity,
    io::{Role, Timer},
    node::{Core, PenaltyKey},
    peer::Peer,
    storage::Handle,
    time::Duration,
    wire::{ElectionFlags, ElectionState, NodeState},
};

/// How often an heir that is heard is tried again before the turn comes back.
const HEIR_TRIES: u8 = 3;

impl Core<'_> {
    /// Registers with an heir after a random wait, so that not all come at once (section 5.5).
    pub(super) fn plan_join(&mut self) {
        self.node.heir_tries = 0;
        let members = self
            .node
            .membership
            .as_ref()
            .map_or(0, |membership| membership.members);
        let spread =
            Duration::from_millis(u64::from(members).saturating_mul(20)).min(Duration::from_secs(10));
        let wait = self.random_up_to(spread);
        self.set_timer(Timer::Join, wait.max(Duration::from_millis(1)));
    }

    /// *Join* is due: the heir, or whoever claims the office.
    #[inline(never)]
    pub(crate) fn run_join(&mut self) {
        let heir = match self.node.election {
            Election::Member(Member::Joining(_, heir)) => Handle::from_number(heir.0),
            Election::Left | Election::Initial { .. } | Election::Member(_) | Election::Gcks(_) => {
                return self.seek();
            }
        };
        let instance = self
            .node
            .membership
            .as_ref()
            .and_then(|membership| membership.handoff);
        let proved = self
            .peers
            .get(heir)
            .filter(|peer| peer.serves() && peer.is_heard(self.now));
        let target = proved.map(|peer| (peer.address, peer.identity.clone(), None));
        // The successor that the GCKS named may be known by hints alone (section 5.5): GSA_AUTH has to show it.
        let named = || {
            let instance = instance?;
            let mut strangers = self
                .strangers
                .rows()
                .filter(|stranger| stranger.instance == instance);
            let stranger = strangers
                .find(|stranger| stranger.is_heard(self.now) && self.may_be_candidate(&stranger.identity))?;
            Some((stranger.address, stranger.identity.clone(), Some(instance)))
        };
        // Failing that, by REDIRECT from the old GCKS.
        let redirected = || {
            let old = self.followed()?;
            Some((old.address, old.identity.clone(), instance))
        };
        let Some((to, identity, instance)) = target.or_else(named).or_else(redirected) else {
            let survey = self.survey();
            return self.step(Input::JoinFailed(survey));
        };
        if !self.is_attempting(to) && !self.start_attempt(Purpose::Heir, to, identity, instance) {
            self.set_timer(Timer::Join, Duration::from_millis(250));
        }
    }

    /// An heir that is heard all the time is tried again: its exchange was lost, its office was not (section 5.3: a turn
    /// is dropped when a GCKS appears, authenticated). One that cannot be reached is given up after some tries.
    pub(crate) fn join_again(&mut self) -> bool {
        let Election::Member(Member::Joining(_, heir)) = self.node.election else {
            return false;
        };
        let serves = |peer: &Peer| peer.serves() && peer.is_heard(self.now);
        if !self.peers.get(Handle::from_number(heir.0)).is_some_and(serves)
            || self.node.heir_tries >= HEIR_TRIES
        {
            return false;
        }
        self.node.heir_tries = self.node.heir_tries.saturating_add(1);
        let wait = self.hello().divided(2).max(Duration::from_millis(1));
        self.set_timer(Timer::Join, wait);
        true
    }

    /// A member that joins an heir always has an attempt under way or one planned; whatever ended the last one, the
    /// joining has failed then.
    #[inline(never)]
    pub(crate) fn run_joining(&mut self) {
        let joining = matches!(self.node.election, Election::Member(Member::Joining(..)));
        if joining && self.attempts() == 0 && !self.node.timers.is_set(Timer::Join) {
            let survey = self.survey();
            self.step(Input::JoinFailed(survey));
        }
    }

    /// Tries the candidates that claim the office: best first, but every second try takes a random one, so that
    /// honest nodes are reached among thousands of forged ones (section 5.4). A GCKS tries greater offices only.
    pub(crate) fn seek(&mut self) {
        let rival = self.node.election.role() == Role::Gcks;
        if !(self.node.election.is_seeking() || (rival && self.may_probe_rivals())) {
            return;
        }
        let purpose = if rival { Purpose::Rival } else { Purpose::Seek };
        while let Some((to, identity)) = self.pick_candidate(rival) {
            self.node.join_tries = self.node.join_tries.wrapping_add(1);
            if !self.start_attempt(purpose, to, identity, None) {
                break;
            }
        }
        if let Some(until) = self.node.full.filter(|until| *until > self.now) {
            // When there may be room again, or nobody is left who was full.
            self.node.timers.set_earlier(Timer::Join, until);
        }
        if let Some(end) = self.node.penalties.next_end(self.now) {
            self.node.timers.set_earlier(Timer::Join, end);
        }
        if self.attempts() == 0 && !rival {
            // Nobody is left to try, whatever is claimed: what follows must not come back here.
            let survey = Survey {
                claimed: false,
                ..self.survey()
            };
            self.step(Input::JoinFailed(survey));
        }
    }

    fn pick_candidate(&mut self, rival: bool) -> Option<(core::net::SocketAddr, Identity)> {
        let count = self.claimants(rival).count();
        let nth = if self.node.join_tries.is_multiple_of(2) {
            None
        } else {
            Some(self.random_below(count))
        };
        let chosen = match nth {
            Some(nth) => self.claimants(rival).nth(nth),
            None => self.claimants(rival).max_by_key(|(_, identity, claim)| {
                (
                    claim.members > 0,
                    claim.priority,
                    claim.router_id,
                    (*identity).clone(),
                )
            }),
        };
        chosen.map(|(address, identity, _)| (address, identity.clone()))
    }

    /// Those that claim the office, may serve, and are neither penalised nor being tried.
    fn claimants(
        &self,
        rival: bool,
    ) -> impl Iterator<Item = (core::net::SocketAddr, &Identity, ElectionState)> {
        let peers = self
            .peers
            .rows()
            .filter(|peer| peer.is_heard(self.now) && peer.under.is_some());
        let peers = peers.filter_map(|peer| peer.claim.map(|claim| (peer.address, &peer.identity, claim)));
        let strangers = self
            .strangers
            .rows()
            .filter(|stranger| stranger.is_heard(self.now));
        let strangers = strangers.map(|stranger| (stranger.address, &stranger.identity, stranger.claim));
        peers
            .chain(strangers)
            .filter(|(_, _, claim)| {
                claim.state == NodeState::Gcks && !claim.flags.has(ElectionFlags::LEAVING)
            })
            .filter(|(_, identity, _)| self.may_be_candidate(identity))
            .filter(|(address, identity, _)| {
                !self.is_attempting(*address)
                    && !self
                        .node
                        .penalties
                        .bars(&PenaltyKey::new(*address, identity), self.now)
            })
            .filter(move |(_, identity, claim)| !rival || self.is_greater(identity, claim))
    }
}
