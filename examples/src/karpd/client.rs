//! The commands that talk to a running karpd.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    process::ExitCode,
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    cli::{Action, Priority, Reach},
    table,
};

/// No karpd answers.
const NOT_RUNNING: u8 = 3;
/// The socket is not for this user.
const NO_PERMISSION: u8 = 4;
/// How long karpd may take to answer: it may be leaving a group.
const WITHIN: Duration = Duration::from_secs(40);

/// Why there is no answer.
struct Failure {
    text: String,
    code: u8,
}

/// Carries out one of the commands.
#[must_use]
pub fn run(action: &Action) -> ExitCode {
    match perform(action) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("karpd: {}", failure.text);
            ExitCode::from(failure.code)
        }
    }
}

fn perform(action: &Action) -> Result<ExitCode, Failure> {
    let plain = |reach: &Reach, command: &str, done: &str| tell(reach, json!({ "command": command }), done);
    match action {
        Action::Status { reach, json } => {
            let answer = ask(reach, json!({ "command": "status" }))?;
            if *json {
                say(&format!("{answer:#}\n"));
            } else {
                say(&table::status(&answer));
            }
            Ok(ExitCode::SUCCESS)
        }
        Action::Watch { reach, json } => watch(reach, *json),
        Action::Rekey { reach, compromise } => {
            let request = json!({ "command": "rekey", "compromise": compromise });
            tell(reach, request, "asked for new keys")
        }
        Action::Priority { reach, priority } => {
            let priority = match priority {
                Priority::Fixed(priority) => json!(priority),
                Priority::Auto => json!("auto"),
            };
            let answer = ask(reach, json!({ "command": "priority", "priority": priority }))?;
            for group in answer["groups"].as_array().into_iter().flatten() {
                say(&format!(
                    "{}: priority {} ({})\n",
                    group["group"].as_str().unwrap_or(""),
                    group["priority"],
                    group["because"].as_str().unwrap_or("")
                ));
            }
            Ok(ExitCode::SUCCESS)
        }
        Action::Evict { reach, identity } => {
            let request = json!({ "command": "evict", "identity": identity });
            tell(reach, request, &format!("{identity} is put out; all keys change"))
        }
        Action::Migrate { reach } => plain(reach, "migrate", "moves to automatic keys"),
        Action::Handoff { reach } => plain(reach, "handoff", "hands the office over"),
        Action::Leave { reach } => plain(
            reach,
            "leave",
            "left; the routing daemon keeps its last keys; come back with: karpd join",
        ),
        Action::Join { reach } => plain(reach, "join", "takes part"),
        Action::Reload { reach } => {
            let answer = ask(reach, json!({ "command": "reload" }))?;
            let list = |field: &str| -> Vec<String> {
                let list = answer[field].as_array().into_iter().flatten();
                list.filter_map(|one| one.as_str().map(str::to_owned)).collect()
            };
            say("reloaded\n");
            for (field, text) in [
                ("added", "new group"),
                ("removed", "group left"),
                ("needs_restart", "needs a restart"),
            ] {
                for one in list(field) {
                    say(&format!("{text}: {one}\n"));
                }
            }
            Ok(ExitCode::SUCCESS)
        }
        Action::Metrics { reach } => {
            let answer = ask(reach, json!({ "command": "metrics" }))?;
            say(answer["text"].as_str().unwrap_or(""));
            Ok(ExitCode::SUCCESS)
        }
        Action::Check { .. } | Action::Keygen(_) | Action::Completions { .. } | Action::Man => {
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Whoever does not read to the end has seen enough.
fn say(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

fn tell(reach: &Reach, request: Value, done: &str) -> Result<ExitCode, Failure> {
    let answer = ask(reach, request)?;
    for group in answer["groups"].as_array().into_iter().flatten() {
        say(&format!("{}: {done}\n", group["group"].as_str().unwrap_or("")));
    }
    Ok(ExitCode::SUCCESS)
}

/// One request, one answer.
fn ask(reach: &Reach, request: Value) -> Result<Value, Failure> {
    let stream = connect(&reach.control)?;
    let line = send(&stream, reach, request).and_then(|()| {
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).map(|_| line)
    });
    let line = line.map_err(|error| broken(&error))?;
    checked(&line)
}

fn send(mut stream: &UnixStream, reach: &Reach, mut request: Value) -> io::Result<()> {
    if let Some(group) = &reach.group {
        request["group"] = group.clone().into();
    }
    stream.write_all(format!("{request}\n").as_bytes())
}

fn checked(line: &str) -> Result<Value, Failure> {
    let answer: Value = serde_json::from_str(line).map_err(|_| Failure {
        text: "karpd gave no answer; look into its log".to_owned(),
        code: 1,
    })?;
    if answer["ok"] == json!(false) {
        let text = |field: &str| answer[field].as_str().unwrap_or("").to_owned();
        return Err(Failure {
            text: format!("{}; {}", text("error"), text("remedy")),
            code: 1,
        });
    }
    Ok(answer)
}

fn broken(error: &io::Error) -> Failure {
    Failure {
        text: format!("the conversation with karpd broke off: {error}; look into its log"),
        code: 1,
    }
}

fn connect(path: &Path) -> Result<UnixStream, Failure> {
    let stream = UnixStream::connect(path).map_err(|error| {
        let shown = path.display();
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Failure {
                text: format!(
                    "no karpd answers at {shown}; start it, or give its daemon.control with --control"
                ),
                code: NOT_RUNNING,
            },
            io::ErrorKind::PermissionDenied => Failure {
                text: format!("the control socket {shown} is not for this user; run the command as root or as karpd's user"),
                code: NO_PERMISSION,
            },
            _ => Failure {
                text: format!("{shown}: {error}; see that it is karpd's control socket"),
                code: 1,
            },
        }
    })?;
    stream
        .set_read_timeout(Some(WITHIN))
        .map_err(|error| broken(&error))?;
    Ok(stream)
}

fn watch(reach: &Reach, as_json: bool) -> Result<ExitCode, Failure> {
    let stream = connect(&reach.control)?;
    stream.set_read_timeout(None).map_err(|error| broken(&error))?;
    send(&stream, reach, json!({ "command": "watch" })).map_err(|error| broken(&error))?;
    let mut out = io::stdout().lock();
    for line in BufReader::new(&stream).lines() {
        let line = line.map_err(|error| broken(&error))?;
        let event = checked(&line)?;
        let text = if as_json { line } else { table::event(&event) };
        // Whoever read this has seen enough.
        if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
            return Ok(ExitCode::SUCCESS);
        }
    }
    eprintln!("karpd: it has ended");
    Ok(ExitCode::from(NOT_RUNNING))
}
