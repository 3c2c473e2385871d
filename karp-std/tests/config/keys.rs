//! Keys, peers and their files.

use super::*;

#[test]
fn keys_in_the_file_itself() {
    let text = format!(
        "{LEAST}[[peer]]\nidentity = \"r2\"\npsk = {{ hex = \"{}\" }}\n[[peer]]\nidentity = \"r3\"\npsk = {{ text = \"sixteen octets!!\" }}\n[[manual_key]]\nprotocol = \"OSPFv2\"\nalgorithm = \"HMAC-SHA-256\"\nid = 3\nsecret = {{ hex = \"00ff\" }}",
        "ab".repeat(16)
    );
    let configuration = parse(&text).unwrap();
    let expected = karp_core::crypto::shared_key_auth(&[0xab; 16], &[b"x"]);
    assert_eq!(
        configuration.credentials.shared_key_auth(&name("r2"), &[b"x"]),
        Some(expected)
    );
    let expected = karp_core::crypto::shared_key_auth(b"sixteen octets!!", &[b"x"]);
    assert_eq!(
        configuration.credentials.shared_key_auth(&name("r3"), &[b"x"]),
        Some(expected)
    );
    assert_eq!(configuration.settings.manual_keys[0].secret.as_slice(), [0, 255]);
}

#[test]
fn mistakes_with_keys() {
    let weak = format!("ed25519-public:01{}", "00".repeat(31));
    let weak = format!("public_key = {{ text = \"{weak}\" }}");
    let (_, public) = generate_signing_key(&mut OsEntropy);
    let public = format!("public_key = {{ text = \"{public}\" }}");
    for (peer, text) in [
        (
            "psk = { text = \"fifteen octets!\" }",
            "peer[0].psk: a pre-shared key of 15 octets can be guessed; give at least 16 octets, best 32 random ones",
        ),
        (
            "psk = { hex = \"00112233zz\" }",
            "peer[0].psk: character 9 is no hexadecimal digit; give two digits from 0 to 9 and a to f for every octet, and nothing else",
        ),
        (
            "psk = { hex = \"001\" }",
            "peer[0].psk: the number of hexadecimal digits is odd or zero; give two digits from 0 to 9 and a to f for every octet, and nothing else",
        ),
        (
            "psk = { text = \"0123456789abcdef\", hex = \"00\" }",
            "peer[0].psk: this is no source of a key; give a table such as { file = \"r2.psk\" }, with one of text, hex, file and hex_file",
        ),
        (
            "psk = { path = \"0123456789abcdef\" }",
            "peer[0].psk: this is no source of a key; give a table such as { file = \"r2.psk\" }, with one of text, hex, file and hex_file",
        ),
        (
            "psk = {}",
            "peer[0].psk: this is no source of a key; give a table such as { file = \"r2.psk\" }, with one of text, hex, file and hex_file",
        ),
        (
            "psk = \"0123456789abcdef\"",
            "peer[0].psk: this is no source of a key; give a table such as { file = \"r2.psk\" }, with one of text, hex, file and hex_file",
        ),
        (
            "psk = 1234567890123456",
            "peer[0].psk: this is no source of a key; give a table such as { file = \"r2.psk\" }, with one of text, hex, file and hex_file",
        ),
        (
            "psk = { text = 1234567890123456 }",
            "peer[0].psk.text: this is a number without quotes; give text in quotes",
        ),
        (
            "psk = { file = \"none.psk\" }",
            "peer[0].psk: none.psk: No such file or directory (os error 2); create the file or correct its path",
        ),
        (
            "",
            "peer[0].psk: the peer has no key: neither one of its own nor one that all share; give the peer psk or public_key, or give shared.psk",
        ),
        (
            weak.as_str(),
            "peer[0].public_key: these octets are no usable Ed25519 public key; copy the peer's ed25519-public: text again",
        ),
        (
            "public_key = { text = \"ed25519-public:00\" }",
            "peer[0].public_key: this is not the text of an Ed25519 public key; give ed25519-public: and 64 hexadecimal digits, as key generation writes it",
        ),
        (
            "public_key = { hex = \"00\" }",
            "peer[0].public_key: hex and hex_file are for pre-shared and manual keys; give text or file, with the ed25519- text as key generation writes it",
        ),
        (
            public.as_str(),
            "peer[0].public_key: this router has no signing key to prove itself with to a peer that signs; give credential.signing_key, or give the peer a pre-shared key",
        ),
        (
            "psk = { text = \"sixteen octets!!\" }\npublic_key = { text = \"\" }",
            "peer[0].public_key: the peer has both a pre-shared and a public key; leave one out: both routers must choose the same",
        ),
    ] {
        let (line, found) = mistake_in(&format!("\n[[peer]]\nidentity = \"r2\"\n{peer}"));
        assert_eq!(found, text);
        let expected = if peer.is_empty() {
            2
        } else {
            3 + peer.lines().count()
        };
        assert_eq!(line, expected, "{text}");
    }
}

#[test]
fn mistakes_with_peers() {
    let psk = "psk = { text = \"sixteen octets!!\" }";
    let (line, text) = mistake_in(&format!("[[peer]]\nidentity = \"r1.example\"\n{psk}"));
    assert_eq!(
        (line, text.as_str()),
        (
            2,
            "peer[0].identity: this is the router's own identity; list only the other routers"
        )
    );
    let (line, text) = mistake_in(&format!(
        "[[peer]]\nidentity = \"r2\"\n{psk}\n[[peer]]\n{psk}\nidentity = \"r2\""
    ));
    assert_eq!(
        (line, text.as_str()),
        (6, "peer[1].identity: r2 is listed twice; list each router once")
    );
}

#[test]
fn mistakes_with_manual_keys() {
    let key = |id: u16, secret: &str| {
        format!(
            "[[manual_key]]\nprotocol = \"OSPFv2\"\nalgorithm = \"HMAC-SHA-256\"\nid = {id}\nsecret = {{ text = \"{secret}\" }}\n"
        )
    };
    let (line, text) = mistake_in(&key(7, ""));
    assert_eq!(
        (line, text.as_str()),
        (
            5,
            "manual_key[0].secret: a secret of 0 octets cannot be a manual key; give the one that the routers use now, of 1 to 64 octets"
        )
    );
    assert!(
        mistake_in(&key(7, &"x".repeat(65)))
            .1
            .starts_with("manual_key[0].secret: a secret of 65 octets")
    );
    let (line, text) = mistake_in(&(key(7, "a") + &key(7, "b")));
    assert_eq!(
        (line, text.as_str()),
        (
            9,
            "manual_key[1].id: id 7 is taken by another manual key of this protocol; leave one of them out"
        )
    );
    let nine: String = (1..=9).map(|id| key(id, "x")).collect();
    assert!(
        mistake_in(&nine)
            .1
            .starts_with("manual_key[8]: more than 8 manual keys; ")
    );
}

/// No error, whatever the mistake, shows a secret.
#[test]
fn secrets_stay_out_of_errors() {
    let secret = "correct-horse-battery-staple";
    let digits = "31415926535897932";
    for line in [
        format!("psk = \"{secret}\""),
        format!("psk = [\"{secret}\"]"),
        format!("psk = {{ text = \"{secret}\", hex = \"{secret}\" }}"),
        format!("psk = {{ hex = \"{secret}\" }}"),
        format!("psk = {{ {secret} = 1 }}"),
        format!("psk = {{ text = [\"{secret}\"] }}"),
        format!("psk = {{ text = \"{secret}\""),
        format!("psk = {{ text = {secret} }}"),
        format!("psk = {digits}"),
        format!("psk = {digits}.5"),
        format!("psk = {digits}{digits}{digits}"),
        format!("psk = {{ text = {digits} }}"),
        format!("psk = {{ text = {digits}.5 }}"),
        format!("public_key = {{ text = \"ed25519-private:{secret}\" }}"),
        format!("public_key = \"ed25519-private:{secret}\""),
    ] {
        let error = mistake(&format!("{LEAST}[[peer]]\nidentity = \"r2\"\n{line}\n"));
        for shown in [error.to_string(), format!("{error:?}")] {
            assert!(
                !shown.contains("horse") && !shown.contains("31415"),
                "{line}: {shown}"
            );
        }
    }
}

#[test]
fn files_that_others_can_read_are_refused() {
    for file in ["r1.key", "group.psk", "r1-r2.psk", "ospf-manual.key"] {
        let example = Example::new();
        let path = example.path(file);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = example.load().unwrap_err();
        let expected = format!(
            "{} has mode 0640, so others than its owner can get at the secret",
            path.display()
        );
        assert_eq!(error.problem, expected);
        assert_eq!(error.remedy, format!("run: chmod 600 {}", path.display()));
        let line = error.line.unwrap();
        assert!(EXAMPLE.lines().nth(line - 1).unwrap().contains(file), "{error}");
    }
}

/// A configuration that others can read is no fault until a secret stands in it.
#[test]
fn the_file_itself_is_a_secret_once_one_stands_in_it() {
    let example = Example::new();
    let path = example.path("karp.toml");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    example.load().unwrap();
    let inline = EXAMPLE.replace("{ file = \"r1-r2.psk\" }", "{ text = \"sixteen octets!!\" }");
    fs::write(&path, inline).unwrap();
    let error = example.load().unwrap_err();
    assert_eq!(error.field, "peer[0].psk");
    assert_eq!(error.remedy, format!("run: chmod 600 {}", path.display()));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    example.load().unwrap();
}
