//! What follows from each thing that happens.

use karp_core::{
    command::RekeyReason,
    election::{Election, Gcks, Input},
    group::rollover,
    io::Role,
};

use crate::{
    model::{Act, Run},
    node::{TURN, VALIDATE, WAIT, named, who},
    rules::Rules,
    world::{Budget, Office, World, bit},
};

impl<const N: usize> Run<N> {
    /// The world after `act`.
    pub(crate) fn act(&self, last: &World<N>, act: Act) -> World<N> {
        let mut world = *last;
        let rules = self.rules;
        let mut touched = None;
        match act {
            Act::Announce { node } => world.air[usize::from(node)] = world.hello(node),
            Act::Hear { node, from } => {
                world.hear(rules, node, from);
                touched = Some(node);
            }
            Act::Update { node, from } => world.update(node, from),
            Act::Register { node, with, lost } => {
                world.ask(rules, with, node, true, lost);
                self.deliver(&mut world, node, lost);
                touched = Some(node);
            }
            Act::Pull { node, from, lost } => {
                world.ask(rules, from, node, false, lost);
                self.deliver(&mut world, node, lost);
                touched = Some(node);
            }
            Act::Push { office, to } => {
                world.push(office, to);
                self.deliver(&mut world, to, false);
                touched = Some(to);
            }
            Act::Read { node } => {
                world.read(rules, node);
                touched = Some(node);
            }
            Act::WaitOver { node, ears } => {
                world.node_mut(node).timers &= !WAIT;
                let survey = world.survey(node, ears);
                world.step(rules, node, Input::WaitOver(survey), true, ears.heard);
                touched = Some(node);
            }
            Act::TurnOver { node, ears } => {
                world.node_mut(node).timers &= !TURN;
                let survey = world.survey(node, ears);
                world.step(rules, node, Input::TurnOver(survey), true, ears.heard);
                touched = Some(node);
            }
            Act::ValidateOver { node, ears } => {
                world.node_mut(node).timers &= !VALIDATE;
                let survey = world.survey(node, ears);
                world.step(rules, node, Input::ValidateOver(survey), true, ears.heard);
                touched = Some(node);
            }
            Act::Silent { node, ears } => {
                let gcks = world.node(node).gcks;
                if gcks.is_some_and(|gcks| world.reaches_office(node, gcks)) {
                    world.budget.silence -= 1;
                    world.parted = true;
                }
                let survey = world.survey(node, ears);
                world.step(rules, node, Input::Silent(survey), true, ears.heard);
                touched = Some(node);
            }
            Act::JoinFailed { node, ears } => {
                if World::<N>::all().any(|to| world.may_try(node, to)) {
                    world.budget.silence -= 1;
                    world.parted = true;
                }
                let mut survey = world.survey(node, ears);
                // Nobody is left to try, whatever is claimed.
                survey.claimed &= world.node(node).election.role() != Role::Initial;
                world.step(rules, node, Input::JoinFailed(survey), true, ears.heard);
                touched = Some(node);
            }
            Act::WaitingLost { node, ears } => {
                let survey = world.survey(node, ears);
                world.step(rules, node, Input::WaitingLost(survey), true, ears.heard);
                touched = Some(node);
            }
            Act::MergeLost { node } => {
                world.node_mut(node).gcks = None;
                if let Some(office) = world.node_mut(node).office.as_mut() {
                    office.merging = false;
                    office.quiet = true;
                }
                world.step(rules, node, Input::MergeLost, true, 0);
                world.roll(rules, node, rollover::Input::Abandon);
                touched = Some(node);
            }
            Act::Forge { node } => {
                world.hint(rules, node, None);
                touched = Some(node);
            }
            Act::HandOff { office, to } => {
                world.budget.handoff -= 1;
                world.step(rules, office, Input::HandOff(who(to)), true, 0);
                world.roll(rules, office, rollover::Input::Abandon);
                touched = Some(office);
            }
            Act::HandoffFailed { office } => {
                if let Election::Gcks(Gcks::HandingOff(to)) = world.node(office).election
                    && world.reach(office, named(to))
                {
                    world.budget.silence -= 1;
                    world.parted = true;
                }
                world.step(rules, office, Input::HandoffFailed, true, 0);
                touched = Some(office);
            }
            Act::Rested { office } => {
                world.roll(rules, office, rollover::Input::Rested);
                touched = Some(office);
            }
            Act::Want { office } => {
                world.budget.want -= 1;
                world.roll(rules, office, rollover::Input::Want(RekeyReason::Operator));
                touched = Some(office);
            }
            Act::RekeySaDue { office } => {
                world.budget.rekey_sa -= 1;
                world.roll(rules, office, rollover::Input::SaDue);
                touched = Some(office);
            }
            Act::ForceDue { office } => {
                world.budget.force -= 1;
                world.roll(rules, office, rollover::Input::ForceDue);
                touched = Some(office);
            }
            Act::Omit { office } => {
                world.omit(office);
                touched = Some(office);
            }
            Act::HeirHeld { .. }
            | Act::Forget { .. }
            | Act::GiveUp { .. }
            | Act::RivalGone { .. }
            | Act::JoinsOver { .. }
            | Act::QuietOver { .. }
            | Act::MergeOver { .. }
            | Act::LegacyOver { .. }
            | Act::SecondOver { .. } => touched = span_over(&mut world, act),
            Act::Crash { node } => {
                world.budget.crash -= 1;
                world.crash(node);
            }
            Act::Start { node } => {
                world.node_mut(node).up = true;
                world.step(rules, node, Input::Join, true, 0);
            }
            Act::Pause { node } => {
                world.budget.pause -= 1;
                world.pause(rules, node);
            }
            Act::Split { side } => {
                world.budget.split -= 1;
                world.side = side;
                world.parted = true;
            }
            Act::Heal => world.side = u8::MAX,
        }
        if let Some(node) = touched {
            world.settle(rules, node);
        }
        if !self.lag {
            for node in World::<N>::all() {
                // Who is down stays in the air as it was last heard.
                world.air[usize::from(node)] = world.hello(node).or(world.air[usize::from(node)]);
            }
        }
        world.tidy();
        world.parted &= world.side != u8::MAX || !self.agreed(&world);
        world
    }

    fn deliver(&self, world: &mut World<N>, node: u8, lost: bool) {
        world.budget.lost -= u8::from(lost);
        if !self.late && !lost {
            world.read(self.rules, node);
        }
    }

    /// A group that has settled, reached by the quiet schedule.
    pub(crate) fn start(&self) -> World<N> {
        let mut world = World::new(Budget::default());
        if self.settled {
            let quiet = Self {
                rules: Rules::Shipping,
                outsider: false,
                ..self.clone()
            };
            for node in World::<N>::all() {
                world = quiet.act(&world, Act::Start { node });
            }
            world = quiet.calm(&world, false).0;
        }
        world.budget = self.budget;
        world.parted = false;
        world
    }
}

/// The end of a span of 2 x hold, or of hold.
fn span_over<const N: usize>(world: &mut World<N>, act: Act) -> Option<u8> {
    let mut given_up = 0;
    let (at, of): (u8, &mut dyn FnMut(&mut Office<N>)) = match act {
        Act::HeirHeld { office } => (office, &mut |office| office.held = true),
        Act::Forget { office, peer } => {
            given_up = bit(peer);
            (office, &mut move |office| {
                office.unregistered &= !bit(peer);
                office.forgotten |= bit(peer);
            })
        }
        Act::GiveUp { office, peer } => {
            given_up = bit(peer);
            (office, &mut move |office| {
                if let Some(row) = office.row_mut(peer) {
                    row.live = false;
                }
            })
        }
        Act::RivalGone { office } => (office, &mut |office| office.rival = false),
        Act::JoinsOver { office } => (office, &mut |office| office.joins = false),
        Act::QuietOver { office } => (office, &mut |office| office.quiet = false),
        Act::MergeOver { office, peer } => (office, &mut move |office| office.rows[usize::from(peer)] = None),
        Act::LegacyOver { node } => {
            world.node_mut(node).legacy = None;
            return None;
        }
        Act::SecondOver { node } => {
            world.node_mut(node).second = false;
            return None;
        }
        _ => return None,
    };
    world.given_up |= given_up;
    of(world.node_mut(at).office.as_mut()?);
    Some(at)
}
