//! From the key table to kept keys and sinks, and back to the engine.

use std::sync::atomic::Ordering;

use karp_core::{Command, command::RekeyReason, time::Instant};
use karp_std::sinks::{KeySet, worker::Report};
use serde_json::json;

use super::{
    feed::{Fed, Follows, Outcome},
    open,
    runtime::Runtime,
};

impl Runtime {
    /// Brings kept keys and sinks to what the key table says.
    pub(super) fn feed(&mut self, now: Instant) {
        let Some(endpoint) = &self.endpoint else { return };
        let engine = endpoint.engine();
        let set = KeySet::from_table(engine.key_table(), now);
        if let (Some(follower), Some(settings)) = (&self.follower, &self.config.follow) {
            follower.sends(set.sending(settings.protocol).map(|key| key.id));
        }
        let generation = self.fresh.filter(|_| engine.awaits_installation());
        let changed = self.feed.wanted() != Some(&set);
        if self.patient || (!changed && generation.is_none()) {
            return;
        }
        self.keeper.update(engine.resumable_keys(now), now);
        self.keeper.update_evictions(engine.evictions(now), now);
        self.keeper.write();
        match self.feed.want(set, generation, &self.line.post) {
            Ok(confirm) => {
                self.fresh = None;
                self.note_tried();
                if let Some(generation) = confirm {
                    self.confirm(generation);
                }
            }
            // The sinks' status says it as well.
            Err(error) => tracing::debug!(%error, "the sinks cannot take keys yet"),
        }
    }

    /// A router that cannot take part yet leaves keys alone that its daemons still hold. Where they hold none, they get
    /// what there is: manual keys, or nothing that anybody else has.
    pub(super) fn feed_without_engine(&mut self, now: Instant) {
        if self.feed.wanted().is_some() || self.feed.settings().is_empty() {
            return;
        }
        let Ok(epochs) = self.feed.epochs() else { return };
        if !self.keeper.resume(&epochs, now).is_empty() {
            self.line.tried.store(true, Ordering::Relaxed);
            return;
        }
        let set = open::manual_keys(&self.config.settings);
        if let Err(error) = self.feed.want(set, None, &self.line.post) {
            tracing::debug!(%error, "the sinks cannot take keys yet");
        }
    }

    fn note_tried(&self) {
        if self.feed.is_tried() {
            self.line.tried.store(true, Ordering::Relaxed);
        }
    }

    /// What a sink reports.
    pub(super) fn fed(&mut self, fed: &Fed) {
        if !self.feed.knows(fed) {
            return;
        }
        let report = match &fed.what {
            Outcome::Report(report) => report,
            Outcome::Died => {
                self.fatal = Some(format!("the thread of sink {} panicked", self.feed.name(fed.at)));
                return;
            }
        };
        let follows = self.feed.reported(fed.at, report);
        let name = self.feed.name(fed.at);
        self.tell_report(&name, report, &follows);
        if let Some(ids) = follows.took {
            self.keeper.took(&name, report.epoch.as_deref(), &ids);
            self.keeper.write();
        }
        if let Some(generation) = follows.confirm {
            self.confirm(generation);
        }
        self.note_tried();
        // Who follows the routing protocol hears of it there.
        if report.restarted
            && self.config.follow.is_none()
            && let Some(policy) = self
                .config
                .settings
                .protocols
                .iter()
                .find(|policy| !policy.self_protecting)
        {
            self.ask_for_keys(policy.protocol, RekeyReason::NewSession);
        }
    }

    fn tell_report(&self, name: &str, report: &Report, follows: &Follows) {
        if report.restarted || follows.up {
            tracing::info!(
                sink = name,
                restarted = report.restarted,
                "the routing daemon is there again"
            );
            self.publish(
                "daemon_up",
                json!({ "sink": name, "restarted": report.restarted }),
            );
        }
        match &report.result {
            Ok(elapsed) => {
                let ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
                tracing::info!(sink = name, ms, "keys filled in");
                self.publish(
                    "sink_applied",
                    json!({ "sink": name, "generation": follows.generation, "elapsed_ms": ms, "attempt": report.attempt }),
                );
            }
            Err(error) if report.down => {
                tracing::warn!(sink = name, %error, "the routing daemon is down");
                self.publish("daemon_down", json!({ "sink": name }));
            }
            Err(error) => {
                tracing::warn!(sink = name, attempt = report.attempt, %error, "the sink fails");
                self.publish(
                    "sink_failed",
                    json!({ "sink": name, "attempt": report.attempt, "error": error.to_string() }),
                );
            }
        }
    }

    /// Every sink has what the engine's state of `generation` says.
    fn confirm(&mut self, generation: u32) {
        self.keeper.write();
        if let Some(endpoint) = &mut self.endpoint
            && let Err(error) = endpoint.command(Command::Installed { generation })
        {
            tracing::debug!(generation, %error, "confirming");
        }
    }
}
