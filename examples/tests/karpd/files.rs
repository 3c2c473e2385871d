//! Configuration files, keys and documentation.

use super::lab::{Lab, mode, run, stderr, stdout, write};

pub(crate) fn faults_are_told_by_line() {
    let lab = Lab::new();
    let sound = lab.daemon("r1") + &lab.group("r1", 100);
    let file = lab.path("r1.toml");
    let check = || run(&["check", "--config", file.to_str().unwrap()]);
    write(&file, &sound);
    let output = check();
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    for part in [
        "sound",
        "group pair",
        "OSPFv2 with HMAC-SHA-256",
        "the program /bin/sh",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    // What is put into the file in place of what, and what is said of it: field, part of the text.
    let faults = [
        ("state =", "stats =", "daemon.stats", "there is no such field"),
        (
            "[daemon]",
            "[daemon]\nlog = \"loud=very\"",
            "daemon.log",
            "is no level",
        ),
        (
            "[daemon]",
            "[daemon]\nlog_format = \"xml\"",
            "daemon.log_format",
            "text",
        ),
        (
            "[daemon]",
            "[daemon]\ngroups = []",
            "daemon.groups",
            "the list is empty",
        ),
        (
            "[daemon]",
            "[daemon]\ngroups = [\"none.toml\"]",
            "daemon.groups[0]",
            "none.toml",
        ),
        (
            "kind = \"hook\"",
            "kind = \"birdy\"",
            "sink[0].kind",
            "give bird, frr, key-chain or hook",
        ),
        ("kind = \"hook\"", "kind = \"bird\"", "sink[0].socket", "missing"),
        (
            "kind = \"hook\"",
            "kind = \"hook\"\nsocket = \"x\"",
            "sink[0].socket",
            "has no such field",
        ),
        ("[\"/bin/sh\",", "[\"sh\",", "sink[0].kind", "absolute path"),
        ("\"30s\"", "\"30\"", "sink[0].timeout", "with its unit"),
        (
            "[timers]",
            "[timers]\nhallo = \"1s\"",
            "timers.hallo",
            "there is no such field",
        ),
        ("address = \"127.0.0.1\"\n", "", "node.address", "missing"),
        (
            "[[sink]]",
            "[[sink]]\nkind = \"frr\"\ndirectory = \"/run/frr\"\nchains = { OSPFv3 = \"k\" }\n[[sink]]",
            "sink[0].kind",
            "the group does not key OSPFv3",
        ),
        (
            "[[sink]]",
            "[[sink]]\nkind = \"bird\"\nsocket = \"s\"\nfiles = { OSPFv9 = \"f\" }\n[[sink]]",
            "sink[0].files",
            "is no routing protocol",
        ),
        (
            "[[sink]]",
            "[[sink]]\nkind = \"bird\"\nsocket = \"s\"\nfiles = { OSPFv2 = \"f\" }\nowner = \"karp-nobody-0\"\n[[sink]]",
            "sink[0].owner",
            "has no user",
        ),
        (
            "[[sink]]",
            "[follow]\nkind = \"frr\"\ndirectory = \"/run/frr\"\nprotocol = \"OSPFv2\"\n[[sink]]",
            "follow.interface",
            "neither this nor node.interface",
        ),
        (
            "[[sink]]",
            "[follow]\nkind = \"bird\"\nsocket = \"s\"\nprotocol = \"OSPFv2\"\ninterface = \"lo\"\n[[sink]]",
            "follow.instance",
            "missing",
        ),
    ];
    for (from, to, field, part) in faults {
        assert!(sound.contains(from), "{from}");
        write(&file, &sound.replacen(from, to, 1));
        let output = check();
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{to}: {text}");
        let fits = |line: &str| {
            let place = line.strip_prefix(&format!("{}:", file.display()));
            let number = place
                .and_then(|place| place.split_once(": "))
                .map(|(number, _)| number.parse::<u32>());
            matches!(number, Some(Ok(_))) && line.contains(&format!(" {field}: ")) && line.contains(part)
        };
        assert!(text.lines().any(fits), "{to}: {field} and {part} in\n{text}");
        assert!(!text.contains("sixteen octets"), "no secret: {text}");
    }

    // Faults of several files in one go.
    write(&lab.path("a.toml"), &lab.group("r1", 100).replace("100ms", "1ms"));
    write(
        &lab.path("b.toml"),
        &lab.group("r1", 100).replace("hook", "hooks"),
    );
    write(
        &file,
        "[daemon]\ngroups = [\"a.toml\", \"b.toml\"]\nlog = \"=\"\n",
    );
    let text = stderr(&check());
    assert_eq!(text.lines().count(), 3, "{text}");
    for part in [
        "r1.toml:3: daemon.log",
        "a.toml:",
        "timers.hello",
        "b.toml:",
        "sink[0].kind",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    write(&lab.path("a.toml"), &lab.group("r1", 100));
    write(&lab.path("b.toml"), &lab.group("r1", 100));
    write(&file, "[daemon]\ngroups = [\"a.toml\", \"b.toml\"]\n");
    let text = stderr(&check());
    assert!(
        text.contains("group.name") && text.contains("has a group of this name as well"),
        "{text}"
    );
    // The daemon says the same.
    let output = run(&["--config", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("group.name"));
}

pub(crate) fn the_example_is_sound() {
    let lab = Lab::new();
    let made = run(&["keygen", "--psk", "--out", lab.path("r1-r2").to_str().unwrap()]);
    assert!(made.status.success(), "{made:?}");
    // Not every machine that runs this has BIRD's user.
    let text = include_str!("../../karpd/karp.toml").replace("owner = \"bird:bird\"", "owner = \"0:0\"");
    let file = lab.path("karp.toml");
    let check = |text: &str| {
        write(&file, text);
        let output = run(&["check", "--config", file.to_str().unwrap()]);
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output)
    };
    let said = check(&text);
    for part in [
        "group backbone-lan-7",
        "eth0 (its IPv4 address)",
        "r2.example joins and serves",
        "BIRD at /run/bird/bird.ctl",
        "priority 200 as DR",
    ] {
        assert!(said.contains(part), "{part} in\n{said}");
    }
    // What it has as a comment is sound as well.
    let comment = |text: &str| {
        text.replace("# metrics_file", "metrics_file")
            .replace("# user", "user")
    };
    let mut all = comment(&text);
    let start = all.find("# [[sink]]").unwrap();
    let end = all[start..].find("# ----").unwrap() + start;
    let sinks: String = all[start..end]
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.starts_with("[[") || rest.contains(" = ") => format!("{rest}\n"),
            _ => String::new(),
        })
        .collect();
    all.replace_range(start..end, &sinks);
    let all = all.replace(
        "protocols = [{ protocol = \"OSPFv2\", algorithm = \"HMAC-SHA-256\" }]",
        "protocols = [{ protocol = \"OSPFv2\", algorithm = \"HMAC-SHA-256\" }, { protocol = \"OSPFv3\", algorithm = \"HMAC-SHA-256\" }]",
    );
    let said = check(&all);
    for part in [
        "FRR in /run/frr",
        "key chains in /run/karp/eth0.json",
        "/usr/local/lib/karp/fill",
    ] {
        assert!(said.contains(part), "{part} in\n{said}");
    }
}

pub(crate) fn keys_are_made() {
    let lab = Lab::new();
    let out = lab.path("r1");
    let out = out.to_str().unwrap();
    let made = run(&["keygen", "--ed25519", "--out", out]);
    assert!(made.status.success(), "{made:?}");
    assert!(stdout(&made).starts_with("ed25519-public:"));
    assert_eq!(mode(&lab.path("r1.key")), 0o600);
    let again = run(&["keygen", "--ed25519", "--out", out]);
    assert_eq!(again.status.code(), Some(1));
    assert!(stderr(&again).contains("--force"));
    // They are what a configuration takes.
    let text = lab.group("r1", 100)
        + "[credential]\nsigning_key = { file = \"r1.key\" }\n[[peer]]\nidentity = \"r2\"\npublic_key = { file = \"r2.pub\" }\n";
    assert!(
        run(&["keygen", "--ed25519", "--out", lab.path("r2").to_str().unwrap()])
            .status
            .success()
    );
    write(&lab.path("r1.toml"), &text);
    let checked = run(&["check", "--config", lab.path("r1.toml").to_str().unwrap()]);
    assert!(checked.status.success(), "{}", stderr(&checked));
}

pub(crate) fn completions_and_manual() {
    for shell in ["bash", "zsh", "fish"] {
        let script = stdout(&run(&["completions", shell]));
        assert!(script.contains("karpd") && script.contains("rekey"), "{shell}");
    }
    let page = stdout(&run(&["man"]));
    for part in [".TH karpd 8", "KARPD STATUS", "EXIT STATUS", "compromise"] {
        assert!(page.contains(part), "{part} in\n{page}");
    }
    let help = stdout(&run(&["--help"]));
    assert!(help.contains("EXIT STATUS") && help.contains("keygen"), "{help}");
}
