//! The endpoint under tokio.
#![cfg(feature = "tokio")]

mod common;

use std::{future::Future, time::Duration};

use common::{PATIENCE, group, open, pairs, settings};
use karp_core::{
    command::Command,
    io::{Event, Role},
};
use karp_std::{endpoint::Notice, tokio::Stopped};
use tokio::{
    runtime::Builder,
    sync::mpsc,
    time::{sleep, timeout},
};

/// On one thread, and ended with an error if it takes too long.
fn block_on(test: impl Future<Output = ()>) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { timeout(PATIENCE, test).await.expect("it takes too long") });
}

#[test]
fn commands_and_questions_from_another_task() {
    block_on(async {
        let endpoint = open(0, settings(0, group()), pairs(0, 2)).unwrap();
        let (driver, handle) = karp_std::tokio::driver(endpoint);
        let (sender, mut events) = mpsc::unbounded_channel();
        let task = tokio::spawn(driver.run(move |notice| {
            if let Notice::Event(event) = notice {
                sender.send(event.clone()).unwrap();
            }
        }));
        assert_eq!(
            handle.call(|endpoint| endpoint.engine().role()).await,
            Ok(Role::Left)
        );
        assert_eq!(
            handle.call(|endpoint| endpoint.command(Command::Join)).await,
            Ok(Ok(()))
        );
        assert_eq!(
            events.recv().await,
            Some(Event::RoleChanged { role: Role::Initial })
        );
        handle.stop().await;
        let endpoint = task.await.unwrap().unwrap();
        assert_ne!(endpoint.engine().role(), Role::Left);
        assert_eq!(
            handle.call(|endpoint| endpoint.engine().role()).await,
            Err(Stopped)
        );
    });
}

#[test]
fn leaving_ends_the_driver() {
    block_on(async {
        let endpoint = open(0, settings(0, group()), pairs(0, 2)).unwrap();
        let (driver, handle) = karp_std::tokio::driver(endpoint);
        let task = tokio::spawn(driver.run(|_| ()));
        handle
            .call(|endpoint| endpoint.command(Command::Join))
            .await
            .unwrap()
            .unwrap();
        handle.leave(PATIENCE).await;
        assert_eq!(task.await.unwrap().unwrap().engine().role(), Role::Left);
    });
}

/// Without a handle it runs on, and does not spin.
#[test]
fn a_driver_without_handles_runs_on() {
    block_on(async {
        let endpoint = open(0, settings(0, group()), pairs(0, 2)).unwrap();
        let (driver, handle) = karp_std::tokio::driver(endpoint);
        let (sender, mut sent) = mpsc::unbounded_channel();
        let task = tokio::spawn(driver.run(move |notice| {
            if let Notice::Sent { .. } = notice {
                let _ = sender.send(());
            }
        }));
        handle
            .call(|endpoint| endpoint.command(Command::Join))
            .await
            .unwrap()
            .unwrap();
        drop(handle);
        for _ in 0..5 {
            assert_eq!(sent.recv().await, Some(()));
        }
        sleep(Duration::from_millis(1)).await;
        assert!(!task.is_finished());
        task.abort();
    });
}

/// Two routers as tasks of one thread end with the same key.
#[test]
fn two_routers_agree() {
    block_on(async {
        let group = group();
        let mut handles = Vec::new();
        for n in 0..2 {
            let (driver, handle) = karp_std::tokio::driver(open(n, settings(n, group), pairs(n, 2)).unwrap());
            tokio::spawn(driver.run(|_| ()));
            handle
                .call(|endpoint| endpoint.command(Command::Join))
                .await
                .unwrap()
                .unwrap();
            handles.push(handle);
        }
        loop {
            let one = handles[0]
                .call(|endpoint| common::key_of(endpoint))
                .await
                .unwrap();
            let other = handles[1]
                .call(|endpoint| common::key_of(endpoint))
                .await
                .unwrap();
            if one.is_some() && one == other {
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
    });
}
