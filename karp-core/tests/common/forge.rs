//! What an outsider can write: messages made without any key. Built from PROTOCOL.md, not by the crate's writer.

use super::peek::{self, ElectionState, INITIATOR};

/// Writes one message payload by payload.
pub struct Forge {
    octets: Vec<u8>,
    /// Where the type of the next payload has to be entered.
    next: usize,
}

impl Forge {
    pub fn new(spi_i: [u8; 8], spi_r: [u8; 8], exchange: u8, flags: u8, id: u32) -> Self {
        let mut octets = Vec::new();
        octets.extend(spi_i);
        octets.extend(spi_r);
        octets.extend([0, 0x20, exchange, flags]);
        octets.extend(id.to_be_bytes());
        octets.extend([0; 4]);
        Self { octets, next: 16 }
    }

    pub fn payload(mut self, kind: u8, body: &[u8]) -> Self {
        self.octets[self.next] = kind;
        self.next = self.octets.len();
        self.octets.extend([0, 0]);
        self.octets
            .extend(u16::try_from(body.len() + 4).unwrap().to_be_bytes());
        self.octets.extend(body);
        self
    }

    /// Says that the last payload is critical.
    pub fn critical(mut self) -> Self {
        let at = self.next + 1;
        self.octets[at] |= 0x80;
        self
    }

    pub fn notify(self, kind: u16, data: &[u8]) -> Self {
        let mut body = vec![0, 0];
        body.extend(kind.to_be_bytes());
        body.extend(data);
        self.payload(peek::NOTIFY, &body)
    }

    pub fn identity(self, payload: u8, kind: u8, name: &[u8]) -> Self {
        let mut body = vec![kind, 0, 0, 0];
        body.extend(name);
        self.payload(payload, &body)
    }

    pub fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.octets.len()).unwrap();
        self.octets[24..28].copy_from_slice(&length.to_be_bytes());
        self.octets
    }
}

/// An announcement without any proof: a hint.
pub fn hint(group: &str, name: &str, instance: [u8; 8], sequence: u32, state: &ElectionState) -> Vec<u8> {
    announcement(group, name, instance, sequence, state).finish()
}

/// The head of an announcement, to add to.
pub fn announcement(
    group: &str,
    name: &str,
    instance: [u8; 8],
    sequence: u32,
    state: &ElectionState,
) -> Forge {
    Forge::new(instance, [0; 8], peek::GCKS_ELECTION, INITIATOR, sequence)
        .identity(peek::IDG, 11, group.as_bytes())
        .identity(peek::IDI, 2, name.as_bytes())
        .notify(peek::ELECTION_STATE, &state.octets())
}

/// An election state that claims the office with the highest rank there is.
pub fn pretender() -> ElectionState {
    ElectionState {
        version: 1,
        state: ElectionState::GCKS,
        flags: ElectionState::KEYED,
        multiplier: 4,
        priority: u16::MAX,
        interval: 1000,
        router_id: u64::MAX,
        spi: [0xee; 16],
        generation: u32::MAX,
        members: 1_000_000,
    }
}

/// The message with one octet changed at `at`.
pub fn flipped(octets: &[u8], at: usize, mask: u8) -> Vec<u8> {
    let mut changed = octets.to_vec();
    changed[at] ^= mask;
    changed
}

/// The message with the body of its first payload of `kind` replaced octet for octet by `with`, as far as that goes.
pub fn with_body(octets: &[u8], kind: u8, skip: usize, with: &[u8]) -> Vec<u8> {
    let mut changed = octets.to_vec();
    let payload = peek::payloads(octets)
        .into_iter()
        .find(|p| p.kind == kind)
        .expect("no such payload");
    let at = payload.at + skip;
    let end = (at + with.len()).min(payload.at + payload.body.len());
    changed[at..end].copy_from_slice(&with[..end - at]);
    changed
}
