//! Requests over an IKE SA and their answers, one at a time for each peer (PROTOCOL.md section 4).

use core::net::SocketAddr;

use super::state::Purpose;
use crate::{
    error::DropReason,
    exchange::wire_fault,
    io::{MessageKind, Role},
    node::Core,
    peer::ReplyKind,
    sealed::{Request, Sealed},
    storage::Handle,
    time::{Duration, Instant},
    wire::{
        ExchangeType, MAX_DATAGRAM, Payloads, Writer,
        message::Contents,
        notify::RekeyRequest,
        numbers::{RekeyReason, RoutingProtocol},
        payload::{write_delete_ike, write_group},
    },
};

/// A probe of a silent GCKS is repeated at this pace (section 5.3).
const PROBE_PACE: Duration = Duration::from_millis(250);

impl Core<'_> {
    fn is_outstanding(&self, peer: Handle) -> bool {
        self.sealed.rows().any(|sealed| sealed.peer == peer)
    }

    /// The next request that can go out: its peer has no other outstanding.
    fn next_request(&self) -> Option<(Handle, Request)> {
        if self.sealed.is_full() {
            return None;
        }
        let ready = |row: Handle| {
            !self.is_outstanding(row) && self.peers.get(row).is_some_and(|peer| peer.sa.is_some())
        };
        // Only under an IKE SA that this node made to register.
        let own = |row: Handle| {
            self.peers
                .get(row)
                .and_then(|peer| peer.sa.as_ref())
                .is_some_and(|sa| sa.initiator)
        };
        if let Some((row, request)) = self.owed_to_gcks().filter(|(row, _)| ready(*row) && own(*row)) {
            return Some((row, request));
        }
        if !self.node.pushes_owed {
            debug_assert!(
                !self.peers.rows().any(|peer| peer.push),
                "who is to be pushed the state is noted"
            );
            return None;
        }
        let push = self.peers.iter().find(|(row, peer)| peer.push && ready(*row));
        push.map(|(row, _)| (row, Request::Push))
    }

    /// Writes the next request that is owed; it is kept as octets until it is answered.
    #[inline(never)]
    pub(crate) fn poll_requests(&mut self, buffer: &mut [u8]) -> Option<(usize, SocketAddr, MessageKind)> {
        loop {
            let Some((row, request)) = self.next_request() else {
                self.node.pushes_owed = self.node.pushes_owed && self.peers.rows().any(|peer| peer.push);
                return None;
            };
            let len = match request {
                Request::Push => self.write_push(row, buffer),
                Request::Pull => self.write_pull(row, buffer),
                Request::Rekey => self.write_rekey_request(row, buffer),
                Request::Probe => {
                    self.write_plain(row, buffer, ExchangeType::INFORMATIONAL, |_: &mut Writer<'_>| {})
                }
            };
            match request {
                Request::Push => {
                    if let Some(peer) = self.peers.get_mut(row) {
                        peer.push = false;
                    }
                }
                Request::Pull => {
                    if let Some(membership) = self.node.membership.as_mut() {
                        membership.pull = false;
                    }
                }
                Request::Rekey | Request::Probe => {}
            }
            let Some(len) = len else {
                if matches!(request, Request::Rekey | Request::Probe) {
                    return None;
                }
                continue;
            };
            let wait = match request {
                Request::Probe => PROBE_PACE,
                Request::Push | Request::Pull | Request::Rekey => self.node.config.settings().retransmit,
            };
            let peer = self.peers.get_mut(row)?;
            let to = peer.address;
            let sa = peer.sa.as_mut()?;
            let message_id = sa.next_request;
            sa.next_request = sa.next_request.saturating_add(1);
            let octets = heapless::Vec::from_slice(buffer.get(..len)?).ok()?;
            self.sealed.insert(Sealed {
                peer: row,
                request,
                message_id,
                octets,
                sent: 1,
                next: self.now.after(wait),
                wait: if request == Request::Probe {
                    wait
                } else {
                    wait.times(2)
                },
            });
            return Some((len, to, request.kind()));
        }
    }

    fn write_plain(
        &mut self,
        row: Handle,
        buffer: &mut [u8],
        exchange: ExchangeType,
        fill: impl FnOnce(&mut Writer<'_>),
    ) -> Option<usize> {
        let sa = self.peers.get_mut(row)?.sa.as_mut()?;
        let header = sa.header(exchange, false, sa.next_request);
        sa.seal_plain(&header, buffer.get_mut(..MAX_DATAGRAM)?, fill)
    }

    /// GSA_REGISTRATION: SK{IDg, [KEYS_IN_USE], [EVICTED]}.
    fn write_pull(&mut self, row: Handle, buffer: &mut [u8]) -> Option<usize> {
        let keys = self.keys_in_use();
        let evicted = self.evicted_to_tell();
        let group = self.node.config.settings().group.clone();
        self.write_plain(row, buffer, ExchangeType::GSA_REGISTRATION, |writer| {
            write_group(writer, group.as_bytes());
            if !keys.0.is_empty() {
                keys.write(writer);
            }
            if !evicted.0.is_empty() {
                evicted.write(writer);
            }
        })
    }

    fn write_rekey_request(&mut self, row: Handle, buffer: &mut [u8]) -> Option<usize> {
        let (protocol, reason) = self.node.wanted.front().copied()?;
        self.write_plain(row, buffer, ExchangeType::INFORMATIONAL, |writer| {
            RekeyRequest {
                protocol: RoutingProtocol(protocol),
                reason: RekeyReason(reason),
            }
            .write(writer);
        })
    }

    /// GSA_INBAND_REKEY: SK{[EVICTED], GSA, KD}, if the member may be given the state.
    fn write_push(&mut self, row: Handle, buffer: &mut [u8]) -> Option<usize> {
        let registrant = self.peers.get(row)?.registrant?;
        let purpose = if registrant.given {
            Purpose::Whole
        } else {
            self.gift(row)?
        };
        let next = self.peers.get(row)?.sa.as_ref()?.next_request;
        let len = self.write_state_message(
            row,
            buffer,
            ExchangeType::GSA_INBAND_REKEY,
            false,
            next,
            Some(purpose),
        )?;
        self.state_sent(row, true);
        Some(len)
    }

    /// A message with EVICTED and the state, or without state.
    fn write_state_message(
        &mut self,
        row: Handle,
        buffer: &mut [u8],
        exchange: ExchangeType,
        response: bool,
        message_id: u32,
        purpose: Option<Purpose>,
    ) -> Option<usize> {
        let evicted = self.evicted_list();
        let draft =
            purpose.and_then(|purpose| self.fitted(purpose, |shape, state| shape.unicast_state(Some(state))));
        let Core {
            node, peers, keys, ..
        } = self;
        let sa = peers.get_mut(row)?.sa.as_mut()?;
        let header = sa.header(exchange, response, message_id);
        let fill = |writer: &mut Writer<'_>| {
            if !evicted.0.is_empty() {
                evicted.write(writer);
            }
            draft.as_ref().map(|draft| draft.write(writer))
        };
        sa.seal(
            &header,
            buffer.get_mut(..MAX_DATAGRAM)?,
            fill,
            |wrap, message, slots| match (&draft, slots) {
                (Some(draft), Some(slots)) => draft.wrap(slots, wrap, keys, &node.sas, message),
                _ => Some(()),
            },
        )
    }

    /// Sends again what was not answered, or gives it up.
    #[inline(never)]
    pub(crate) fn poll_retransmits(&mut self, buffer: &mut [u8]) -> Option<(usize, SocketAddr, MessageKind)> {
        loop {
            let now = self.now;
            let tries = self.node.config.settings().tries;
            let due = self.sealed.find(|sealed| sealed.next <= now)?;
            let sealed = self.sealed.get_mut(due)?;
            if sealed.sent >= tries {
                let (peer, request) = (sealed.peer, sealed.request);
                self.sealed.remove(due);
                self.request_failed(peer, request);
                continue;
            }
            sealed.sent = sealed.sent.saturating_add(1);
            sealed.next = now.after(sealed.wait);
            if sealed.request != Request::Probe {
                sealed.wait = sealed.wait.times(2);
            }
            let len = sealed.octets.len();
            buffer.get_mut(..len)?.copy_from_slice(&sealed.octets);
            let (peer, kind) = (sealed.peer, sealed.request.kind());
            crate::counters::bump(&mut self.node.counters.retransmissions);
            if let Some(peer) = self.peers.get(peer) {
                return Some((len, peer.address, kind));
            }
            self.sealed.remove(due);
        }
    }

    fn request_failed(&mut self, peer: Handle, request: Request) {
        match request {
            Request::Push => self.push_failed(peer),
            Request::Probe => {}
            Request::Pull | Request::Rekey => self.renew_registration(),
        }
    }

    /// The answer to a request of ours.
    #[inline(never)]
    pub(crate) fn handle_response(
        &mut self,
        row: Handle,
        message_id: u32,
        payloads: Payloads<'_>,
    ) -> Result<(), DropReason> {
        let sealed = self
            .sealed
            .find(|sealed| sealed.peer == row && sealed.message_id == message_id)
            .ok_or(DropReason::OutOfWindow)?;
        let request = self
            .sealed
            .get(sealed)
            .map(|sealed| sealed.request)
            .ok_or(DropReason::OutOfWindow)?;
        let contents = Contents::collect(payloads).map_err(wire_fault)?;
        let state = match (request, contents.gsa, contents.kd) {
            (Request::Pull, Some(gsa), Some(kd)) => {
                let sa = self
                    .peers
                    .get(row)
                    .and_then(|peer| peer.sa.as_ref())
                    .ok_or(DropReason::UnknownSpi)?;
                Some(self.check_unicast_state(gsa, kd, sa))
            }
            _ => None,
        };
        self.sealed.remove(sealed);
        let now = self.now;
        if let Some(membership) = self
            .node
            .membership
            .as_mut()
            .filter(|membership| membership.gcks == row)
        {
            membership.heard = now;
            membership.answered = now;
        }
        match request {
            Request::Pull => {
                let state = state.transpose()?;
                let evicted = contents.evicted.map(|evicted| evicted.0).unwrap_or_default();
                self.take_state(row, &evicted, state.as_ref());
            }
            Request::Push => {
                if let Some(registrant) = self.peers.get_mut(row).and_then(|peer| peer.registrant.as_mut()) {
                    // It lives, though its announcements are not heard: it is asked again after another hold.
                    registrant.silent = false;
                    registrant.heard = now;
                }
                self.registrants_changed();
                self.node.stirred = true;
            }
            Request::Rekey => {
                let _ = self.node.wanted.pop_front();
            }
            Request::Probe => {
                if self.node.election.role() == Role::Member {
                    self.step(crate::election::Input::Heard);
                }
            }
        }
        Ok(())
    }

    /// Writes the next answer that is owed, from the present state and under a fresh IV.
    #[inline(never)]
    pub(crate) fn poll_replies(&mut self, buffer: &mut [u8]) -> Option<(usize, SocketAddr, MessageKind)> {
        if !self.node.replies_owed {
            debug_assert!(
                !self.peers.rows().any(|peer| peer.reply.is_some()),
                "who owes an answer says so"
            );
            return None;
        }
        loop {
            let now = self.now;
            let mut later = false;
            let due = |peer: &crate::peer::Peer| {
                later |= peer.reply.is_some();
                peer.reply.is_some_and(|reply| reply.at <= now)
            };
            let Some(row) = self.peers.find(due) else {
                self.node.replies_owed = later;
                return None;
            };
            let peer = self.peers.get_mut(row)?;
            let Some(reply) = peer.reply.take() else { continue };
            let to = peer.address;
            let len = match reply.kind {
                ReplyKind::Registration => {
                    let purpose = self.gift(row);
                    let len = self.write_state_message(
                        row,
                        buffer,
                        ExchangeType::GSA_REGISTRATION,
                        true,
                        reply.message_id,
                        purpose,
                    );
                    self.state_sent(row, purpose.is_some() && len.is_some());
                    len
                }
                ReplyKind::InbandRekey => {
                    self.write_reply(row, buffer, ExchangeType::GSA_INBAND_REKEY, reply.message_id)
                }
                ReplyKind::Informational => {
                    self.write_reply(row, buffer, ExchangeType::INFORMATIONAL, reply.message_id)
                }
            };
            if let Some(sa) = self.peers.get_mut(row).and_then(|peer| peer.sa.as_mut()) {
                sa.answered = Some(now);
            }
            if let Some(len) = len {
                return Some((len, to, MessageKind::Response));
            }
        }
    }

    /// SK{}.
    fn write_reply(
        &mut self,
        row: Handle,
        buffer: &mut [u8],
        exchange: ExchangeType,
        message_id: u32,
    ) -> Option<usize> {
        let sa = self.peers.get_mut(row)?.sa.as_mut()?;
        let header = sa.header(exchange, true, message_id);
        sa.seal_plain(&header, buffer.get_mut(..MAX_DATAGRAM)?, |_: &mut Writer<'_>| {})
    }

    /// D for the IKE SA with the GCKS: this node leaves. Sent once; the announcement says the same.
    pub(crate) fn write_goodbye(&mut self, buffer: &mut [u8]) -> Option<(usize, SocketAddr, MessageKind)> {
        let gcks = self.node.membership.as_ref().map(|membership| membership.gcks)?;
        let to = self.peers.get(gcks)?.address;
        let len = self.write_plain(gcks, buffer, ExchangeType::INFORMATIONAL, write_delete_ike)?;
        Some((len, to, MessageKind::Informational))
    }

    /// When the next request is sent again.
    pub(crate) fn next_retransmit(&self) -> Option<Instant> {
        self.sealed.rows().map(|sealed| sealed.next).min()
    }
}
