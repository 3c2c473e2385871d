//! Who ranks before whom (PROTOCOL.md section 5.2).

use core::cmp::Ordering;

use crate::{identity::Identity, io::Role};

/// What decides between two nodes. The greater one ranks first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Rank<'a> {
    /// The generation that the node has installed under the Rekey SA in common; 0 where none is in common. It goes
    /// before all else, so that an heir is never behind those it must lead.
    pub generation: u32,
    /// The election priority; 0 never serves.
    pub priority: u16,
    /// The router id.
    pub router_id: u64,
    /// The identity, which breaks the last tie.
    pub identity: &'a Identity,
}

impl Ord for Rank<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.generation
            .cmp(&other.generation)
            .then(self.priority.cmp(&other.priority))
            .then(self.router_id.cmp(&other.router_id))
            .then_with(|| self.identity.cmp(other.identity))
    }
}

impl PartialOrd for Rank<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Another node as the election sees it. Only nodes heard within their hold, and not penalised, are candidates.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Candidate<'a> {
    /// How it ranks.
    pub rank: Rank<'a>,
    /// What it says it is.
    pub role: Role,
    /// It says that it holds the group's keys.
    pub keyed: bool,
    /// It says that it leaves.
    pub leaving: bool,
}

/// All that a decision needs to know of the candidates.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Survey {
    /// This node may serve: its priority is not 0 and it could hold the group.
    pub may_serve: bool,
    /// How many candidates that may serve rank before this node; counted to eight.
    pub better: u8,
    /// Somebody claims the office.
    pub claimed: bool,
    /// Somebody claims to hold the group's keys.
    pub keyed: bool,
}

/// The most better-ranked nodes that a turn waits for: no node stores more (PROTOCOL.md section 5.1).
pub const MAX_BETTER: u8 = 8;

/// Sums up `candidates` for a node of rank `own`.
#[must_use]
pub fn survey<'a>(own: Rank<'_>, candidates: impl Iterator<Item = Candidate<'a>>) -> Survey {
    let mut sum = Survey {
        may_serve: own.priority != 0,
        ..Survey::default()
    };
    for candidate in candidates.filter(|candidate| !candidate.leaving) {
        if candidate.rank.priority != 0 && candidate.rank > own {
            sum.better = sum.better.saturating_add(1).min(MAX_BETTER);
        }
        sum.claimed |= candidate.role == Role::Gcks;
        sum.keyed |= candidate.keyed;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> Identity {
        Identity::fqdn(name).unwrap()
    }

    fn rank(identity: &Identity, generation: u32, priority: u16, router_id: u64) -> Rank<'_> {
        Rank {
            generation,
            priority,
            router_id,
            identity,
        }
    }

    #[test]
    fn generation_then_priority_then_router_id_then_identity() {
        let (a, b) = (id("a"), id("b"));
        assert!(rank(&a, 2, 1, 1) > rank(&b, 1, 9, 9));
        assert!(rank(&a, 1, 2, 1) > rank(&b, 1, 1, 9));
        assert!(rank(&a, 1, 1, 2) > rank(&b, 1, 1, 1));
        assert!(rank(&b, 1, 1, 1) > rank(&a, 1, 1, 1));
        assert!(rank(&id("ab"), 1, 1, 1) > rank(&a, 1, 1, 1));
    }

    #[test]
    fn survey_counts_only_who_may_serve_and_stays() {
        let (a, b, c, own) = (id("a"), id("b"), id("c"), id("own"));
        let candidate = |rank, role, leaving| Candidate {
            rank,
            role,
            keyed: false,
            leaving,
        };
        let heard = [
            candidate(rank(&a, 0, 0, 9), Role::Initial, false),
            candidate(rank(&b, 0, 9, 9), Role::Gcks, true),
            candidate(rank(&c, 0, 9, 1), Role::Initial, false),
        ];
        let sum = survey(rank(&own, 0, 5, 5), heard.into_iter());
        assert_eq!(
            sum,
            Survey {
                may_serve: true,
                better: 1,
                claimed: false,
                keyed: false
            }
        );
        assert!(!survey(rank(&own, 0, 0, 5), core::iter::empty()).may_serve);
    }

    #[test]
    fn survey_remembers_one_claim_among_many() {
        let (a, b, own) = (id("a"), id("b"), id("own"));
        let candidate = |rank, role, keyed| Candidate {
            rank,
            role,
            keyed,
            leaving: false,
        };
        let of = |heard: [Candidate<'_>; 2]| {
            let sum = survey(rank(&own, 0, 5, 5), heard.into_iter());
            (sum.better, sum.claimed, sum.keyed)
        };
        let plain = candidate(rank(&a, 0, 1, 1), Role::Initial, false);
        let claims = candidate(rank(&b, 0, 1, 2), Role::Gcks, false);
        let keyed = candidate(rank(&b, 0, 1, 2), Role::Member, true);
        assert_eq!(of([plain, plain]), (0, false, false));
        assert_eq!([of([plain, claims]), of([claims, plain])], [(0, true, false); 2]);
        assert_eq!([of([plain, keyed]), of([keyed, plain])], [(0, false, true); 2]);
        // Who ranks as this node does goes before nobody.
        let equal = candidate(rank(&own, 0, 5, 5), Role::Initial, false);
        assert_eq!(of([plain, equal]), (0, false, false));
    }
}
