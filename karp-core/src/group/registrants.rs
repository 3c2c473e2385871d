//! The registrants of an office: who may be given the state, and their requests (PROTOCOL.md section 7).

use super::{merge::MergeAsGreater, rollover::Input, state::Purpose};
use crate::{
    command::RekeyReason,
    config::KeyUse,
    error::DropReason,
    exchange::wire_fault,
    io::Alarm,
    node::Core,
    peer::{OwedReply, Registrant, ReplyKind, Shows},
    storage::Handle,
    time::Duration,
    wire::{
        ElectionState, ExchangeType, KeyState, NodeState, Payloads, message::Contents, notify::KeysInUse,
    },
};

/// A repeated request is answered at most once in this time (section 4).
const REPEAT_PAUSE: Duration = Duration::from_millis(100);

impl Core<'_> {
    /// `row` has proved itself and asks to be a member.
    pub(crate) fn registration(
        &mut self,
        row: Handle,
        instance: [u8; 8],
        state: ElectionState,
        keys: &KeysInUse,
    ) {
        let shows = self.judge_keys(keys);
        let now = self.now;
        let last_made = self.node.office.as_ref().map_or(0, |office| office.last_made);
        let office = state.state == NodeState::Gcks;
        let merging =
            (office || shows.foreign || (shows.lags && self.office_merges_here())).then_some(last_made);
        if let Some(office) = self.node.office.as_mut() {
            office.merges |= merging.is_some();
        }
        if let Some(peer) = self.peers.get_mut(row) {
            // Whatever was sent under this office's Rekey SA counts as given to the earlier instance, received or not.
            if peer.holder.is_some_and(|holder| holder != instance) {
                peer.earlier = last_made;
                peer.holder = None;
            }
            peer.registrant = Some(Registrant {
                given: false,
                live: false,
                acked: None,
                has_next_sa: false,
                silent: false,
                merging,
                office,
                asked: now,
                confirmed: false,
                heard: now,
                shows,
            });
        }
        // Who is given the state at once counts from its request on: a rollover must not slip in between.
        let counts = merging.is_none() && self.gift(row) == Some(Purpose::Whole);
        if let Some(registrant) = self.peers.get_mut(row).and_then(|peer| peer.registrant.as_mut()) {
            registrant.live = counts;
        }
        if merging.is_some() {
            self.merge_begins(office);
        }
        self.want_for(row);
    }

    /// A rollover starts for those that wait; one serves all (section 7).
    fn want_for(&mut self, row: Handle) {
        self.node.stirred = true;
        let shows = self
            .peers
            .get(row)
            .and_then(|peer| peer.registrant)
            .map(|registrant| registrant.shows);
        // Who has gone beyond the Active key sends with another until there is a new one.
        let waits = self.gift(row).is_none_or(|gift| gift != Purpose::Whole)
            || shows.is_some_and(|shows| shows.beyond);
        let settled = self
            .node
            .office
            .as_ref()
            .is_some_and(|office| office.rollover.is_settled());
        // A key here that only waits to be omitted has the id of one there: another rollover would not help.
        let passing = shows.is_some_and(|shows| shows.conflict && !shows.lasting_conflict);
        // A first key that waits for the migration cannot be given to who had it in an earlier boot, or might have: the
        // migration would wait for that router, and that router for the migration. Another takes its place.
        let merging = self.somebody_merges();
        let lesser = self
            .node
            .office
            .as_ref()
            .is_some_and(|office| office.merging.is_some());
        let waits_alone = waits && settled && !passing && !merging && !lesser;
        if waits_alone && !self.has_active() && self.pending_keys().next().is_some() {
            return self.roll(Input::Abandon);
        }
        // While a rollover runs its own end serves: a new one is wanted only if the keys in force cannot be given.
        // Nor would a key made during a merge: it counts as given to everybody (section 5.5).
        if waits && settled && !passing && !merging && self.pending_keys().next().is_none() {
            self.roll(Input::Want(RekeyReason::NewSession));
        }
    }

    /// What KEYS_IN_USE shows, judged against the keys here. Ids of other keys are not given to new ones (section 6).
    pub(crate) fn judge_keys(&mut self, shown: &KeysInUse) -> Shows {
        let mut shows = Shows::default();
        let span = self.node.config.settings().key_lifetime;
        for entry in &shown.0 {
            let sends = entry.usage == KeyUse::Sending;
            let known = self.keys.rows().find(|key| key.lives() && key.id == entry.id);
            match known {
                Some(key) if crate::crypto::ct_eq(&key.check(), &entry.check) => {
                    let active = key.state == KeyState::Active;
                    shows.active |= key.was_active;
                    shows.current |= active && sends;
                    shows.lags |= !active && sends;
                    shows.beyond |= active && entry.usage == KeyUse::Stopped;
                    if key.state == KeyState::Pending {
                        shows.pending = Some(key.made);
                    }
                }
                Some(key) => {
                    shows.foreign |= sends;
                    shows.conflict = true;
                    shows.lasting_conflict |= key.state != KeyState::Retiring;
                }
                None => {
                    shows.foreign |= sends;
                    let rests = self
                        .node
                        .resting_ids
                        .iter()
                        .any(|(id, until)| id == entry.id && until > self.now);
                    if !rests {
                        self.rest_id(entry.id, span);
                    }
                }
            }
        }
        // Section 7: a key that was made for a merge or a rollover that came to nothing here came to something where others
        // send with it.
        shows.foreign |= shows.lags && !shows.active;
        shows
    }

    /// What a registrant may be given now, see [`Purpose`]; `None` if nothing (section 7, *who is given the state*).
    pub(crate) fn gift(&self, row: Handle) -> Option<Purpose> {
        let office = self.node.office.as_ref()?;
        let peer = self.peers.get(row)?;
        let registrant = peer.registrant?;
        if let Some(after) = registrant.merging {
            // An office without an Active key (its migration waits) has nothing but its Pending one to be shown.
            let shows = registrant.shows;
            // Who lags sends with a key that it has not, until an Activate of this office has reached all.
            let activating = !office.rollover.is_settled()
                && self
                    .keys
                    .rows()
                    .any(|key| key.lives() && key.state == KeyState::Active && key.made > 0);
            let ready = shows.current && !activating;
            return Some(if ready || self.shows_only_key(shows) {
                Purpose::Whole
            } else {
                Purpose::Merge { after }
            });
        }
        if registrant.shows.continuing()
            || (office.merging.is_none() && self.shows_only_key(registrant.shows))
        {
            return Some(Purpose::Whole);
        }
        let settled = office.rollover.is_settled();
        let shows = registrant.shows;
        if office.merging.is_some() || !settled || shows.conflict || shows.foreign {
            return None;
        }
        let same = peer
            .instance
            .is_some_and(|known| peer.holder == Some(known.instance));
        if same || self.node.config.settings().reboot_exempt {
            return Some(Purpose::Whole);
        }
        let known = peer.earlier.max(office.floor);
        let mut keys = self
            .keys
            .rows()
            .filter(|key| key.lives() && key.state != KeyState::Retiring)
            .peekable();
        let any = keys.peek().is_some();
        (any && keys.all(|key| key.made > known)).then_some(Purpose::Whole)
    }

    /// Whether `shows` has the Pending key while no key is Active: then nothing else is given with it, and who shows it
    /// has not rebooted since it was made.
    fn shows_only_key(&self, shows: Shows) -> bool {
        !self.has_active() && self.shows_pending(shows)
    }

    /// Whether `shows` has the key that is Pending now.
    pub(crate) fn shows_pending(&self, shows: Shows) -> bool {
        let pending = self
            .keys
            .rows()
            .find(|key| key.lives() && key.state == KeyState::Pending);
        pending.is_some_and(|key| shows.pending == Some(key.made))
    }

    /// Whether this node has an Active key.
    pub(crate) fn has_active(&self) -> bool {
        self.keys
            .rows()
            .any(|key| key.lives() && key.state == KeyState::Active)
    }

    /// The answer to a registration was sealed; `given`: with what may be given now.
    pub(crate) fn state_sent(&mut self, row: Handle, given: bool) {
        self.registrants_changed();
        let gift = self.gift(row);
        let whole = given && gift == Some(Purpose::Whole);
        let now = self.now;
        let last_made = self.node.office.as_ref().map_or(0, |office| office.last_made);
        // Keys that were made since its merge began went with it, if there are any yet.
        let brought = matches!(gift, Some(Purpose::Merge { after }) if self.keys.rows().any(|key| key.lives() && key.made > after));
        let Some(peer) = self.peers.get_mut(row) else {
            return;
        };
        if given && brought {
            // Another instance of it must not have those keys.
            peer.earlier = last_made;
        }
        let instance = peer.instance.map(|known| known.instance);
        let Some(registrant) = peer.registrant.as_mut() else {
            return;
        };
        if !whole {
            return;
        }
        if !registrant.given {
            registrant.given = true;
            registrant.live = true;
            registrant.silent = false;
            registrant.acked = None;
            registrant.has_next_sa = false;
            registrant.heard = now;
        }
        let joins = registrant.merging.take().is_some() && registrant.office;
        peer.holder = instance;
        peer.joined = true;
        self.node.joins_untold = true;
        let hold = self.node.config.hold();
        if let Some(office) = self.node.office.as_mut().filter(|_| joins) {
            office.joins_until = Some(now.after(hold.times(2)));
        }
        self.node.stirred = true;
        self.node.alarms.set(Alarm::GroupFull, false);
        let hello = self.hello();
        let wait = self.jittered(hello);
        self.node
            .timers
            .set_earlier(crate::io::Timer::Update, now.after(wait));
    }

    /// A sealed message of an IKE SA that this node has with somebody: a request or a response.
    #[inline(never)]
    pub(crate) fn handle_sealed(
        &mut self,
        from: core::net::SocketAddr,
        octets: &mut [u8],
    ) -> Result<(), DropReason> {
        let header = crate::wire::Header::parse(octets).map_err(wire_fault)?;
        let row = self
            .peers
            .find(|peer| {
                peer.sa
                    .as_ref()
                    .is_some_and(|sa| sa.spi_i == header.spi_i && sa.spi_r == header.spi_r)
            })
            .ok_or(DropReason::UnknownSpi)?;
        let peer = self.peers.get(row).ok_or(DropReason::UnknownSpi)?;
        let sa = peer.sa.as_ref().ok_or(DropReason::UnknownSpi)?;
        if peer.address != from {
            return Err(DropReason::UnknownSpi);
        }
        // The I flag says which end sent it: a reflected message of our own has ours.
        if header.flags.is_initiator() == sa.initiator {
            return Err(DropReason::Own);
        }
        if header.flags.is_response() {
            let opened = sa.open(octets)?;
            let payloads = opened.payloads()?;
            return self.handle_response(row, header.message_id, payloads);
        }
        let expected = sa.expected;
        let opened = sa.open(octets)?;
        // The last request again: its answer was lost. It is answered from the present state under a fresh IV, at most
        // once in 100 ms (section 4).
        if header.message_id.checked_add(1) == Some(expected) {
            let soon = sa.answered.is_some_and(|at| self.now.since(at) < REPEAT_PAUSE);
            let kind = reply_kind(header.exchange).ok_or(DropReason::UnknownExchange)?;
            if soon {
                return Err(DropReason::RepeatedTooSoon);
            }
            return self.owe_reply(row, header.message_id, kind);
        }
        // Requests only move forward. A gap is one that was given up here unanswered.
        if header.message_id < expected || header.message_id == u32::MAX {
            return Err(DropReason::OutOfWindow);
        }
        let payloads = opened.payloads()?;
        self.handle_request(row, header.exchange, header.message_id, payloads)
    }

    fn handle_request(
        &mut self,
        row: Handle,
        exchange: ExchangeType,
        message_id: u32,
        payloads: Payloads<'_>,
    ) -> Result<(), DropReason> {
        let contents = Contents::collect(payloads).map_err(wire_fault)?;
        let kind = reply_kind(exchange).ok_or(DropReason::UnknownExchange)?;
        let pushed = match kind {
            ReplyKind::InbandRekey => {
                let sa = self
                    .peers
                    .get(row)
                    .and_then(|peer| peer.sa.as_ref())
                    .ok_or(DropReason::UnknownSpi)?;
                match (contents.gsa, contents.kd) {
                    (Some(gsa), Some(kd)) => Some(self.check_unicast_state(gsa, kd, sa)),
                    _ => return Err(DropReason::Malformed),
                }
            }
            ReplyKind::Registration | ReplyKind::Informational => None,
        };
        // A node without office has no state to give, and must not be taken for one that has.
        let registered = self.peers.get(row).is_some_and(|peer| peer.registrant.is_some());
        if kind == ReplyKind::Registration && !registered {
            return Err(DropReason::Unexpected);
        }
        // From here on it is taken: the IKE SA's Message IDs decide before generations do (section 7).
        let (spi_i, spi_r) = {
            let sa = self
                .peers
                .get_mut(row)
                .and_then(|peer| peer.sa.as_mut())
                .ok_or(DropReason::UnknownSpi)?;
            sa.expected = message_id.saturating_add(1);
            (sa.spi_i, sa.spi_r)
        };
        self.release_half_open(spi_i, spi_r);
        self.owe_reply(row, message_id, kind)?;
        match kind {
            ReplyKind::InbandRekey => match pushed {
                Some(Ok(state)) => {
                    let evicted = contents.evicted.map(|evicted| evicted.0).unwrap_or_default();
                    self.take_state(row, &evicted, Some(&state));
                    Ok(())
                }
                Some(Err(reason)) => Err(reason),
                None => Err(DropReason::Malformed),
            },
            ReplyKind::Registration => {
                if contents.group != Some(self.node.config.settings().group.as_bytes()) {
                    return Err(DropReason::OtherGroup);
                }
                let evicted = contents.evicted.map(|evicted| evicted.0).unwrap_or_default();
                self.pull_request(row, &contents.keys_in_use.unwrap_or_default())?;
                self.lesser_told_evictions(row, &evicted);
                Ok(())
            }
            ReplyKind::Informational => {
                if contents.deletes_ike_sa {
                    self.peer_left(row);
                } else if let Some(request) = contents.rekey_request
                    && self.node.office.is_some()
                    && !self.protects_itself(request.protocol.0, request.reason.0)
                {
                    let reason = RekeyReason::from_code(request.reason.0).unwrap_or(RekeyReason::Operator);
                    self.roll(Input::Want(reason));
                }
                Ok(())
            }
        }
    }

    /// Protocols that keep their replay state over sessions say so in their policy, and need no new keys for one
    /// (section 8).
    pub(crate) fn protects_itself(&self, protocol: u16, reason: u16) -> bool {
        let session = [RekeyReason::NewSession.code(), RekeyReason::PeerRestarted.code()].contains(&reason);
        let mut policies = self.node.config.settings().protocols.iter();
        session && policies.any(|policy| policy.protocol.code() == protocol && policy.self_protecting)
    }

    fn owe_reply(&mut self, row: Handle, message_id: u32, kind: ReplyKind) -> Result<(), DropReason> {
        let now = self.now;
        let peer = self.peers.get_mut(row).ok_or(DropReason::UnknownSpi)?;
        self.node.replies_owed = true;
        peer.reply = Some(OwedReply {
            message_id,
            kind,
            at: now,
        });
        Ok(())
    }

    fn pull_request(&mut self, row: Handle, keys: &KeysInUse) -> Result<(), DropReason> {
        let shows = self.judge_keys(keys);
        let now = self.now;
        let hold = self.hold();
        let peer = self.peers.get_mut(row).ok_or(DropReason::UnknownSpi)?;
        let Some(registrant) = peer.registrant.as_mut() else {
            return Err(DropReason::Unexpected);
        };
        registrant.shows = shows;
        registrant.asked = now;
        let merging = registrant.merging.map(|after| (after, registrant.office));
        if let Some(merge) = self
            .node
            .office
            .as_mut()
            .and_then(|office| office.merge.as_mut())
            .filter(|_| merging.is_some_and(|(_, office)| office))
        {
            merge.until = now.after(hold.times(2));
        }
        self.want_for(row);
        Ok(())
    }

    /// Another office has registered, or a router from another half.
    fn merge_begins(&mut self, rival: bool) {
        let now = self.now;
        let hold = self.hold();
        if let Some(office) = self.node.office.as_mut().filter(|_| rival) {
            office.rival_heard = Some(now);
            office.merge = Some(MergeAsGreater {
                until: now.after(hold.times(2)),
            });
        }
        // What is being distributed was made before this merge and is not for it: another takes its place, or it would
        // be activated without those that come (section 5.5).
        self.roll(Input::Abandon);
    }
}

/// What answers a request of this exchange; `None` if there is no such request.
fn reply_kind(exchange: ExchangeType) -> Option<ReplyKind> {
    Some(match exchange {
        ExchangeType::GSA_REGISTRATION => ReplyKind::Registration,
        ExchangeType::GSA_INBAND_REKEY => ReplyKind::InbandRekey,
        ExchangeType::INFORMATIONAL => ReplyKind::Informational,
        _ => return None,
    })
}
