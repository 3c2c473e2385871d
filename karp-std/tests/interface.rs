//! Interfaces that are there, go away and come back, in a network namespace of the test's own. Needs root and `ip`
//! (iproute2); without them the tests say so on standard error and test nothing.

use std::{
    net::{IpAddr, SocketAddr},
    process,
    time::{Duration, Instant},
};

use karp_core::{
    command::Command, config::Settings, error::DropReason, identity::Identity, io::Recv,
    time::Duration as Span,
};
use karp_std::{
    credentials::Store,
    driver,
    endpoint::{Endpoint, Notice, OpenError},
    entropy::OsEntropy,
    heap::Heap,
    socket::{Incoming, Sockets, Which},
};
use nix::sched::{CloneFlags, unshare};

/// Runs `test` on a thread with a network of its own, where e0 and e1 are the two ends of a cable.
fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(move || {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            eprintln!("not tested: no network namespace ({error}); run as root");
            return;
        }
        if process::Command::new("ip").arg("-V").output().is_err() {
            eprintln!("not tested: no ip command; install iproute2");
            return;
        }
        ip("link set lo up");
        plug_in();
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// A child has the network of the thread that started it.
fn ip(command: &str) {
    let output = process::Command::new("ip")
        .args(command.split_whitespace())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "ip {command}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn plug_in() {
    ip("link add e0 type veth peer name e1");
    ip("addr add 10.9.0.1/24 dev e0");
    ip("addr add fd09::1/64 dev e0 nodad");
    ip("link set e1 up");
    ip("link set e0 addrgenmode none");
    ip("link set e0 up");
    ip("addr add fe80::1/64 dev e0 nodad");
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn open(address: &str, interface: Option<&str>) -> Result<Endpoint, OpenError> {
    open_with(address, interface, 50)
}

/// An endpoint that announces itself every `hello` milliseconds.
fn open_with(address: &str, interface: Option<&str>, hello: u64) -> Result<Endpoint, OpenError> {
    let mut settings = Settings::new("lan", Identity::fqdn("r1.example").unwrap(), addr(address));
    settings.hello = Span::from_millis(hello);
    let store = Store::new(settings.identity.clone());
    Endpoint::with_parts(settings, interface, store, OsEntropy, Heap::default())
}

/// Runs the endpoint until `done` says so, for at most ten seconds.
fn run_until(endpoint: &mut Endpoint, what: &str, mut done: impl FnMut(&Endpoint, &[String]) -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    let mut told = Vec::new();
    while !done(endpoint, &told) {
        assert!(Instant::now() < end, "{what} did not come; heard: {told:?}");
        driver::wait(&endpoint.fds(), endpoint.timeout()).unwrap();
        let mut notices = |notice: Notice<'_>| match notice {
            Notice::LinkLost { error } => told.push(format!("lost: {error}")),
            Notice::LinkRestored => told.push("restored".to_owned()),
            _ => {}
        };
        let _ = endpoint.on_readable(&mut notices);
    }
}

/// Sends until it arrives: an interface that has just come up can lose what is sent in its first moments.
fn arrives(from: &Sockets, to: SocketAddr, at: &Sockets, which: Which) {
    let end = Instant::now() + Duration::from_secs(10);
    let mut buffer = [0; 256];
    while Instant::now() < end {
        from.send(b"to you", to).unwrap();
        driver::wait(&[at.fd(which)], Duration::from_millis(100)).unwrap();
        match at.receive(which, &mut buffer).unwrap() {
            Incoming::Datagram { len, recv } => {
                assert_eq!(&buffer[..len], b"to you");
                return assert_eq!(
                    recv,
                    Recv {
                        from: from.local(),
                        to,
                        hop_limit: Some(255)
                    }
                );
            }
            Incoming::Skipped(why) => panic!("{why:?}"),
            Incoming::Empty => {}
        }
    }
    panic!("nothing from {} to {to} came to {}", from.local(), at.local());
}

/// IPv4, IPv6 and IPv6 link-local, unicast and multicast.
#[test]
fn every_kind_of_address_works() {
    in_namespace(|| {
        let kinds = [
            ("10.9.0.1", "224.0.0.254", None),
            ("fd09::1", "ff02::114", None),
            ("fe80::1", "ff02::114", None),
            ("fe80::1", "ff02::114", Some("e0")),
        ];
        for (ip, group, interface) in kinds {
            let local = SocketAddr::new(ip.parse().unwrap(), 0);
            let group = SocketAddr::new(group.parse().unwrap(), 848);
            let one = Sockets::open(local, group, interface).unwrap();
            let two = Sockets::open(local, group, interface).unwrap();
            assert_eq!(one.interface().name, "e0");
            arrives(&one, group, &one, Which::Multicast);
            arrives(&one, group, &two, Which::Multicast);
            arrives(&one, two.local(), &two, Which::Unicast);
        }
    });
}

/// Two groups of one address and port on two links do not hear each other.
#[test]
fn what_arrives_elsewhere_is_not_heard() {
    in_namespace(|| {
        ip("addr add 10.9.1.1/24 dev e1");
        let group = addr("224.0.0.254:848");
        let here = Sockets::open(addr("10.9.0.1:848"), group, None).unwrap();
        let there = Sockets::open(addr("10.9.1.1:848"), group, None).unwrap();
        // Looped back at e0; across the cable it would arrive at e1, but with an address of this very machine it is
        // thrown away there by the system.
        arrives(&here, group, &here, Which::Multicast);
        let mut buffer = [0; 64];
        assert_eq!(
            there.receive(Which::Multicast, &mut buffer).unwrap(),
            Incoming::Empty
        );
    });
}

#[test]
fn mistakes_are_told_by_field() {
    in_namespace(|| {
        let error = |address: &str, interface| open(address, interface).err().unwrap().to_string();
        let text = error("10.9.0.7:848", None);
        assert!(
            text.starts_with("address 10.9.0.7: no interface of this machine has this address; "),
            "{text}"
        );
        assert!(text.contains("10.9.0.1 (e0)"), "{text}");
        let text = error("10.9.0.1:848", Some("e1"));
        assert!(
            text.starts_with("address 10.9.0.1: interface e1 does not have this address; "),
            "{text}"
        );
        let text = error("10.9.0.1:848", Some("e7"));
        assert!(
            text.starts_with("interface e7: this machine has no such interface; "),
            "{text}"
        );
        assert!(text.contains("e0, e1, lo"), "{text}");
        ip("link set e0 down");
        let text = error("10.9.0.1:848", None);
        assert_eq!(
            text,
            "interface e0: the interface is down; run: ip link set e0 up"
        );
        ip("link set e0 up");
        // The system forgets IPv6 addresses of an interface that goes down.
        ip("addr add fe80::1/64 dev e0 nodad");
        ip("addr add fe80::1/64 dev e1 nodad");
        let text = error("[fe80::1]:848", None);
        assert_eq!(
            text,
            "interface (none): several interfaces have fe80::1; name the one to use"
        );
    });
}

/// A router whose interface goes away says so once, and is back on the link by itself when the interface is.
#[test]
fn an_interface_that_goes_away_and_comes_back() {
    for (address, take_away, bring_back, problem) in [
        (
            "10.9.0.1:848",
            "link del e0",
            "",
            "no interface of this machine has this address",
        ),
        (
            "10.9.0.1:848",
            "link set e0 down",
            "link set e0 up",
            "the interface is down",
        ),
        (
            "10.9.0.1:848",
            "addr del 10.9.0.1/24 dev e0",
            "addr add 10.9.0.1/24 dev e0",
            "no interface of this machine",
        ),
        (
            "[fd09::1]:848",
            "link del e0",
            "",
            "no interface of this machine has this address",
        ),
        (
            "[fe80::1]:848",
            "link del e0",
            "",
            "no interface of this machine has this address",
        ),
    ] {
        in_namespace(move || {
            eprintln!("{address}: {take_away}");
            let mut endpoint = open(address, None).unwrap();
            endpoint.command(Command::Join).unwrap();
            let own = |endpoint: &Endpoint| endpoint.engine().counters().dropped(DropReason::Own);
            run_until(&mut endpoint, "its own announcement", |endpoint, _| {
                own(endpoint) > 1
            });

            ip(take_away);
            run_until(&mut endpoint, "the loss", |_, told| !told.is_empty());
            assert_eq!(endpoint.counters().link_losses, 1);
            let mut kept = Vec::new();
            run_until(&mut endpoint, "a third attempt to get back", |endpoint, told| {
                kept = told.to_vec();
                endpoint.counters().send_failed > 20
            });
            assert_eq!(kept, Vec::<String>::new(), "told again");

            if bring_back.is_empty() {
                plug_in()
            } else {
                ip(bring_back)
            }
            run_until(&mut endpoint, "the way back", |_, told| {
                told.contains(&"restored".to_owned())
            });
            let before = own(&endpoint);
            run_until(&mut endpoint, "its own announcement, again", |endpoint, _| {
                own(endpoint) > before + 1
            });
            assert_eq!(endpoint.counters().link_losses, 1, "{problem}");
        });
    }
}

/// The message of a lost link says what is wrong.
#[test]
fn a_lost_link_is_explained() {
    in_namespace(|| {
        let mut endpoint = open("10.9.0.1:848", Some("e0")).unwrap();
        endpoint.command(Command::Join).unwrap();
        ip("link del e0");
        let mut text = String::new();
        run_until(&mut endpoint, "the loss", |_, told| {
            text = told.first().cloned().unwrap_or_default();
            !told.is_empty()
        });
        assert!(
            text.starts_with("lost: interface e0: this machine has no such interface; bring it up"),
            "{text}"
        );
    });
}

/// The unprivileged half of these tests: whatever the machine, its loopback has no such address.
#[test]
fn the_address_of_another_machine() {
    let error = open("192.0.2.77:848", None).err().unwrap();
    let OpenError::Socket(error) = error else {
        panic!("{error}")
    };
    assert_eq!(
        (error.field, error.value),
        ("address", IpAddr::from([192, 0, 2, 77]).to_string())
    );
}

/// An interface that is made anew in the blink of an eye, under its old number: sending works as ever, but the system
/// has forgotten that the group is wanted. The node notices that it does not hear itself.
#[test]
fn a_node_that_does_not_hear_itself_joins_anew() {
    in_namespace(|| {
        let mut endpoint = open_with("10.9.0.1:848", None, 700).unwrap();
        endpoint.command(Command::Join).unwrap();
        let own = |endpoint: &Endpoint| endpoint.engine().counters().dropped(DropReason::Own);
        run_until(&mut endpoint, "its own announcement", |endpoint, _| {
            own(endpoint) > 0
        });
        ip("link del e0");
        ip(&format!(
            "link add e0 index {} type veth peer name e1",
            endpoint.interface().index
        ));
        ip("addr add 10.9.0.1/24 dev e0");
        ip("link set e1 up");
        ip("link set e0 up");
        run_until(&mut endpoint, "a new membership", |endpoint, _| {
            endpoint.counters().rejoins > 0
        });
        let before = own(&endpoint);
        run_until(&mut endpoint, "its own announcement, again", |endpoint, _| {
            own(endpoint) > before + 1
        });
        // Unless the machine stalled and an announcement was due in between.
        if endpoint.counters().send_failed == 0 {
            assert_eq!(
                (endpoint.counters().link_losses, endpoint.counters().rejoins),
                (0, 1)
            );
        }
    });
}
