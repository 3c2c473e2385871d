//! What happens, as lines of JSON for whoever watches.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use karp_core::io::{Event, Role};
use serde_json::{Map, Value, json};

/// Lines that may wait for a watcher. One that does not read loses its connection, not the daemon its time.
const BACKLOG: usize = 4096;

/// Hands lines to every watcher.
#[derive(Default)]
pub struct Hub {
    watchers: Mutex<Vec<Watcher>>,
    changed: AtomicBool,
}

struct Watcher {
    group: Option<String>,
    lines: SyncSender<String>,
}

impl Hub {
    /// The lines from now on, of one group or of all.
    pub fn watch(&self, group: Option<String>) -> Receiver<String> {
        let (sender, receiver) = sync_channel(BACKLOG);
        let first = line("", "", "watching", json!({ "pid": std::process::id() }));
        // There is room for the first.
        let _ = sender.try_send(first);
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        watchers.push(Watcher { group, lines: sender });
        receiver
    }

    /// Tells every watcher of the group.
    pub fn publish(&self, group: &str, node: &str, event: &str, fields: Value) {
        self.changed.store(true, Ordering::Relaxed);
        let line = line(group, node, event, fields);
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        watchers.retain(|watcher| {
            if watcher.group.as_ref().is_some_and(|wanted| wanted != group) {
                return true;
            }
            match watcher.lines.try_send(line.clone()) {
                Ok(()) => true,
                Err(TrySendError::Full(_)) => {
                    tracing::warn!("a watcher does not read and is let go");
                    false
                }
                Err(TrySendError::Disconnected(_)) => false,
            }
        });
    }

    /// Whether something was published since this was asked last.
    pub fn take_changed(&self) -> bool {
        self.changed.swap(false, Ordering::Relaxed)
    }
}

fn line(group: &str, node: &str, event: &str, fields: Value) -> String {
    let mut object = Map::new();
    object.insert("unix_ms".to_owned(), unix_ms().into());
    if !group.is_empty() {
        object.insert("group".to_owned(), group.into());
        object.insert("node".to_owned(), node.into());
    }
    object.insert("event".to_owned(), event.into());
    if let Value::Object(fields) = fields {
        object.extend(fields);
    }
    Value::Object(object).to_string()
}

/// Wall time, for people and for comparison between machines only.
#[must_use]
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A role's name.
#[must_use]
pub const fn role_name(role: Role) -> &'static str {
    match role {
        Role::Left => "left",
        Role::Initial => "initial",
        Role::Member => "member",
        Role::Gcks => "gcks",
    }
}

/// The engine's event by name and fields; `None` for one that is not known here.
#[must_use]
pub fn describe(event: &Event) -> Option<(&'static str, Value)> {
    Some(match event {
        Event::RoleChanged { role } => ("role_changed", json!({ "role": role_name(*role) })),
        Event::GcksChanged { gcks } => (
            "gcks_changed",
            json!({ "gcks": gcks.as_ref().map(ToString::to_string) }),
        ),
        Event::StateApplied { generation } => ("state_applied", json!({ "generation": generation })),
        Event::KeyInstalled { id } => ("key_installed", json!({ "id": id })),
        Event::KeyActivated { id } => ("key_activated", json!({ "id": id })),
        Event::KeyRetired { id } => ("key_retired", json!({ "id": id })),
        Event::KeyRemoved { id } => ("key_removed", json!({ "id": id })),
        Event::PeerJoined {
            peer,
            octets,
            elapsed,
        } => (
            "peer_joined",
            json!({ "peer": peer.to_string(), "octets": octets, "elapsed_ms": elapsed.as_millis() }),
        ),
        Event::PeerLeft { peer } => ("peer_left", json!({ "peer": peer.to_string() })),
        Event::RekeyStarted { id } => ("rekey_started", json!({ "id": id })),
        Event::RekeyCompleted { id } => ("rekey_completed", json!({ "id": id })),
        Event::Alarm { alarm, raised } => ("alarm", json!({ "alarm": alarm.name(), "raised": raised })),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watchers_hear_their_group() {
        let hub = Hub::default();
        let all = hub.watch(None);
        let one = hub.watch(Some("b".to_owned()));
        hub.publish("a", "r1", "joined", json!({}));
        hub.publish("b", "r1", "key_installed", json!({ "id": 3 }));
        let events = |lines: Receiver<String>| -> Vec<Value> {
            lines
                .try_iter()
                .map(|line| serde_json::from_str(&line).unwrap())
                .collect()
        };
        let all = events(all);
        assert_eq!(all.len(), 3);
        assert_eq!(all[0]["event"], "watching");
        assert_eq!(all[2]["id"], 3);
        let one = events(one);
        assert_eq!(one.len(), 2);
        assert_eq!((&one[1]["group"], &one[1]["node"]), (&json!("b"), &json!("r1")));
        assert!(hub.take_changed() && !hub.take_changed());
    }

    #[test]
    fn who_does_not_read_is_let_go() {
        let hub = Hub::default();
        let lines = hub.watch(None);
        for _ in 0..=BACKLOG {
            hub.publish("a", "r1", "joined", json!({}));
        }
        assert_eq!(lines.iter().count(), BACKLOG, "and its end is seen");
    }
}
