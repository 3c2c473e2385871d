//! A router that is none: hellos signed by `karp_core::packet_auth`, sent as OSPF sends them.
//!
//! It runs in a thread of this program that has entered a namespace, and says nothing but hellos, so a neighbour that
//! accepts them gets no further than seeing it.

use std::{
    fs::File,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::channel,
    },
    thread::JoinHandle,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, anyhow};
use karp_core::packet_auth::{
    Algorithm, Key,
    build::{Ospfv2Hello, Ospfv3Hello},
    ospfv2, ospfv3,
};
use nix::sched::{CloneFlags, setns};
use socket2::{Domain, Protocol, Socket, Type};
use zeroize::Zeroizing;

/// OSPF's number among the protocols of IP.
const OSPF: i32 = 89;
const ALL_ROUTERS_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 5);
const ALL_ROUTERS_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 5);
/// Between two hellos, as the daemons of the laboratory have it.
const INTERVAL: Duration = Duration::from_secs(1);
const DEAD_S: u16 = 10;
/// The thread looks so often whether it shall end.
const PACE: Duration = Duration::from_millis(50);
/// Namespaces that `ip netns` has made.
const NAMESPACES: &str = "/run/netns";

/// Who sends, and with what.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The namespace.
    pub namespace: String,
    /// Its interface.
    pub interface: String,
    /// The address on it.
    pub v4: Ipv4Addr,
    /// Its link-local address there.
    pub v6: Ipv6Addr,
    /// The router id.
    pub router_id: Ipv4Addr,
}

/// A key with which hellos are signed, by HMAC-SHA-256.
pub struct SigningKey {
    /// Its id.
    pub id: u16,
    /// The key for OSPFv2.
    pub ospfv2: Zeroizing<String>,
    /// The key for OSPFv3.
    pub ospfv3: Zeroizing<String>,
}

/// Sends hellos until it is dropped.
#[derive(Debug)]
pub struct Signer {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Signer {
    /// Begins to send a hello of OSPFv2 and one of OSPFv3 each second.
    ///
    /// # Errors
    /// The namespace cannot be entered, or its sockets cannot be had: both need root.
    pub fn start(identity: Identity, key: SigningKey) -> anyhow::Result<Self> {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (begun, outcome) = channel();
        let thread = {
            let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
            std::thread::spawn(move || {
                let mut voice = match Voice::open(&identity) {
                    Ok(voice) => voice,
                    Err(error) => {
                        // Nobody listens only if the caller is gone.
                        let _ = begun.send(Err(error));
                        return;
                    }
                };
                let _ = begun.send(Ok(()));
                while !stop.load(Ordering::Relaxed) {
                    if voice.speak(&identity, &key).is_ok() {
                        sent.fetch_add(2, Ordering::Relaxed);
                    }
                    let mut waited = Duration::ZERO;
                    while waited < INTERVAL && !stop.load(Ordering::Relaxed) {
                        std::thread::sleep(PACE);
                        waited += PACE;
                    }
                }
            })
        };
        let outcome = outcome
            .recv()
            .unwrap_or_else(|_| Err(anyhow!("its thread ended")));
        let signer = Self {
            stop,
            sent,
            thread: Some(thread),
        };
        outcome.map(|()| signer).context("no hellos can be sent")
    }

    /// How many hellos it has sent.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Signer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of it has been printed.
            let _ = thread.join();
        }
    }
}

/// The sockets, and the number of the last hello.
struct Voice {
    v4: Socket,
    v6: Socket,
    interface: u32,
    sequence: u64,
}

impl Voice {
    /// Enters the namespace, which only this thread does, and opens the sockets.
    fn open(identity: &Identity) -> anyhow::Result<Self> {
        let path = Path::new(NAMESPACES).join(&identity.namespace);
        let namespace = File::open(&path).with_context(|| format!("no namespace {}", path.display()))?;
        setns(&namespace, CloneFlags::CLONE_NEWNET)
            .with_context(|| format!("{} cannot be entered", path.display()))?;
        let interface = nix::net::if_::if_nametoindex(identity.interface.as_str())
            .with_context(|| format!("no interface {}", identity.interface))?;
        let sockets = || -> io::Result<(Socket, Socket)> {
            let v4 = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(OSPF)))?;
            v4.bind(&SocketAddrV4::new(identity.v4, 0).into())?;
            v4.set_multicast_if_v4(&identity.v4)?;
            v4.set_multicast_ttl_v4(1)?;
            v4.set_multicast_loop_v4(false)?;
            let v6 = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::from(OSPF)))?;
            v6.bind(&SocketAddrV6::new(identity.v6, 0, 0, interface).into())?;
            v6.set_multicast_if_v6(interface)?;
            v6.set_multicast_hops_v6(1)?;
            v6.set_multicast_loop_v6(false)?;
            Ok((v4, v6))
        };
        let (v4, v6) = sockets().context("no raw sockets")?;
        // Greater at every start, as long as no more than one packet a second is sent.
        let sequence = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        Ok(Self {
            v4,
            v6,
            interface,
            sequence,
        })
    }

    fn speak(&mut self, identity: &Identity, key: &SigningKey) -> anyhow::Result<()> {
        self.sequence += 1;
        let mut room = [0; 256];
        let hello = Ospfv2Hello {
            router_id: identity.router_id.into(),
            hello_interval: INTERVAL.as_secs() as u16,
            dead_interval: u32::from(DEAD_S),
            // It takes no part in the election.
            priority: 0,
            ..Ospfv2Hello::DEFAULT
        };
        let len = hello.write(&mut room)?;
        let params = ospfv2::SignParams {
            mode: ospfv2::Mode::Rfc5709,
            sequence: self.sequence,
            source: identity.v4,
        };
        let len = ospfv2::sign(
            &mut room,
            len,
            &Key::new(key.id, Algorithm::HmacSha256, key.ospfv2.as_bytes()),
            &params,
        )?;
        self.v4
            .send_to(&room[..len], &SocketAddrV4::new(ALL_ROUTERS_V4, 0).into())?;

        let mut room = [0; 256];
        let hello = Ospfv3Hello {
            router_id: identity.router_id.into(),
            interface_id: self.interface,
            hello_interval: INTERVAL.as_secs() as u16,
            dead_interval: DEAD_S,
            priority: 0,
            ..Ospfv3Hello::DEFAULT
        };
        let len = hello.write(&mut room)?;
        let params = ospfv3::SignParams {
            sequence: self.sequence,
            source: identity.v6,
        };
        let len = ospfv3::sign(
            &mut room,
            len,
            &Key::new(key.id, Algorithm::HmacSha256, key.ospfv3.as_bytes()),
            &params,
        )?;
        let to = SocketAddrV6::new(ALL_ROUTERS_V6, 0, 0, self.interface);
        self.v6.send_to(&room[..len], &to.into())?;
        Ok(())
    }
}
