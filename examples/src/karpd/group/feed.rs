//! The sinks of one group: what they should have, what they have, and what can be confirmed to the engine.

use karp_std::sinks::KeySet;

/// A sink's outcome, as it reaches the group's thread.
pub(super) struct Fed;

/// The sinks of one group.
#[derive(Default)]
pub(super) struct Feed {
    wanted: Option<KeySet>,
}

impl Feed {
    pub(super) fn wanted(&self) -> Option<&KeySet> {
        self.wanted.as_ref()
    }

    /// Wants `set`; gives the generation that can be confirmed at once.
    pub(super) fn want(&mut self, set: KeySet, generation: Option<u32>) -> Option<u32> {
        self.wanted = Some(set);
        generation
    }
}
