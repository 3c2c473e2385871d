//! What can be wrong with sockets, naming the field of the configuration and what to do.

use std::{fmt, io};

/// Why a socket cannot be had, by the field of the configuration that it comes from.
#[derive(Debug)]
pub struct SocketError {
    /// The field: `address`, `port`, `interface`, `multicast` or `multicast_port`.
    pub field: &'static str,
    /// The field's value.
    pub value: String,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
    /// What the system says, where it was the system that refused.
    pub source: Option<io::Error>,
}

impl SocketError {
    pub(super) fn new(
        field: &'static str,
        value: impl fmt::Display,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            field,
            value: value.to_string(),
            problem: problem.into(),
            remedy: remedy.into(),
            source: None,
        }
    }

    pub(super) fn because(mut self, source: io::Error) -> Self {
        self.source = Some(source);
        self
    }

    /// A refusal that no field is to blame for more than another.
    pub(super) fn other(
        field: &'static str,
        value: impl fmt::Display,
        what: &str,
        source: io::Error,
    ) -> Self {
        Self::new(
            field,
            value,
            format!("cannot {what}: {source}"),
            "see that the interface is up and the system lets karp use it",
        )
        .because(source)
    }
}

impl fmt::Display for SocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}: {}; {}",
            self.field, self.value, self.problem, self.remedy
        )
    }
}

impl std::error::Error for SocketError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}
