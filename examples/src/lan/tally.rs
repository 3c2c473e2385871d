//! What became of every hello.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use karp_core::time::{Duration, Instant};

use crate::hello::{Judged, Refusal, Sent};

/// How long a hello is remembered: none is on its way for so long.
const MEMORY: Duration = Duration::from_secs(10);

/// What a router was when it sent or judged a hello, see the [module](super) for what counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Standing {
    /// Keyed and live.
    Keyed,
    /// Rebooted, or come back, and not yet given the group's keys.
    Unkeyed,
    /// It was told to leave.
    Leaving,
    /// It was evicted.
    Evicted,
}

/// Why a refused hello is where it is in the table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Class {
    /// Both sides keyed and live: there must be none.
    Fault,
    /// Under a key from before an eviction that is being carried out.
    CutOver,
    /// Sent by a router that was evicted.
    FromEvicted,
    /// Judged by a router that was evicted.
    AtEvicted,
    /// Judged by a router that was not given the group's keys yet.
    AtUnkeyed,
    /// Sent by such a router, which has taken office by itself and made a key of its own.
    FromUnkeyed,
    /// Sent or judged by a router that is leaving.
    Leaving,
    /// Recorded before a reboot and shown to the router again.
    Replayed,
}

impl Class {
    pub(super) const ALL: [Self; 8] = [
        Self::Fault,
        Self::CutOver,
        Self::FromEvicted,
        Self::AtEvicted,
        Self::AtUnkeyed,
        Self::FromUnkeyed,
        Self::Leaving,
        Self::Replayed,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Fault => "between_keyed_live_routers",
            Self::CutOver => "cut_over_of_eviction",
            Self::FromEvicted => "from_evicted_router",
            Self::AtEvicted => "at_evicted_router",
            Self::AtUnkeyed => "at_router_without_keys",
            Self::FromUnkeyed => "from_router_alone",
            Self::Leaving => "router_that_leaves",
            Self::Replayed => "replayed_after_reboot",
        }
    }

    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Fault => "between keyed live routers (must be none)",
            Self::CutOver => "cut over of the eviction",
            Self::FromEvicted => "sent by the evicted router",
            Self::AtEvicted => "received by the evicted router",
            Self::AtUnkeyed => "received by a router that waits for keys",
            Self::FromUnkeyed => "sent by a router that is back, and alone",
            Self::Leaving => "from or at a router that leaves",
            Self::Replayed => "recorded before a reboot, replayed after it",
        }
    }
}

/// An eviction that is being carried out: what was accepted before it.
pub(super) struct CutOver {
    pub(super) old_ids: Vec<u16>,
}

#[derive(Clone, Copy)]
struct Record {
    from: usize,
    standing: Standing,
    at: Instant,
}

/// A hello that was refused.
pub(super) struct Refused {
    /// Who sent it.
    pub(super) from: usize,
    pub(super) class: Class,
    pub(super) refusal: Refusal,
    /// It is a fault, and the first one of this sender, receiver and key.
    pub(super) is_news: bool,
}

/// Counts hellos, and knows each again until all have judged it.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) sent: u64,
    /// How many routers should have heard them.
    pub(super) expected: u64,
    pub(super) accepted: u64,
    refused: BTreeMap<(Class, Refusal), u64>,
    /// Accepted from a router that was evicted and done with.
    pub(super) accepted_from_evicted: u64,
    judged: u64,
    records: HashMap<u64, Record>,
    /// The first few faults, for the message.
    pub(super) faults: Vec<String>,
    told: BTreeSet<(usize, usize, Option<u16>, Refusal)>,
    pub(super) cut_over: Option<CutOver>,
    pruned: Instant,
}

impl Tally {
    pub(super) fn sent(
        &mut self,
        from: usize,
        standing: Standing,
        sent: Sent,
        listeners: usize,
        now: Instant,
    ) {
        self.sent += 1;
        self.expected += listeners as u64;
        let record = Record {
            from,
            standing,
            at: now,
        };
        self.records.insert(sent.mark, record);
        if now.since(self.pruned) > MEMORY {
            self.pruned = now;
            self.records.retain(|_, record| now.since(record.at) <= MEMORY);
        }
    }

    /// Who sent the hello with this mark; `None` for a packet that is not of this run.
    pub(super) fn sender(&self, mark: u64) -> Option<usize> {
        self.records.get(&mark).map(|record| record.from)
    }

    /// Counts a verdict. What there is to tell of it, if it is a refusal.
    pub(super) fn judged(
        &mut self,
        at: usize,
        standing: Standing,
        mark: u64,
        judged: &Judged,
        now: Instant,
    ) -> Option<Refused> {
        let record = self.records.get(&mark).copied()?;
        self.judged += 1;
        let Err(refusal) = judged.verdict else {
            self.accepted += 1;
            if record.standing == Standing::Evicted && standing == Standing::Keyed && self.cut_over.is_none()
            {
                self.accepted_from_evicted += 1;
            }
            return None;
        };
        let class = self.classify(record.standing, standing, refusal, judged);
        *self.refused.entry((class, refusal)).or_default() += 1;
        let is_news = class == Class::Fault && self.told.insert((at, record.from, judged.key, refusal));
        if is_news && self.faults.len() < 8 {
            self.faults.push(format!(
                "{} refused a {} hello of {} at {} ms of age for {} (key id {:?})",
                super::plan::name(at),
                judged.protocol.name(),
                super::plan::name(record.from),
                now.since(record.at).as_millis(),
                refusal.name(),
                judged.key,
            ));
        }
        Some(Refused {
            from: record.from,
            class,
            refusal,
            is_news,
        })
    }

    fn classify(&self, sender: Standing, receiver: Standing, refusal: Refusal, judged: &Judged) -> Class {
        match (sender, receiver) {
            (Standing::Evicted, _) => Class::FromEvicted,
            (_, Standing::Evicted) => Class::AtEvicted,
            (_, Standing::Unkeyed) => Class::AtUnkeyed,
            (Standing::Unkeyed, _) => Class::FromUnkeyed,
            (Standing::Leaving, _) | (_, Standing::Leaving) => Class::Leaving,
            (_, Standing::Keyed) => {
                let old = |id| {
                    self.cut_over
                        .as_ref()
                        .is_some_and(|cut| cut.old_ids.contains(&id))
                };
                if refusal == Refusal::UnknownKey && judged.key.is_some_and(old) {
                    Class::CutOver
                } else {
                    Class::Fault
                }
            }
        }
    }

    pub(super) fn replayed(&mut self, refusal: Refusal) {
        *self.refused.entry((Class::Replayed, refusal)).or_default() += 1;
    }

    /// How many were refused in a class, by reason.
    pub(super) fn refused(&self, class: Class) -> impl Iterator<Item = (Refusal, u64)> {
        Refusal::ALL
            .into_iter()
            .filter_map(move |refusal| Some((refusal, *self.refused.get(&(class, refusal))?)))
    }

    pub(super) fn refused_total(&self, class: Class) -> u64 {
        self.refused(class).map(|(_, n)| n).sum()
    }

    /// Hellos that some router should have judged and never saw: the machine's own loss.
    pub(super) fn unseen(&self) -> u64 {
        self.expected.saturating_sub(self.judged)
    }
}
