use karp_core::{
    algorithm::RoutingProtocol::{Bfd, Ospfv2},
    command::RekeyReason::{self, NewSession, PeerRestarted, SequenceExhausted},
};

use super::*;

const KEY: Option<u16> = Some(7);

fn neighbour(id: &str, state: &str) -> Neighbour {
    Neighbour {
        id: id.to_owned(),
        state: state.to_owned(),
        up: state.starts_with("Full") || state == "Up" || state == "2-Way/Other",
    }
}

fn snapshot(epoch: &str, role: LinkRole, neighbours: &[(&str, &str)]) -> Snapshot {
    Snapshot {
        protocol: Ospfv2,
        epoch: epoch.to_owned(),
        router_id: Some(1),
        role: Some(role),
        neighbours: neighbours
            .iter()
            .map(|(id, state)| neighbour(id, state))
            .collect(),
        sequence: None,
    }
}

fn reached(epoch: &str, restarted: bool) -> Advice {
    Advice::Reached {
        epoch: epoch.to_owned(),
        restarted,
    }
}

fn gone() -> Result<Snapshot, ObserveError> {
    Err(ObserveError {
        not_running: true,
        problem: "gone".to_owned(),
    })
}

/// A tracker of a router that is nothing special, whose daemon has been seen once.
struct Seeing(Tracker);

impl Seeing {
    fn new() -> Self {
        let mut tracker = Tracker::new(Priorities::default());
        let first = Ok(snapshot("a", LinkRole::Other, &[]));
        assert_eq!(
            tracker.look(&first, KEY),
            [reached("a", false), Advice::Priority(100)]
        );
        Self(tracker)
    }

    /// The reasons for new keys, where nothing else is advised.
    fn under(&mut self, key: Option<u16>, neighbours: &[(&str, &str)]) -> Vec<RekeyReason> {
        let advice = self.0.look(&Ok(snapshot("a", LinkRole::Other, neighbours)), key);
        let reason = |advice| match advice {
            Advice::Rekey(Ospfv2, reason) => reason,
            other => panic!("{other:?}"),
        };
        advice.into_iter().map(reason).collect()
    }

    fn sees(&mut self, neighbours: &[(&str, &str)]) -> Vec<RekeyReason> {
        self.under(KEY, neighbours)
    }
}

#[test]
fn the_priority_follows_the_role() {
    let mut tracker = Tracker::new(Priorities {
        dr: 9,
        bdr: 8,
        other: 7,
    });
    let mut look = |role| {
        let mut seen = snapshot("a", LinkRole::Other, &[]);
        seen.role = role;
        tracker.look(&Ok(seen), KEY)
    };
    assert_eq!(look(None), [reached("a", false)]);
    assert_eq!(look(Some(LinkRole::Other)), [Advice::Priority(7)]);
    assert_eq!(look(Some(LinkRole::Bdr)), [Advice::Priority(8)]);
    assert_eq!(look(Some(LinkRole::Bdr)), []);
    // The interface is down, or waits: nothing is known.
    assert_eq!(look(None), []);
    assert_eq!(look(Some(LinkRole::Bdr)), []);
    assert_eq!(look(Some(LinkRole::Dr)), [Advice::Priority(9)]);
}

#[test]
fn a_daemon_that_restarts_wants_new_keys_once() {
    let mut it = Seeing::new();
    it.sees(&[("b", "Full/DR")]);
    assert_eq!(it.0.look(&gone(), KEY), [Advice::Lost]);
    assert_eq!(it.0.look(&gone(), KEY), []);
    let anew = |neighbours: &[(&str, &str)]| Ok(snapshot("b", LinkRole::Other, neighbours));
    assert_eq!(
        it.0.look(&anew(&[]), KEY),
        [reached("b", true), Advice::Rekey(Ospfv2, NewSession)]
    );
    // Its neighbours come up again: the same cause.
    assert_eq!(it.0.look(&anew(&[("b", "Init/Other")]), KEY), []);
    assert_eq!(it.0.look(&anew(&[("b", "Full/DR")]), KEY), []);
    // Nobody saw it go.
    assert_eq!(
        it.0.look(&Ok(snapshot("c", LinkRole::Other, &[])), KEY),
        [reached("c", true), Advice::Rekey(Ospfv2, NewSession)]
    );
    // There is nothing to renew.
    assert_eq!(
        it.0.look(&Ok(snapshot("d", LinkRole::Other, &[])), None),
        [reached("d", true)]
    );
}

#[test]
fn a_daemon_that_was_out_of_sight_has_lost_nothing() {
    let mut it = Seeing::new();
    it.sees(&[("b", "Full/DR")]);
    let hangs = Err(ObserveError {
        not_running: false,
        problem: "no answer".to_owned(),
    });
    assert_eq!(it.0.look(&hangs, KEY), []);
    assert_eq!(it.sees(&[("b", "Full/DR")]), []);
    // Somebody removed its socket and put it back.
    assert_eq!(it.0.look(&gone(), KEY), [Advice::Lost]);
    let again = Ok(snapshot("a", LinkRole::Other, &[("b", "Full/DR")]));
    assert_eq!(it.0.look(&again, KEY), [reached("a", false)]);
}

#[test]
fn the_first_adjacencies_want_nothing() {
    let mut it = Seeing::new();
    assert_eq!(it.sees(&[]), []);
    assert_eq!(it.sees(&[("b", "Init/Other")]), []);
    assert_eq!(it.sees(&[("b", "ExStart/Other"), ("c", "Init/Other")]), []);
    assert_eq!(it.sees(&[("b", "Full/BDR"), ("c", "2-Way/Other")]), []);
    assert_eq!(it.sees(&[("b", "Full/BDR"), ("c", "Full/Other")]), []);
}

#[test]
fn a_neighbour_that_restarts_under_the_same_key() {
    let mut it = Seeing::new();
    it.sees(&[("b", "Full/DR"), ("c", "Full/BDR")]);
    assert_eq!(it.sees(&[("c", "Full/DR")]), []);
    assert_eq!(it.sees(&[("b", "Init/Other"), ("c", "Full/DR")]), []);
    assert_eq!(it.sees(&[("b", "Full/BDR"), ("c", "Full/DR")]), [PeerRestarted]);
    assert_eq!(it.sees(&[("b", "Full/BDR"), ("c", "Full/DR")]), []);
    // Again, before there is a new key: it may have been made by now.
    assert_eq!(it.sees(&[("b", "Init/Other"), ("c", "Full/DR")]), []);
    assert_eq!(it.sees(&[("b", "Full/BDR"), ("c", "Full/DR")]), [PeerRestarted]);
}

#[test]
fn a_link_that_flaps_is_one_cause() {
    let mut it = Seeing::new();
    it.sees(&[("b", "Full/DR"), ("c", "Full/BDR"), ("d", "2-Way/Other")]);
    it.sees(&[]);
    assert_eq!(it.sees(&[("b", "Full/DR")]), [PeerRestarted]);
    // They come later, and went before it was asked for.
    assert_eq!(it.sees(&[("b", "Full/DR"), ("c", "Full/BDR")]), []);
    assert_eq!(
        it.sees(&[("b", "Full/DR"), ("c", "Full/BDR"), ("d", "2-Way/Other")]),
        []
    );
}

#[test]
fn after_a_change_of_keys_there_is_nothing_to_replay() {
    let mut it = Seeing::new();
    it.sees(&[("b", "Full/DR")]);
    it.sees(&[]);
    assert_eq!(it.under(Some(8), &[]), []);
    assert_eq!(it.under(Some(8), &[("b", "Full/DR")]), []);
    // It went and came under the new one.
    it.under(Some(8), &[("b", "Down")]);
    assert_eq!(it.under(Some(8), &[("b", "Full/DR")]), [PeerRestarted]);
    // What stayed up over the change belongs to the new key.
    it.under(Some(9), &[("b", "Full/DR")]);
    it.under(Some(9), &[]);
    assert_eq!(it.under(Some(9), &[("b", "Full/DR")]), [PeerRestarted]);
    // Without any key.
    it.under(None, &[("b", "Full/DR")]);
    it.under(None, &[]);
    assert_eq!(it.under(None, &[("b", "Full/DR")]), []);
}

#[test]
fn a_change_of_the_dr_is_no_restart() {
    let mut it = Seeing::new();
    it.sees(&[("b", "2-Way/Other")]);
    it.sees(&[("b", "ExStart/Other")]);
    it.sees(&[("b", "Loading/BDR")]);
    assert_eq!(it.sees(&[("b", "Full/BDR")]), []);
    // And back, the adjacency not being needed any more, with the DR not settled for a moment.
    assert_eq!(it.sees(&[("b", "2-Way/BDR")]), []);
    assert_eq!(it.sees(&[("b", "2-Way/Other")]), []);
    it.sees(&[("b", "Full/BDR")]);
    // What was formed is not formed anew without cause.
    it.sees(&[("b", "ExStart/BDR")]);
    assert_eq!(it.sees(&[("b", "Full/BDR")]), [PeerRestarted]);
}

#[test]
fn sessions_of_other_protocols() {
    let mut tracker = Tracker::new(Priorities::default());
    let mut look = |state| {
        let mut seen = snapshot("a", LinkRole::Other, &[("10.9.0.2", state)]);
        seen.protocol = Bfd;
        tracker.look(&Ok(seen), KEY)
    };
    assert_eq!(look("Down"), [reached("a", false), Advice::Priority(100)]);
    assert_eq!(look("Up"), []);
    assert_eq!(look("Init"), []);
    assert_eq!(look("Up"), [Advice::Rekey(Bfd, PeerRestarted)]);
}

#[test]
fn sequence_numbers_near_their_end() {
    let mut it = Seeing::new();
    let mut look = |sequence, key| {
        let mut seen = snapshot("a", LinkRole::Other, &[]);
        seen.sequence = sequence;
        it.0.look(&Ok(seen), key)
    };
    let ran_out = [Advice::Rekey(Ospfv2, SequenceExhausted)];
    assert_eq!(look(Some((0, u64::MAX)), KEY), []);
    assert_eq!(look(Some((1500, 1600)), KEY).as_slice(), ran_out);
    assert_eq!(look(Some((1501, 1600)), KEY), []);
    // The new key begins anew.
    assert_eq!(look(Some((1499, 1600)), Some(8)), []);
    assert_eq!(look(Some((u64::MAX, u64::MAX)), Some(8)).as_slice(), ran_out);
    assert_eq!(look(Some((0, 0)), Some(8)), []);
    assert_eq!(look(None, Some(8)), []);
}

#[test]
fn the_memory_is_bounded() {
    let mut it = Seeing::new();
    for at in 0..2 * MAX_GONE {
        it.sees(&[(&format!("{at}"), "Full/DR")]);
    }
    assert!(it.0.neighbours.len() <= MAX_GONE);
    // The newest are kept.
    let last = format!("{}", 2 * MAX_GONE - 2);
    assert_eq!(it.sees(&[(&last, "Full/DR")]), [PeerRestarted]);
}
