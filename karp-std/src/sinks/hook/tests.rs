use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use karp_core::{
    algorithm::{
        RoutingAlgorithm::HmacSha256,
        RoutingProtocol::{Ospfv2, Ospfv3},
    },
    keytable::RowState::{Active, Pending},
};
use serde_json::{Value, json};

use super::*;

/// A program of these lines of shell, in a directory of its own.
struct Program {
    directory: tempfile::TempDir,
}

impl Program {
    fn new(lines: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let it = Self { directory };
        fs::write(
            it.path("hook"),
            format!("#!/bin/sh\ncd '{}'\n{lines}\n", it.path("").display()),
        )
        .expect("written");
        fs::set_permissions(it.path("hook"), fs::Permissions::from_mode(0o700)).expect("changed");
        it
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn sink(&self, timeout: Duration) -> HookSink {
        // By way of the shell: a file that another thread of the tests has open while it forks cannot be executed.
        HookSink::new(Settings {
            command: vec![
                "/bin/sh".to_owned(),
                self.path("hook").display().to_string(),
                "an argument; touch x".to_owned(),
            ],
            timeout,
        })
        .expect("a command")
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("the program wrote it")
    }
}

const LONG: Duration = Duration::from_secs(30);

fn set() -> KeySet {
    [
        SinkKey::new(Ospfv2, 7, HmacSha256, Active, b"a\"b\\c"),
        SinkKey::new(Ospfv3, 8, HmacSha256, Pending, &[0, 255]),
    ]
    .into_iter()
    .collect()
}

#[test]
fn the_program_gets_all_of_it_on_its_standard_input() {
    let program =
        Program::new("cat >> input; env > environment; echo \"$#:$1\" > arguments; pwd -P >> arguments");
    let mut sink = program.sink(LONG);
    let keys = set();
    sink.reconcile(&keys).expect("done");
    let first: Vec<&SinkKey> = keys.iter().take(1).collect();
    sink.install(&first, &keys).expect("done");
    sink.activate(&first, &keys).expect("done");
    sink.retire(&first, &keys).expect("done");
    sink.remove(&first, &KeySet::default()).expect("done");
    let lines: Vec<Value> = program
        .text("input")
        .lines()
        .map(|line| serde_json::from_str(line).expect("an object a line"))
        .collect();
    let seven = json!({"protocol": "OSPFv2", "id": 7, "algorithm": "HMAC-SHA-256", "state": "active",
        "manual": false, "key": "YSJiXGM=", "text": "a\"b\\c"});
    let eight = json!({"protocol": "OSPFv3", "id": 8, "algorithm": "HMAC-SHA-256", "state": "pending",
        "manual": false, "key": "AP8="});
    let both = json!([seven, eight]);
    assert_eq!(
        lines[0],
        json!({"operation": "reconcile", "keys": both, "after": both})
    );
    for (line, operation) in lines[1..].iter().zip(["install", "activate", "retire"]) {
        assert_eq!(
            *line,
            json!({"operation": operation, "keys": [seven], "after": both})
        );
    }
    assert_eq!(
        lines[4],
        json!({"operation": "remove", "keys": [seven], "after": []})
    );

    // The shell itself sets PWD and such; nothing came from us.
    let environment = program.text("environment");
    let names: Vec<&str> = environment
        .lines()
        .filter_map(|line| line.split('=').next())
        .collect();
    assert!(
        names
            .iter()
            .all(|name| ["PATH", "PWD", "OLDPWD", "_", "SHLVL"].contains(name)),
        "{names:?}"
    );
    assert!(program.text("arguments").starts_with("1:an argument; touch x\n"));
    assert_eq!(sink.epoch(), Ok(None));
}

#[test]
fn its_status_and_its_first_line_are_told() {
    let program = Program::new("printf 'no\\033[2J room\\nand more\\n' >&2; exit 3");
    let error = program.sink(LONG).reconcile(&set()).expect_err("status 3");
    assert!(error.problem().contains("exit status: 3: no [2J room"), "{error}");
    assert!(!error.problem().contains("more") && !error.is_not_running());
    let program = Program::new("kill -9 $$");
    let error = program.sink(LONG).reconcile(&set()).expect_err("a signal");
    assert!(error.problem().contains("signal: 9"), "{error}");
    // It need not read its input, and may write more than a pipe holds.
    let program = Program::new("exec <&-; head -c 300000 /dev/zero >&2");
    program.sink(LONG).reconcile(&set()).expect("done");
}

#[test]
fn one_that_takes_too_long_is_killed_with_what_it_started() {
    let program = Program::new("sleep 600 & echo $! > child; echo $$ > pid; cat > /dev/null; wait");
    let began = Instant::now();
    // Until it has surely written what is looked at below.
    let error = program
        .sink(Duration::from_secs(1))
        .reconcile(&set())
        .expect_err("too long");
    assert!(error.problem().contains("took longer than 1s"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(60));
    for name in ["child", "pid"] {
        let pid: i32 = program.text(name).trim().parse().expect("a number");
        assert!(is_gone(pid), "{name} {pid} runs on");
    }
}

#[test]
fn what_it_leaves_running_does_not_hold_it_up() {
    let program = Program::new("sleep 600 & echo $! > child; echo left >&2; exit 1");
    let began = Instant::now();
    let error = program.sink(LONG).reconcile(&set()).expect_err("status 1");
    assert!(
        began.elapsed() < LONG && error.problem().contains("left"),
        "{error}"
    );
    let pid: i32 = program.text("child").trim().parse().expect("a number");
    assert!(is_gone(pid));
}

#[test]
fn what_leaves_its_group_does_not_hold_it_up_either() {
    let program = Program::new("setsid sleep 600 & echo $! > child; echo left >&2; exit 1");
    let began = Instant::now();
    // A time so long that there is no end to it.
    let error = program
        .sink(Duration::MAX)
        .reconcile(&set())
        .expect_err("status 1");
    assert!(
        began.elapsed() < LONG && error.problem().contains("left"),
        "{error}"
    );
    let pid: i32 = program.text("child").trim().parse().expect("a number");
    assert!(!is_gone_now(pid), "it is its own master");
    nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it is ours");
}

#[test]
fn more_input_than_a_pipe_holds() {
    let program = Program::new("sleep 0.05; wc -c > octets");
    let keys: KeySet = (0..400)
        .map(|id| SinkKey::new(Ospfv2, id, HmacSha256, Pending, &[b'a'; 100]))
        .collect();
    program.sink(LONG).reconcile(&keys).expect("done");
    let octets: usize = program.text("octets").trim().parse().expect("a number");
    assert_eq!(
        octets,
        input("reconcile", &keys.iter().collect::<Vec<_>>(), &keys).len()
    );
    assert!(octets > PIPE);
}

fn is_gone_now(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.is_empty() || stat.contains(") Z") || stat.contains(") X")
}

/// Killed processes may be there for a moment until somebody takes their status.
fn is_gone(pid: i32) -> bool {
    (0..200).any(|_| {
        thread::sleep(LOOK);
        is_gone_now(pid)
    })
}

#[test]
fn commands_that_are_none() {
    let with = |command: &[&str], timeout| {
        HookSink::new(Settings {
            command: command.iter().map(|part| (*part).to_owned()).collect(),
            timeout,
        })
    };
    assert!(with(&[], LONG).is_err());
    assert!(with(&["fill"], LONG).is_err());
    assert!(with(&["/bin/true", "a\0b"], LONG).is_err());
    assert!(with(&["/bin/true"], Duration::ZERO).is_err());
    let mut sink = with(&["/nonexistent/fill"], LONG).expect("it may come");
    let error = sink.reconcile(&set()).expect_err("not there");
    assert!(error.problem().contains("/nonexistent/fill reconcile"), "{error}");
    assert_eq!(sink.describe(), "the program /nonexistent/fill");
}

#[test]
fn base64_as_in_the_rfc() {
    // RFC 4648 section 10.
    for (octets, expected) in [
        ("", ""),
        ("f", "Zg=="),
        ("fo", "Zm8="),
        ("foo", "Zm9v"),
        ("foob", "Zm9vYg=="),
        ("fooba", "Zm9vYmE="),
        ("foobar", "Zm9vYmFy"),
    ] {
        let mut text = String::new();
        base64(&mut text, octets.as_bytes());
        assert_eq!(text, expected);
    }
}
