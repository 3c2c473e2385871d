use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    sync::atomic::{AtomicUsize, Ordering},
};

use karp_core::{
    algorithm::{RoutingAlgorithm::*, RoutingProtocol::*},
    keytable::RowState::{self, *},
};

use super::*;
use crate::{daemons::bird::fake::FakeBird, sinks::worker::Worker};

const RECONFIGURED: &str = "0002-Reading configuration from /etc/bird.conf\n0003 Reconfigured\n";

fn key(id: u16, state: RowState) -> SinkKey {
    SinkKey::new(Ospfv2, id, HmacSha256, state, format!("secret-{id}").as_bytes())
}

fn set(keys: &[SinkKey]) -> KeySet {
    keys.iter().cloned().collect()
}

fn sink(bird: &FakeBird, protocols: &[RoutingProtocol]) -> BirdSink {
    let files = protocols
        .iter()
        .map(|protocol| (*protocol, bird.path(protocol.name())));
    BirdSink::new(Settings {
        socket: bird.socket(),
        files: files.collect(),
        owner: None,
    })
    .expect("it takes these")
}

/// The file without its comments.
fn passwords(bird: &FakeBird, protocol: RoutingProtocol) -> Vec<String> {
    let text = fs::read_to_string(bird.path(protocol.name())).expect("a file");
    assert!(text.ends_with('\n'));
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(str::to_owned).collect()
}

fn content(keys: &[SinkKey]) -> Result<String, SinkError> {
    let bird = FakeBird::new(|_| RECONFIGURED.to_owned());
    let protocol = keys.first().map_or(Ospfv2, |key| key.protocol);
    sink(&bird, &[protocol]).reconcile(&set(keys))?;
    Ok(passwords(&bird, protocol).join("\n"))
}

#[test]
fn only_the_sending_key_has_no_times() {
    let text = content(&[key(1, Retiring), key(2, Active), key(3, Pending)]).expect("written");
    let never = "generate from \"2035-12-31 00:00:00\"; generate to \"1990-01-01 00:00:00\";";
    assert_eq!(
        text,
        format!(
            "password \"secret-1\" {{ id 1; algorithm hmac sha256; {never} }};\n\
             password \"secret-2\" {{ id 2; algorithm hmac sha256; }};\n\
             password \"secret-3\" {{ id 3; algorithm hmac sha256; {never} }};"
        )
    );
}

#[test]
fn a_blocker_where_there_is_nothing_to_send_with() {
    let bird = FakeBird::new(|_| RECONFIGURED.to_owned());
    let mut it = sink(&bird, &[Ospfv2, Bfd]);
    it.reconcile(&KeySet::default()).expect("done");
    let blocker = passwords(&bird, Ospfv2);
    assert_eq!(blocker.len(), 1);
    assert!(
        blocker[0].contains("{ id 0; algorithm hmac sha256; accept from \"2035-12-31 00:00:00\"; accept to")
    );
    assert_eq!(blocker[0].split('"').nth(1).map(str::len), Some(28));
    assert!(!passwords(&bird, Bfd)[0].contains("algorithm"));

    it.reconcile(&set(&[key(1, Pending)])).expect("done");
    assert_eq!(passwords(&bird, Ospfv2)[1..], blocker[..]);
    it.reconcile(&set(&[key(1, Active)])).expect("done");
    assert_eq!(passwords(&bird, Ospfv2).len(), 1);
    // A manual key may have any id.
    it.reconcile(&set(&[key(0, Retiring)])).expect("done");
    assert!(passwords(&bird, Ospfv2)[1].contains("{ id 1;"));
    // Nobody else's.
    let other = sink(&bird, &[Ospfv2]);
    assert_ne!(other.blocker, it.blocker);
}

#[test]
fn names_of_algorithms() {
    let of = |protocol, algorithm| {
        let text = content(&[SinkKey::new(protocol, 1, algorithm, Active, b"abc")]).expect("it takes it");
        let (_, rest) = text.split_once("id 1;").expect("an id");
        rest.trim_end_matches(" };").trim().to_owned()
    };
    assert_eq!(of(Ospfv2, HmacSha1), "algorithm hmac sha1;");
    assert_eq!(of(Ospfv3, HmacSha384), "algorithm hmac sha384;");
    assert_eq!(of(Ripv2, HmacSha512), "algorithm hmac sha512;");
    assert_eq!(of(Babel, HmacSha256), "algorithm hmac sha256;");
    assert_eq!(of(Babel, Blake2s128), "algorithm blake2s128;");
    assert_eq!(of(Bfd, HmacSha1), "");
    for protocol in RoutingProtocol::ALL {
        for algorithm in RoutingAlgorithm::ALL {
            let taken = BirdSink::takes(protocol, algorithm);
            // Nothing that the protocol does not know, and all of it where BIRD has the protocol.
            let expected =
                protocol.takes(algorithm) && [Ospfv2, Ospfv3, Ripv2, Babel, Bfd].contains(&protocol);
            let expected = expected && (protocol, algorithm) != (Babel, HmacSha1);
            assert_eq!(taken.is_ok(), expected, "{protocol:?} {algorithm:?}: {taken:?}");
        }
    }
}

#[test]
fn secrets_of_any_octets() {
    let of = |secret: &[u8]| {
        content(&[SinkKey::new(Ospfv2, 1, HmacSha256, Active, secret)])
            .map(|text| text.split_once(" {").expect("a block").0.to_owned())
    };
    assert_eq!(of(b"a b;}#'\\").as_deref(), Ok("password \"a b;}#'\\\""));
    // Text of hexadecimal digits is text.
    assert_eq!(
        of(b"00112233445566778899aabbccddeeff").as_deref(),
        Ok("password \"00112233445566778899aabbccddeeff\"")
    );
    assert_eq!(of(b"a\"b").as_deref(), Ok("password hex:612262"));
    assert_eq!(of(b"a\nb").as_deref(), Ok("password hex:610a62"));
    assert_eq!(of(&[0]).as_deref(), Ok("password hex:00"));
    assert_eq!(
        of(&[0xff; 16]).as_deref(),
        Ok("password ffffffffffffffffffffffffffffffff")
    );
    let error = of(b"").expect_err("nothing");
    assert!(error.problem().contains("key 1 of OSPFv2 is empty"), "{error}");
}

#[test]
fn what_it_does_not_take() {
    let error = content(&[key(256, Active)]).expect_err("too great an id");
    assert!(error.to_string().contains("key 256 of OSPFv2"), "{error}");
    let error = content(&[SinkKey::new(Babel, 1, HmacSha384, Active, b"abc")]).expect_err("no such thing");
    assert!(
        error.to_string().contains("BIRD has no HMAC-SHA-384 for Babel"),
        "{error}"
    );
    assert!(!error.to_string().contains("abc"));

    let with = |files: &[(RoutingProtocol, &str)]| {
        let files = files
            .iter()
            .map(|(protocol, path)| (*protocol, PathBuf::from(path)));
        BirdSink::new(Settings {
            socket: "/run/bird/bird.ctl".into(),
            files: files.collect(),
            owner: None,
        })
    };
    assert!(with(&[(Ospfv2, "/run/a"), (Ospfv3, "/run/b")]).is_ok());
    for wrong in [
        &[][..],
        &[(Ripng, "/run/a")],
        &[(Ospfv2, "run/a")],
        &[(Ospfv2, "/run/a\"b")],
        &[(Ospfv2, "/")],
        &[(Ospfv2, "/run/a"), (Ospfv3, "/run/a")],
    ] {
        assert!(with(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn it_configures_only_where_something_differs() {
    let bird = FakeBird::new(|_| RECONFIGURED.to_owned());
    let mut it = sink(&bird, &[Ospfv2]);
    let has = set(&[key(1, Active)]);
    it.reconcile(&has).expect("done");
    it.reconcile(&has).expect("done");
    assert_eq!(bird.commands(), ["configure"]);
    assert_eq!(
        fs::metadata(bird.path("OSPFv2")).expect("a file").mode() & 0o7777,
        0o600
    );
    // Another state for which the file is the same.
    it.reconcile(&set(&[key(1, Active), key(2, Pending)]))
        .expect("done");
    it.retire(&[], &set(&[key(1, Active), key(2, Retiring)]))
        .expect("done");
    assert_eq!(bird.commands().len(), 2);
    // Somebody changed the file, or BIRD runs anew.
    fs::write(bird.path("OSPFv2"), "").expect("written");
    it.reconcile(&has).expect("done");
    assert_eq!(bird.commands().len(), 3);
    bird.restart(|_| RECONFIGURED.to_owned());
    it.reconcile(&has).expect("done");
    assert_eq!(bird.commands().len(), 4);
    // A new sink cannot know whether its predecessor got so far.
    sink(&bird, &[Ospfv2]).reconcile(&has).expect("done");
    assert_eq!(bird.commands().len(), 5);
}

#[test]
fn bird_is_not_there() {
    let bird = FakeBird::new(|_| RECONFIGURED.to_owned());
    let mut it = sink(&bird, &[Ospfv2]);
    bird.stop();
    let error = it.reconcile(&set(&[key(1, Active)])).expect_err("nobody");
    assert!(error.is_not_running(), "{error:?}");
    assert!(it.epoch().expect_err("nobody").is_not_running());
    // It will find its keys when it starts.
    assert!(passwords(&bird, Ospfv2)[0].contains("secret-1"));
}

#[test]
fn a_refusal_leaves_the_files_as_they_were() {
    let refuses = "0002-Reading configuration from /etc/bird.conf\n8002 /etc/bird.conf:7:12 syntax error\n";
    let count = AtomicUsize::new(0);
    let bird = FakeBird::new(move |_| match count.fetch_add(1, Ordering::Relaxed) {
        1 => refuses.to_owned(),
        _ => RECONFIGURED.to_owned(),
    });
    let mut it = sink(&bird, &[Ospfv2, Ospfv3]);
    it.reconcile(&set(&[key(1, Active)])).expect("done");
    let before = (passwords(&bird, Ospfv2), passwords(&bird, Ospfv3));
    let wanted = set(&[
        key(1, Active),
        key(2, Pending),
        SinkKey::new(Ospfv3, 2, HmacSha256, Active, b"six"),
    ]);
    let error = it.reconcile(&wanted).expect_err("refused");
    assert!(!error.is_not_running());
    assert!(
        error.problem().contains("/etc/bird.conf:7:12 syntax error"),
        "{error}"
    );
    assert!(
        error.problem().contains("OSPFv2 is what it was before"),
        "{error}"
    );
    assert!(
        error.problem().contains("OSPFv3 is what it was before"),
        "{error}"
    );
    assert_eq!(before, (passwords(&bird, Ospfv2), passwords(&bird, Ospfv3)));
    it.reconcile(&wanted).expect("the mistake is corrected");
    assert_eq!(passwords(&bird, Ospfv2).len(), 2);
}

#[test]
fn other_answers_to_configure() {
    // The first answer is to `configure`, the other to whatever is asked then.
    let with = |first: &'static str, then: &'static str| {
        let bird = FakeBird::new(move |command| if command == "configure" { first } else { then }.to_owned());
        let mut it = sink(&bird, &[Ospfv2]);
        // Short only where it is waited out, for this machine may be slow.
        let is_waited_out = then.contains("Reconfiguration in progress") || first.starts_with("0002-");
        it.timeout = Duration::from_secs(if is_waited_out { 1 } else { 30 });
        (it.reconcile(&set(&[key(1, Active)])), bird)
    };
    let idle = "1000-BIRD 2.17.6\n0013 Daemon is up and running\n";
    let busy = "1000-BIRD 2.17.6\n0013 Reconfiguration in progress\n";
    for first in [
        "0004 Reconfiguration in progress\n",
        "0005 Reconfiguration already in progress, queueing\n",
    ] {
        let (done, bird) = with(first, idle);
        assert_eq!(done, Ok(()), "{first}");
        assert_eq!(bird.commands(), ["configure", "show status"]);
        let (stuck, _bird) = with(first, busy);
        let error = stuck.expect_err("it does not end");
        assert!(
            !error.is_not_running() && error.problem().contains("earlier reconfiguration"),
            "{error}"
        );
    }
    let (leaving, _bird) = with(
        "0004 In progress\n",
        "1000-BIRD 2.17.6\n0013 Shutdown in progress\n",
    );
    assert!(leaving.expect_err("it ends").problem().contains("shutting down"));
    for (answer, text) in [
        ("0006 Reconfiguration ignored, shutting down\n", "shutting down"),
        (
            "0018 Reconfiguration confirmed\n",
            "0018 Reconfiguration confirmed",
        ),
        ("8007 Access denied\n", "Access denied"),
        ("9001 syntax error\n", "syntax error"),
        ("0003_\n", "no code"),
        ("0002-Reading\n", "does not answer"),
    ] {
        let (result, bird) = with(answer, idle);
        let error = result.expect_err(answer);
        assert!(
            error.to_string().contains(text) && !error.is_not_running(),
            "{error}"
        );
        // There was no file before, so there is nothing to go back to.
        assert_eq!(passwords(&bird, Ospfv2).len(), 1);
    }
}

#[test]
fn a_bird_that_does_not_include_the_file() {
    let bird = FakeBird::new(|_| RECONFIGURED.to_owned());
    bird.includes.store(false, Ordering::Relaxed);
    let mut it = sink(&bird, &[Ospfv2]);
    let error = it.reconcile(&set(&[key(1, Active)])).expect_err("it has no keys");
    assert!(
        !error.is_not_running() && error.problem().contains("does not include"),
        "{error}"
    );
    bird.includes.store(true, Ordering::Relaxed);
    it.reconcile(&set(&[key(1, Active)])).expect("done");
    assert_eq!(bird.commands().len(), 2);
}

#[test]
fn a_file_that_cannot_be_written() {
    let bird = FakeBird::new(|_| RECONFIGURED.to_owned());
    let mut it = sink(&bird, &[Ospfv2, Ospfv3]);
    it.reconcile(&set(&[key(1, Active)])).expect("done");
    let before = passwords(&bird, Ospfv2);
    fs::remove_file(bird.path("OSPFv3")).expect("removed");
    fs::create_dir(bird.path("OSPFv3")).expect("made");
    let error = it.reconcile(&set(&[key(2, Active)])).expect_err("a directory");
    assert!(
        error.problem().contains("OSPFv3") && error.problem().contains("OSPFv2 is what it was"),
        "{error}"
    );
    assert_eq!(passwords(&bird, Ospfv2), before);
    assert_eq!(bird.commands().len(), 1);
}

/// Runs `test` as a user who owns the directory and to whom permissions matter. (The tests' user is one already, or root.)
fn unprivileged(bird: &FakeBird, test: impl FnOnce() + Send) {
    use nix::unistd::{Gid, Uid, chown, geteuid, setfsgid, setfsuid};
    let nobody = 65534;
    if geteuid().is_root() {
        for path in [bird.directory.path(), &bird.socket()] {
            chown(path, Some(nobody.into()), Some(nobody.into())).expect("root may");
        }
    }
    std::thread::scope(|scope| {
        scope.spawn(|| {
            if geteuid().is_root() {
                setfsgid(Gid::from_raw(nobody));
                setfsuid(Uid::from_raw(nobody));
            }
            test();
        });
    });
}

#[test]
fn what_fails_after_a_file_was_replaced_is_not_taken_for_loaded() {
    let bird = FakeBird::new(|_| RECONFIGURED.to_owned());
    let mode = |mode| {
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(bird.directory.path(), mode).expect("changed");
    };
    unprivileged(&bird, || {
        let mut it = sink(&bird, &[Ospfv2]);
        it.reconcile(&set(&[key(1, Active)])).expect("done");
        // The file can be replaced, and the directory not be opened.
        mode(0o300);
        let error = it.reconcile(&set(&[key(2, Active)])).expect_err("denied");
        assert!(error.problem().contains("OSPFv2"), "{error}");
        assert_eq!(bird.commands().len(), 1);
        mode(0o700);
        it.reconcile(&set(&[key(2, Active)])).expect("done");
        assert_eq!(bird.commands().len(), 2);
    });
    assert!(passwords(&bird, Ospfv2)[0].contains("secret-2"));
}

#[test]
fn files_that_this_user_may_not_read() {
    let count = AtomicUsize::new(0);
    let bird = FakeBird::new(move |_| match count.fetch_add(1, Ordering::Relaxed) {
        2 => "8002 /etc/bird.conf:7:12 syntax error\n".to_owned(),
        _ => RECONFIGURED.to_owned(),
    });
    let unreadable = || {
        let none = fs::Permissions::from_mode(0o000);
        fs::set_permissions(bird.path("OSPFv2"), none).expect("changed");
    };
    unprivileged(&bird, || {
        let mut it = sink(&bird, &[Ospfv2]);
        it.reconcile(&set(&[key(1, Active)])).expect("done");
        // As if it had been given to another user.
        unreadable();
        let mut remembers = || {
            let written = it.written.get_mut(&bird.path("OSPFv2")).expect("written");
            written.mark = mark(&bird.path("OSPFv2")).expect("there");
        };
        remembers();
        it.reconcile(&set(&[key(1, Active)])).expect("it is there");
        assert_eq!(bird.commands().len(), 1);
        it.reconcile(&set(&[key(2, Active)])).expect("done");
        assert_eq!(bird.commands().len(), 2);
        unreadable();
        let written = it.written.get_mut(&bird.path("OSPFv2")).expect("written");
        written.mark = mark(&bird.path("OSPFv2")).expect("there");
        let error = it.reconcile(&set(&[key(3, Active)])).expect_err("refused");
        assert!(
            error.problem().contains("OSPFv2 is what it was before"),
            "{error}"
        );
        assert!(passwords(&bird, Ospfv2)[0].contains("secret-2"));
        // Somebody changed it.
        unreadable();
        it.reconcile(&set(&[key(2, Active)])).expect("done");
        assert_eq!(bird.commands().len(), 4);
        assert!(passwords(&bird, Ospfv2)[0].contains("secret-2"));
        // A sink that knows nothing of it.
        unreadable();
        sink(&bird, &[Ospfv2])
            .reconcile(&set(&[key(2, Active)]))
            .expect("done");
        assert_eq!(bird.commands().len(), 5);
    });
}

#[test]
fn a_worker_fills_a_bird_that_comes_back() {
    let bird = FakeBird::new(|_| RECONFIGURED.to_owned());
    let (sender, reports) = std::sync::mpsc::channel();
    let worker = Worker::spawn(
        Box::new(sink(&bird, &[Ospfv2])),
        vec![Ospfv2],
        Box::new(move |report| drop(sender.send(report))),
    )
    .expect("a thread");
    let next = || reports.recv_timeout(Duration::from_secs(60)).expect("a report");
    worker.want(set(&[key(1, Active)]), 1);
    let first = next();
    assert!(first.is_done() && !first.down && first.epoch.is_some());
    bird.stop();
    assert!(next().down);
    // What changes while it is gone waits for it in the file.
    worker.want(set(&[key(2, Active)]), 2);
    let report = next();
    assert!(report.down && report.generation == 2 && report.is_done());
    assert!(passwords(&bird, Ospfv2)[0].contains("secret-2"));
    bird.restart(|_| RECONFIGURED.to_owned());
    let report = next();
    assert!(
        report.is_done() && report.restarted && report.epoch != first.epoch,
        "{report:?}"
    );
    drop(worker);
    assert!(passwords(&bird, Ospfv2)[0].contains("secret-2"));
}

#[test]
fn no_secret_in_what_it_shows() {
    let bird = FakeBird::new(|_| RECONFIGURED.to_owned());
    let it = sink(&bird, &[Ospfv2]);
    assert!(!format!("{it:?}").contains(it.blocker.as_str()));
    assert_eq!(it.describe(), format!("BIRD at {}", bird.socket().display()));
}
