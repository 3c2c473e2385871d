//! The life of a group: keys, rollovers, restarts.

use nix::sys::signal::Signal;
use serde_json::json;

use super::lab::{Lab, Namespace, Router, agree, mode, pair, stdout, write};

/// The sink has exactly the key that its router sends with.
fn is_filled(router: &Router) -> bool {
    let filled = router.filled();
    let sends = router.sending().map(|(id, _)| id);
    matches!(filled.as_slice(), [(id, state, _)] if Some(*id) == sends && state == "active")
}

pub(crate) fn two_routers_key_themselves() {
    let lab = Lab::new();
    let (mut server, mut member) = pair(&lab);
    server.until("its sink has the key", |router| is_filled(router));
    member.until("its sink has the key", |router| is_filled(router));
    assert_eq!(server.filled(), member.filled(), "both daemons have the same key");
    assert_eq!(member.group()["gcks"], "server");

    // A member's operator asks, the server rolls over, and both daemons end with the new key alone.
    let before = server.sending();
    let asked = member.client(&["rekey"]);
    assert!(
        asked.status.success() && stdout(&asked).contains("asked for new keys"),
        "{asked:?}"
    );
    server.until("a rollover", |router| router.told("rekey_completed"));
    member.until("the new key alone", |member| {
        member.sending() != before && agree(member, &server) && is_filled(member)
    });
    server.until("its sink has the key", |router| is_filled(router));
    assert_eq!(server.filled(), member.filled());
    let applied = member
        .seen
        .iter()
        .filter(|event| event["event"] == "sink_applied");
    assert!(
        applied.count() >= 3,
        "installed, activated, removed: {:?}",
        member.seen
    );

    let status = member.client(&["status"]);
    let table = stdout(&status);
    for part in [
        "group pair",
        "member, key server server",
        "OSPFv2",
        "active",
        "the program /bin/sh",
    ] {
        assert!(table.contains(part), "{part} in\n{table}");
    }
    let text = stdout(&member.client(&["status", "--json"]));
    let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(parsed["groups"][0]["sinks"][0]["state"], "ok");
    assert!(!text.contains(&member.filled()[0].2), "no key in the status");
    server.terminate();
    member.terminate();
}

pub(crate) fn a_sink_that_fails_holds_the_rollover() {
    let lab = Lab::new();
    let (server, mut member) = pair(&lab);
    member.until("its sink has the key", |router| is_filled(router));
    let before = server.sending();
    member.refuse(true);
    assert_eq!(server.ask(&json!({ "command": "rekey" }))["ok"], true);
    member.until("three attempts", |router| {
        let failed = router.seen.iter().filter(|event| event["event"] == "sink_failed");
        failed.count() >= 3
    });
    // Both have the new key and send with the old one, for the member's daemon has not the new one.
    assert_eq!(server.sending(), before);
    assert_eq!(member.sending(), before);
    assert_eq!(server.keys().len(), 2);
    let group = member.group();
    assert_eq!(group["confirmed"], false);
    assert_eq!(group["alarms"], json!(["install_pending"]));
    let sink = &group["sinks"][0];
    assert_eq!(sink["state"], "failing");
    assert!(sink["attempts"].as_u64() >= Some(3), "{sink}");
    assert!(
        sink["error"].as_str().unwrap().contains("told to refuse"),
        "{sink}"
    );
    let table = stdout(&member.client(&["status"]));
    assert!(
        table.contains("failing") && table.contains("waits for the sinks"),
        "{table}"
    );

    member.refuse(false);
    member.until("the rollover goes on", |member| {
        member.sending() != before && agree(member, &server) && is_filled(member)
    });
    member.until("all is well", |member| {
        let group = member.group();
        group["confirmed"] == true && group["sinks"][0]["state"] == "ok" && group["alarms"] == json!([])
    });
    assert!(
        !server
            .seen
            .iter()
            .any(|event| event["alarm"] == "activated_without_all")
    );
}

/// Ends the member and starts it again: it goes on with its key, and nobody needs another.
fn resumes(end: impl Fn(&mut Router)) {
    let lab = Lab::new();
    let (mut server, mut member) = pair(&lab);
    member.until("its sink has the key", |router| is_filled(router));
    let (key, filled) = (member.sending(), member.filled());
    let kept = lab.path("member.state/pair.keys");
    assert_eq!(mode(&kept), 0o600);
    end(&mut member);
    assert_eq!(member.filled(), filled, "the daemon keeps its key");
    member.start();
    member.until("a member again", |member| {
        member.group()["role"] == "member" && agree(member, &server)
    });
    let id = key.as_ref().unwrap().0;
    let log = member.log();
    assert!(log.contains(&format!("keys=[{id}]")), "resumed with it\n{log}");
    assert_eq!(member.sending(), key);
    assert_eq!(member.filled(), filled);
    // A rollover would have been told of ahead of the member's acknowledgement, which the server has.
    server.until("the member is live", |router| {
        router.group()["peers"][0]["live"] == true
    });
    let other = |event: &serde_json::Value| event["event"] == "rekey_started" && event["id"] != id;
    assert!(!server.seen.iter().any(other), "{:?}", server.seen);
    assert_eq!(server.sending(), key);
}

pub(crate) fn a_restart_resumes_with_the_same_key() {
    resumes(Router::terminate);
}

pub(crate) fn a_crash_resumes_with_the_same_key() {
    resumes(|member| {
        member.signal(Signal::SIGKILL);
        assert!(!member.end().success());
    });
}

/// Who was put out stays out though the karpd that did it crashes: it is kept with the keys.
pub(crate) fn an_eviction_outlives_a_crash() {
    let lab = Lab::new();
    for (name, other, priority) in [("server", "member", 200), ("member", "server", 100)] {
        let shared = "[shared]\npsk = { text = \"at least sixteen octets\" }\n";
        let own = format!("[[peer]]\nidentity = \"{other}\"\npsk = {{ text = \"a key of their own\" }}\n");
        let group = lab.group(name, priority).replace(shared, &own);
        write(&lab.path(&format!("{name}.toml")), &(lab.daemon(name) + &group));
    }
    let mut server = lab.start("server");
    server.until("it serves", |router| router.group()["role"] == "gcks");
    let mut member = lab.start("member");
    member.until("it is a member", |member| agree(member, &server));
    assert!(server.client(&["evict", "member"]).status.success());
    member.until("it is refused, and serves itself", |member| {
        member.group()["role"] == "gcks"
    });
    server.until("its sink has a key of its own", |server| {
        is_filled(server) && server.sending() != member.sending()
    });
    server.signal(Signal::SIGKILL);
    assert!(!server.end().success());
    server.start();
    server.until("it has found its part", |server| {
        ["gcks", "member"]
            .iter()
            .any(|role| server.group()["role"] == *role)
    });
    // Otherwise it would have followed the one that it hears.
    assert_eq!(server.group()["role"], "gcks");
    assert_ne!(server.sending(), member.sending());
    server.terminate();
    member.terminate();
}

pub(crate) fn who_left_joins_again_with_its_key() {
    let lab = Lab::new();
    let (mut server, mut member) = pair(&lab);
    member.until("its sink has the key", |router| is_filled(router));
    let (key, filled) = (member.sending(), member.filled());
    let left = member.client(&["leave"]);
    assert!(
        left.status.success() && stdout(&left).contains("karpd join"),
        "{left:?}"
    );
    assert_eq!(member.group()["state"], "left");
    assert_eq!(member.filled(), filled, "the daemon keeps its key");
    let refused = member.client(&["rekey"]);
    let text = super::lab::stderr(&refused);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text.contains("has left the group; run: karpd join"), "{text}");
    server.until("the member is gone", |router| router.told("peer_left"));

    assert!(member.client(&["join"]).status.success());
    member.until("a member again", |member| {
        member.group()["role"] == "member" && agree(member, &server)
    });
    assert_eq!(member.sending(), key);
    assert_eq!(member.filled(), filled);
    member.terminate();
    server.terminate();
}

pub(crate) fn an_interface_that_is_not_there_is_waited_for() {
    let lab = Lab::new();
    let group = lab
        .group("r1", 100)
        .replace("address = \"127.0.0.1\"", "interface = \"karp-none0\"");
    write(&lab.path("r1.toml"), &(lab.daemon("r1") + &group));
    let mut router = lab.start("r1");
    router.until("it waits", |router| router.group()["state"] == "waiting");
    let group = router.group();
    assert_eq!(group["role"], "left");
    let why = group["waiting_for"].as_str().unwrap();
    assert!(why.contains("no interface karp-none0"), "{why}");
    let refused = super::lab::stderr(&router.client(&["rekey"]));
    assert!(refused.contains("the group is not running"), "{refused}");
    // Its daemon has nothing of an earlier life, and a file to start with.
    router.until("its sink was told", |router| {
        router.group()["sinks"][0]["state"] == "ok"
    });
    router.terminate();
}

/// Needs the right to make a network namespace; without it there is nothing to see.
pub(crate) fn an_address_that_changes_is_followed() {
    let Some(namespace) = Namespace::new() else { return };
    let lab = Lab::new();
    let group = lab
        .group("r1", 100)
        .replace("address = \"127.0.0.1\"", "interface = \"e0\"");
    write(&lab.path("r1.toml"), &(lab.daemon("r1") + &group));
    let mut router = lab.prepare("r1");
    router.namespace = Some(namespace.0.clone());
    router.start();
    router.until("it waits for an address", |router| {
        let group = router.group();
        group["waiting_for"]
            .as_str()
            .is_some_and(|why| why.contains("has no IPv4 address"))
    });
    namespace.ip("addr add 10.9.0.1/24 dev e0");
    router.until("it has a key", |router| is_filled(router));
    let (key, filled) = (router.sending(), router.filled());
    assert!(
        router.group()["address"]
            .as_str()
            .unwrap()
            .starts_with("10.9.0.1:")
    );

    // A second address does not matter for as long as the first is there.
    namespace.ip("addr add 10.9.1.2/24 dev e0");
    namespace.ip("addr del 10.9.0.1/24 dev e0");
    router.until("it has moved", |router| router.told("moved"));
    router.until("it serves there, with the key that it had", |router| {
        let group = router.group();
        let resumed = router.seen.iter().rfind(|event| event["event"] == "joined");
        group["address"]
            .as_str()
            .is_some_and(|address| address.starts_with("10.9.1.2:"))
            && resumed.is_some_and(|event| event["resumed"] == json!([key.as_ref().unwrap().0]))
    });
    let first = filled.first().map(|(id, _, key)| (*id, key.clone()));
    let has_first = |router: &mut Router| {
        router
            .filled()
            .iter()
            .any(|(id, _, key)| first == Some((*id, key.clone())))
    };
    assert!(has_first(&mut router), "the daemon never was without it");

    namespace.ip("link set e0 down");
    router.until("the link is lost", |router| {
        !router.group()["link_error"].is_null()
    });
    router.until("that is told", |router| router.told("link_lost"));
    namespace.ip("link set e0 up");
    router.until("the link is back", |router| {
        router.group()["link_error"].is_null()
    });
    router.until("that is told", |router| router.told("link_restored"));

    // Gone altogether, and made anew with another address.
    namespace.ip("link del e0");
    namespace.ip("link add e0 type veth peer name e1");
    namespace.ip("link set e1 up");
    namespace.ip("link set e0 up");
    namespace.ip("addr add 10.9.2.3/24 dev e0");
    router.until("it serves on the new one", |router| {
        let group = router.group();
        group["role"] == "gcks"
            && group["address"]
                .as_str()
                .is_some_and(|address| address.starts_with("10.9.2.3:"))
    });
    router.terminate();
}
