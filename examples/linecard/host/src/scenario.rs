//! What the card and its neighbour go through, and what has to hold at each step.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use karp_core::{
    Command,
    algorithm::RoutingProtocol,
    command::RekeyReason,
    crypto::{Secret, SigningKey},
};
use karp_std::entropy::OsEntropy;
use linecard_link::console::{self, Activity, Proof, Request, Status};

use crate::{
    card::Card,
    neighbour::{Neighbour, Step, request},
};

/// How long a step may take. Each takes seconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the card is asked how it fares.
const ASK: Duration = Duration::from_millis(100);

/// The line with the card at one end and the neighbour, while it is up, at the other.
struct Line<'a> {
    card: &'a mut Card,
    neighbour: Option<Neighbour>,
    /// What the card last said.
    fares: Option<Status>,
}

impl Line<'_> {
    /// Carries packets until `done` is content with how the neighbour and the card fare.
    fn until(
        &mut self,
        what: &str,
        asking: Request,
        mut done: impl FnMut(Option<Status>, Status) -> bool,
    ) -> anyhow::Result<()> {
        let begin = Instant::now();
        let mut ask = begin;
        self.fares = None;
        let mut asking = Some(asking);
        loop {
            let now = Instant::now();
            let own = self.neighbour.as_ref().map(Neighbour::status);
            if self.fares.is_some_and(|card| done(own, card)) {
                println!("host held: {what}, {} ms", begin.elapsed().as_millis());
                return Ok(());
            }
            if now > begin + PATIENCE {
                bail!("not held: {what}; host {own:?}, card {:?}", self.fares);
            }
            if now >= ask {
                self.card
                    .send(&request(asking.take().unwrap_or(Request::Status)))?;
                ask = now + ASK;
            }
            self.step(ask)?;
        }
    }

    /// Does the next thing, or waits for the line, not beyond `ask`.
    fn step(&mut self, ask: Instant) -> anyhow::Result<()> {
        let mut wait = ask.saturating_duration_since(Instant::now());
        if let Some(neighbour) = &mut self.neighbour {
            match neighbour.poll() {
                Step::Packet(packet) => return self.card.send(packet),
                Step::Done => return Ok(()),
                Step::Idle(next) => wait = wait.min(next),
            }
        }
        let (neighbour, fares) = (&mut self.neighbour, &mut self.fares);
        self.card.receive(wait, |envelope, datagram| {
            if envelope.to.port() == console::PORT {
                *fares = Status::read(datagram);
            } else if let Some(neighbour) = neighbour {
                neighbour.handle(envelope, datagram);
            }
        })
    }
}

/// A group of two: the card, and this process.
pub(crate) fn together(card: &mut Card, signatures: bool) -> anyhow::Result<()> {
    let (own, cards) = proofs(signatures);
    let mut line = Line {
        card,
        neighbour: Some(Neighbour::start(&own)?),
        fares: None,
    };
    let start = Request::Start {
        entropy: octets(),
        proof: cards,
    };
    line.until(
        "the card registers with the host, and both have the same key",
        start,
        |host, card| are(host, card, Activity::Gcks, Activity::Member) && same_key(host, card).is_some(),
    )?;
    let key = line.fares.and_then(|card| card.key);
    let neighbour = line.neighbour.as_mut().context("the host is down")?;
    neighbour.command(rekey())?;
    line.until(
        "the host changes the keys, and both have the new one",
        Request::Status,
        |host, card| same_key(host, card).is_some_and(|new| Some(new) != key),
    )?;
    let key = line.fares.and_then(|card| card.key);
    println!("host dies");
    line.neighbour = None;
    line.until(
        "the card takes office, with the key that it had",
        Request::Status,
        |_, card| card.activity == Activity::Gcks && card.key == key,
    )?;
    println!("host comes back with nothing but its configuration");
    line.neighbour = Some(Neighbour::start(&own)?);
    line.until(
        "the host registers with the card, and both have a key that the host never had",
        Request::Status,
        |host, card| {
            are(host, card, Activity::Member, Activity::Gcks)
                && same_key(host, card).is_some_and(|new| Some(new) != key)
        },
    )?;
    let key = line.fares.and_then(|card| card.key);
    line.until(
        "the card changes the keys, and both have the new one",
        Request::Rekey,
        |host, card| same_key(host, card).is_some_and(|new| Some(new) != key),
    )?;
    // The one that is replaced goes after its time, at both.
    line.until("both have the new key alone", Request::Status, |host, card| {
        same_key(host, card).is_some() && card.keys == 1 && host.is_some_and(|host| host.keys == 1)
    })
}

/// The card with two routers of its own. It judges, and says what it found.
pub(crate) fn alone(card: &mut Card, signatures: bool) -> anyhow::Result<()> {
    let mut line = Line {
        card,
        neighbour: None,
        fares: None,
    };
    let start = Request::Alone {
        entropy: octets(),
        signatures,
    };
    let mut end = Activity::Waiting;
    line.until("the card's two routers went through it all", start, |_, card| {
        end = card.activity;
        matches!(end, Activity::AloneHeld | Activity::AloneFailed)
    })?;
    if end == Activity::AloneFailed {
        bail!("not held: what the card's two routers went through");
    }
    Ok(())
}

fn octets() -> [u8; 32] {
    *Secret::random(&mut OsEntropy).expose()
}

/// How the host and the card prove themselves.
fn proofs(signatures: bool) -> (Proof, Proof) {
    if !signatures {
        let key = octets();
        return (Proof::SharedKey(key), Proof::SharedKey(key));
    }
    let [(one, one_public), (two, two_public)] = [(); 2].map(|()| {
        let seed = octets();
        (seed, SigningKey::from_seed(&Secret::from_bytes(seed)).public())
    });
    let proof = |own, peer| Proof::Signature { own, peer };
    (proof(one, two_public), proof(two, one_public))
}

const fn rekey() -> Command<'static> {
    Command::Rekey {
        protocol: RoutingProtocol::Ospfv2,
        reason: RekeyReason::Operator,
    }
}

fn are(host: Option<Status>, card: Status, hosts: Activity, cards: Activity) -> bool {
    host.is_some_and(|host| host.activity == hosts) && card.activity == cards
}

fn same_key(host: Option<Status>, card: Status) -> Option<(u16, [u8; 4])> {
    host.and_then(|host| host.key)
        .filter(|key| Some(*key) == card.key)
}
