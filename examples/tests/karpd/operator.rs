//! What operators and their programs do with a running karpd.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::{
        fs::MetadataExt as _,
        net::{UnixDatagram, UnixStream},
        process::CommandExt as _,
    },
};

use nix::{sys::signal::Signal, unistd::geteuid};
use serde_json::{Value, json};

use super::lab::{LONG, Lab, karpd, mode, run, stderr, stdout, write};

pub(crate) fn a_reload_says_what_it_could_not_do() {
    let lab = Lab::new();
    let mut router = lab.router("r1", 100);
    router.until("it serves", |router| router.group()["role"] == "gcks");
    let text = std::fs::read_to_string(&router.file).unwrap();

    // Reloaded at once: the priority, and who may join.
    let changed = text
        .replace("priority = 100", "priority = 7")
        .replace("dtd = \"1s\"", "dtd = \"2s\"")
        .replace("[daemon]", "[daemon]\nlog = \"debug\"\nlog_format = \"json\"")
        + "[[peer]]\nidentity = \"r9\"\npsk = { text = \"another key of sixteen octets\" }\n";
    write(&router.file, &changed);
    let said = router.client(&["reload"]);
    assert!(said.status.success(), "{said:?}");
    let said = stdout(&said);
    assert!(said.contains("needs a restart: daemon.log_format"), "{said}");
    assert!(said.contains("needs a restart: pair: timers.dtd"), "{said}");
    assert!(!said.contains("priority") && !said.contains("peer"), "{said}");
    assert_eq!(router.group()["priority"], 7);

    // An operator's word stands above the file's until it is taken back.
    assert!(stdout(&router.client(&["priority", "9"])).contains("priority 9 (operator)"));
    write(&router.file, &text);
    router.signal(Signal::SIGHUP);
    router.until("it is reloaded", |router| {
        router.log().matches("reloaded").count() >= 2
    });
    assert_eq!(router.group()["priority"], 9);
    assert!(stdout(&router.client(&["priority", "auto"])).contains("priority 100 (configured)"));

    // What is wrong changes nothing.
    write(
        &router.file,
        &text.replace("hello = \"100ms\"", "hello = \"1ms\""),
    );
    let said = router.client(&["reload"]);
    assert_eq!(said.status.code(), Some(1));
    assert!(stderr(&said).contains("timers.hello"), "{}", stderr(&said));
    assert_eq!(router.group()["role"], "gcks");
    router.terminate();
}

pub(crate) fn several_groups_in_one_process() {
    let lab = Lab::new();
    let other = Lab::new();
    let name = |group: &str, text: &str| text.replace("name = \"pair\"", &format!("name = \"{group}\""));
    write(&lab.path("a.toml"), &name("a", &lab.group("r1", 100)));
    write(&lab.path("b.toml"), &name("b", &other.group("r1", 100)));
    let main = |groups: &str| {
        lab.daemon("r1")
            .replace("[daemon]\n", &format!("[daemon]\ngroups = [{groups}]\n"))
    };
    write(&lab.path("r1.toml"), &main("\"a.toml\", \"b.toml\""));
    let mut router = lab.start("r1");
    let states = |router: &super::lab::Router| -> Vec<(String, String)> {
        let status = router.ask(&json!({ "command": "status" }));
        let groups = status["groups"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
        groups
            .map(|group| (text(&group["group"]), text(&group["role"])))
            .collect()
    };
    let serves = |group: &str| (group.to_owned(), "gcks".to_owned());
    router.until("both serve", |router| {
        states(router) == [serves("a"), serves("b")]
    });

    let one = stdout(&router.client(&["status", "--group", "b"]));
    assert!(one.contains("group b") && !one.contains("group a"), "{one}");
    let wrong = stderr(&router.client(&["rekey", "--group", "c"]));
    assert!(
        wrong.contains("there is no group \"c\"; give one of: a, b"),
        "{wrong}"
    );
    let asked = stdout(&router.client(&["rekey"]));
    assert!(
        asked.contains("a: asked") && asked.contains("b: asked"),
        "{asked}"
    );
    let refused = router.client(&["handoff", "--group", "a"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        stderr(&refused).contains("no other live router may serve"),
        "{}",
        stderr(&refused)
    );

    write(&lab.path("r1.toml"), &main("\"a.toml\""));
    assert!(stdout(&router.client(&["reload"])).contains("group left: b"));
    assert_eq!(states(&router), [serves("a")]);
    write(&lab.path("r1.toml"), &main("\"a.toml\", \"b.toml\""));
    assert!(stdout(&router.client(&["reload"])).contains("new group: b"));
    router.until("both serve", |router| {
        states(router) == [serves("a"), serves("b")]
    });
    router.terminate();
}

pub(crate) fn the_control_socket_has_one_owner() {
    let lab = Lab::new();
    let mut router = lab.router("r1", 100);
    assert_eq!(mode(&router.control), 0o600);
    let second = karpd().arg("--config").arg(&router.file).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let text = stderr(&second);
    assert!(
        text.contains("another karpd (process") && text.contains("daemon.control"),
        "{text}"
    );
    assert_eq!(
        router.group()["state"],
        "running",
        "and the first is not disturbed"
    );

    // A dead karpd's socket is in nobody's way.
    router.signal(Signal::SIGKILL);
    router.end();
    assert!(router.control.exists());
    router.start();
    assert_eq!(router.group()["state"], "running");
    router.terminate();
    assert!(!router.control.exists());
}

pub(crate) fn clients_say_what_is_wrong() {
    let lab = Lab::new();
    let nobody = lab.path("none.sock");
    let nobody = nobody.to_str().unwrap();
    for command in ["status", "watch", "rekey", "metrics"] {
        let output = run(&[command, "--control", nobody]);
        assert_eq!(output.status.code(), Some(3), "{command}");
        assert!(
            stderr(&output).contains("no karpd answers at"),
            "{}",
            stderr(&output)
        );
    }
    assert_eq!(run(&["priority", "many"]).status.code(), Some(2));
    assert_eq!(run(&["--version"]).status.code(), Some(0));

    let mut router = lab.router("r1", 100);
    // Another user, which only root can become; for others, a socket that is closed to themselves.
    let mut client = karpd();
    client.args(["status", "--control"]).arg(&router.control);
    let permissions = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    };
    if geteuid().is_root() {
        permissions(lab.directory.path(), 0o711);
        // The program itself may stand where that user cannot go.
        let program = lab.path("program");
        std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        permissions(&program, 0o755);
        client = std::process::Command::new(&program);
        client
            .args([super::KARPD, "status", "--control"])
            .arg(&router.control);
        client.uid(65_534).gid(65_534).current_dir("/");
    } else {
        permissions(&router.control, 0o000);
    }
    let output = client.output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    assert!(
        stderr(&output).contains("is not for this user"),
        "{}",
        stderr(&output)
    );
    permissions(&router.control, 0o600);

    let mut stream = UnixStream::connect(&router.control).unwrap();
    stream
        .write_all(b"{\"command\":\"statu\"}\n{\"command\":\"evict\"}\nnonsense\n")
        .unwrap();
    let answers: Vec<Value> = BufReader::new(stream)
        .lines()
        .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
        .collect();
    assert_eq!(answers.len(), 3, "and then it hangs up");
    for answer in &answers {
        assert_eq!(answer["ok"], false, "{answer}");
        assert!(!answer["remedy"].as_str().unwrap().is_empty());
    }
    assert!(answers[0]["error"].as_str().unwrap().contains("statu"));
    // Far too long a line is no line.
    let mut stream = UnixStream::connect(&router.control).unwrap();
    let _ = stream.write_all(&vec![b'x'; 100_000]);
    assert_eq!(router.ask(&json!({ "command": "status" }))["ok"], true);

    let evict = router.client(&["evict", "r2"]);
    assert_eq!(evict.status.code(), Some(1));
    assert!(
        stderr(&evict).contains("; "),
        "problem and remedy: {}",
        stderr(&evict)
    );
    let migrate = router.client(&["migrate"]);
    assert!(stderr(&migrate).contains("no manual key"), "{}", stderr(&migrate));
    router.terminate();
}

pub(crate) fn metrics_are_openmetrics() {
    let lab = Lab::new();
    let text = lab.daemon("r1") + "metrics_file = \"karp.prom\"\n" + &lab.group("r1", 100);
    write(&lab.path("r1.toml"), &text);
    let mut router = lab.start("r1");
    router.until("it serves and its sink has a key", |router| {
        router.group()["role"] == "gcks" && !router.filled().is_empty()
    });
    let text = stdout(&router.client(&["metrics"]));
    check_openmetrics(&text);
    for line in [
        "karp_role{group=\"pair\",role=\"gcks\"} 1",
        "karp_role{group=\"pair\",role=\"member\"} 0",
        "karp_running{group=\"pair\"} 1",
        "karp_priority{group=\"pair\"} 100",
    ] {
        assert!(text.lines().any(|one| one == line), "{line} in\n{text}");
    }
    let file = lab.path("karp.prom");
    router.until("the file says so too", |_| {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        text.contains("karp_role{group=\"pair\",role=\"gcks\"} 1")
    });
    check_openmetrics(&std::fs::read_to_string(&file).unwrap());
    router.terminate();
}

/// Each family is declared once and ahead of its samples, which stand together; counters end in `_total`; the text ends
/// with `# EOF`.
fn check_openmetrics(text: &str) {
    let mut lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.pop(), Some("# EOF"));
    assert!(text.ends_with("# EOF\n"));
    let mut families: Vec<(&str, &str)> = Vec::new();
    for line in lines {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(families.iter().all(|(other, _)| *other != name), "twice: {name}");
            assert!(["counter", "gauge"].contains(&kind), "{line}");
            families.push((name, kind));
            continue;
        }
        let (family, kind) = families.last().copied().unwrap();
        if let Some(rest) = line.strip_prefix("# HELP ") {
            assert_eq!(rest.split_once(' ').unwrap().0, family);
            continue;
        }
        let end = line.find(['{', ' ']).unwrap();
        let suffix = if kind == "counter" { "_total" } else { "" };
        assert_eq!(&line[..end], format!("{family}{suffix}"), "{line}");
        let value = line.rsplit_once(' ').unwrap().1;
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
    assert!(families.len() > 20);
}

pub(crate) fn systemd_is_told() {
    let lab = Lab::new();
    let path = lab.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(LONG)).unwrap();
    let told = || {
        let mut octets = [0; 4096];
        let len = socket.recv(&mut octets).unwrap();
        String::from_utf8(octets[..len].to_vec()).unwrap()
    };
    let heard = |wanted: &str| while !told().lines().any(|line| line.starts_with(wanted)) {};
    let text = lab.daemon("r1") + "log_format = \"json\"\n" + &lab.group("r1", 100);
    write(&lab.path("r1.toml"), &text);
    let mut router = lab.prepare("r1");
    router.environment = vec![
        ("NOTIFY_SOCKET".to_owned(), path.to_str().unwrap().to_owned()),
        ("WATCHDOG_USEC".to_owned(), "900000".to_owned()),
    ];
    router.start();
    heard("READY=1");
    assert!(
        !router.filled().is_empty()
            || router.told("sink_applied")
            || router.group()["sinks"][0]["state"] == "ok"
    );
    for _ in 0..3 {
        heard("WATCHDOG=1");
    }
    heard("STATUS=pair: gcks");
    router.signal(Signal::SIGHUP);
    heard("RELOADING=1");
    heard("READY=1");
    router.terminate();
    heard("STOPPING=1");
    for line in router.log().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(
            line["level"].is_string() && line["timestamp"].is_string(),
            "{line}"
        );
    }
}

pub(crate) fn sinks_are_exchanged_at_a_reload() {
    let lab = Lab::new();
    let mut router = lab.router("r1", 100);
    router.until(
        "its sink has a key",
        |router| matches!(router.filled().as_slice(), [(_, state, _)] if state == "active"),
    );
    let filled = router.filled();
    let text = std::fs::read_to_string(&router.file).unwrap();
    write(&router.file, &text.replace("r1.sink", "other.sink"));
    let said = stdout(&router.client(&["reload"]));
    assert!(!said.contains("restart"), "{said}");
    let other = lab.prepare("other");
    router.until("the other sink has it", |_| other.filled() == filled);
    // From sinks to none, or back, is another way to run.
    let end = text.find("[[sink]]").unwrap();
    write(&router.file, &text[..end]);
    let said = stdout(&router.client(&["reload"]));
    assert!(said.contains("needs a restart: pair: sink"), "{said}");
    router.terminate();
}

/// Only root can become somebody else, so there is something to see only for root.
pub(crate) fn privileges_are_given_up() {
    if !geteuid().is_root() {
        return;
    }
    let lab = Lab::new();
    std::fs::set_permissions(
        lab.directory.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o711),
    )
    .unwrap();
    let status = |router: &super::lab::Router, field: &str| -> String {
        let text = std::fs::read_to_string(format!("/proc/{}/status", router.pid())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(field));
        line.unwrap().split_whitespace().last().unwrap().to_owned()
    };
    let group = lab.group("r1", 100);
    let without_sink = &group[..group.find("[[sink]]").unwrap()];
    let daemon = "[daemon]\ncontrol = \"run/r1.sock\"\nstate = \"run\"\nuser = \"nobody\"\n";
    write(&lab.path("r1.toml"), &(daemon.to_owned() + without_sink));
    let mut router = lab.prepare("r1");
    router.control = lab.path("run/r1.sock");
    router.start();
    assert_ne!(status(&router, "Uid:"), "0");
    // CAP_NET_BIND_SERVICE is the tenth.
    for field in ["CapEff:", "CapPrm:"] {
        assert_eq!(
            u64::from_str_radix(&status(&router, field), 16).unwrap(),
            1 << 10,
            "{field}"
        );
    }
    assert_eq!(u64::from_str_radix(&status(&router, "CapInh:"), 16).unwrap(), 0);
    router.until("it serves and keeps its keys", |router| {
        router.group()["role"] == "gcks" && lab.path("run/pair.keys").exists()
    });
    assert_eq!(router.group()["kept_error"], Value::Null);
    router.terminate();

    // As root with a sink, it may still reach a routing daemon that runs as somebody else, and that is all.
    let mut router = lab.router("r2", 100);
    assert_eq!(status(&router, "Uid:"), "0");
    let left = u64::from_str_radix(&status(&router, "CapEff:"), 16).unwrap();
    assert_eq!(
        left,
        1 << 10 | 1 << 1,
        "CAP_NET_BIND_SERVICE and CAP_DAC_OVERRIDE"
    );
    router.terminate();

    // A file that is given to its daemon is replaced all the same, also by a karpd that did not write it.
    let daemon = daemon.replace("r1.sock", "r3.sock");
    let sink = format!(
        "[[sink]]\nkind = \"bird\"\nsocket = \"none.ctl\"\nowner = \"1:1\"\nfiles = {{ OSPFv2 = \"{}\" }}\n",
        lab.path("run/ospf.conf").display()
    );
    let group = without_sink.replace("\"pair\"", "\"other\"");
    write(&lab.path("r3.toml"), &(daemon + &group + &sink));
    let mut router = lab.prepare("r3");
    router.control = lab.path("run/r3.sock");
    for _ in 0..2 {
        router.start();
        router.until("it has a key", |router| router.sending().is_some());
        let id = router.sending().unwrap().0;
        let file = lab.path("run/ospf.conf");
        router.until("the file has it", |_| {
            let text = std::fs::read_to_string(&file).unwrap();
            text.contains(&format!("id {id};"))
        });
        let metadata = std::fs::metadata(&file).unwrap();
        assert_eq!((metadata.uid(), metadata.gid(), mode(&file)), (1, 1, 0o600));
        router.until("its daemon is known to be down", |router| {
            router.group()["sinks"][0]["state"] == "down"
        });
        router.terminate();
    }
}
