//! The router at the other end of the line: an engine of karp-core on this machine's clock and randomness.

use std::net::SocketAddr;

use anyhow::Context as _;
use karp_core::{
    Command, Config, Duration, Engine, Event, Grant, Identity, Output, Recv, Role, Settings,
    algorithm::RoutingProtocol,
    config::DEFAULT_PORT,
    crypto::{Secret, SigningKey},
};
use karp_std::{
    clock,
    credentials::{PreSharedKey, Proof, Store},
    entropy::OsEntropy,
    heap::Heap,
};
use linecard_link::{
    MTU,
    console::{self, Activity, MAX_REQUEST, Request, Status},
    packet::{self, Envelope, HEADERS},
};

const NAME: &str = "host.example";
const CARD: &str = "card.example";
const ADDRESS: ([u8; 4], u16) = ([192, 0, 2, 1], DEFAULT_PORT);
const CARD_ADDRESS: [u8; 4] = [192, 0, 2, 2];

/// This router while it is up.
pub(crate) struct Neighbour {
    engine: Engine<Store, OsEntropy, Heap>,
    buffer: [u8; MTU],
}

/// What a poll of the router came to.
pub(crate) enum Step<'a> {
    /// A packet for the line.
    Packet(&'a [u8]),
    /// Something else was done.
    Done,
    /// There is nothing to do for so long.
    Idle(std::time::Duration),
}

impl Neighbour {
    /// A router that has just started and knows nothing but its configuration.
    pub(crate) fn start(proof: &console::Proof) -> anyhow::Result<Self> {
        let own = Identity::fqdn(NAME).context("the name is none")?;
        let card = Identity::fqdn(CARD).context("the card's name is none")?;
        let store = Store::new(own.clone());
        let store = match proof {
            console::Proof::SharedKey(key) => {
                store.with_peer(card, Grant::FULL, Proof::PreSharedKey(PreSharedKey::new(key)?))?
            }
            console::Proof::Signature { own, peer } => store
                .with_signing_key(SigningKey::from_seed(&Secret::from_bytes(*own)))
                .with_peer(card, Grant::FULL, Proof::PublicKey(*peer))?,
        };
        let settings = Settings {
            router_id: 1,
            priority: 200,
            hello: Duration::from_millis(500),
            // Long enough for an emulator that waits for a busy machine.
            hold_multiplier: 6,
            min_rekey: Duration::from_secs(1),
            dtd: Duration::from_secs(2),
            ..Settings::new("linecard", own, SocketAddr::from(ADDRESS))
        };
        let mut engine = Engine::new(
            Config::new(settings)?,
            store,
            OsEntropy,
            Heap::default(),
            clock::now(),
        )?;
        engine.handle_command(clock::now(), Command::Join)?;
        Ok(Self {
            engine,
            buffer: [0; MTU],
        })
    }

    /// Does the next thing.
    pub(crate) fn poll(&mut self) -> Step<'_> {
        match self.engine.poll(clock::now(), &mut self.buffer[HEADERS..]) {
            Output::Transmit { len, to, .. } => {
                let envelope = Envelope {
                    from: packet::v4(SocketAddr::from(ADDRESS)),
                    to: packet::v4(to),
                    hop_limit: 255,
                };
                packet::seal(&mut self.buffer, len, envelope)
                    .map_or(Step::Done, |len| Step::Packet(&self.buffer[..len]))
            }
            Output::Event(event) => {
                println!("host event: {event:?}");
                if let Event::KeyActivated { .. } = event
                    && let Some((id, mark)) = self.status().key
                {
                    println!("host {NAME} sends with key {id} {:08x}", u32::from_be_bytes(mark));
                }
                Step::Done
            }
            Output::Idle { next } => {
                Step::Idle(next.map_or(std::time::Duration::MAX, |(at, _)| clock::until(at)))
            }
        }
    }

    /// Takes a datagram from the line.
    pub(crate) fn handle(&mut self, envelope: Envelope, datagram: &mut [u8]) {
        let recv = Recv {
            from: envelope.from.into(),
            to: envelope.to.into(),
            hop_limit: Some(envelope.hop_limit),
        };
        let handled = self.engine.handle_datagram(clock::now(), recv, datagram);
        if let karp_core::Handled::Dropped(reason) = handled {
            println!("host dropped: {reason:?}");
        }
    }

    pub(crate) fn command(&mut self, command: Command<'_>) -> anyhow::Result<()> {
        Ok(self.engine.handle_command(clock::now(), command)?)
    }

    /// How this router fares, as the card says it of itself.
    pub(crate) fn status(&self) -> Status {
        let now = clock::now();
        let table = self.engine.key_table();
        let sending = table.sending(RoutingProtocol::Ospfv2, now);
        Status {
            activity: match self.engine.role() {
                Role::Left | Role::Initial => Activity::Initial,
                Role::Member => Activity::Member,
                Role::Gcks => Activity::Gcks,
            },
            key: sending.and_then(|row| row.fingerprint().map(|mark| (row.id, mark.0))),
            keys: u8::try_from(table.rows(now).count()).unwrap_or(u8::MAX),
        }
    }
}

/// The packet that asks `request` of the card.
pub(crate) fn request(request: Request) -> Vec<u8> {
    let mut packet = [0; HEADERS + MAX_REQUEST];
    let mut octets = [0; MAX_REQUEST];
    let len = request.write(&mut octets);
    packet[HEADERS..].copy_from_slice(&octets);
    let envelope = Envelope {
        from: packet::v4(SocketAddr::from((ADDRESS.0, console::PORT))),
        to: packet::v4(SocketAddr::from((CARD_ADDRESS, console::PORT))),
        hop_limit: 1,
    };
    let len = packet::seal(&mut packet, len, envelope).unwrap_or(0);
    packet[..len].to_vec()
}
