//! Real sockets on loopback.

use super::*;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::net::UdpSocket;

const LOCAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A group address with a port that no other test uses at this time.
fn group() -> SocketAddr {
    let port = UdpSocket::bind(LOCAL).unwrap().local_addr().unwrap().port();
    SocketAddr::new(Ipv4Addr::new(224, 0, 0, 254).into(), port)
}

/// The next datagram, which must come within ten seconds.
fn next(sockets: &Sockets, which: Which) -> (Vec<u8>, Recv) {
    let mut buffer = [0; 2048];
    loop {
        match sockets.receive(which, &mut buffer).unwrap() {
            Incoming::Datagram { len, recv } => return (buffer[..len].to_vec(), recv),
            Incoming::Skipped(why) => panic!("skipped: {why:?}"),
            Incoming::Empty => {
                let mut fds = [PollFd::new(sockets.fd(which), PollFlags::POLLIN)];
                assert_eq!(
                    poll(&mut fds, PollTimeout::from(10_000u16)).unwrap(),
                    1,
                    "nothing came within 10 s"
                );
            }
        }
    }
}

#[test]
fn what_is_sent_to_the_group_reaches_everyone_with_all_its_particulars() {
    let group = group();
    let nodes: Vec<Sockets> = (0..3)
        .map(|_| Sockets::open(LOCAL, group, None).unwrap())
        .collect();
    nodes[0].send(b"to the group", group).unwrap();
    for node in &nodes {
        let (octets, recv) = next(node, Which::Multicast);
        assert_eq!(octets, b"to the group");
        assert_eq!(
            recv,
            Recv {
                from: nodes[0].local(),
                to: group,
                hop_limit: Some(255)
            }
        );
    }
    nodes[1].send(b"to one", nodes[2].local()).unwrap();
    let (octets, recv) = next(&nodes[2], Which::Unicast);
    assert_eq!(octets, b"to one");
    assert_eq!(
        recv,
        Recv {
            from: nodes[1].local(),
            to: nodes[2].local(),
            hop_limit: Some(255)
        }
    );
    let mut buffer = [0; 64];
    assert_eq!(
        nodes[0].receive(Which::Unicast, &mut buffer).unwrap(),
        Incoming::Empty
    );
    assert_eq!(
        nodes[0].receive(Which::Multicast, &mut buffer).unwrap(),
        Incoming::Empty
    );
}

/// Loopback carries no IPv6 multicast on Linux: tests/interface.rs has that, on an interface of its own.
#[test]
fn ipv6_works_alike() {
    let local = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), 0);
    // A machine without IPv6 has nothing to test.
    let Ok(found) = Interface::find(local.ip(), None) else {
        return;
    };
    let group = SocketAddr::new(
        Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x114).into(),
        group().port(),
    );
    let nodes: Vec<Sockets> = (0..2)
        .map(|_| Sockets::open(local, group, None).unwrap())
        .collect();
    assert_eq!(*nodes[0].interface(), found);
    nodes[0].send(b"to one", nodes[1].local()).unwrap();
    let (_, recv) = next(&nodes[1], Which::Unicast);
    assert_eq!(
        recv,
        Recv {
            from: nodes[0].local(),
            to: nodes[1].local(),
            hop_limit: Some(255)
        }
    );
}

#[test]
fn the_hop_limit_is_the_senders() {
    let sockets = Sockets::open(LOCAL, group(), None).unwrap();
    let far = UdpSocket::bind(LOCAL).unwrap();
    far.set_ttl(64).unwrap();
    far.send_to(b"from far away", sockets.local()).unwrap();
    assert_eq!(next(&sockets, Which::Unicast).1.hop_limit, Some(64));
}

#[test]
fn a_port_in_use_is_named_with_the_remedy() {
    let first = Sockets::open(LOCAL, group(), None).unwrap();
    let error = Sockets::open(first.local(), group(), None).unwrap_err();
    let port = first.local().port();
    assert_eq!(
        (error.field, error.value.as_str()),
        ("port", port.to_string().as_str())
    );
    let text = error.to_string();
    assert!(
        text.contains(&format!("another program has UDP port {port} of 127.0.0.1")),
        "{text}"
    );
    assert!(text.contains("give another port"), "{text}");
    assert_eq!(error.source.unwrap().kind(), io::ErrorKind::AddrInUse);
}

#[test]
fn a_group_port_that_is_not_shared_is_named() {
    let group = group();
    let hog = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).unwrap();
    hog.bind(&SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), group.port()).into())
        .unwrap();
    let error = Sockets::open(LOCAL, group, None).unwrap_err();
    assert_eq!(
        (error.field, error.value),
        ("multicast_port", group.port().to_string())
    );
}

#[test]
fn an_address_or_interface_that_is_gone_is_named() {
    let elsewhere = SocketAddr::from(([192, 0, 2, 77], 0));
    let error = Sockets::open(elsewhere, group(), None).unwrap_err();
    assert_eq!((error.field, error.value.as_str()), ("address", "192.0.2.77"));
    let error = Sockets::open(LOCAL, group(), Some("karp-none0")).unwrap_err();
    assert_eq!((error.field, error.value.as_str()), ("interface", "karp-none0"));
    assert!(
        error.to_string().contains("bring it up, or name one of"),
        "{error}"
    );
}

#[test]
fn a_group_that_is_none_is_named() {
    for wrong in [
        SocketAddr::from(([10, 0, 0, 1], 848)),
        SocketAddr::from(([0xff02, 0, 0, 0, 0, 0, 0, 0x114], 848)),
    ] {
        assert_eq!(Sockets::open(LOCAL, wrong, None).unwrap_err().field, "multicast");
    }
}

#[test]
fn a_datagram_that_is_too_long_is_skipped() {
    let sockets = Sockets::open(LOCAL, group(), None).unwrap();
    sockets.send(&[7; 100], sockets.local()).unwrap();
    sockets.send(&[8; 50], sockets.local()).unwrap();
    let mut fds = [PollFd::new(sockets.fd(Which::Unicast), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::from(10_000u16)).unwrap();
    let mut buffer = [0; 64];
    assert_eq!(
        sockets.receive(Which::Unicast, &mut buffer).unwrap(),
        Incoming::Skipped(Skip::TooLong)
    );
    assert!(matches!(
        sockets.receive(Which::Unicast, &mut buffer),
        Ok(Incoming::Datagram { len: 50, .. })
    ));
}

#[test]
fn an_empty_datagram_is_one() {
    let sockets = Sockets::open(LOCAL, group(), None).unwrap();
    sockets.send(&[], sockets.local()).unwrap();
    assert_eq!(next(&sockets, Which::Unicast).0, b"");
}

#[test]
fn joining_again_keeps_the_sockets_working() {
    let group = group();
    let mut node = Sockets::open(LOCAL, group, None).unwrap();
    node.rejoin().unwrap();
    node.rejoin().unwrap();
    node.send(b"still here", group).unwrap();
    assert_eq!(next(&node, Which::Multicast).0, b"still here");
}

#[test]
fn scopes_are_put_on_where_the_system_needs_them() {
    let link_local = SocketAddr::from(([0xfe80, 0, 0, 0, 0, 0, 0, 1], 848));
    let SocketAddr::V6(with) = scoped(link_local, 7) else {
        panic!()
    };
    assert_eq!(with.scope_id(), 7);
    assert_eq!(unscoped(with.into()), link_local);
    let global = SocketAddr::from(([0xfd09, 0, 0, 0, 0, 0, 0, 1], 848));
    assert_eq!(scoped(global, 7), global);
    assert!(is_link_scoped(
        Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x114).into()
    ));
    assert!(!is_link_scoped(
        Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 0, 0x114).into()
    ));
}
