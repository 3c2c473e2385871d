//! The two-phase rollover of traffic keys, the rollover of the Rekey SA, and eviction, as one GCKS runs them
//! (PROTOCOL.md section 7).
//!
//! Pure, like the election: it counts generations and names effects; keys, members and instants stay outside. So a
//! model checker runs this very code.

use crate::command::RekeyReason;

/// Where the change of the traffic key stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Phase {
    /// Every live member has acknowledged the last activation.
    Steady,
    /// *Distribute*: the Pending key went out first in the update that made this generation.
    Distributing {
        /// That generation.
        since: u32,
    },
    /// *Activate*: the key became Active in the update that made this generation, and not all have said so yet.
    Activated {
        /// That generation.
        since: u32,
    },
    /// An eviction has made a new Rekey SA and a new key, which go to each remaining member by unicast.
    Evicting,
}

/// Where the change of the Rekey SA stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum SaPhase {
    /// One Rekey SA.
    Stable,
    /// Its lifetime ends; the change begins when no phase of a rollover runs.
    Wanted,
    /// Every update carries the next one until all live members announce it.
    Changing,
}

/// The rollover state of one term of office.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Rollover {
    phase: Phase,
    sa: SaPhase,
    /// Requests that no rollover has answered yet, merged into one.
    wanted: Option<RekeyReason>,
    /// The minimum rekey interval runs.
    resting: bool,
}

/// What the engine knows when it asks for the next step.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct View {
    /// The generation that the next update will make.
    pub next: u32,
    /// The oldest generation among those that the live members and the GCKS's own routing protocols have
    /// acknowledged; `Some(u32::MAX)` if there is nobody to wait for, `None` if somebody has acknowledged nothing.
    pub acknowledged: Option<u32>,
    /// Every live member announces the newest Rekey SA.
    pub sa_acknowledged: bool,
    /// Nothing outside forbids a new key: no merge, no heir's wait (section 5.5).
    pub may_start: bool,
    /// Nothing outside forbids an activation: a merge, the migration from manual keys.
    pub may_activate: bool,
    /// There is an Active key.
    pub has_active: bool,
}

/// A fact for the rollover.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Input {
    /// Something in the view may have changed.
    Check,
    /// New keys are wanted.
    Want(RekeyReason),
    /// The minimum rekey interval is over.
    Rested,
    /// The Active key's life ends in DTD: activate without the laggards (section 7).
    ForceDue,
    /// The Rekey SA's lifetime ends.
    SaDue,
    /// The rollover that runs is given up: its key may be in use somewhere already.
    Abandon,
    /// The engine replaced the Rekey SA at once, though nobody was evicted here: generations count anew.
    Replaced,
    /// Somebody was evicted; the engine has made the new Rekey SA and the new key.
    Evict,
    /// The members had 2 x hold to fetch the new Rekey SA.
    EvictDue,
    /// A Pending key was taken over from a greater office (section 5.5, merge).
    Adopt,
    /// The greater office has activated it.
    AdoptActive,
}

/// What the engine has to do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Effect {
    /// Make a new traffic key, Pending.
    MakeKey(RekeyReason),
    /// The Pending key becomes Active, the Active one Retiring.
    Activate,
    /// As `Activate`, though a live member has not acknowledged: raise the alarm.
    ActivateForced,
    /// A live member did not acknowledge in all the life of the key: raise the alarm and go on.
    Overdue,
    /// As `Activate`, and all older keys go at once (eviction).
    ActivateAlone,
    /// The Pending key becomes Retiring: another node may send with it already.
    Abandon,
    /// Everyone has the Active key: what is older may go in DTD.
    ScheduleOmission,
    /// Send the state to the group as a new update.
    Send,
    /// Start the minimum rekey interval.
    Rest,
    /// Make the next Rekey SA and let every update carry it.
    MakeSa,
    /// The next Rekey SA becomes the current one.
    CommitSa,
    /// A rollover is complete.
    Completed,
}

/// The effects of one input, in order.
pub type Effects = heapless::Vec<Effect, 8>;

impl Default for Rollover {
    fn default() -> Self {
        Self {
            phase: Phase::Steady,
            sa: SaPhase::Stable,
            wanted: None,
            resting: false,
        }
    }
}

struct Sink(Effects);

impl Sink {
    fn add(&mut self, effect: Effect) {
        let overflow = self.0.push(effect);
        debug_assert!(overflow.is_ok(), "a step has at most eight effects");
    }
}

impl Rollover {
    /// The state of an office that inherits an Active key: it is treated as one just activated (section 7, heir).
    #[must_use]
    pub const fn inheriting(generation: u32) -> Self {
        Self {
            phase: Phase::Activated { since: generation },
            sa: SaPhase::Stable,
            wanted: Some(RekeyReason::PeerRestarted),
            resting: false,
        }
    }

    /// Where the traffic key's change stands.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// Where the Rekey SA's change stands.
    #[must_use]
    pub const fn sa(&self) -> SaPhase {
        self.sa
    }

    /// Whether a rollover is wanted that has not begun.
    #[must_use]
    pub const fn is_wanted(&self) -> bool {
        self.wanted.is_some()
    }

    /// Every live member has acknowledged the last activation, so the keys in force can be given on (section 7).
    #[must_use]
    pub const fn is_settled(&self) -> bool {
        matches!(self.phase, Phase::Steady | Phase::Distributing { .. })
    }

    /// The generation that a step with `input` compares [`View::acknowledged`] with, if nothing else about the members
    /// matters to it: who has not acknowledged that one settles the question, and the others need not be asked. `next`
    /// is [`View::next`].
    #[must_use]
    pub const fn compares(&self, input: Input, next: u32) -> Option<u32> {
        match (self.sa, input, self.phase) {
            (SaPhase::Changing, _, _) | (_, Input::Evict | Input::Replaced, _) | (_, _, Phase::Evicting) => {
                None
            }
            (_, _, Phase::Distributing { since } | Phase::Activated { since }) => Some(since),
            // What a step can begin here waits for the next generation.
            (_, _, Phase::Steady) => Some(next),
        }
    }

    /// Whether a step with `input` asks for [`View::may_start`] or [`View::may_activate`]: what they depend on need not be
    /// found out if nothing could start or be activated anyway. Those two fields of `view` are not read.
    #[must_use]
    pub fn asks_what_may_be(&self, input: Input, view: &View) -> bool {
        match (input, self.phase) {
            // Nothing waits to begin.
            (Input::Check, Phase::Steady) => self.wanted.is_some() || !view.has_active,
            // It does not end with this step.
            (Input::Check, Phase::Distributing { since } | Phase::Activated { since }) => {
                self.sa == SaPhase::Changing || view.acknowledged >= Some(since)
            }
            (Input::Check, Phase::Evicting) => true,
            (
                Input::Want(_)
                | Input::Rested
                | Input::ForceDue
                | Input::SaDue
                | Input::Abandon
                | Input::Replaced
                | Input::Evict
                | Input::EvictDue
                | Input::Adopt
                | Input::AdoptActive,
                _,
            ) => true,
        }
    }

    /// One step: takes a fact, then does all that the view allows.
    #[must_use]
    pub fn step(&mut self, input: Input, view: &View) -> Effects {
        let mut sink = Sink(Effects::new());
        let mut view = *view;
        self.take(input, &mut view, &mut sink);
        self.settle(&mut view, &mut sink);
        self.begin(&view, &mut sink);
        sink.0
    }

    fn take(&mut self, input: Input, view: &mut View, sink: &mut Sink) {
        match input {
            Input::Check => {}
            Input::Want(reason) => self.wanted = Some(self.wanted.unwrap_or(reason)),
            Input::Rested => self.resting = false,
            Input::ForceDue => self.force(view, sink),
            Input::SaDue => match self.sa {
                SaPhase::Stable => self.sa = SaPhase::Wanted,
                SaPhase::Wanted | SaPhase::Changing => {}
            },
            Input::Abandon => self.abandon(sink),
            Input::Replaced => {
                self.sa = SaPhase::Stable;
                view.next = 1;
                if let Phase::Distributing { since } | Phase::Activated { since } = &mut self.phase {
                    *since = 1;
                    sink.add(Effect::Send);
                }
            }
            Input::Evict => {
                self.sa = SaPhase::Stable;
                self.wanted = None;
                self.phase = Phase::Evicting;
            }
            Input::EvictDue => {
                if self.phase == Phase::Evicting {
                    self.finish_eviction(view, sink);
                }
            }
            // Members that have the next Rekey SA already would miss it, and an eviction goes first: the lesser office
            // asks again each hello.
            Input::Adopt => {
                if self.can_adopt() {
                    self.phase = Phase::Distributing { since: view.next };
                    sink.add(Effect::Send);
                }
            }
            Input::AdoptActive => match self.phase {
                Phase::Distributing { .. } if self.can_adopt() => {
                    self.phase = Phase::Activated { since: view.next };
                    sink.add(Effect::Activate);
                    sink.add(Effect::Send);
                }
                Phase::Distributing { .. } | Phase::Steady | Phase::Activated { .. } | Phase::Evicting => {}
            },
        }
    }

    /// Whether a key of a greater office can be taken over now.
    #[must_use]
    pub const fn can_adopt(&self) -> bool {
        !matches!(self.sa, SaPhase::Changing) && !matches!(self.phase, Phase::Evicting)
    }

    /// The Active key's life ends: who has not acknowledged is not waited for any longer, or one router that never
    /// answers would let the keys of all others expire.
    fn force(&mut self, view: &mut View, sink: &mut Sink) {
        if self.sa == SaPhase::Changing {
            self.sa = SaPhase::Stable;
            self.rebase(view, sink);
            sink.add(Effect::Overdue);
        }
        match self.phase {
            Phase::Distributing { .. } if view.may_activate => {
                self.phase = Phase::Activated { since: view.next };
                sink.add(Effect::ActivateForced);
                sink.add(Effect::Send);
            }
            Phase::Activated { .. } => {
                self.phase = Phase::Steady;
                sink.add(Effect::Overdue);
            }
            Phase::Distributing { .. } | Phase::Steady | Phase::Evicting => {}
        }
    }

    /// A Pending key that will not be activated becomes Retiring, and another rollover is wanted in its place.
    fn abandon(&mut self, sink: &mut Sink) {
        match self.phase {
            Phase::Distributing { .. } => {
                self.phase = Phase::Steady;
                self.wanted = Some(self.wanted.unwrap_or(RekeyReason::Operator));
                sink.add(Effect::Abandon);
                sink.add(Effect::Send);
            }
            Phase::Steady | Phase::Activated { .. } | Phase::Evicting => {}
        }
    }

    /// What the acknowledgements allow.
    fn settle(&mut self, view: &mut View, sink: &mut Sink) {
        // "No phase of a rollover starts or ends while a Rekey SA rollover runs."
        if self.sa == SaPhase::Changing {
            if view.sa_acknowledged {
                self.sa = SaPhase::Stable;
                self.rebase(view, sink);
            }
            return;
        }
        match self.phase {
            Phase::Distributing { since } if view.acknowledged >= Some(since) && view.may_activate => {
                self.phase = Phase::Activated { since: view.next };
                sink.add(Effect::Activate);
                sink.add(Effect::Send);
            }
            Phase::Activated { since } if view.acknowledged >= Some(since) => {
                self.phase = Phase::Steady;
                sink.add(Effect::ScheduleOmission);
                sink.add(Effect::Completed);
            }
            Phase::Evicting if view.sa_acknowledged => self.finish_eviction(view, sink),
            Phase::Steady | Phase::Distributing { .. } | Phase::Activated { .. } | Phase::Evicting => {}
        }
    }

    /// A new Rekey SA counts generations anew.
    fn rebase(&mut self, view: &mut View, sink: &mut Sink) {
        sink.add(Effect::CommitSa);
        // What begins in this very step goes out in the first update of the new one.
        view.next = 1;
        match &mut self.phase {
            // Who had the new one early may have missed the last updates under the old: they get it all once more.
            Phase::Distributing { since } | Phase::Activated { since } => {
                *since = 1;
                sink.add(Effect::Send);
            }
            Phase::Steady | Phase::Evicting => {}
        }
    }

    fn finish_eviction(&mut self, view: &View, sink: &mut Sink) {
        self.phase = Phase::Activated { since: view.next };
        sink.add(Effect::ActivateAlone);
        sink.add(Effect::Send);
    }

    /// What may begin now.
    fn begin(&mut self, view: &View, sink: &mut Sink) {
        if self.phase != Phase::Steady || self.sa == SaPhase::Changing {
            return;
        }
        if self.sa == SaPhase::Wanted {
            self.sa = SaPhase::Changing;
            sink.add(Effect::MakeSa);
            sink.add(Effect::Send);
            return;
        }
        // A new office without an Active key starts at once (section 5.5).
        if !view.may_start || (self.resting && view.has_active) {
            return;
        }
        let reason = if view.has_active {
            self.wanted
        } else {
            self.wanted.or(Some(RekeyReason::NewSession))
        };
        if let Some(reason) = reason {
            self.wanted = None;
            self.resting = true;
            self.phase = Phase::Distributing { since: view.next };
            sink.add(Effect::MakeKey(reason));
            sink.add(Effect::Send);
            sink.add(Effect::Rest);
        }
    }
}

#[cfg(test)]
mod tests;
