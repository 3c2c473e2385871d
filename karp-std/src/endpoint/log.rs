//! One `tracing` line for each event and each drop.

use std::net::SocketAddr;

use karp_core::{
    error::DropReason,
    identity::Identity,
    io::{Alarm, Event},
    time::{Duration, Instant},
};
use tracing::{debug, info, warn};

/// How long one reason of drops is silent after a warning.
const QUIET: Duration = Duration::from_secs(10);

pub(super) fn event(node: &Identity, event: &Event) {
    match event {
        Event::RoleChanged { role } => info!(%node, ?role, "role changed"),
        Event::GcksChanged { gcks: Some(gcks) } => info!(%node, %gcks, "follows a key server"),
        Event::GcksChanged { gcks: None } => info!(%node, "follows no key server"),
        Event::StateApplied { generation } => info!(%node, generation, "keys to install"),
        Event::KeyInstalled { id } => info!(%node, key = id, "key installed"),
        Event::KeyActivated { id } => info!(%node, key = id, "key activated"),
        Event::KeyRetired { id } => info!(%node, key = id, "key retired"),
        Event::KeyRemoved { id } => info!(%node, key = id, "key removed"),
        Event::PeerJoined {
            peer,
            octets,
            elapsed,
        } => {
            info!(%node, %peer, octets, ms = elapsed.as_millis(), "peer joined");
        }
        Event::PeerLeft { peer } => info!(%node, %peer, "peer left"),
        Event::RekeyStarted { id } => info!(%node, key = id, "rollover started"),
        Event::RekeyCompleted { id } => info!(%node, key = id, "rollover completed"),
        // Part of every change of keys where a daemon is filled; whoever fills it tells of faults.
        Event::Alarm {
            alarm: Alarm::InstallPending,
            raised,
        } => debug!(%node, raised, "installation is awaited"),
        Event::Alarm { alarm, raised: true } => warn!(%node, alarm = alarm.name(), "alarm raised"),
        Event::Alarm { alarm, raised: false } => info!(%node, alarm = alarm.name(), "alarm ended"),
        other => info!(%node, event = ?other, "event"),
    }
}

/// Which drops were warned of when. Every drop is a line at the level debug; those that point to a wrong
/// configuration or an attack are a warning as well, at most one in ten seconds for each reason.
#[derive(Default)]
pub(super) struct DropLog {
    warned: [Option<Instant>; DropReason::COUNT],
}

impl DropLog {
    pub(super) fn note(
        &mut self,
        now: Instant,
        node: &Identity,
        reason: DropReason,
        from: SocketAddr,
        total: u32,
    ) {
        debug!(%node, reason = reason.name(), %from, "dropped");
        if !is_notable(reason) {
            return;
        }
        let at = DropReason::ALL.iter().position(|one| *one == reason);
        let Some(last) = at.and_then(|at| self.warned.get_mut(at)) else {
            return;
        };
        if last.is_none_or(|last| now.since(last) >= QUIET) {
            *last = Some(now);
            warn!(%node, reason = reason.name(), %from, total, "dropping datagrams");
        }
    }
}

const fn is_notable(reason: DropReason) -> bool {
    matches!(
        reason,
        DropReason::HopLimit
            | DropReason::OtherVersion
            | DropReason::BadSeal
            | DropReason::BadSignature
            | DropReason::BadProof
            | DropReason::NotAuthorised
            | DropReason::Evicted
            | DropReason::OwnIdentity
            | DropReason::NoProposal
            | DropReason::TableFull
            | DropReason::NoRoom
    )
}
