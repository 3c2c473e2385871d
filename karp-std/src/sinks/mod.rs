//! Keys into routing daemons (PROTOCOL.md section 8): what the key table says becomes what a daemon does.
//!
//! A [`KeySet`] is the key table of one link as owned rows. A [`Sink`] brings one daemon to a key set. Its steps are those of
//! a key's life (install, activate, retire, remove); [`Plan`] puts what differs between two key sets into an order in
//! which no step takes away a key that is still sent with. Each step names the whole set that is to stand after it, so a
//! sink that writes whole files needs none of them and has [`Sink::reconcile`] alone.
//!
//! Activation is an explicit change and never a time of day in the daemon: its clock may step without any adjacency
//! dropping.
//!
//! A sink may block. A [`Worker`](worker::Worker) gives it a thread of its own, tries again what failed, and fills a daemon
//! that has started anew. Its node acknowledges an update only when every sink has succeeded
//! ([`Command::Installed`](karp_core::command::Command::Installed)), so a rollover never goes on before every daemon has the key. A daemon that
//! is not running has nothing to lose and counts as done ([`SinkError::is_not_running`], PROTOCOL.md section 7).
//!
//! No sink leaves a daemon without any key, which for most would mean without authentication. Before the first real key
//! comes a *blocker* stands in for it: a random key under id 0, which no group uses, so that nothing is sent that others
//! accept and nothing is accepted. A host whose sinks have the first say at boot gives each an empty [`KeySet`].

pub mod bird;
mod blocker;
pub(crate) mod file;
pub mod frr;
pub mod hook;
pub mod keychain;
mod keys;
mod plan;
pub mod worker;

use std::fmt;

pub use self::{
    keys::{KeySet, SinkKey},
    plan::{Action, Plan, Step},
};

/// Something that takes a link's keys: a routing daemon, a file, a program.
pub trait Sink: Send {
    /// What it is, for logs and status: its kind and where it is, no secret.
    fn describe(&self) -> String;

    /// Which run of the daemon this is. It changes when the daemon starts anew; the same text means that the daemon has
    /// run, and kept its replay state, in between. `None` where there is no daemon to look at.
    ///
    /// # Errors
    /// [`SinkError::is_not_running`] if there is no daemon now.
    fn epoch(&mut self) -> Result<Option<String>, SinkError>;

    /// Brings it to exactly `wanted`, whatever it has now: at start, after the daemon came back, after a failure. Keys that
    /// karp does not own are left alone. Doing it twice changes nothing.
    ///
    /// # Errors
    /// Why it did not come about. What is in force then is the old set or a part of the way to the new one that drops no
    /// packet.
    fn reconcile(&mut self, wanted: &KeySet) -> Result<(), SinkError>;

    /// Accepts these keys from now on.
    ///
    /// # Errors
    /// As [`reconcile`](Self::reconcile).
    fn install(&mut self, keys: &[&SinkKey], after: &KeySet) -> Result<(), SinkError> {
        let _ = keys;
        self.reconcile(after)
    }

    /// Sends with these keys from now on, one for each protocol, and with no other; those sent with before are still
    /// accepted.
    ///
    /// # Errors
    /// As [`reconcile`](Self::reconcile).
    fn activate(&mut self, keys: &[&SinkKey], after: &KeySet) -> Result<(), SinkError> {
        let _ = keys;
        self.reconcile(after)
    }

    /// These keys are accepted and will not be sent with any more. Follows [`activate`](Self::activate) of their
    /// successors; a sink for which that says it all has nothing to do.
    ///
    /// # Errors
    /// As [`reconcile`](Self::reconcile).
    fn retire(&mut self, keys: &[&SinkKey], after: &KeySet) -> Result<(), SinkError> {
        let _ = keys;
        self.reconcile(after)
    }

    /// Forgets these keys.
    ///
    /// # Errors
    /// As [`reconcile`](Self::reconcile).
    fn remove(&mut self, keys: &[&SinkKey], after: &KeySet) -> Result<(), SinkError> {
        let _ = keys;
        self.reconcile(after)
    }
}

/// Why a sink did not do what it should. No text in it holds a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SinkError {
    kind: Kind,
    problem: String,
    remedy: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    NotRunning,
    Refused,
    Unreachable,
}

impl SinkError {
    /// The daemon is not running.
    #[must_use]
    pub fn not_running(problem: impl Into<String>) -> Self {
        Self {
            kind: Kind::NotRunning,
            problem: problem.into(),
            remedy: "start the daemon, or correct where the sink looks for it; its keys are filled in when it is there".to_owned(),
        }
    }

    /// The daemon, or the system, says no. Trying again without a change elsewhere may not help, and is done all the same.
    #[must_use]
    pub fn refused(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            kind: Kind::Refused,
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }

    /// The daemon runs, as far as one can tell, and could not be talked to.
    #[must_use]
    pub fn unreachable(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            kind: Kind::Unreachable,
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }

    /// There is no daemon, so there is nothing to lose: what was to be installed counts as installed.
    #[must_use]
    pub fn is_not_running(&self) -> bool {
        self.kind == Kind::NotRunning
    }

    /// What is wrong.
    #[must_use]
    pub fn problem(&self) -> &str {
        &self.problem
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &str {
        &self.remedy
    }
}

impl fmt::Display for SinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.problem, self.remedy)
    }
}

impl std::error::Error for SinkError {}
