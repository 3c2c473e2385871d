//! The responder's side: half-open exchanges, cookies, refusals without state, and who is let in (PROTOCOL.md
//! section 4).

use core::net::SocketAddr;

use super::{
    IkeSa,
    auth::{CertRule, Covered},
    half_open::{ANSWERED_LIFE, AuthAnswer, HalfOpenStage, JudgedAuth},
    sa::wire_fault,
};
use crate::{
    crypto::{IkeKeys, ROW, apart},
    error::DropReason,
    group::{self, StateDraft},
    identity::Identity,
    io::{MessageKind, Role},
    node::Core,
    peer::KnownInstance,
    storage::Handle,
    wire::{
        ElectionState, ExchangeType, Header, MAX_DATAGRAM, NotifyType, PayloadType, Payloads, Writer,
        message::Contents,
        notify::{Instance, KeysInUse},
        payload::write_notify,
        size::IKE_SA_INIT_RESPONSE,
    },
};

/// A GSA_AUTH request that was opened and judged.
struct Request {
    identity: Option<Identity>,
    proved: bool,
    group_matches: bool,
    instance: Option<Instance>,
    state: Option<ElectionState>,
    keys: KeysInUse,
    evicted: group::EvictedList,
}

impl Core<'_> {
    /// A request of GSA_AUTH.
    #[inline(never)]
    pub(crate) fn handle_auth_request(
        &mut self,
        from: SocketAddr,
        octets: &mut [u8],
    ) -> Result<(), DropReason> {
        let header = Header::parse(octets).map_err(wire_fault)?;
        if header.message_id != 1 {
            return Err(DropReason::OutOfWindow);
        }
        let row = self
            .handshakes
            .find(|row| {
                row.half_open().is_some_and(|half_open| {
                    half_open.spi_i == header.spi_i
                        && half_open.spi_r == header.spi_r
                        && half_open.from == from
                })
            })
            .ok_or(DropReason::UnknownSpi)?;
        let len = u32::try_from(octets.len()).unwrap_or(u32::MAX);
        apart::<ROW, _>(|| self.derive_keys(row))?;
        let half_open = self.half_open_mut(row).ok_or(DropReason::UnknownSpi)?;
        match &half_open.stage {
            // A repeat of the request that was answered: the same octets again. Whoever sends it need not be the peer,
            // but gains nothing either.
            HalfOpenStage::Answered => {
                half_open.owed = true;
                return Ok(());
            }
            HalfOpenStage::Keyed { verdict: Some(_), .. } => return Err(DropReason::RepeatedTooSoon),
            HalfOpenStage::Init { .. } | HalfOpenStage::Keyed { verdict: None, .. } => {}
        }
        let request = apart::<ROW, _>(|| self.verify_auth_request(row, octets))?;
        if let Some(half_open) = self.half_open_mut(row) {
            half_open.octets = half_open.octets.saturating_add(len);
        }
        self.judge_request(row, from, request)
    }

    /// The Diffie-Hellman result is computed when it is first needed, and once: a flood of IKE_SA_INIT costs none.
    #[inline(never)]
    fn derive_keys(&mut self, row: Handle) -> Result<(), DropReason> {
        let half_open = self.half_open_mut(row).ok_or(DropReason::UnknownSpi)?;
        let HalfOpenStage::Init { secret } = &half_open.stage else {
            return Ok(());
        };
        let (_, payloads) = Payloads::of_message(&half_open.message).map_err(wire_fault)?;
        let contents = Contents::collect(payloads).map_err(wire_fault)?;
        let (ke, nonce_i) = contents.ke.zip(contents.nonce).ok_or(DropReason::Malformed)?;
        let shared = secret.agree(ke.data).map_err(|_| DropReason::BadKeyMaterial)?;
        let (spi_i, spi_r) = (half_open.spi_i, half_open.spi_r);
        let mut keys = None;
        apart::<ROW, _>(|| {
            keys = Some(IkeKeys::derive(
                &shared,
                nonce_i,
                &half_open.nonce,
                &spi_i,
                &spi_r,
            ));
        });
        let keys = keys.ok_or(DropReason::Malformed)?;
        apart::<ROW, _>(|| {
            half_open.stage = HalfOpenStage::Keyed {
                sa: IkeSa::new(&keys, spi_i, spi_r, false, 0),
                sk_pi: keys.sk_pi.duplicate(),
                sk_pr: keys.sk_pr.duplicate(),
                verdict: None,
            };
        });
        Ok(())
    }

    #[inline(never)]
    fn verify_auth_request(&self, row: Handle, octets: &mut [u8]) -> Result<Request, DropReason> {
        let half_open = self.half_open(row).ok_or(DropReason::UnknownSpi)?;
        let HalfOpenStage::Keyed { sa, sk_pi, .. } = &half_open.stage else {
            return Err(DropReason::UnknownSpi);
        };
        let opened = sa.open(octets)?;
        let contents = Contents::collect(opened.payloads()?).map_err(wire_fault)?;
        let identity = contents
            .id_i
            .as_ref()
            .and_then(|id| Identity::new(id.id.ty.0, id.id.data));
        let covered = Covered {
            message: &half_open.message,
            nonce: &half_open.nonce,
            sk_p: sk_pi,
        };
        let proved = identity
            .as_ref()
            .is_some_and(|identity| covered.verify(&contents, identity, self.creds, CertRule::Required));
        let group = self.node.config.settings().group.as_bytes();
        Ok(Request {
            identity,
            proved,
            group_matches: contents.group == Some(group),
            instance: contents.instance,
            state: contents.election_state,
            keys: contents.keys_in_use.unwrap_or_default(),
            evicted: contents.evicted.map(|evicted| evicted.0).unwrap_or_default(),
        })
    }

    /// Mutual authorisation, and what follows for the registrant.
    #[inline(never)]
    fn judge_request(&mut self, row: Handle, from: SocketAddr, request: Request) -> Result<(), DropReason> {
        let Some(identity) = request.identity else {
            return self.settle_request(row, None, None, AuthAnswer::NotProved, DropReason::BadProof);
        };
        if !request.proved {
            return self.settle_request(
                row,
                None,
                Some(identity),
                AuthAnswer::NotProved,
                DropReason::BadProof,
            );
        }
        let refuse = |error| AuthAnswer::Refused(error);
        let grant = self.creds.grant(&identity);
        let (Some(instance), Some(state)) = (request.instance, request.state) else {
            let answer = refuse(NotifyType::INVALID_SYNTAX);
            return self.settle_request(row, None, Some(identity), answer, DropReason::Malformed);
        };
        let refusal = if !request.group_matches {
            Some((NotifyType::INVALID_GROUP_ID, DropReason::OtherGroup))
        } else if identity == *self.own_identity() {
            Some((NotifyType::AUTHORIZATION_FAILED, DropReason::OwnIdentity))
        } else if self.is_evicted(&identity) {
            Some((NotifyType::AUTHORIZATION_FAILED, DropReason::Evicted))
        } else if !grant.may_join {
            Some((NotifyType::AUTHORIZATION_FAILED, DropReason::NotAuthorised))
        } else if self.node.election.role() != Role::Gcks
            || self.declines_office(&identity, state)
            || self.declines_other_half(&request.keys)
        {
            Some((NotifyType::TEMPORARY_FAILURE, DropReason::Unexpected))
        } else {
            None
        };
        if let Some((error, reason)) = refusal {
            if error == NotifyType::TEMPORARY_FAILURE {
                self.lesser_office_asked(from, &identity, state);
            }
            return self.settle_request(row, None, Some(identity), refuse(error), reason);
        }
        let known = self.peers.find_identity(&identity);
        let Some(peer) = known.or_else(|| self.make_room_for_peer(&identity, from)) else {
            self.node.alarms.set(crate::io::Alarm::GroupFull, true);
            let answer = refuse(NotifyType::REGISTRATION_FAILED);
            return self.settle_request(row, None, Some(identity), answer, DropReason::TableFull);
        };
        // The office that this one merges into comes as a registrant: it has lost its office.
        if self
            .node
            .membership
            .as_ref()
            .is_some_and(|membership| membership.gcks == peer)
        {
            self.merge_lost();
        }
        let now = self.now;
        self.sealed.retain(|sealed| sealed.peer != peer);
        if let Some(peer) = self.peers.get_mut(peer) {
            peer.address = from;
            peer.claim = Some(state);
            peer.heard = Some(now);
            peer.reply = None;
            peer.push = false;
            peer.sa = None;
            peer.instance = Some(KnownInstance::proved(peer.instance, &instance));
        }
        self.strangers.retain(|stranger| stranger.address != from);
        crate::counters::bump(&mut self.node.counters.handshakes_answered);
        self.registration(peer, instance.instance, state, &request.keys);
        self.lesser_told_evictions(peer, &request.evicted);
        self.settle_request(
            row,
            Some(peer),
            Some(identity),
            AuthAnswer::Registered,
            DropReason::Unexpected,
        )
    }

    /// Notes the answer that poll is to seal. `reason` is what is counted when it is a refusal.
    fn settle_request(
        &mut self,
        row: Handle,
        peer: Option<Handle>,
        identity: Option<Identity>,
        answer: AuthAnswer,
        reason: DropReason,
    ) -> Result<(), DropReason> {
        let now = self.now;
        let own = self.own_identity().clone();
        let half_open = self.half_open_mut(row).ok_or(DropReason::UnknownSpi)?;
        let HalfOpenStage::Keyed { verdict, .. } = &mut half_open.stage else {
            return Err(DropReason::UnknownSpi);
        };
        *verdict = Some(JudgedAuth {
            peer,
            identity: identity.unwrap_or(own),
            answer,
        });
        half_open.owed = true;
        half_open.deadline = now.after(ANSWERED_LIFE);
        if answer == AuthAnswer::Registered {
            Ok(())
        } else {
            Err(reason)
        }
    }

    /// Writes the next response that a half-open exchange owes.
    pub(crate) fn poll_half_open(&mut self, buffer: &mut [u8]) -> Option<(usize, SocketAddr, MessageKind)> {
        let row = self
            .handshakes
            .find(|row| row.half_open().is_some_and(|half_open| half_open.owed))?;
        let half_open = self.half_open_mut(row)?;
        half_open.owed = false;
        let to = half_open.from;
        let (written, kind) = match &half_open.stage {
            HalfOpenStage::Init { .. } | HalfOpenStage::Keyed { verdict: None, .. } => {
                let asks = self.creds.public_key().is_some();
                let half_open = self.half_open(row)?;
                (
                    half_open.write_init_response(asks, buffer),
                    MessageKind::InitResponse,
                )
            }
            HalfOpenStage::Keyed { verdict: Some(_), .. } => {
                let written = apart::<ROW, _>(|| self.write_auth_response(row, buffer));
                if let (Some(half_open), Some(len)) = (self.half_open_mut(row), written) {
                    // What is left of the keys goes here.
                    half_open.stage = HalfOpenStage::Answered;
                    half_open.message.clear();
                    // No longer than a datagram, and so than the room.
                    let _ = half_open.message.extend_from_slice(buffer.get(..len)?);
                }
                (written, MessageKind::AuthResponse)
            }
            HalfOpenStage::Answered => {
                let len = half_open.message.len();
                buffer.get_mut(..len)?.copy_from_slice(&half_open.message);
                (Some(len), MessageKind::AuthResponse)
            }
        };
        let Some(len) = written else {
            self.handshakes.remove(row);
            return self.poll_half_open(buffer);
        };
        let half_open = self.half_open_mut(row)?;
        half_open.octets = half_open
            .octets
            .saturating_add(u32::try_from(len).unwrap_or(u32::MAX));
        let (octets, started, answered) = (half_open.octets, half_open.started, half_open.is_answered());
        let (spi_i, spi_r) = (half_open.spi_i, half_open.spi_r);
        if answered {
            let elapsed = u32::try_from(self.now.since(started).as_millis()).unwrap_or(u32::MAX);
            let same = |sa: &IkeSa| sa.spi_i == spi_i && sa.spi_r == spi_r;
            if let Some(peer) = self
                .peers
                .rows_mut()
                .find(|peer| peer.sa.as_ref().is_some_and(same))
            {
                peer.exchange = (octets, elapsed);
            }
        }
        Some((len, to, kind))
    }

    /// The answer to GSA_AUTH: sealed once, kept in the slot. The IKE SA moves to the peer's row.
    fn write_auth_response(&mut self, row: Handle, buffer: &mut [u8]) -> Option<usize> {
        let now = self.now;
        let HalfOpenStage::Keyed { verdict, .. } = &self.half_open(row)?.stage else {
            return None;
        };
        let JudgedAuth {
            peer,
            identity,
            answer,
        } = verdict.clone()?;
        let draft = match (peer, answer) {
            (Some(peer), AuthAnswer::Registered) => self.state_for(peer),
            _ => None,
        };
        let evicted = self.evicted_list();
        let state = self.state_shown_to(Some(&identity));
        let Core {
            node,
            handshakes,
            keys,
            creds,
            peers,
            ..
        } = self;
        let half_open = handshakes.get_mut(row)?.half_open_mut()?;
        let mut first = [0; IKE_SA_INIT_RESPONSE];
        let first_len = half_open.write_init_response(creds.public_key().is_some(), &mut first)?;
        let (_, payloads) = Payloads::of_message(&half_open.message).ok()?;
        let nonce_i = Contents::collect(payloads).ok()?.nonce?;
        let HalfOpenStage::Keyed { sa, sk_pr, .. } = &mut half_open.stage else {
            return None;
        };
        let covered = Covered {
            message: first.get(..first_len)?,
            nonce: nonce_i,
            sk_p: sk_pr,
        };
        let own = &node.config.settings().identity;
        let instance = Instance {
            instance: node.instance,
            next_sequence: node.sequence,
        };
        let header = sa.header(ExchangeType(ExchangeType::GSA_AUTH.0), true, 1);
        let fill = |writer: &mut Writer<'_>, draft: Option<&StateDraft>| {
            if answer == AuthAnswer::NotProved {
                write_notify(writer, NotifyType::AUTHENTICATION_FAILED, &[]);
                return None;
            }
            let proved = covered.write(
                writer,
                own,
                PayloadType::ID_R,
                |_: &mut Writer<'_>| {},
                &identity,
                *creds,
            );
            if !proved {
                return None;
            }
            match answer {
                AuthAnswer::Registered => {
                    instance.write(writer);
                    state.write(writer);
                    if !evicted.0.is_empty() {
                        evicted.write(writer);
                    }
                }
                AuthAnswer::Refused(error) => {
                    write_notify(writer, error, &[]);
                    state.write(writer);
                }
                AuthAnswer::NotProved => {}
            }
            draft.map(|draft| draft.write(writer))
        };
        let buffer = buffer.get_mut(..MAX_DATAGRAM)?;
        let mut given = draft.is_some();
        let mut len = draft.as_ref().and_then(|draft| {
            sa.seal(
                &header,
                buffer,
                |writer| fill(writer, Some(draft)),
                |wrap, message, slots| draft.wrap(slots?, wrap, keys, &node.sas, message),
            )
        });
        if len.is_none() {
            // Section 2: a response that would exceed the limit leaves GSA and KD out, and a push follows at once.
            given = false;
            len = sa.seal_plain(&header, buffer, |writer| {
                let _ = fill(writer, None);
            });
        }
        let len = len?;
        half_open.deadline = now.after(ANSWERED_LIFE);
        if let Some(handle) = peer {
            if let Some(peer) = peers.get_mut(handle) {
                apart::<ROW, _>(|| peer.sa = Some(sa.take_out()));
            }
            self.state_sent(handle, draft.is_some());
            if draft.is_some()
                && !given
                && let Some(peer) = self.peers.get_mut(handle)
            {
                peer.push = true;
                self.node.pushes_owed = true;
            }
        }
        Some(len)
    }
}
