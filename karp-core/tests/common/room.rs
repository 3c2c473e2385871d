//! Tables on the heap, of the sizes that a scenario wants.

use karp_core::storage::{HandshakeSlot, KeySlot, PeerSlot, SealedSlot, Slots, Storage, StrangerSlot, View};

/// How large a router's tables are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sizes {
    pub peers: usize,
    pub keys: usize,
    pub handshakes: usize,
    pub sealed: usize,
    pub strangers: usize,
}

impl Sizes {
    /// A server's, with the defaults of section 11.
    pub const SERVER: Self = Self {
        peers: 64,
        keys: 16,
        handshakes: 64,
        sealed: 16,
        strangers: 32,
    };
    /// A line card's.
    pub const LINE_CARD: Self = Self {
        peers: 8,
        keys: 12,
        handshakes: 4,
        sealed: 4,
        strangers: 8,
    };
}

/// One router's tables.
pub struct Room {
    peers: Vec<PeerSlot>,
    keys: Vec<KeySlot>,
    handshakes: Vec<HandshakeSlot>,
    sealed: Vec<SealedSlot>,
    strangers: Vec<StrangerSlot>,
}

impl Room {
    pub fn new(sizes: Sizes) -> Self {
        fn slots<T: Default>(count: usize) -> Vec<T> {
            std::iter::repeat_with(T::default).take(count).collect()
        }
        Self {
            peers: slots(sizes.peers),
            keys: slots(sizes.keys),
            handshakes: slots(sizes.handshakes),
            sealed: slots(sizes.sealed),
            strangers: slots(sizes.strangers),
        }
    }
}

impl Storage for Room {
    fn slots(&mut self) -> Slots<'_> {
        Slots {
            peers: &mut self.peers,
            keys: &mut self.keys,
            handshakes: &mut self.handshakes,
            sealed: &mut self.sealed,
            strangers: &mut self.strangers,
        }
    }

    fn view(&self) -> View<'_> {
        View {
            peers: &self.peers,
            keys: &self.keys,
            handshakes: &self.handshakes,
            sealed: &self.sealed,
            strangers: &self.strangers,
        }
    }
}
