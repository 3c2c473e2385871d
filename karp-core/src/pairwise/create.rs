//! CREATE_CHILD_SA: routing SAs and their rollover, and the rekey of the IKE SA, asked and answered (PROTOCOL.md section
//! 9, RFC 7296 sections 1.3, 2.8, 2.17, 2.18, 2.25).

use super::{
    Core,
    io::Event,
    keys::{Ending, RoutingSa},
    sa::{Asked, Channel, Ender, NonceHead, Origin, Sa, Standing, lower},
    settings::Session,
};
use crate::{
    counters::bump,
    crypto::{DhSecret, IkeKeys, Secret, SharedSecret, child_keymat},
    error::DropReason,
    exchange::messages::write_key_exchange,
    keytable::RowState,
    time::Duration,
    wire::{
        ExchangeType, NotifyType, PayloadType,
        message::Contents,
        notify::write_invalid_ke,
        numbers::{KE_CURVE25519, SecurityProtocol},
        payload::write_notify,
        routing::{
            RoutingChoice, RoutingSpi, check_answer, choose, first_spi, write_not_found, write_rekey_sa,
        },
        sa::{PAIRWISE, check_rekey_answer, choose_rekey, protocol_of, write_rekey},
        ts::Selector,
    },
};

/// After TEMPORARY_FAILURE: not at once (RFC 7296 section 2.25), and jittered.
const TRY_AGAIN: Duration = Duration::from_secs(2);
/// After another refusal: it will hardly be taken back soon.
const TRY_LATER: Duration = Duration::from_secs(60);
/// TEMPORARY_FAILURE so often in a row, some minutes of it, means that the two sides are out of step.
const MOST_TEMPORARY: u8 = 60;

/// Why a request is refused: what is answered, and what is counted.
pub(super) enum Refused {
    Error(NotifyType),
    InvalidKe,
    NotFound(RoutingSpi),
    /// The request breaks the protocol: INVALID_SYNTAX, and the end of the IKE SA (RFC 7296 section 2.21.3).
    Syntax,
}

impl Core<'_> {
    /// Asks for a routing SA for the session; the one it replaces, if any, is named.
    pub(super) fn ask_key(&mut self, at: usize, session: u8) -> bool {
        let Some(asked) = self.settings().sessions.get(usize::from(session)).copied() else {
            return false;
        };
        let Some(recv_id) = self.free_key_id(session) else {
            return false;
        };
        let spi = RoutingSpi {
            protocol: asked.wire_protocol(),
            key_id: recv_id,
        };
        let mut nonce = [0; 32];
        self.rng.fill_bytes(&mut nonce);
        let secret = DhSecret::generate(self.rng);
        let public = secret.public();
        let replaced = self.standing_key(session).map(|key| key.spi(spi.protocol));
        let offer = RoutingChoice {
            number: 1,
            spi,
            algorithm: asked.wire_algorithm(),
        };
        let create = Asked::Create {
            session,
            recv_id,
            nonce,
            secret,
            replaced: replaced.map(|spi| spi.key_id),
            crossed: None,
        };
        let now = self.now;
        let Some(sa) = self.pair.sas.get_mut(at) else {
            return false;
        };
        sa.ask(now, ExchangeType::CREATE_CHILD_SA, create, |writer, _| {
            // RFC 7296 section 1.3.3: what is replaced comes first.
            if let Some(spi) = replaced {
                write_rekey_sa(writer, spi);
            }
            offer.write(writer);
            writer.payload(PayloadType::NONCE, &nonce);
            write_key_exchange(writer, &public);
            asked.local.write(writer, PayloadType::TS_I);
            asked.remote.write(writer, PayloadType::TS_R);
        })
    }

    /// Asks for an IKE SA in the place of this one.
    pub(super) fn ask_rekey(&mut self, at: usize) -> bool {
        let (mut spi, mut nonce) = ([0; 8], [0; 32]);
        self.rng.fill_bytes(&mut spi);
        self.rng.fill_bytes(&mut nonce);
        let secret = DhSecret::generate(self.rng);
        let public = secret.public();
        let asked = Asked::Rekey {
            spi,
            nonce,
            secret,
            crossed: None,
        };
        let now = self.now;
        let Some(sa) = self.pair.sas.get_mut(at) else {
            return false;
        };
        sa.ask(now, ExchangeType::CREATE_CHILD_SA, asked, |writer, _| {
            write_rekey(writer, &PAIRWISE, &spi);
            writer.payload(PayloadType::NONCE, &nonce);
            write_key_exchange(writer, &public);
        })
    }

    /// A request of CREATE_CHILD_SA under an IKE SA: answered, whatever it is.
    pub(super) fn answer_create(&mut self, at: usize, contents: &Contents<'_>) -> Result<(), DropReason> {
        let protocol = contents.sa.map(protocol_of);
        let refused = match protocol {
            Some(Ok(SecurityProtocol::IKE)) => self.answer_rekey(at, contents),
            Some(Ok(SecurityProtocol::ROUTING)) => self.answer_key(at, contents),
            // RFC 7296 section 1.3: no Child SAs of IPsec here.
            Some(Ok(_)) => Err(Refused::Error(NotifyType::NO_ADDITIONAL_SAS)),
            Some(Err(_)) | None => Err(Refused::Syntax),
        };
        let Err(refused) = refused else {
            return Ok(());
        };
        if let Refused::Syntax = refused {
            self.answer_syntax(at, ExchangeType::CREATE_CHILD_SA);
            return Err(DropReason::Malformed);
        }
        if let Some(sa) = self.pair.sas.get_mut(at) {
            sa.respond(ExchangeType::CREATE_CHILD_SA, |writer| match refused {
                Refused::Error(error) => write_notify(writer, error, &[]),
                Refused::InvalidKe => write_invalid_ke(writer, KE_CURVE25519),
                Refused::NotFound(spi) => write_not_found(writer, spi),
                Refused::Syntax => {}
            });
        }
        Err(DropReason::Unexpected)
    }

    fn answer_rekey(&mut self, at: usize, contents: &Contents<'_>) -> Result<(), Refused> {
        let (body, nonce_i) = contents.sa.zip(contents.nonce).ok_or(Refused::Syntax)?;
        let ke = contents.ke.ok_or(Refused::Syntax)?;
        let chosen = choose_rekey(body).map_err(|_| Refused::Syntax)?;
        let (choice, spi_i) = chosen.ok_or(Refused::Error(NotifyType::NO_PROPOSAL_CHOSEN))?;
        if ke.method != KE_CURVE25519 {
            return Err(Refused::InvalidKe);
        }
        let temporary = Refused::Error(NotifyType::TEMPORARY_FAILURE);
        let now = self.now;
        let known = self.pair.sas.iter().any(|sa| sa.spi_i == spi_i);
        let Some(old) = self.pair.sas.get(at).filter(|old| old.is_up() && !known) else {
            return Err(temporary);
        };
        // RFC 7296 section 2.25.1: not while a routing SA is being made or ended; section 2.25.2: as usual while this side
        // asks for the same.
        let crossing = match old.request.as_ref().map(|request| &request.asked) {
            None | Some(Asked::Probe) => false,
            Some(Asked::Rekey { crossed: None, .. }) => true,
            Some(_) => return Err(temporary),
        };
        if self.pair.sas.is_full() {
            return Err(temporary);
        }
        let secret = DhSecret::generate(self.rng);
        let shared = secret.agree(ke.data).map_err(|_| Refused::Syntax)?;
        let (mut spi_r, mut nonce) = ([0; 8], [0; 32]);
        self.rng.fill_bytes(&mut spi_r);
        self.rng.fill_bytes(&mut nonce);
        let grace = now.after(super::LINGER);
        let Some(old) = self.pair.sas.get_mut(at) else {
            return Err(temporary);
        };
        let keys = IkeKeys::rekey(&old.sk_d, &shared, nonce_i, &nonce, &spi_i, &spi_r);
        let fresh = Sa::new(
            Channel::new(keys, (spi_i, spi_r), false, 0),
            Origin::Rekey,
            old.lineage,
            Standing::Awaited,
            lower(nonce_i, &nonce),
            old.way(),
            now,
        );
        if crossing {
            if let Some(Asked::Rekey { crossed, .. }) = old.request.as_mut().map(|request| &mut request.asked)
            {
                *crossed = Some(spi_i);
            }
        } else {
            old.standing = Standing::Replaced(Ender::Peer(grace));
        }
        let from = old.spi_i;
        let public = secret.public();
        old.respond(ExchangeType::CREATE_CHILD_SA, |writer| {
            write_rekey(writer, &choice, &spi_r);
            writer.payload(PayloadType::NONCE, &nonce);
            write_key_exchange(writer, &public);
        });
        bump(&mut self.pair.pair_counters.ike_rekeys);
        self.tell(Event::IkeSaRekeyed);
        // There is room.
        let _ = self.pair.sas.push(fresh);
        self.keys_move(from, spi_i);
        Ok(())
    }

    fn answer_key(&mut self, at: usize, contents: &Contents<'_>) -> Result<(), Refused> {
        let (body, nonce_i) = contents.sa.zip(contents.nonce).ok_or(Refused::Syntax)?;
        let ke = contents.ke.ok_or(Refused::Syntax)?;
        let selectors = contents.ts_i.zip(contents.ts_r).ok_or(Refused::Syntax)?;
        let theirs = Selector::parse(selectors.0).map_err(|_| Refused::Syntax)?;
        let ours = Selector::parse(selectors.1).map_err(|_| Refused::Syntax)?;
        let wanted = first_spi(body).map_err(|_| Refused::Syntax)?;
        let (session, meant) = self
            .session_of(wanted, ours, theirs)
            .ok_or(Refused::Error(NotifyType::TS_UNACCEPTABLE))?;
        let chosen = choose(body, wanted.protocol, meant.wire_algorithm()).map_err(|_| Refused::Syntax)?;
        let choice = chosen.ok_or(Refused::Error(NotifyType::NO_PROPOSAL_CHOSEN))?;
        if ke.method != KE_CURVE25519 {
            return Err(Refused::InvalidKe);
        }
        let temporary = || Refused::Error(NotifyType::TEMPORARY_FAILURE);
        let old = self
            .pair
            .sas
            .get(at)
            .filter(|sa| sa.is_up())
            .ok_or_else(temporary)?;
        // RFC 7296 section 2.25.2: not while the IKE SA is being replaced or ended.
        let crossing = match old.request.as_ref().map(|request| &request.asked) {
            None | Some(Asked::Probe) => false,
            // One may cross: with more of them a peer that withholds its answer would fill the table.
            Some(Asked::Create {
                session: own,
                crossed: Some(_),
                ..
            }) if *own == session => return Err(temporary()),
            Some(Asked::Create { session: own, .. }) => *own == session,
            Some(Asked::DeleteKey(_)) => false,
            Some(Asked::Rekey { .. } | Asked::Delete | Asked::Refuse) => return Err(temporary()),
        };
        let standing = self.standing_key(session);
        match contents.rekeys_routing {
            Some(named) => {
                let named = RoutingSpi::parse(named).map_err(|_| Refused::Syntax)?;
                let known = self
                    .pair
                    .keys
                    .iter()
                    .any(|key| !key.gone && key.session == session && key.send_id == named.key_id);
                if !known {
                    return Err(Refused::NotFound(named));
                }
                // It is replaced already, and its successor stands.
                if standing.is_none_or(|key| key.send_id != named.key_id) {
                    return Err(temporary());
                }
            }
            None if standing.is_some() && !crossing => return Err(temporary()),
            None => {}
        }
        let send_id = choice.spi.key_id;
        let in_use = |key: &RoutingSa| !key.gone && key.session == session && key.send_id == send_id;
        if self.pair.keys.iter().any(in_use) || self.keys_full() {
            return Err(temporary());
        }
        let recv_id = self.free_key_id(session).ok_or_else(temporary)?;
        let secret = DhSecret::generate(self.rng);
        let shared = secret.agree(ke.data).map_err(|_| Refused::Syntax)?;
        let mut nonce = [0; 32];
        self.rng.fill_bytes(&mut nonce);
        let sa = self.pair.sas.get_mut(at).ok_or_else(temporary)?;
        let key = keymat(&sa.sk_d, &shared, nonce_i, &nonce);
        let public = secret.public();
        let answer = RoutingChoice {
            spi: RoutingSpi {
                protocol: choice.spi.protocol,
                key_id: recv_id,
            },
            ..choice
        };
        sa.respond(ExchangeType::CREATE_CHILD_SA, |writer| {
            answer.write(writer);
            writer.payload(PayloadType::NONCE, &nonce);
            write_key_exchange(writer, &public);
            meant.remote.write(writer, PayloadType::TS_I);
            meant.local.write(writer, PayloadType::TS_R);
        });
        if let Some(Asked::Create { crossed, .. }) = sa
            .request
            .as_mut()
            .map(|request| &mut request.asked)
            .filter(|_| crossing)
        {
            *crossed = Some(recv_id);
        }
        let line = (sa.lineage, sa.spi_i);
        self.wish(session, false);
        self.add_key(
            session,
            line,
            (send_id, recv_id),
            key,
            false,
            lower(nonce_i, &nonce),
        );
        Ok(())
    }

    /// The answer to a request for another IKE SA.
    pub(super) fn rekey_answered(
        &mut self,
        at: usize,
        contents: &Contents<'_>,
        own: ([u8; 8], &[u8; 32], &DhSecret),
        crossed: Option<[u8; 8]>,
    ) -> Result<(), DropReason> {
        let now = self.now;
        let grace = now.after(super::LINGER);
        let crossed = crossed.and_then(|spi| self.pair.sas.iter().position(|sa| sa.spi_i == spi));
        if let Some(error) = contents.error {
            match crossed {
                // The peer was done before it saw this side's request: its own IKE SA stands (RFC 7296 section 2.8.2).
                Some(_) => self.set_standing(at, Standing::Replaced(Ender::Peer(grace))),
                None => self.put_off(at, error),
            }
            return Ok(());
        }
        let made = self.rekeyed(at, contents, own);
        let Some(mut fresh) = made else {
            // What cannot be used cannot be lived with either: the two sides are out of step.
            self.set_standing(at, Standing::Replaced(Ender::Us));
            return Err(DropReason::Malformed);
        };
        let mut old = Standing::Replaced(Ender::Us);
        if let Some(other) = crossed.and_then(|other| self.pair.sas.get_mut(other)) {
            if fresh.nonce < other.nonce {
                fresh.standing = Standing::Replaced(Ender::Us);
                old = Standing::Replaced(Ender::Peer(grace));
            } else {
                other.standing = Standing::Replaced(Ender::Peer(grace));
            }
        }
        self.set_standing(at, old);
        if fresh.is_up()
            && let Some(from) = self.pair.sas.get(at).map(|sa| sa.spi_i)
        {
            self.keys_move(from, fresh.spi_i);
        }
        bump(&mut self.pair.pair_counters.ike_rekeys);
        self.tell(Event::IkeSaRekeyed);
        self.pair.temporary = 0;
        let _ = self.pair.sas.push(fresh);
        Ok(())
    }

    fn rekeyed(
        &mut self,
        at: usize,
        contents: &Contents<'_>,
        (spi_i, nonce_i, secret): ([u8; 8], &[u8; 32], &DhSecret),
    ) -> Option<Sa> {
        if self.pair.sas.is_full() {
            return None;
        }
        let spi_r = check_rekey_answer(contents.sa?).ok()?;
        let ke = contents.ke.filter(|ke| ke.method == KE_CURVE25519)?;
        let nonce_r = contents.nonce?;
        let shared = secret.agree(ke.data).ok()?;
        let old = self.pair.sas.get(at)?;
        let keys = IkeKeys::rekey(&old.sk_d, &shared, nonce_i, nonce_r, &spi_i, &spi_r);
        Some(Sa::new(
            Channel::new(keys, (spi_i, spi_r), true, 0),
            Origin::Rekey,
            old.lineage,
            Standing::Live,
            lower(nonce_i, nonce_r),
            old.way(),
            self.now,
        ))
    }

    /// The answer to a request for a routing SA.
    pub(super) fn key_answered(
        &mut self,
        at: usize,
        contents: &Contents<'_>,
        (session, recv_id): (u8, u16),
        (nonce_i, secret): (&[u8; 32], &DhSecret),
        (replaced, crossed): (Option<u16>, Option<u16>),
    ) -> Result<(), DropReason> {
        if let Some(error) = contents.error {
            if error == NotifyType::CHILD_SA_NOT_FOUND {
                // RFC 7296 section 2.25: it is gone there, so it is gone here, and the next request names none.
                self.remove_keys(|key| key.session == session && Some(key.recv_id) == replaced);
            }
            if crossed.is_none() {
                self.put_off(at, error);
                // RFC 7296 section 2.25: it is asked again later. Unless the peer brings a key, the wish stands.
                self.wish(session, error == NotifyType::TEMPORARY_FAILURE);
            }
            return Ok(());
        }
        let Some((send_id, key, nonce)) = self.key_made(at, contents, (session, recv_id), (nonce_i, secret))
        else {
            self.set_standing(at, Standing::Replaced(Ender::Us));
            return Err(DropReason::Malformed);
        };
        self.pair.temporary = 0;
        let Some(line) = self.pair.sas.get(at).map(|sa| (sa.lineage, sa.spi_i)) else {
            return Err(DropReason::UnknownSpi);
        };
        self.add_key(session, line, (send_id, recv_id), key, true, nonce.clone());
        let rival = self
            .pair
            .keys
            .iter()
            .find(|key| !key.gone && key.session == session && Some(key.recv_id) == crossed);
        // RFC 7296 section 2.8.1: of two made at once the one with the lowest nonce is closed by who asked for it.
        if rival.is_some_and(|rival| nonce < rival.nonce) {
            self.retire_key(session, recv_id);
        } else {
            self.activate_key(session, recv_id);
        }
        Ok(())
    }

    fn key_made(
        &self,
        at: usize,
        contents: &Contents<'_>,
        (session, recv_id): (u8, u16),
        (nonce_i, secret): (&[u8; 32], &DhSecret),
    ) -> Option<(u16, Secret<32>, NonceHead)> {
        let asked = self.settings().sessions.get(usize::from(session))?;
        let offer = RoutingChoice {
            number: 1,
            spi: RoutingSpi {
                protocol: asked.wire_protocol(),
                key_id: recv_id,
            },
            algorithm: asked.wire_algorithm(),
        };
        let spi = check_answer(contents.sa?, &offer).ok()?;
        let ke = contents.ke.filter(|ke| ke.method == KE_CURVE25519)?;
        let nonce_r = contents.nonce?;
        let same = |body: Option<&[u8]>, own: Selector| {
            body.is_some_and(|body| Selector::parse(body) == Ok(Some(own)))
        };
        if !same(contents.ts_i, asked.local) || !same(contents.ts_r, asked.remote) {
            return None;
        }
        let taken = |key: &RoutingSa| !key.gone && key.session == session && key.send_id == spi.key_id;
        if self.pair.keys.iter().any(taken) {
            return None;
        }
        let shared = secret.agree(ke.data).ok()?;
        let sa = self.pair.sas.get(at)?;
        let key = keymat(&sa.sk_d, &shared, nonce_i, nonce_r);
        Some((spi.key_id, key, lower(nonce_i, nonce_r)))
    }

    fn wish(&mut self, session: u8, stands: bool) {
        if let Some(wanted) = self.pair.wanted.get_mut(usize::from(session)) {
            *wanted = stands;
        }
    }

    /// A request was refused: it is not repeated at once.
    fn put_off(&mut self, at: usize, error: NotifyType) {
        let wait = if error == NotifyType::TEMPORARY_FAILURE {
            self.pair.temporary = self.pair.temporary.saturating_add(1);
            TRY_AGAIN.plus(Duration::from_millis(self.random_below(TRY_AGAIN.as_millis())))
        } else {
            TRY_LATER
        };
        self.pair.put_off = self.now.after(wait);
        if self.pair.temporary >= MOST_TEMPORARY {
            self.pair.temporary = 0;
            self.set_standing(at, Standing::Replaced(Ender::Us));
        }
    }

    pub(super) fn set_standing(&mut self, at: usize, standing: Standing) {
        if let Some(sa) = self.pair.sas.get_mut(at) {
            sa.standing = standing;
        }
    }

    fn session_of(
        &self,
        spi: RoutingSpi,
        ours: Option<Selector>,
        theirs: Option<Selector>,
    ) -> Option<(u8, Session)> {
        let (ours, theirs) = ours.zip(theirs)?;
        let mut sessions = self.settings().sessions.iter().enumerate();
        let (at, session) = sessions.find(|(_, session)| {
            session.wire_protocol() == spi.protocol && session.local == ours && session.remote == theirs
        })?;
        Some((u8::try_from(at).ok()?, *session))
    }

    /// The newest key of a session that is not ending: what a rollover replaces.
    pub(super) fn standing_key(&self, session: u8) -> Option<&RoutingSa> {
        let mut keys = self.pair.keys.iter().rev();
        keys.find(|key| {
            !key.gone && key.session == session && key.ending == Ending::No && key.state != RowState::Retiring
        })
    }

    /// A key id that this side does not receive with in any session of the same protocol, drawn at random.
    fn free_key_id(&mut self, session: u8) -> Option<u16> {
        let settings = self.settings();
        let protocol = settings.sessions.get(usize::from(session))?.protocol;
        let (first, last) = (*settings.key_ids.start(), *settings.key_ids.end());
        let count = u64::from(last.saturating_sub(first)).saturating_add(1);
        let start = self.random_below(count);
        let settings = self.settings();
        let taken = |id: u16| {
            let same = |at: u8| {
                settings
                    .sessions
                    .get(usize::from(at))
                    .is_some_and(|other| other.protocol == protocol)
            };
            let asked = self.pair.sas.iter().filter_map(|sa| sa.request.as_ref());
            let mut asked = asked.filter_map(|request| match request.asked {
                Asked::Create { session, recv_id, .. } => Some((session, recv_id)),
                Asked::Probe | Asked::Delete | Asked::Refuse | Asked::Rekey { .. } | Asked::DeleteKey(_) => {
                    None
                }
            });
            self.pair
                .keys
                .iter()
                .any(|key| same(key.session) && key.recv_id == id)
                || asked.any(|(session, recv_id)| same(session) && recv_id == id)
                || self.pair.rested.iter().any(|rested| *rested == id)
        };
        (0..count)
            .filter_map(|n| u16::try_from(start.saturating_add(n).checked_rem(count)?).ok())
            .map(|offset| first.saturating_add(offset))
            .find(|id| !taken(*id))
    }
}

/// KEYMAT of a routing SA.
fn keymat(sk_d: &Secret<32>, shared: &SharedSecret, nonce_i: &[u8], nonce_r: &[u8]) -> Secret<32> {
    child_keymat(sk_d, Some(shared), nonce_i, nonce_r)
}
