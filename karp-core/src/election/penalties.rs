//! Candidates that failed, and for how long they are left alone (PROTOCOL.md section 5.4).

use crate::time::{Duration, Instant};

/// How a candidate failed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Failure {
    /// It proved who it is, and that it cannot be joined. Doubles.
    Proved,
    /// Somebody said under a fresh Diffie-Hellman that this node's proof is wrong, or gave a wrong one: the candidate,
    /// or whoever raced it. Doubles, but not for longer than a racer should be able to keep this node away.
    Refused,
    /// It did not answer, or asked for patience. Anyone can cause that for anyone, so it costs the first penalty and
    /// no more.
    TimedOut,
}

/// The first penalty; a proved failure doubles it each time.
const FIRST: Duration = Duration::from_millis(2000);
/// The longest penalty for what nobody proved.
const LONGEST_REFUSED: Duration = Duration::from_millis(16_000);
/// The longest penalty.
const LONGEST: Duration = Duration::from_millis(60_000);

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Penalty<K> {
    key: K,
    failures: u8,
    until: Instant,
}

/// The penalised candidates, at most `N`; the one that ends first makes room for a new one.
///
/// `K` has to name address, port and identity together: by identity alone an attacker could have an honest node
/// penalised, by address alone it could hide behind one.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Penalties<K, const N: usize> {
    entries: heapless::Vec<Penalty<K>, N>,
}

impl<K: PartialEq, const N: usize> Default for Penalties<K, N> {
    fn default() -> Self {
        Self {
            entries: heapless::Vec::new(),
        }
    }
}

impl<K: PartialEq, const N: usize> Penalties<K, N> {
    /// Whether `key` is to be left alone at `now`.
    #[must_use]
    pub fn bars(&self, key: &K, now: Instant) -> bool {
        self.entries
            .iter()
            .any(|entry| entry.key == *key && entry.until > now)
    }

    /// Records that `key` failed at `now`.
    pub fn fail(&mut self, key: K, failure: Failure, now: Instant) {
        let known = self.entries.iter().position(|entry| entry.key == key);
        let failures = known
            .and_then(|at| self.entries.get(at))
            .map_or(0, |entry| entry.failures);
        let doubled = FIRST.times(1_u64.checked_shl(u32::from(failures)).unwrap_or(u64::MAX));
        let more = failures.saturating_add(1).min(6);
        let (span, failures) = match failure {
            Failure::Proved => (doubled.min(LONGEST), more),
            Failure::Refused => (doubled.min(LONGEST_REFUSED), more),
            Failure::TimedOut => (FIRST, failures),
        };
        let entry = Penalty {
            key,
            failures,
            until: now.after(span),
        };
        if let Some(slot) = known.and_then(|at| self.entries.get_mut(at)) {
            *slot = Penalty {
                until: slot.until.max(entry.until),
                ..entry
            };
        } else if let Err(entry) = self.entries.push(entry)
            && let Some(slot) = self.entries.iter_mut().min_by_key(|slot| slot.until)
        {
            *slot = entry;
        }
    }

    /// `key` proved itself: what was held against it is forgotten.
    pub fn forgive(&mut self, key: &K) {
        self.entries.retain(|entry| entry.key != *key);
    }

    /// When the next penalty of those running at `now` ends.
    #[must_use]
    pub fn next_end(&self, now: Instant) -> Option<Instant> {
        self.entries
            .iter()
            .map(|entry| entry.until)
            .filter(|until| *until > now)
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    #[test]
    fn a_proved_failure_doubles_to_a_minute() {
        let mut penalties = Penalties::<u8, 4>::default();
        let mut now = at(0);
        for span in [2, 4, 8, 16, 32, 60, 60, 60] {
            penalties.fail(7, Failure::Proved, now);
            let end = now.after(Duration::from_secs(span));
            assert!(penalties.bars(&7, end.before(Duration::from_millis(1))), "{span}");
            assert!(!penalties.bars(&7, end), "{span}");
            now = end;
        }
    }

    #[test]
    fn what_nobody_proved_doubles_to_sixteen_seconds() {
        let mut penalties = Penalties::<u8, 4>::default();
        let mut now = at(0);
        for span in [2, 4, 8, 16, 16] {
            penalties.fail(7, Failure::Refused, now);
            now = now.after(Duration::from_secs(span));
            assert!(penalties.bars(&7, now.before(Duration::from_millis(1))) && !penalties.bars(&7, now));
        }
    }

    #[test]
    fn a_time_out_costs_two_seconds_each_time() {
        let mut penalties = Penalties::<u8, 4>::default();
        for n in 0..5 {
            penalties.fail(7, Failure::TimedOut, at(n * 2000));
            assert!(penalties.bars(&7, at(n * 2000 + 1999)));
            assert!(!penalties.bars(&7, at(n * 2000 + 2000)));
        }
    }

    #[test]
    fn a_full_table_forgets_the_one_that_ends_first() {
        let mut penalties = Penalties::<u8, 2>::default();
        penalties.fail(1, Failure::TimedOut, at(0));
        penalties.fail(2, Failure::TimedOut, at(1));
        penalties.fail(3, Failure::TimedOut, at(2));
        assert!(!penalties.bars(&1, at(3)) && penalties.bars(&2, at(3)) && penalties.bars(&3, at(3)));
        penalties.forgive(&3);
        assert!(!penalties.bars(&3, at(3)));
        assert_eq!(penalties.next_end(at(3)), Some(at(2001)));
        // One that is just over bars nobody and calls no more: a deadline lies in the future.
        assert_eq!(penalties.next_end(at(2001)), None);
    }
}
