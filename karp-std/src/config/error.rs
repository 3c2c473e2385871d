//! What is wrong with a configuration file, where, and what to do.

use std::{fmt, path::PathBuf};

/// An error in a configuration file. Its text is one line: `FILE:LINE: FIELD: PROBLEM; REMEDY`. It never shows a
/// secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigFileError {
    /// The file.
    pub file: PathBuf,
    /// The line, counted from 1; `None` if the file could not be read at all.
    pub line: Option<usize>,
    /// The field by its path, such as `timers.hello` or `peer[0].psk` (the first peer); empty if the file could not be
    /// read at all.
    pub field: String,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for ConfigFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        if !self.field.is_empty() {
            write!(f, " {}:", self.field)?;
        }
        // A problem of this very file names it as well.
        let named = format!("{}: ", self.file.display());
        let problem = self.problem.strip_prefix(&named).unwrap_or(&self.problem);
        write!(f, " {problem}; {}", self.remedy)
    }
}

impl std::error::Error for ConfigFileError {}
