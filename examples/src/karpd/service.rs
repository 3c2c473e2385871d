//! What systemd is told (sd_notify(3)). Without systemd nothing happens.

use std::{
    cell::{Cell, RefCell},
    time::{Duration, Instant},
};

use sd_notify::NotifyState;

/// The service manager, if there is one.
pub struct Service {
    /// How often the watchdog wants to be fed.
    watchdog: Option<Duration>,
    fed: Cell<Option<Instant>>,
    said: RefCell<String>,
}

impl Default for Service {
    fn default() -> Self {
        Self::new()
    }
}

impl Service {
    /// Looks at what the service manager wants.
    #[must_use]
    pub fn new() -> Self {
        Self {
            watchdog: sd_notify::watchdog_enabled().map(|every| every / 3),
            fed: Cell::new(None),
            said: RefCell::default(),
        }
    }

    /// Started, or reloaded.
    pub fn ready(&self) {
        tell(&[NotifyState::Ready]);
    }

    /// A reload begins.
    pub fn reloading(&self) {
        // systemd compares it with the time of its own request.
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(_) => tell(&[NotifyState::Reloading]),
        }
    }

    /// The end begins.
    pub fn stopping(&self, why: &str) {
        tell(&[NotifyState::Stopping, NotifyState::Status(why)]);
    }

    /// One line for `systemctl status`.
    pub fn status(&self, text: &str) {
        if *self.said.borrow() != text {
            text.clone_into(&mut self.said.borrow_mut());
            tell(&[NotifyState::Status(text)]);
        }
    }

    /// Everything is at work.
    pub fn alive(&self) {
        let Some(every) = self.watchdog else { return };
        if self.fed.get().is_none_or(|at| at.elapsed() >= every) {
            self.fed.set(Some(Instant::now()));
            tell(&[NotifyState::Watchdog]);
        }
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd cannot be told");
    }
}
