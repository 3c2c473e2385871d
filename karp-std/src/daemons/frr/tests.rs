use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng as _, SeedableRng as _},
};
use tempfile::TempDir;

use super::{
    fake::{Fake, Lie},
    *,
};

fn daemon() -> (TempDir, Fake) {
    let directory = tempfile::tempdir().unwrap();
    let fake = Fake::start(directory.path(), "ospfd.vty");
    (directory, fake)
}

fn block(commands: &[&str]) -> Vec<Zeroizing<String>> {
    commands
        .iter()
        .map(|command| Zeroizing::new((*command).to_owned()))
        .collect()
}

const SHORT: Duration = Duration::from_millis(50);

#[test]
fn commands_are_answered_with_text_and_status() {
    let (_directory, fake) = daemon();
    let mut vty = Vty::connect(fake.socket()).unwrap();
    let shown = vty.show("show running-config").unwrap();
    assert!(shown.text().starts_with("frr version 10.3\n") && shown.status() == 0);
    let unknown = vty.execute("show bogus").unwrap();
    assert_eq!(
        (unknown.text(), unknown.status()),
        ("% [OSPF] Unknown command: show bogus\n", 2)
    );
    // A refusal tells nothing of what was shown until then.
    fake.lies(
        "show running-config",
        Lie::Fails(
            "key chain karp\n key 7\n  key-string secret\n% Out of memory\n",
            1,
        ),
    );
    let refused = vty.show("show running-config").unwrap_err();
    assert!(
        refused.problem().ends_with("status 1: % Out of memory"),
        "{refused}"
    );
    fake.is_honest();
    let refused = vty.show("show bogus").unwrap_err();
    assert_eq!(
        refused.problem(),
        "ospfd refuses `show bogus` with status 2: % [OSPF] Unknown command: show bogus"
    );
    // After a refusal the connection is as good as before.
    vty.show("show running-config").unwrap();
}

#[test]
fn an_answer_may_come_in_any_pieces_and_any_size() {
    let (_directory, fake) = daemon();
    let mut long = "é".repeat(300_000).into_bytes();
    long.extend([0, 0, 0, 7]);
    fake.lies("show long", Lie::Raw(long));
    fake.lies("show latin", Lie::Raw(b"sm\xf6rg\xe5s\0\0\0\0".to_vec()));
    let mut vty = Vty::connect(fake.socket()).unwrap();
    let answer = vty.execute("show long").unwrap();
    assert_eq!((answer.text().len(), answer.status()), (600_000, 7));
    assert_eq!(vty.execute("show latin").unwrap().text(), "sm\u{fffd}rg\u{fffd}s");
    assert_eq!(End::find(b"abc\0", 0), End::NotYet);
    assert_eq!(End::find(b"abc\0\0\0", 0), End::NotYet);
    assert_eq!(End::find(b"abc\0\0\0\0", 0), End::At { length: 3, status: 0 });
    assert_eq!(End::find(b"\0\0\0\x04more", 0), End::At { length: 0, status: 4 });
    for octets in [&b"a\0b"[..], b"\0\0b", b"\0a\0\0\0\0"] {
        assert_eq!(End::find(octets, 0), End::Malformed);
    }
}

#[test]
fn what_is_no_answer_is_an_error_and_ends_the_connection() {
    let (_directory, fake) = daemon();
    let cases: [(Lie, &str); 6] = [
        (Lie::Raw(b"a\0b\0\0\0\0".to_vec()), "form of a vty's"),
        (Lie::Raw(b"\0\0\0\0\0\0\0\0".to_vec()), "more than it was asked"),
        (Lie::Hangs(Vec::new()), "closed the connection"),
        (
            Lie::Hangs(b"half an answer\0\0\0".to_vec()),
            "closed the connection",
        ),
        (Lie::Silent, "no answer within 50 ms"),
        (Lie::Raw(vec![b'x'; 100]), "no answer within 50 ms"),
    ];
    for (lie, problem) in cases {
        let mut vty = Vty::connect_within(fake.socket(), SHORT).unwrap();
        fake.lies("show", lie);
        let error = vty.execute("show running-config").unwrap_err();
        assert!(error.problem().contains(problem), "{error}");
        assert!(!error.is_not_running());
        fake.is_honest();
        // What comes next could be the answer to the command before.
        assert!(vty.execute("show running-config").is_err());
    }
    Vty::connect(fake.socket())
        .unwrap()
        .show("show running-config")
        .unwrap();
}

#[test]
fn an_answer_without_an_end_is_cut_off() {
    let (_directory, fake) = daemon();
    fake.lies("show", Lie::Hangs(vec![b'x'; MAX_ANSWER + 100_000]));
    let mut vty = Vty::connect(fake.socket()).unwrap();
    let error = vty.show("show running-config").unwrap_err();
    assert!(error.problem().contains("longer than any"), "{error}");
}

#[test]
fn no_octets_make_it_panic() {
    let mut random = ChaCha8Rng::seed_from_u64(11);
    let (_directory, fake) = daemon();
    for _ in 0..200 {
        let mut octets = vec![0; usize::try_from(random.next_u32() % 40).unwrap()];
        random.fill_bytes(&mut octets);
        // Zeros are what it is about.
        for octet in &mut octets {
            if *octet < 0x60 {
                *octet = 0;
            }
        }
        fake.lies("", Lie::Hangs(octets));
        let _ = Vty::connect_within(fake.socket(), SHORT).map(|mut vty| vty.execute("show running-config"));
        fake.is_honest();
    }
}

#[test]
fn nobody_there_is_told_from_nobody_answering() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ospfd.vty");
    assert!(Vty::connect(&path).unwrap_err().is_not_running());
    let fake = Fake::start(directory.path(), "ospfd.vty");
    Vty::connect(&path).unwrap();
    drop(fake);
    assert!(Vty::connect(&path).unwrap_err().is_not_running());
    // A socket that a daemon left behind.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(Vty::connect(&path).unwrap_err().is_not_running());
    fs::remove_file(&path).unwrap();
    fs::write(&path, "").unwrap();
    assert!(Vty::connect(&path).unwrap_err().is_not_running());
    let long = directory.path().join("x".repeat(120));
    let error = Vty::connect(&long).unwrap_err();
    assert!(
        !error.is_not_running() && error.remedy().contains("107 octets"),
        "{error}"
    );
}

#[test]
fn an_epoch_is_a_process_and_its_start() {
    let (_directory, fake) = daemon();
    let epoch = |fake: &Fake| Vty::connect(fake.socket()).unwrap().epoch().unwrap();
    let ours = format!("pid {} started ", std::process::id());
    assert!(epoch(&fake).starts_with(&ours) && epoch(&fake) == epoch(&fake));
    let stat = |name: &str| format!("812 ({name}) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21");
    for name in ["ospfd", "a b", "x) S 1 2 3 (y", ")"] {
        assert_eq!(start_ticks(&stat(name)), Some(4711), "{name}");
    }
    for stat in [
        "",
        "812 (ospfd",
        "812 (ospfd) S 1 2",
        ")",
        &stat("x").replace("4711", "-"),
    ] {
        assert_eq!(start_ticks(stat), None, "{stat}");
    }
}

#[test]
fn a_block_is_one_piece() {
    let (_directory, fake) = daemon();
    let mut vty = Vty::connect(fake.socket()).unwrap();
    let key = [
        "key 7",
        "send-lifetime 00:00:00 Jan 1 2000 infinite",
        "key-string abc",
        "exit",
    ];
    vty.configure("key chain karp", &[block(&key), block(&["no key 3"])])
        .unwrap();
    let pieces = fake.state().pieces.clone();
    assert_eq!(pieces[1], ["configure terminal", "key chain karp"]);
    assert_eq!(pieces[2], key);
    assert_eq!(pieces[3..], [vec!["no key 3".to_owned()], vec!["end".to_owned()]]);
    assert_eq!(fake.keys()[&7].secret.as_deref(), Some("abc"));

    let long = "x".repeat(506);
    let error = vty
        .configure("key chain karp", &[block(&["key 8", &long])])
        .unwrap_err();
    assert!(error.problem().contains("too long"), "{error}");
    for text in ["key-string a\nb", "key-string a\0no key chain karp"] {
        assert!(vty.configure("key chain karp", &[block(&[text])]).is_err());
    }
    // Configuration mode is left even so.
    assert_eq!(fake.state().pieces.last().unwrap(), &["end"]);
    vty.show("show running-config").unwrap();
}

#[test]
fn a_word_or_a_status_is_a_refusal_and_ends_the_change() {
    let key = [
        "key 7",
        "key-string secret",
        "cryptographic-algorithm hmac-sha-256",
        "exit",
    ];
    let cases = [
        (
            Lie::Says("% Failed to edit configuration.\n\n"),
            "status 0: % Failed to edit configuration.",
        ),
        (Lie::Fails("", 13), "status 13"),
        (
            Lie::Says("Configuration failed: secret \x1b[31m is weak"),
            "status 0: Configuration failed: .. [31m is weak",
        ),
    ];
    for (lie, problem) in cases {
        let (_directory, fake) = daemon();
        fake.lies("cryptographic-algorithm", lie);
        let mut vty = Vty::connect(fake.socket()).unwrap();
        let error = vty
            .configure("key chain karp", &[block(&key), block(&["no key 3"])])
            .unwrap_err();
        assert!(error.problem().contains(problem), "{error}");
        assert!(
            error.problem().contains("`cryptographic-algorithm hmac-sha-256`"),
            "{error}"
        );
        assert!(!error.to_string().contains("secret"), "{error}");
        let state = fake.state();
        assert!(!state.pieces.iter().flatten().any(|command| command == "no key 3"));
        assert_eq!(state.pieces.last().unwrap(), &["end"]);
    }
}

#[test]
fn no_error_repeats_a_key() {
    let (_directory, fake) = daemon();
    fake.lies(
        "key-string",
        Lie::Fails("% [OSPF] Unknown command: key-string sec\n", 2),
    );
    let mut vty = Vty::connect(fake.socket()).unwrap();
    let error = vty
        .configure("key chain karp", &[block(&["key 7", "key-string secret"])])
        .unwrap_err();
    assert_eq!(error.problem(), "ospfd refuses `key-string ..` with status 2: ");
    let answer = vty.execute("key-string secret").unwrap();
    assert!(!format!("{answer:?}").contains("sec"));
}
