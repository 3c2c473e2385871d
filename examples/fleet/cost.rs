//! What a router's processor spends on a message: a model, scaled by how many initial exchanges it answers in a second.

use karp_core::io::MessageKind;

use crate::laboratory::peek;

/// How a processor spends its time. Each number is a share of one answered initial exchange, in thousandths of it: the
/// two scalar multiplications of the exchange are what takes time, on a server and on a line card, and all else is
/// counted in them. `--measure` prints what the engine really takes beside these.
mod share {
    /// A public key of its own: a multiplication of the base point, and writing or reading the message around it.
    pub(super) const OWN_PUBLIC: u64 = 300;
    /// The shared secret, the key schedule, and a proof made and one verified.
    pub(super) const AGREE: u64 = 700;
    /// A cookie made or checked, or a message that is parsed and dropped.
    pub(super) const HASH: u64 = 10;
    /// An announcement of somebody without keys: parsed and noted.
    pub(super) const HINT: u64 = 5;
    /// One MAC, one seal, or one opening.
    pub(super) const SEAL: u64 = 20;
    /// An Ed25519 signature.
    pub(super) const SIGN: u64 = 300;
    /// The verification of one.
    pub(super) const VERIFY: u64 = 700;
}

/// A processor's speed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// Nanoseconds for one answered initial exchange.
    exchange: u64,
}

impl Cost {
    /// A processor that answers so many initial exchanges a second.
    pub(crate) fn per_second(exchanges: f64) -> Self {
        Self {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a positive span of time"
            )]
            exchange: (1e9 / exchanges) as u64,
        }
    }

    fn of(self, thousandths: u64) -> u64 {
        self.exchange * thousandths / 1000
    }

    /// Nanoseconds to take a message in. `keyed`: the receiver has a Rekey SA, so it can verify MACs and signatures.
    pub(crate) fn input(self, kind: MessageKind, octets: &[u8], accepted: bool, keyed: bool) -> u64 {
        let share = match kind {
            MessageKind::Announcement => {
                let signed = || {
                    peek::payloads(octets)
                        .iter()
                        .any(|payload| payload.kind == peek::AUTH)
                };
                let with_mac = || peek::notify(octets, peek::GROUP_MAC).is_some();
                match accepted && keyed && with_mac() {
                    true if signed() => share::SEAL + share::VERIFY,
                    true => share::SEAL,
                    false => share::HINT,
                }
            }
            MessageKind::KeyUpdate if accepted => share::SEAL + share::VERIFY,
            MessageKind::InitRequest | MessageKind::KeyUpdate => share::HASH,
            MessageKind::InitResponse | MessageKind::AuthRequest if accepted => share::AGREE,
            MessageKind::InitResponse | MessageKind::AuthRequest => share::HASH,
            // GSA_AUTH's answer, requests and answers under an IKE SA.
            _ => share::SEAL,
        };
        self.of(share)
    }

    /// Nanoseconds to make a message. `repeated`: it goes out again as octets that are kept.
    pub(crate) fn output(self, kind: MessageKind, octets: &[u8], repeated: bool) -> u64 {
        let share = match kind {
            _ if repeated => share::HASH,
            MessageKind::Announcement => {
                let signed = peek::payloads(octets)
                    .iter()
                    .any(|payload| payload.kind == peek::AUTH);
                share::SEAL + if signed { share::SIGN } else { 0 }
            }
            MessageKind::KeyUpdate => share::SEAL + share::SIGN,
            // A cookie or a redirection has no key in it.
            MessageKind::InitResponse
                if !peek::payloads(octets)
                    .iter()
                    .any(|payload| payload.kind == peek::KE) =>
            {
                share::HASH
            }
            MessageKind::InitRequest | MessageKind::InitResponse => share::OWN_PUBLIC,
            // GSA_AUTH, requests and answers under an IKE SA.
            _ => share::SEAL,
        };
        self.of(share)
    }
}
