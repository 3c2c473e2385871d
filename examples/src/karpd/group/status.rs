//! What `karpd status` shows of a group.

use karp_core::{
    KeyTable, counters::Traffic, error::DropReason, io::MessageKind, keytable::RowState, time::Instant,
};
use karp_std::follow::LinkRole;
use serde_json::{Map, Value, json};

use super::{
    open::GroupEndpoint,
    runtime::{Phase, Runtime},
};
use crate::karpd::events::role_name;

pub(super) fn status(group: &Runtime, now: Instant) -> Value {
    let settings = &group.config.settings;
    let (priority, because) = group.priority.effective();
    let (state, waiting_for) = match &group.phase {
        Phase::Waiting { why, .. } => ("waiting", Some(why.as_str())),
        Phase::Running => ("running", None),
        Phase::Leaving { .. } => ("leaving", None),
        Phase::Left => (
            "left",
            Some("karpd join; the routing daemon keeps its last keys meanwhile"),
        ),
    };
    let endpoint = group.endpoint.as_ref();
    let mut status = json!({
        "group": group.config.name(),
        "file": group.config.file.display().to_string(),
        "identity": settings.identity.to_string(),
        "interface": interface(group),
        "address": endpoint.map(|endpoint| endpoint.local_address().to_string()),
        "state": state,
        "waiting_for": waiting_for,
        "role": endpoint.map_or("left", |endpoint| role_name(endpoint.engine().role())),
        "gcks": endpoint.and_then(gcks),
        "priority": priority,
        "priority_because": because,
        "generation": endpoint.map(|endpoint| endpoint.engine().generation()),
        "confirmed": endpoint.is_none_or(|endpoint| !endpoint.engine().awaits_installation()),
        "rekey_sa": endpoint.and_then(|endpoint| endpoint.engine().rekey_sa_spi()).map(|spi| hex(&spi)),
        "link_error": group.link,
        "kept_error": group.keeper.error,
    });
    status["peers"] = endpoint
        .map_or_else(Vec::new, |endpoint| peers(endpoint, now))
        .into();
    status["keys"] = endpoint
        .map_or_else(Vec::new, |endpoint| keys(endpoint.engine().key_table(), now))
        .into();
    status["sinks"] = group.feed.status();
    status["follow"] = follow(group);
    let alarms = endpoint.map(|endpoint| {
        endpoint
            .engine()
            .alarms()
            .map(|alarm| alarm.name().into())
            .collect()
    });
    status["alarms"] = Value::Array(alarms.unwrap_or_default());
    status["counters"] = endpoint.map_or(Value::Null, counters);
    status
}

/// What was seen of the routing daemon.
fn follow(group: &Runtime) -> Value {
    let Some(settings) = &group.config.follow else {
        return Value::Null;
    };
    let mut follow = json!({ "daemon": settings.describe(), "protocol": settings.protocol.name() });
    match &group.seen {
        None => follow["state"] = "starting".into(),
        Some(Err(error)) => {
            follow["state"] = if error.not_running { "down" } else { "failing" }.into();
            follow["error"] = error.problem.clone().into();
        }
        Some(Ok(seen)) => {
            follow["state"] = "ok".into();
            follow["role"] = seen.role.map_or(Value::Null, |role| link_role(role).into());
            follow["router_id"] = seen
                .router_id
                .map(|id| std::net::Ipv4Addr::from(id).to_string())
                .into();
            let neighbours = seen.neighbours.iter();
            let neighbours = neighbours.map(|one| json!({ "id": one.id, "state": one.state, "up": one.up }));
            follow["neighbours"] = neighbours.collect();
        }
    }
    follow
}

const fn link_role(role: LinkRole) -> &'static str {
    match role {
        LinkRole::Dr => "dr",
        LinkRole::Bdr => "bdr",
        LinkRole::Other => "other",
    }
}

fn interface(group: &Runtime) -> Option<String> {
    let open = group
        .endpoint
        .as_ref()
        .map(|endpoint| endpoint.interface().name.clone());
    open.or_else(|| group.config.place.interface.clone())
}

/// The key server that the node follows, or itself.
fn gcks(endpoint: &GroupEndpoint) -> Option<String> {
    let engine = endpoint.engine();
    if engine.role() == karp_core::Role::Gcks {
        return Some(engine.config().settings().identity.to_string());
    }
    engine.gcks().map(ToString::to_string)
}

fn peers(endpoint: &GroupEndpoint, now: Instant) -> Vec<Value> {
    let peers = endpoint.engine().peers().map(|peer| {
        json!({
            "identity": peer.identity.to_string(),
            "address": peer.address.to_string(),
            "role": role_name(peer.role),
            "priority": peer.priority,
            "registered": peer.registered,
            "live": peer.live,
            "waiting": peer.waiting,
            "acknowledged": peer.acknowledged,
            "heard_ms": peer.heard.map(|heard| now.since(heard).as_millis()),
        })
    });
    let mut peers: Vec<Value> = peers.collect();
    peers.sort_by_key(|peer| peer["identity"].to_string());
    peers
}

fn keys(table: KeyTable<'_>, now: Instant) -> Vec<Value> {
    let rows = table.rows(now).map(|row| {
        let sends = table
            .sending(row.protocol, now)
            .is_some_and(|sending| sending.id == row.id && sending.manual == row.manual);
        let state = match (sends, row.state) {
            (true, _) => "active",
            (false, RowState::Pending) => "pending",
            (false, RowState::Active | RowState::Retiring) => "retiring",
        };
        let value = json!({
            "protocol": row.protocol.name(),
            "algorithm": row.algorithm.name(),
            "id": row.id,
            "state": state,
            "manual": row.manual,
            "fingerprint": row.fingerprint().map(|mark| mark.to_string()),
            "expires_ms": row.expires.map(|expires| expires.since(now).as_millis()),
        });
        ((row.protocol.name(), row.manual, row.id), value)
    });
    let mut rows: Vec<_> = rows.collect();
    rows.sort_by_key(|(order, _)| *order);
    rows.into_iter().map(|(_, value)| value).collect()
}

fn counters(endpoint: &GroupEndpoint) -> Value {
    let engine = endpoint.engine().counters();
    let sockets = endpoint.counters();
    let dropped: Map<String, Value> = DropReason::ALL
        .iter()
        .map(|reason| (reason.name().to_owned(), engine.dropped(*reason).into()))
        .collect();
    let traffic = |of: &dyn Fn(MessageKind) -> Traffic| -> Map<String, Value> {
        let kinds = MessageKind::ALL.iter().map(|kind| {
            let traffic = of(*kind);
            let value = json!({ "messages": traffic.messages, "octets": traffic.octets });
            (kind.name().to_owned(), value)
        });
        kinds.collect()
    };
    json!({
        "dropped": dropped,
        "sent": traffic(&|kind| engine.sent(kind)),
        "received": traffic(&|kind| engine.received(kind)),
        "retransmissions": engine.retransmissions,
        "handshakes_initiated": engine.handshakes_initiated,
        "handshakes_answered": engine.handshakes_answered,
        "rollovers": engine.rollovers,
        "failovers": engine.failovers,
        "handoffs": engine.handoffs,
        "evictions": engine.evictions,
        "merges": engine.merges,
        "pauses": engine.pauses,
        "role_changes": engine.role_changes,
        "send_failed": sockets.send_failed,
        "receive_failed": sockets.receive_failed,
        "link_losses": sockets.link_losses,
        "rejoins": sockets.rejoins,
    })
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}
