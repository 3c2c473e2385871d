//! The two UDP sockets of a node: one that it sends from and takes requests at, one that hears the group
//! (PROTOCOL.md section 2).

mod error;
mod interface;
#[cfg(test)]
mod tests;

use std::{
    io::{self, IoSliceMut},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    os::fd::{AsFd, AsRawFd, BorrowedFd},
};

use karp_core::io::Recv;
use nix::{
    cmsg_space,
    errno::Errno,
    libc,
    sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt},
};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

pub use self::{error::SocketError, interface::Interface};

/// TTL and hop limit of everything that is sent: receivers take nothing else (RFC 5082).
const HOPS: u32 = 255;
/// Class selector 6, where routing protocols' packets belong (RFC 2474, RFC 4594).
const TRAFFIC_CLASS: u32 = 0xc0;
/// What is asked of the kernel for datagrams that wait; it gives what its limit allows. A key server of a thousand
/// members takes a burst of announcements and registrations.
const RECEIVE_BUFFER: usize = 1 << 20;

/// Which of the two sockets.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Which {
    /// The node's own address and port.
    Unicast,
    /// The group's address and port.
    Multicast,
}

/// What a read from a socket gave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Incoming {
    /// A datagram: the first `len` octets of the buffer.
    Datagram {
        /// Its length in octets.
        len: usize,
        /// Where from, where to and how far.
        recv: Recv,
    },
    /// A datagram that is of no use here and was thrown away.
    Skipped(Skip),
    /// Nothing waits.
    Empty,
}

/// Why a datagram was thrown away before the engine saw it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Skip {
    /// It is longer than the buffer.
    TooLong,
    /// It came in by another interface than the group's: the link is where the group ends.
    OtherInterface,
}

/// The node's two sockets, both non-blocking.
///
/// Addresses go in and come out without the scope that IPv6 link-local ones have on a machine, as they are on the wire:
/// all of a node's peers are on one interface.
pub struct Sockets {
    unicast: Socket,
    multicast: Socket,
    local: SocketAddr,
    group: SocketAddr,
    interface: Interface,
    /// The interface's name where the configuration gives one.
    name: Option<String>,
    epoch: u32,
}

impl Sockets {
    /// Opens both sockets: unicast at `local`, where port 0 lets the system choose one, and multicast at `group` on the
    /// interface that has `local`'s address, or on the one of this name.
    ///
    /// Several nodes on one machine share `group`; each needs a `local` of its own.
    ///
    /// # Errors
    /// A port in use, an address or interface that is not there, a port that needs a privilege: see [`SocketError`].
    pub fn open(local: SocketAddr, group: SocketAddr, interface: Option<&str>) -> Result<Self, SocketError> {
        if local.is_ipv4() != group.is_ipv4() || !group.ip().is_multicast() {
            let problem = "not a multicast address of the node's address family";
            return Err(SocketError::new(
                "multicast",
                group.ip(),
                problem,
                "give 224.0.0.254 or ff02::114",
            ));
        }
        let found = Interface::find(local.ip(), interface)?;
        let unicast = open_unicast(scoped(local, found.index))?;
        let multicast = open_multicast(scoped(group, found.index))?;
        let local = unicast
            .local_addr()
            .ok()
            .and_then(|address| address.as_socket())
            .unwrap_or(local);
        let (local, group) = (unscoped(local), unscoped(group));
        let sockets = Self {
            unicast,
            multicast,
            local,
            group,
            interface: found,
            name: interface.map(str::to_owned),
            epoch: 0,
        };
        sockets.attach()?;
        Ok(sockets)
    }

    /// Looks for the interface again and joins the group on it anew: after it went away and came back, the kernel has
    /// forgotten the membership. The descriptors stay the same, but for sockets with IPv6 link-local addresses (`ff02::`
    /// is one) on an interface that was made anew: those belong to the old one and are replaced, which
    /// [`epoch`](Self::epoch) tells.
    ///
    /// # Errors
    /// If the interface is still gone.
    pub fn rejoin(&mut self) -> Result<(), SocketError> {
        let found = Interface::find(self.local.ip(), self.name.as_deref())?;
        if found.index != self.interface.index {
            // The system ties a socket to the interface when it binds to an address that needs one.
            if is_link_scoped(self.local.ip()) {
                self.unicast = open_unicast(scoped(self.local, found.index))?;
                self.epoch = self.epoch.wrapping_add(1);
            }
            if is_link_scoped(self.group.ip()) {
                self.multicast = open_multicast(scoped(self.group, found.index))?;
                self.epoch = self.epoch.wrapping_add(1);
            }
        }
        // There may be nothing left to leave.
        let _ = match (self.group.ip(), self.local.ip()) {
            (IpAddr::V4(group), IpAddr::V4(local)) => self.multicast.leave_multicast_v4(&group, &local),
            (IpAddr::V6(group), _) => self.multicast.leave_multicast_v6(&group, self.interface.index),
            (IpAddr::V4(_), IpAddr::V6(_)) => Ok(()),
        };
        self.interface = found;
        self.attach()
    }

    /// What is wrong with the link, after `error` from sending to the group.
    pub(crate) fn diagnose(&self, error: io::Error) -> SocketError {
        match Interface::find(self.local.ip(), self.name.as_deref()) {
            Err(found) => found.because(error),
            Ok(found) if found.index != self.interface.index => SocketError::new(
                "interface",
                &found.name,
                "the interface was made anew",
                "nothing: the group is joined again within a second",
            )
            .because(error),
            Ok(found) => SocketError::other("interface", found.name, "send to the group", error),
        }
    }

    /// Rises when a socket was replaced.
    #[must_use]
    pub const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The address and port that the node sends from and takes requests at.
    #[must_use]
    pub const fn local(&self) -> SocketAddr {
        self.local
    }

    /// The interface in use.
    #[must_use]
    pub const fn interface(&self) -> &Interface {
        &self.interface
    }

    /// The descriptor of one of the sockets, to wait for input on. Read by [`receive`](Self::receive) only.
    #[must_use]
    pub fn fd(&self, which: Which) -> BorrowedFd<'_> {
        self.socket(which).as_fd()
    }

    /// Reads one datagram. Never blocks.
    ///
    /// # Errors
    /// What the system says; the next read may well succeed.
    pub fn receive(&self, which: Which, buffer: &mut [u8]) -> io::Result<Incoming> {
        let (from, len, arrival) = match read(self.socket(which), buffer)? {
            Read::Datagram(from, len, arrival) => (from, len, arrival),
            Read::TooLong => return Ok(Incoming::Skipped(Skip::TooLong)),
            Read::Empty => return Ok(Incoming::Empty),
        };
        if arrival
            .interface
            .is_some_and(|index| !self.takes_from(which, index))
        {
            return Ok(Incoming::Skipped(Skip::OtherInterface));
        }
        let own = match which {
            Which::Unicast => self.local,
            Which::Multicast => self.group,
        };
        // The configured form of an address where it is that address, so that the engine can compare.
        let to = arrival
            .to
            .filter(|ip| *ip != own.ip())
            .map_or(own, |ip| SocketAddr::new(ip, own.port()));
        Ok(Incoming::Datagram {
            len,
            recv: Recv {
                from,
                to,
                hop_limit: arrival.hop_limit,
            },
        })
    }

    /// Sends one datagram from the unicast socket. Never blocks.
    ///
    /// # Errors
    /// What the system says. Datagrams can be lost anyway: nothing needs to be done but to count it.
    pub fn send(&self, octets: &[u8], to: SocketAddr) -> io::Result<()> {
        send_to(&self.unicast, octets, scoped(to, self.interface.index))
    }

    const fn socket(&self, which: Which) -> &Socket {
        match which {
            Which::Unicast => &self.unicast,
            Which::Multicast => &self.multicast,
        }
    }

    /// Unicast between two nodes of one machine comes by the loopback interface, whatever addresses they have.
    fn takes_from(&self, which: Which, index: u32) -> bool {
        index == self.interface.index || (which == Which::Unicast && loopback_index() == Some(index))
    }

    /// Ties both sockets to the interface: where multicast goes out, and where the group is heard.
    fn attach(&self) -> Result<(), SocketError> {
        let index = self.interface.index;
        match (self.group.ip(), self.local.ip()) {
            (IpAddr::V4(group), IpAddr::V4(local)) => self
                .unicast
                .set_multicast_if_v4(&local)
                .and_then(|()| self.multicast.join_multicast_v4(&group, &local)),
            (IpAddr::V6(group), _) => self
                .unicast
                .set_multicast_if_v6(index)
                .and_then(|()| self.multicast.join_multicast_v6(&group, index)),
            (IpAddr::V4(_), IpAddr::V6(_)) => Ok(()),
        }
        .map_err(|error| self.attach_error(error))
    }

    fn attach_error(&self, error: io::Error) -> SocketError {
        let name = &self.interface.name;
        match error.raw_os_error() {
            Some(libc::ENODEV | libc::EADDRNOTAVAIL | libc::ENXIO) => SocketError::new(
                "interface",
                name,
                "the interface is gone or takes no multicast",
                format!("run: ip link show {name}"),
            )
            .because(error),
            Some(libc::ENOBUFS | libc::ENOMEM) => SocketError::new(
                "multicast",
                self.group.ip(),
                "the system allows no further multicast memberships",
                "raise net.ipv4.igmp_max_memberships",
            )
            .because(error),
            _ => SocketError::other("interface", name, "join the group's multicast address", error),
        }
    }
}

impl std::fmt::Debug for Sockets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sockets")
            .field("local", &self.local)
            .field("group", &self.group)
            .field("interface", &self.interface)
            .finish_non_exhaustive()
    }
}

/// What one read gave.
enum Read {
    Datagram(SocketAddr, usize, Arrival),
    TooLong,
    Empty,
}

/// Reads one datagram, and how it came.
fn read(socket: &Socket, buffer: &mut [u8]) -> io::Result<Read> {
    let mut control = cmsg_space!(libc::c_int, libc::in_pktinfo, libc::in6_pktinfo);
    let mut iov = [IoSliceMut::new(buffer)];
    let fd = socket.as_raw_fd();
    let received = loop {
        match recvmsg::<SockaddrStorage>(fd, &mut iov, Some(&mut control), MsgFlags::empty()) {
            Ok(received) => break received,
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Ok(Read::Empty),
            Err(errno) => return Err(errno.into()),
        }
    };
    let Some(from) = received.address.as_ref().and_then(socket_addr) else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a datagram without an address of its sender",
        ));
    };
    if received.flags.contains(MsgFlags::MSG_TRUNC) {
        return Ok(Read::TooLong);
    }
    let mut arrival = Arrival::default();
    // Control messages that did not fit leave the hop limit unknown, which the engine refuses.
    received
        .cmsgs()
        .into_iter()
        .flatten()
        .for_each(|message| arrival.note(&message));
    Ok(Read::Datagram(from, received.bytes, arrival))
}

fn send_to(socket: &Socket, octets: &[u8], to: SocketAddr) -> io::Result<()> {
    let to = SockAddr::from(to);
    loop {
        match socket.send_to(octets, &to) {
            Ok(sent) if sent == octets.len() => return Ok(()),
            Ok(_) => {
                return Err(io::Error::new(
                    io::ErrorKind::WriteZero,
                    "the datagram went out cut short",
                ));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// One UDP socket for unicast alone: that of a pair (PROTOCOL.md section 9). Non-blocking. What arrives may come by any
/// interface: GTSM and the peer's proof decide. IPv6 link-local addresses are not for it.
pub struct PeerSocket {
    socket: Socket,
    local: SocketAddr,
}

impl PeerSocket {
    /// Opens it at `local`, where port 0 lets the system choose one.
    ///
    /// # Errors
    /// A port in use, an address that is not there, a port that needs a privilege.
    pub fn open(local: SocketAddr) -> Result<Self, SocketError> {
        let socket = open_unicast(local)?;
        let bound = socket.local_addr().ok().and_then(|address| address.as_socket());
        Ok(Self {
            socket,
            local: bound.unwrap_or(local),
        })
    }

    /// The address and port that it has.
    #[must_use]
    pub const fn local(&self) -> SocketAddr {
        self.local
    }

    /// The descriptor, to wait for input on.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Reads one datagram. Never blocks.
    ///
    /// # Errors
    /// What the system says; the next read may well succeed.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Incoming> {
        Ok(match read(&self.socket, buffer)? {
            Read::Empty => Incoming::Empty,
            Read::TooLong => Incoming::Skipped(Skip::TooLong),
            Read::Datagram(from, len, arrival) => Incoming::Datagram {
                len,
                recv: Recv {
                    from,
                    to: self.local,
                    hop_limit: arrival.hop_limit,
                },
            },
        })
    }

    /// Sends one datagram. Never blocks.
    ///
    /// # Errors
    /// What the system says. Datagrams can be lost anyway.
    pub fn send(&self, octets: &[u8], to: SocketAddr) -> io::Result<()> {
        send_to(&self.socket, octets, to)
    }
}

impl std::fmt::Debug for PeerSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeerSocket")
            .field("local", &self.local)
            .finish_non_exhaustive()
    }
}

/// How a datagram came, from the kernel's control messages.
#[derive(Default)]
struct Arrival {
    hop_limit: Option<u8>,
    to: Option<IpAddr>,
    interface: Option<u32>,
}

impl Arrival {
    fn note(&mut self, message: &ControlMessageOwned) {
        match message {
            ControlMessageOwned::Ipv4Ttl(hops) | ControlMessageOwned::Ipv6HopLimit(hops) => {
                self.hop_limit = u8::try_from(*hops).ok();
            }
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                self.to = Some(Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)).into());
                self.interface = u32::try_from(info.ipi_ifindex).ok();
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                self.to = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
                self.interface = Some(info.ipi6_ifindex);
            }
            _ => {}
        }
    }
}

fn open_unicast(local: SocketAddr) -> Result<Socket, SocketError> {
    let socket = new_socket(local)?;
    bind(&socket, local, "address", "port")?;
    Ok(socket)
}

fn open_multicast(group: SocketAddr) -> Result<Socket, SocketError> {
    let socket = new_socket(group)?;
    let shared = socket
        .set_reuse_address(true)
        .and_then(|()| socket.set_reuse_port(true));
    shared.map_err(|error| {
        SocketError::other("multicast_port", group.port(), "share the group's port", error)
    })?;
    // Without this, Linux hands over what arrives for the group on interfaces that other sockets joined it on.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let joined_only = if group.is_ipv4() {
            socket.set_multicast_all_v4(false)
        } else {
            socket.set_multicast_all_v6(false)
        };
        if let Err(error) = joined_only {
            // Older kernels lack it for IPv6; the interface is checked for each datagram as well.
            tracing::debug!(%error, "the kernel cannot limit multicast to what was joined");
        }
    }
    bind(&socket, group, "multicast", "multicast_port")?;
    Ok(socket)
}

/// A socket with everything set that both kinds need.
fn new_socket(address: SocketAddr) -> Result<Socket, SocketError> {
    let prepare = || -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        if address.is_ipv4() {
            socket.set_ttl_v4(HOPS)?;
            socket.set_multicast_ttl_v4(HOPS)?;
            socket.set_multicast_loop_v4(true)?;
            setsockopt(&socket, sockopt::Ipv4RecvTtl, &true)?;
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        } else {
            socket.set_only_v6(true)?;
            socket.set_unicast_hops_v6(HOPS)?;
            socket.set_multicast_hops_v6(HOPS)?;
            socket.set_multicast_loop_v6(true)?;
            setsockopt(&socket, sockopt::Ipv6RecvHopLimit, &true)?;
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        }
        Ok(socket)
    };
    let socket =
        prepare().map_err(|error| SocketError::other("address", address.ip(), "make a UDP socket", error))?;
    // Both make things better and nothing depends on them.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    let _ = if address.is_ipv4() {
        socket.set_tos_v4(TRAFFIC_CLASS)
    } else {
        socket.set_tclass_v6(TRAFFIC_CLASS)
    };
    Ok(socket)
}

fn bind(
    socket: &Socket,
    address: SocketAddr,
    ip_field: &'static str,
    port_field: &'static str,
) -> Result<(), SocketError> {
    let Err(error) = socket.bind(&address.into()) else {
        return Ok(());
    };
    let (ip, port) = (address.ip(), address.port());
    Err(match error.raw_os_error() {
        Some(libc::EADDRINUSE) => SocketError::new(
            port_field,
            port,
            format!("another program has UDP port {port} of {ip}"),
            "stop it (ss -ulpn shows which), or give another port",
        ),
        Some(libc::EACCES | libc::EPERM) => SocketError::new(
            port_field,
            port,
            "the system lets only privileged programs have this port",
            "grant CAP_NET_BIND_SERVICE, or give a port from 1024 up",
        ),
        Some(libc::EADDRNOTAVAIL) => SocketError::new(
            ip_field,
            ip,
            "no interface of this machine has this address",
            "bring the interface up, or name an address that is there",
        ),
        _ => return Err(SocketError::other(ip_field, ip, "bind to it", error)),
    }
    .because(error))
}

/// The address as the system wants it: link-local IPv6 addresses mean nothing to it without an interface.
fn scoped(address: SocketAddr, index: u32) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) if v6.scope_id() == 0 && is_link_scoped(address.ip()) => {
            SocketAddrV6::new(*v6.ip(), v6.port(), 0, index).into()
        }
        other => other,
    }
}

fn unscoped(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port())
}

/// Whether it is an IPv6 address that needs an interface with it.
fn is_link_scoped(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(_) => false,
        IpAddr::V6(ip) => {
            ip.is_unicast_link_local() || matches!(ip.octets(), [0xff, scope, ..] if scope & 0x0f <= 2)
        }
    }
}

/// The sender's address without flow label and scope.
fn socket_addr(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address
        .as_sockaddr_in()
        .map(|v4| SocketAddr::new(v4.ip().into(), v4.port()));
    v4.or_else(|| {
        address
            .as_sockaddr_in6()
            .map(|v6| SocketAddr::new(v6.ip().into(), v6.port()))
    })
}

fn loopback_index() -> Option<u32> {
    use std::sync::OnceLock;
    static INDEX: OnceLock<Option<u32>> = OnceLock::new();
    *INDEX.get_or_init(|| {
        let found = Interface::find(Ipv4Addr::LOCALHOST.into(), None);
        found
            .or_else(|_| Interface::find(Ipv6Addr::LOCALHOST.into(), None))
            .ok()
            .map(|interface| interface.index)
    })
}
