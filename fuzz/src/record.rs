//! What one engine is given over time, as octets: how long to wait, who sends, to whom, the datagram.

use std::net::SocketAddr;

use karp_core::Recv;

use crate::router::{COUNT, address, multicast};

/// One thing that happens to router 0.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Milliseconds since the one before.
    pub wait: u16,
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub hop_limit: Option<u8>,
    /// Nothing if the engine is only polled.
    pub octets: Vec<u8>,
}

impl Record {
    pub fn new(wait: u64, recv: Option<Recv>, octets: &[u8]) -> Self {
        Self {
            wait: u16::try_from(wait).unwrap_or(u16::MAX),
            from: recv.map_or(address(1), |recv| recv.from),
            to: recv.map_or(multicast(), |recv| recv.to),
            hop_limit: Some(255),
            octets: octets.to_vec(),
        }
    }

    /// The octets that say it.
    pub fn write(&self, to: &mut Vec<u8>) {
        let from = (0..=COUNT).find(|at| address(*at) == self.from).unwrap_or(COUNT) as u8;
        let to_all = if self.to == multicast() { 0 } else { 0x80 };
        to.extend(self.wait.to_le_bytes());
        to.push(from | to_all);
        to.extend((self.octets.len() as u16).to_le_bytes());
        to.extend(&self.octets);
    }

    /// The next record of `input`, and what follows it.
    pub fn read(input: &[u8]) -> Option<(Self, &[u8])> {
        let ([a, b, flags, c, d], rest) = input.split_first_chunk::<5>()?;
        let len = usize::from(u16::from_le_bytes([*c, *d])) % 1500;
        let (octets, rest) = rest.split_at(len.min(rest.len()));
        let record = Self {
            wait: u16::from_le_bytes([*a, *b]),
            from: address(usize::from(flags & 3)),
            to: if flags & 0x80 == 0 {
                multicast()
            } else {
                address(0)
            },
            hop_limit: (flags & 0x40 == 0).then_some(if flags & 0x20 == 0 { 255 } else { 254 }),
            octets: octets.to_vec(),
        };
        Some((record, rest))
    }
}
