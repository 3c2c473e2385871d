//! What follows from what the routing protocol does: election priorities and requests for new keys.

use karp_core::{Command, algorithm::RoutingProtocol, command::RekeyReason};
use karp_std::follow::Advice;
use serde_json::json;

use super::{
    Message,
    requests::reason_name,
    runtime::{Phase, Runtime},
};
use crate::karpd::follow::{FollowSettings, Follower, Seen};

impl Runtime {
    /// Begins to look at the routing daemon that the configuration names.
    pub(super) fn follow(&mut self) {
        self.follower = None;
        self.seen = None;
        let Some(settings) = &self.config.follow else {
            return;
        };
        self.followers += 1;
        let post = self.line.post.clone();
        match Follower::spawn(settings, self.followers, move |seen| {
            post.send(Message::Seen(seen))
        }) {
            Ok(follower) => self.follower = Some(follower),
            Err(error) => tracing::error!(%error, "the routing protocol cannot be followed"),
        }
    }

    /// What the observer saw.
    pub(super) fn saw(&mut self, seen: Seen) {
        if seen.number != self.followers {
            return;
        }
        let Some((snapshot, advice)) = seen.what else {
            self.fatal = Some("the thread that follows the routing daemon panicked".to_owned());
            return;
        };
        if let Err(error) = &snapshot
            && !matches!(&self.seen, Some(Err(before)) if before == error)
        {
            tracing::warn!(%error, "the routing daemon cannot be looked at");
        }
        self.seen = Some(snapshot);
        let daemon = self.config.follow.as_ref().map(FollowSettings::describe);
        for advice in advice {
            match advice {
                Advice::Reached { restarted, .. } => {
                    self.publish(
                        "follow_reached",
                        json!({ "daemon": daemon, "restarted": restarted }),
                    );
                }
                Advice::Lost => self.publish("follow_lost", json!({ "daemon": daemon })),
                Advice::Priority(priority) => {
                    self.priority.followed = Some(priority);
                    self.set_priority();
                }
                Advice::Rekey(protocol, reason) => self.ask_for_keys(protocol, reason),
            }
        }
    }

    /// Asks for new keys because of what the routing protocol did.
    pub(super) fn ask_for_keys(&mut self, protocol: RoutingProtocol, reason: RekeyReason) {
        let session = matches!(reason, RekeyReason::NewSession | RekeyReason::PeerRestarted);
        let mut policies = self.config.settings.protocols.iter();
        if session && policies.any(|policy| policy.protocol == protocol && policy.self_protecting) {
            return;
        }
        let (Some(endpoint), Phase::Running) = (&mut self.endpoint, &self.phase) else {
            return;
        };
        match endpoint.command(Command::Rekey { protocol, reason }) {
            Ok(()) => {
                let (protocol, reason) = (protocol.name(), reason_name(reason));
                tracing::info!(protocol, reason, "asks for new keys");
                self.publish(
                    "rekey_requested",
                    json!({ "protocol": protocol, "reason": reason, "because": "followed" }),
                );
            }
            Err(error) => tracing::debug!(%error, "asking for new keys"),
        }
    }

    /// Lets the engine have the priority that is in force.
    pub(super) fn set_priority(&mut self) {
        let (priority, because) = self.priority.effective();
        let Some(endpoint) = &mut self.endpoint else {
            return;
        };
        if priority == self.told_priority {
            return;
        }
        match endpoint.command(Command::SetPriority(priority)) {
            Ok(()) => {
                self.told_priority = priority;
                tracing::info!(priority, because, "election priority");
                self.publish("priority", json!({ "priority": priority, "because": because }));
            }
            Err(error) => tracing::warn!(priority, %error, "the priority is not taken"),
        }
    }
}
