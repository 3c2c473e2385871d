//! What loads, and what it becomes.

use super::*;

#[test]
fn the_example_loads() {
    let configuration = Example::new().load().unwrap();
    let settings = &configuration.settings;
    assert_eq!(settings.group.as_str(), "backbone-lan-7");
    assert_eq!(settings.identity, name("r1.example"));
    assert_eq!(settings.router_id, 0x0a09_ff01);
    assert_eq!(settings.address, "10.9.0.1:848".parse().unwrap());
    assert_eq!(settings.multicast, "224.0.0.254:848".parse().unwrap());
    assert_eq!(configuration.interface.as_deref(), Some("eth0"));
    assert_eq!(settings.protocols.len(), 2);
    assert_eq!(settings.protocols[1].protocol, RoutingProtocol::Isis);
    assert_eq!(settings.protocols[1].algorithm, RoutingAlgorithm::HmacSha256);
    assert_eq!(
        (
            settings.manual_keys[0].id,
            settings.manual_keys[0].secret.as_slice()
        ),
        (7, b"hunter2".as_slice())
    );

    let store = &configuration.credentials;
    assert_eq!(store.method(&name("r2.example")), Some(AuthMethod::SharedKey));
    assert_eq!(
        store.grant(&name("r2.example")),
        Grant {
            expected: true,
            ..Grant::FULL
        }
    );
    assert!(!store.is_shared(&name("r2.example")));
    assert_eq!(store.method(&name("r3.example")), Some(AuthMethod::Signature));
    assert_eq!(store.grant(&name("r3.example")), Grant::MEMBER);
    assert_eq!(store.grant(&name("r4.example")), Grant::FULL);
    assert!(store.is_shared(&name("r4.example")));
    assert_eq!(store.grant(&name("stranger.example")), Grant::NONE);
    assert_eq!(store.expected(), 1);

    Config::new(configuration.settings).unwrap();
}

/// Where the example says "Default", it is the default.
#[test]
fn the_example_shows_the_defaults() {
    let (example, least) = (Example::new().load().unwrap(), parse(LEAST).unwrap());
    let (one, other) = (&example.settings, &least.settings);
    assert_eq!(one.priority, other.priority);
    assert_eq!((one.preempt, one.gtsm), (other.preempt, other.gtsm));
    assert_eq!(one.multicast, other.multicast);
    assert_eq!(
        (one.hello, one.hold_multiplier),
        (other.hello, other.hold_multiplier)
    );
    assert_eq!((one.retransmit, one.tries), (other.retransmit, other.tries));
    assert_eq!((one.min_rekey, one.dtd), (other.min_rekey, other.dtd));
    assert_eq!(
        (one.key_lifetime, one.rekey_sa_lifetime),
        (other.key_lifetime, other.rekey_sa_lifetime)
    );
    assert_eq!((one.key_ids, one.expiry), (other.key_ids, other.expiry));
    assert_eq!(one.controller_signatures, other.controller_signatures);
    assert_eq!(
        (one.reboot_exempt, one.confirm_installs),
        (other.reboot_exempt, other.confirm_installs)
    );
    assert_eq!(one.protocols[0], other.protocols[0]);
    assert_eq!(example.storage, least.storage);
    assert_eq!(other.router_id, 0x0a09_0001);
}

/// The schema names its fields itself when it meets one that it does not know; each must stand in the example.
#[test]
fn every_field_stands_in_the_example() {
    let inside = [
        "",
        "[shared]",
        "[credential]",
        "[[peer]]",
        "[policy]",
        "[timers]",
        "[[manual_key]]",
        "[storage]",
        "[policy]\nprotocols = [{ protocol = \"BGP\", no_such_field = 1 }]",
        "[node]",
        "[group]",
    ];
    let mut fields = 0;
    for table in inside {
        let text = match table {
            "" => format!("no_such_field = 1\n{LEAST}"),
            "[node]" | "[group]" => LEAST.replace(table, &format!("{table}\nno_such_field = 1")),
            _ if table.contains("no_such_field") => format!("{LEAST}{table}\n"),
            _ => format!("{LEAST}{table}\nno_such_field = 1\n"),
        };
        let error = mistake(&text);
        assert!(error.field.ends_with("no_such_field"), "{error}");
        assert_eq!(error.problem, "there is no such field");
        let known: Vec<&str> = error.remedy.split('`').skip(1).step_by(2).collect();
        assert!(!known.is_empty(), "{error}");
        for field in known {
            fields += 1;
            let table = [format!("\n[{field}]"), format!("\n[[{field}]]")];
            let value = [format!("\n{field} = "), format!(" {field} = ")];
            let there = table.iter().chain(&value).any(|form| EXAMPLE.contains(form));
            assert!(there, "{field} of {table:?} is not in the example");
        }
    }
    assert!(fields > 50, "only {fields} fields found");
}

#[test]
fn ipv6_has_its_own_group_address() {
    let configuration = parse(&LEAST.replace("10.9.0.1", "fe80::1")).unwrap();
    assert_eq!(
        configuration.settings.multicast,
        "[ff02::114]:848".parse().unwrap()
    );
    assert_eq!(configuration.settings.router_id, 0);
}

#[test]
fn values_that_are_given_are_taken() {
    let text = format!(
        "{}{}",
        LEAST.replace("\"lan\"", "\"lan\"\ngtsm = false").replace("\"10.9.0.1\"", "\"10.9.0.1\"\nrouter_id = 18446744073\npriority = 0\nmay_serve = false\npreempt = true\nport = 4848"),
        "[timers]\nhello = \"50ms\"\ndtd = \"1s\"\nkey_lifetime = \"10s\"\n[policy]\nexpiry = \"fail-closed\"\nkey_ids = [100, 255]\nreboot_exempt = true\n[storage]\npeers = 1024\n"
    );
    let configuration = parse(&text).unwrap();
    let settings = &configuration.settings;
    assert_eq!(
        (settings.router_id, settings.priority, settings.preempt),
        (18_446_744_073, 0, true)
    );
    assert_eq!((settings.address.port(), settings.gtsm), (4848, false));
    assert_eq!(
        (settings.hello, settings.dtd),
        (Duration::from_millis(50), Duration::from_secs(1))
    );
    assert_eq!(
        (settings.expiry, settings.key_ids, settings.reboot_exempt),
        (Expiry::FailClosed, (100, 255), true)
    );
    assert_eq!(configuration.storage.peers, 1024);
    assert_eq!(
        configuration.credentials.grant(&name("r1.example")),
        Grant::MEMBER
    );
}

#[test]
fn protocols_and_algorithms_are_known_by_name() {
    for (spelled, protocol) in [
        ("ospfv3", RoutingProtocol::Ospfv3),
        ("isis", RoutingProtocol::Isis),
        ("IS-IS", RoutingProtocol::Isis),
    ] {
        let text = format!(
            "{LEAST}[policy]\nprotocols = [{{ protocol = \"{spelled}\", algorithm = \"hmac sha 512\" }}]"
        );
        let configuration = parse(&text).unwrap();
        assert_eq!(configuration.settings.protocols[0].protocol, protocol);
        assert_eq!(
            configuration.settings.protocols[0].algorithm,
            RoutingAlgorithm::HmacSha512
        );
    }
    let policy = |list: &str| mistake_in(&format!("[policy]\nprotocols = [\n{list}\n]"));
    let (line, text) = policy("{ protocol = \"OSPF\", algorithm = \"HMAC-SHA-256\" }");
    assert_eq!(line, 3);
    assert_eq!(
        text,
        "policy.protocols[0].protocol: \"OSPF\" is no routing protocol known here; give one of: OSPFv2, OSPFv3, IS-IS, RIPv2, RIPng, BFD, PIM, LDP, BGP, Babel, MSDP"
    );
    let (line, text) = policy(
        "{ protocol = \"BGP\", algorithm = \"HMAC-SHA-1-96\" },\n{ protocol = \"OSPFv2\", algorithm = \"ROT13\" }",
    );
    assert_eq!(line, 4);
    assert!(
        text.starts_with(
            "policy.protocols[1].algorithm: \"ROT13\" is no algorithm known here; give one of: HMAC-SHA-1, "
        ),
        "{text}"
    );
    let (line, text) = policy("{ protocol = \"OSPFv2\", algorithm = \"keyed-md5\" }");
    assert_eq!(
        (line, text.as_str()),
        (
            3,
            "policy.protocols[0].algorithm: OSPFv2 cannot use keyed MD5; give one that OSPFv2 defines"
        )
    );
    let twice = "{ protocol = \"OSPFv2\", algorithm = \"HMAC-SHA-256\" },".repeat(2);
    assert!(policy(&twice).1.starts_with("policy.protocols: "));
}

#[test]
fn tables_of_the_host_program_are_left_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("karpd.toml");
    fs::write(
        &path,
        format!("{LEAST}[daemon]\nsocket = \"karpd.sock\"\n[sink.bird]\nfile = 1\n"),
    )
    .unwrap();
    Loader::default().beside(&["daemon", "sink"]).load(&path).unwrap();
    let error = Loader::default().beside(&["daemon"]).load(&path).unwrap_err();
    assert_eq!((error.field.as_str(), error.line), ("sink", Some(10)));
}

/// One file for all routers of a link: each is told who it is.
#[test]
fn who_and_where_can_be_said_elsewhere() {
    let peers: String = (1..=3)
        .map(|n| format!("[[peer]]\nidentity = \"r{n}\"\n"))
        .collect();
    let file = "[node]\n[group]\nname = \"lan\"\n[shared]\npsk = { text = \"sixteen octets!!\" }\n";
    let text = format!("{file}{peers}");
    let path = Path::new("karp.toml");
    for n in 1..=3 {
        let loader = Loader::default()
            .identity(&format!("r{n}"))
            .address([10, 9, 0, n].into());
        let configuration = loader.parse(&text, path).unwrap();
        assert_eq!(configuration.settings.identity, name(&format!("r{n}")));
        assert_eq!(
            configuration.settings.address,
            SocketAddr::from(([10, 9, 0, n], 848))
        );
        assert_eq!(configuration.credentials.peers().count(), 2);
    }
    assert_eq!(
        mistake(&text).to_string(),
        "karp.toml:1: node.identity: this field is missing; add it; the example file shows how"
    );
    let error = Loader::default().identity("r1").parse(&text, path).unwrap_err();
    assert_eq!((error.field.as_str(), error.line), ("node.address", Some(1)));
}
