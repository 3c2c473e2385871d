//! The states of a node and what moves it from one to another (PROTOCOL.md section 5.3).

use super::rank::Survey;
use crate::io::{Role, Timer};

/// A peer that has proved itself, by whatever number the caller knows it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Who(pub u32);

/// The part of a node in the election.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Election {
    /// Takes no part.
    #[default]
    Left,
    /// Looks for a GCKS. Traffic keys that it may have belong to the node and not to this state.
    Initial {
        /// What it is doing about it.
        stage: Initial,
        /// *wait* is over; it runs once, from the start or from waking up.
        waited: bool,
        /// *validate* is over: hints no longer keep this node from taking office.
        validated: bool,
    },
    /// Has the group's keys from a GCKS.
    Member(Member),
    /// Is the key server.
    Gcks(Gcks),
}

/// What an Initial node does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Initial {
    /// Listens.
    Looking,
    /// Lets the better-ranked go first.
    Turn,
    /// Tries those that claim the office.
    Joining,
    /// Registered with a GCKS and waiting for keys that are new to it (section 7).
    Waiting(Who),
}

/// What a Member does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Member {
    /// Its GCKS lives.
    Following(Who),
    /// Its GCKS fell silent; it lets the better-ranked go first.
    Turn(Who),
    /// Joins an heir that proved itself by a Rekey SA in common; the first is the GCKS it comes from.
    Joining(Who, Who),
    /// Nobody's turn came: it tries what hints claim and keeps all its keys.
    Orphan(Who),
}

/// What a GCKS does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Gcks {
    /// Serves.
    Serving,
    /// Hands the office over.
    HandingOff(Who),
    /// Is a registrant of a greater office, and serves its own half until that has given it the state.
    Merging(Who),
}

/// A fact that the engine has verified.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Input {
    /// The host joins the group.
    Join,
    /// The host leaves it, and whatever had to be handed over has been.
    Leave,
    /// The node was asleep for longer than its hold (section 2).
    Paused,
    /// *wait* is over.
    WaitOver(Survey),
    /// The turn has come.
    TurnOver(Survey),
    /// *validate* is over.
    ValidateOver(Survey),
    /// Somebody claims the office, without proof.
    Hint,
    /// Every candidate that claimed the office was tried in vain, or the heir could not be joined.
    JoinFailed(Survey),
    /// Registered, but the keys have to wait.
    Registered(Who),
    /// Registered, and given the state.
    Keyed(Who),
    /// The GCKS that this node waits for does not answer any more.
    WaitingLost(Survey),
    /// The followed GCKS is silent, or says itself that it does not serve any more (section 5.3).
    Silent(Survey),
    /// The followed GCKS is heard: authenticated, in office and handing nothing over.
    Heard,
    /// An authenticated node that is not the followed GCKS announces that it serves.
    Heir(Who),
    /// The successor that the followed GCKS named announces that it serves, authenticated.
    Successor(Who),
    /// The followed GCKS hands the office to this node.
    HandoffToMe(Survey),
    /// This node's office is to go to that member.
    HandOff(Who),
    /// The successor stayed silent.
    HandoffFailed,
    /// The successor serves, authenticated.
    SuccessorServes(Who),
    /// A greater office proved itself.
    GreaterProved(Who),
    /// The greater office fell silent before the merge was done.
    MergeLost,
    /// The priority changed.
    PriorityChanged(Survey),
}

/// A span of time by name; the engine knows how long it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Span {
    /// So many hello intervals.
    Hello(u8),
    /// So many times the node's own hold.
    Hold(u8),
    /// 3 x hold + random(0 to 2 x hold).
    Validate,
}

/// What the engine has to do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Effect {
    /// Start this timer anew.
    Set(Timer, Span),
    /// Stop this timer.
    Clear(Timer),
    /// Try the candidates that claim the office.
    Seek,
    /// End all attempts.
    StopSeeking,
    /// Register with this node, which proved itself by a Rekey SA in common.
    Join(Who),
    /// Take office, inheriting the traffic keys that the node has.
    TakeOffice,
    /// Give the office up; the traffic keys stay.
    Resign,
    /// Stop following: the membership is over, the traffic keys stay.
    Unfollow,
    /// Announce at once.
    Announce,
}

/// The effects of one input, in order.
pub type Effects = heapless::Vec<Effect, 8>;

/// Collects effects; eight places are more than any transition uses.
struct Sink(Effects);

impl Sink {
    fn add(&mut self, effect: Effect) {
        let overflow = self.0.push(effect);
        debug_assert!(overflow.is_ok(), "a transition has at most eight effects");
    }
}

impl Election {
    /// The part as others see it. Who waits for keys is not a Member yet (section 7).
    #[must_use]
    pub const fn role(&self) -> Role {
        match self {
            Self::Left => Role::Left,
            Self::Initial { .. } => Role::Initial,
            Self::Member(_) => Role::Member,
            Self::Gcks(_) => Role::Gcks,
        }
    }

    /// The GCKS that this node follows or waits for, if it is another node.
    #[must_use]
    pub const fn gcks(&self) -> Option<Who> {
        match *self {
            Self::Member(
                Member::Following(who) | Member::Turn(who) | Member::Joining(who, _) | Member::Orphan(who),
            )
            | Self::Initial {
                stage: Initial::Waiting(who),
                ..
            } => Some(who),
            Self::Left | Self::Initial { .. } | Self::Gcks(_) => None,
        }
    }

    /// Whether the node tries what hints claim.
    #[must_use]
    pub const fn is_seeking(&self) -> bool {
        matches!(
            self,
            Self::Initial {
                stage: Initial::Looking | Initial::Turn | Initial::Joining,
                ..
            } | Self::Member(Member::Orphan(_))
        )
    }

    /// The transition function: the one place where the state changes.
    #[must_use]
    pub fn step(&mut self, input: Input) -> Effects {
        let mut sink = Sink(Effects::new());
        *self = match input {
            Input::Leave => leave(*self, &mut sink),
            Input::Paused => paused(*self, &mut sink),
            Input::Join
            | Input::WaitOver(_)
            | Input::TurnOver(_)
            | Input::ValidateOver(_)
            | Input::Hint
            | Input::JoinFailed(_)
            | Input::Registered(_)
            | Input::Keyed(_)
            | Input::WaitingLost(_)
            | Input::Silent(_)
            | Input::Heard
            | Input::Heir(_)
            | Input::Successor(_)
            | Input::HandoffToMe(_)
            | Input::HandOff(_)
            | Input::HandoffFailed
            | Input::SuccessorServes(_)
            | Input::GreaterProved(_)
            | Input::MergeLost
            | Input::PriorityChanged(_) => match *self {
                Self::Left => left(input, &mut sink),
                Self::Initial {
                    stage,
                    waited,
                    validated,
                } => initial(stage, waited, validated, input, &mut sink),
                Self::Member(stage) => member(stage, input, &mut sink),
                Self::Gcks(stage) => gcks(stage, input, &mut sink),
            },
        };
        sink.0
    }
}

/// any --(leave)--> Left.
fn leave(from: Election, sink: &mut Sink) -> Election {
    if from != Election::Left {
        stop_timers(sink);
    }
    match from {
        Election::Left => {}
        Election::Initial { .. } | Election::Member(_) => {
            sink.add(Effect::StopSeeking);
            sink.add(Effect::Unfollow);
        }
        Election::Gcks(_) => {
            sink.add(Effect::StopSeeking);
            sink.add(Effect::Resign);
            sink.add(Effect::Unfollow);
        }
    }
    Election::Left
}

/// A paused node has lost office and membership: it is Initial and keeps its unexpired keys (section 2).
fn paused(from: Election, sink: &mut Sink) -> Election {
    if from == Election::Left {
        return from;
    }
    let _ = leave(from, sink);
    start(sink)
}

fn start(sink: &mut Sink) -> Election {
    sink.add(Effect::Set(Timer::Wait, Span::Hold(1)));
    sink.add(Effect::Announce);
    Election::Initial {
        stage: Initial::Looking,
        waited: false,
        validated: false,
    }
}

fn stop_timers(sink: &mut Sink) {
    sink.add(Effect::Clear(Timer::Wait));
    sink.add(Effect::Clear(Timer::Turn));
    sink.add(Effect::Clear(Timer::Validate));
}

fn take_office(sink: &mut Sink) -> Election {
    stop_timers(sink);
    sink.add(Effect::StopSeeking);
    sink.add(Effect::TakeOffice);
    sink.add(Effect::Announce);
    Election::Gcks(Gcks::Serving)
}

fn follow(who: Who, sink: &mut Sink) -> Election {
    stop_timers(sink);
    sink.add(Effect::StopSeeking);
    sink.add(Effect::Announce);
    Election::Member(Member::Following(who))
}

fn left(input: Input, sink: &mut Sink) -> Election {
    if input == Input::Join {
        start(sink)
    } else {
        Election::Left
    }
}

fn initial(stage: Initial, waited: bool, validated: bool, input: Input, sink: &mut Sink) -> Election {
    let stay = Election::Initial {
        stage,
        waited,
        validated,
    };
    let waiting = matches!(stage, Initial::Waiting(_));
    match (stage, input) {
        (_, Input::WaitOver(survey)) if !waited => {
            // Section 5.4: validate runs from the end of wait, whatever happens until then.
            sink.add(Effect::Set(Timer::Validate, Span::Validate));
            match stage {
                Initial::Looking | Initial::Turn => initial_turn(survey, validated, sink),
                Initial::Joining | Initial::Waiting(_) => Election::Initial {
                    stage,
                    waited: true,
                    validated,
                },
            }
        }
        (Initial::Turn, Input::TurnOver(survey)) => {
            if survey.claimed {
                sink.add(Effect::Seek);
                Election::Initial {
                    stage: Initial::Joining,
                    waited,
                    validated,
                }
            } else if survey.may_serve && (validated || !survey.keyed) {
                take_office(sink)
            } else {
                Election::Initial {
                    stage: Initial::Looking,
                    waited,
                    validated,
                }
            }
        }
        // Section 5.4, MaRK's GCKS2 state: it takes office whatever hints say; several that do merge by proof.
        (_, Input::ValidateOver(survey)) => {
            if survey.may_serve && waited && !waiting {
                take_office(sink)
            } else {
                Election::Initial {
                    stage,
                    waited,
                    validated: true,
                }
            }
        }
        (Initial::Looking | Initial::Turn, Input::Hint) => {
            sink.add(Effect::Clear(Timer::Turn));
            sink.add(Effect::Seek);
            Election::Initial {
                stage: Initial::Joining,
                waited,
                validated,
            }
        }
        (Initial::Joining | Initial::Looking, Input::JoinFailed(survey)) => {
            if waited {
                initial_turn(survey, validated, sink)
            } else {
                Election::Initial {
                    stage: Initial::Looking,
                    waited,
                    validated,
                }
            }
        }
        (_, Input::Registered(who)) => {
            sink.add(Effect::Clear(Timer::Turn));
            sink.add(Effect::StopSeeking);
            Election::Initial {
                stage: Initial::Waiting(who),
                waited,
                validated,
            }
        }
        (Initial::Waiting(_), Input::WaitingLost(survey)) => {
            sink.add(Effect::Unfollow);
            if survey.claimed {
                sink.add(Effect::Seek);
                Election::Initial {
                    stage: Initial::Joining,
                    waited,
                    validated,
                }
            } else if waited && validated && survey.may_serve {
                take_office(sink)
            } else if waited {
                initial_turn(survey, validated, sink)
            } else {
                Election::Initial {
                    stage: Initial::Looking,
                    waited,
                    validated,
                }
            }
        }
        (_, Input::Keyed(who)) => follow(who, sink),
        (Initial::Looking, Input::PriorityChanged(survey)) if waited => initial_turn(survey, validated, sink),
        _ => stay,
    }
}

/// Section 5.3, *turn* of an Initial node: one hello interval for every better-ranked node heard.
fn initial_turn(survey: Survey, validated: bool, sink: &mut Sink) -> Election {
    let waited = true;
    if survey.claimed {
        sink.add(Effect::Seek);
        Election::Initial {
            stage: Initial::Joining,
            waited,
            validated,
        }
    } else if !survey.may_serve || (survey.keyed && !validated) {
        Election::Initial {
            stage: Initial::Looking,
            waited,
            validated,
        }
    } else if survey.better == 0 {
        take_office(sink)
    } else {
        sink.add(Effect::Set(Timer::Turn, Span::Hello(survey.better)));
        Election::Initial {
            stage: Initial::Turn,
            waited,
            validated,
        }
    }
}

fn member(stage: Member, input: Input, sink: &mut Sink) -> Election {
    let stay = Election::Member(stage);
    match (stage, input) {
        (Member::Following(gcks), Input::Silent(survey)) => member_turn(gcks, survey, sink),
        (Member::Turn(gcks), Input::TurnOver(survey)) => {
            if survey.may_serve {
                take_office(sink)
            } else {
                sink.add(Effect::Seek);
                Election::Member(Member::Orphan(gcks))
            }
        }
        (Member::Turn(gcks) | Member::Orphan(gcks), Input::Heir(heir)) => join(gcks, heir, sink),
        (Member::Following(gcks) | Member::Turn(gcks) | Member::Orphan(gcks), Input::Successor(heir)) => {
            join(gcks, heir, sink)
        }
        // Its GCKS is back before the heir gave anything: nothing has changed.
        (Member::Turn(gcks) | Member::Orphan(gcks) | Member::Joining(gcks, _), Input::Heard) => {
            sink.add(Effect::Clear(Timer::Turn));
            sink.add(Effect::StopSeeking);
            Election::Member(Member::Following(gcks))
        }
        // A Member whose joining fails stays Member.
        (Member::Joining(gcks, _), Input::JoinFailed(survey)) => member_turn(gcks, survey, sink),
        (_, Input::Keyed(who)) => follow(who, sink),
        // The heir does not know this member's keys: it waits as a newcomer does, and keeps what it has.
        (_, Input::Registered(who)) => {
            sink.add(Effect::Clear(Timer::Turn));
            sink.add(Effect::StopSeeking);
            sink.add(Effect::Unfollow);
            // Whatever becomes of the heir, hints must not keep this node waiting for ever.
            sink.add(Effect::Set(Timer::Validate, Span::Validate));
            Election::Initial {
                stage: Initial::Waiting(who),
                waited: true,
                validated: false,
            }
        }
        (
            Member::Following(_) | Member::Turn(_) | Member::Orphan(_) | Member::Joining(..),
            Input::HandoffToMe(survey),
        ) if survey.may_serve => take_office(sink),
        (Member::Orphan(gcks), Input::PriorityChanged(survey)) if survey.may_serve => {
            sink.add(Effect::StopSeeking);
            member_turn(gcks, survey, sink)
        }
        _ => stay,
    }
}

/// Section 5.3, *turn* of a Member: the best at once, the second after one hello, and so on. Who may not serve is
/// orphaned when the turns of all others have passed.
fn member_turn(gcks: Who, survey: Survey, sink: &mut Sink) -> Election {
    if survey.may_serve && survey.better == 0 {
        return take_office(sink);
    }
    let turns = if survey.may_serve {
        survey.better
    } else {
        survey.better.saturating_add(1)
    };
    sink.add(Effect::Set(Timer::Turn, Span::Hello(turns)));
    Election::Member(Member::Turn(gcks))
}

fn join(gcks: Who, heir: Who, sink: &mut Sink) -> Election {
    sink.add(Effect::Clear(Timer::Turn));
    sink.add(Effect::StopSeeking);
    sink.add(Effect::Join(heir));
    Election::Member(Member::Joining(gcks, heir))
}

fn gcks(stage: Gcks, input: Input, sink: &mut Sink) -> Election {
    let stay = Election::Gcks(stage);
    match (stage, input) {
        (Gcks::Serving, Input::HandOff(to)) => {
            sink.add(Effect::StopSeeking);
            sink.add(Effect::Set(Timer::Succession, Span::Hold(1)));
            sink.add(Effect::Announce);
            Election::Gcks(Gcks::HandingOff(to))
        }
        (Gcks::HandingOff(_), Input::HandoffFailed) => {
            sink.add(Effect::Clear(Timer::Succession));
            sink.add(Effect::Announce);
            Election::Gcks(Gcks::Serving)
        }
        (Gcks::HandingOff(to), Input::SuccessorServes(who)) if to == who => {
            sink.add(Effect::Clear(Timer::Succession));
            sink.add(Effect::StopSeeking);
            sink.add(Effect::Resign);
            sink.add(Effect::Join(to));
            sink.add(Effect::Announce);
            Election::Member(Member::Joining(to, to))
        }
        (Gcks::Serving | Gcks::HandingOff(_), Input::GreaterProved(who)) => {
            sink.add(Effect::Clear(Timer::Succession));
            Election::Gcks(Gcks::Merging(who))
        }
        (Gcks::Merging(_), Input::MergeLost) => Election::Gcks(Gcks::Serving),
        (Gcks::Merging(_), Input::Keyed(who)) => {
            sink.add(Effect::Resign);
            follow(who, sink)
        }
        _ => stay,
    }
}
