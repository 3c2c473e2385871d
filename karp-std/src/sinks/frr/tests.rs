use karp_core::{
    algorithm::{
        RoutingAlgorithm::{HmacSha256, HmacSha512},
        RoutingProtocol::{Isis, Ospfv2, Ospfv3},
    },
    keytable::RowState::{self, Active, Pending, Retiring},
};
use tempfile::TempDir;

use super::*;
use crate::{
    daemons::frr::fake::{Fake, FakeKey, Lie},
    sinks::Plan,
};

const NO_MORE: &str = "00:00:00 Jan 1 2000 00:00:01 Jan 1 2000";
const SENDS: &str = "00:00:00 Jan 1 2000 infinite";

struct Lab {
    ospfd: Fake,
    sink: FrrSink,
    /// Goes last: the daemon ends by its socket.
    _directory: TempDir,
}

impl Lab {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self {
            ospfd: Fake::start(directory.path(), "ospfd.vty"),
            sink: sink(directory.path(), &[(Ospfv2, "karp")]),
            _directory: directory,
        }
    }

    fn reconcile(&mut self, keys: &[(u16, RowState)]) -> Result<(), SinkError> {
        self.sink.reconcile(&set(Ospfv2, keys))
    }

    /// Ids, and whether they are sent with.
    fn keys(&self) -> Vec<(u32, bool)> {
        let keys = self.ospfd.keys().into_iter();
        keys.map(|(id, key)| {
            assert_eq!(key.algorithm.as_deref(), Some("hmac-sha-256"));
            (id, key.send.as_deref().is_none_or(|dates| dates == SENDS))
        })
        .collect()
    }

    /// What was sent with, one key after the other.
    fn sent(&self) -> Vec<Option<u32>> {
        self.ospfd
            .state()
            .sent
            .iter()
            .map(|key| key.as_ref().map(|(id, _)| *id))
            .collect()
    }
}

fn sink(directory: &Path, chains: &[(RoutingProtocol, &str)]) -> FrrSink {
    let chains = chains
        .iter()
        .map(|(protocol, name)| (*protocol, (*name).to_owned()));
    FrrSink::new(Settings {
        directory: directory.to_owned(),
        chains: chains.collect(),
    })
    .unwrap()
}

fn key(protocol: RoutingProtocol, id: u16, state: RowState) -> SinkKey {
    SinkKey::new(
        protocol,
        id,
        HmacSha256,
        state,
        format!("secret-of-{id}").as_bytes(),
    )
}

fn set(protocol: RoutingProtocol, keys: &[(u16, RowState)]) -> KeySet {
    keys.iter()
        .map(|(id, state)| key(protocol, *id, *state))
        .collect()
}

fn found(secret: &str, send: Option<&str>) -> FakeKey {
    FakeKey {
        secret: Some(secret.to_owned()),
        algorithm: Some("hmac-sha-256".to_owned()),
        send: send.map(str::to_owned),
        accept: None,
    }
}

#[test]
fn the_states_of_a_key_become_lifetimes() {
    let mut lab = Lab::new();
    lab.reconcile(&[(7, Retiring), (9, Active), (200, Pending)])
        .unwrap();
    let expected = [
        (7, found("secret-of-7", Some(NO_MORE))),
        (9, found("secret-of-9", Some(SENDS))),
        (200, found("secret-of-200", Some(NO_MORE))),
    ];
    assert_eq!(lab.ospfd.keys(), expected.into());
    // Twice is once.
    let before = lab.ospfd.state().pieces.len();
    lab.reconcile(&[(7, Retiring), (9, Active), (200, Pending)])
        .unwrap();
    let state = lab.ospfd.state();
    assert!(
        state.pieces[before..]
            .iter()
            .flatten()
            .all(|command| command.starts_with("show ") || command == "enable")
    );
}

#[test]
fn a_rollover_in_each_order_of_ids_sends_with_one_key_and_then_the_other() {
    for (old, new) in [(7, 8), (8, 7), (255, 1), (1, 255)] {
        let mut lab = Lab::new();
        let mut has = set(Ospfv2, &[(old, Active)]);
        lab.sink.reconcile(&has).unwrap();
        let states = [
            vec![(old, Active), (new, Pending)],
            vec![(old, Retiring), (new, Active)],
            vec![(new, Active)],
        ];
        for keys in states {
            Plan::new(&has, &set(Ospfv2, &keys))
                .run(&mut lab.sink, &mut has)
                .unwrap();
            let expected = keys.iter().map(|(id, state)| (u32::from(*id), *state == Active));
            let mut expected: Vec<_> = expected.collect();
            expected.sort_unstable();
            assert_eq!(lab.keys(), expected);
        }
        assert_eq!(lab.sent()[1..], [Some(u32::from(old)), Some(u32::from(new))]);
        assert!(lab.ospfd.state().torn.is_empty());
    }
}

#[test]
fn the_first_rollover_goes_from_nothing_over_the_blocker() {
    let mut lab = Lab::new();
    let mut has = KeySet::default();
    lab.sink.reconcile(&has).unwrap();
    let blocker = lab.ospfd.keys()[&0].clone();
    assert_eq!(blocker.secret.as_ref().unwrap().len(), 28);
    assert_eq!(lab.keys(), [(0, true)]);
    // It stays while the first key is accepted only, and as long as this sink lives it is the same.
    for keys in [&[(5, Pending)][..], &[(5, Retiring)], &[]] {
        Plan::new(&has, &set(Ospfv2, keys))
            .run(&mut lab.sink, &mut has)
            .unwrap();
        assert_eq!(lab.ospfd.keys()[&0], blocker);
        assert_eq!(lab.keys().len(), 1 + keys.len());
    }
    Plan::new(&has, &set(Ospfv2, &[(5, Active)]))
        .run(&mut lab.sink, &mut has)
        .unwrap();
    assert_eq!(lab.keys(), [(5, true)]);
    // A key that is withdrawn leaves the daemon closed, not open.
    lab.reconcile(&[]).unwrap();
    assert_eq!(lab.ospfd.keys(), [(0, blocker)].into());
    assert_eq!(lab.sent(), [None, Some(0), Some(5), Some(0)]);
    assert!(lab.ospfd.state().torn.is_empty());
}

#[test]
fn a_blocker_makes_room_for_a_manual_key_with_its_id() {
    let mut lab = Lab::new();
    lab.reconcile(&[]).unwrap();
    lab.reconcile(&[(0, Pending), (1, Retiring)]).unwrap();
    assert_eq!(lab.keys(), [(0, false), (1, false), (2, true)]);
    assert_eq!(lab.ospfd.keys()[&0].secret.as_deref(), Some("secret-of-0"));
    assert_eq!(lab.sent(), [None, Some(0), Some(2)]);
}

#[test]
fn whatever_is_in_the_chain_is_brought_to_what_is_wanted() {
    let foreign = FakeKey::default();
    let by_the_clock = found("secret-of-9", Some("00:00:00 Jan 1 2020 infinite"));
    let another = |send| found("another", send);
    let other_algorithm = FakeKey {
        algorithm: Some("md5".to_owned()),
        ..found("secret-of-9", Some(SENDS))
    };
    let not_accepted = FakeKey {
        accept: Some("00:00:00 Jan 1 2020 00:00:00 Jan 2 2020".to_owned()),
        ..found("secret-of-9", None)
    };
    let chains: Vec<Vec<(u32, FakeKey)>> = vec![
        vec![(3, foreign.clone()), (70_000, foreign)],
        vec![(9, by_the_clock.clone())],
        vec![(9, another(None)), (7, another(Some(SENDS)))],
        vec![(7, another(Some(SENDS))), (8, found("secret-of-8", None))],
        vec![(9, other_algorithm), (8, found("secret-of-8", Some("Jan")))],
        vec![(9, not_accepted), (5, by_the_clock)],
        vec![
            (1, another(Some(NO_MORE))),
            (7, another(Some(NO_MORE))),
            (9, another(Some(NO_MORE))),
        ],
    ];
    for chain in chains {
        let mut lab = Lab::new();
        lab.ospfd
            .state()
            .chains
            .insert("karp".to_owned(), chain.clone().into_iter().collect());
        lab.ospfd
            .state()
            .chains
            .insert("other".to_owned(), [(1, another(None))].into());
        lab.reconcile(&[(7, Retiring), (9, Active)]).unwrap();
        assert_eq!(lab.keys(), [(7, false), (9, true)], "{chain:?}");
        let keys = lab.ospfd.keys();
        assert_eq!(keys[&7].secret.as_deref(), Some("secret-of-7"), "{chain:?}");
        assert_eq!(keys[&9].secret.as_deref(), Some("secret-of-9"), "{chain:?}");
        assert!(keys[&9].accept.as_deref().is_none_or(|dates| dates == SENDS));
        assert!(lab.ospfd.state().torn.is_empty(), "{chain:?}");
        assert_eq!(lab.ospfd.state().chains["other"], [(1, another(None))].into());
    }
}

#[test]
fn a_new_key_under_the_id_that_is_sent_with_replaces_it_in_the_right_order() {
    let mut lab = Lab::new();
    lab.reconcile(&[(3, Active)]).unwrap();
    // Key 3 is another one now and accepted only; key 4 is sent with.
    let renewed = SinkKey::new(Ospfv2, 3, HmacSha256, Pending, b"renewed");
    lab.sink
        .reconcile(&[renewed, key(Ospfv2, 4, Active)].into_iter().collect())
        .unwrap();
    assert_eq!(lab.ospfd.keys()[&3], found("renewed", Some(NO_MORE)));
    let sent: Vec<_> = lab
        .ospfd
        .state()
        .sent
        .clone()
        .into_iter()
        .flatten()
        .map(|(_, secret)| secret)
        .collect();
    assert_eq!(sent, ["secret-of-3", "secret-of-4"]);
}

#[test]
fn lies_are_found_out() {
    let cases: [(&'static str, Lie, &str); 9] = [
        ("send-lifetime", Lie::Ignores, "may still be sent with"),
        ("key-string", Lie::Ignores, "key 8 is another key"),
        (
            "key 8",
            Lie::Says("% Failed to edit configuration.\n"),
            "refuses `key 8` with status 0",
        ),
        ("cryptographic-algorithm", Lie::Fails("", 13), "with status 13"),
        ("no key 7", Lie::Ignores, "key 7 is still there"),
        (
            "exit",
            Lie::Says("YANG error(s): key-string is not unique\n"),
            "is not unique",
        ),
        ("show running-config", Lie::Omits("key-string"), "is another key"),
        (
            "show running-config",
            Lie::Says("key chain karp\n key eight\n"),
            "makes no sense",
        ),
        (
            "configure terminal",
            Lie::Says("% Configuration is locked\n"),
            "is locked",
        ),
    ];
    for (command, lie, problem) in cases {
        let mut lab = Lab::new();
        lab.reconcile(&[(7, Active)]).unwrap();
        lab.ospfd.lies(command, lie.clone());
        let error = lab.reconcile(&[(8, Active)]).unwrap_err();
        let found = error.problem().contains(problem);
        assert!(found, "{lie:?} to {command}: {error}");
        let text = error.to_string();
        assert!(!text.contains("secret-of") && !error.is_not_running(), "{text}");
        assert!(error.problem().contains("ospfd"), "{text}");
        // What was there before is not torn down, and when the daemon is honest again all is well.
        assert!(lab.ospfd.keys().contains_key(&7));
        lab.ospfd.is_honest();
        lab.reconcile(&[(8, Active)]).unwrap();
        assert_eq!(lab.keys(), [(8, true)]);
    }
}

#[test]
fn what_the_interface_sends_with_counts() {
    let cases: [(&'static str, Lie, &str); 5] = [
        (
            "show ip ospf interface",
            Lie::Omits("Sending SA"),
            "does not send with key 7",
        ),
        (
            "show ip ospf interface json",
            Lie::Says("half of {\"js"),
            "make no sense",
        ),
        (
            "show ip ospf interface json",
            Lie::Says("{\"interfaces\": []}"),
            "make no sense",
        ),
        (
            "show ip ospf interface json",
            Lie::Says("{\"vrf\": 1}"),
            "make no sense",
        ),
        ("show ip ospf interface json", Lie::Fails("", 4), "status 4"),
    ];
    for (command, lie, problem) in cases {
        let mut lab = Lab::new();
        lab.ospfd.lies(command, lie);
        let error = lab.reconcile(&[(7, Active)]).unwrap_err();
        assert!(error.problem().contains(problem), "{error}");
    }
    // OSPF is off: there is nothing to be seen.
    let mut lab = Lab::new();
    lab.ospfd.lies("show ip ospf interface json", Lie::Says("{}\n"));
    lab.reconcile(&[(7, Active)]).unwrap();
    // What another interface shows is not this one's.
    let text =
        "eth0.1 is up\n    Sending SA: Key 1, a\neth0 is up\n  x\nlo is up\n    Sending SA: Key 2, b\n";
    assert_eq!(sending(text, "eth0.1"), Some("Sending SA: Key 1, a"));
    assert_eq!((sending(text, "eth0"), sending(text, "eth")), (None, None));
}

#[test]
fn a_chain_that_no_interface_uses_is_filled_and_told_of() {
    let mut lab = Lab::new();
    for uses in ["theirs", "karp2", "kar"] {
        lab.ospfd.state().uses = uses.to_owned();
        let error = lab.reconcile(&[(7, Active)]).unwrap_err();
        assert_eq!(error.problem(), "no interface of ospfd uses key chain karp");
        assert_eq!(
            error.remedy(),
            "set `ip ospf authentication key-chain karp` on the link's interface"
        );
        assert_eq!(lab.keys(), [(7, true)]);
    }
    // With the address that it is for.
    lab.ospfd.state().uses = "karp 10.9.0.1".to_owned();
    lab.ospfd.lies("show ip ospf interface json", Lie::Says("{}"));
    lab.reconcile(&[(7, Active)]).unwrap();
}

#[test]
fn keys_that_frr_cannot_hold_are_refused_and_nothing_changes() {
    let mut lab = Lab::new();
    lab.reconcile(&[(7, Active)]).unwrap();
    let before = lab.ospfd.keys();
    let manual = |id, algorithm, secret: &[u8]| SinkKey::new(Ospfv2, id, algorithm, Active, secret);
    let long = [b'x'; 65];
    let cases = [
        (manual(8, HmacSha512, b"secret"), "HMAC-SHA-512"),
        (manual(256, HmacSha256, b"secret"), "up to 255"),
        (manual(8, HmacSha256, b"two words"), "key 8 of OSPFv2"),
        (manual(8, HmacSha256, b""), "key 8 of OSPFv2"),
        (manual(8, HmacSha256, b"bell\x07"), "key 8 of OSPFv2"),
        (manual(8, HmacSha256, "é".as_bytes()), "key 8 of OSPFv2"),
        (manual(8, HmacSha256, &[0xff]), "key 8 of OSPFv2"),
        (manual(8, HmacSha256, &long), "key 8 of OSPFv2"),
    ];
    for (key, problem) in cases {
        let error = lab.sink.reconcile(&[key].into_iter().collect()).unwrap_err();
        assert!(error.problem().contains(problem), "{error}");
        assert!(!error.remedy().is_empty() && !error.to_string().contains("secret"));
    }
    assert_eq!(lab.ospfd.keys(), before);
    let odd = manual(8, HmacSha256, b"!\"#$%&'()*+,-./0123456789:;<=>?@[\\]^_`{|}~");
    lab.sink.reconcile(&[odd].into_iter().collect()).unwrap();
}

#[test]
fn two_daemons_are_kept_one_beside_the_other() {
    let directory = tempfile::tempdir().unwrap();
    let mut sink = sink(directory.path(), &[(Ospfv2, "karp"), (Ospfv3, "karp")]);
    let both: KeySet = set(Ospfv2, &[(7, Active)])
        .iter()
        .chain(set(Ospfv3, &[(8, Active)]).iter())
        .cloned()
        .collect();
    assert!(sink.epoch().unwrap_err().is_not_running());
    assert!(sink.reconcile(&both).unwrap_err().is_not_running());
    // One of two that runs is keyed.
    let ospf6d = Fake::start(directory.path(), "ospf6d.vty");
    sink.reconcile(&both).unwrap();
    assert_eq!(ospf6d.keys().into_keys().collect::<Vec<_>>(), [8]);
    let alone = sink.epoch().unwrap().unwrap();
    assert!(alone.starts_with("OSPFv2 down, OSPFv3 pid "), "{alone}");
    // The other one is another epoch.
    let ospfd = Fake::start(directory.path(), "ospfd.vty");
    let together = sink.epoch().unwrap().unwrap();
    assert!(together != alone && Some(together) == sink.epoch().unwrap());
    // One that fails does not keep the other from its keys.
    ospfd.lies("key chain", Lie::Says("no"));
    let more: KeySet = [key(Ospfv2, 7, Active), key(Ospfv3, 9, Active)]
        .into_iter()
        .collect();
    let error = sink.reconcile(&more).unwrap_err();
    assert!(error.problem().contains("ospfd") && !error.is_not_running());
    assert_eq!(ospf6d.keys().into_keys().collect::<Vec<_>>(), [9]);
    // ospf6d does not show what it sends with, so it is not asked.
    let asked = ospf6d.state().pieces.concat();
    assert!(!asked.iter().any(|command| command.contains("interface")));
}

#[test]
fn settings_are_checked_and_nothing_is_printed() {
    let refused = |protocol, name: &str| {
        let chains = [(protocol, name.to_owned())].into();
        let directory = PathBuf::from("/run/frr");
        FrrSink::new(Settings { directory, chains }).unwrap_err()
    };
    for name in ["", "two words", "a'b", "a]", "line\nend", &"x".repeat(64)] {
        assert!(refused(Ospfv2, name).problem().contains("no name of a key chain"));
    }
    assert!(refused(Isis, "karp").problem().contains("IS-IS"));
    let empty = Settings {
        directory: "/run/frr".into(),
        chains: BTreeMap::new(),
    };
    assert!(FrrSink::new(empty).unwrap_err().remedy().contains("chains"));
    FrrSink::takes(Ospfv3, HmacSha256).unwrap();
    assert!(
        FrrSink::takes(Ospfv2, HmacSha512)
            .unwrap_err()
            .remedy()
            .contains("HMAC-SHA-256")
    );
    let sink = sink(Path::new("/run/frr"), &[(Ospfv2, "karp"), (Ospfv3, "karp6")]);
    assert_eq!(sink.describe(), "frr /run/frr karp,karp6");
    assert!(!format!("{sink:?}").contains(sink.links[0].blocker.as_str()));
}
