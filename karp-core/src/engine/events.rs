//! What the host is told: each row keeps what was told beside what is, and an event is owed where the two differ.
//! So events cannot overflow, and none is lost.

use crate::{
    io::{Alarm, Event},
    node::Core,
    storage::Handle,
    time::Duration,
    wire::KeyState,
};

impl Core<'_> {
    /// The next thing that the host was not told yet.
    #[inline(never)]
    pub(crate) fn next_event(&mut self) -> Option<Event> {
        let role = self.node.election.role();
        if role != self.node.told_role {
            self.node.told_role = role;
            return Some(Event::RoleChanged { role });
        }
        let gcks = self.node.membership.as_ref().map(|membership| membership.gcks);
        if gcks != self.node.told_gcks {
            self.node.told_gcks = gcks;
            let identity = gcks
                .and_then(|row| self.peers.get(row))
                .map(|peer| peer.identity.clone());
            return Some(Event::GcksChanged { gcks: identity });
        }
        if let Some(event) = self.key_event() {
            return Some(event);
        }
        let installs = &mut self.node.installs;
        if installs.told != installs.revision {
            installs.told = installs.revision;
            return Some(Event::StateApplied {
                generation: installs.revision,
            });
        }
        if let Some(event) = self.peer_event() {
            return Some(event);
        }
        if let Some(office) = self.node.office.as_mut() {
            if let Some(id) = office.untold_start() {
                return Some(Event::RekeyStarted { id });
            }
            if let Some(id) = office.untold_completion() {
                return Some(Event::RekeyCompleted { id });
            }
        }
        let pending = !self.node.installs.is_confirmed();
        self.node.alarms.set(Alarm::InstallPending, pending);
        self.node
            .alarms
            .take_untold()
            .map(|(alarm, raised)| Event::Alarm { alarm, raised })
    }

    /// A key is told of in the order of its life: installed, activated, retired, removed.
    fn key_event(&mut self) -> Option<Event> {
        let mut untold = self.keys.find(|key| key.gone || key.told != Some(key.state))?;
        let key = self.keys.get(untold)?;
        if !key.gone && key.told.is_none() {
            // The one that had its id before goes first.
            let id = key.id;
            untold = self.keys.find(|key| key.gone && key.id == id).unwrap_or(untold);
        }
        let key = self.keys.get_mut(untold)?;
        let id = key.id;
        if key.gone {
            self.keys.remove(untold);
            return Some(Event::KeyRemoved { id });
        }
        let (told, event) = match (key.told, key.state) {
            (None, _) => (KeyState::Pending, Event::KeyInstalled { id }),
            (Some(KeyState::Pending), KeyState::Active) => (KeyState::Active, Event::KeyActivated { id }),
            (Some(KeyState::Pending), KeyState::Retiring) if key.was_active => {
                (KeyState::Active, Event::KeyActivated { id })
            }
            (Some(_), KeyState::Active) => (KeyState::Active, Event::KeyActivated { id }),
            (Some(_), state) => (state, Event::KeyRetired { id }),
        };
        key.told = Some(told);
        Some(event)
    }

    fn peer_event(&mut self) -> Option<Event> {
        let untold = |row: &(Handle, &crate::peer::Peer)| row.1.joined != row.1.told_joined;
        if !self.node.joins_untold {
            debug_assert!(
                !self.peers.iter().any(|row| untold(&row)),
                "who joins or leaves says so"
            );
            return None;
        }
        let Some((row, peer)) = self.peers.iter().find(untold) else {
            self.node.joins_untold = false;
            return None;
        };
        let (identity, joined, (octets, elapsed)) = (peer.identity.clone(), peer.joined, peer.exchange);
        if let Some(peer) = self.peers.get_mut(row) {
            peer.told_joined = joined;
        }
        Some(if joined {
            Event::PeerJoined {
                peer: identity,
                octets,
                elapsed: Duration::from_millis(u64::from(elapsed)),
            }
        } else {
            Event::PeerLeft { peer: identity }
        })
    }
}
