//! Half-open exchanges at the responder: the first request, cookies, refusals without state (PROTOCOL.md section 4).

use core::net::SocketAddr;

use super::{
    Handshake, IkeSa,
    attempt::MAX_FIRST,
    messages::{InitFault, InitRequest, write_init_response},
    sa::wire_fault,
};
use crate::{
    crypto::{DhSecret, ROW, Secret, apart},
    error::DropReason,
    identity::Identity,
    io::{MessageKind, Role},
    node::{Core, Refusal, RefusalKind},
    storage::Handle,
    time::{Duration, Instant},
    wire::{
        ExchangeType, Flags, Header, NotifyType, Payloads, Writer,
        message::Contents,
        numbers::KE_CURVE25519,
        sa::{Choice, Purpose as Suite, choose},
    },
};

/// A half-open exchange lives this long (section 4).
pub(super) const HALF_OPEN_LIFE: Duration = Duration::from_secs(3);
/// An answered one keeps its response this long for repeats, unless its place is needed.
pub(super) const ANSWERED_LIFE: Duration = Duration::from_secs(20);

/// How far a half-open exchange has come.
#[allow(clippy::large_enum_variant, reason = "there is no allocator to box with")]
pub(crate) enum HalfOpenStage {
    /// IKE_SA_INIT was answered, or is to be.
    Init { secret: DhSecret },
    /// GSA_AUTH came under these keys: they are derived once, not for every forged copy.
    Keyed {
        sa: IkeSa,
        sk_pi: Secret<32>,
        sk_pr: Secret<32>,
        /// What the answer is, once GSA_AUTH was verified: it is owed.
        verdict: Option<JudgedAuth>,
    },
    /// The answer was sent; it is kept for repeats.
    Answered,
}

/// The answer that is owed to a GSA_AUTH that was verified.
#[derive(Clone)]
pub(crate) struct JudgedAuth {
    pub(super) peer: Option<Handle>,
    pub(super) identity: Identity,
    pub(super) answer: AuthAnswer,
}

/// What the answer to GSA_AUTH says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AuthAnswer {
    /// Registered; with the state, if it may be given.
    Registered,
    /// AUTH was good, and this is why there is nothing more.
    Refused(NotifyType),
    /// AUTH was wrong.
    NotProved,
}

/// Somebody else's exchange with this node.
pub struct HalfOpen {
    pub(crate) from: SocketAddr,
    pub(super) spi_i: [u8; 8],
    pub(super) spi_r: [u8; 8],
    pub(super) nonce: [u8; 32],
    pub(super) choice: Choice,
    pub(super) stage: HalfOpenStage,
    /// The public half of this node's secret: its first message is made anew from that whenever it is wanted.
    pub(super) public: [u8; 32],
    /// The initiator's first message, which AUTH covers; and once that was answered, the answer, which goes out again as
    /// it is.
    pub(super) message: heapless::Vec<u8, MAX_FIRST, u16>,
    /// The response is to be sent.
    pub(super) owed: bool,
    pub(crate) deadline: Instant,
    pub(super) started: Instant,
    pub(super) octets: u32,
}

impl HalfOpen {
    pub(crate) const fn is_answered(&self) -> bool {
        matches!(self.stage, HalfOpenStage::Answered) && !self.owed
    }
}

impl Core<'_> {
    pub(super) fn half_open(&self, row: Handle) -> Option<&HalfOpen> {
        self.handshakes.get(row).and_then(Handshake::half_open)
    }

    pub(super) fn half_open_mut(&mut self, row: Handle) -> Option<&mut HalfOpen> {
        self.handshakes.get_mut(row).and_then(Handshake::half_open_mut)
    }

    /// Room for one more row: an answered exchange goes first, then a random half-open one (section 4).
    pub(crate) fn make_room_for_handshake(&mut self) -> bool {
        if !self.handshakes.is_full() {
            return true;
        }
        let answered = self
            .handshakes
            .find(|row| row.half_open().is_some_and(HalfOpen::is_answered));
        let half_open = self
            .handshakes
            .rows()
            .filter(|row| row.half_open().is_some())
            .count();
        let nth = self.random_below(half_open);
        let random = || {
            let mut rows = self
                .handshakes
                .iter()
                .filter(|(_, row)| row.half_open().is_some());
            rows.nth(nth).map(|(row, _)| row)
        };
        match answered.or_else(random) {
            Some(victim) => self.handshakes.remove(victim),
            None => false,
        }
    }

    /// Keeps what little a refusal without state needs; when too many are owed the newest is dropped.
    fn refuse_statelessly(
        &mut self,
        to: SocketAddr,
        spi_i: [u8; 8],
        answer: RefusalKind,
        reason: DropReason,
    ) -> Result<(), DropReason> {
        let refusal = Refusal { to, spi_i, answer };
        if self
            .node
            .refusals
            .iter()
            .any(|owed| owed.spi_i == spi_i && owed.to == to)
        {
            return Err(DropReason::RateLimited);
        }
        self.node
            .refusals
            .push(refusal)
            .map_err(|_| DropReason::RateLimited)?;
        Err(reason)
    }

    /// A request of IKE_SA_INIT. Cookies are checked before anything costly.
    #[inline(never)]
    pub(crate) fn handle_init_request(&mut self, from: SocketAddr, octets: &[u8]) -> Result<(), DropReason> {
        let request = match InitRequest::read(octets) {
            Ok(request) => request,
            Err(InitFault::UnknownCritical(spi_i, ty)) => {
                let answer = RefusalKind::UnsupportedCritical(ty);
                return self.refuse_statelessly(from, spi_i, answer, DropReason::UnknownCritical);
            }
            Err(InitFault::Drop(reason)) => return Err(reason),
        };
        let InitRequest {
            spi_i,
            nonce: nonce_i,
            ..
        } = request;
        let Some(choice) = choose(request.sa, Some(Suite::Group)).map_err(wire_fault)? else {
            return self.refuse_statelessly(from, spi_i, RefusalKind::NoProposal, DropReason::NoProposal);
        };
        if self.node.election.role() != Role::Gcks {
            let answer = self.where_to(from, request.redirect_supported, nonce_i);
            return self.refuse_statelessly(from, spi_i, answer, DropReason::Unexpected);
        }
        // A repeat is recognised by its Ni or its whole octets, not by its SPI (RFC 7296 section 2.1).
        let repeated = self.handshakes.find(|row| {
            row.half_open()
                .is_some_and(|half_open| half_open.from == from && half_open.nonce_i() == Some(nonce_i))
        });
        if let Some(row) = repeated {
            return self.repeat_response(row, octets);
        }
        if self.cookies_wanted() {
            match request.cookie {
                Some(cookie) if self.node.cookies.check(cookie, nonce_i, &spi_i, from) => {}
                given => {
                    let cookie = self.node.cookies.make(nonce_i, &spi_i, from);
                    let reason = if given.is_some() {
                        DropReason::BadCookie
                    } else {
                        DropReason::RateLimited
                    };
                    return self.refuse_statelessly(from, spi_i, RefusalKind::Cookie(cookie), reason);
                }
            }
        }
        if request.ke.method != KE_CURVE25519 {
            let answer = RefusalKind::InvalidKe(KE_CURVE25519);
            return self.refuse_statelessly(from, spi_i, answer, DropReason::BadKeyMaterial);
        }
        let message = heapless::Vec::from_slice(octets).map_err(|_| DropReason::NoRoom)?;
        // One half-open exchange per source address (section 4).
        self.handshakes.retain(|row| {
            row.half_open()
                .is_none_or(|half_open| half_open.from != from || half_open.is_answered())
        });
        if !self.make_room_for_handshake() {
            return Err(DropReason::TableFull);
        }
        let (mut spi_r, mut nonce) = ([0; 8], [0; 32]);
        self.rng.fill_bytes(&mut spi_r);
        self.rng.fill_bytes(&mut nonce);
        let now = self.now;
        let (handshakes, rng) = (&mut self.handshakes, &mut *self.rng);
        apart::<ROW, _>(|| {
            let secret = DhSecret::generate(rng);
            handshakes.insert(Handshake::HalfOpen(HalfOpen {
                from,
                spi_i,
                spi_r,
                nonce,
                choice,
                public: secret.public(),
                stage: HalfOpenStage::Init { secret },
                message,
                owed: true,
                deadline: now.after(HALF_OPEN_LIFE),
                started: now,
                octets: u32::try_from(octets.len()).unwrap_or(u32::MAX),
            }))
        })
        .map(|_| ())
        .ok_or(DropReason::TableFull)
    }

    /// The first response again, as the same octets, as long as nothing newer has taken its place.
    fn repeat_response(&mut self, row: Handle, octets: &[u8]) -> Result<(), DropReason> {
        let half_open = self.half_open_mut(row).ok_or(DropReason::UnknownSpi)?;
        let first = matches!(
            half_open.stage,
            HalfOpenStage::Init { .. } | HalfOpenStage::Keyed { verdict: None, .. }
        );
        if !first || half_open.message.as_slice() != octets {
            return Err(DropReason::Replayed);
        }
        half_open.owed = true;
        Ok(())
    }

    /// A node that is not GCKS says where the office is, or to come again (section 4).
    fn where_to(&self, from: SocketAddr, supported: bool, nonce_i: &[u8]) -> RefusalKind {
        let gcks = self
            .followed()
            .filter(|_| self.node.election.role() == Role::Member);
        match (gcks, heapless::Vec::from_slice(nonce_i)) {
            (Some(gcks), Ok(nonce)) if supported && gcks.address != from => RefusalKind::Redirect {
                to: gcks.address,
                nonce,
            },
            _ => RefusalKind::TemporaryFailure,
        }
    }

    /// Ends half-open exchanges that are over.
    pub(crate) fn run_half_open(&mut self) {
        let now = self.now;
        self.handshakes
            .retain(|row| row.half_open().is_none_or(|half_open| half_open.deadline > now));
    }

    /// The IKE SA is used further: its first response will not be asked for again.
    pub(crate) fn release_half_open(&mut self, spi_i: [u8; 8], spi_r: [u8; 8]) {
        self.handshakes.retain(|row| {
            row.half_open()
                .is_none_or(|half_open| half_open.spi_i != spi_i || half_open.spi_r != spi_r)
        });
    }

    /// Writes the next refusal without state.
    #[inline(never)]
    pub(crate) fn poll_refusals(&mut self, buffer: &mut [u8]) -> Option<(usize, SocketAddr, MessageKind)> {
        let refusal = self.node.refusals.pop()?;
        let header = Header::new(
            refusal.spi_i,
            [0; 8],
            ExchangeType(ExchangeType::IKE_SA_INIT.0),
            Flags::RESPONSE,
            0,
        );
        let mut writer = Writer::message(buffer, &header);
        refusal.answer.write(&mut writer);
        let len = writer.finish().ok()?.len();
        Some((len, refusal.to, MessageKind::InitResponse))
    }
}

impl HalfOpen {
    /// The initiator's nonce, read from its request, which is kept until it was answered.
    pub(super) fn nonce_i(&self) -> Option<&[u8]> {
        let (_, payloads) = Payloads::of_message(&self.message).ok()?;
        Contents::collect(payloads).ok()?.nonce
    }

    /// This node's first message, the same octets each time. `asks` for a raw public key.
    pub(super) fn write_init_response(&self, asks: bool, buffer: &mut [u8]) -> Option<usize> {
        let header = Header::new(
            self.spi_i,
            self.spi_r,
            ExchangeType(ExchangeType::IKE_SA_INIT.0),
            Flags::RESPONSE,
            0,
        );
        let mut writer = Writer::message(buffer, &header);
        write_init_response(&mut writer, &self.choice, &self.public, &self.nonce, asks);
        writer.finish().ok().map(|message| message.len())
    }
}
