//! The engine's tables on the heap, sized at run time.

use std::ops::RangeInclusive;

use karp_core::storage::{HandshakeSlot, KeySlot, PeerSlot, SealedSlot, Slots, Storage, StrangerSlot, View};

/// How many rows each table has. They are allocated once and never grow: what does not fit is refused and counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sizes {
    /// Routers that this node can know; one that may serve needs a row for each member. 1 to 65535.
    pub peers: usize,
    /// Traffic keys, 10 to 255: eight that a state lists, and two whose end the host was not told yet.
    pub keys: usize,
    /// Exchanges under way, half-open ones included, 2 to 65535. From half of it on, cookies are asked for.
    pub handshakes: usize,
    /// Requests that wait for an answer, 2 to 65535.
    pub sealed: usize,
    /// Nodes known by hints alone, 2 to 65535.
    pub strangers: usize,
}

impl Sizes {
    /// What `peers` can be.
    pub const PEERS: RangeInclusive<usize> = 1..=65535;
    /// What `keys` can be.
    pub const KEYS: RangeInclusive<usize> = 10..=255;
    /// What `handshakes`, `sealed` and `strangers` can be.
    pub const OTHERS: RangeInclusive<usize> = 2..=65535;
}

/// A server for a link of up to 64 routers (PROTOCOL.md section 11).
impl Default for Sizes {
    fn default() -> Self {
        Self {
            peers: 64,
            keys: 16,
            handshakes: 64,
            sealed: 32,
            strangers: 32,
        }
    }
}

/// Storage on the heap.
pub struct Heap {
    peers: Box<[PeerSlot]>,
    keys: Box<[KeySlot]>,
    handshakes: Box<[HandshakeSlot]>,
    sealed: Box<[SealedSlot]>,
    strangers: Box<[StrangerSlot]>,
}

impl Heap {
    /// Empty tables of these sizes. The engine refuses sizes that are too small for it.
    #[must_use]
    pub fn new(sizes: &Sizes) -> Self {
        Self {
            peers: slots(sizes.peers),
            keys: slots(sizes.keys),
            handshakes: slots(sizes.handshakes),
            sealed: slots(sizes.sealed),
            strangers: slots(sizes.strangers),
        }
    }
}

impl Default for Heap {
    fn default() -> Self {
        Self::new(&Sizes::default())
    }
}

impl Storage for Heap {
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

impl std::fmt::Debug for Heap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Heap")
            .field("peers", &self.peers.len())
            .field("keys", &self.keys.len())
            .field("handshakes", &self.handshakes.len())
            .field("sealed", &self.sealed.len())
            .field("strangers", &self.strangers.len())
            .finish()
    }
}

fn slots<T: Default>(n: usize) -> Box<[T]> {
    std::iter::repeat_with(T::default).take(n).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_the_sizes_asked_for() {
        let sizes = Sizes {
            peers: 1024,
            keys: 16,
            handshakes: 3,
            sealed: 5,
            strangers: 7,
        };
        let mut heap = Heap::new(&sizes);
        let view = heap.view();
        assert_eq!(
            (view.peers.len(), view.keys.len(), view.handshakes.len()),
            (1024, 16, 3)
        );
        let slots = heap.slots();
        assert_eq!((slots.sealed.len(), slots.strangers.len()), (5, 7));
    }

    #[test]
    fn the_defaults_are_in_range() {
        let sizes = Sizes::default();
        assert!(Sizes::PEERS.contains(&sizes.peers) && Sizes::KEYS.contains(&sizes.keys));
        assert!(
            [sizes.handshakes, sizes.sealed, sizes.strangers]
                .iter()
                .all(|size| Sizes::OTHERS.contains(size))
        );
    }
}
