//! What other threads and tasks ask of a running endpoint: the same for both drivers.

use std::{fmt, time::Duration as StdDuration};

use karp_core::{
    command::Command,
    identity::Credentials,
    io::Role,
    storage::Storage,
    time::{Duration, Instant},
};
use rand_core::CryptoRng;

use crate::{clock, endpoint::Endpoint};

/// Messages that can wait for a driver before senders must.
pub(crate) const CAPACITY: usize = 64;

/// Work to be done with the endpoint by the one that runs it.
pub(crate) type Job<C, R, S> = Box<dyn FnOnce(&mut Endpoint<C, R, S>) + Send>;

/// What a handle sends to a driver.
pub(crate) enum Message<C: Credentials, R: CryptoRng, S: Storage> {
    Job(Job<C, R, S>),
    Stop,
    Leave { within: StdDuration },
}

/// The driver has ended: it was stopped, has left the group, or met an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stopped;

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the endpoint does not run any more; open a new one")
    }
}

impl std::error::Error for Stopped {}

/// Whether a driver goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    Running,
    Leaving { until: Instant },
    Stopped,
}

impl Phase {
    /// Does what `message` asks.
    pub(crate) fn take<C: Credentials, R: CryptoRng, S: Storage>(
        &mut self,
        message: Message<C, R, S>,
        endpoint: &mut Endpoint<C, R, S>,
    ) {
        match message {
            Message::Job(job) => job(endpoint),
            Message::Stop => *self = Self::Stopped,
            Message::Leave { within } => {
                let within = Duration::from_millis(u64::try_from(within.as_millis()).unwrap_or(u64::MAX));
                let until = clock::now().after(within);
                if let Err(error) = endpoint.command(Command::Leave) {
                    // It has left already, or never joined.
                    tracing::debug!(%error, "leaving");
                }
                *self = Self::Leaving { until };
            }
        }
    }

    /// Whether the driver ends here: stopped, or leaving and out or out of time.
    pub(crate) fn is_over<C: Credentials, R: CryptoRng, S: Storage>(
        &self,
        endpoint: &Endpoint<C, R, S>,
    ) -> bool {
        match self {
            Self::Running => false,
            Self::Leaving { until } => endpoint.engine().role() == Role::Left || clock::now() >= *until,
            Self::Stopped => true,
        }
    }

    /// How long to wait for input.
    pub(crate) fn timeout<C: Credentials, R: CryptoRng, S: Storage>(
        &self,
        endpoint: &Endpoint<C, R, S>,
    ) -> StdDuration {
        match self {
            Self::Leaving { until } => endpoint.timeout().min(clock::until(*until)),
            Self::Running | Self::Stopped => endpoint.timeout(),
        }
    }
}
