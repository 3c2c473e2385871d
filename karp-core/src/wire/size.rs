//! How many octets each message has at most, so that a configuration whose messages would not fit is refused
//! before it runs (PROTOCOL.md section 2).
//!
//! The numbers are those of the writers; the tests hold them against each other.

use super::auth::{SHARED_KEY_AUTH_LEN, SIGNATURE_AUTH_LEN, SPKI_LEN};
use super::header::Header;
use super::kd::{AUTH_KEY_BAG_LEN, REKEY_SA_BAG_LEN, TEK_BAG_LEN};
use super::notify::{
    ElectionState, Evicted, GroupMac, Handoff, Instance, KeysInUse, MAX_COOKIE_LEN, MAX_EVICTED,
    MAX_KEYS_IN_USE, RekeyRequest,
};
use super::sa::GROUP_LEN;
use super::sk;
use super::state::MAX_TEKS;

/// No message that is sent exceeds this: the IPv6 minimum MTU less the headers of IPv6 and UDP (PROTOCOL.md
/// section 2).
pub const MAX_DATAGRAM: usize = 1232;
/// Octets of the nonces that are sent.
pub const NONCE_LEN: usize = 32;
/// Most Retiring keys beside a Pending and an Active one.
pub const MAX_RETIRING: usize = MAX_TEKS - 2;

/// Octets of a public value of Curve25519.
const CURVE25519_LEN: usize = 32;
/// Octets of a traffic selector of one address.
const fn selector(ipv6: bool) -> usize {
    if ipv6 { 40 } else { 16 }
}

/// What of a configuration the sizes depend on. All lengths in octets.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Shape {
    /// The node's own identity.
    pub own_id: usize,
    /// The longest identity of a peer.
    pub peer_id: usize,
    /// The group's name.
    pub group: usize,
    /// Whether the link is keyed over IPv6.
    pub ipv6: bool,
    /// Routing protocols that a traffic key keys, at most eight.
    pub protocols: usize,
    /// Whether the node proves itself by Ed25519; else by a shared key.
    pub signatures: bool,
    /// Whether the group's policy asks for controller signatures.
    pub controller_signatures: bool,
    /// Most entries of EVICTED that are remembered, at most eight.
    pub evicted: usize,
}

/// The parts of a state (GSA and KD).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct StateShape {
    /// Whether a Rekey SA is in it.
    pub rekey_sa: bool,
    /// Pending and Active keys: 0 to 2.
    pub live: usize,
    /// Retiring keys, at most [`MAX_RETIRING`].
    pub retiring: usize,
}

impl StateShape {
    /// All eight keys.
    pub const LARGEST: Self = Self {
        rekey_sa: true,
        live: 2,
        retiring: MAX_RETIRING,
    };
    /// The least that has to fit: a Pending and an Active key. Retiring ones are left out where there is no
    /// room.
    pub const NEEDED: Self = Self {
        rekey_sa: true,
        live: 2,
        retiring: 0,
    };
}

/// Octets of a payload with a body of `body` octets.
#[must_use]
pub const fn payload(body: usize) -> usize {
    body.saturating_add(4)
}

/// Octets of a notify payload with `data` octets of data and no SPI.
#[must_use]
pub const fn notify(data: usize) -> usize {
    data.saturating_add(8)
}

/// Octets of an identification payload with an identity of `id` octets.
#[must_use]
pub const fn identification(id: usize) -> usize {
    id.saturating_add(8)
}

/// Octets of a sealed message whose payloads inside have `payloads` octets.
#[must_use]
pub const fn sealed(payloads: usize) -> usize {
    payloads.saturating_add(sk::OVERHEAD)
}

/// Octets of the policy of a traffic key that keys `protocols` protocols; of a Retiring one for `None`.
#[must_use]
pub const fn tek_policy(protocols: Option<usize>) -> usize {
    // Header and SPI 8, selectors 32, PRF 8, state 4, lifetime 8.
    match protocols {
        Some(protocols) => 64_usize.saturating_add(protocols.saturating_mul(4)),
        None => 60,
    }
}

const fn sum(parts: &[usize]) -> usize {
    let mut total = 0_usize;
    let mut rest = parts;
    while let Some((first, behind)) = rest.split_first() {
        total = total.saturating_add(*first);
        rest = behind;
    }
    total
}

const fn when(condition: bool, octets: usize) -> usize {
    if condition { octets } else { 0 }
}

impl Shape {
    /// Octets of the policy of a Rekey SA whose first generation is not 0.
    const fn rekey_sa_policy(&self, unicast: bool) -> usize {
        // GCAUTH: a transform, and for signatures its attribute 18.
        let gcauth = when(
            unicast,
            8_usize.saturating_add(when(self.controller_signatures, 11)),
        );
        // Header and SPI 20, ENCR 8, KWA 8, lifetime 8, initial Message ID 8.
        sum(&[52, selector(self.ipv6), selector(self.ipv6), gcauth])
    }

    /// Octets of the GSA and KD payloads together. `unicast`: with what an update leaves out, GCAUTH and
    /// AUTH_KEY.
    #[must_use]
    pub const fn state(&self, state: StateShape, unicast: bool) -> usize {
        let group_wide = 8;
        let gsa = sum(&[
            group_wide,
            when(state.rekey_sa, self.rekey_sa_policy(unicast)),
            tek_policy(Some(self.protocols)).saturating_mul(state.live),
            tek_policy(None).saturating_mul(state.retiring),
        ]);
        let kd = sum(&[
            when(state.rekey_sa, REKEY_SA_BAG_LEN),
            when(
                state.rekey_sa && unicast && self.controller_signatures,
                AUTH_KEY_BAG_LEN,
            ),
            TEK_BAG_LEN.saturating_mul(state.live),
        ]);
        payload(gsa).saturating_add(payload(kd))
    }

    /// Octets of AUTH and, for signatures, CERT.
    const fn proof(&self) -> usize {
        if self.signatures {
            payload(SIGNATURE_AUTH_LEN).saturating_add(payload(SPKI_LEN.saturating_add(1)))
        } else {
            payload(SHARED_KEY_AUTH_LEN)
        }
    }

    const fn evicted(&self) -> usize {
        let count = if self.evicted < MAX_EVICTED {
            self.evicted
        } else {
            MAX_EVICTED
        };
        when(count != 0, notify(count.saturating_mul(Evicted::ENTRY_LEN)))
    }

    /// An announcement of a GCKS with HANDOFF, signature and both MACs.
    #[must_use]
    pub const fn announcement(&self) -> usize {
        sum(&[
            Header::LEN,
            identification(self.group),
            identification(self.own_id),
            notify(ElectionState::LEN),
            notify(Handoff::LEN),
            when(self.controller_signatures, payload(SIGNATURE_AUTH_LEN)),
            notify(GroupMac::LEN),
            notify(GroupMac::LEN),
        ])
    }

    /// A GSA_AUTH request with CERTREQ, the responder's identity, a full KEYS_IN_USE, and the EVICTED of an office.
    #[must_use]
    pub const fn auth_request(&self) -> usize {
        sealed(sum(&[
            identification(self.own_id),
            self.proof(),
            when(self.signatures, payload(1)),
            identification(self.peer_id),
            identification(self.group),
            notify(Instance::LEN),
            notify(ElectionState::LEN),
            KEYS_IN_USE,
            self.evicted(),
        ]))
    }

    /// A GSA_AUTH response with this state, or without one for `None`: then GSA_INBAND_REKEY brings it.
    #[must_use]
    pub const fn auth_response(&self, state: Option<StateShape>) -> usize {
        sealed(sum(&[
            identification(self.own_id),
            self.proof(),
            notify(Instance::LEN),
            notify(ElectionState::LEN),
            self.evicted(),
            self.optional_state(state),
        ]))
    }

    /// A GSA_AUTH response that refuses: an error notify and ELECTION_STATE.
    #[must_use]
    pub const fn auth_refusal(&self) -> usize {
        sealed(sum(&[
            identification(self.own_id),
            self.proof(),
            notify(0),
            notify(ElectionState::LEN),
        ]))
    }

    /// A GSA_REGISTRATION request, with the EVICTED of an office that merges.
    #[must_use]
    pub const fn registration_request(&self) -> usize {
        sealed(sum(&[identification(self.group), KEYS_IN_USE, self.evicted()]))
    }

    /// A GSA_REGISTRATION response, or a GSA_INBAND_REKEY request, which says the same.
    #[must_use]
    pub const fn unicast_state(&self, state: Option<StateShape>) -> usize {
        sealed(sum(&[self.evicted(), self.optional_state(state)]))
    }

    /// A GSA_REKEY.
    #[must_use]
    pub const fn update(&self, state: StateShape) -> usize {
        sealed(sum(&[
            self.state(state, false),
            when(self.controller_signatures, payload(SIGNATURE_AUTH_LEN)),
        ]))
    }

    const fn optional_state(&self, state: Option<StateShape>) -> usize {
        match state {
            Some(state) => self.state(state, true),
            None => 0,
        }
    }

    /// How many Retiring keys fit beside `state.live` others and the rest of a message, of which `octets` are
    /// there without any. At most [`MAX_RETIRING`].
    #[must_use]
    pub const fn retiring_that_fit(octets: usize) -> usize {
        let room = MAX_DATAGRAM.saturating_sub(octets);
        match room.checked_div(tek_policy(None)) {
            Some(count) if count < MAX_RETIRING => count,
            _ => MAX_RETIRING,
        }
    }

    /// The largest message that this configuration has to send whole: every type at its maximum, but with a
    /// state in which no Retiring key is left, and GSA_AUTH without state. [`MAX_DATAGRAM`] is the limit for
    /// it.
    #[must_use]
    pub const fn largest(&self) -> usize {
        let mut largest = 0;
        let mut rest: &[usize] = &[
            IKE_SA_INIT_REQUEST,
            IKE_SA_INIT_RESPONSE,
            IKE_SA_INIT_REDIRECT,
            self.announcement(),
            self.auth_request(),
            self.auth_response(None),
            self.auth_refusal(),
            self.registration_request(),
            self.unicast_state(Some(StateShape::NEEDED)),
            self.update(StateShape::NEEDED),
            INFORMATIONAL,
        ];
        while let Some((first, behind)) = rest.split_first() {
            if *first > largest {
                largest = *first;
            }
            rest = behind;
        }
        largest
    }
}

/// A full KEYS_IN_USE.
const KEYS_IN_USE: usize = notify(KeysInUse::ENTRY_LEN * MAX_KEYS_IN_USE);

/// SA, KE and nonce of a group's IKE_SA_INIT.
const INIT: usize = sum(&[
    Header::LEN,
    payload(GROUP_LEN),
    payload(CURVE25519_LEN + 4),
    payload(NONCE_LEN),
]);

/// An IKE_SA_INIT request with the longest cookie, REDIRECT_SUPPORTED and an IPv6 REDIRECTED_FROM.
pub const IKE_SA_INIT_REQUEST: usize = sum(&[
    INIT,
    notify(MAX_COOKIE_LEN),
    notify(2),
    notify(0),
    notify(super::redirect::MAX_GATEWAY_LEN),
]);

/// An IKE_SA_INIT response with CERTREQ, and INTEG repeated from a proposal that names it.
pub const IKE_SA_INIT_RESPONSE: usize = sum(&[INIT, 8, payload(1), notify(2), notify(0)]);

/// An IKE_SA_INIT response that redirects to an IPv6 address, with the longest nonce repeated.
pub const IKE_SA_INIT_REDIRECT: usize = sum(&[Header::LEN, notify(super::redirect::MAX_GATEWAY_LEN + 256)]);

/// An INFORMATIONAL message with REKEY_REQUEST; departure, question and answer are shorter or equal.
pub const INFORMATIONAL: usize = sealed(notify(RekeyRequest::LEN));
