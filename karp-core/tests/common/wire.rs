//! Datagrams on their way, and the hand that an attacker or a test lays on them.

use std::{net::SocketAddr, rc::Rc};

use karp_core::io::{MessageKind, Recv};

use super::peek::Header;

/// A datagram that somebody sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// When, in the LAN's time.
    pub at: u64,
    /// Which router; `None` if it was injected.
    pub by: Option<usize>,
    pub from: SocketAddr,
    pub to: SocketAddr,
    /// What the engine says that it is.
    pub kind: Option<MessageKind>,
    pub octets: Rc<[u8]>,
}

impl Sent {
    /// The message's header.
    pub fn header(&self) -> Header {
        Header::of(&self.octets).expect("an engine sends messages")
    }

    /// Whether it is of this exchange type, and a response or not.
    pub fn is(&self, exchange: u8, response: bool) -> bool {
        let header = self.header();
        header.exchange == exchange && header.is_response() == response
    }
}

/// Who made a datagram, as the checks judge it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Maker {
    /// A router, or a test that judges by itself.
    Honest,
    /// Somebody without any key: written anew, or a router's with octets changed.
    Forger,
    /// Somebody who recorded it and sends it again.
    Replayer,
}

/// A datagram close to a router.
#[derive(Clone, Debug)]
pub struct Flight {
    pub to: usize,
    /// The router that sent it.
    pub by: Option<usize>,
    pub maker: Maker,
    pub recv: Recv,
    pub octets: Rc<[u8]>,
}

/// A datagram that is put on the link by nobody's engine.
#[derive(Clone, Debug)]
pub struct Injection {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub hop_limit: Option<u8>,
    pub octets: Vec<u8>,
    /// In how many ms it arrives.
    pub delay: u64,
    pub maker: Maker,
}

impl Injection {
    /// Arrives in a millisecond with hop limit 255.
    pub fn new(from: SocketAddr, to: SocketAddr, octets: Vec<u8>) -> Self {
        Self {
            from,
            to,
            hop_limit: Some(255),
            octets,
            delay: 1,
            maker: Maker::Honest,
        }
    }

    /// The checks judge it as the work of `maker`.
    pub fn by(mut self, maker: Maker) -> Self {
        self.maker = maker;
        self
    }

    /// Arrives at once, ahead of everything that was sent in the same step.
    pub fn at_once(mut self) -> Self {
        self.delay = 0;
        self
    }
}

/// What a tap does with one datagram.
#[derive(Default)]
pub struct Hand {
    /// It is lost, for everybody.
    pub drop: bool,
    /// It is lost for these routers.
    pub hide_from: Vec<usize>,
    /// It goes on with these octets.
    pub alter: Option<Vec<u8>>,
    /// What comes beside it.
    pub inject: Vec<Injection>,
    /// These routers lose power now.
    pub crash: Vec<usize>,
}

/// A hook on the wire, called once for each datagram that a router sends.
pub type Tap = Box<dyn FnMut(&Sent, &mut Hand)>;
