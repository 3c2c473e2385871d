//! A datagram's way in.

use crate::{
    crypto::{DEEP, apart},
    error::DropReason,
    exchange::wire_fault,
    io::{Handled, MessageKind, Recv},
    node::Core,
    time::Instant,
    wire::{ExchangeType, Header},
};

impl Core<'_> {
    pub(crate) fn handle_datagram(&mut self, now: Instant, recv: Recv, datagram: &mut [u8]) -> Handled {
        // A woken node checks its deadlines before it reads what queued up (section 5.3).
        self.advance(now);
        let len = datagram.len();
        match self.dispatch(recv, datagram) {
            Ok(kind) => {
                // An announcement says itself whose deadline it changed. What was dropped changed nothing.
                if !matches!(kind, MessageKind::Announcement | MessageKind::KeyUpdate) {
                    self.registrants_changed();
                }
                self.node.counters.count_received(kind, len);
                Handled::Accepted
            }
            Err(reason) => {
                self.node.counters.count_drop(reason);
                #[cfg(feature = "defmt")]
                defmt::debug!("dropped: {}", reason);
                Handled::Dropped(reason)
            }
        }
    }

    fn dispatch(&mut self, recv: Recv, datagram: &mut [u8]) -> Result<MessageKind, DropReason> {
        let settings = self.node.config.settings();
        // Section 2: dropped before it is parsed.
        if settings.gtsm && recv.hop_limit != Some(255) {
            return Err(DropReason::HopLimit);
        }
        if self.node.election == crate::election::Election::Left {
            return Err(DropReason::NotJoined);
        }
        let header = Header::parse(datagram).map_err(wire_fault)?;
        let multicast = recv.to.ip().is_multicast();
        let for_group = matches!(
            header.exchange,
            ExchangeType::GCKS_ELECTION | ExchangeType::GSA_REKEY
        );
        if for_group != multicast {
            return Err(DropReason::WrongDestination);
        }
        let response = header.flags.is_response();
        // What derives, unwraps or takes over keys runs apart: its stack is wiped.
        match header.exchange {
            ExchangeType::GCKS_ELECTION => {
                let heard = self.verify_announcement(recv.from, datagram)?;
                self.commit_announcement(recv.from, heard)?;
                Ok(MessageKind::Announcement)
            }
            ExchangeType::GSA_REKEY => {
                apart::<DEEP, _>(|| self.handle_update(datagram))?;
                Ok(MessageKind::KeyUpdate)
            }
            ExchangeType::IKE_SA_INIT if response => {
                apart::<DEEP, _>(|| self.handle_init_response(recv.from, datagram))?;
                Ok(MessageKind::InitResponse)
            }
            ExchangeType::IKE_SA_INIT => {
                self.handle_init_request(recv.from, datagram)?;
                Ok(MessageKind::InitRequest)
            }
            ExchangeType::GSA_AUTH if response => {
                apart::<DEEP, _>(|| self.handle_auth_response(recv.from, datagram))?;
                Ok(MessageKind::AuthResponse)
            }
            ExchangeType::GSA_AUTH => {
                apart::<DEEP, _>(|| self.handle_auth_request(recv.from, datagram))?;
                Ok(MessageKind::AuthRequest)
            }
            ExchangeType::GSA_REGISTRATION | ExchangeType::GSA_INBAND_REKEY | ExchangeType::INFORMATIONAL => {
                apart::<DEEP, _>(|| self.handle_sealed(recv.from, datagram))?;
                Ok(match header.exchange {
                    _ if response => MessageKind::Response,
                    ExchangeType::GSA_REGISTRATION => MessageKind::Registration,
                    ExchangeType::GSA_INBAND_REKEY => MessageKind::InbandRekey,
                    _ => MessageKind::Informational,
                })
            }
            _ => Err(DropReason::UnknownExchange),
        }
    }
}
