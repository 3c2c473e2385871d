//! One endpoint and the world around it: ports, hop limits, floods, loss.

mod common;

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    time::Instant,
};

use common::{PATIENCE, Seeded, group, open, pairs, settings};
use karp_core::{command::Command, error::DropReason, io::Role};
use karp_std::{
    clock, driver,
    endpoint::{BUDGET, Notice, OpenError, Progress},
};

/// Runs until `done`.
fn run_until(endpoint: &mut Seeded, what: &str, done: impl Fn(&Seeded) -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done(endpoint) {
        assert!(Instant::now() < end, "{what} did not come to pass");
        driver::wait(&endpoint.fds(), endpoint.timeout()).unwrap();
        let _ = endpoint.on_readable(&mut |_| ());
    }
}

fn stranger(ttl: u32) -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_ttl(ttl).unwrap();
    socket
}

#[test]
fn a_port_in_use_is_an_error_that_says_so() {
    let first = open(0, settings(0, group()), pairs(0, 2)).unwrap();
    let mut second = settings(1, group());
    second.address = first.local_address();
    let Err(OpenError::Socket(error)) = open(1, second, pairs(1, 2)) else {
        panic!("two on one port")
    };
    assert_eq!(
        (error.field, error.value),
        ("port", first.local_address().port().to_string())
    );
    assert!(error.remedy.contains("give another port"), "{}", error.remedy);
}

#[test]
fn an_interface_that_is_not_there_is_an_error_that_says_so() {
    let mut gone = settings(0, group());
    gone.address = SocketAddr::from(([192, 0, 2, 77], 848));
    let Err(OpenError::Socket(error)) = open(0, gone, pairs(0, 2)) else {
        panic!("an address of nobody's")
    };
    assert_eq!((error.field, error.value.as_str()), ("address", "192.0.2.77"));
}

#[test]
fn settings_that_the_engine_refuses_are_an_error() {
    let mut wrong = settings(0, group());
    wrong.hold_multiplier = 1;
    let Err(error) = open(0, wrong, pairs(0, 2)) else {
        panic!("a hold of one hello")
    };
    assert_eq!(
        error.to_string(),
        "hold_multiplier is 1; it must be from 2 to 255"
    );
}

#[test]
fn the_port_chosen_by_the_system_is_the_nodes_address() {
    let endpoint = open(0, settings(0, group()), pairs(0, 2)).unwrap();
    assert_ne!(endpoint.local_address().port(), 0);
    assert_eq!(
        endpoint.engine().config().settings().address,
        endpoint.local_address()
    );
}

#[test]
fn what_comes_from_beyond_the_link_is_counted_and_dropped() {
    let mut endpoint = open(0, settings(0, group()), pairs(0, 2)).unwrap();
    endpoint.command(Command::Join).unwrap();
    stranger(64)
        .send_to(b"from far away", endpoint.local_address())
        .unwrap();
    stranger(254)
        .send_to(b"from one router away", endpoint.local_address())
        .unwrap();
    let multicast = stranger(64);
    multicast.set_multicast_ttl_v4(64).unwrap();
    multicast
        .send_to(b"from far away", endpoint.engine().config().settings().multicast)
        .unwrap();
    run_until(&mut endpoint, "three drops", |endpoint| {
        endpoint.engine().counters().dropped(DropReason::HopLimit) == 3
    });
    assert_eq!(endpoint.engine().counters().dropped(DropReason::Malformed), 0);
    stranger(255)
        .send_to(b"from the link", endpoint.local_address())
        .unwrap();
    run_until(&mut endpoint, "a fourth", |endpoint| {
        endpoint.engine().counters().dropped(DropReason::Malformed) == 1
    });
    assert_eq!(endpoint.engine().counters().dropped(DropReason::HopLimit), 3);
}

/// Octets of any kind and length, at both sockets.
#[test]
fn rubbish_is_counted_and_changes_nothing() {
    let mut endpoint = open(0, settings(0, group()), pairs(0, 2)).unwrap();
    endpoint.command(Command::Join).unwrap();
    let _ = endpoint.on_readable(&mut |_| ());
    let role = endpoint.engine().role();
    let from = stranger(255);
    from.set_multicast_ttl_v4(255).unwrap();
    let group = endpoint.engine().config().settings().multicast;
    for len in [0, 1, 27, 28, 100, 1232, 1500, 9000] {
        let octets: Vec<u8> = (0..len).map(|at: usize| (at * 31 + len) as u8).collect();
        from.send_to(&octets, endpoint.local_address()).unwrap();
        from.send_to(&octets, group).unwrap();
    }
    run_until(&mut endpoint, "sixteen datagrams", |endpoint| {
        let own = endpoint.engine().counters().dropped(DropReason::Own);
        endpoint.engine().counters().dropped_total() - own >= 16
    });
    assert_eq!(endpoint.engine().role(), role);
}

/// A flood is taken in portions: the host's loop, and the engine's deadlines, have their turn in between.
#[test]
fn a_flood_is_taken_in_portions() {
    let mut endpoint = open(0, settings(0, group()), pairs(0, 2)).unwrap();
    endpoint.command(Command::Join).unwrap();
    let from = stranger(255);
    for _ in 0..3 * BUDGET {
        from.send_to(b"rubbish", endpoint.local_address()).unwrap();
    }
    let mut seen = 0;
    let mut calls = 0;
    while seen < 3 * BUDGET {
        driver::wait(&endpoint.fds(), PATIENCE).unwrap();
        let mut portion = 0;
        let progress = endpoint.on_readable(&mut |notice| {
            if let Notice::Dropped { octets: 7, .. } = notice {
                portion += 1;
            }
        });
        assert!(portion <= BUDGET, "{portion}");
        assert!(portion < BUDGET || progress == Progress::More);
        seen += portion;
        calls += 1;
    }
    assert!(calls >= 3, "{calls}");
}

/// However much comes in, the node announces itself.
#[test]
fn a_flood_does_not_hold_up_deadlines() {
    let mut endpoint = open(0, settings(0, group()), pairs(0, 2)).unwrap();
    endpoint.command(Command::Join).unwrap();
    let from = stranger(255);
    let end = Instant::now() + PATIENCE;
    while endpoint.counters().sent < 5 {
        assert!(Instant::now() < end, "no announcements under a flood");
        for _ in 0..2 * BUDGET {
            from.send_to(b"rubbish", endpoint.local_address()).unwrap();
        }
        assert_eq!(endpoint.on_readable(&mut |_| ()), Progress::More);
    }
}

/// Commands are due at once, and a call ahead of its time does nothing.
#[test]
fn deadlines() {
    let mut endpoint = open(0, settings(0, group()), pairs(0, 2)).unwrap();
    endpoint.on_deadline(&mut |_| ());
    assert_eq!(endpoint.engine().role(), Role::Left);
    assert_eq!(endpoint.counters().sent, 0);
    endpoint.command(Command::Join).unwrap();
    assert!(endpoint.next_deadline().is_some_and(|at| at <= clock::now()));
    assert!(endpoint.timeout().is_zero());
    let mut notices = 0;
    endpoint.on_deadline(&mut |_| notices += 1);
    assert!(notices > 0);
    let next = endpoint.next_deadline().unwrap();
    assert_eq!(endpoint.engine().role(), Role::Initial);
    // All but certain: unless the machine stalls here for the rest of the hello interval.
    if clock::now() < next {
        endpoint.on_deadline(&mut |notice| assert!(clock::now() >= next, "{notice:?}"));
    }
}

#[test]
fn loss_on_purpose() {
    let mut endpoint = open(0, settings(0, group()), pairs(0, 2)).unwrap();
    endpoint.set_loss(25, 7);
    endpoint.command(Command::Join).unwrap();
    let from = stranger(255);
    let mut sent = 0;
    while sent < 1000 {
        // No more at a time than any receive buffer holds.
        for _ in 0..50 {
            from.send_to(b"rubbish", endpoint.local_address()).unwrap();
        }
        sent += 50;
        run_until(&mut endpoint, "what was sent", |endpoint| {
            endpoint.counters().received >= sent
        });
    }
    let counters = endpoint.counters();
    let share = counters.lost_on_purpose * 100 / counters.received;
    assert!((20..30).contains(&share), "{share} %");
    endpoint.set_loss(0, 7);
    let before = endpoint.counters().lost_on_purpose;
    from.send_to(b"rubbish", endpoint.local_address()).unwrap();
    let received = endpoint.counters().received;
    run_until(&mut endpoint, "one more", |endpoint| {
        endpoint.counters().received > received
    });
    assert_eq!(endpoint.counters().lost_on_purpose, before);
}
