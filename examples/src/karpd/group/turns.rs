//! Changes of the key table on their way through the sinks, and what can be confirmed to the engine.
//!
//! Each change has a number here, its *turn*. Generations of the engine cannot serve for it: they begin anew with each
//! engine, and what a sink reports late of one must not confirm another's.

use std::collections::VecDeque;

/// Turns that are remembered. A sink that fails goes on with the newest, so older ones are of no use.
const MAX_TURNS: usize = 64;

/// One change of the key table.
struct Turn {
    number: u32,
    generation: Option<u32>,
    /// The generation was given to be confirmed, or is of an engine that is gone.
    settled: bool,
    /// The ids of its keys.
    ids: Vec<u16>,
}

/// The turns that are under way.
#[derive(Default)]
pub(super) struct Turns {
    last: u32,
    turns: VecDeque<Turn>,
    /// For each sink the newest turn that it is done with.
    done: Vec<Option<u32>>,
}

impl Turns {
    /// There are so many sinks from now on, and they are done with nothing.
    pub(super) fn begin(&mut self, sinks: usize) {
        self.turns.clear();
        self.done = vec![None; sinks];
    }

    /// A new engine: what an earlier one waits for is not confirmed any more.
    pub(super) fn forget_generations(&mut self) {
        for turn in &mut self.turns {
            turn.settled = true;
        }
    }

    /// A change to the keys with these `ids`, which is the engine's state of `generation`. Gives its number.
    pub(super) fn take(&mut self, generation: Option<u32>, ids: Vec<u16>) -> u32 {
        self.last = self.last.wrapping_add(1);
        if self.turns.len() >= MAX_TURNS {
            self.turns.pop_front();
        }
        self.turns.push_back(Turn {
            number: self.last,
            generation,
            settled: generation.is_none(),
            ids,
        });
        self.last
    }

    /// The sink is done with this turn, and so with those before it.
    pub(super) fn done(&mut self, sink: usize, number: u32) {
        if let Some(done) = self.done.get_mut(sink) {
            *done = (*done).max(Some(number));
        }
    }

    /// The generation of a turn, if it is remembered.
    pub(super) fn generation(&self, number: u32) -> Option<u32> {
        self.find(number)?.generation
    }

    /// The ids of a turn's keys, if it is remembered.
    pub(super) fn ids(&self, number: u32) -> Option<&[u16]> {
        self.find(number).map(|turn| turn.ids.as_slice())
    }

    fn find(&self, number: u32) -> Option<&Turn> {
        self.turns.iter().find(|turn| turn.number == number)
    }

    /// The newest generation that every sink is done with and that was not given before.
    pub(super) fn confirmable(&mut self) -> Option<u32> {
        let done = if self.done.is_empty() {
            self.last
        } else {
            self.done.iter().min().copied().flatten()?
        };
        let mut confirm = None;
        for turn in self
            .turns
            .iter_mut()
            .filter(|turn| turn.number <= done && !turn.settled)
        {
            turn.settled = true;
            confirm = turn.generation;
        }
        // The last is kept: a daemon that comes back reports it again.
        while self.turns.len() > 1 && self.turns.front().is_some_and(|turn| turn.number < done) {
            self.turns.pop_front();
        }
        confirm
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_sinks_everything_is_done() {
        let mut turns = Turns::default();
        turns.take(None, vec![]);
        assert_eq!(turns.confirmable(), None);
        turns.take(Some(1), vec![1]);
        assert_eq!(turns.confirmable(), Some(1));
        assert_eq!(turns.confirmable(), None, "once");
    }

    #[test]
    fn the_slowest_sink_decides() {
        let mut turns = Turns::default();
        turns.begin(2);
        let first = turns.take(Some(1), vec![1]);
        let second = turns.take(Some(2), vec![1, 2]);
        turns.done(0, second);
        assert_eq!(turns.confirmable(), None);
        turns.done(1, first);
        assert_eq!(turns.confirmable(), Some(1));
        turns.done(1, second);
        assert_eq!(turns.confirmable(), Some(2));
        assert_eq!(turns.ids(second), Some(&[1, 2][..]), "it may be reported again");
        turns.done(1, first);
        assert_eq!(turns.confirmable(), None, "and an older one changes nothing");
    }

    #[test]
    fn a_turn_that_was_passed_over_is_done_with_the_next() {
        let mut turns = Turns::default();
        turns.begin(1);
        turns.take(Some(1), vec![1]);
        turns.take(Some(2), vec![1, 2]);
        let expiry = turns.take(None, vec![2]);
        turns.done(0, expiry);
        assert_eq!(turns.confirmable(), Some(2));
    }

    #[test]
    fn nothing_of_an_earlier_engine_is_confirmed() {
        let mut turns = Turns::default();
        turns.begin(1);
        let old = turns.take(Some(5), vec![1]);
        turns.forget_generations();
        let new = turns.take(Some(1), vec![1]);
        turns.done(0, old);
        assert_eq!(turns.confirmable(), None);
        turns.done(0, new);
        assert_eq!(turns.confirmable(), Some(1));
    }

    #[test]
    fn sinks_that_are_exchanged_have_nothing() {
        let mut turns = Turns::default();
        turns.begin(1);
        let first = turns.take(Some(1), vec![1]);
        turns.done(0, first);
        assert_eq!(turns.confirmable(), Some(1));
        turns.begin(2);
        let again = turns.take(Some(1), vec![1]);
        turns.done(0, again);
        assert_eq!(turns.confirmable(), None);
        turns.done(1, again);
        assert_eq!(turns.confirmable(), Some(1));
    }

    #[test]
    fn a_sink_that_never_succeeds_fills_no_memory() {
        let mut turns = Turns::default();
        turns.begin(1);
        for generation in 0..1000 {
            turns.take(Some(generation), vec![1]);
        }
        assert_eq!(turns.turns.len(), MAX_TURNS);
        turns.done(0, 1000);
        assert_eq!(turns.confirmable(), Some(999));
    }
}
