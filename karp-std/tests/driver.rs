//! The blocking driver: calls from other threads, and its ends.

mod common;

use std::{
    sync::mpsc,
    time::{Duration, Instant},
};

use common::{PATIENCE, group, open, pairs, settings};
use karp_core::{
    command::Command,
    io::{Event, Role},
};
use karp_std::{
    driver::{self, Driver, Running, Stopped},
    endpoint::Notice,
};

#[test]
fn commands_and_questions_from_another_thread() {
    let endpoint = open(0, settings(0, group()), pairs(0, 2)).unwrap();
    let (sender, events) = mpsc::channel();
    let running = driver::spawn(endpoint, move |notice| {
        if let Notice::Event(event) = notice {
            sender.send(event.clone()).unwrap();
        }
    })
    .unwrap();
    let handle = running.handle().clone();
    assert_eq!(handle.call(|endpoint| endpoint.engine().role()), Ok(Role::Left));
    assert_eq!(
        handle.call(|endpoint| endpoint.command(Command::Join)),
        Ok(Ok(()))
    );
    assert_eq!(
        events.recv_timeout(PATIENCE).unwrap(),
        Event::RoleChanged { role: Role::Initial }
    );
    assert_eq!(
        handle.call(|endpoint| endpoint.command(Command::Migrate).is_err()),
        Ok(true)
    );
    let endpoint = running.stop().unwrap();
    assert_ne!(endpoint.engine().role(), Role::Left);
    assert_eq!(handle.call(|endpoint| endpoint.engine().role()), Err(Stopped));
}

#[test]
fn leaving_ends_the_driver() {
    let endpoint = open(0, settings(0, group()), pairs(0, 2)).unwrap();
    let running = driver::spawn(endpoint, |_| ()).unwrap();
    running
        .handle()
        .call(|endpoint| endpoint.command(Command::Join))
        .unwrap()
        .unwrap();
    let endpoint = running.leave(PATIENCE).unwrap();
    assert_eq!(endpoint.engine().role(), Role::Left);
}

#[test]
fn leaving_what_was_never_joined_ends_at_once() {
    let endpoint = open(0, settings(0, group()), pairs(0, 2)).unwrap();
    driver::spawn(endpoint, |_| ()).unwrap().leave(PATIENCE).unwrap();
}

/// Many threads at once, more than the mailbox holds.
#[test]
fn nothing_that_is_asked_is_lost() {
    let endpoint = open(0, settings(0, group()), pairs(0, 2)).unwrap();
    let running = driver::spawn(endpoint, |_| ()).unwrap();
    let (sender, answers) = mpsc::channel();
    std::thread::scope(|scope| {
        for thread in 0..20u64 {
            let (handle, sender) = (running.handle().clone(), sender.clone());
            scope.spawn(move || {
                for n in 0..100 {
                    sender
                        .send(handle.call(move |_| thread * 100 + n).unwrap())
                        .unwrap();
                }
            });
        }
    });
    drop(sender);
    let mut answers: Vec<u64> = answers.iter().collect();
    answers.sort_unstable();
    assert_eq!(answers, (0..2000).collect::<Vec<_>>());
    running.stop().unwrap();
}

#[test]
fn the_calling_thread_can_drive() {
    let endpoint = open(0, settings(0, group()), pairs(0, 2)).unwrap();
    let (driver, handle) = Driver::new(endpoint).unwrap();
    let other = std::thread::spawn(move || {
        handle
            .call(|endpoint| endpoint.command(Command::Join))
            .unwrap()
            .unwrap();
        handle.stop();
    });
    let mut events = Vec::new();
    let endpoint = driver
        .run(|notice| {
            if let Notice::Event(event) = notice {
                events.push(event.clone());
            }
        })
        .unwrap();
    other.join().unwrap();
    assert_eq!(events.first(), Some(&Event::RoleChanged { role: Role::Initial }));
    assert_eq!(endpoint.engine().role(), Role::Initial);
}

#[test]
fn a_wait_ends_in_time() {
    let endpoint = open(0, settings(0, group()), pairs(0, 2)).unwrap();
    let before = Instant::now();
    driver::wait(&endpoint.fds(), Duration::from_millis(20)).unwrap();
    assert!(before.elapsed() >= Duration::from_millis(20));
}

/// Two routers on threads of their own agree; when the key server leaves, the other has its office and the same keys.
#[test]
fn a_key_server_that_leaves_hands_over() {
    let group = group();
    let mut routers: Vec<_> = (0..2)
        .map(|n| driver::spawn(open(n, settings(n, group), pairs(n, 2)).unwrap(), |_| ()).unwrap())
        .collect();
    for router in &routers {
        router
            .handle()
            .call(|endpoint| endpoint.command(Command::Join))
            .unwrap()
            .unwrap();
    }
    let end = Instant::now() + PATIENCE;
    let look = |router: &Running<_, _, _>| {
        router
            .handle()
            .call(|endpoint| (endpoint.engine().role(), common::key_of(endpoint)))
            .unwrap()
    };
    let (mut one, mut other) = (look(&routers[0]), look(&routers[1]));
    while one.1.is_none() || one.1 != other.1 || one.0 == other.0 {
        assert!(Instant::now() < end, "no agreement: {one:?}, {other:?}");
        std::thread::sleep(Duration::from_millis(20));
        (one, other) = (look(&routers[0]), look(&routers[1]));
    }
    let leaves = routers.swap_remove(usize::from(other.0 == Role::Gcks));
    let left = leaves.leave(PATIENCE).unwrap();
    assert_eq!((left.engine().role(), common::key_of(&left)), (Role::Left, None));
    while look(&routers[0]).0 != Role::Gcks {
        assert!(
            Instant::now() < end,
            "nobody has the office: {:?}",
            look(&routers[0])
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(look(&routers[0]).1.is_some());
}
