//! The way from one key set to another, in steps that drop no packet on either side.

use karp_core::keytable::RowState;

use super::{KeySet, Sink, SinkError, SinkKey};

/// What a step does to its keys: the events of a key's life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// They are accepted from now on.
    Install,
    /// They are sent with from now on.
    Activate,
    /// They are not sent with any more.
    Retire,
    /// They are gone.
    Remove,
}

/// One step: what it does, to which keys, and the whole set that stands after it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    action: Action,
    keys: Vec<SinkKey>,
    after: KeySet,
}

impl Step {
    /// What it does.
    #[must_use]
    pub fn action(&self) -> Action {
        self.action
    }

    /// To which keys, as they are after it; those of [`Action::Remove`] as they were before. Never empty.
    #[must_use]
    pub fn keys(&self) -> &[SinkKey] {
        &self.keys
    }

    /// The whole set after it.
    #[must_use]
    pub fn after(&self) -> &KeySet {
        &self.after
    }

    fn run(&self, sink: &mut dyn Sink) -> Result<(), SinkError> {
        let keys: Vec<&SinkKey> = self.keys.iter().collect();
        match self.action {
            Action::Install => sink.install(&keys, &self.after),
            Action::Activate => sink.activate(&keys, &self.after),
            Action::Retire => sink.retire(&keys, &self.after),
            Action::Remove => sink.remove(&keys, &self.after),
        }
    }
}

/// The steps from what a sink has to what it should have: first what is new is accepted, then the keys to send with
/// change, then what was sent with retires, and last goes what is not wanted any more.
///
/// After each step a protocol that is to have a key to send with, and had one, has one; and until the removal the old one
/// and the new one are both accepted. There is one exception, which the group's choice of key ids avoids: an id of
/// the key that is sent with can belong to another key only from one moment to the next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    steps: Vec<Step>,
}

impl Plan {
    /// From `has` to `wanted`; no steps if they are equal.
    #[must_use]
    pub fn new(has: &KeySet, wanted: &KeySet) -> Self {
        let mut plan = Planning {
            now: has.clone(),
            steps: Vec::new(),
        };
        plan.install(wanted);
        plan.activate(wanted);
        plan.retire(has, wanted);
        plan.remove(wanted);
        plan.settle(wanted);
        Self { steps: plan.steps }
    }

    /// The steps in their order.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Takes `sink` along all steps. `has` follows: after an error it is the set of the last step that succeeded.
    ///
    /// # Errors
    /// The first step that failed. What it did by halves is not known: [`Sink::reconcile`] is the way on.
    pub fn run(self, sink: &mut dyn Sink, has: &mut KeySet) -> Result<(), SinkError> {
        for step in self.steps {
            step.run(sink)?;
            *has = step.after;
        }
        Ok(())
    }
}

/// A plan in the making, and the set that stands after its steps so far.
struct Planning {
    now: KeySet,
    steps: Vec<Step>,
}

impl Planning {
    fn step(&mut self, action: Action, keys: Vec<SinkKey>, after: KeySet) {
        if keys.is_empty() {
            return;
        }
        self.now = after.clone();
        self.steps.push(Step { action, keys, after });
    }

    /// What is new is accepted. Where its id belongs to a key that is not sent with it takes that one's place. Where the key
    /// is sent with it waits until that has changed; unless it is to be sent with itself, so that there is no
    /// third key to go by.
    fn install(&mut self, wanted: &KeySet) {
        let mut new = Vec::new();
        for key in wanted.iter() {
            let holder = self.now.iter().find(|old| old.has_same_id(key));
            let state = match (holder.map(|old| old.state), key.state) {
                _ if holder.is_some_and(|old| old.is_same_key(key)) => continue,
                (Some(RowState::Active), RowState::Active) => RowState::Active,
                (Some(RowState::Active), _) => continue,
                (_, RowState::Active) => RowState::Pending,
                (_, state) => state,
            };
            new.push(key.with_state(state));
        }
        let kept = self
            .now
            .iter()
            .filter(|old| !new.iter().any(|key| key.has_same_id(old)));
        let after = kept.chain(&new).cloned().collect();
        self.step(Action::Install, new, after);
    }

    fn activate(&mut self, wanted: &KeySet) {
        let sent = |key: &SinkKey| {
            self.now
                .sending(key.protocol)
                .is_some_and(|old| old.is_same_key(key))
        };
        let starts = |key: &&SinkKey| key.state == RowState::Active && !sent(key);
        let activated: Vec<SinkKey> = wanted.iter().filter(starts).cloned().collect();
        let after = self.now.iter().map(|old| {
            if let Some(key) = activated.iter().find(|key| key.has_same_id(old)) {
                key.clone()
            } else if old.state == RowState::Active
                && activated.iter().any(|key| key.protocol == old.protocol)
            {
                old.with_state(RowState::Retiring)
            } else {
                old.clone()
            }
        });
        let after = after.collect();
        self.step(Action::Activate, activated, after);
    }

    /// Also those retire that go in the next step: a key's life is told whole.
    fn retire(&mut self, has: &KeySet, wanted: &KeySet) {
        let was = |key: &SinkKey| has.iter().find(|old| old.is_same_key(key)).map(|old| old.state);
        let will = |key: &SinkKey| {
            wanted
                .iter()
                .find(|new| new.is_same_key(key))
                .map(|new| new.state)
        };
        let retires = |key: &&SinkKey| match key.state {
            RowState::Retiring => was(key).is_some_and(|state| state != RowState::Retiring),
            RowState::Active | RowState::Pending => will(key) == Some(RowState::Retiring),
        };
        let retired: Vec<SinkKey> = self
            .now
            .iter()
            .filter(retires)
            .map(|key| key.with_state(RowState::Retiring))
            .collect();
        let after = self.now.iter().map(|old| {
            let key = retired.iter().find(|key| key.has_same_id(old));
            key.unwrap_or(old).clone()
        });
        let after = after.collect();
        self.step(Action::Retire, retired, after);
    }

    fn remove(&mut self, wanted: &KeySet) {
        let stays = |key: &&SinkKey| wanted.iter().any(|other| other.is_same_key(key));
        let (kept, removed): (Vec<&SinkKey>, Vec<&SinkKey>) = self.now.iter().partition(stays);
        let (removed, after) = (
            removed.into_iter().cloned().collect(),
            kept.into_iter().cloned().collect(),
        );
        self.step(Action::Remove, removed, after);
    }

    /// What had to wait for an id, and keys that are to be called Pending again.
    fn settle(&mut self, wanted: &KeySet) {
        let open = |key: &&SinkKey| !self.now.iter().any(|now| now == *key);
        let late = wanted.iter().filter(open).cloned().collect();
        self.step(Action::Install, late, wanted.clone());
    }
}

#[cfg(test)]
mod tests {
    use karp_core::algorithm::{
        RoutingAlgorithm::HmacSha256,
        RoutingProtocol::{self, *},
    };
    use proptest::prelude::*;

    use super::*;

    fn key(protocol: RoutingProtocol, id: u16, secret: u8, state: RowState) -> SinkKey {
        SinkKey::new(protocol, id, HmacSha256, state, &[secret])
    }

    fn set(keys: &[(u16, RowState)]) -> KeySet {
        keys.iter()
            .map(|(id, state)| key(Ospfv2, *id, 0, *state))
            .collect()
    }

    fn actions(has: &KeySet, wanted: &KeySet) -> Vec<(Action, Vec<u16>)> {
        let plan = Plan::new(has, wanted);
        plan.steps
            .iter()
            .map(|step| (step.action, step.keys.iter().map(|key| key.id).collect()))
            .collect()
    }

    #[test]
    fn the_steps_of_a_rollover() {
        use RowState::{Active, Pending, Retiring};
        let old = set(&[(1, Active)]);
        let distributed = set(&[(1, Active), (2, Pending)]);
        let activated = set(&[(1, Retiring), (2, Active)]);
        let done = set(&[(2, Active)]);
        assert_eq!(actions(&old, &distributed), [(Action::Install, vec![2])]);
        assert_eq!(
            actions(&distributed, &activated),
            [(Action::Activate, vec![2]), (Action::Retire, vec![1])]
        );
        assert_eq!(actions(&activated, &done), [(Action::Remove, vec![1])]);
        // All at once, after the sink missed the states in between.
        assert_eq!(
            actions(&old, &done),
            [
                (Action::Install, vec![2]),
                (Action::Activate, vec![2]),
                (Action::Retire, vec![1]),
                (Action::Remove, vec![1])
            ]
        );
        assert_eq!(actions(&done, &done), []);
    }

    #[test]
    fn an_id_in_use_for_another_key() {
        use RowState::{Active, Pending};
        let has: KeySet = [key(Ospfv2, 1, 1, Active)].into_iter().collect();
        // To be sent with as well: there is no way but to replace it.
        let replaced: KeySet = [key(Ospfv2, 1, 2, Active)].into_iter().collect();
        let plan = Plan::new(&has, &replaced);
        assert_eq!(plan.steps.len(), 1);
        assert_eq!(plan.steps[0].after, replaced);
        // Another is sent with: first that, then the id changes hands.
        let wanted: KeySet = [key(Ospfv2, 1, 2, Pending), key(Ospfv2, 2, 2, Active)]
            .into_iter()
            .collect();
        let steps: Vec<Action> = Plan::new(&has, &wanted).steps.iter().map(Step::action).collect();
        assert_eq!(
            steps,
            [
                Action::Install,
                Action::Activate,
                Action::Retire,
                Action::Remove,
                Action::Install
            ]
        );
    }

    /// Holds what the steps say, and fails at the step that is told.
    struct Fake {
        has: KeySet,
        steps: usize,
        fails_at: Option<usize>,
    }

    impl Fake {
        fn step(&mut self, after: &KeySet) -> Result<(), SinkError> {
            if self.fails_at == Some(self.steps) {
                self.fails_at = None;
                return Err(SinkError::refused("no", "try again"));
            }
            self.steps += 1;
            self.has = after.clone();
            Ok(())
        }
    }

    impl Sink for Fake {
        fn describe(&self) -> String {
            "a fake".to_owned()
        }
        fn epoch(&mut self) -> Result<Option<String>, SinkError> {
            Ok(None)
        }
        fn reconcile(&mut self, wanted: &KeySet) -> Result<(), SinkError> {
            self.has = wanted.clone();
            Ok(())
        }
        fn install(&mut self, keys: &[&SinkKey], after: &KeySet) -> Result<(), SinkError> {
            for key in keys {
                assert!(
                    after.iter().any(|other| other == *key),
                    "{key:?} is not there after it"
                );
            }
            self.step(after)
        }
        fn activate(&mut self, keys: &[&SinkKey], after: &KeySet) -> Result<(), SinkError> {
            for key in keys {
                assert!(
                    self.has.iter().any(|old| old.is_same_key(key)),
                    "{key:?} was not accepted"
                );
                assert_eq!(after.sending(key.protocol), Some(*key));
            }
            self.step(after)
        }
        fn retire(&mut self, keys: &[&SinkKey], after: &KeySet) -> Result<(), SinkError> {
            for key in keys {
                assert_eq!(key.state, RowState::Retiring);
                assert!(after.iter().any(|other| other == *key));
            }
            self.step(after)
        }
        fn remove(&mut self, keys: &[&SinkKey], after: &KeySet) -> Result<(), SinkError> {
            for key in keys {
                assert!(
                    self.has.iter().any(|old| old == *key),
                    "{key:?} is not there to remove"
                );
                assert!(!after.iter().any(|other| other.is_same_key(key)));
            }
            self.step(after)
        }
    }

    fn any_state() -> impl Strategy<Value = RowState> {
        prop_oneof![
            Just(RowState::Pending),
            Just(RowState::Active),
            Just(RowState::Retiring)
        ]
    }

    /// Any key set. With one secret an id always names the same key, as it does in a group.
    fn any_set(secrets: u8) -> impl Strategy<Value = KeySet> {
        let protocol = prop_oneof![Just(Ospfv2), Just(Ospfv3), Just(Babel)];
        let key =
            (protocol, 1_u16..6, 0..secrets, any_state()).prop_map(|(p, id, s, state)| key(p, id, s, state));
        prop::collection::vec(key, 0..10).prop_map(|keys| keys.into_iter().collect())
    }

    fn check(has: &KeySet, wanted: &KeySet, fails_at: Option<usize>, ids_are_stable: bool) {
        let (mut before, mut removed) = (has.clone(), false);
        for step in Plan::new(has, wanted).steps {
            removed |= step.action == Action::Remove;
            assert!(!step.keys.is_empty());
            for protocol in RoutingProtocol::ALL {
                let sender = |set: &KeySet| set.sending(protocol).cloned();
                if sender(&before).is_some() && sender(wanted).is_some() {
                    assert!(
                        sender(&step.after).is_some(),
                        "{protocol:?} has nothing to send with"
                    );
                }
                if !ids_are_stable {
                    continue;
                }
                let accepts = |key: &Option<SinkKey>| {
                    key.as_ref()
                        .is_none_or(|key| step.after.iter().any(|other| other.is_same_key(key)))
                };
                if !removed {
                    assert!(accepts(&sender(has)), "the old one is refused too early");
                    assert!(accepts(&sender(wanted)), "the new one is not accepted");
                }
            }
            before = step.after;
        }
        assert_eq!(before, *wanted);

        let mut sink = Fake {
            has: has.clone(),
            steps: 0,
            fails_at,
        };
        let mut known = has.clone();
        if Plan::new(&known, wanted).run(&mut sink, &mut known).is_err() {
            assert_eq!(known, sink.has);
            Plan::new(&known, wanted)
                .run(&mut sink, &mut known)
                .expect("it fails once");
        }
        assert_eq!((&known, &sink.has), (wanted, wanted));
    }

    proptest! {
        #[test]
        fn no_step_takes_the_sending_key(
            has in any_set(1), wanted in any_set(1), fails_at in prop::option::of(0_usize..6)
        ) {
            check(&has, &wanted, fails_at, true);
        }

        #[test]
        fn nor_does_an_id_that_changes_hands(
            has in any_set(3), wanted in any_set(3), fails_at in prop::option::of(0_usize..6)
        ) {
            check(&has, &wanted, fails_at, false);
        }
    }
}
