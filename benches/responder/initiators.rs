//! The initiators: engines of their own, each up to its first message before the clock starts.

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    time::Instant as Clock,
};

use benches::{
    exchange::newcomer,
    router::{Buffer, Group, Router, Tables},
};
use karp_core::{Handled, Instant, Output, Role, io::MessageKind};

use crate::{MEMBERS, serve};

/// An exchange that takes longer has failed.
const PATIENCE_MS: u64 = 5000;

/// All of the initiators.
pub(crate) struct Drive<'a> {
    group: &'a Group,
    responder: SocketAddr,
    hint: Vec<u8>,
    sockets: Vec<(UdpSocket, SocketAddr)>,
    began: Clock,
    made: u64,
}

/// One that has its first message ready.
pub(crate) struct Prepared {
    member: Router,
    first: Vec<u8>,
    /// When that was sent: its own clock stands still until then.
    since: Instant,
}

impl<'a> Drive<'a> {
    pub(crate) fn new(group: &'a Group, responder: SocketAddr, at_once: usize) -> Result<Self, String> {
        // A hint proves nothing, so that of another engine of the same name is as good.
        let (_, hint) = Router::in_office(group, serve::NUMBER, Tables::new(4, 4, 2, 2))?;
        let socket = || {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            socket.set_ttl(255)?;
            socket.set_nonblocking(true)?;
            let address = socket.local_addr()?;
            Ok((socket, address))
        };
        let sockets = (0..at_once).map(|_| socket()).collect::<std::io::Result<_>>();
        Ok(Self {
            group,
            responder,
            hint,
            sockets: sockets.map_err(|error| format!("a socket: {error}"))?,
            began: Clock::now(),
            made: 0,
        })
    }

    fn now(&self) -> Instant {
        Instant::from_millis(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Makes the next `count` of them.
    pub(crate) fn prepare(&mut self, count: u16) -> Result<VecDeque<Prepared>, String> {
        (0..count).map(|_| self.next()).collect()
    }

    fn next(&mut self) -> Result<Prepared, String> {
        self.made += 1;
        let n = u16::try_from(self.made % u64::from(MEMBERS)).unwrap_or(0) + serve::NUMBER + 1;
        let mut member = newcomer(self.group, n, self.made + 1000)?;
        let multicast = member.multicast();
        member.handle(self.responder, multicast, &mut self.hint.clone());
        let mut sent = member.drain();
        sent.retain(|sent| sent.kind == MessageKind::InitRequest);
        let first = sent.pop().ok_or("an initiator does not begin")?;
        Ok(Prepared {
            since: Instant::ZERO,
            member,
            first: first.octets,
        })
    }

    /// Runs all of a wave; returns how many datagrams were sent again.
    pub(crate) fn run(&mut self, mut wave: VecDeque<Prepared>) -> Result<u32, String> {
        let mut again = 0;
        let mut under_way: Vec<Option<Prepared>> = Vec::new();
        under_way.resize_with(self.sockets.len(), || None);
        let send = |socket: &UdpSocket, octets: &[u8]| {
            let sent = socket.send_to(octets, self.responder);
            sent.map(|_| ()).map_err(|error| format!("sending: {error}"))
        };
        loop {
            let now = self.now();
            let mut active = false;
            for ((socket, own), place) in self.sockets.iter().zip(&mut under_way) {
                let Some(one) = place else {
                    if let Some(mut next) = wave.pop_front() {
                        next.since = now;
                        send(socket, &next.first)?;
                        *place = Some(next);
                        active = true;
                    }
                    continue;
                };
                active = true;
                let member = &mut one.member;
                member.now = Instant::from_millis(now.since(one.since).as_millis());
                let mut buffer: Buffer = [0; 1232];
                while let Ok((len, from)) = socket.recv_from(&mut buffer) {
                    let handled = member.handle(from, *own, &mut buffer[..len]);
                    // A late copy for the initiator that had this socket before is dropped; that is nothing to count.
                    let _: Handled = handled;
                }
                loop {
                    match member.engine.poll(member.now, &mut buffer) {
                        Output::Transmit { len, to, kind } if to == self.responder => {
                            again += u32::from(kind == MessageKind::InitRequest);
                            send(socket, &buffer[..len])?;
                        }
                        Output::Transmit { .. } | Output::Event(_) => {}
                        Output::Idle { .. } => break,
                    }
                }
                if member.engine.role() == Role::Member {
                    *place = None;
                } else if now.since(one.since).as_millis() > PATIENCE_MS {
                    return Err(format!("an exchange is not over after {PATIENCE_MS} ms"));
                }
            }
            if !active && wave.is_empty() {
                return Ok(again);
            }
        }
    }
}
