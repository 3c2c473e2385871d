//! Firmware of a line card: karp on a Cortex-M4 without an allocator, in static memory. It is one router of a group; its
//! neighbour is at the other end of the serial line (`../host`). It logs with `defmt`.
//!
//! The emulated board has no source of randomness: the card's generator is ChaCha20, seeded over the console. On a real
//! card that would give every key away; there the seed comes from a true random number generator.
#![no_std]
#![no_main]

mod alone;
mod board;
mod router;
mod store;

use core::{mem::size_of, net::SocketAddrV4};

use chacha20::ChaCha20Rng;
use defmt_semihosting as _;
use karp_core::{
    Command, Engine, Output, Recv,
    algorithm::RoutingProtocol,
    command::RekeyReason,
    storage::{HandshakeSlot, KeySlot, PeerSlot, SealedSlot, StrangerSlot},
};
use linecard_link::{
    MTU,
    console::{self, Activity, Request, Status},
    packet::{self, Envelope, HEADERS},
    slip,
};
use static_cell::ConstStaticCell;

use crate::{
    board::Board,
    router::{Memory, Place, Room, Router, Tables},
    store::Store,
};

const CARD: Place = Place {
    name: "card.example",
    number: 2,
    priority: 100,
};
const NEIGHBOUR: &str = "host.example";

static MEMORY: [Memory; 2] = [const { Memory::new() }; 2];
static FRAME: ConstStaticCell<slip::Receiver> = ConstStaticCell::new(slip::Receiver::new());
static BUFFER: ConstStaticCell<[u8; MTU]> = ConstStaticCell::new([0; MTU]);

#[cortex_m_rt::entry]
fn main() -> ! {
    let Some(board) = Board::take() else {
        board::end(false);
    };
    let mut card = Card {
        board,
        rooms: Some(MEMORY.each_ref().map(Memory::take)),
        router: None,
        alone: Activity::Waiting,
        buffer: BUFFER.take(),
    };
    let frame = FRAME.take();
    defmt::info!("up");
    loop {
        if let Some(octet) = card.board.receive() {
            if let Some(frame) = frame.push(octet)
                && let Some((envelope, datagram)) = packet::open(frame)
            {
                card.handle(envelope, datagram);
            }
        } else if !card.poll() {
            card.board.rest();
        }
    }
}

struct Card {
    board: Board,
    /// Where routers go, until they do.
    rooms: Option<[Room; 2]>,
    /// The router that this card is.
    router: Option<&'static mut Router>,
    /// How the two routers of a card alone ended.
    alone: Activity,
    buffer: &'static mut [u8; MTU],
}

impl Card {
    /// Takes a datagram from the line.
    fn handle(&mut self, envelope: Envelope, datagram: &mut [u8]) {
        if envelope.to.port() == console::PORT {
            match Request::read(datagram) {
                Some(request) => self.obey(request, envelope),
                None => defmt::warn!("a request that is none"),
            }
        } else if let Some(router) = &mut self.router {
            let recv = Recv {
                from: envelope.from.into(),
                to: envelope.to.into(),
                hop_limit: Some(envelope.hop_limit),
            };
            // What is dropped is counted and logged.
            let _ = router.handle_datagram(self.board.now(), recv, datagram);
        }
    }

    /// Does the next thing that the router has to do; whether there was anything.
    fn poll(&mut self) -> bool {
        let Some(router) = &mut self.router else {
            return false;
        };
        let now = self.board.now();
        let Some(room) = self.buffer.get_mut(HEADERS..) else {
            return false;
        };
        match router.poll(now, room) {
            Output::Transmit { len, to, .. } => {
                self.send(len, CARD.address(), packet::v4(to), 255);
                true
            }
            Output::Event(event) => {
                router::tell(CARD.name, router, &event, now);
                true
            }
            // The loop comes by every millisecond, which is as exact as deadlines are.
            Output::Idle { .. } => false,
        }
    }

    /// Sends what stands in the buffer behind the headers.
    fn send(&mut self, len: usize, from: SocketAddrV4, to: SocketAddrV4, hop_limit: u8) {
        let envelope = Envelope { from, to, hop_limit };
        let len = packet::seal(self.buffer, len, envelope);
        if let Some(packet) = len.and_then(|len| self.buffer.get(..len)) {
            slip::send(packet, |octet| self.board.send(octet));
        }
    }

    fn obey(&mut self, request: Request, envelope: Envelope) {
        let now = self.board.now();
        match request {
            Request::Start { entropy, proof } => {
                // Asked again, since the answer may have been lost.
                if let Some([room, _]) = self.rooms.take() {
                    self.router = router::router(&CARD, NEIGHBOUR, &proof, &entropy, room, now);
                    self.command(Command::Join);
                }
            }
            Request::Status => {}
            Request::Rekey => self.command(Command::Rekey {
                protocol: RoutingProtocol::Ospfv2,
                reason: RekeyReason::Operator,
            }),
            Request::Alone { entropy, signatures } => {
                if let Some(rooms) = self.rooms.take() {
                    let buffer = self.buffer.as_mut_slice();
                    let held = alone::run(&mut self.board, rooms, &entropy, signatures, buffer);
                    self.alone = if held {
                        Activity::AloneHeld
                    } else {
                        Activity::AloneFailed
                    };
                }
            }
            Request::Stop => {
                self.report();
                board::end(true);
            }
        }
        let status = match &self.router {
            Some(router) => router::status(router, self.board.now()),
            None => Status {
                activity: self.alone,
                ..Status::default()
            },
        };
        if let Some(room) = self.buffer.get_mut(HEADERS..).and_then(<[u8]>::first_chunk_mut) {
            *room = status.octets();
            self.send(console::STATUS, envelope.to, envelope.from, 1);
        }
    }

    fn command(&mut self, command: Command<'_>) {
        let now = self.board.now();
        let done = match &mut self.router {
            Some(router) => router.handle_command(now, command).is_ok(),
            None => false,
        };
        if !done {
            defmt::error!("a command that the router cannot carry out");
        }
    }

    /// What this firmware used. `run` reads these lines.
    fn report(&self) {
        defmt::info!("report stack {=usize}", board::deepest_stack());
        defmt::info!("report lost {=u32}", self.board.lost());
        defmt::info!("report engine-4-peers {=usize}", size_of::<Whole<4>>());
        defmt::info!("report engine-5-peers {=usize}", size_of::<Whole<5>>());
        defmt::info!("report engine-without-tables {=usize}", size_of::<Router>());
        defmt::info!("report slot-peer {=usize}", size_of::<PeerSlot>());
        defmt::info!("report slot-key {=usize}", size_of::<KeySlot>());
        defmt::info!("report slot-handshake {=usize}", size_of::<HandshakeSlot>());
        defmt::info!("report slot-sealed {=usize}", size_of::<SealedSlot>());
        defmt::info!("report slot-stranger {=usize}", size_of::<StrangerSlot>());
    }
}

/// An engine with its tables inside.
type Whole<const PEERS: usize> = Engine<Store, ChaCha20Rng, Tables<PEERS>>;
