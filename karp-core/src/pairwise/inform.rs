//! Sealed messages of an IKE SA that stands: the window of one request each way, INFORMATIONAL, and the end of IKE SAs
//! (RFC 7296 sections 1.4, 2.1 to 2.4).

use super::{
    Core,
    io::{DownReason, Event, Failure},
    keys::{Ending, RoutingSa},
    sa::{Asked, Ender, Sa, Standing},
};
use crate::{
    counters::bump,
    error::DropReason,
    exchange::wire_fault,
    io::MessageKind,
    keytable::RowState,
    time::Instant,
    wire::{
        self, ExchangeType, Header, NotifyType,
        message::Contents,
        payload::{write_delete_ike, write_notify},
        routing::{RoutingSpi, write_delete},
    },
};

impl Core<'_> {
    /// A request under an IKE SA.
    pub(super) fn handle_request(
        &mut self,
        at: usize,
        header: &Header,
        octets: &mut [u8],
    ) -> Result<(), DropReason> {
        let now = self.now;
        let sa = self.pair.sas.get_mut(at).ok_or(DropReason::UnknownSpi)?;
        if header.message_id.checked_add(1) == Some(sa.expected) && !sa.response.is_empty() {
            // RFC 7296 section 2.1: the same response again, to whoever has the keys.
            sa.open(octets)?;
            sa.owes = true;
            bump(&mut self.pair.pair_counters.responses_repeated);
            return Ok(());
        }
        if header.message_id != sa.expected {
            return Err(DropReason::OutOfWindow);
        }
        if let Standing::Ended(_) = sa.standing {
            return Err(DropReason::UnknownSpi);
        }
        let opened = sa.open(octets)?;
        sa.heard = now;
        sa.used = true;
        if sa.standing == Standing::Awaited {
            sa.standing = Standing::Live;
        }
        let spi_i = sa.spi_i;
        self.peer_holds_keys(spi_i);
        let collected = opened.payloads().map(Contents::collect);
        let contents = match collected {
            Ok(Ok(contents)) => contents,
            // RFC 7296 section 2.5: refused, and no more than that.
            Ok(Err(wire::Error::UnknownCritical(ty))) => {
                if let Some(sa) = self.pair.sas.get_mut(at) {
                    sa.respond(header.exchange, |writer| {
                        write_notify(writer, NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, &[ty]);
                    });
                }
                return Err(DropReason::UnknownCritical);
            }
            Ok(Err(_)) | Err(_) => {
                self.answer_syntax(at, header.exchange);
                return Err(DropReason::Malformed);
            }
        };
        match header.exchange {
            ExchangeType::CREATE_CHILD_SA => self.answer_create(at, &contents),
            ExchangeType::INFORMATIONAL => self.answer_informational(at, &contents),
            _ => {
                // Sealed by the peer, and nothing that is spoken here.
                self.answer_syntax(at, header.exchange);
                Err(DropReason::UnknownExchange)
            }
        }
    }

    /// RFC 7296 section 2.21.3: the request breaks the protocol. It is said, and both ends drop the IKE SA.
    pub(super) fn answer_syntax(&mut self, at: usize, exchange: ExchangeType) {
        let ended = Standing::Ended(self.now.after(super::LINGER));
        if let Some(sa) = self.pair.sas.get_mut(at) {
            sa.respond(exchange, |writer| {
                write_notify(writer, NotifyType::INVALID_SYNTAX, &[]);
            });
            sa.request = None;
        }
        self.end(at, ended, DownReason::ProtocolError);
    }

    fn answer_informational(&mut self, at: usize, contents: &Contents<'_>) -> Result<(), DropReason> {
        let ended = Standing::Ended(self.now.after(super::LINGER));
        // AUTHENTICATION_FAILED: what the initiator says that does not take this side's proof (section 2.21.2).
        let refused = contents.error == Some(NotifyType::AUTHENTICATION_FAILED);
        if contents.deletes_ike_sa || refused {
            let sa = self.pair.sas.get_mut(at).ok_or(DropReason::UnknownSpi)?;
            // Section 1.4.1: the answer is empty; what this side had asked under it is forgotten.
            sa.respond(ExchangeType::INFORMATIONAL, |_| {});
            sa.request = None;
            if refused {
                bump(&mut self.pair.pair_counters.failures);
                self.tell(Event::Failed {
                    reason: Failure::ProofRefused,
                });
            }
            self.end(at, ended, DownReason::Deleted);
            return Ok(());
        }
        let mut gone: heapless::Vec<RoutingSpi, { super::keys::MAX_KEYS }> = heapless::Vec::new();
        if let Some(delete) = &contents.deletes_routing {
            for spi in delete.spis() {
                let Ok(spi) = RoutingSpi::parse(spi) else {
                    self.answer_syntax(at, ExchangeType::INFORMATIONAL);
                    return Err(DropReason::Malformed);
                };
                let keys = self
                    .pair
                    .keys
                    .iter()
                    .filter(|key| !key.gone && key.send_id == spi.key_id);
                for key in keys {
                    let session = self.settings().sessions.get(usize::from(key.session));
                    if session.is_some_and(|session| session.wire_protocol() == spi.protocol) {
                        let _ = gone.push(key.spi(spi.protocol));
                    }
                }
                self.forget_keys(spi);
            }
        } else if contents.error.is_none() {
            bump(&mut self.pair.pair_counters.probes_answered);
        }
        let sa = self.pair.sas.get_mut(at).ok_or(DropReason::UnknownSpi)?;
        // Section 1.4.1: the other half of each pair goes back, by what this side receives with. Of keys that this side is
        // deleting as well, nothing.
        let asked = match sa.request.as_ref().map(|request| &request.asked) {
            Some(Asked::DeleteKey(spi)) => Some(*spi),
            Some(
                Asked::Probe | Asked::Delete | Asked::Refuse | Asked::Rekey { .. } | Asked::Create { .. },
            )
            | None => None,
        };
        sa.respond(ExchangeType::INFORMATIONAL, |writer| {
            for spi in gone.iter().filter(|spi| Some(**spi) != asked) {
                write_delete(writer, *spi);
            }
        });
        Ok(())
    }

    /// The peer ended the key that it receives with under this SPI.
    fn forget_keys(&mut self, spi: RoutingSpi) {
        let sessions = self.settings().sessions.clone();
        self.remove_keys(|key| {
            let session = sessions.get(usize::from(key.session));
            key.send_id == spi.key_id
                && session.is_some_and(|session| session.wire_protocol() == spi.protocol)
        });
    }

    /// A response under an IKE SA.
    pub(super) fn handle_response(
        &mut self,
        at: usize,
        header: &Header,
        octets: &mut [u8],
    ) -> Result<(), DropReason> {
        let now = self.now;
        let sa = self.pair.sas.get_mut(at).ok_or(DropReason::UnknownSpi)?;
        let request = sa.request.as_ref().ok_or(DropReason::OutOfWindow)?;
        if request.message_id != header.message_id || request.exchange != header.exchange {
            return Err(DropReason::OutOfWindow);
        }
        let opened = sa.open(octets)?;
        sa.heard = now;
        sa.used = true;
        if sa.standing == Standing::Awaited {
            sa.standing = Standing::Live;
        }
        // Its seal is good, so it is the peer's answer, whatever it says: the request is over.
        let asked = sa.request.take().map(|request| request.asked);
        let contents = opened
            .payloads()
            .and_then(|payloads| Contents::collect(payloads).map_err(wire_fault));
        let contents = match contents {
            Ok(contents) if contents.error != Some(NotifyType::INVALID_SYNTAX) => contents,
            // RFC 7296 section 2.21.3: the IKE SA is no good to either.
            Ok(_) | Err(_) => {
                self.end(at, Standing::Ended(now), DownReason::ProtocolError);
                return Err(DropReason::Malformed);
            }
        };
        match asked {
            Some(Asked::Rekey {
                spi,
                nonce,
                secret,
                crossed,
            }) => self.rekey_answered(at, &contents, (spi, &nonce, &secret), crossed),
            Some(Asked::Create {
                session,
                recv_id,
                nonce,
                secret,
                replaced,
                crossed,
            }) => self.key_answered(
                at,
                &contents,
                (session, recv_id),
                (&nonce, &secret),
                (replaced, crossed),
            ),
            Some(Asked::Delete | Asked::Refuse) => {
                self.end(at, Standing::Ended(now), DownReason::Stopped);
                Ok(())
            }
            Some(Asked::DeleteKey(spi)) => {
                let sessions = self.settings().sessions.clone();
                self.remove_keys(|key| {
                    let session = sessions.get(usize::from(key.session));
                    key.recv_id == spi.key_id
                        && session.is_some_and(|session| session.wire_protocol() == spi.protocol)
                });
                Ok(())
            }
            Some(Asked::Probe) => {
                self.pair.probe = false;
                bump(&mut self.pair.pair_counters.probes_confirmed);
                // The peer has seen a request since: it knows that this side holds these keys.
                let up = self.pair.sas.get(at).is_some_and(Sa::is_up);
                for key in self.pair.keys.iter_mut().filter(|_| up) {
                    key.confirm = false;
                }
                Ok(())
            }
            None => Err(DropReason::OutOfWindow),
        }
    }

    /// An IKE SA ends. If it was the last that stood, the pair is down and the keys go with it; if another took its place,
    /// that one is known to the peer now.
    pub(super) fn end(&mut self, at: usize, standing: Standing, reason: DownReason) {
        let Some(sa) = self.pair.sas.get_mut(at) else {
            return;
        };
        let was_up = sa.is_up();
        let replaced = matches!(sa.standing, Standing::Replaced(_));
        let lineage = sa.lineage;
        sa.standing = standing;
        // RFC 7296 section 2.8: the peer closes what was replaced, so it has what replaced it.
        for other in &mut self.pair.sas {
            if other.lineage == lineage && other.standing == Standing::Awaited && (replaced || was_up) {
                other.standing = Standing::Live;
                other.used = true;
            }
        }
        if self.is_up()
            || !(was_up || replaced)
            || self.pair.sas.iter().any(|other| {
                other.lineage != lineage && matches!(other.standing, Standing::Replaced(Ender::Peer(_)))
            })
        {
            return;
        }
        match reason {
            DownReason::PeerLost => self.orphan_keys(),
            DownReason::Stopped
            | DownReason::Deleted
            | DownReason::PeerRestarted
            | DownReason::ProtocolError => self.remove_keys(|_| true),
        }
        self.tell_down(reason);
    }

    /// Ends what is over, gives lost peers up, and asks what is to be asked.
    pub(super) fn run_sas(&mut self) {
        let now = self.now;
        let tries = self.settings().tries;
        let one_is_used = self
            .pair
            .sas
            .iter()
            .any(|sa| sa.used && (sa.is_up() || matches!(sa.standing, Standing::Replaced(_))));
        for at in 0..self.pair.sas.len() {
            let Some(sa) = self.pair.sas.get_mut(at) else {
                break;
            };
            if let Standing::Replaced(Ender::Peer(by)) = sa.standing
                && by <= now
            {
                sa.standing = Standing::Replaced(Ender::Us);
            }
            // Of what is to end anyway the peer has forgotten its part by then, and where it never came to know of one there
            // is another to go on with.
            let deletes = |sa: &Sa| {
                let asked = sa.request.as_ref().map(|request| &request.asked);
                matches!(asked, Some(Asked::Delete))
            };
            let (alone, ending) = (sa.used || !one_is_used, deletes(sa));
            let most = if sa.is_up() && alone && !ending {
                tries
            } else {
                tries.min(5)
            };
            let lost = sa
                .request
                .as_ref()
                .is_some_and(|request| request.repeat.is_over(now, most));
            if lost {
                sa.request = None;
                if ending {
                    // The peer ended it when it was told, and its answer was lost: it has nothing to answer with any more.
                    self.end(at, Standing::Ended(now), DownReason::Stopped);
                    continue;
                }
                if sa.is_up() {
                    // RFC 7296 section 2.4: the peer is gone, and with it all that goes back to it; unless it only never
                    // came to know of this one.
                    if sa.used || !self.fall_back(at) {
                        self.peer_lost();
                        break;
                    }
                    continue;
                }
                self.end(at, Standing::Ended(now), DownReason::PeerLost);
            }
        }
        self.pair
            .sas
            .retain(|sa| !matches!(sa.standing, Standing::Ended(at) if at <= now && !sa.owes));
        for at in 0..self.pair.sas.len() {
            self.ask_under(at);
        }
    }

    /// The peer never came to know of this IKE SA: the one before it goes on, if it is there.
    fn fall_back(&mut self, at: usize) -> bool {
        let now = self.now;
        let former = self.pair.sas.iter().enumerate().filter(|(place, sa)| {
            *place != at && sa.used && (sa.is_up() || matches!(sa.standing, Standing::Replaced(_)))
        });
        let Some(former) = former.max_by_key(|(_, sa)| sa.made).map(|(place, _)| place) else {
            return false;
        };
        self.set_standing(at, Standing::Ended(now));
        self.set_standing(former, Standing::Live);
        let spis = self.pair.sas.get(at).zip(self.pair.sas.get(former));
        if let Some((from, to)) = spis.map(|(lost, former)| (lost.spi_i, former.spi_i)) {
            self.keys_move(from, to);
        }
        true
    }

    fn peer_lost(&mut self) {
        let now = self.now;
        for sa in &mut self.pair.sas {
            sa.standing = Standing::Ended(now);
            sa.request = None;
            sa.owes = false;
        }
        self.orphan_keys();
        self.tell_down(DownReason::PeerLost);
    }

    /// One request under this IKE SA, if one is due and none is under way.
    fn ask_under(&mut self, at: usize) {
        let now = self.now;
        let current = self.current();
        // What was replaced is not ended before the peer is known to have what replaced it, or nothing were left to it.
        let mut others = self.pair.sas.iter().filter(|sa| sa.is_up());
        let succeeded = others
            .next()
            .is_none_or(|first| first.used || others.any(|sa| sa.used));
        let Some(sa) = self.pair.sas.get_mut(at) else {
            return;
        };
        if sa.request.is_some() {
            return;
        }
        match sa.standing {
            Standing::Replaced(Ender::Us) if succeeded => self.ask_delete(at),
            Standing::Live if self.pair.stopping => self.ask_delete(at),
            Standing::Live if current == Some(at) => {
                self.ask_current(at, now);
            }
            // The peer took so long to use it that it may be gone.
            Standing::Awaited if current.is_none() && sa.made.after(super::LINGER) <= now => {
                self.ask_probe(at);
            }
            Standing::Live
            | Standing::Awaited
            | Standing::Replaced(Ender::Us | Ender::Peer(_))
            | Standing::Ended(_) => {}
        }
    }

    fn ask_delete(&mut self, at: usize) {
        let now = self.now;
        if let Some(sa) = self.pair.sas.get_mut(at) {
            sa.ask(now, ExchangeType::INFORMATIONAL, Asked::Delete, |writer, _| {
                write_delete_ike(writer);
            });
        }
    }

    fn ask_probe(&mut self, at: usize) {
        let now = self.now;
        if let Some(sa) = self.pair.sas.get_mut(at) {
            sa.ask(now, ExchangeType::INFORMATIONAL, Asked::Probe, |_, _| {});
        }
    }

    /// What the pair wants of its peer, the most urgent first.
    fn ask_current(&mut self, at: usize, now: Instant) {
        if self.pair.probe || self.pair.keys.iter().any(|key| !key.gone && key.confirm) {
            return self.ask_probe(at);
        }
        if self.pair.put_off <= now {
            if self.is_roomy() && self.rekey_due(at).is_some_and(|due| due <= now) && self.ask_rekey(at) {
                self.pair.rekey = false;
                return;
            }
            if let Some(session) = self.session_due(now)
                && !self.keys_full()
                && self.ask_key(at, session)
            {
                if let Some(wanted) = self.pair.wanted.get_mut(usize::from(session)) {
                    *wanted = false;
                }
                return;
            }
        }
        if let Some(spi) = self.key_to_delete(now) {
            if let Some(sa) = self.pair.sas.get_mut(at) {
                sa.ask(
                    now,
                    ExchangeType::INFORMATIONAL,
                    Asked::DeleteKey(spi),
                    |writer, _| {
                        write_delete(writer, spi);
                    },
                );
            }
            return;
        }
        if self.probe_due(at).is_some_and(|due| due <= now) {
            self.ask_probe(at);
        }
    }

    /// Whether there is room for the IKE SA that a rekey makes, and for one of the peer's.
    pub(super) fn is_roomy(&self) -> bool {
        self.pair.sas.len() <= super::ROOMY
    }

    /// When the IKE SA is to be replaced by this side: its initiator a tenth early, the other at the end.
    pub(super) fn rekey_due(&self, at: usize) -> Option<Instant> {
        let sa = self.pair.sas.get(at)?;
        let lifetime = self.settings().ike_lifetime;
        if self.pair.rekey {
            return Some(sa.made);
        }
        Some(sa.made.after(if sa.initiator {
            lifetime.minus(lifetime.divided(10))
        } else {
            lifetime
        }))
    }

    /// When the peer was silent for too long.
    pub(super) fn probe_due(&self, at: usize) -> Option<Instant> {
        let liveness = self.settings().liveness;
        self.pair.sas.get(at).map(|sa| sa.heard.after(liveness))
    }

    /// The session that needs a key of this side's asking, if its time has come.
    fn session_due(&self, now: Instant) -> Option<u8> {
        (0..self.settings().sessions.len())
            .filter_map(|session| u8::try_from(session).ok())
            .find(|session| self.key_due(*session).is_some_and(|due| due <= now))
    }

    /// When this side asks for the session's next key.
    pub(super) fn key_due(&self, session: u8) -> Option<Instant> {
        let wanted = self
            .pair
            .wanted
            .get(usize::from(session))
            .copied()
            .unwrap_or_default();
        match self.standing_key(session) {
            Some(key) if wanted && key.state == RowState::Active => Some(self.now),
            Some(key) => Some(key.renew),
            // Of two the initiator of the IKE SA asks at once, the other if that does not come.
            None => {
                let at = self.current()?;
                let initiator = self.pair.sas.get(at).is_some_and(|sa| sa.initiator);
                Some(if initiator { self.now } else { self.pair.grace })
            }
        }
    }

    /// A key whose end has come and that this side is to end; never before a successor is sent with, or the peer could be
    /// left with the one that ends.
    fn key_to_delete(&self, now: Instant) -> Option<RoutingSpi> {
        let due = self.pair.keys.iter().find(|key| {
            !key.gone && matches!(key.ending, Ending::Delete(at) if at <= now) && self.is_succeeded(key)
        })?;
        let session = self.settings().sessions.get(usize::from(due.session))?;
        Some(due.spi(session.wire_protocol()))
    }

    fn is_succeeded(&self, ending: &RoutingSa) -> bool {
        let mut keys = self.pair.keys.iter();
        keys.any(|key| {
            let active = !key.gone && key.session == ending.session && key.state == RowState::Active;
            active && key.activation >= ending.outlived_by
        })
    }

    /// Writes the next message of an IKE SA: what is owed to the peer comes first.
    pub(super) fn poll_sas(&mut self, buffer: &mut [u8]) -> Option<(usize, super::sa::Way, MessageKind)> {
        let now = self.now;
        let (first, tries) = (self.settings().retransmit, self.settings().tries);
        if let Some(sa) = self.pair.sas.iter_mut().find(|sa| sa.owes) {
            sa.owes = false;
            let len = sa.response.len();
            buffer.get_mut(..len)?.copy_from_slice(&sa.response);
            return Some((len, sa.way(), sa.response_kind));
        }
        let due = |sa: &Sa| {
            let request = sa.request.as_ref();
            request.is_some_and(|request| request.repeat.next <= now && request.repeat.sent < tries)
        };
        let sa = self.pair.sas.iter_mut().find(|sa| due(sa))?;
        let way = sa.way();
        let request = sa.request.as_mut()?;
        if request.repeat.sent > 0 {
            bump(&mut self.pair.pair_counters.retransmissions);
        }
        request.repeat.count(now, first);
        let len = request.octets.len();
        buffer.get_mut(..len)?.copy_from_slice(&request.octets);
        let kind = match request.exchange {
            ExchangeType::CREATE_CHILD_SA => MessageKind::CreateChild,
            _ => MessageKind::Informational,
        };
        Some((len, way, kind))
    }
}
