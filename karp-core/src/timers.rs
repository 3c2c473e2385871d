//! The node's own deadlines, one for each [`Timer`]. Those of peers, keys, exchanges and requests live in their rows.

use crate::{io::Timer, time::Instant};

/// Deadlines indexed by what they are for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Timers([Option<Instant>; Timer::COUNT]);

impl Default for Timers {
    fn default() -> Self {
        Self([None; Timer::COUNT])
    }
}

impl Timers {
    pub(crate) fn set(&mut self, timer: Timer, at: Instant) {
        if let Some(slot) = self.slot(timer) {
            *slot = Some(at);
        }
    }

    /// Sets `timer` unless it goes off earlier already.
    pub(crate) fn set_earlier(&mut self, timer: Timer, at: Instant) {
        if let Some(slot) = self.slot(timer) {
            *slot = Some(slot.map_or(at, |set| set.min(at)));
        }
    }

    pub(crate) fn clear(&mut self, timer: Timer) {
        if let Some(slot) = self.slot(timer) {
            *slot = None;
        }
    }

    pub(crate) fn is_set(&self, timer: Timer) -> bool {
        self.iter().any(|(one, _)| one == timer)
    }

    /// Takes a timer that is due at `now`.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<Timer> {
        let due = self.iter().find(|(_, at)| *at <= now).map(|(timer, _)| timer)?;
        self.clear(due);
        Some(due)
    }

    /// The timers that run.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Timer, Instant)> {
        Timer::ALL
            .iter()
            .copied()
            .zip(self.0)
            .filter_map(|(timer, at)| at.map(|at| (timer, at)))
    }

    fn slot(&mut self, timer: Timer) -> Option<&mut Option<Instant>> {
        let at = Timer::ALL.iter().position(|one| *one == timer)?;
        self.0.get_mut(at)
    }
}
