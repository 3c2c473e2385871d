//! Routers on real sockets, all in one thread: they end on one key server and on the same keys.

mod common;

use common::{Router, group, name, pairs, run_until, settings, signers};
use karp_core::{
    error::DropReason,
    identity::{Grant, Identity},
    io::Role,
};
use karp_std::credentials::{PreSharedKey, Proof, Store};

/// The identity of the key server that a router has, itself included.
fn server(router: &Router) -> Option<Identity> {
    let engine = router.endpoint.engine();
    match engine.role() {
        Role::Gcks => Some(engine.config().settings().identity.clone()),
        Role::Member => engine.gcks().cloned(),
        Role::Left | Role::Initial => None,
    }
}

/// All follow one key server, and all send with one key.
fn agree(routers: &[Router]) -> bool {
    let servers = routers
        .iter()
        .filter(|router| router.role() == Role::Gcks)
        .count();
    let first = routers.first().and_then(server);
    let key = routers.first().and_then(common::sending_key);
    servers == 1
        && first.is_some()
        && key.is_some()
        && routers
            .iter()
            .all(|router| server(router) == first && common::sending_key(router) == key)
}

#[test]
fn three_routers_end_on_one_key_server_with_the_same_keys() {
    let group = group();
    let mut routers: Vec<Router> = (0..3)
        .map(|n| Router::start(n, settings(n, group), pairs(n, 3)))
        .collect();
    run_until(&mut routers, "one key server and one key", agree);
    // Who ranks highest serves: all started at once.
    assert_eq!(server(&routers[0]), Some(name(2)));
}

#[test]
fn signatures_serve_as_well() {
    let group = group();
    let mut routers: Vec<Router> = (0..2)
        .map(|n| Router::start(n, settings(n, group), signers(n, 2)))
        .collect();
    run_until(&mut routers, "one key server and one key", agree);
}

#[test]
fn loss_delays_and_does_not_prevent() {
    let group = group();
    let mut routers: Vec<Router> = (0..3)
        .map(|n| Router::start(n, settings(n, group), pairs(n, 3)))
        .collect();
    for (n, router) in routers.iter_mut().enumerate() {
        router.endpoint.set_loss(20, n as u64);
    }
    run_until(&mut routers, "one key server and one key", agree);
    assert!(
        routers
            .iter()
            .all(|router| router.endpoint.counters().lost_on_purpose > 0)
    );
}

/// A router with a wrong key stays out, and the group in office does not notice.
#[test]
fn a_wrong_key_keeps_a_router_out() {
    let group = group();
    let mut routers: Vec<Router> = (0..2)
        .map(|n| Router::start(n, settings(n, group), pairs(n, 3)))
        .collect();
    run_until(&mut routers, "one key server and one key", agree);
    let (before, key) = (server(&routers[0]), common::sending_key(&routers[0]));

    let wrong = || Proof::PreSharedKey(PreSharedKey::new(b"not what the others have").unwrap());
    let store = [0, 1].into_iter().fold(Store::new(name(2)), |store, peer| {
        store.with_peer(name(peer), Grant::FULL, wrong()).unwrap()
    });
    routers.push(Router::start(2, settings(2, group), store));
    run_until(&mut routers, "proofs refused", |routers| {
        let refused = |router: &Router| router.endpoint.engine().counters().dropped(DropReason::BadProof);
        routers.iter().map(refused).sum::<u32>() >= 2
    });
    assert!(agree(&routers[..2]));
    assert_eq!(
        (server(&routers[0]), common::sending_key(&routers[0])),
        (before, key.clone())
    );
    assert_ne!(routers[2].role(), Role::Member);
    assert_ne!(common::sending_key(&routers[2]), key);
}

#[test]
fn a_router_that_may_not_join_stays_out() {
    let group = group();
    let mut routers: Vec<Router> = (0..2)
        .map(|n| Router::start(n, settings(n, group), pairs(n, 2)))
        .collect();
    run_until(&mut routers, "one key server and one key", agree);
    let key = common::sending_key(&routers[0]);
    // It knows the others' keys for it; they do not know it.
    routers.push(Router::start(2, settings(2, group), pairs(2, 3)));
    run_until(&mut routers, "refusals", |routers| {
        let refused = |router: &Router| {
            let counters = router.endpoint.engine().counters();
            counters.dropped(DropReason::NotAuthorised) + counters.dropped(DropReason::BadProof)
        };
        routers.iter().map(refused).sum::<u32>() >= 1
    });
    assert!(agree(&routers[..2]));
    assert_ne!(common::sending_key(&routers[2]), key);
}
