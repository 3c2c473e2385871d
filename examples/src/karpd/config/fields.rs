//! What a configuration file says, field by field, to tell at a reload what changed. No value is kept, only marks of
//! values by which changes are seen.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::Path,
};

use karp_std::config::ConfigFileError;
use toml::Value;

/// The fields of a file by their paths, each with a mark of its value.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Fields(BTreeMap<String, u64>);

impl Fields {
    /// The fields of the file at `path` whose paths `wanted` takes.
    ///
    /// # Errors
    /// If the file cannot be read as TOML.
    pub fn load(path: &Path, wanted: impl Fn(&str) -> bool) -> Result<Self, ConfigFileError> {
        let unreadable = |problem: String| ConfigFileError {
            file: path.to_owned(),
            line: None,
            field: String::new(),
            problem,
            remedy: "see that nothing else changes it".to_owned(),
        };
        let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
        let text = zeroize::Zeroizing::new(text);
        let tables: toml::Table =
            toml::from_str(&text).map_err(|_| unreadable("it changed while it was read".to_owned()))?;
        let mut fields = BTreeMap::new();
        for (name, value) in &tables {
            note(name, value, &mut fields);
        }
        fields.retain(|field, _| wanted(field));
        Ok(Self(fields))
    }
}

fn note(path: &str, value: &Value, fields: &mut BTreeMap<String, u64>) {
    if let Value::Table(table) = value {
        for (name, value) in table {
            note(&format!("{path}.{name}"), value, fields);
        }
        return;
    }
    let mut hasher = DefaultHasher::new();
    zeroize::Zeroizing::new(format!("{value:?}")).hash(&mut hasher);
    fields.insert(path.to_owned(), hasher.finish());
}

/// Takes effect at a reload.
const RELOADED: [&str; 9] = [
    "node.priority",
    "node.may_serve",
    "credential",
    "shared",
    "peer",
    "sink",
    "follow",
    "daemon.log",
    "daemon.metrics_file",
];

/// The fields that differ and need a restart, in the order of their names.
#[must_use]
pub fn differences(old: &Fields, new: &Fields) -> Vec<String> {
    let names = old.0.keys().chain(new.0.keys());
    let mut changed: Vec<String> = names
        .filter(|name| old.0.get(*name) != new.0.get(*name))
        .filter(|name| *name != "daemon.groups")
        .filter(|name| {
            let reloaded = |known: &&str| name == known || name.starts_with(&format!("{known}."));
            !RELOADED.iter().any(reloaded)
        })
        .cloned()
        .collect();
    changed.sort();
    changed.dedup();
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Fields {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.toml");
        std::fs::write(&path, text).unwrap();
        Fields::load(&path, |_| true).unwrap()
    }

    #[test]
    fn what_needs_a_restart_is_named() {
        let old = fields(
            "[node]\npriority = 1\nport = 848\n[timers]\nhello = \"1s\"\n[[peer]]\nidentity = \"r2\"\n",
        );
        let new = fields(
            "[node]\npriority = 2\nport = 849\n[timers]\ndtd = \"9s\"\n[[peer]]\nidentity = \"r3\"\n[[sink]]\nkind = \"hook\"\n[daemon]\nlog = \"debug\"\nlog_format = \"json\"\n",
        );
        assert_eq!(
            differences(&old, &new),
            ["daemon.log_format", "node.port", "timers.dtd", "timers.hello"]
        );
        assert!(differences(&old, &old).is_empty());
    }
}
