//! The tables that a host program keeps in the same file.

use std::path::Path;

use serde::de::DeserializeOwned;

use super::{ConfigFileError, read, source::Source, text};

/// The top-level tables of a configuration file that belong to the host program
/// ([`Loader::beside`](super::Loader::beside)), read as a `T`, and the means to say what is wrong with them.
pub struct HostTables<T> {
    /// What the tables say.
    pub tables: T,
    source: Source,
}

impl<T: DeserializeOwned> HostTables<T> {
    /// Reads those tables of the file at `path` that have one of these names. The file's mode does not matter.
    ///
    /// ```no_run
    /// use karp_std::config::HostTables;
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Mine {
    ///     watch: Option<Watch>,
    /// }
    /// #[derive(serde::Deserialize)]
    /// #[serde(deny_unknown_fields)]
    /// struct Watch {
    ///     every: u32,
    /// }
    ///
    /// let mine = HostTables::<Mine>::load("karp.toml".as_ref(), &["watch"])?;
    /// if mine.tables.watch.as_ref().is_some_and(|watch| watch.every == 0) {
    ///     return Err(mine.error("watch.every", "0 is no interval", "give at least 1").into());
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The first fault found: a file that cannot be read or is no TOML, or tables that are no `T`.
    pub fn load(path: &Path, names: &[&str]) -> Result<Self, ConfigFileError> {
        let (octets, _) = read(path)?;
        Self::parse(text(&octets, path)?, path, names)
    }

    /// The same of a text, which errors name `path`.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn parse(text: &str, path: &Path, names: &[&str]) -> Result<Self, ConfigFileError> {
        let (source, tables) = Source::parse(text, path, |name| names.contains(&name))?;
        Ok(Self { tables, source })
    }
}

impl<T> HostTables<T> {
    /// An error at the field with this path, such as `sink[0].kind`, or where it would stand.
    pub fn error(
        &self,
        field: &str,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> ConfigFileError {
        self.source.error(field, problem, remedy)
    }

    /// The directory of the file, which relative paths start from.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.source.directory()
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for HostTables<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("HostTables").field(&self.tables).finish()
    }
}
