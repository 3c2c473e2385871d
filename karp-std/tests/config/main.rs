//! The configuration file: the example, and what is said about every kind of mistake.

mod keys;
mod loads;
mod mistakes;

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use karp_core::{
    algorithm::{RoutingAlgorithm, RoutingProtocol},
    config::{Config, Expiry},
    identity::{AuthMethod, Credentials, Grant, Identity},
    time::Duration,
};
use karp_std::{
    config::{ConfigFileError, Configuration, EXAMPLE, Loader},
    credentials::{generate_signing_key, write_secret_file},
    entropy::OsEntropy,
};

/// The least that a configuration needs.
const LEAST: &str = r#"
[node]
identity = "r1.example"
address = "10.9.0.1"

[group]
name = "lan"
"#;

fn name(text: &str) -> Identity {
    Identity::fqdn(text).unwrap()
}

fn parse(text: &str) -> Result<Configuration, ConfigFileError> {
    Configuration::parse(text, Path::new("karp.toml"))
}

/// What is said about `text`, which must have a mistake.
fn mistake(text: &str) -> ConfigFileError {
    let error = match parse(text) {
        Ok(_) => panic!("no mistake found in:\n{text}"),
        Err(error) => error,
    };
    // Whatever the mistake: one line with file, line, field, problem and remedy.
    let line = error.line.unwrap();
    let prefix = format!("karp.toml:{line}: {}: ", error.field);
    let shown = error.to_string();
    assert!(shown.starts_with(&prefix) && !shown.contains('\n'), "{shown}");
    assert!(
        !error.field.is_empty() && !error.problem.is_empty() && !error.remedy.is_empty(),
        "{error:?}"
    );
    assert!(line <= text.lines().count().max(1), "{shown}");
    error
}

/// The mistake in `LEAST` with `more` behind it: its line in `more`, and its text without file and line.
fn mistake_in(more: &str) -> (usize, String) {
    let error = mistake(&format!("{LEAST}{more}"));
    let line = error.line.unwrap() - LEAST.lines().count();
    (
        line,
        format!("{}: {}; {}", error.field, error.problem, error.remedy),
    )
}

/// The example with the key files that it names.
struct Example {
    dir: tempfile::TempDir,
}

impl Example {
    fn new() -> Self {
        let example = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        let (private, _) = generate_signing_key(&mut OsEntropy);
        let (_, public) = generate_signing_key(&mut OsEntropy);
        write_secret_file(&example.path("r1.key"), private.as_bytes()).unwrap();
        fs::write(example.path("r3.pub"), public + "\n").unwrap();
        write_secret_file(&example.path("group.psk"), &[b'7'; 64]).unwrap();
        write_secret_file(&example.path("r1-r2.psk"), b"one key for r1 and r2 alone\n").unwrap();
        write_secret_file(&example.path("ospf-manual.key"), b"hunter2\n").unwrap();
        fs::write(example.path("karp.toml"), EXAMPLE).unwrap();
        example
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn load(&self) -> Result<Configuration, ConfigFileError> {
        Configuration::load(&self.path("karp.toml"))
    }
}
