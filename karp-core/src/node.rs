//! What a node is, apart from its tables, and the context in which its parts work.

use core::net::{IpAddr, SocketAddr};

use rand_core::CryptoRng;

use crate::{
    config::Config,
    counters::Counters,
    crypto::{RekeySaKeys, SealKey, Secret, SigningKey, WrapKey},
    election::{Election, Penalties},
    exchange::Handshake,
    group::{Legacy, Membership, Office, TrafficKey},
    identity::{Credentials, Identity},
    io::{Alarm, Role, Timer},
    peer::Peer,
    sealed::Sealed,
    storage::{Handle, Slots, Table},
    stranger::Stranger,
    time::{Duration, Instant},
    timers::Timers,
};

/// A Rekey SA that this node holds.
pub(crate) struct RekeySa {
    pub(crate) spi: [u8; 16],
    pub(crate) keys: RekeySaKeys,
    /// Only the GCKS that made it seals and wraps (section 3): with the others, and when the term is over, these are
    /// spent.
    pub(crate) seal: SealKey,
    pub(crate) wrap: WrapKey,
    /// The key of the term that it belongs to, if its office signs.
    pub(crate) auth_key: Option<[u8; 32]>,
    /// The applied generation: the Message ID expected next (section 7).
    pub(crate) applied: u32,
    /// When an office was first heard under it that this node does not follow.
    pub(crate) other_office: Option<Instant>,
}

impl RekeySa {
    pub(crate) fn new(spi: [u8; 16], keys: &RekeySaKeys, auth_key: Option<[u8; 32]>, applied: u32) -> Self {
        Self {
            spi,
            keys: keys.duplicate(),
            seal: SealKey::spent(),
            wrap: WrapKey::spent(),
            auth_key,
            applied,
            other_office: None,
        }
    }

    /// A fresh one of this node's own office. The only place where a Rekey SA comes to seal and wrap.
    pub(crate) fn own(spi: [u8; 16], keys: &RekeySaKeys, auth_key: Option<[u8; 32]>) -> Self {
        let mut sa = Self::new(spi, keys, auth_key, 0);
        sa.seal = SealKey::new(sa.keys.gsk_e.duplicate());
        sa.wrap = WrapKey::new(sa.keys.gsk_w.duplicate());
        sa
    }

    fn seal_no_more(&mut self) {
        self.seal = SealKey::spent();
        self.wrap = WrapKey::spent();
    }
}

/// What a Rekey SA is to this node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    /// The one that it follows or serves under.
    Current,
    /// The next one of this node's own office, while it is being distributed.
    Next,
    /// One that only authenticates others; so many came after it.
    Former(u8),
}

/// So many former ones are kept.
const FORMERS: u8 = 2;

/// The Rekey SAs that a node holds: the current one, and former ones that only authenticate others.
///
/// Each keeps its place from when it comes to when it is dropped there: a move would leave its keys behind.
#[derive(Default)]
pub(crate) struct RekeySas {
    rows: [Option<(Part, RekeySa)>; 4],
    /// When the current one came.
    pub(crate) changed: Instant,
}

impl RekeySas {
    fn part(&self, part: Part) -> Option<&RekeySa> {
        let mut rows = self.rows.iter().flatten();
        rows.find(|row| row.0 == part).map(|row| &row.1)
    }

    fn part_mut(&mut self, part: Part) -> Option<&mut RekeySa> {
        let mut rows = self.rows.iter_mut().flatten();
        rows.find(|row| row.0 == part).map(|row| &mut row.1)
    }

    pub(crate) fn find(&self, spi: &[u8; 16]) -> Option<&RekeySa> {
        let mut rows = self.rows.iter().flatten().map(|row| &row.1);
        rows.find(|sa| sa.spi == *spi)
    }

    pub(crate) fn find_mut(&mut self, spi: &[u8; 16]) -> Option<&mut RekeySa> {
        let mut rows = self.rows.iter_mut().flatten().map(|row| &mut row.1);
        rows.find(|sa| sa.spi == *spi)
    }

    pub(crate) fn current(&self) -> Option<&RekeySa> {
        self.part(Part::Current)
    }

    pub(crate) fn current_mut(&mut self) -> Option<&mut RekeySa> {
        self.part_mut(Part::Current)
    }

    pub(crate) fn next(&self) -> Option<&RekeySa> {
        self.part(Part::Next)
    }

    pub(crate) fn current_spi(&self) -> Option<[u8; 16]> {
        self.current().map(|sa| sa.spi)
    }

    /// How many have come since this one: 0 for the current and the next.
    pub(crate) fn age(&self, spi: &[u8; 16]) -> u8 {
        let mut rows = self.rows.iter().flatten();
        match rows.find(|row| row.1.spi == *spi) {
            Some((Part::Former(at), _)) => at.saturating_add(1),
            Some((Part::Current | Part::Next, _)) | None => 0,
        }
    }

    pub(crate) fn former(&self) -> Option<&RekeySa> {
        self.part(Part::Former(0))
    }

    /// Drops those, where they are, that `keep` does not want to keep.
    fn retain(&mut self, keep: impl Fn(Part, &RekeySa) -> bool) {
        for row in &mut self.rows {
            if row.as_ref().is_some_and(|(part, sa)| !keep(*part, sa)) {
                *row = None;
            }
        }
    }

    fn insert(&mut self, part: Part, sa: RekeySa) {
        // One current, one next and two former ones: there is room when the part is free.
        if let Some(row) = self.rows.iter_mut().find(|row| row.is_none()) {
            *row = Some((part, sa));
        }
    }

    /// Makes `sa` the current one and keeps the one before it to authenticate others.
    pub(crate) fn replace(&mut self, sa: RekeySa, now: Instant) {
        self.retire(now);
        self.forget_former(&sa.spi);
        self.insert(Part::Current, sa);
    }

    /// `sa` is distributed from now on.
    pub(crate) fn set_next(&mut self, sa: RekeySa) {
        self.drop_next();
        self.insert(Part::Next, sa);
    }

    /// The next one is not distributed any more.
    pub(crate) fn drop_next(&mut self) {
        self.retain(|part, _| part != Part::Next);
    }

    /// The next one becomes the current one; says whether there is one.
    pub(crate) fn commit_next(&mut self, now: Instant) -> bool {
        if self.next().is_none() {
            return false;
        }
        self.retire(now);
        for (part, _) in self.rows.iter_mut().flatten() {
            if *part == Part::Next {
                *part = Part::Current;
            }
        }
        true
    }

    /// The current one only authenticates others from now on.
    pub(crate) fn retire(&mut self, now: Instant) {
        self.changed = now;
        if self.current().is_none() {
            return;
        }
        let last = FORMERS.saturating_sub(1);
        self.retain(|part, _| part != Part::Former(last));
        for (part, sa) in self.rows.iter_mut().flatten() {
            *part = match *part {
                Part::Current => {
                    sa.seal_no_more();
                    Part::Former(0)
                }
                Part::Former(age) => Part::Former(age.saturating_add(1)),
                Part::Next => Part::Next,
            };
        }
    }

    /// This node's office is over: nothing is sealed under any of them.
    pub(crate) fn seal_no_more(&mut self) {
        self.drop_next();
        for (_, sa) in self.rows.iter_mut().flatten() {
            sa.seal_no_more();
        }
    }

    /// Offices heard under them were heard by a member; what an heir hears counts anew (section 7).
    pub(crate) fn forget_other_offices(&mut self) {
        for (part, sa) in self.rows.iter_mut().flatten() {
            if let Part::Former(_) = part {
                sa.other_office = None;
            }
        }
    }

    /// One that came again is no former one. A younger one takes its place in their order.
    fn forget_former(&mut self, spi: &[u8; 16]) {
        let of = |row: &&(Part, RekeySa)| row.1.spi == *spi;
        let gone = self.rows.iter().flatten().find(of).map(|row| row.0);
        let Some(Part::Former(gone)) = gone else { return };
        self.retain(|part, _| part != Part::Former(gone));
        for (part, _) in self.rows.iter_mut().flatten() {
            if let Part::Former(age) = part
                && *age > gone
            {
                *age = age.saturating_sub(1);
            }
        }
    }

    /// Nothing is believed under former ones any more.
    pub(crate) fn forget_formers(&mut self) {
        self.retain(|part, _| !matches!(part, Part::Former(_)));
    }

    pub(crate) fn clear(&mut self) {
        self.retain(|_, _| false);
        self.changed = Instant::default();
    }
}

/// What the host has confirmed of what it was told to install (section 7: the announced generation is the newest whose
/// keys the routing protocols hold).
#[derive(Default)]
pub(crate) struct Installs {
    /// Rises with every change of the key table.
    pub(crate) revision: u32,
    pub(crate) confirmed: u32,
    pub(crate) told: u32,
    /// Rekey SA and generation that this node may announce.
    pub(crate) announced: Option<([u8; 16], u32)>,
    /// States applied whose installation is not confirmed yet.
    waiting: heapless::Deque<(u32, [u8; 16], u32), 4>,
}

impl Installs {
    pub(crate) fn is_confirmed(&self) -> bool {
        self.confirmed == self.revision
    }

    /// A state of this Rekey SA and generation was applied, and the key table is at the present revision.
    pub(crate) fn applied(&mut self, spi: [u8; 16], generation: u32) {
        if self.is_confirmed() {
            self.waiting.clear();
            self.announced = Some((spi, generation));
            return;
        }
        if let Some(last) = self.waiting.back_mut().filter(|last| last.0 == self.revision) {
            *last = (self.revision, spi, generation);
            return;
        }
        if self.waiting.is_full() {
            let _ = self.waiting.pop_front();
        }
        let _ = self.waiting.push_back((self.revision, spi, generation));
    }

    /// The host holds the key table of `revision`; `false` if there never was such.
    pub(crate) fn confirm(&mut self, revision: u32) -> bool {
        if revision > self.revision {
            return false;
        }
        self.confirmed = self.confirmed.max(revision);
        while let Some((revision, spi, generation)) = self.waiting.front().copied() {
            if revision > self.confirmed {
                break;
            }
            self.announced = Some((spi, generation));
            let _ = self.waiting.pop_front();
        }
        true
    }

    /// The node has no Rekey SA any more.
    pub(crate) fn forget(&mut self) {
        self.announced = None;
        self.waiting.clear();
    }
}

/// What has become of the manual keys (section 7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ManualStage {
    /// They are sent with while no traffic key is Active.
    Sending,
    /// An automatic key took over; they are still accepted.
    Accepting,
    /// A second activation was seen: dropped at this time.
    Ending(Instant),
    /// Gone.
    Dropped,
}

/// A set of conditions, and what the host was told of them.
#[derive(Clone, Copy, Default)]
pub(crate) struct Alarms {
    raised: u16,
    told: u16,
}

impl Alarms {
    fn bit(alarm: Alarm) -> u16 {
        let at = Alarm::ALL.iter().position(|one| *one == alarm).unwrap_or(0);
        1_u16.checked_shl(u32::try_from(at).unwrap_or(0)).unwrap_or(0)
    }

    pub(crate) fn set(&mut self, alarm: Alarm, raised: bool) {
        if raised {
            self.raised |= Self::bit(alarm);
        } else {
            self.raised &= !Self::bit(alarm);
        }
    }

    pub(crate) fn is_raised(self, alarm: Alarm) -> bool {
        self.raised & Self::bit(alarm) != 0
    }

    /// An alarm whose state the host was not told yet; it is told now.
    pub(crate) fn take_untold(&mut self) -> Option<(Alarm, bool)> {
        let changed = self.raised ^ self.told;
        let alarm = Alarm::ALL
            .iter()
            .copied()
            .find(|alarm| changed & Self::bit(*alarm) != 0)?;
        self.told ^= Self::bit(alarm);
        Some((alarm, self.is_raised(alarm)))
    }
}

/// An identity that was evicted, by its digest, and until when that is remembered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct EvictedUntil {
    pub(crate) digest: [u8; 16],
    pub(crate) until: Instant,
}

/// What a candidate is penalised by: address, port and identity (section 5.4).
#[derive(PartialEq, Eq)]
pub(crate) struct PenaltyKey {
    address: [u8; 16],
    port: [u8; 2],
    identity: [u8; 16],
}

impl PenaltyKey {
    pub(crate) fn new(address: SocketAddr, identity: &Identity) -> Self {
        let (address, port) = address_octets(address);
        Self {
            address,
            port,
            identity: digest(identity),
        }
    }
}

/// Key ids that some peer may still know another key under, the oldest first, and until when.
#[derive(Default)]
pub(crate) struct RestingIds {
    ids: heapless::Deque<u16, 64>,
    until: heapless::Deque<Instant, 64>,
}

impl RestingIds {
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u16, Instant)> {
        self.ids.iter().copied().zip(self.until.iter().copied())
    }

    /// The oldest makes room.
    pub(crate) fn push(&mut self, id: u16, until: Instant) {
        if self.ids.is_full() {
            let _ = (self.ids.pop_front(), self.until.pop_front());
        }
        let _ = (self.ids.push_back(id), self.until.push_back(until));
    }
}

/// The secret behind cookies, and the one before it.
pub(crate) struct CookieSecrets {
    pub(crate) current: Secret<32>,
    pub(crate) former: Secret<32>,
    pub(crate) version: u8,
}

/// A node, apart from its tables.
pub(crate) struct Node {
    pub(crate) config: Config,
    pub(crate) instance: [u8; 8],
    pub(crate) sequence: u32,
    pub(crate) priority: u16,
    pub(crate) election: Election,
    pub(crate) timers: Timers,
    pub(crate) sas: RekeySas,
    pub(crate) installs: Installs,
    pub(crate) membership: Option<Membership>,
    pub(crate) office: Option<Office>,
    pub(crate) legacy: Option<Legacy>,
    /// Signs announcements and updates of this node's term (section 6), and after that names the successor.
    pub(crate) term_key: Option<SigningKey>,
    pub(crate) evicted: heapless::Vec<EvictedUntil, 8>,
    /// An eviction was heard of: the next whole state ends every key that it does not list, whoever gave it.
    pub(crate) purge: bool,
    pub(crate) penalties: Penalties<PenaltyKey, 16>,
    pub(crate) resting_ids: RestingIds,
    pub(crate) manual: ManualStage,
    /// The manual keys, by position in the configuration, whose protocol a traffic key has taken over.
    pub(crate) succeeded: u8,
    /// Traffic keys that became Active at this node.
    pub(crate) activations: u32,
    /// DTD as the GCKS last told it.
    pub(crate) dtd: Duration,
    pub(crate) alarms: Alarms,
    pub(crate) counters: Counters,
    pub(crate) cookies: CookieSecrets,
    /// New keys wanted by this node's routing protocols that no GCKS has taken note of.
    pub(crate) wanted: heapless::Deque<(u16, u16), 4>,
    /// Tries of joining candidates so far: every second one takes a random one.
    pub(crate) join_tries: u32,
    /// Tries of the heir that is being joined, after the first.
    pub(crate) heir_tries: u8,
    /// Until then a GCKS that proved itself has no room for this node.
    pub(crate) full: Option<Instant>,
    /// Replies to IKE_SA_INIT taken so far: each has a range of IVs of its own.
    pub(crate) replies: u32,
    /// When an announcement was last triggered by an Initial node.
    pub(crate) triggered: Option<Instant>,
    /// Announcements of leaving, and the D for the GCKS, that are still to be sent.
    pub(crate) goodbyes: u8,
    pub(crate) leaving: bool,
    pub(crate) announce: bool,
    /// Something changed that a rollover may have waited for.
    pub(crate) stirred: bool,
    /// An answer may be owed to a peer. While it is not, nobody asks them one by one.
    pub(crate) replies_owed: bool,
    /// A peer may have to be pushed the state; likewise.
    pub(crate) pushes_owed: bool,
    /// A peer may have joined or left since the host was told of it; likewise.
    pub(crate) joins_untold: bool,
    pub(crate) told_role: Role,
    pub(crate) told_gcks: Option<Handle>,
    /// The last time that was told.
    pub(crate) now: Instant,
    /// What the last `Idle` promised.
    pub(crate) promised: Option<Instant>,
    /// A response without state, for whoever is not served here.
    pub(crate) refusals: heapless::Vec<Refusal, 2>,
}

/// A stateless answer to an IKE_SA_INIT, owed to one sender.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Refusal {
    pub(crate) to: SocketAddr,
    pub(crate) spi_i: [u8; 8],
    pub(crate) answer: RefusalKind,
}

/// What a stateless answer says.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(clippy::large_enum_variant, reason = "there is no allocator to box with")]
pub(crate) enum RefusalKind {
    /// COOKIE with this value.
    Cookie(heapless::Vec<u8, 33>),
    /// REDIRECT to the GCKS that this node follows; the Ni of the request goes back.
    Redirect {
        to: SocketAddr,
        nonce: heapless::Vec<u8, 256>,
    },
    /// TEMPORARY_FAILURE.
    TemporaryFailure,
    /// NO_PROPOSAL_CHOSEN.
    NoProposal,
    /// INVALID_KE_PAYLOAD with the group that is taken.
    InvalidKe(u16),
    /// UNSUPPORTED_CRITICAL_PAYLOAD with the type.
    UnsupportedCritical(u8),
}

/// Everything that the parts work on: the node, its tables, its credentials, its randomness, and the time.
pub(crate) struct Core<'a> {
    pub(crate) node: &'a mut Node,
    pub(crate) peers: Table<'a, Peer>,
    pub(crate) keys: Table<'a, TrafficKey>,
    pub(crate) handshakes: Table<'a, Handshake>,
    pub(crate) sealed: Table<'a, Sealed>,
    pub(crate) strangers: Table<'a, Stranger>,
    pub(crate) creds: &'a dyn Credentials,
    pub(crate) rng: &'a mut dyn CryptoRng,
    pub(crate) now: Instant,
}

impl<'a> Core<'a> {
    pub(crate) fn new(
        node: &'a mut Node,
        slots: Slots<'a>,
        creds: &'a dyn Credentials,
        rng: &'a mut dyn CryptoRng,
    ) -> Self {
        let now = node.now;
        Self {
            node,
            peers: Table::new(slots.peers),
            keys: Table::new(slots.keys),
            handshakes: Table::new(slots.handshakes),
            sealed: Table::new(slots.sealed),
            strangers: Table::new(slots.strangers),
            creds,
            rng,
            now,
        }
    }

    /// This node's hold.
    pub(crate) fn hold(&self) -> Duration {
        self.node.config.hold()
    }

    pub(crate) fn hello(&self) -> Duration {
        self.node.config.settings().hello
    }

    /// A random span from zero up to `span`, both included.
    pub(crate) fn random_up_to(&mut self, span: Duration) -> Duration {
        let range = span.as_millis().saturating_add(1);
        // The bias of a remainder does not matter for jitter.
        Duration::from_millis(self.rng.next_u64().checked_rem(range).unwrap_or(0))
    }

    /// A random index below `count`; 0 for an empty range.
    pub(crate) fn random_below(&mut self, count: usize) -> usize {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        usize::try_from(self.rng.next_u64().checked_rem(count).unwrap_or(0)).unwrap_or(0)
    }

    /// `span` with the jitter of announcements and updates: 10 % less to 10 % more (section 11).
    pub(crate) fn jittered(&mut self, span: Duration) -> Duration {
        let tenth = span.divided(10);
        let add = self.random_up_to(tenth.times(2));
        span.minus(tenth).plus(add)
    }

    pub(crate) fn own_identity(&self) -> &Identity {
        &self.node.config.settings().identity
    }

    pub(crate) fn set_timer(&mut self, timer: Timer, span: Duration) {
        self.node.timers.set(timer, self.now.after(span));
    }

    /// Whether an identity with this digest was evicted and that is still remembered.
    pub(crate) fn is_evicted(&self, identity: &Identity) -> bool {
        let digest = digest(identity);
        self.node
            .evicted
            .iter()
            .any(|entry| entry.digest == digest && entry.until > self.now)
    }
}

/// What EVICTED carries of an identity (section 4).
pub(crate) fn digest(identity: &Identity) -> [u8; 16] {
    let (head, octets) = identity.body();
    crate::crypto::identity_digest(&[&head, octets])
}

/// The sender's address and port as MACs and signatures of announcements cover them: 16 octets, IPv4 mapped, and 2
/// (section 5.1).
pub(crate) fn address_octets(address: SocketAddr) -> ([u8; 16], [u8; 2]) {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    (ip.octets(), address.port().to_be_bytes())
}
