//! karp-core's engine in an event loop of your own, in about forty lines: copy [`run`] and change what you need.
//!
//! The engine wants four things of its host: what the sockets receive, what time it is, randomness, and a call of `poll`
//! after everything that happens and when its deadline comes. Here karp-std lends sockets with the right options, the
//! clock that counts time asleep, and the operating system's randomness; each can be replaced. `karp_std::endpoint` is
//! this loop with loss of the link, budgets and counters, for those who do not want one of their own.
//!
//! `cargo run --release --example bare_loop` runs two routers on loopback until both send with the same key.

use std::{error::Error, net::SocketAddr, time::Duration as StdDuration};

use karp_core::{
    Command, Config, Duration, Engine, Grant, Identity, Output, Settings, algorithm::RoutingProtocol,
};
use karp_std::{
    clock,
    credentials::{PreSharedKey, Store},
    driver,
    entropy::OsEntropy,
    heap::Heap,
    socket::{Incoming, Sockets, Which},
};

type Failure = Box<dyn Error + Send + Sync>;

fn run(name: &str, multicast: SocketAddr) -> Result<String, Failure> {
    // Who and where this router is. Routers of a real link have an address and port 848 each.
    let sockets = Sockets::open("127.0.0.1:0".parse()?, multicast, None)?;
    let identity = Identity::fqdn(name).ok_or("a name has 1 to 64 characters")?;
    let settings = Settings {
        multicast,
        hello: Duration::from_millis(200),
        ..Settings::new("bare-loop", identity.clone(), sockets.local())
    };
    // One key for all is the least to configure; a key for each pair, or signatures, can be evicted.
    let psk = PreSharedKey::new(b"an example's key is no secret")?;
    let store = Store::new(identity).with_shared_key(psk, Grant::FULL);
    let config = Config::new(settings)?;
    let mut engine = Engine::new(config, store, OsEntropy, Heap::default(), clock::now())?;
    engine.handle_command(clock::now(), Command::Join)?;

    let (mut input, mut output) = (vec![0; 65_536], [0; 1232]);
    let mut keyed = None;
    loop {
        // Ask until there is nothing more to do: send what it says, hear what happened, learn when to come back.
        let deadline = loop {
            match engine.poll(clock::now(), &mut output) {
                // A datagram that cannot be sent is a lost one: the engine sends again what matters.
                Output::Transmit { len, to, .. } => drop(sockets.send(&output[..len], to)),
                Output::Event(event) => println!("{name}: {event:?}"),
                Output::Idle { next } => break next,
            }
        };
        // A routing stack looks a key up here for every packet that it sends, and by key id for every one it receives.
        if let Some(row) = engine.key_table().sending(RoutingProtocol::Ospfv2, clock::now()) {
            let since = *keyed.get_or_insert(clock::now());
            // An example ends: a second later, so that the other router has time.
            if clock::now().since(since) > Duration::from_secs(1) {
                return Ok(format!("key {} {:?}", row.id, row.fingerprint()));
            }
        }
        let longest = StdDuration::from_secs(1);
        let timeout = deadline.map_or(longest, |(at, _)| clock::until(at).min(longest));
        driver::wait(
            &[sockets.fd(Which::Unicast), sockets.fd(Which::Multicast)],
            timeout,
        )?;
        for which in [Which::Unicast, Which::Multicast] {
            // One datagram of each, then `poll` again: a flood must not keep the deadlines waiting.
            if let Incoming::Datagram { len, recv } = sockets.receive(which, &mut input)? {
                // What is dropped is counted in `engine.counters()`, and needs nothing done.
                let _ = engine.handle_datagram(clock::now(), recv, &mut input[..len]);
            }
        }
    }
}

fn main() -> Result<(), Failure> {
    // A port of its own, so that two runs at a time do not meet.
    let port = std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
    let multicast = SocketAddr::from(([224, 0, 0, 254], port));
    let routers = ["r1", "r2"].map(|name| std::thread::spawn(move || run(name, multicast)));
    let mut keys = Vec::new();
    for router in routers {
        keys.push(router.join().map_err(|_| "a router's thread ended early")??);
    }
    println!("r1 sends with {}, r2 with {}", keys[0], keys[1]);
    if keys[0] != keys[1] {
        return Err("the routers ended with different keys".into());
    }
    Ok(())
}
