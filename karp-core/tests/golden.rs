//! Golden traces: what routers say to each other with a fixed seed, as text that a person can read.
//!
//! A change of any octet on the wire shows here. `KARP_BLESS=1 cargo test --test golden` writes the files anew.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic"
)]

mod common;

use std::{cell::RefCell, collections::BTreeMap, fmt::Write as _, path::PathBuf, rc::Rc};

use karp_core::{
    algorithm::RoutingProtocol,
    command::{Command, RekeyReason},
    io::Event,
};
use sha2::{Digest, Sha256};

use common::{
    Lan,
    peek::{self, ElectionState},
    wire::Sent,
};

/// Steps on the wire, in their order.
#[derive(Clone, Default)]
struct Recorder {
    steps: Rc<RefCell<Vec<Sent>>>,
}

impl Recorder {
    fn on(lan: &mut Lan) -> Self {
        let recorder = Self::default();
        let steps = Rc::clone(&recorder.steps);
        lan.tap(move |sent, _| steps.borrow_mut().push(sent.clone()));
        recorder
    }
}

/// The trace from `since` on: prose, the message, and between them what the routers tell of themselves.
fn write(lan: &Lan, recorder: &Recorder, since: u64, title: &str) -> String {
    let mut lines: Vec<(u64, usize, String)> = Vec::new();
    let mut said: BTreeMap<usize, ElectionState> = BTreeMap::new();
    for (order, sent) in recorder.steps.borrow().iter().enumerate() {
        let by = sent.by.unwrap();
        let news = peek::election(&sent.octets).map(|mut state| {
            // How many live members a GCKS counts is no news by itself.
            state.members = 0;
            let before = said.insert(by, state);
            (before, state)
        });
        if sent.at < since || news.is_some_and(|(before, state)| before == Some(state)) {
            continue;
        }
        let mut text = String::new();
        let again = recorder.steps.borrow()[..order]
            .iter()
            .any(|earlier| earlier.octets == sent.octets);
        let prose = if again {
            "The same octets once more."
        } else {
            prose(sent, news)
        };
        writeln!(text, "# {prose}").unwrap();
        writeln!(
            text,
            "{}  {} -> {}  {}",
            stamp(sent.at),
            lan.nodes[by].name,
            lan.name_of(sent.to),
            peek::describe(&sent.octets)
        )
        .unwrap();
        let digest: [u8; 32] = Sha256::digest(&sent.octets).into();
        write!(text, "           sha256 {}", hex(&digest[..8])).unwrap();
        lines.push((sent.at, order * 2, text));
    }
    for node in &lan.nodes {
        for (at, event) in node.events.iter().filter(|(at, _)| *at >= since) {
            let text = format!("{}  {}: {}", stamp(*at), node.name, tell(event));
            lines.push((*at, usize::MAX, text));
        }
    }
    lines.sort_by_key(|(at, order, _)| (*at, *order));
    let mut text = format!("# {title}\n# Announcements that say nothing new are left out.\n\n");
    for (_, _, line) in lines {
        text.push_str(&line);
        text.push('\n');
    }
    text
}

fn stamp(at: u64) -> String {
    format!("{:>3}.{:03} s", at / 1000, at % 1000)
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn tell(event: &Event) -> String {
    match event {
        Event::RoleChanged { role } => format!("is {role:?} now"),
        Event::GcksChanged { gcks: Some(gcks) } => format!("follows {gcks}"),
        Event::GcksChanged { gcks: None } => "follows nobody".into(),
        Event::StateApplied { generation } => format!("its key table changed (state {generation})"),
        Event::KeyInstalled { id } => format!("accepts with key {id}"),
        Event::KeyActivated { id } => format!("sends with key {id}"),
        Event::KeyRetired { id } => format!("sends with key {id} no more"),
        Event::KeyRemoved { id } => format!("forgets key {id}"),
        Event::PeerJoined {
            peer,
            octets,
            elapsed,
        } => {
            format!(
                "registration with {peer}, {octets} octets in {} ms",
                elapsed.as_millis()
            )
        }
        Event::PeerLeft { peer } => format!("{peer} is gone"),
        Event::RekeyStarted { id } => format!("a rollover to key {id} begins"),
        Event::RekeyCompleted { id } => format!("the rollover to key {id} is complete"),
        Event::Alarm { alarm, raised } => {
            format!("alarm {} {}", alarm.name(), if *raised { "on" } else { "off" })
        }
        other => format!("{other:?}"),
    }
}

fn prose(sent: &Sent, news: Option<(Option<ElectionState>, ElectionState)>) -> &'static str {
    let header = sent.header();
    if let Some((before, state)) = news {
        return announcement(before, state);
    }
    let cookie = peek::notify(&sent.octets, peek::COOKIE).is_some();
    match (header.exchange, header.is_response()) {
        (peek::IKE_SA_INIT, false) if cookie => {
            "It asks again, with the cookie that shows that it can be reached."
        }
        (peek::IKE_SA_INIT, false) => {
            "It asks the candidate, with a proposal, a fresh public key and a nonce."
        }
        (peek::IKE_SA_INIT, true) if cookie => "Under load: come again with this cookie.",
        (peek::IKE_SA_INIT, true) if peek::notify(&sent.octets, peek::REDIRECT).is_some() => {
            "It is not in office: ask that one."
        }
        (peek::IKE_SA_INIT, true) if peek::notify(&sent.octets, peek::TEMPORARY_FAILURE).is_some() => {
            "It is not in office and knows nobody who is."
        }
        (peek::IKE_SA_INIT, true) => {
            "The answer: its own public key and nonce. Both can derive the keys of an IKE SA."
        }
        (peek::GSA_AUTH, false) => {
            "Sealed: who it is, the proof, the group, its instance and election state."
        }
        (peek::GSA_AUTH, true) => {
            "Sealed: who the key server is, its proof, and the state: Rekey SA and traffic keys."
        }
        (peek::GSA_REGISTRATION, false) => "It asks for the state, and shows which keys it has.",
        (peek::GSA_REGISTRATION, true) => "The state as it is, or nothing yet for one who waits.",
        (peek::GSA_INBAND_REKEY, false) => "The key server pushes the state to one node.",
        (peek::GSA_INBAND_REKEY, true) => "It has the state.",
        // Nothing but padding in SK.
        (peek::INFORMATIONAL, false) if sent.octets.len() == 57 => "Are you there?",
        (peek::INFORMATIONAL, false) => "Sealed: it asks for new keys, or says goodbye.",
        (peek::INFORMATIONAL, true) => "Heard.",
        (peek::GSA_REKEY, _) => "One key update to all: the whole state, sealed under the Rekey SA.",
        _ => "?",
    }
}

fn announcement(before: Option<ElectionState>, now: ElectionState) -> &'static str {
    if now.flags & ElectionState::LEAVING != 0 {
        return "It leaves.";
    }
    let Some(before) = before else {
        return "It is heard for the first time.";
    };
    if before.state != now.state {
        return match now.state {
            ElectionState::GCKS => "It has taken office.",
            ElectionState::MEMBER => "It is a member.",
            _ => "It looks for a key server.",
        };
    }
    if before.spi != now.spi {
        return "It follows another Rekey SA.";
    }
    if before.generation < now.generation {
        return "It holds the keys of a newer generation: this is its acknowledgement.";
    }
    "It says something new of itself."
}

/// Compares with the file, or writes it.
fn golden(name: &str, text: &str) {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "traces", name]
        .iter()
        .collect();
    if std::env::var_os("KARP_BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
        return;
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    if stored == text {
        return;
    }
    let at = stored.lines().zip(text.lines()).position(|(old, new)| old != new);
    let at = at.unwrap_or_else(|| stored.lines().count().min(text.lines().count()));
    panic!(
        "{name} differs from line {}:\n  was {:?}\n  is  {:?}\nKARP_BLESS=1 writes it anew",
        at + 1,
        stored.lines().nth(at),
        text.lines().nth(at)
    );
}

#[test]
fn initial_exchange() {
    let mut lan = Lan::of(1, 2);
    lan.start(1);
    lan.settle(6_000);
    lan.run(100);
    let recorder = Recorder::on(&mut lan);
    let since = lan.now;
    lan.start(0);
    lan.settle(3_000);
    lan.run(2_500);
    let title = "r1 starts where r2 serves: the initial exchange (PROTOCOL.md section 4).";
    golden("exchange.txt", &write(&lan, &recorder, since, title));
}

#[test]
fn rollover() {
    let mut lan = Lan::settled(1, 3);
    let recorder = Recorder::on(&mut lan);
    lan.run(8_000);
    let since = lan.now;
    let reason = RekeyReason::Operator;
    lan.command(
        0,
        Command::Rekey {
            protocol: RoutingProtocol::Ospfv2,
            reason,
        },
    )
    .unwrap();
    lan.run(6_000);
    let title = "r1 asks for new keys, and r3 makes them: a rollover in two phases (PROTOCOL.md section 7).";
    golden("rollover.txt", &write(&lan, &recorder, since, title));
}

#[test]
fn failover() {
    let mut lan = Lan::settled(1, 3);
    let recorder = Recorder::on(&mut lan);
    lan.run(8_000);
    let since = lan.now;
    lan.crash(2);
    lan.run(14_000);
    let title = "r3, the key server, dies; r2 is its heir (PROTOCOL.md sections 5.3 and 5.5).";
    golden("failover.txt", &write(&lan, &recorder, since, title));
}
