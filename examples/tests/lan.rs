//! The demonstration in real time, about twenty seconds: both runs at once, each with routers and ports of its own.

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use karp_examples::{
    lan::{self, Outcome, plan::Options},
    timeline::{Style, Timeline},
};
use karp_std::clock;
use serde_json::Value;

/// A run on a machine that stood still for longer than the routers' hold says nothing; it is played again so often.
const TRIES: usize = 3;

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn play(options: &Options) -> (Outcome, Vec<Value>) {
    for _ in 0..TRIES {
        let sink = Sink::default();
        let timeline = Timeline::new(Style::Json, clock::now(), Box::new(sink.clone()));
        let outcome = lan::run(options.clone(), timeline).unwrap();
        if outcome.summary.ok || !outcome.is_stalled() {
            let octets = sink.0.lock().unwrap().clone();
            let text = String::from_utf8(octets).unwrap();
            let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
            return (outcome, lines.collect());
        }
        eprintln!(
            "the machine stood still for {} ms: again",
            outcome.longest_stall_ms
        );
    }
    panic!("the machine stood still in each of {TRIES} runs");
}

/// What every good run has in common.
fn check(options: &Options) -> Vec<Value> {
    let (outcome, lines) = play(options);
    assert_eq!(outcome.failure, None);
    let (last, events) = lines.split_last().unwrap();
    let summary = &last["summary"];
    let number = |name: &str| {
        summary[name]
            .as_u64()
            .unwrap_or_else(|| panic!("no {name} in {summary}"))
    };
    assert_eq!(summary["ok"], true);
    assert_eq!(number("routers"), options.routers as u64);
    assert_eq!(
        number("keyed"),
        options.routers as u64 - 1,
        "all but the evicted one"
    );
    assert_eq!(number("hellos_rejected"), 0);
    assert_eq!(number("evictions"), 1);
    assert!(number("handoffs") >= 1 && number("failovers") >= 1 && number("rollovers") >= 5);
    assert!(number("handshakes") >= 2 * options.routers as u64);
    // Ten a second, from each router, in two protocols, for ten seconds at the least.
    assert!(number("hellos_sent") > 100 * options.routers as u64);
    assert!(number("hellos_accepted") > number("hellos_sent"));
    assert!(summary["gcks"].is_string());
    assert!(
        events
            .iter()
            .all(|event| event["event"].is_string() && event["t_ms"].is_u64())
    );
    let steps = events
        .iter()
        .filter(|event| event["event"] == "step_done")
        .count();
    assert_eq!(steps, 10);
    check_picture(&outcome, options.routers);
    let text = format!("{lines:?}");
    assert!(!text.contains("Secret"), "no key is shown");
    lines
}

/// Its file has a band for each router, in which it is seen with a role, with keys and with neighbours.
fn check_picture(outcome: &Outcome, routers: usize) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lan.svg");
    outcome.chart.write(&path).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let document = roxmltree::Document::parse(&text).unwrap();
    for n in 1..=routers {
        let name = format!("r{n}");
        let mut nodes = document.descendants();
        let band = nodes
            .find(|node| node.attribute("data-router") == Some(name.as_str()))
            .unwrap_or_else(|| panic!("{name} is not in the picture"));
        let has = |class: &str| {
            let mut nodes = band.descendants();
            nodes.any(|node| node.attribute("class") == Some(class))
        };
        for class in ["span member", "span manual-key", "span key", "span full"] {
            assert!(has(class), "{name} has no {class}");
        }
        assert!(!has("mark lost"), "{name} refused a hello in the picture only");
    }
    assert_eq!(text.matches("class=\"phase\"").count(), 10);
}

#[test]
fn three_routers_with_pre_shared_keys() {
    check(&Options::default());
}

#[test]
fn five_routers_with_signatures_on_a_lossy_link() {
    check(&Options {
        routers: 5,
        signed: true,
        loss: 5,
        seed: Some(7),
        ..Options::default()
    });
}

#[test]
fn two_routers_and_too_much_loss_are_refused() {
    let refused = |options: Options| {
        let timeline = Timeline::new(Style::Plain, clock::now(), Box::new(Sink::default()));
        lan::run(options, timeline).unwrap_err().to_string()
    };
    let two = Options {
        routers: 2,
        ..Options::default()
    };
    assert!(refused(two).contains("3 to 32 routers"));
    let loss = Options {
        loss: 31,
        ..Options::default()
    };
    assert!(refused(loss).contains("0 to 30"));
}

#[test]
fn it_ends_when_it_is_told_to() {
    let options = Options::default();
    options.stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let (outcome, lines) = play(&options);
    assert!(outcome.interrupted && !outcome.summary.ok);
    assert_eq!(lines.last().unwrap()["summary"]["ok"], false);
}
