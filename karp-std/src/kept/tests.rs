//! Tests of kept keys.

use super::*;
use std::os::unix::fs::{PermissionsExt, symlink};

const NOW: Instant = Instant::from_millis(1_000_000);

fn key(id: u16, usage: KeyUse, lives_ms: u64) -> KeptKey {
    let protocols = [
        (RoutingProtocol::Ospfv2, RoutingAlgorithm::HmacSha256),
        (RoutingProtocol::Babel, RoutingAlgorithm::Blake2s128),
    ];
    KeptKey {
        key: ResumedKey {
            id,
            key: Secret::from_bytes([u8::try_from(id).unwrap(); 32]),
            usage,
            lifetime: karp_core::time::Duration::from_millis(lives_ms),
            protocols: protocols.into_iter().collect(),
        },
        expires: Instant::from_millis(1_000_000 + lives_ms),
        holders: BTreeMap::from([
            ("bird".to_owned(), Some("run 1".to_owned())),
            ("hook".to_owned(), None),
        ]),
    }
}

fn file() -> (tempfile::TempDir, File) {
    let directory = tempfile::tempdir().unwrap();
    let file = File::of_boot(&directory.path().join("karp"), "lan/7", "r1.example", "boot-1");
    (directory, file)
}

fn saved() -> (tempfile::TempDir, File) {
    let (directory, file) = file();
    let keys = [
        key(7, KeyUse::Stopped, 5_000),
        key(8, KeyUse::Sending, 60_000),
        key(9, KeyUse::Unsent, 90_000),
    ];
    file.save(&keys, &[]).unwrap();
    (directory, file)
}

#[test]
fn keys_come_back_as_they_were() {
    let (_directory, file) = saved();
    assert!(file.path().ends_with("lan%2f7.keys"), "{}", file.path().display());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(file.path()), 0o600);
    assert_eq!(mode(file.path().parent().unwrap()), 0o700);
    let keys = file.load(NOW).unwrap().keys;
    let ids: Vec<u16> = keys.iter().map(|key| key.key.id).collect();
    assert_eq!(ids, [8, 7, 9], "the one that is sent with comes first");
    let first = &keys[0];
    assert_eq!(first.key.usage, KeyUse::Sending);
    assert_eq!(first.key.key.expose(), &[8; 32]);
    assert_eq!(first.key.lifetime.as_millis(), 60_000);
    assert_eq!(first.key.protocols, key(8, KeyUse::Sending, 0).key.protocols);
    assert_eq!(first.holders, key(8, KeyUse::Sending, 0).holders);
}

#[test]
fn what_has_expired_is_left() {
    let (_directory, file) = saved();
    let ids = |at| -> Vec<u16> {
        let keys = file.load(Instant::from_millis(at)).unwrap().keys;
        keys.iter().map(|key| key.key.id).collect()
    };
    assert_eq!(ids(1_005_000), [8, 9]);
    assert_eq!(ids(1_060_000), [9]);
    assert!(ids(2_000_000).is_empty());
    let later = file.load(Instant::from_millis(1_030_000)).unwrap().keys;
    assert_eq!(later[0].key.lifetime.as_millis(), 30_000);
}

#[test]
fn nothing_kept_is_no_error() {
    let (_directory, file) = file();
    assert!(file.load(NOW).unwrap().keys.is_empty());
    file.remove().unwrap();
    let (_directory, file) = saved();
    file.remove().unwrap();
    assert!(file.load(NOW).unwrap().keys.is_empty());
}

#[test]
fn every_truncation_is_refused() {
    let (_directory, file) = saved();
    let whole = fs::read(file.path()).unwrap();
    // The last octet is the line end.
    for end in 0..whole.len() - 1 {
        assert!(file.parse(&whole[..end], NOW).is_err(), "{end} octets");
    }
}

#[test]
fn another_boot_group_or_router_is_refused() {
    let (directory, file) = saved();
    let of = |group, identity, boot| {
        let mut other = File::of_boot(&directory.path().join("karp"), group, identity, boot);
        other.path = file.path.clone();
        other.load(NOW).unwrap_err()
    };
    assert!(matches!(
        of("lan/7", "r1.example", "boot-2"),
        KeptError::OtherBoot { .. }
    ));
    assert!(matches!(
        of("lan/8", "r1.example", "boot-1"),
        KeptError::Content { .. }
    ));
    assert!(matches!(
        of("lan/7", "r2.example", "boot-1"),
        KeptError::Content { .. }
    ));
}

#[test]
fn who_else_could_have_touched_it_is_not_believed() {
    let (_directory, file) = saved();
    for mode in [0o640, 0o604, 0o660, 0o622] {
        fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
        assert!(
            matches!(file.load(NOW), Err(KeptError::Exposed { .. })),
            "{mode:o}"
        );
    }
    fs::set_permissions(file.path(), fs::Permissions::from_mode(0o600)).unwrap();
    let directory = file.path().parent().unwrap();
    for mode in [0o770, 0o702] {
        fs::set_permissions(directory, fs::Permissions::from_mode(mode)).unwrap();
        assert!(
            matches!(file.load(NOW), Err(KeptError::Exposed { .. })),
            "{mode:o}"
        );
        assert!(
            matches!(file.save(&[], &[]), Err(KeptError::Exposed { .. })),
            "{mode:o}"
        );
    }
    // A group that may look in does no harm: a routing daemon reads its own file there.
    fs::set_permissions(directory, fs::Permissions::from_mode(0o750)).unwrap();
    assert_eq!(file.load(NOW).unwrap().keys.len(), 3);
}

#[test]
fn another_owner_is_not_believed() {
    let (_directory, file) = saved();
    // Only root can give a file away; for others there is nothing to try.
    if std::os::unix::fs::chown(file.path(), Some(65_534), None).is_ok() && geteuid().is_root() {
        assert!(matches!(file.load(NOW), Err(KeptError::Exposed { .. })));
    }
}

#[test]
fn links_and_special_files_are_not_followed() {
    let (_directory, file) = saved();
    let elsewhere = file.path().with_extension("elsewhere");
    fs::rename(file.path(), &elsewhere).unwrap();
    symlink(&elsewhere, file.path()).unwrap();
    assert!(matches!(file.load(NOW), Err(KeptError::Io { .. })));
    // Writing replaces the link and leaves what it points to.
    file.save(&[], &[]).unwrap();
    assert!(file.load(NOW).unwrap().keys.is_empty());
    assert!(!fs::read(&elsewhere).unwrap().is_empty());
    fs::remove_file(file.path()).unwrap();
    fs::create_dir(file.path()).unwrap();
    assert!(matches!(file.load(NOW), Err(KeptError::Exposed { .. })));
}

#[test]
fn a_link_in_the_way_of_writing_is_not_followed() {
    let (directory, file) = saved();
    let target = directory.path().join("target");
    fs::write(&target, "untouched").unwrap();
    symlink(&target, file.path().with_extension("keys.new")).unwrap();
    file.save(&[key(3, KeyUse::Sending, 1000)], &[]).unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"untouched");
    assert_eq!(file.load(NOW).unwrap().keys.len(), 1);
}

#[test]
fn hostile_content_is_refused() {
    let (_directory, file) = saved();
    let whole = fs::read_to_string(file.path()).unwrap();
    let with = |from: &str, to: &str| {
        assert!(whole.contains(from), "{from}");
        file.parse(whole.replacen(from, to, 1).as_bytes(), NOW)
    };
    for (from, to) in [
        ("\"version\": 1", "\"version\": 2"),
        ("\"id\": 7", "\"id\": 0"),
        ("\"id\": 7", "\"id\": 8"),
        ("\"id\": 7", "\"id\": 70000"),
        ("\"id\": 7", "\"id\": -1"),
        ("\"stopped\"", "\"sending with\""),
        ("0707", "07"),
        ("0707", "zz07"),
        ("\"expires_ms\": 1005000", "\"expires_ms\": -5"),
        ("\"keys\"", "\"other\": 1, \"keys\""),
        ("\"protocols\": [", "\"protocols\": [[60000, 1],"),
    ] {
        let error = with(from, to).unwrap_err();
        assert!(!error.to_string().contains("0707"), "{error}");
    }
    for text in ["", "null", "[]", "{}", "\u{0}", &"[".repeat(60_000)] {
        assert!(file.parse(text.as_bytes(), NOW).is_err());
    }
    fs::write(file.path(), vec![b' '; MAX_FILE + 1]).unwrap();
    assert!(matches!(file.load(NOW), Err(KeptError::Content { .. })));
    // Far future: it saturates and harms nobody.
    assert!(with("\"expires_ms\": 1005000", "\"expires_ms\": 18446744073709551615").is_ok());
}

#[test]
fn only_what_every_daemon_held_all_along_is_held() {
    let kept = key(8, KeyUse::Sending, 1000);
    let now = |bird: Option<Option<&str>>, hook: Option<Option<&str>>| {
        let own = |epoch: Option<Option<&str>>| epoch.map(|text| text.map(str::to_owned));
        BTreeMap::from([("bird".to_owned(), own(bird)), ("hook".to_owned(), own(hook))])
    };
    assert!(kept.is_held_by(&now(Some(Some("run 1")), Some(None))));
    assert!(
        !kept.is_held_by(&now(Some(Some("run 2")), Some(None))),
        "restarted"
    );
    assert!(!kept.is_held_by(&now(None, Some(None))), "down");
    assert!(
        !kept.is_held_by(&now(Some(None), Some(None))),
        "its run cannot be told any more"
    );
    let mut more = now(Some(Some("run 1")), Some(None));
    more.insert("frr".to_owned(), Some(Some("run 1".to_owned())));
    assert!(!kept.is_held_by(&more), "a sink that never took it");
    assert!(kept.is_held_by(&BTreeMap::new()), "nobody to hold it");
}

#[test]
fn names_of_groups_make_names_of_files() {
    assert_eq!(file_name("backbone-lan-7"), "backbone-lan-7");
    assert_eq!(file_name("../../etc/passwd"), "%2e.%2f..%2fetc%2fpasswd");
    assert_eq!(file_name("ä"), "%c3%a4");
}

#[test]
fn nothing_secret_is_printed() {
    let text = format!("{:?}", key(8, KeyUse::Sending, 1000));
    assert!(!text.contains("0808") && !text.contains("8, 8"), "{text}");
}

#[test]
fn evictions_are_kept_until_their_time() {
    let (_directory, file) = file();
    let eviction = |octet, until| KeptEviction {
        digest: [octet; 16],
        until: Instant::from_millis(until),
    };
    let now = NOW.as_millis();
    let (over, valid) = (eviction(0xe1, now - 1), eviction(0x0e, now + 1));
    file.save(&[], &[over, valid]).unwrap();
    let kept = file.load(NOW).unwrap();
    assert_eq!(kept.evictions, [valid]);
    assert!(kept.keys.is_empty());
}
