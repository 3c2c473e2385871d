//! Files of the key-chain sink for many key sets. `tests/yang/check` gives a directory and has them judged by yanglint; by
//! itself this test only looks that they are there and keep their promises.

use std::{env, fs, os::unix::fs::MetadataExt, path::PathBuf};

use karp_core::{
    algorithm::{RoutingAlgorithm, RoutingProtocol},
    keytable::RowState,
};
use karp_std::sinks::{
    KeySet, Sink, SinkKey,
    keychain::{KeyChainSink, Settings},
};

/// Where the files go, and what keeps that directory until the end of the test.
fn directory() -> (PathBuf, Option<tempfile::TempDir>) {
    match env::var_os("KARP_KEYCHAIN_FILES") {
        Some(given) => (given.into(), None),
        None => {
            let made = tempfile::tempdir().unwrap();
            (made.path().to_owned(), Some(made))
        }
    }
}

/// Every protocol, with a chain whose name is not easy.
fn chains() -> impl Iterator<Item = (RoutingProtocol, String)> {
    let protocols = RoutingProtocol::ALL.into_iter();
    protocols.map(|protocol| (protocol, format!("karp \"{}\" \\ é", protocol.name())))
}

fn key(protocol: RoutingProtocol, id: u16, algorithm: RoutingAlgorithm, state: RowState) -> SinkKey {
    SinkKey::new(protocol, id, algorithm, state, b"Abcdefghijklmnopqrstuvwxyz01")
}

/// Key sets by name.
fn sets() -> Vec<(&'static str, KeySet)> {
    use RowState::{Active, Pending, Retiring};
    let ospf = |id, state| key(RoutingProtocol::Ospfv2, id, RoutingAlgorithm::HmacSha256, state);
    let set = |states: &[(u16, RowState)]| states.iter().map(|(id, state)| ospf(*id, *state)).collect();

    let every_algorithm = RoutingProtocol::ALL.into_iter().flat_map(|protocol| {
        let takes = move |algorithm: &RoutingAlgorithm| {
            protocol.takes(*algorithm) && KeyChainSink::takes(protocol, *algorithm).is_ok()
        };
        let algorithms = RoutingAlgorithm::ALL.into_iter().filter(takes).zip(1..);
        algorithms.map(move |(algorithm, id)| {
            let state = if id == 1 { Active } else { Retiring };
            key(protocol, id, algorithm, state)
        })
    });
    let manual = |id, secret: &[u8]| {
        let state = if id == 1 { Active } else { Retiring };
        SinkKey::new(
            RoutingProtocol::Isis,
            id,
            RoutingAlgorithm::HmacSha512,
            state,
            secret,
        )
    };
    vec![
        ("nothing", KeySet::default()),
        ("first", set(&[(1, Pending)])),
        ("one", set(&[(1, Active)])),
        ("rollover", set(&[(7, Active), (8, Pending)])),
        ("switched", set(&[(7, Retiring), (8, Active)])),
        (
            "all",
            set(&[(0, Retiring), (254, Retiring), (255, Active), (256, Pending)]),
        ),
        ("unsent", set(&[(0, Retiring), (1, Pending)])),
        ("algorithms", every_algorithm.collect()),
        (
            "octets",
            [
                manual(1, b"with spaces and \"quotes\" \\ and <angles> & all"),
                manual(2, &[0, 1, 127, 128, 255]),
                manual(3, "smörgås".as_bytes()),
                manual(65_535, b"tab\there"),
                manual(5, &[b'x'; 256]),
            ]
            .into_iter()
            .collect(),
        ),
    ]
}

#[test]
fn every_key_set_makes_a_file() {
    let (directory, _made) = directory();
    for (name, set) in sets() {
        let file = directory.join(format!("{name}.json"));
        let settings = Settings {
            file: file.clone(),
            chains: chains().collect(),
        };
        KeyChainSink::new(settings).unwrap().reconcile(&set).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o600, "{name}");
        let written: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        let written = written["ietf-key-chain:key-chains"]["key-chain"]
            .as_array()
            .unwrap();
        assert_eq!(written.len(), RoutingProtocol::ALL.len(), "{name}");
        for chain in written {
            let keys = chain["key"].as_array().unwrap();
            let sends = keys
                .iter()
                .filter(|key| !key["lifetime"]["send-lifetime"]["always"].is_null());
            assert_eq!(sends.count(), 1, "{name}: {}", chain["name"]);
        }
    }
}
