use std::fs;

use karp_core::algorithm::{
    RoutingAlgorithm::{Blake2s128, HmacSha1, HmacSha256, HmacSha512},
    RoutingProtocol::{Babel, Bfd, Isis, Ospfv2, Ospfv3},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

struct Lab {
    directory: TempDir,
    sink: KeyChainSink,
}

impl Lab {
    fn new(chains: &[(RoutingProtocol, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let settings = Settings {
            file: directory.path().join("keys.json"),
            chains: chains
                .iter()
                .map(|(protocol, name)| (*protocol, (*name).to_owned()))
                .collect(),
        };
        Self {
            directory,
            sink: KeyChainSink::new(settings).unwrap(),
        }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("keys.json")
    }

    fn reconcile(&mut self, keys: &[SinkKey]) -> Value {
        self.sink.reconcile(&keys.iter().cloned().collect()).unwrap();
        serde_json::from_slice(&fs::read(self.file()).unwrap()).unwrap()
    }
}

fn key(protocol: RoutingProtocol, id: u16, state: RowState) -> SinkKey {
    SinkKey::new(protocol, id, HmacSha256, state, b"a secret")
}

#[test]
fn states_are_lifetimes() {
    let mut lab = Lab::new(&[(Ospfv2, "karp-eth0")]);
    let written = lab.reconcile(&[
        key(Ospfv2, 7, RowState::Retiring),
        key(Ospfv2, 8, RowState::Active),
        key(Ospfv2, 9, RowState::Pending),
        key(Ospfv3, 8, RowState::Active),
    ]);
    let row = |id: &str, send: Value| {
        json!({
            "key-id": id,
            "lifetime": {"send-lifetime": send, "accept-lifetime": {"always": [null]}},
            "crypto-algorithm": "ietf-key-chain:hmac-sha-256",
            "key-string": {"keystring": "a secret"},
        })
    };
    let over = json!({"start-date-time": "2000-01-01T00:00:00Z", "end-date-time": "2000-01-01T00:00:01Z"});
    let not_yet = json!({"start-date-time": "9999-12-31T00:00:00Z", "no-end-time": [null]});
    let keys = [
        row("7", over),
        row("8", json!({"always": [null]})),
        row("9", not_yet),
    ];
    let expected = json!({"ietf-key-chain:key-chains": {"key-chain": [{"name": "karp-eth0", "key": keys}]}});
    assert_eq!(written, expected);
}

#[test]
fn a_chain_without_a_key_to_send_with_has_one_that_nobody_knows() {
    let mut lab = Lab::new(&[(Ospfv2, "two"), (Bfd, "bfd")]);
    let chain =
        |written: &Value, at: usize| written["ietf-key-chain:key-chains"]["key-chain"][at]["key"].clone();
    let empty = lab.reconcile(&[]);
    let blocker = chain(&empty, 0)[0].clone();
    assert_eq!(blocker["key-id"], "0");
    assert_eq!(blocker["lifetime"]["send-lifetime"], json!({"always": [null]}));
    assert_eq!(blocker["key-string"]["keystring"].as_str().unwrap().len(), 28);
    assert_eq!(
        chain(&empty, 1)[0]["crypto-algorithm"],
        "ietf-key-chain:hmac-sha-1"
    );
    // It stays what it is, moves out of the way of a key with its id, and goes when there is a key to send with.
    assert_eq!(lab.reconcile(&[]), empty);
    let pending = chain(&lab.reconcile(&[key(Ospfv2, 0, RowState::Pending)]), 0);
    assert_eq!(
        (&pending[1]["key-id"], &pending[1]["key-string"]),
        (&json!("1"), &blocker["key-string"])
    );
    let active = chain(&lab.reconcile(&[key(Ospfv2, 5, RowState::Active)]), 0);
    assert_eq!(active.as_array().unwrap().len(), 1);
    // Another run has another.
    let mut other = Lab::new(&[(Ospfv2, "two")]);
    assert_ne!(
        chain(&other.reconcile(&[]), 0)[0]["key-string"],
        blocker["key-string"]
    );
}

#[test]
fn a_file_that_fits_is_left_alone_and_any_other_is_replaced() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let mut lab = Lab::new(&[(Ospfv2, "c")]);
    let keys = [key(Ospfv2, 5, RowState::Active)];
    let expected = lab.reconcile(&keys);
    let inode = |lab: &Lab| fs::metadata(lab.file()).unwrap().ino();
    let before = inode(&lab);
    lab.reconcile(&keys);
    assert_eq!(inode(&lab), before);
    fs::write(lab.file(), "{}").unwrap();
    assert_eq!(lab.reconcile(&keys), expected);
    fs::set_permissions(lab.file(), fs::Permissions::from_mode(0o644)).unwrap();
    lab.reconcile(&keys);
    assert_eq!(fs::metadata(lab.file()).unwrap().mode() & 0o777, 0o600);
    // Nobody's file: too long for one of ours.
    fs::write(lab.file(), vec![b'x'; 2 << 20]).unwrap();
    assert_eq!(lab.reconcile(&keys), expected);
}

#[test]
fn octets_that_are_no_text_are_written_in_hexadecimal() {
    let mut lab = Lab::new(&[(Isis, "c")]);
    let manual = |octets: &[u8]| SinkKey::new(Isis, 3, HmacSha512, RowState::Active, octets);
    let mut string = |octets: &[u8]| {
        lab.reconcile(&[manual(octets)])["ietf-key-chain:key-chains"]["key-chain"][0]["key"][0]["key-string"]
            .clone()
    };
    assert_eq!(
        string(&[0, 0x7f, 0xfe]),
        json!({"hexadecimal-string": "00:7f:fe"})
    );
    assert_eq!(string("é".as_bytes()), json!({"hexadecimal-string": "c3:a9"}));
    assert_eq!(string(b"\n"), json!({"hexadecimal-string": "0a"}));
    assert_eq!(string(b"a \"b\" \\"), json!({"keystring": "a \"b\" \\"}));
}

#[test]
fn what_cannot_be_written_is_refused_and_nothing_changes() {
    let mut lab = Lab::new(&[(Babel, "c")]);
    let before = lab.reconcile(&[]);
    let blake = SinkKey::new(Babel, 3, Blake2s128, RowState::Active, b"a secret");
    let refused = lab.sink.reconcile(&[blake].into_iter().collect()).unwrap_err();
    assert!(refused.problem().contains("BLAKE2s-128") && refused.remedy().contains("HMAC-SHA-256"));
    assert!(KeyChainSink::takes(Babel, Blake2s128).is_err());
    assert!(KeyChainSink::takes(Bfd, HmacSha1).is_ok());
    assert_eq!(lab.reconcile(&[]), before);

    fs::remove_dir_all(lab.directory.path()).unwrap();
    let failed = lab.sink.reconcile(&KeySet::default()).unwrap_err();
    assert!(failed.problem().contains("keys.json") && failed.remedy().contains("directory"));
    assert!(!failed.is_not_running());
}

#[test]
fn settings_are_checked() {
    let problem = |file: &str, chains: &[(RoutingProtocol, &str)]| {
        let chains = chains
            .iter()
            .map(|(protocol, name)| (*protocol, (*name).to_owned()));
        let settings = Settings {
            file: file.into(),
            chains: chains.collect(),
        };
        KeyChainSink::new(settings).unwrap_err().problem().to_owned()
    };
    assert!(problem("keys.json", &[]).contains("no chain"));
    assert!(problem("/", &[(Ospfv2, "c")]).contains("names no file"));
    for name in ["", "a\nb", &"x".repeat(256)] {
        assert!(problem("keys.json", &[(Ospfv2, name)]).contains("chains.OSPFv2"));
    }
    assert!(problem("keys.json", &[(Ospfv2, "c"), (Ospfv3, "c")]).contains("another protocol's"));
}

#[test]
fn no_key_is_printed() {
    let lab = Lab::new(&[(Ospfv2, "c")]);
    assert!(!format!("{:?}", lab.sink).contains(lab.sink.blocker.as_str()));
    assert!(lab.sink.describe().starts_with("key-chain /"));
}
