//! The threat table names tests that exist, and every test of the attacker's laboratory stands in it.
#![allow(
    clippy::unwrap_used,
    clippy::string_slice,
    reason = "a test may panic, and what is sliced is ASCII"
)]

use std::{collections::BTreeSet, fs, path::Path};

/// The tests of a crate under `tests/`, as `crate::module::name`.
fn tests_of(name: &str) -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name);
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let module = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        let mut lines = text.lines();
        while lines.find(|line| line.trim() == "#[test]").is_some() {
            let line = lines.find(|line| line.starts_with("fn ")).unwrap();
            let end = line.find('(').unwrap();
            found.insert(format!("{name}::{module}::{}", &line[3..end]));
        }
    }
    found
}

/// What the table names: `attack::module::name` or `lan::module::name`, in backticks.
fn named() -> BTreeSet<String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("THREATS.md")).unwrap();
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter(|quoted| quoted.starts_with("attack::") || quoted.starts_with("lan::"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_test_that_is_named_exists() {
    let all: BTreeSet<String> = tests_of("attack").union(&tests_of("lan")).cloned().collect();
    let missing: Vec<_> = named().difference(&all).cloned().collect();
    assert!(
        missing.is_empty(),
        "THREATS.md names tests that are not there: {missing:?}"
    );
}

#[test]
fn every_attack_is_in_the_table() {
    let attacks = tests_of("attack");
    assert!(attacks.len() > 60, "{} attacks were found", attacks.len());
    let missing: Vec<_> = attacks.difference(&named()).cloned().collect();
    assert!(missing.is_empty(), "THREATS.md leaves out: {missing:?}");
}
