//! Building, verifying and pacing announcements (PROTOCOL.md section 5.1).

use core::net::SocketAddr;

use crate::{
    crypto::{group_mac, verify, verify_group_mac},
    election::{self, Candidate, Rank, Survey},
    error::DropReason,
    exchange::wire_fault,
    identity::Identity,
    io::{Role, Timer},
    node::{Core, PenaltyKey, address_octets},
    peer::{self, KnownInstance, Peer},
    storage::Handle,
    stranger::Stranger,
    time::{Duration, Instant},
    wire::{
        self, ElectionFlags, ElectionState, NodeState,
        election::{Announcement, Draft},
        notify::Handoff,
        numbers::IdType,
        payload::Id,
    },
};

/// The least time between announcements that Initial nodes trigger: four a second (section 5.3).
const TRIGGER_PAUSE: Duration = Duration::from_millis(250);
/// The longest interval of a node that need not announce every hello (section 5.1).
const LONGEST_INTERVAL: Duration = Duration::from_secs(60);

/// An announcement that was checked.
pub(crate) struct Heard {
    pub(crate) identity: Identity,
    pub(crate) instance: [u8; 8],
    sequence: u32,
    pub(crate) claim: ElectionState,
    pub(crate) handoff: Option<[u8; 8]>,
    /// The Rekey SA whose MAC proved it; without one it is a hint.
    pub(crate) under: Option<[u8; 16]>,
    /// The row of its sender, if there is one.
    row: Option<Handle>,
    /// It says it serves under a Rekey SA that this node does not have, and no key here can check that: an heir's
    /// claim, even if the followed GCKS's own name and instance stand on it.
    pub(crate) claims_anew: bool,
}

impl Core<'_> {
    /// This node's ELECTION_STATE, and whether it may be believed to hold a Rekey SA.
    pub(crate) fn own_state(&self) -> ElectionState {
        self.state_shown_to(None)
    }

    /// The same as one peer is to see it in an exchange: another office is no member of this one, though it may have
    /// been (section 5.5, the order between two offices).
    pub(crate) fn state_shown_to(&self, peer: Option<&Identity>) -> ElectionState {
        let settings = self.node.config.settings();
        let (state, rekey_sa, generation, members) = match (&self.node.office, self.node.election.role()) {
            (Some(office), Role::Gcks) => (
                NodeState::Gcks,
                Some(office.spi),
                office.generation(),
                self.members_known(peer),
            ),
            (_, Role::Member) => {
                let (spi, generation) = self.node.installs.announced.unzip();
                (NodeState::Member, spi, generation.unwrap_or(0), 0)
            }
            (_, Role::Left | Role::Initial | Role::Gcks) => (NodeState::Initial, None, 0, 0),
        };
        let interval = self.interval().as_millis();
        ElectionState {
            state,
            flags: ElectionFlags::default()
                .with(ElectionFlags::KEYED, self.node.sas.current().is_some())
                .with(ElectionFlags::PREEMPT, settings.preempt)
                .with(ElectionFlags::LEAVING, self.node.goodbyes > 0),
            hold_multiplier: settings.hold_multiplier,
            priority: self.node.priority,
            interval_ms: u16::try_from(interval).unwrap_or(u16::MAX),
            router_id: settings.router_id,
            rekey_sa,
            generation,
            members,
        }
    }

    /// Live members of this office, itself not counted.
    fn members_known(&self, but: Option<&Identity>) -> u32 {
        let live = self
            .peers
            .rows()
            .filter(|peer| peer.is_live() && Some(&peer.identity) != but);
        u32::try_from(live.count()).unwrap_or(u32::MAX)
    }

    /// Section 5.1, *pace*: every hello for the GCKS and for whoever knows fewer than eight better-ranked live nodes,
    /// else every hello x ceil(members / 64).
    pub(crate) fn interval(&self) -> Duration {
        let hello = self.hello();
        if self.node.election.role() != Role::Member || self.survey().better < election::MAX_BETTER {
            return hello;
        }
        let members = self
            .followed()
            .and_then(|peer| peer.claim)
            .map_or(0, |claim| claim.members);
        hello
            .times(u64::from(members.div_ceil(64).max(1)))
            .min(LONGEST_INTERVAL)
    }

    /// The GCKS that this node follows.
    pub(crate) fn followed(&self) -> Option<&Peer> {
        self.node
            .membership
            .as_ref()
            .and_then(|membership| self.peers.get(membership.gcks))
    }

    /// Writes the next announcement; the sequence counts as used whatever becomes of it.
    pub(crate) fn write_announcement(&mut self, buffer: &mut [u8]) -> Option<usize> {
        let state = self.own_state();
        let handoff = self.handoff_to().map(Handoff);
        let former = self.former_for_macs();
        let current = self.node.sas.current();
        let mut macs: heapless::Vec<&crate::node::RekeySa, 2> = heapless::Vec::new();
        macs.extend(current.into_iter().chain(former));
        let spis: heapless::Vec<[u8; 16], 2> = macs.iter().map(|sa| sa.spi).collect();
        let settings = self.node.config.settings();
        let term_key = self.node.term_key.as_ref();
        let draft = Draft {
            instance: self.node.instance,
            sequence: self.node.sequence,
            group: settings.group.as_bytes(),
            id: Id {
                ty: IdType(settings.identity.kind()),
                data: settings.identity.octets(),
            },
            state,
            handoff,
            signed: term_key.is_some() && !spis.is_empty(),
            macs: &spis,
        };
        let (ip, port) = address_octets(settings.address);
        let mut message = draft.write(buffer).ok()?;
        if let (Some(key), Some(octets)) = (term_key, message.signed_octets()) {
            let signature = key.sign(&[&ip, &port, octets]);
            message.set_signature(&signature);
        }
        for (index, sa) in macs.iter().enumerate() {
            let mac = group_mac(&sa.keys.gsk_h, &[&ip, &port, message.mac_octets(index)?]);
            message.set_mac(index, &mac);
        }
        let len = message.into_octets().len();
        drop(macs);
        self.node.sequence = self.node.sequence.saturating_add(1);
        Some(len)
    }

    /// The Rekey SA of the second MAC. For 2 x hold after its Rekey SA changed a node shows the former one as well
    /// (section 5.1), and for as long as it still announces whom it handed over to. A GCKS that distributes its next
    /// Rekey SA shows that, for those who were given it alone.
    fn former_for_macs(&self) -> Option<&crate::node::RekeySa> {
        let recent = self.now < self.node.sas.changed.after(self.hold().times(2));
        // A node without current Rekey SA was paused or left: it never seals under a former one again.
        self.node.sas.current()?;
        let former = self
            .node
            .sas
            .former()
            .filter(|_| recent || self.node.legacy.is_some());
        self.node.sas.next().or(former)
    }

    /// Section 5.1 in full; changes nothing.
    #[inline(never)]
    pub(crate) fn verify_announcement(&self, from: SocketAddr, octets: &[u8]) -> Result<Heard, DropReason> {
        let message = Announcement::parse(octets).map_err(|error| {
            if error == wire::Error::Unsupported {
                DropReason::OtherVersion
            } else {
                wire_fault(error)
            }
        })?;
        if message.group != self.node.config.settings().group.as_bytes() {
            return Err(DropReason::OtherGroup);
        }
        if message.instance == self.node.instance {
            return Err(DropReason::Own);
        }
        let identity = Identity::new(message.id.ty.0, message.id.data).ok_or(DropReason::Malformed)?;
        if identity == *self.own_identity() {
            return Err(DropReason::OwnIdentity);
        }
        let (ip, port) = address_octets(from);
        let mut under = None;
        for mac in &message.macs {
            let Some(sa) = self.node.sas.find(&mac.value.spi) else {
                continue;
            };
            let covered = octets.get(..mac.offset).ok_or(DropReason::Malformed)?;
            if !verify_group_mac(&sa.keys.gsk_h, &[&ip, &port, covered], &mac.value.mac) {
                return Err(DropReason::BadSeal);
            }
            // The Rekey SA that the sender says it follows goes first, then the one that this node follows.
            let named = |spi| message.state.rekey_sa == Some(spi);
            let followed = self.node.sas.current_spi() == Some(mac.value.spi) && !under.is_some_and(named);
            if under.is_none() || named(mac.value.spi) || followed {
                under = Some(mac.value.spi);
            }
        }
        let row = self.peers.find_identity(&identity);
        let mut heard = Heard {
            identity,
            instance: message.instance,
            sequence: message.sequence,
            claim: message.state,
            handoff: message.handoff.map(|handoff| handoff.0),
            under,
            row,
            claims_anew: false,
        };
        if under.is_some() {
            if self.is_evicted(&heard.identity) {
                return Err(DropReason::Evicted);
            }
            self.check_instance(&heard)?;
            heard.claims_anew = self.check_signature(&heard, &message, &[&ip, &port], octets)?;
        }
        Ok(heard)
    }

    /// Sequence and instance, of authenticated announcements only (section 5.1).
    fn check_instance(&self, heard: &Heard) -> Result<(), DropReason> {
        let Some(row) = heard.row.and_then(|row| self.peers.get(row)) else {
            return Ok(());
        };
        match row.instance {
            Some(known) if known.instance == heard.instance => {
                if heard.sequence < known.next {
                    Err(DropReason::Replayed)
                } else {
                    Ok(())
                }
            }
            Some(known) if known.proved || row.is_heard(self.now) || self.is_earlier_boot(row, heard) => {
                Err(DropReason::OtherInstance)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Section 5.1: whoever reboots is given the state again only after a rollover, so what a later instance says is under
    /// a Rekey SA that came no earlier, and of a generation that is no less. Otherwise somebody plays what an earlier
    /// instance said, and could make a dead router speak by turns for ever.
    fn is_earlier_boot(&self, row: &Peer, heard: &Heard) -> bool {
        let (Some(known), Some(under), Some(claim)) = (row.under, heard.under, row.claim) else {
            return false;
        };
        let names = |claim: &ElectionState, sa| claim.rekey_sa == Some(sa);
        let fell = known == under && names(&claim, known) && names(&heard.claim, under);
        self.node.sas.age(&under) > self.node.sas.age(&known)
            || (fell && heard.claim.generation < claim.generation)
    }

    /// A GCKS signs (section 5.1). The AUTH_KEY is that of the Rekey SA that its ELECTION_STATE names; a node that has
    /// it not takes the message as an heir's claim, and so says the answer. Whatever else comes from the followed GCKS
    /// itself has to be signed too: or an insider could speak of its leaving, its handing over or its end in its name.
    fn check_signature(
        &self,
        heard: &Heard,
        message: &Announcement<'_>,
        address: &[&[u8]; 2],
        octets: &[u8],
    ) -> Result<bool, DropReason> {
        let followed = self
            .node
            .membership
            .as_ref()
            // An office that merges has a Rekey SA of its own: its current key says nothing of the other's.
            .filter(|_| self.node.office.is_none())
            .is_some_and(|own| Some(own.gcks) == heard.row && own.instance == heard.instance);
        let serves = heard.claim.state == NodeState::Gcks;
        let named = heard.claim.rekey_sa.and_then(|spi| self.node.sas.find(&spi));
        let anew = serves && named.is_none();
        let key = if followed {
            self.node.sas.current().and_then(|sa| sa.auth_key)
        } else if serves {
            named.and_then(|sa| sa.auth_key)
        } else {
            None
        };
        let Some(key) = key else {
            return Ok(anew && !followed);
        };
        let [ip, port] = address;
        let verified = message.signature.as_ref().is_some_and(|signature| {
            let covered = octets.get(..signature.offset);
            covered.is_some_and(|covered| verify(&key, &[ip, port, covered], signature.signature))
        });
        match (verified, anew) {
            (true, _) => Ok(false),
            // The followed GCKS may have lost its office and taken it again: another term, another key.
            (false, true) => Ok(true),
            (false, false) => Err(DropReason::BadSignature),
        }
    }

    /// Takes note of what was heard. Hints leave a row among the strangers and nothing else.
    #[inline(never)]
    pub(crate) fn commit_announcement(&mut self, from: SocketAddr, heard: Heard) -> Result<(), DropReason> {
        if heard.under.is_none() {
            return self.commit_hint(from, heard);
        }
        let row = match heard.row {
            Some(row) => row,
            None => self
                .make_room_for_peer(&heard.identity, from)
                .ok_or(DropReason::TableFull)?,
        };
        self.strangers.retain(|stranger| stranger.address != from);
        let now = self.now;
        let Some(peer) = self.peers.get_mut(row) else {
            return Err(DropReason::TableFull);
        };
        peer.heard = Some(now);
        let followed = self
            .node
            .membership
            .as_ref()
            .is_some_and(|own| own.gcks == row && own.instance == heard.instance);
        if heard.claims_anew && followed && self.node.office.is_none() {
            // Nobody has proved that it is the GCKS: nothing of what is known of it changes but that it is there.
            self.heard_peer(row, &heard);
            self.registrant_changed(row);
            self.former_heard(row);
            return Ok(());
        }
        let proved = peer
            .instance
            .is_some_and(|known| known.proved && known.instance == heard.instance);
        peer.instance = Some(KnownInstance {
            instance: heard.instance,
            next: heard.sequence.saturating_add(1),
            proved,
        });
        peer.address = from;
        peer.claim = Some(heard.claim);
        peer.under = heard.under;
        self.node.stirred = true;
        self.note_other_office(row, &heard);
        self.heard_peer(row, &heard);
        self.registrant_changed(row);
        self.former_heard(row);
        Ok(())
    }

    fn commit_hint(&mut self, from: SocketAddr, heard: Heard) -> Result<(), DropReason> {
        let claim = heard.claim;
        let mut row = Some(Stranger {
            address: from,
            identity: heard.identity,
            instance: heard.instance,
            claim,
            heard: self.now,
        });
        if let Some(known) = self
            .strangers
            .rows_mut()
            .find(|stranger| stranger.address == from)
        {
            if let Some(row) = row.take() {
                *known = row;
            }
        } else {
            let now = self.now;
            self.strangers.retain(|stranger| stranger.is_heard(now));
            if self.strangers.is_full() {
                // Random replacement: whoever floods cannot choose who is forgotten (section 5.4). The best claim stays,
                // or many honest newcomers would make each other forget whose turn it is.
                let best = self.best_stranger();
                let nth = self.random_below(
                    self.strangers
                        .capacity()
                        .saturating_sub(usize::from(best.is_some())),
                );
                let others = self
                    .strangers
                    .iter()
                    .map(|(row, _)| row)
                    .filter(|row| Some(*row) != best);
                let victim = others.take(nth.saturating_add(1)).last();
                if let Some(victim) = victim {
                    self.strangers.remove(victim);
                }
            }
            if let Some(row) = row.take() {
                self.strangers.insert(row);
            }
        }
        // Section 5.3: a GCKS answers an Initial announcement with its own at once, at most four a second.
        let rested = self
            .node
            .triggered
            .is_none_or(|last| self.now.since(last) >= TRIGGER_PAUSE);
        if self.node.election.role() == Role::Gcks && claim.state == NodeState::Initial && rested {
            self.node.triggered = Some(self.now);
            self.node.announce = true;
        }
        if claim.state == NodeState::Gcks {
            self.claimed_by_stranger(from);
        }
        Ok(())
    }

    /// The stranger that ranks first among those that this node would join.
    fn best_stranger(&self) -> Option<Handle> {
        let free = |stranger: &Stranger| {
            !self
                .node
                .penalties
                .bars(&PenaltyKey::new(stranger.address, &stranger.identity), self.now)
        };
        self.strangers
            .iter()
            .filter(|(_, stranger)| stranger.claim.priority > 0 && self.may_be_candidate(&stranger.identity))
            .filter(|(_, stranger)| free(stranger))
            .max_by_key(|(_, stranger)| {
                (
                    stranger.claim.priority,
                    stranger.claim.router_id,
                    stranger.identity.clone(),
                )
            })
            .map(|(row, _)| row)
    }

    /// "An inherited one counts only until an office is heard under it" (section 7, *an heir*).
    fn note_other_office(&mut self, row: Handle, heard: &Heard) {
        let now = self.now;
        let followed = self.node.membership.as_ref();
        if followed.is_some_and(|own| own.gcks == row && own.instance == heard.instance) {
            return;
        }
        // The office of the current Rekey SA is this node's own, or the one that it follows: no other.
        let own = self.node.sas.current_spi();
        // Nor is one that hands its office to this node.
        if heard.claim.state != NodeState::Gcks || heard.handoff == Some(self.node.instance) {
            return;
        }
        if let Some(sa) = heard.claim.rekey_sa.filter(|spi| Some(*spi) != own)
            && let Some(sa) = self.node.sas.find_mut(&sa)
        {
            sa.other_office = sa.other_office.or(Some(now));
        }
    }

    /// A row for `identity`. A member makes room by forgetting whom it has nothing to do with; a GCKS stores all
    /// (section 5.1). In a frame of its own: what is unset in the new row must not be what the caller had of a secret in
    /// the same place.
    #[inline(never)]
    pub(crate) fn make_room_for_peer(&mut self, identity: &Identity, address: SocketAddr) -> Option<Handle> {
        if self.peers.is_full() {
            let now = self.now;
            let gcks = self.node.membership.as_ref().map(|membership| membership.gcks);
            // Who was given the state, is silent and left the live set is as good as gone.
            let dead = |peer: &Peer| {
                peer.registrant.is_some_and(|row| row.given && !row.live) && !peer.is_heard(now)
            };
            let idle = |peer: &Peer| (peer.sa.is_none() && peer.registrant.is_none()) || dead(peer);
            let victim = self
                .peers
                .iter()
                .filter(|(row, peer)| Some(*row) != gcks && idle(peer) && peer.joined == peer.told_joined)
                .min_by_key(|(_, peer)| {
                    (
                        peer.is_heard(now),
                        peer.claim.map_or(0, |claim| claim.priority),
                        peer.heard,
                    )
                })
                .map(|(row, _)| row)?;
            self.forget_peer(victim);
        }
        let mut peer = Peer::new(identity.clone(), address);
        // Rows that were reused leave their maximum as a floor for all (section 7).
        peer.earlier = self.node.office.as_ref().map_or(0, |office| office.floor);
        self.peers.insert_peer(peer)
    }

    pub(crate) fn forget_peer(&mut self, row: Handle) {
        let Some(peer) = self.peers.get(row) else {
            return;
        };
        let (holds, earlier) = (peer.holder.is_some(), peer.earlier);
        self.peers.remove_peer(row);
        self.sealed.retain(|sealed| sealed.peer != row);
        if let Some(office) = self.node.office.as_mut() {
            let held = if holds { office.last_made } else { 0 };
            office.floor = office.floor.max(earlier).max(held);
        }
    }

    /// Whether this node would join an office of `identity`: whom the survey counts is whom it tries.
    pub(crate) fn may_be_candidate(&self, identity: &Identity) -> bool {
        self.creds.grant(identity).may_serve
            && self.creds.method(identity).is_some()
            && !self.is_evicted(identity)
            && identity != self.own_identity()
    }

    /// What an election decision needs to know of the others (section 5.2). Names that may not serve here count as
    /// nobody, whatever they claim; a penalised candidate ranks before nobody, but that it is keyed is not forgotten.
    pub(crate) fn survey(&self) -> Survey {
        let settings = self.node.config.settings();
        let own_sa = self.node.installs.announced;
        let generation = own_sa.map_or(0, |(_, generation)| generation);
        let rank = |generation, priority, router_id, identity| Rank {
            generation,
            priority,
            router_id,
            identity,
        };
        let own = rank(
            generation,
            self.node.priority,
            settings.router_id,
            &settings.identity,
        );
        // Generations compare under one Rekey SA only; otherwise they are taken as equal.
        let common = |claim: &ElectionState| match (own_sa, claim.rekey_sa) {
            (Some((own, _)), Some(theirs)) if own == theirs => claim.generation,
            _ => generation,
        };
        let keyed_self = self.node.election.role() == Role::Member;
        let membership = self.node.membership.as_ref().filter(|_| keyed_self);
        let silent = membership.map(|membership| membership.gcks);
        let candidate = |address, identity, claim: ElectionState| {
            let barred = self
                .node
                .penalties
                .bars(&PenaltyKey::new(address, identity), self.now);
            Candidate {
                rank: rank(
                    common(&claim),
                    if barred { 0 } else { claim.priority },
                    claim.router_id,
                    identity,
                ),
                role: if barred {
                    Role::Initial
                } else {
                    peer::role(claim.state)
                },
                keyed: claim.flags.has(ElectionFlags::KEYED),
                leaving: claim.flags.has(ElectionFlags::LEAVING),
            }
        };
        let peers = self
            .peers
            .iter()
            .filter(|(row, peer)| Some(*row) != silent && peer.is_heard(self.now) && peer.under.is_some())
            // On loss of the GCKS the live, authenticated members count: only a KEYED node inherits office.
            .filter(|(_, peer)| !keyed_self || peer.is_keyed())
            .filter_map(|(_, peer)| peer.claim.map(|claim| (peer.address, &peer.identity, claim)));
        let strangers = self
            .strangers
            .rows()
            .filter(|stranger| !keyed_self && stranger.is_heard(self.now))
            .map(|stranger| (stranger.address, &stranger.identity, stranger.claim));
        let candidates = peers
            .chain(strangers)
            .filter(|(_, identity, _)| self.may_be_candidate(identity))
            .map(|(address, identity, claim)| candidate(address, identity, claim));
        let mut survey = election::survey(own, candidates);
        survey.may_serve &= self.creds.grant(&settings.identity).may_serve;
        // The GCKS has no room: that is no reason to serve beside it (section 5.4).
        survey.may_serve &= keyed_self || self.node.full.is_none_or(|until| until <= self.now);
        survey
    }

    /// The next regular announcement.
    pub(crate) fn schedule_hello(&mut self) {
        let interval = self.interval();
        let span = self.jittered(interval);
        self.set_timer(Timer::Hello, span);
    }

    /// One more announcement, spread over the interval, after an update (section 5.1).
    pub(crate) fn schedule_acknowledgement(&mut self) {
        let interval = self.interval();
        let span = self.random_up_to(interval);
        let at: Instant = self.now.after(span.max(Duration::from_millis(1)));
        self.node.timers.set_earlier(Timer::Hello, at);
    }
}

#[cfg(test)]
impl Heard {
    /// What the peer in `row` announces of itself under this Rekey SA, for tests of what follows.
    pub(crate) fn from_peer(
        core: &Core<'_>,
        row: Handle,
        claim: ElectionState,
        under: Option<[u8; 16]>,
    ) -> Self {
        let peer = core.peers.get(row);
        Self {
            identity: peer.map_or_else(|| core.own_identity().clone(), |peer| peer.identity.clone()),
            instance: peer
                .and_then(|peer| peer.instance)
                .map_or([0; 8], |known| known.instance),
            sequence: 0,
            claim,
            handoff: None,
            under,
            row: Some(row),
            claims_anew: false,
        }
    }
}
