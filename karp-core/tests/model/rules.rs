//! The shipping code, and test doubles around it that each break one rule on purpose: what the checker has to find.

use karp_core::{
    election::{self, Election, Gcks, Initial, Member},
    group::rollover::{self, Rollover, View},
};

/// Which rule a run breaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rules {
    /// None: the code as it ships.
    Shipping,
    /// A rollover does not wait for acknowledgements.
    ActivatesEarly,
    /// A keyed member goes where an unauthenticated announcement points.
    FollowsHints,
    /// An office does not end when a greater one, or its successor, has taken over.
    KeepsOffice,
    /// An heir makes new keys before those that it hears have registered.
    HeirDoesNotWait,
    /// An heir serves under the Rekey SA of the office that it inherits.
    SharesRekeySa,
    /// An Initial node takes office only if nothing claims it, however long it has tried: *validate* never ends.
    NeverValidates,
    /// Whoever registers is given the keys in force, rebooted or not.
    GivesOldKeys,
    /// Who had the Active key, and sends with another half's since, is given it once more: it does not go back to it.
    GivesWhatWasLeft,
}

impl Rules {
    /// A step of the election.
    pub(crate) fn election(self, state: &mut Election, input: election::Input) -> election::Effects {
        match (self, *state, input) {
            (Self::FollowsHints, Election::Member(Member::Following(_)), election::Input::Hint) => {
                *state = Election::Initial {
                    stage: Initial::Joining,
                    waited: true,
                    validated: false,
                };
                [election::Effect::Unfollow, election::Effect::Seek]
                    .into_iter()
                    .collect()
            }
            (Self::KeepsOffice, Election::Gcks(Gcks::Merging(_)), election::Input::Keyed(_))
            | (Self::KeepsOffice, Election::Gcks(Gcks::HandingOff(_)), election::Input::SuccessorServes(_))
            | (Self::NeverValidates, _, election::Input::ValidateOver(_)) => election::Effects::new(),
            _ => state.step(input),
        }
    }

    /// A step of the rollover.
    pub(crate) fn rollover(
        self,
        state: &mut Rollover,
        input: rollover::Input,
        view: &View,
    ) -> rollover::Effects {
        match self {
            Self::ActivatesEarly => state.step(
                input,
                &View {
                    acknowledged: Some(u32::MAX),
                    ..*view
                },
            ),
            Self::HeirDoesNotWait => state.step(
                input,
                &View {
                    may_start: true,
                    acknowledged: view.acknowledged.or(Some(u32::MAX)),
                    ..*view
                },
            ),
            Self::Shipping
            | Self::FollowsHints
            | Self::KeepsOffice
            | Self::SharesRekeySa
            | Self::NeverValidates
            | Self::GivesOldKeys
            | Self::GivesWhatWasLeft => state.step(input, view),
        }
    }
}
