//! The responder: a GCKS on the sockets of karp-std, until its input ends.

use std::{
    io::Write,
    net::{Ipv4Addr, SocketAddr},
    os::fd::AsFd,
};

use benches::{
    measure::pin_to,
    router::{Store, identity},
};
use karp_core::{Command, Duration, Role, Settings};
use karp_std::{
    driver,
    endpoint::{Endpoint, Notice},
    entropy::OsEntropy,
    heap::{Heap, Sizes},
};

use benches::router::Proof;

use crate::{MEMBERS, group};

/// The number of the responder.
pub(crate) const NUMBER: u16 = 1;

/// Serves on a port of its own, which it prints when it has keys to give.
pub(crate) fn serve(proof: Proof, processor: &str) -> Result<(), Box<dyn std::error::Error>> {
    pin_to(processor.parse()?)?;
    let group = group(proof);
    // A port of its own for the group: another run on this machine is another group.
    let own = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = own.local_addr()?.port();
    drop(own);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let settings = Settings {
        router_id: NUMBER.into(),
        multicast: SocketAddr::from((Ipv4Addr::new(224, 0, 0, 254), port)),
        hello: Duration::from_millis(250),
        // Exchanges repeat under the same names, and each is to be given the keys.
        reboot_exempt: true,
        ..Settings::new("lan", identity(NUMBER), address)
    };
    let sizes = Sizes {
        peers: usize::from(MEMBERS) + 24,
        ..Sizes::default()
    };
    let mut endpoint = Endpoint::with_parts(
        settings,
        Some("lo"),
        Store::new(&group, NUMBER),
        OsEntropy,
        Heap::new(&sizes),
    )?;
    endpoint.command(Command::Join)?;
    let mut ignored = |_: Notice<'_>| {};
    let (mut serves, input) = (false, std::io::stdin());
    let mut ended = std::os::unix::net::UnixStream::pair()?;
    ended.0.set_nonblocking(true)?;
    let ends = ended.1.try_clone()?;
    // Its input is the other process: when that ends, so does this one.
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut input.lock(), &mut std::io::sink());
        let _ = ends.shutdown(std::net::Shutdown::Both);
    });
    drop(ended.1);
    loop {
        let [unicast, multicast] = endpoint.fds();
        driver::wait(&[unicast, multicast, ended.0.as_fd()], endpoint.timeout())?;
        endpoint.on_deadline(&mut ignored);
        let _ = endpoint.on_readable(&mut ignored);
        if matches!(std::io::Read::read(&mut ended.0, &mut [0]), Ok(0)) {
            return Ok(());
        }
        let engine = endpoint.engine();
        if !serves && engine.role() == Role::Gcks && engine.generation() >= 2 {
            serves = true;
            println!("{}", engine.config().settings().address);
            std::io::stdout().flush()?;
        }
    }
}
