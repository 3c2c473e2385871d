//! One IKE SA of a pair: its keys, its window of one request each way, and what is kept to be sent again.

use core::net::SocketAddr;

use crate::{
    crypto::{DhSecret, IkeKeys, OpenKey, SealKey, Secret},
    error::DropReason,
    exchange::{Opened, open, seal},
    io::MessageKind,
    time::{Duration, Instant},
    wire::{ExchangeType, Flags, Header, Writer, routing::RoutingSpi, sk},
};

/// The longest message that is sent after IKE_SA_INIT: IKE_AUTH with two identities of 64 octets, a key and a signature
/// has less than 400.
pub(super) const MAX_SENT: usize = 512;

/// A message kept as octets: sealing spends an IV, so it is never encoded again (PROTOCOL.md section 3).
pub(super) type Kept = heapless::Vec<u8, MAX_SENT>;

/// The first octets of a nonce, all that is ever compared of it: "lower" goes octet by octet, and a shorter nonce that is
/// the beginning of another is the lower one (RFC 7296 section 2.8.1). Random nonces of 16 octets and more differ there.
pub(super) type NonceHead = heapless::Vec<u8, 32>;

pub(super) fn nonce_head(nonce: &[u8]) -> NonceHead {
    nonce.iter().copied().take(32).collect()
}

/// The lower of two nonces.
pub(super) fn lower(a: &[u8], b: &[u8]) -> NonceHead {
    let (a, b) = (nonce_head(a), nonce_head(b));
    if a < b { a } else { b }
}

/// Who has to end an IKE SA that was replaced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ender {
    /// This side: a Delete is owed.
    Us,
    /// The peer, by this time; then this side does.
    Peer(Instant),
}

/// What an IKE SA is good for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    /// Requests of this side go under it.
    Live,
    /// Made in answer to the peer's request; that the peer knows of it shows when it uses it, or ends the one before.
    Awaited,
    /// Another took its place.
    Replaced(Ender),
    /// It ended. The last response is repeated until this time.
    Ended(Instant),
}

/// What a request of this side is about.
#[allow(clippy::large_enum_variant, reason = "there is no allocator to box with")]
pub(super) enum Asked {
    /// Nothing: does the peer live? It also tells the peer that a new key is held here.
    Probe,
    /// The IKE SA ends.
    Delete,
    /// The peer's proof was wrong (RFC 7296 section 2.21.2). The IKE SA ends.
    Refuse,
    /// Another IKE SA for this one.
    Rekey {
        spi: [u8; 8],
        nonce: [u8; 32],
        secret: DhSecret,
        /// The peer asked the same meanwhile: the IKE SA that came of that, by its initiator's SPI.
        crossed: Option<[u8; 8]>,
    },
    /// A routing SA.
    Create {
        session: u8,
        recv_id: u16,
        nonce: [u8; 32],
        secret: DhSecret,
        /// What it is to replace, by this side's key id.
        replaced: Option<u16>,
        /// The peer asked the same meanwhile: the routing SA that came of that, by this side's key id.
        crossed: Option<u16>,
    },
    /// A routing SA ends.
    DeleteKey(RoutingSpi),
}

/// A request that waits for its answer.
pub(super) struct Outstanding {
    pub(super) asked: Asked,
    pub(super) exchange: ExchangeType,
    pub(super) message_id: u32,
    pub(super) octets: Kept,
    pub(super) repeat: Repeat,
}

/// When a message is sent again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Repeat {
    pub(super) sent: u8,
    pub(super) next: Instant,
}

impl Repeat {
    pub(super) const fn now(now: Instant) -> Self {
        Self { sent: 0, next: now }
    }

    /// It goes out now; the wait for an answer doubles each time (RFC 7296 section 2.4).
    pub(super) fn count(&mut self, now: Instant, first: Duration) {
        let factor = 1_u64.checked_shl(self.sent.into()).unwrap_or(u64::MAX);
        self.next = now.after(first.times(factor));
        self.sent = self.sent.saturating_add(1);
    }

    pub(super) const fn is_over(&self, now: Instant, tries: u8) -> bool {
        self.sent >= tries && self.next.as_millis() <= now.as_millis()
    }
}

/// One IKE SA.
pub(super) struct Sa {
    pub(super) spi_i: [u8; 8],
    pub(super) spi_r: [u8; 8],
    /// This side was the initiator of the exchange that made it.
    pub(super) initiator: bool,
    /// Which initial exchange it goes back to: keys of sessions are inherited along this line.
    pub(super) lineage: u32,
    pub(super) standing: Standing,
    /// The peer is known to have it: it made it, or something came under it.
    pub(super) used: bool,
    /// When it was made.
    pub(super) made: Instant,
    /// What decides between two of the same moment: of an initial exchange the initiator's nonce, of a rekey the lowest.
    pub(super) nonce: NonceHead,
    /// Where the peer is.
    pub(super) to: SocketAddr,
    /// Four zero octets stand in front (RFC 3948).
    pub(super) marked: bool,
    pub(super) sk_d: Secret<32>,
    seal: SealKey,
    open: OpenKey,
    pub(super) next_request: u32,
    /// The Message ID of the peer's next request.
    pub(super) expected: u32,
    pub(super) request: Option<Outstanding>,
    /// The last response, to the request before `expected`.
    pub(super) response: Kept,
    pub(super) response_kind: MessageKind,
    /// It is to be sent.
    pub(super) owes: bool,
    /// The peer was last heard, authenticated and fresh.
    pub(super) heard: Instant,
}

/// The keys of an IKE SA as its two directions.
pub(super) struct Channel {
    pub(super) spi_i: [u8; 8],
    pub(super) spi_r: [u8; 8],
    pub(super) initiator: bool,
    pub(super) sk_d: Secret<32>,
    pub(super) seal: SealKey,
    pub(super) open: OpenKey,
}

impl Channel {
    /// `first_iv` is where this end begins to count its IVs.
    pub(super) fn new(keys: IkeKeys, spis: ([u8; 8], [u8; 8]), initiator: bool, first_iv: u64) -> Self {
        let (out, into) = if initiator {
            (keys.sk_ei, keys.sk_er)
        } else {
            (keys.sk_er, keys.sk_ei)
        };
        Self {
            spi_i: spis.0,
            spi_r: spis.1,
            initiator,
            sk_d: keys.sk_d,
            seal: SealKey::starting_at(out, first_iv),
            open: OpenKey::new(&into),
        }
    }

    pub(super) const fn header(&self, exchange: ExchangeType, response: bool, message_id: u32) -> Header {
        header(
            self.spi_i,
            self.spi_r,
            self.initiator,
            exchange,
            response,
            message_id,
        )
    }

    pub(super) fn seal(&mut self, header: &Header, fill: impl FnOnce(&mut Writer<'_>)) -> Option<Kept> {
        write(&mut self.seal, header, fill)
    }

    pub(super) fn open<'d>(&self, datagram: &'d mut [u8]) -> Result<Opened<'d>, DropReason> {
        open(&self.open, datagram)
    }
}

const fn header(
    spi_i: [u8; 8],
    spi_r: [u8; 8],
    initiator: bool,
    exchange: ExchangeType,
    response: bool,
    message_id: u32,
) -> Header {
    let flags = match (initiator, response) {
        (true, true) => Flags::INITIATOR_RESPONSE,
        (true, false) => Flags::INITIATOR,
        (false, true) => Flags::RESPONSE,
        (false, false) => Flags::NONE,
    };
    Header::new(spi_i, spi_r, exchange, flags, message_id)
}

fn write(key: &mut SealKey, header: &Header, fill: impl FnOnce(&mut Writer<'_>)) -> Option<Kept> {
    let mut kept = Kept::new();
    kept.resize_default(MAX_SENT).ok()?;
    let (mut writer, begun) = sk::begin(&mut kept, header);
    fill(&mut writer);
    let message = sk::finish(writer, begun).ok()?;
    let len = seal(key, message)?;
    kept.truncate(len);
    Some(kept)
}

/// How a new IKE SA begins to count: after the initial exchange both sides have used Message IDs 0 and 1 of the
/// initiator's; a replacement begins at 0 (RFC 7296 section 2.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Origin {
    InitialExchange,
    Rekey,
}

/// Where the peer of an IKE SA is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Way {
    pub(super) to: SocketAddr,
    pub(super) marked: bool,
}

impl Sa {
    pub(super) fn new(
        channel: Channel,
        origin: Origin,
        lineage: u32,
        standing: Standing,
        nonce: NonceHead,
        way: Way,
        now: Instant,
    ) -> Self {
        let used = match origin {
            Origin::InitialExchange => 2,
            Origin::Rekey => 0,
        };
        let initiator = channel.initiator;
        Self {
            spi_i: channel.spi_i,
            spi_r: channel.spi_r,
            initiator,
            lineage,
            standing,
            used: initiator,
            made: now,
            nonce,
            to: way.to,
            marked: way.marked,
            sk_d: channel.sk_d,
            seal: channel.seal,
            open: channel.open,
            next_request: if initiator { used } else { 0 },
            expected: if initiator { 0 } else { used },
            request: None,
            response: Kept::new(),
            response_kind: MessageKind::Response,
            owes: false,
            heard: now,
        }
    }

    pub(super) const fn way(&self) -> Way {
        Way {
            to: self.to,
            marked: self.marked,
        }
    }

    /// Requests of this side can go under it, or will.
    pub(super) const fn is_up(&self) -> bool {
        matches!(self.standing, Standing::Live | Standing::Awaited)
    }

    pub(super) fn open<'d>(&self, datagram: &'d mut [u8]) -> Result<Opened<'d>, DropReason> {
        open(&self.open, datagram)
    }

    /// Seals a request of this side. There is none yet: the window is one.
    pub(super) fn ask(
        &mut self,
        now: Instant,
        exchange: ExchangeType,
        asked: Asked,
        fill: impl FnOnce(&mut Writer<'_>, &Asked),
    ) -> bool {
        let id = self.next_request;
        // RFC 7296 section 2.2: Message IDs do not wrap. Long before, the IKE SA was replaced.
        let Some(next) = id.checked_add(1) else {
            return false;
        };
        let header = header(self.spi_i, self.spi_r, self.initiator, exchange, false, id);
        let Some(octets) = write(&mut self.seal, &header, |writer| fill(writer, &asked)) else {
            return false;
        };
        self.next_request = next;
        self.request = Some(Outstanding {
            asked,
            exchange,
            message_id: id,
            octets,
            repeat: Repeat::now(now),
        });
        true
    }

    /// Seals the response to the request that is expected, keeps it, and expects the next.
    pub(super) fn respond(&mut self, exchange: ExchangeType, fill: impl FnOnce(&mut Writer<'_>)) {
        let header = header(
            self.spi_i,
            self.spi_r,
            self.initiator,
            exchange,
            true,
            self.expected,
        );
        if let Some(octets) = write(&mut self.seal, &header, fill) {
            self.response = octets;
            self.response_kind = MessageKind::Response;
            self.owes = true;
            self.expected = self.expected.saturating_add(1);
        }
    }
}
