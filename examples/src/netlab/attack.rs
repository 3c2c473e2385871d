//! The attacker: a host on the LAN that hears everything, has no key, and sends what it likes under any address.
//!
//! It listens on the bridge and keeps what it hears ([`Library`]). Later it sends OSPF packets again as they were, under
//! their senders' addresses, and karp's announcements and first messages with octets of its own in them, at a bounded
//! rate. All of it in threads of this program that have entered a namespace.

use std::{
    collections::VecDeque,
    fs::File,
    io::Read as _,
    net::{Ipv4Addr, SocketAddrV4},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::channel,
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use nix::sched::{CloneFlags, setns};
use rand_core::Rng as _;
use socket2::{Domain, Protocol, Socket, Type};

use super::watch::unix_ms;
use crate::entropy::DemoEntropy;

/// The attacker's number on the LAN.
pub const HOST: u8 = 66;
/// So many OSPF packets are remembered of each second, and so many seconds: the oldest go.
const REMEMBERED: usize = 4000;
/// Messages of karp that are kept of each kind.
const KEPT: usize = 64;
/// karp's port, its group, and OSPF's.
const PORT: u16 = 848;
const KARP_GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 254);
const ALL_ROUTERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 5);
const OSPF: u8 = 89;
const UDP: u8 = 17;
/// Exchange types of what is forged (PROTOCOL.md section 10).
const IKE_SA_INIT: u8 = 34;
const ELECTION: u8 = 249;
/// Between two rounds of the flood; each sends a packet of every kind.
const ROUND: Duration = Duration::from_millis(10);

/// An OSPFv2 packet as it was heard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Heard {
    /// When, Unix time in milliseconds.
    pub at_ms: u64,
    /// Its source address.
    pub source: Ipv4Addr,
    /// What follows the IP header.
    pub octets: Vec<u8>,
}

impl Heard {
    /// The key id in its header, if it has cryptographic authentication (RFC 2328 section D.3).
    #[must_use]
    pub fn key_id(&self) -> Option<u16> {
        match self.octets.get(14..19)? {
            [0, 2, _, _, id] => Some(u16::from(*id)),
            _ => None,
        }
    }
}

/// What was heard.
#[derive(Debug, Default)]
pub struct Library {
    ospf: VecDeque<Heard>,
    announcements: VecDeque<Vec<u8>>,
    first_messages: VecDeque<Vec<u8>>,
}

impl Library {
    /// Takes a frame of Ethernet in. Each comes by several ports of the bridge and is kept once.
    fn take(&mut self, frame: &[u8], at_ms: u64) {
        let Some((source, protocol, payload)) = dissect(frame) else {
            return;
        };
        match protocol {
            OSPF => {
                let is_known = self
                    .ospf
                    .iter()
                    .rev()
                    .take(16)
                    .any(|heard| heard.octets == payload);
                if source.octets()[3] != HOST && !is_known {
                    keep(
                        &mut self.ospf,
                        Heard {
                            at_ms,
                            source,
                            octets: payload.to_vec(),
                        },
                        REMEMBERED,
                    );
                }
            }
            UDP => {
                let Some(message) = payload.get(8..) else { return };
                match message.get(18) {
                    Some(&ELECTION) => keep(&mut self.announcements, message.to_vec(), KEPT),
                    // Requests only: the flag says who began.
                    Some(&IKE_SA_INIT) if message.get(19).is_some_and(|flags| flags & 0x28 == 0x08) => {
                        keep(&mut self.first_messages, message.to_vec(), KEPT);
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }

    /// How many OSPF packets, announcements and first messages there are.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        (
            self.ospf.len(),
            self.announcements.len(),
            self.first_messages.len(),
        )
    }
}

fn keep<T>(queue: &mut VecDeque<T>, item: T, most: usize) {
    if queue.len() >= most {
        queue.pop_front();
    }
    queue.push_back(item);
}

/// Source, protocol and payload of an IPv4 packet in a frame.
fn dissect(frame: &[u8]) -> Option<(Ipv4Addr, u8, &[u8])> {
    if frame.get(12..14)? != [0x08, 0x00] {
        return None;
    }
    let packet = frame.get(14..)?;
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let length = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]));
    let source: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
    Some((source.into(), *packet.get(9)?, packet.get(header..length)?))
}

/// A thread of this program that has entered a namespace; ends when it is dropped.
struct Agent {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Agent {
    /// Opens a socket in the namespace and works with it until it is told to end.
    fn start(
        namespace: &str,
        open: impl FnOnce() -> std::io::Result<Socket> + Send + 'static,
        mut work: impl FnMut(&Socket) + Send + 'static,
    ) -> anyhow::Result<Self> {
        let place = Path::new("/run/netns").join(namespace);
        let stop = Arc::new(AtomicBool::new(false));
        let (begun, outcome) = channel();
        let flag = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let entered = File::open(&place)
                .and_then(|file| setns(file, CloneFlags::CLONE_NEWNET).map_err(Into::into))
                .and_then(|()| open());
            let socket = match entered {
                Ok(socket) => socket,
                Err(error) => {
                    let _ = begun.send(Err(error));
                    return;
                }
            };
            let _ = begun.send(Ok(()));
            while !flag.load(Ordering::Relaxed) {
                work(&socket);
            }
        });
        let agent = Self {
            stop,
            thread: Some(thread),
        };
        match outcome.recv() {
            Ok(Ok(())) => Ok(agent),
            Ok(Err(error)) => Err(error).with_context(|| format!("no socket in {namespace}")),
            Err(_) => Err(anyhow!("a thread for {namespace} ended")),
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of it has been printed.
            let _ = thread.join();
        }
    }
}

/// Hears all that passes a bridge.
pub struct Listener {
    library: Arc<Mutex<Library>>,
    _agent: Agent,
}

impl Listener {
    /// Begins to listen in the namespace of a bridge.
    ///
    /// # Errors
    /// The namespace or the socket cannot be had.
    pub fn start(bridge: &str) -> anyhow::Result<Self> {
        let library: Arc<Mutex<Library>> = Arc::default();
        let heard = Arc::clone(&library);
        let mut buffer = vec![0; 65_536];
        let open = || {
            // ETH_P_ALL in network order.
            let every = Protocol::from(i32::from(0x0003_u16.to_be()));
            let socket = Socket::new(Domain::PACKET, Type::RAW, Some(every))?;
            socket.set_read_timeout(Some(Duration::from_millis(100)))?;
            Ok(socket)
        };
        let agent = Agent::start(bridge, open, move |mut socket| {
            if let Ok(length) = socket.read(&mut buffer) {
                heard
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take(&buffer[..length], unix_ms());
            }
        })?;
        Ok(Self {
            library,
            _agent: agent,
        })
    }

    /// How much it has: OSPF packets, announcements, first messages.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        self.library
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .counts()
    }

    /// The OSPF packets that were heard between two times.
    #[must_use]
    pub fn ospf_between(&self, from_ms: u64, to_ms: u64) -> Vec<Heard> {
        let library = self.library.lock().unwrap_or_else(PoisonError::into_inner);
        let within = |heard: &&Heard| (from_ms..to_ms).contains(&heard.at_ms);
        library.ospf.iter().filter(within).cloned().collect()
    }

    fn karp(&self) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let library = self.library.lock().unwrap_or_else(PoisonError::into_inner);
        let all = |queue: &VecDeque<Vec<u8>>| queue.iter().cloned().collect();
        (all(&library.announcements), all(&library.first_messages))
    }
}

/// How much was sent.
#[derive(Debug, Default)]
pub struct Sent {
    /// OSPF packets again.
    pub replayed: AtomicU64,
    /// Announcements with a change.
    pub forged: AtomicU64,
    /// First messages of exchanges that nobody began.
    pub floods: AtomicU64,
}

/// Attacks until it is dropped.
pub struct Attack {
    sent: Arc<Sent>,
    _agent: Agent,
}

impl Attack {
    /// Begins, from `namespace`, against the routers with these numbers: `replay` over and over, and forgeries of what
    /// the listener has of karp's messages. A hundred packets of each kind a second.
    ///
    /// # Errors
    /// The namespace or the socket cannot be had.
    pub fn start(
        namespace: &str,
        routers: &[u8],
        replay: Vec<Heard>,
        listener: &Listener,
        mut story: DemoEntropy,
    ) -> anyhow::Result<Self> {
        let sent = Arc::new(Sent::default());
        let counts = Arc::clone(&sent);
        let (announcements, first_messages) = listener.karp();
        let routers = routers.to_vec();
        let open = || {
            // IPPROTO_RAW: the IP header comes from here.
            let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255)))?;
            socket.set_multicast_if_v4(&Ipv4Addr::new(10, 9, 0, HOST))?;
            Ok(socket)
        };
        let mut round = 0_usize;
        let agent = Agent::start(namespace, open, move |socket| {
            let any = |routers: &[u8], round: usize| {
                routers.get(round % routers.len().max(1)).copied().unwrap_or(1)
            };
            let send = |source: Ipv4Addr,
                        to: Ipv4Addr,
                        protocol: u8,
                        hops: u8,
                        payload: &[u8],
                        count: &AtomicU64| {
                let packet = ip_packet(source, to, protocol, hops, payload);
                if socket.send_to(&packet, &SocketAddrV4::new(to, 0).into()).is_ok() {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            };
            if let Some(heard) = replay.get(round % replay.len().max(1)) {
                send(
                    heard.source,
                    ALL_ROUTERS,
                    OSPF,
                    1,
                    &heard.octets,
                    &counts.replayed,
                );
            }
            let pretended = Ipv4Addr::new(10, 9, 0, any(&routers, round));
            if let Some(message) = announcements.get(round % announcements.len().max(1)) {
                // Under the sender's name and address, with one octet changed after the header.
                let forged = changed(message, &mut story);
                send(pretended, KARP_GROUP, UDP, 255, &udp(&forged), &counts.forged);
            }
            if let Some(message) = first_messages.get(round % first_messages.len().max(1)) {
                // A first message as it should be, of an initiator that does not exist.
                let mut message = message.clone();
                if let Some(spi) = message.get_mut(..8) {
                    story.fill_bytes(spi);
                }
                let victim = Ipv4Addr::new(10, 9, 0, any(&routers, round / 2));
                let stranger = Ipv4Addr::new(10, 9, 0, 100 + (story.below(100) as u8));
                send(stranger, victim, UDP, 255, &udp(&message), &counts.floods);
            }
            round += 1;
            std::thread::sleep(ROUND);
        })?;
        Ok(Self { sent, _agent: agent })
    }

    /// How much was sent so far.
    #[must_use]
    pub fn sent(&self) -> &Sent {
        &self.sent
    }
}

/// A copy with an octet changed, somewhere behind the header.
fn changed(message: &[u8], story: &mut DemoEntropy) -> Vec<u8> {
    let mut copy = message.to_vec();
    let behind = copy.len().saturating_sub(28) as u64;
    let place = 28 + usize::try_from(story.below(behind)).unwrap_or(0);
    if let Some(octet) = copy.get_mut(place) {
        *octet ^= 1 + story.below(255) as u8;
    }
    copy
}

/// A UDP datagram from karp's port to karp's port, without checksum, as IPv4 allows.
fn udp(payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len() + 8).unwrap_or(u16::MAX);
    let mut datagram = Vec::with_capacity(payload.len() + 8);
    datagram.extend_from_slice(&PORT.to_be_bytes());
    datagram.extend_from_slice(&PORT.to_be_bytes());
    datagram.extend_from_slice(&length.to_be_bytes());
    datagram.extend_from_slice(&[0, 0]);
    datagram.extend_from_slice(payload);
    datagram
}

/// An IPv4 packet; the kernel fills in its checksum.
fn ip_packet(source: Ipv4Addr, to: Ipv4Addr, protocol: u8, hops: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len() + 20).unwrap_or(u16::MAX);
    let mut packet = vec![0x45, 0xc0];
    packet.extend_from_slice(&length.to_be_bytes());
    packet.extend_from_slice(&[0, 0, 0, 0, hops, protocol, 0, 0]);
    packet.extend_from_slice(&source.octets());
    packet.extend_from_slice(&to.octets());
    packet.extend_from_slice(payload);
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(source: u8, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend_from_slice(&[8, 0]);
        let source = Ipv4Addr::new(10, 9, 0, source);
        frame.extend_from_slice(&ip_packet(source, ALL_ROUTERS, protocol, 1, payload));
        frame
    }

    #[test]
    fn what_is_heard_is_kept_once_and_by_kind() {
        let mut library = Library::default();
        library.take(&frame(1, OSPF, b"hello"), 5);
        library.take(&frame(1, OSPF, b"hello"), 5);
        library.take(&frame(HOST, OSPF, b"own"), 5);
        let mut message = vec![0; 40];
        message[18] = ELECTION;
        library.take(&frame(1, UDP, &udp(&message)), 5);
        message[18] = IKE_SA_INIT;
        message[19] = 0x08;
        library.take(&frame(1, UDP, &udp(&message)), 5);
        message[19] = 0x20;
        library.take(&frame(2, UDP, &udp(&message)), 5);
        assert_eq!(library.counts(), (1, 1, 1));
        assert_eq!(library.ospf[0].octets, b"hello");
        assert_eq!(library.ospf[0].source, Ipv4Addr::new(10, 9, 0, 1));
    }

    #[test]
    fn the_key_id_is_where_ospf_has_it() {
        let mut octets = vec![0; 24];
        octets[15] = 2;
        octets[18] = 77;
        let mut heard = Heard {
            at_ms: 0,
            source: ALL_ROUTERS,
            octets,
        };
        assert_eq!(heard.key_id(), Some(77));
        heard.octets[15] = 0;
        assert_eq!(heard.key_id(), None, "not authenticated");
        heard.octets.truncate(17);
        assert_eq!(heard.key_id(), None, "too short");
    }

    #[test]
    fn short_frames_are_let_pass() {
        let whole = frame(1, OSPF, b"hello");
        let mut library = Library::default();
        for length in 0..whole.len() {
            library.take(&whole[..length], 5);
        }
        assert_eq!(library.counts(), (0, 0, 0));
    }

    #[test]
    fn a_forgery_differs_behind_the_header_only() {
        let message: Vec<u8> = (0..80).collect();
        let mut story = DemoEntropy::new(Some(1), 1);
        for _ in 0..200 {
            let forged = changed(&message, &mut story);
            assert_eq!(forged[..28], message[..28]);
            assert_ne!(forged, message);
        }
        assert_eq!(
            changed(&message[..20], &mut story),
            &message[..20],
            "too short to change"
        );
    }
}
