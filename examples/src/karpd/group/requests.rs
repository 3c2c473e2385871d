//! What operators ask of a group.

use std::sync::mpsc::SyncSender;

use karp_core::{Command, command::RekeyReason, error::CommandError, identity::Identity};
use karp_std::clock;
use serde_json::{Value, json};

use super::{
    Answer, Refusal, Request,
    runtime::{Phase, Runtime},
    status,
};

impl Runtime {
    pub(super) fn request(&mut self, request: Request, answer: SyncSender<Answer>) {
        if request == Request::Leave {
            match self.phase {
                Phase::Left => drop(answer.send(Ok(json!({ "clean": true })))),
                Phase::Leaving { .. } => {
                    drop(answer.send(Err(Refusal::new("it leaves already", "wait for it"))));
                }
                Phase::Waiting { .. } | Phase::Running => {
                    // Answered when it is out.
                    self.leave_answer = Some(answer);
                    self.leave();
                }
            }
            return;
        }
        // Whoever asked may be gone.
        let _ = answer.send(self.answer(&request));
    }

    fn answer(&mut self, request: &Request) -> Answer {
        match request {
            Request::Status => Ok(status::status(self, clock::now())),
            Request::Rekey { compromise } => self.rekey(*compromise),
            Request::Priority(priority) => {
                self.priority.operator = *priority;
                self.set_priority();
                let (priority, because) = self.priority.effective();
                Ok(json!({ "priority": priority, "because": because }))
            }
            Request::Evict(identity) => {
                let identity = Identity::fqdn(identity).ok_or_else(|| {
                    Refusal::new(
                        "this cannot be an identity",
                        "give it as node.identity of that router has it",
                    )
                })?;
                self.command(Command::Evict(&identity))
            }
            Request::Migrate => self.command(Command::Migrate),
            Request::HandOff => self.command(Command::HandOff),
            Request::Join => match self.phase {
                Phase::Left => {
                    self.join();
                    Ok(json!({}))
                }
                Phase::Leaving { .. } => Err(Refusal::new("it is leaving still", "try again in a moment")),
                Phase::Waiting { .. } | Phase::Running => Ok(json!({})),
            },
            // Answered elsewhere, when it is done.
            Request::Leave => Ok(json!({})),
        }
    }

    /// New keys are the same for all protocols: one of those that need them asks.
    fn rekey(&mut self, compromise: bool) -> Answer {
        let protocols = &self.config.settings.protocols;
        let asking = protocols
            .iter()
            .find(|policy| !policy.self_protecting)
            .or(protocols.first());
        let Some(protocol) = asking.map(|policy| policy.protocol) else {
            return Err(Refusal::new("the group keys nothing", "list policy.protocols"));
        };
        let reason = if compromise {
            RekeyReason::Compromise
        } else {
            RekeyReason::Operator
        };
        let answer = self.command(Command::Rekey { protocol, reason })?;
        self.publish(
            "rekey_requested",
            json!({ "protocol": protocol.name(), "reason": reason_name(reason), "because": "operator" }),
        );
        Ok(answer)
    }

    fn command(&mut self, command: Command<'_>) -> Answer {
        let endpoint = match (&mut self.endpoint, &self.phase) {
            (Some(endpoint), Phase::Running) => endpoint,
            (_, Phase::Waiting { why, .. }) => {
                return Err(Refusal::new(
                    format!("the group is not running: {why}"),
                    "try again when it is",
                ));
            }
            _ => return Err(Refusal::new("this router has left the group", "run: karpd join")),
        };
        endpoint.command(command).map(|()| json!({})).map_err(|error| {
            let gcks = endpoint.engine().gcks().map(ToString::to_string);
            refusal(error, gcks)
        })
    }
}

fn refusal(error: CommandError, gcks: Option<String>) -> Refusal {
    let text = error.to_string();
    let (problem, remedy) = text.split_once("; ").unwrap_or((&text, "see karpd status"));
    match (error, gcks) {
        (CommandError::NotGcks, Some(gcks)) => Refusal::new(problem, format!("give the command to {gcks}")),
        _ => Refusal::new(problem, remedy),
    }
}

/// A reason's name.
pub(super) const fn reason_name(reason: RekeyReason) -> &'static str {
    match reason {
        RekeyReason::NewSession => "new_session",
        RekeyReason::SequenceExhausted => "sequence_exhausted",
        RekeyReason::PeerRestarted => "peer_restarted",
        RekeyReason::Compromise => "compromise",
        RekeyReason::Operator => "operator",
    }
}

/// The answer that a list of groups gives together: refused if one of them refused.
#[must_use]
pub fn together(answers: Vec<(String, Answer)>) -> Value {
    let refused: Vec<&(String, Answer)> = answers.iter().filter(|(_, answer)| answer.is_err()).collect();
    let several = answers.len() > 1;
    let mut whole = json!({ "ok": refused.is_empty() });
    if let Some((group, Err(first))) = refused.first() {
        whole["error"] = if several {
            format!("group {group}: {}", first.problem).into()
        } else {
            first.problem.clone().into()
        };
        whole["remedy"] = first.remedy.clone().into();
    }
    let each = answers.iter().map(|(group, answer)| {
        let mut one = match answer {
            Ok(fields) => fields.clone(),
            Err(refusal) => json!({ "error": refusal.problem, "remedy": refusal.remedy }),
        };
        one["group"] = group.clone().into();
        one["ok"] = answer.is_ok().into();
        one
    });
    whole["groups"] = each.collect();
    whole
}
