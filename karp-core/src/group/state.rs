//! The whole current state as GSA and KD: written by the GCKS, checked by the member (PROTOCOL.md section 6).

use core::net::SocketAddr;

use crate::{
    crypto::{ROW, RekeySaKeys, Secret, WRAP_OVERHEAD, WrapKey, apart, unwrap_key},
    error::DropReason,
    exchange::{IkeSa, KeyWrap, wire_fault},
    group::TrafficKey,
    identity::MAX_IDENTITY,
    io::Role,
    node::{Core, RekeySas},
    storage::{Handle, Table},
    time::Instant,
    wire::{
        self, KeyState, PayloadType, Writer,
        gsa::{GcAuth, RekeySaPolicy, TekPolicy, write_group, write_rekey_sa, write_tek},
        kd::{self, WrapSlot, Wrapped},
        notify::{Evicted, KeyInUse, KeysInUse},
        size::{MAX_RETIRING, Shape, StateShape},
        state::{Carrier, State},
    },
};

/// A state that is to be written.
pub(crate) struct StateDraft {
    rekey_sa: Option<RekeySaPolicy>,
    auth_key: Option<[u8; 32]>,
    source: SocketAddr,
    destination: SocketAddr,
    dtd_s: u16,
    teks: heapless::Vec<TekPolicy, 8>,
}

/// Where in a message the wrapped keys go.
pub(crate) struct WrapSlots {
    rekey_sa: Option<WrapSlot>,
    teks: heapless::Vec<(u16, WrapSlot), 2>,
}

/// A Rekey SA that a state brought.
pub(crate) struct NewRekeySa {
    pub(crate) spi: [u8; 16],
    /// None if the state has the policy alone: then the node must have the keys already.
    pub(crate) keys: Option<RekeySaKeys>,
    pub(crate) auth_key: Option<[u8; 32]>,
    pub(crate) generation: u32,
}

/// A traffic key that a state listed.
pub(crate) struct CheckedTek {
    pub(crate) policy: TekPolicy,
    pub(crate) key: Option<Secret<32>>,
}

/// A state whose every key was unwrapped: applying it cannot fail.
pub(crate) struct CheckedState {
    pub(crate) rekey_sa: Option<NewRekeySa>,
    pub(crate) dtd_s: Option<u16>,
    pub(crate) teks: heapless::Vec<CheckedTek, 8>,
}

/// What a state is written for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    /// All of it, for one registrant.
    Whole,
    /// All of it, for the group; with the next Rekey SA while that is being distributed.
    Update,
    /// For an office that merges: only keys made after this number, and no Rekey SA (section 5.5).
    Merge {
        /// The number of the newest key made before the merge.
        after: u32,
    },
}

impl StateDraft {
    /// Writes GSA and KD.
    pub(crate) fn write(&self, writer: &mut Writer<'_>) -> WrapSlots {
        let gsa = writer.begin(PayloadType::GSA);
        if let Some(policy) = &self.rekey_sa {
            write_rekey_sa(writer, policy, self.source, self.destination);
        }
        write_group(writer, self.dtd_s);
        for policy in &self.teks {
            write_tek(writer, policy);
        }
        writer.end(gsa);
        let open = writer.begin(PayloadType::KD);
        let rekey_sa = self
            .rekey_sa
            .as_ref()
            .map(|policy| kd::write_rekey_sa(writer, &policy.spi));
        let mut teks = heapless::Vec::new();
        // A Retiring key has no bag: whoever needs it has it.
        for policy in self
            .teks
            .iter()
            .filter(|policy| policy.state != KeyState::Retiring)
        {
            let slot = kd::write_tek(writer, policy.id);
            // One Pending and one Active at most.
            let _ = teks.push((policy.id, slot));
        }
        if let Some(key) = &self.auth_key {
            kd::write_auth_key(writer, key);
        }
        writer.end(open);
        WrapSlots { rekey_sa, teks }
    }

    /// Wraps the keys into their places.
    pub(crate) fn wrap(
        &self,
        slots: WrapSlots,
        wrap: &mut KeyWrap,
        keys: &Table<'_, TrafficKey>,
        sas: &RekeySas,
        message: &mut [u8],
    ) -> Option<()> {
        let KeyWrap::Wraps(wrap) = wrap else { return None };
        apart::<ROW, _>(|| {
            let octets = self.rekey_sa_octets(sas);
            self.wrap_under(slots, wrap, keys, octets.as_ref(), message)
        })
    }

    /// The keys of the Rekey SA that is given, for [`Self::wrap_under`].
    pub(crate) fn rekey_sa_octets(&self, sas: &RekeySas) -> Option<Secret<68>> {
        let policy = self.rekey_sa.as_ref()?;
        sas.find(&policy.spi).map(|sa| sa.keys.octets())
    }

    pub(crate) fn wrap_under(
        &self,
        slots: WrapSlots,
        wrap: &mut WrapKey,
        keys: &Table<'_, TrafficKey>,
        rekey_sa: Option<&Secret<68>>,
        message: &mut [u8],
    ) -> Option<()> {
        if let Some(slot) = slots.rekey_sa {
            wrap.wrap(&slot.aad, rekey_sa?, place(&slot, message)?).ok()?;
        }
        for (id, slot) in &slots.teks {
            let key = keys.rows().find(|key| key.id == *id && key.lives())?;
            wrap.wrap(&slot.aad, &key.tek, place(slot, message)?).ok()?;
        }
        Some(())
    }

    /// Leaves out the oldest Retiring keys until no more than `count` are left (section 6).
    fn keep_retiring(&mut self, count: usize) {
        let mut kept = 0_usize;
        self.teks.retain(|policy| {
            if policy.state != KeyState::Retiring {
                return true;
            }
            kept = kept.saturating_add(1);
            kept <= count
        });
    }
}

fn place<'m>(slot: &WrapSlot, message: &'m mut [u8]) -> Option<&'m mut [u8]> {
    message.get_mut(slot.at..slot.at.checked_add(slot.key_len)?.checked_add(WRAP_OVERHEAD)?)
}

/// The key in a bag.
fn unwrap<const N: usize>(wrapped: &Wrapped<'_>, kwk: &Secret<32>) -> Result<Secret<N>, DropReason> {
    // Nonce, key and tag stand one behind the other; the longest key has 68 octets.
    let mut blob: heapless::Vec<u8, 96> = heapless::Vec::new();
    for part in [wrapped.nonce.as_slice(), wrapped.text, wrapped.tag.as_slice()] {
        blob.extend_from_slice(part).map_err(|_| DropReason::Malformed)?;
    }
    unwrap_key(kwk, &wrapped.aad(), &blob).map_err(|_| DropReason::BadSeal)
}

/// Unwraps every key of `state`: either all of it is good, or none is taken.
fn check(state: &State<'_>, kwk: &Secret<32>) -> Result<CheckedState, DropReason> {
    let rekey_sa = match &state.rekey_sa {
        None => None,
        Some(sa) => {
            let keys = match &sa.keys {
                None => None,
                Some(wrapped) => {
                    let octets: Secret<68> = unwrap(wrapped, kwk)?;
                    Some(RekeySaKeys::from_octets(octets.expose(), &sa.policy.spi))
                }
            };
            Some(NewRekeySa {
                spi: sa.policy.spi,
                keys,
                auth_key: sa.auth_key,
                generation: sa.policy.initial_generation,
            })
        }
    };
    let mut teks = heapless::Vec::new();
    for tek in &state.teks {
        let key = match &tek.key {
            None => None,
            Some(wrapped) => Some(unwrap(wrapped, kwk)?),
        };
        teks.push(CheckedTek {
            policy: tek.policy.clone(),
            key,
        })
        .map_err(|_| DropReason::Malformed)?;
    }
    Ok(CheckedState {
        rekey_sa,
        dtd_s: state.dtd_s,
        teks,
    })
}

impl Core<'_> {
    /// Checks a state that came under `sa`.
    pub(crate) fn check_unicast_state(
        &self,
        gsa: &[u8],
        kd: &[u8],
        sa: &IkeSa,
    ) -> Result<CheckedState, DropReason> {
        let KeyWrap::Unwraps(kwk) = &sa.wrap else {
            return Err(DropReason::Unexpected);
        };
        let state = State::parse(gsa, kd, Carrier::Unicast).map_err(wire_fault)?;
        let checked = check(&state, kwk)?;
        if let Some(new) = &checked.rekey_sa {
            match (&new.keys, self.node.sas.find(&new.spi)) {
                // State received by unicast is applied only if its generation is not less (section 7).
                (_, Some(known)) if new.generation < known.applied => return Err(DropReason::StaleState),
                (None, None) => return Err(DropReason::Malformed),
                (_, Some(_)) | (Some(_), None) => {}
            }
        }
        Ok(checked)
    }

    /// Checks the state of an update; its keys are wrapped under the GSK_w of the Rekey SA that seals it.
    pub(crate) fn check_multicast_state(
        &self,
        gsa: &[u8],
        kd: &[u8],
        kwk: &Secret<32>,
    ) -> Result<CheckedState, DropReason> {
        let state = State::parse(gsa, kd, Carrier::Multicast).map_err(wire_fault)?;
        let checked = check(&state, kwk)?;
        match &checked.rekey_sa {
            Some(new) if new.keys.is_none() && self.node.sas.find(&new.spi).is_none() => {
                Err(DropReason::Malformed)
            }
            Some(_) | None => Ok(checked),
        }
    }

    /// The state as it is now.
    pub(crate) fn draft(&self, purpose: Purpose) -> Option<StateDraft> {
        let office = self.node.office.as_ref()?;
        let settings = self.node.config.settings();
        let unicast = purpose != Purpose::Update;
        // While the next Rekey SA is being distributed, updates carry it, and so does what is given to one alone:
        // who announces it has acknowledged all (section 7).
        let named = match purpose {
            Purpose::Merge { .. } => None,
            Purpose::Whole => Some(
                office
                    .next
                    .map_or((office.spi, office.generation()), |next| (next, 0)),
            ),
            Purpose::Update => office.next.map(|next| (next, 0)),
        };
        let auth_key = self
            .node
            .term_key
            .as_ref()
            .map(|key| key.public())
            .filter(|_| unicast && named.is_some());
        let gcauth = if self.node.term_key.is_some() {
            GcAuth::Signature
        } else {
            GcAuth::Implicit
        };
        let rekey_sa = named.map(|(spi, generation)| RekeySaPolicy {
            spi,
            gcauth: unicast.then_some(gcauth),
            lifetime_s: seconds(match office.next {
                Some(_) => settings.rekey_sa_lifetime.as_secs_ceil(),
                None => office.sa_expires.since(self.now).as_secs_ceil(),
            }),
            initial_generation: if unicast { generation } else { 0 },
        });
        let mut teks: heapless::Vec<TekPolicy, 8> = heapless::Vec::new();
        for state in [KeyState::Pending, KeyState::Active] {
            let row = self.keys.rows().find(|key| key.lives() && key.state == state);
            let row = row.filter(|key| match purpose {
                Purpose::Merge { after } => key.made > after,
                Purpose::Whole | Purpose::Update => true,
            });
            if let Some(key) = row {
                // Two of eight places.
                let _ = teks.push(self.policy_of(key));
            }
        }
        if let Purpose::Merge { .. } = purpose {
            if teks.is_empty() {
                return None;
            }
        } else {
            let retiring = || {
                let rows = self.keys.rows();
                rows.filter(|key| key.lives() && key.state == KeyState::Retiring)
            };
            let last = retiring().map(|key| key.activation).max();
            let mut order: heapless::Vec<(bool, bool, u32, Instant, u16), 16> = retiring()
                .map(|key| (key, key.was_active && Some(key.activation) == last))
                .map(|(key, last)| (last, !key.was_active, key.activation, key.expires, key.id))
                .take(16)
                .collect();
            // The newest first, so that the oldest are left out where there is no room; before all the one that who lags
            // still sends with.
            order.sort_unstable_by(|a, b| b.cmp(a));
            for (_, _, _, _, id) in order {
                let row = self.keys.rows().find(|key| key.lives() && key.id == id);
                if let (Some(key), false) = (row, teks.is_full()) {
                    let _ = teks.push(self.policy_of(key));
                }
            }
        }
        Some(StateDraft {
            rekey_sa,
            auth_key,
            source: settings.address,
            destination: settings.multicast,
            dtd_s: u16::try_from(settings.dtd.as_secs_ceil()).unwrap_or(u16::MAX),
            teks,
        })
    }

    fn policy_of(&self, key: &TrafficKey) -> TekPolicy {
        TekPolicy {
            id: key.id,
            state: key.state,
            lifetime_s: seconds(key.expires.since(self.now).as_secs_ceil()),
            protocols: (key.state != KeyState::Retiring).then(|| key.protocols.clone()),
        }
    }

    /// The sizes that this node's messages to a peer can have.
    pub(crate) fn shape(&self) -> Shape {
        let settings = self.node.config.settings();
        let protocols = self
            .keys
            .rows()
            .filter(|key| key.lives())
            .map(|key| key.protocols.as_slice().len())
            .max();
        Shape {
            own_id: settings.identity.octets().len(),
            peer_id: MAX_IDENTITY,
            group: settings.group.len(),
            ipv6: settings.address.is_ipv6(),
            protocols: protocols.unwrap_or(0),
            signatures: self.creds.public_key().is_some(),
            controller_signatures: settings.controller_signatures,
            evicted: self.evicted_list().0.len(),
        }
    }

    /// A draft that leaves out as many Retiring keys as it must to fit a message of which `fixed` is the size with none.
    pub(crate) fn fitted(
        &self,
        purpose: Purpose,
        fixed: impl Fn(&Shape, StateShape) -> usize,
    ) -> Option<StateDraft> {
        let mut draft = self.draft(purpose)?;
        let octets = fixed(&self.shape(), StateShape::NEEDED);
        draft.keep_retiring(Shape::retiring_that_fit(octets).min(MAX_RETIRING));
        Some(draft)
    }

    /// What a registrant may be given in its GSA_AUTH response; `None` if nothing.
    pub(crate) fn state_for(&self, peer: Handle) -> Option<StateDraft> {
        let purpose = self.gift(peer)?;
        self.fitted(purpose, |shape, state| shape.auth_response(Some(state)))
    }

    /// EVICTED as it is handed on.
    pub(crate) fn evicted_list(&self) -> Evicted {
        let remembered = self.node.evicted.iter().filter(|entry| entry.until > self.now);
        Evicted(remembered.map(|entry| entry.digest).collect())
    }

    /// Whom an office tells a greater one that it put out (section 5.5, merge); nobody else tells any.
    pub(crate) fn evicted_to_tell(&self) -> Evicted {
        match self.node.office {
            Some(_) => self.evicted_list(),
            None => Evicted::default(),
        }
    }

    /// KEYS_IN_USE: the traffic keys that this node has, the one that it sends with first (section 4). While this office merges
    /// into another, the other's Pending key is shown only when this whole half holds it (section 5.5).
    pub(crate) fn keys_in_use(&self) -> KeysInUse {
        // What the routing protocols do not hold yet is not shown by who waits: that would acknowledge it.
        let waits = self.node.election.role() == Role::Initial;
        let hidden = self.hides_pending() || (waits && !self.node.installs.is_confirmed());
        let sending = self.sending_key();
        let mut shown = KeysInUse::default();
        let first = self.keys.iter().filter(|(row, _)| Some(*row) == sending);
        let others = self.keys.iter().filter(|(row, _)| Some(*row) != sending);
        for (row, key) in first.chain(others).filter(|(_, key)| key.lives()) {
            if key.state == KeyState::Pending && hidden {
                continue;
            }
            // Eight at most; the one that is sent with is first.
            let _ = shown.0.push(KeyInUse {
                id: key.id,
                usage: key.usage(Some(row) == sending),
                check: key.check(),
            });
        }
        shown
    }
}

fn seconds(seconds: u64) -> u32 {
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

/// What an update says, as octets in the clear.
pub(crate) fn parse_update(message: &[u8]) -> Result<wire::rekey::Update<'_>, DropReason> {
    wire::rekey::Update::parse(message).map_err(wire_fault)
}
