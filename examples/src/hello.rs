//! A small routing stack: OSPFv2 and IS-IS hellos of one router, signed with the key that its key table sends with, and
//! verified with whatever key it accepts.
//!
//! The packets are well-formed and travel in UDP, so that nobody needs a privilege to send them. Two ways to guard
//! against replays are shown, as real networks have both:
//!
//! - OSPFv2 as RFC 5709 has it: a sequence number that begins at 1 when the routing process starts. A neighbour's number
//!   must rise; it is forgotten with the neighbour, after [`DEAD`] of silence. So a recorded packet could be replayed to
//!   whoever forgot, were it not that the key has changed by then.
//! - IS-IS with extended sequence numbers (RFC 7602): the session number is the time at which the process started, so it
//!   rises over restarts and neighbours need not forget.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket},
    os::fd::{AsFd, BorrowedFd},
};

use karp_core::{
    KeyTable,
    algorithm::RoutingProtocol,
    keytable::Row,
    packet_auth::{
        Algorithm, Error, Key,
        build::{LanHello, Ospfv2Hello},
        isis, ospfv2,
    },
    time::{Duration, Instant},
};
use socket2::{Domain, Protocol, Socket, Type};

/// The protocols that send hellos.
pub const PROTOCOLS: [RoutingProtocol; 2] = [RoutingProtocol::Ospfv2, RoutingProtocol::Isis];
/// Between two hellos of one protocol: ten a second.
pub const INTERVAL: Duration = Duration::from_millis(100);
/// Silence after which a neighbour is down.
pub const DEAD: Duration = Duration::from_secs(1);
/// Enough for a hello that lists 32 neighbours, and its authentication.
const ROOM: usize = 512;

/// Why a hello was refused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Refusal {
    /// No key with the packet's id is accepted here.
    UnknownKey,
    /// The digest is another than the key makes.
    BadDigest,
    /// The sequence number did not rise.
    Sequence,
    /// No well-formed, authenticated packet.
    Malformed,
}

impl Refusal {
    /// Every reason, in the order of tables.
    pub const ALL: [Self; 4] = [Self::UnknownKey, Self::BadDigest, Self::Sequence, Self::Malformed];

    /// A short name in snake case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnknownKey => "unknown_key",
            Self::BadDigest => "bad_digest",
            Self::Sequence => "sequence_not_risen",
            Self::Malformed => "malformed",
        }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        match error {
            Error::UnknownKey(_) => Self::UnknownKey,
            Error::BadDigest | Error::WrongLength => Self::BadDigest,
            _ => Self::Malformed,
        }
    }
}

/// A hello that went out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sent {
    /// The protocol.
    pub protocol: RoutingProtocol,
    /// The key that signed it.
    pub key: u16,
    /// By what the demonstration knows it again.
    pub mark: u64,
}

/// A hello's last eight octets: the end of its digest, by which a demonstration knows a packet again. No protocol does.
#[must_use]
pub fn mark(packet: &[u8]) -> u64 {
    packet.last_chunk().copied().map_or(0, u64::from_be_bytes)
}

/// What a hello looked like at its receiver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Judged {
    /// The protocol, as far as one could tell.
    pub protocol: RoutingProtocol,
    /// The key id in the packet, where it was accepted or the key unknown.
    pub key: Option<u16>,
    /// Accepted, or why not.
    pub verdict: Result<(), Refusal>,
}

struct Neighbour {
    sequence: u128,
    heard: Instant,
}

/// The hellos of one router, from one start of its routing process to the next.
pub struct Speaker {
    number: u32,
    socket: UdpSocket,
    group: SocketAddr,
    port: u16,
    ears: UdpSocket,
    ospf_sequence: u64,
    esn: isis::Esn,
    next: [Instant; 2],
    designated: u32,
    neighbours: BTreeMap<(RoutingProtocol, u64), Neighbour>,
    room: Box<[u8]>,
}

impl Speaker {
    /// Router `number` on loopback, heard by all who listen at `group`. The first hello of each protocol goes out at
    /// the times `first`; `session` must be greater than at any earlier start of this router.
    ///
    /// # Errors
    /// What the system says about the sockets.
    pub fn open(number: u32, group: SocketAddrV4, session: u64, first: [Instant; 2]) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_multicast_if_v4(&Ipv4Addr::LOCALHOST)?;
        socket.set_multicast_loop_v4(true)?;
        // As OSPF on a LAN: never forwarded.
        socket.set_multicast_ttl_v4(1)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;

        let ears = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        ears.set_reuse_address(true)?;
        ears.set_reuse_port(true)?;
        ears.set_nonblocking(true)?;
        // More is better, but nothing depends on it.
        let _ = ears.set_recv_buffer_size(1 << 20);
        ears.bind(&SocketAddr::V4(group).into())?;
        ears.join_multicast_v4(group.ip(), &Ipv4Addr::LOCALHOST)?;
        let socket = UdpSocket::from(socket);
        Ok(Self {
            number,
            port: socket.local_addr()?.port(),
            socket,
            group: group.into(),
            ears: ears.into(),
            ospf_sequence: 0,
            esn: isis::Esn { session, packet: 0 },
            next: first,
            designated: 0,
            neighbours: BTreeMap::new(),
            room: vec![0; ROOM].into_boxed_slice(),
        })
    }

    /// To wait on for input.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.ears.as_fd()
    }

    /// When the next hello is due.
    #[must_use]
    pub fn next_deadline(&self) -> Instant {
        let [ospf, isis] = self.next;
        ospf.min(isis)
    }

    /// The designated router that the hellos name: its number, or 0 for none.
    pub fn designate(&mut self, number: u32) {
        self.designated = number;
    }

    /// The OSPF process ends and starts anew: silent until its neighbours have forgotten it, then from sequence number
    /// 1 on. Whoever recorded its packets could replay them now.
    pub fn restart_ospf(&mut self, now: Instant) {
        self.ospf_sequence = 0;
        self.next[0] = now.after(DEAD).after(INTERVAL);
        self.neighbours
            .retain(|(protocol, _), _| *protocol != RoutingProtocol::Ospfv2);
    }

    /// The router with this number was heard in both protocols within the last [`DEAD`], and after `start`.
    #[must_use]
    pub fn hears(&self, number: u32, start: Instant, now: Instant) -> bool {
        PROTOCOLS.iter().all(|protocol| {
            self.neighbours
                .get(&(*protocol, u64::from(number)))
                .is_some_and(|neighbour| now.since(neighbour.heard) < DEAD && neighbour.heard >= start)
        })
    }

    /// Sends what is due. A protocol without a key to send with sends nothing.
    pub fn send(&mut self, table: KeyTable<'_>, now: Instant, mut sent: impl FnMut(Sent)) {
        for (at, protocol) in PROTOCOLS.into_iter().enumerate() {
            if self.next[at] > now {
                continue;
            }
            // Hellos that were missed while nothing ran are not made up for.
            self.next[at] = self.next[at].after(INTERVAL).max(now);
            let Some(row) = table.sending(protocol, now) else {
                continue;
            };
            let Ok(key) = key(&row) else { continue };
            let Ok(len) = self.write(protocol, &key, now) else {
                continue;
            };
            let packet = &self.room[..len];
            if self.socket.send_to(packet, self.group).is_ok() {
                sent(Sent {
                    protocol,
                    key: row.id,
                    mark: mark(packet),
                });
            }
        }
    }

    /// Reads one hello into `buffer`: its length and its sender's port; `None` if nothing waits. Its own ones, which
    /// come back by multicast, are left out.
    pub fn receive(&self, buffer: &mut [u8]) -> Option<(usize, u16)> {
        loop {
            let (len, from) = self.ears.recv_from(buffer).ok()?;
            if from.port() != self.port {
                return Some((len, from.port()));
            }
        }
    }

    /// The port that hellos are sent from.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Judges a hello: its digest, under the key that the table accepts with the packet's id, then its sequence number.
    /// Only an accepted one leaves a trace.
    pub fn judge(&mut self, packet: &[u8], table: KeyTable<'_>, now: Instant) -> Judged {
        let protocol = match packet.first() {
            Some(0x83) => RoutingProtocol::Isis,
            _ => RoutingProtocol::Ospfv2,
        };
        let verified = match protocol {
            RoutingProtocol::Isis => verify_isis(packet, table, now),
            _ => verify_ospf(packet, table, now),
        };
        let (id, sender, sequence) = match verified {
            Ok(verified) => verified,
            Err(error) => {
                let key = match error {
                    Error::UnknownKey(id) => u16::try_from(id).ok(),
                    _ => None,
                };
                return Judged {
                    protocol,
                    key,
                    verdict: Err(error.into()),
                };
            }
        };
        let known = self.neighbours.get(&(protocol, sender));
        // An OSPF neighbour's number goes with the neighbour; an IS-IS session number outlives it.
        let last = known
            .filter(|known| protocol == RoutingProtocol::Isis || now.since(known.heard) < DEAD)
            .map(|known| known.sequence);
        let verdict = match last {
            Some(last) if sequence <= last => Err(Refusal::Sequence),
            Some(_) | None => {
                let heard = Neighbour { sequence, heard: now };
                self.neighbours.insert((protocol, sender), heard);
                Ok(())
            }
        };
        Judged {
            protocol,
            key: Some(id),
            verdict,
        }
    }

    fn write(&mut self, protocol: RoutingProtocol, key: &Key<'_>, now: Instant) -> Result<usize, Error> {
        let seen: Vec<u64> = self
            .neighbours
            .iter()
            .filter(|((of, _), neighbour)| *of == protocol && now.since(neighbour.heard) < DEAD)
            .map(|((_, number), _)| *number)
            .collect();
        let dead_s = DEAD.as_secs_ceil();
        if protocol == RoutingProtocol::Isis {
            let neighbors: Vec<[u8; 6]> = seen.iter().map(|number| system_id(*number as u32)).collect();
            let [a, b, c, d, e, f] = system_id(self.designated);
            let hello = LanHello {
                system_id: system_id(self.number),
                holding_time: dead_s as u16,
                lan_id: [a, b, c, d, e, f, 1],
                neighbors: &neighbors,
                ..LanHello::DEFAULT
            };
            self.esn.packet += 1;
            let len = hello.write(&mut self.room)?;
            let len = isis::add_esn(&mut self.room, len, self.esn)?;
            return isis::sign(&mut self.room, len, key);
        }
        let neighbors: Vec<u32> = seen.iter().map(|number| router_id(*number as u32)).collect();
        let hello = Ospfv2Hello {
            router_id: router_id(self.number),
            // Less than a second, as routers with sub-second hellos write it.
            hello_interval: 0,
            dead_interval: dead_s as u32,
            designated: match self.designated {
                0 => 0,
                number => router_id(number),
            },
            neighbors: &neighbors,
            ..Ospfv2Hello::DEFAULT
        };
        self.ospf_sequence += 1;
        let len = hello.write(&mut self.room)?;
        let params = ospfv2::SignParams {
            mode: ospfv2::Mode::Rfc5709,
            sequence: self.ospf_sequence,
            source: Ipv4Addr::LOCALHOST,
        };
        ospfv2::sign(&mut self.room, len, key, &params)
    }
}

/// 192.0.2.n, the documentation's network (RFC 5737).
const fn router_id(number: u32) -> u32 {
    0xc000_0200 + number
}

const fn system_id(number: u32) -> [u8; 6] {
    let [_, _, _, n] = number.to_be_bytes();
    [0x19, 0x20, 0x00, 0x02, 0x00, n]
}

fn key<'r>(row: &'r Row<'_>) -> Result<Key<'r>, Error> {
    Ok(Key::new(
        row.id,
        Algorithm::try_from(row.algorithm)?,
        row.octets(),
    ))
}

/// Keeps the row that was looked up for as long as its key is used.
fn lookup<'k, 't: 'k>(
    table: KeyTable<'t>,
    protocol: RoutingProtocol,
    now: Instant,
    held: &'k mut Option<Row<'t>>,
) -> impl FnOnce(u16) -> Option<Key<'k>> {
    move |id| {
        let row = held.insert(table.receiving(protocol, id, now)?);
        key(row).ok()
    }
}

fn verify_ospf(packet: &[u8], table: KeyTable<'_>, now: Instant) -> Result<(u16, u64, u128), Error> {
    let mut held = None;
    let lookup = lookup(table, RoutingProtocol::Ospfv2, now, &mut held);
    let verified = ospfv2::verify(packet, ospfv2::Mode::Rfc5709, Ipv4Addr::LOCALHOST, lookup)?;
    let number = verified.router_id.wrapping_sub(router_id(0));
    Ok((verified.key_id, u64::from(number), u128::from(verified.sequence)))
}

fn verify_isis(packet: &[u8], table: KeyTable<'_>, now: Instant) -> Result<(u16, u64, u128), Error> {
    let mut held = None;
    let lookup = lookup(table, RoutingProtocol::Isis, now, &mut held);
    let verified = isis::verify(packet, lookup)?;
    // Without an extended sequence number nothing would tell a replay: RFC 7602 section 3.1.1.
    let esn = verified.esn.ok_or(Error::NotAuthenticated)?;
    let [.., number] = verified.system_id;
    let sequence = (u128::from(esn.session) << 32) | u128::from(esn.packet);
    Ok((verified.key_id, u64::from(number), sequence))
}
