//! The shape of the file. Defaults are not here: what is absent is left as karp-core has it.

use serde::Deserialize;

use super::values::{Address, KeySource, RouterId, Span};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    pub(super) node: Node,
    pub(super) group: Group,
    #[serde(default)]
    pub(super) credential: Credential,
    pub(super) shared: Option<Shared>,
    #[serde(default)]
    pub(super) peer: Vec<Peer>,
    #[serde(default)]
    pub(super) policy: Policy,
    #[serde(default)]
    pub(super) timers: Timers,
    #[serde(default)]
    pub(super) manual_key: Vec<Manual>,
    #[serde(default)]
    pub(super) storage: Storage,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Node {
    pub(super) identity: Option<String>,
    pub(super) router_id: Option<RouterId>,
    pub(super) priority: Option<u16>,
    pub(super) preempt: Option<bool>,
    pub(super) may_serve: Option<bool>,
    pub(super) address: Option<Address>,
    pub(super) port: Option<u16>,
    pub(super) interface: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) multicast: Option<Address>,
    pub(super) multicast_port: Option<u16>,
    pub(super) gtsm: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Credential {
    pub(super) signing_key: Option<KeySource>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shared {
    pub(super) psk: KeySource,
    pub(super) may_join: Option<bool>,
    pub(super) may_serve: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Peer {
    pub(super) identity: String,
    pub(super) psk: Option<KeySource>,
    pub(super) public_key: Option<KeySource>,
    pub(super) may_join: Option<bool>,
    pub(super) may_serve: Option<bool>,
    pub(super) expected: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Policy {
    pub(super) protocols: Option<Vec<Protocol>>,
    pub(super) key_ids: Option<Vec<u16>>,
    pub(super) expiry: Option<Expiry>,
    pub(super) controller_signatures: Option<bool>,
    pub(super) reboot_exempt: Option<bool>,
    pub(super) confirm_installs: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Protocol {
    pub(super) protocol: String,
    pub(super) algorithm: String,
    pub(super) self_protecting: Option<bool>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Expiry {
    KeepLast,
    FailClosed,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Timers {
    pub(super) hello: Option<Span>,
    pub(super) hold_multiplier: Option<u8>,
    pub(super) retransmit: Option<Span>,
    pub(super) tries: Option<u8>,
    pub(super) min_rekey: Option<Span>,
    pub(super) key_lifetime: Option<Span>,
    pub(super) rekey_sa_lifetime: Option<Span>,
    pub(super) dtd: Option<Span>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manual {
    pub(super) protocol: String,
    pub(super) algorithm: String,
    pub(super) id: u16,
    pub(super) secret: KeySource,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Storage {
    pub(super) peers: Option<usize>,
    pub(super) keys: Option<usize>,
    pub(super) handshakes: Option<usize>,
    pub(super) sealed: Option<usize>,
    pub(super) strangers: Option<usize>,
}
