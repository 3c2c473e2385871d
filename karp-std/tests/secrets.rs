//! No log line and no notice of a group's life on real sockets shows octets of a key.

mod common;
#[path = "../../karp-core/tests/leaks/mod.rs"]
mod leaks;

use std::{
    fmt::{self, Write as _},
    sync::{Arc, Mutex},
    time::Duration,
};

use common::{Router, group, pairs, run_until, settings, signers};
use karp_core::{
    algorithm::{RoutingAlgorithm, RoutingProtocol},
    command::{Command, RekeyReason},
    config::ManualKey,
    io::Role,
};
use karp_std::{clock, credentials::Store, driver, endpoint::Notice};
use leaks::Leaks;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

const MANUAL: &[u8] = b"bAqv7Zt0wK3x typed by hand";

/// Keeps every line of every level, as a subscriber that prints all would.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<String>>);

struct Line<'a>(&'a mut String);

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        write!(self.0, " {field}={value:?}").unwrap();
    }
}

impl Subscriber for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        attributes.record(&mut Line(&mut self.0.lock().unwrap()));
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, values: &span::Record<'_>) {
        values.record(&mut Line(&mut self.0.lock().unwrap()));
    }
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut text = self.0.lock().unwrap();
        event.record(&mut Line(&mut text));
        text.push('\n');
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// Takes note of all keys that the routers have now.
fn learn(routers: &[Router], leaks: &mut Leaks) {
    for router in routers {
        let engine = router.endpoint.engine();
        for key in engine.resumable_keys(clock::now()) {
            leaks.add("a traffic key", key.key.expose());
        }
        for row in engine.key_table().rows(clock::now()) {
            leaks.add("a routing key", row.octets());
        }
    }
}

fn agree(routers: &[Router]) -> bool {
    let serving = routers
        .iter()
        .filter(|router| router.role() == Role::Gcks)
        .count();
    let key = routers.first().and_then(common::sending_key);
    serving == 1 && key.is_some() && routers.iter().all(|router| common::sending_key(router) == key)
}

/// A start, a rollover, a loss of the key server and a leave, with everything that is said on the way.
fn life(stores: impl Fn(usize) -> Store) {
    let lines = Lines::default();
    let kept = Arc::clone(&lines.0);
    let mut leaks = Leaks::default();
    leaks.add("the manual key", MANUAL);
    // What `common` makes keys of, when they are given as octets.
    for seed in 1..4 {
        let mut pair = [0x5a; 32];
        (pair[0], pair[1]) = (seed - 1, seed);
        leaks.add("a pre-shared key", &pair[..10]);
    }
    tracing::subscriber::with_default(lines, || {
        let group = group();
        let mut routers: Vec<Router> = (0..3)
            .map(|n| {
                let mut settings = settings(n, group);
                let key = ManualKey {
                    protocol: RoutingProtocol::Ospfv2,
                    algorithm: RoutingAlgorithm::HmacSha256,
                    id: 7,
                    secret: heapless::Vec::from_slice(MANUAL).unwrap(),
                };
                assert!(settings.manual_keys.push(key).is_ok());
                Router::start(n, settings, stores(n))
            })
            .collect();
        run_until(&mut routers, "one key server and one key", agree);
        learn(&routers, &mut leaks);
        let before = common::sending_key(&routers[0]);
        let (protocol, reason) = (RoutingProtocol::Ospfv2, RekeyReason::Operator);
        routers[0]
            .endpoint
            .command(Command::Rekey { protocol, reason })
            .unwrap();
        assert!(routers[0].endpoint.command(Command::HandOff).is_err());
        run_until(&mut routers, "another key", |routers| {
            agree(routers) && common::sending_key(&routers[0]) != before
        });
        learn(&routers, &mut leaks);
        // Notices are for hosts, who print them.
        let text = &kept;
        for router in &mut routers {
            let mut notices = |notice: Notice<'_>| {
                writeln!(text.lock().unwrap(), "{notice:?} {notice:#?}").unwrap();
            };
            for _ in 0..20 {
                driver::wait(&router.endpoint.fds(), Duration::from_millis(20)).unwrap();
                let _ = router.endpoint.on_readable(&mut notices);
            }
        }
        routers.retain(|router| router.role() != Role::Gcks);
        run_until(&mut routers, "another key server", agree);
        learn(&routers, &mut leaks);
        for router in &mut routers {
            router.endpoint.command(Command::Leave).unwrap();
            for event in &router.events {
                writeln!(kept.lock().unwrap(), "{event:?}").unwrap();
            }
            writeln!(kept.lock().unwrap(), "{:?}", router.endpoint.engine()).unwrap();
        }
    });
    let text = kept.lock().unwrap();
    println!("{} octets of text, {} windows of keys", text.len(), leaks.len());
    for line in [
        "role changed",
        "key installed",
        "key activated",
        "peer joined",
        "follows a key server",
    ] {
        assert!(text.contains(line), "no line says: {line}\n{text}");
    }
    for line in text.lines() {
        assert_eq!(leaks.in_text(line), None, "a key can be read in {line:?}");
    }
    leaks::prove(&leaks, MANUAL);
}

#[test]
fn no_log_line_shows_a_key_with_pre_shared_keys() {
    life(|n| pairs(n, 3));
}

#[test]
fn no_log_line_shows_a_key_with_raw_public_keys() {
    life(|n| signers(n, 3));
}

/// The search is able to fail: a key that somebody logs is found.
#[test]
fn a_logged_key_is_found() {
    let lines = Lines::default();
    let kept = Arc::clone(&lines.0);
    let mut leaks = Leaks::default();
    leaks.add("the manual key", MANUAL);
    tracing::subscriber::with_default(lines, || {
        tracing::info!(id = 7, "key installed");
        assert_eq!(leaks.in_text(&kept.lock().unwrap()), None);
        tracing::debug!(id = 7, key = ?MANUAL, "key installed");
    });
    assert!(leaks.in_text(&kept.lock().unwrap()).is_some());
}
