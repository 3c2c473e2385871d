//! Mistakes in everything but keys.

use super::*;

/// A file that was cut off anywhere, at whatever octet: never a panic, and always an error that says where, unless what
/// is left is a whole configuration.
#[test]
fn a_truncated_configuration_says_where() {
    let example = Example::new();
    let file = example.path("karp.toml");
    let mut whole = 0;
    for end in (0..EXAMPLE.len()).filter(|end| EXAMPLE.is_char_boundary(*end)) {
        match Configuration::parse(&EXAMPLE[..end], &file) {
            Ok(_) => whole += 1,
            Err(error) => {
                assert!(
                    error
                        .line
                        .is_some_and(|line| line <= EXAMPLE[..end].lines().count().max(1)),
                    "{error}"
                );
                assert!(
                    !error.field.is_empty() && !error.remedy.is_empty(),
                    "at {end}: {error:?}"
                );
            }
        }
    }
    assert!(whole > 0);
    let cut = |at: &str| mistake(&EXAMPLE[..EXAMPLE.find(at).unwrap() + at.len()]).to_string();
    let line = EXAMPLE
        .lines()
        .position(|line| line.starts_with("address = "))
        .unwrap()
        + 1;
    assert_eq!(
        cut("address = \"10.9"),
        format!(
            "karp.toml:{line}: node.address: this is not TOML: invalid basic string; expected here: `\"`"
        )
    );
    assert!(
        cut("protocols = [\n").contains("policy.protocols: this is not TOML: "),
        "{}",
        cut("protocols = [\n")
    );
    assert_eq!(
        mistake("").to_string(),
        "karp.toml:1: node: this field is missing; add it; the example file shows how"
    );
    let no_group = LEAST.replace("[group]\nname = \"lan\"\n", "");
    assert_eq!(mistake(&no_group).field, "group");
}

#[test]
fn wrong_types_say_what_belongs_there() {
    for (more, line, text) in [
        (
            "[timers]\nhello = 1000",
            2,
            "timers.hello: invalid type: integer `1000`; give a whole number with its unit (ms, s, min, h or d) in quotes, such as \"500ms\"",
        ),
        (
            "[timers]\ndtd = \"30\"",
            2,
            "timers.dtd: invalid value: string \"30\"; give a whole number with its unit (ms, s, min, h or d) in quotes, such as \"500ms\"",
        ),
        (
            "[timers]\ntries = \"5\"",
            2,
            "timers.tries: invalid type: string \"5\"; give a whole number from 0 to 255",
        ),
        (
            "[timers]\n\nhold_multiplier = 256",
            3,
            "timers.hold_multiplier: invalid value: integer `256`; give a whole number from 0 to 255",
        ),
        (
            "[policy]\ncontroller_signatures = 1",
            2,
            "policy.controller_signatures: invalid type: integer `1`; give true or false",
        ),
        (
            "[policy]\nkey_ids = 7",
            2,
            "policy.key_ids: invalid type: integer `7`; give a list in square brackets",
        ),
        (
            "[policy]\nkey_ids = [1, -7]",
            2,
            "policy.key_ids[1]: invalid value: integer `-7`; give a whole number from 0 to 65535",
        ),
        (
            "[policy]\nexpiry = \"never\"",
            2,
            "policy.expiry: unknown variant `never`; give `keep-last` or `fail-closed`",
        ),
        (
            "[storage]\npeers = \"many\"",
            2,
            "storage.peers: invalid type: string \"many\"; give a whole number",
        ),
        (
            "peer = 7",
            1,
            "group.peer: there is no such field; correct its name or remove it; known here: `name`, `multicast`, `multicast_port`, `gtsm`",
        ),
        (
            "[[peer]]\nidentity = 7",
            2,
            "peer[0].identity: invalid type: integer `7`; give text in quotes",
        ),
        (
            "[[peer]]\nmay_join = true\n[[peer]]",
            1,
            "peer[0].identity: this field is missing; add it; the example file shows how",
        ),
        (
            "[timers]\nhello = \"1s\"\nhello = \"2s\"",
            3,
            "timers.hello: this is not TOML: duplicate key; complete or correct it; the example file shows every field",
        ),
    ] {
        assert_eq!(mistake_in(more), (line, text.to_owned()), "{more}");
    }
}

#[test]
fn values_out_of_range_say_the_range() {
    for (more, line, text) in [
        (
            "[timers]\nhello = \"10ms\"",
            2,
            "timers.hello: 10ms is out of range; give 50ms to 10s",
        ),
        (
            "[timers]\nhold_multiplier = 1",
            2,
            "timers.hold_multiplier: 1 is out of range; give a number from 2 to 255",
        ),
        (
            "[timers]\nretransmit = \"1h\"",
            2,
            "timers.retransmit: 1h is out of range; give 50ms to 10s",
        ),
        (
            "[timers]\ntries = 0",
            2,
            "timers.tries: 0 is out of range; give a number from 1 to 10",
        ),
        (
            "[timers]\nmin_rekey = \"2h\"",
            2,
            "timers.min_rekey: 2h is out of range; give 0s to 1h",
        ),
        (
            "[timers]\nkey_lifetime = \"31d\"",
            2,
            "timers.key_lifetime: 31d is out of range; give 10s to 30d",
        ),
        (
            "[timers]\nkey_lifetime = \"20s\"",
            2,
            "timers.key_lifetime: 20s is too short for an overlap of timers.dtd at both ends; give at least 1min, or shorten timers.dtd",
        ),
        (
            "[timers]\nrekey_sa_lifetime = \"9s\"",
            2,
            "timers.rekey_sa_lifetime: 9s is out of range; give 10s to 365d",
        ),
        (
            "[timers]\ndtd = \"0s\"",
            2,
            "timers.dtd: 0s is out of range; give 1s to 65535s",
        ),
        (
            "[policy]\nkey_ids = [0, 255]",
            2,
            "policy.key_ids: this is no range that keys can be numbered from; give the first and the last, such as [1, 255]: at least 8 ids, from 1 up, and none over 255 if a protocol has only 8 bits for it",
        ),
        (
            "[storage]\npeers = 0",
            2,
            "storage.peers: 0 is out of range; give a number from 1 to 65535",
        ),
        (
            "[storage]\nkeys = 4",
            2,
            "storage.keys: 4 is out of range; give a number from 10 to 255",
        ),
        (
            "[storage]\nstrangers = 70000",
            2,
            "storage.strangers: 70000 is out of range; give a number from 2 to 65535",
        ),
        (
            "[policy]\nprotocols = []",
            2,
            "policy.protocols: the list is empty, or too long, or has a protocol twice; list 1 to 8 routing protocols, each once",
        ),
    ] {
        assert_eq!(mistake_in(more), (line, text.to_owned()), "{more}");
    }
    for ids in ["[1, 256]", "[9, 1]", "[1, 7]", "[1]", "[1, 2, 3]", "[]"] {
        assert!(
            mistake_in(&format!("[policy]\nkey_ids = {ids}"))
                .1
                .starts_with("policy.key_ids: "),
            "{ids}"
        );
    }
}

#[test]
fn addresses_and_names_are_checked() {
    for (from, to, field, problem) in [
        (
            "\"10.9.0.1\"",
            "\"10.9.0.1/24\"",
            "node.address",
            "invalid value: string \"10.9.0.1/24\"",
        ),
        (
            "\"10.9.0.1\"",
            "\"224.0.0.1\"",
            "node.address",
            "this is not a unicast address",
        ),
        (
            "\"10.9.0.1\"",
            "\"0.0.0.0\"",
            "node.address",
            "this is not a unicast address",
        ),
        (
            "\"10.9.0.1\"",
            "\"10.9.0.1\"\nport = 0",
            "node.port",
            "0 is no port",
        ),
        (
            "\"10.9.0.1\"",
            "\"10.9.0.1\"\nrouter_id = \"10.9\"",
            "node.router_id",
            "invalid value: string \"10.9\"",
        ),
        (
            "\"10.9.0.1\"",
            "\"10.9.0.1\"\nrouter_id = -1",
            "node.router_id",
            "invalid value: integer `-1`",
        ),
        (
            "\"10.9.0.1\"",
            "\"10.9.0.1\"\nmay_serve = false",
            "node.may_serve",
            "a router that may not serve must not stand for election",
        ),
        (
            "\"lan\"",
            "\"lan\"\nmulticast = \"10.0.0.1\"",
            "group.multicast",
            "this is not a multicast address of node.address's family",
        ),
        (
            "\"lan\"",
            "\"lan\"\nmulticast = \"ff02::114\"",
            "group.multicast",
            "this is not a multicast address of node.address's family",
        ),
        (
            "\"lan\"",
            "\"lan\"\nmulticast_port = 0",
            "group.multicast_port",
            "0 is no port",
        ),
        ("\"lan\"", "\"\"", "group.name", "a name of 0 octets"),
        (
            "\"r1.example\"",
            "\"r1 example\"",
            "node.identity",
            "\"r1 example\" cannot be an identity",
        ),
        (
            "\"r1.example\"",
            "\"\"",
            "node.identity",
            "\"\" cannot be an identity",
        ),
    ] {
        let error = mistake(&LEAST.replace(from, to));
        assert_eq!((error.field.as_str(), error.problem.as_str()), (field, problem));
    }
    let long = mistake(&LEAST.replace("lan", &"x".repeat(65)));
    assert_eq!(
        long.to_string(),
        "karp.toml:7: group.name: a name of 65 octets; give 1 to 64 octets, the same on every router of the link"
    );
    assert_eq!(
        mistake(&LEAST.replace("r1.example", &"x".repeat(65))).field,
        "node.identity"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("karp.toml");
    let text = Configuration::load(&path).unwrap_err().to_string();
    assert!(
        text.starts_with(&format!("{}:", path.display()))
            && text.ends_with("; create the file or correct its path"),
        "{text}"
    );
    fs::write(&path, b"[node]\nidentity = \"r\xff1\"\n").unwrap();
    let error = Configuration::load(&path).unwrap_err();
    assert_eq!(
        (error.line, error.problem.as_str()),
        (Some(2), "this is not text in UTF-8")
    );
}

/// Found by the fuzz target `config`: a quote that is not closed made a name of all that follows, and the error showed it.
#[test]
fn an_open_quote_shows_nothing_of_what_follows() {
    for name in [
        "[[\"\"\"peer]]",
        "[\"peer",
        "\"\"\"peer = 1",
        "[[\"peer\\n\\u0007\"]]",
    ] {
        let text = format!("{LEAST}{name}\npsk = {{ text = \"a secret that nobody may read\" }}\n");
        let error = parse(&text).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("nobody") && !shown.contains("secret"), "{shown}");
        assert!(!error.to_string().contains(char::is_control), "{error:?}");
        assert!(!error.field.is_empty(), "{error:?}");
    }
}
