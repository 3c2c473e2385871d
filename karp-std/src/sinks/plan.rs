//! The way from one key set to another, in steps that drop no packet on either side.

use karp_core::keytable::RowState;

use super::{KeySet, Sink, SinkError, SinkKey};

/// One step, and the whole set that stands after it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Keys that are accepted from now on.
    Install(Vec<SinkKey>, KeySet),
    /// Keys that are sent with from now on.
    Activate(Vec<SinkKey>, KeySet),
    /// Keys that are not sent with any more.
    Retire(Vec<SinkKey>, KeySet),
    /// Keys that are gone.
    Remove(Vec<SinkKey>, KeySet),
}

/// The steps from what a sink has to what it should have: first what is new is accepted, then the keys to send with change,
/// then what was sent with retires, and last goes what is not wanted any more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    steps: Vec<Step>,
}

impl Plan {
    /// From `has` to `wanted`. A key whose id now belongs to another secret cannot be told apart by a daemon: it is replaced
    /// in the first step.
    #[must_use]
    pub fn new(has: &KeySet, wanted: &KeySet) -> Self {
        let mut steps = Vec::new();
        let known = |key: &SinkKey| has.iter().find(|old| old.is_same_key(key));
        let sent_before = |key: &SinkKey| known(key).is_some_and(|old| old.state == RowState::Active);

        let new: Vec<_> = wanted
            .iter()
            .filter(|key| known(key).is_none())
            .cloned()
            .collect();
        // Until the activation a new key is only accepted, and what was sent with stays so.
        let accepted = new.iter().map(|key| key.with_state(RowState::Pending));
        let installed: KeySet = accepted.chain(has.iter().cloned()).collect();
        if !new.is_empty() {
            steps.push(Step::Install(new, installed.clone()));
        }

        let starts = |key: &&SinkKey| key.state == RowState::Active && !sent_before(key);
        let activated: Vec<_> = wanted.iter().filter(starts).cloned().collect();
        let now = |key: &SinkKey| {
            let stays = wanted.iter().find(|other| other.is_same_key(key));
            let superseded = activated.iter().any(|other| other.protocol == key.protocol);
            match stays {
                Some(stays) => stays.clone(),
                None if superseded && key.state == RowState::Active => key.with_state(RowState::Retiring),
                None => key.clone(),
            }
        };
        let switched: KeySet = installed.iter().map(now).collect();
        if !activated.is_empty() {
            steps.push(Step::Activate(activated, switched.clone()));
        }

        let retired: Vec<_> = switched
            .iter()
            .filter(|key| key.state == RowState::Retiring)
            .filter(|key| known(key).is_none_or(|old| old.state != RowState::Retiring))
            .cloned()
            .collect();
        if !retired.is_empty() {
            steps.push(Step::Retire(retired, switched.clone()));
        }

        let unwanted = |key: &&SinkKey| !wanted.iter().any(|other| other.is_same_key(key));
        let removed: Vec<_> = switched.iter().filter(unwanted).cloned().collect();
        if !removed.is_empty() {
            steps.push(Step::Remove(removed, wanted.clone()));
        }
        Self { steps }
    }

    /// The steps in their order.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Takes `sink` along all steps. `has` follows: after an error it is what the sink has for certain, so that the rest
    /// can be tried again.
    ///
    /// # Errors
    /// The first step that failed.
    pub fn run(self, sink: &mut dyn Sink, has: &mut KeySet) -> Result<(), SinkError> {
        for step in self.steps {
            let after = match step {
                Step::Install(keys, after) => sink.install(&refs(&keys), &after).map(|()| after),
                Step::Activate(keys, after) => sink.activate(&refs(&keys), &after).map(|()| after),
                Step::Retire(keys, after) => sink.retire(&refs(&keys), &after).map(|()| after),
                Step::Remove(keys, after) => sink.remove(&refs(&keys), &after).map(|()| after),
            }?;
            *has = after;
        }
        Ok(())
    }
}

fn refs(keys: &[SinkKey]) -> Vec<&SinkKey> {
    keys.iter().collect()
}
