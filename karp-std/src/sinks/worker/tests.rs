use std::sync::mpsc;

use karp_core::{
    algorithm::{
        RoutingAlgorithm::HmacSha256,
        RoutingProtocol::{Ospfv2, Ospfv3},
    },
    keytable::RowState::{self, Active, Pending, Retiring},
};

use super::*;
use crate::sinks::SinkKey;

/// A daemon that a test starts, stops and makes refuse.
#[derive(Default)]
struct Daemon {
    epoch: Option<u32>,
    /// It has no runs to tell apart, as a program that is called.
    is_none: bool,
    hangs: bool,
    refuses: bool,
    calls: Vec<&'static str>,
    has: KeySet,
    /// What happens right after it was asked for its run.
    next: Option<fn(&mut Daemon)>,
}

#[derive(Clone, Default)]
struct Fake(Arc<Mutex<Daemon>>);

impl Fake {
    fn running() -> Self {
        let fake = Self::default();
        fake.with(|daemon| daemon.epoch = Some(1));
        fake
    }

    fn with<T>(&self, f: impl FnOnce(&mut Daemon) -> T) -> T {
        f(&mut self.0.lock().expect("no panic"))
    }

    fn calls(&self) -> Vec<&'static str> {
        self.with(|daemon| std::mem::take(&mut daemon.calls))
    }

    fn call(&self, name: &'static str, after: &KeySet) -> Result<(), SinkError> {
        self.with(|daemon| {
            daemon.calls.push(name);
            if daemon.refuses {
                return Err(SinkError::refused("no", "ask again"));
            }
            if daemon.epoch.is_none() && !daemon.is_none {
                return Err(SinkError::not_running("gone"));
            }
            daemon.has = after.clone();
            Ok(())
        })
    }
}

impl Sink for Fake {
    fn describe(&self) -> String {
        "a fake".to_owned()
    }
    fn epoch(&mut self) -> Result<Option<String>, SinkError> {
        self.with(|daemon| {
            let epoch = match daemon.epoch {
                _ if daemon.is_none => Ok(None),
                _ if daemon.hangs => Err(SinkError::unreachable("hangs", "wait")),
                Some(epoch) => Ok(Some(epoch.to_string())),
                None => Err(SinkError::not_running("gone")),
            };
            if let Some(next) = daemon.next.take() {
                next(daemon);
            }
            epoch
        })
    }
    fn reconcile(&mut self, wanted: &KeySet) -> Result<(), SinkError> {
        self.call("reconcile", wanted)
    }
    fn install(&mut self, _keys: &[&SinkKey], after: &KeySet) -> Result<(), SinkError> {
        self.call("install", after)
    }
    fn activate(&mut self, _keys: &[&SinkKey], after: &KeySet) -> Result<(), SinkError> {
        self.call("activate", after)
    }
    fn retire(&mut self, _keys: &[&SinkKey], after: &KeySet) -> Result<(), SinkError> {
        self.call("retire", after)
    }
    fn remove(&mut self, _keys: &[&SinkKey], after: &KeySet) -> Result<(), SinkError> {
        self.call("remove", after)
    }
}

fn set(keys: &[(u16, RowState)]) -> KeySet {
    let both = keys.iter().flat_map(|(id, state)| {
        [Ospfv2, Ospfv3].map(|protocol| SinkKey::new(protocol, *id, HmacSha256, *state, b"secret"))
    });
    both.collect()
}

/// A hand with a clock that a test moves.
struct Bench {
    fake: Fake,
    hand: Hand,
    now: Instant,
}

impl Bench {
    fn new(fake: Fake) -> Self {
        Self {
            hand: Hand::new(Box::new(fake.clone()), vec![Ospfv2]),
            fake,
            now: Instant::now(),
        }
    }

    fn want(&mut self, keys: &[(u16, RowState)], generation: u32) -> Option<Report> {
        self.hand.want(&set(keys), generation);
        assert_eq!(self.hand.due(), None);
        self.hand.turn(self.now)
    }

    /// Jumps to when it is due.
    fn later(&mut self) -> (Duration, Option<Report>) {
        let due = self.hand.due().expect("something to do");
        let slept = due.duration_since(self.now);
        self.now = due;
        (slept, self.hand.turn(self.now))
    }

    fn standing(&self) -> Standing {
        self.hand.status().standing
    }
}

#[test]
fn it_follows_what_is_wanted_step_by_step() {
    let mut bench = Bench::new(Fake::running());
    assert_eq!((bench.hand.due(), bench.hand.turn(bench.now)), (None, None));
    let report = bench.want(&[(1, Active)], 3).expect("done");
    assert!(report.is_done() && !report.down && !report.restarted);
    assert_eq!(
        (report.generation, report.attempt, report.epoch.as_deref()),
        (3, 1, Some("1"))
    );
    assert_eq!(bench.fake.calls(), ["reconcile"]);
    // Its protocols alone.
    assert_eq!(
        bench.fake.with(|daemon| daemon.has.clone()),
        set(&[(1, Active)]).only(&[Ospfv2])
    );

    bench.want(&[(1, Active), (2, Pending)], 4).expect("done");
    bench.want(&[(1, Retiring), (2, Active)], 5).expect("done");
    bench.want(&[(2, Active)], 6).expect("done");
    assert_eq!(bench.fake.calls(), ["install", "activate", "retire", "remove"]);
    // The same keys under another generation: it is told so, and nothing is done.
    assert_eq!(bench.want(&[(2, Active)], 7).expect("done").generation, 7);
    assert_eq!(bench.fake.calls(), [""; 0]);
    assert_eq!(bench.later(), (PROBE, None));
    assert_eq!(bench.hand.status().generation, Some(7));
}

#[test]
fn a_failure_is_tried_again_until_it_succeeds() {
    let mut bench = Bench::new(Fake::running());
    bench.want(&[(1, Active)], 1).expect("done");
    bench.fake.with(|daemon| daemon.refuses = true);
    let report = bench.want(&[(1, Active), (2, Pending)], 2).expect("refused");
    assert!(!report.is_done());
    let mut slept = Vec::new();
    for attempt in 2..9 {
        let (delay, report) = bench.later();
        slept.push(u64::try_from(delay.as_millis()).expect("short"));
        assert_eq!(report.expect("refused").attempt, attempt);
    }
    assert_eq!(slept, [250, 500, 1000, 2000, 4000, 5000, 5000]);
    let status = bench.hand.status();
    assert_eq!(
        (status.standing, status.attempts, status.generation),
        (Standing::Failing, 8, Some(1))
    );
    assert_eq!(status.error.expect("why").problem(), "no");
    // Something new is tried at once, and shown as failing until it is done.
    assert_eq!(bench.want(&[(2, Active)], 3).expect("refused").attempt, 9);
    bench.fake.with(|daemon| daemon.refuses = false);
    bench.fake.calls();
    let (_, report) = bench.later();
    let report = report.expect("done");
    assert_eq!(
        (report.is_done(), report.generation, report.attempt),
        (true, 3, 10)
    );
    // What the failed step left behind is not known.
    assert_eq!(bench.fake.calls(), ["reconcile"]);
    assert_eq!(
        (bench.standing(), bench.hand.status().attempts),
        (Standing::Done, 0)
    );
}

#[test]
fn a_daemon_that_starts_anew_is_filled_again() {
    let mut bench = Bench::new(Fake::running());
    bench.want(&[(1, Active)], 1).expect("done");
    bench.fake.calls();
    bench
        .fake
        .with(|daemon| (daemon.epoch, daemon.has) = (Some(2), KeySet::default()));
    let (slept, report) = bench.later();
    let report = report.expect("it is another run");
    assert_eq!((slept, report.restarted, report.is_done()), (PROBE, true, true));
    assert_eq!(report.epoch.as_deref(), Some("2"));
    assert_eq!(bench.fake.calls(), ["reconcile"]);
    // A want that meets another run reconciles as well.
    bench.fake.with(|daemon| daemon.epoch = Some(3));
    assert!(bench.want(&[(2, Active)], 2).expect("done").restarted);
    assert_eq!(bench.fake.calls(), ["reconcile"]);
    assert_eq!(bench.later().1, None);
}

#[test]
fn a_daemon_that_is_down_counts_as_done_and_is_awaited() {
    let mut bench = Bench::new(Fake::default());
    let report = bench.want(&[(1, Active)], 1).expect("down");
    assert!(report.is_done() && report.down && report.result.is_err());
    assert_eq!(bench.fake.calls(), ["reconcile"]);
    for _ in 0..3 {
        assert_eq!(bench.later(), (PROBE, None));
    }
    let report = bench.want(&[(2, Active)], 2).expect("still down");
    assert!(report.down && report.generation == 2);
    bench.fake.calls();
    bench.fake.with(|daemon| daemon.epoch = Some(1));
    let (_, report) = bench.later();
    let report = report.expect("it is there");
    assert!(report.is_done() && !report.down && !report.restarted);
    assert_eq!(bench.fake.calls(), ["reconcile"]);
    // It goes, and comes back as another run.
    bench.fake.with(|daemon| daemon.epoch = None);
    assert!(bench.later().1.expect("it is gone").down);
    assert_eq!(bench.standing(), Standing::Down);
    bench.fake.with(|daemon| daemon.epoch = Some(2));
    let report = bench.later().1.expect("it is there");
    assert!(report.restarted && !report.down);
}

#[test]
fn a_daemon_that_comes_while_it_is_looked_for() {
    let mut bench = Bench::new(Fake::running());
    bench.want(&[(1, Active)], 1).expect("done");
    bench.fake.calls();
    bench.fake.with(|daemon| {
        daemon.epoch = None;
        daemon.next = Some(|daemon| daemon.epoch = Some(2));
    });
    let report = bench.want(&[(2, Active)], 2).expect("done");
    assert!(report.is_done() && !report.down && report.restarted);
    assert_eq!(report.epoch.as_deref(), Some("2"));
    // Once more, for it may have been an earlier run that took the keys first.
    assert_eq!(bench.fake.calls(), ["reconcile", "reconcile"]);

    // Which run it is cannot be told.
    bench.fake.with(|daemon| {
        daemon.epoch = None;
        daemon.next = Some(|daemon| (daemon.epoch, daemon.hangs) = (Some(3), true));
    });
    let report = bench.want(&[(3, Active)], 3).expect("not done");
    assert!(!report.is_done());
    bench.fake.with(|daemon| daemon.hangs = false);
    let report = bench.later().1.expect("done");
    assert!(report.is_done() && report.restarted);
    // And it is looked at again and again.
    assert_eq!(bench.later(), (PROBE, None));
}

#[test]
fn a_daemon_that_refuses_what_it_needs_at_its_return() {
    let mut bench = Bench::new(Fake::running());
    bench.want(&[(1, Active)], 1).expect("done");
    bench
        .fake
        .with(|daemon| (daemon.epoch, daemon.refuses) = (Some(2), true));
    let report = bench.later().1.expect("refused");
    assert!(report.restarted && !report.is_done());
    bench.fake.with(|daemon| daemon.refuses = false);
    assert!(bench.later().1.expect("done").restarted);
    // The file cannot be written, and the daemon is not there: that is no success.
    bench
        .fake
        .with(|daemon| (daemon.epoch, daemon.refuses) = (None, true));
    let report = bench.want(&[(2, Active)], 2).expect("refused");
    assert!(!report.is_done() && !report.down);
}

#[test]
fn a_daemon_that_hangs_is_shown_once_and_keeps_what_it_has() {
    let mut bench = Bench::new(Fake::running());
    bench.want(&[(1, Active)], 1).expect("done");
    bench.fake.calls();
    bench.fake.with(|daemon| daemon.hangs = true);
    let report = bench.later().1.expect("it hangs");
    assert!(!report.is_done() && !report.down);
    assert_eq!(bench.later().1, None);
    assert_eq!(bench.standing(), Standing::Failing);
    bench.fake.with(|daemon| daemon.hangs = false);
    let report = bench.later().1.expect("it answers");
    assert_eq!(
        (report.is_done(), report.attempt, report.generation),
        (true, 3, 1)
    );
    assert_eq!(bench.fake.calls(), [""; 0]);
}

#[test]
fn a_daemon_that_hangs_does_not_keep_another_from_its_keys() {
    let mut bench = Bench::new(Fake::running());
    bench.want(&[(1, Active)], 1).expect("done");
    bench.fake.calls();
    bench.fake.with(|daemon| daemon.hangs = true);
    let report = bench.want(&[(2, Active)], 2).expect("it hangs");
    assert!(!report.is_done());
    // A sink of two daemons fills the one that answers.
    assert_eq!(bench.fake.calls(), ["reconcile"]);
    assert!(!bench.later().1.expect("it hangs").is_done());
    assert_eq!(bench.fake.calls(), ["reconcile"]);
    bench.fake.with(|daemon| daemon.hangs = false);
    assert!(bench.later().1.expect("it answers").is_done());
    assert_eq!(bench.fake.calls(), ["reconcile"]);
}

#[test]
fn a_sink_without_a_daemon_is_not_probed() {
    let fake = Fake::default();
    fake.with(|daemon| daemon.is_none = true);
    let mut bench = Bench::new(fake);
    let report = bench.want(&[(1, Active)], 1).expect("done");
    assert_eq!((report.is_done(), report.epoch), (true, None));
    assert_eq!(bench.hand.due(), None);
}

#[test]
fn the_thread_takes_the_newest_and_leaves_the_keys() {
    let fake = Fake::running();
    let (sender, reports) = mpsc::channel();
    let (gate, opened) = mpsc::channel::<()>();
    let worker = Worker::spawn(
        Box::new(fake.clone()),
        vec![Ospfv2],
        Box::new(move |report| {
            sender.send(report.generation).expect("the test listens");
            let _ = opened.recv();
        }),
    )
    .expect("a thread");
    assert_eq!(worker.status().standing, Standing::Idle);
    worker.want(set(&[(1, Active)]), 1);
    assert_eq!(reports.recv(), Ok(1));
    // It is busy with the report; of what comes meanwhile the last counts.
    worker.want(set(&[(2, Active)]), 2);
    worker.want(set(&[(3, Active)]), 3);
    drop(gate);
    assert_eq!(reports.recv(), Ok(3));
    assert_eq!(worker.status().generation, Some(3));
    drop(worker);
    assert_eq!(reports.recv(), Err(mpsc::RecvError));
    assert_eq!(
        fake.with(|daemon| daemon.has.clone()),
        set(&[(3, Active)]).only(&[Ospfv2])
    );
}
