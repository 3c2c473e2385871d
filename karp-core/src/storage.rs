//! Every table and every capacity, in one place.
//!
//! The engine allocates nothing: a [`Storage`] lends it slices of slots. [`Fixed`] has them inline, for a static or a
//! box; karp-std's `Heap` takes its sizes from the configuration. Only the engine's thin shell is generic over
//! storage; its parts see slices and are compiled once.

mod by_identity;

use core::ops::DerefMut;

use crate::{
    exchange::Handshake, group::TrafficKey, peer::Peer, sealed::Sealed, stranger::Stranger, time::Instant,
};

/// A place for one row. Inside, rows are named by handles, which go stale when the place is used again.
#[derive(Debug)]
pub struct Slot<T> {
    epoch: u16,
    /// Of peers: the chains that find them by identity.
    first: u16,
    next: u16,
    row: Option<T>,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self {
            epoch: 0,
            first: 0,
            next: 0,
            row: None,
        }
    }
}

/// A slot of the table of peers.
pub type PeerSlot = Slot<Peer>;
/// A slot of the table of traffic keys.
pub type KeySlot = Slot<TrafficKey>;
/// A slot for a half-open exchange or an attempt.
pub type HandshakeSlot = Slot<Handshake>;
/// A slot for a message that may have to go out again as the same octets.
pub type SealedSlot = Slot<Sealed>;
/// A slot of the table of strangers: nodes known by hints alone.
pub type StrangerSlot = Slot<Stranger>;

/// Mutable slices of every table.
pub struct Slots<'a> {
    /// One for each peer that this node can know; a GCKS needs one for each member.
    pub peers: &'a mut [PeerSlot],
    /// One for each traffic key, at least ten: eight that a state lists, and two whose end the host was not told yet.
    pub keys: &'a mut [KeySlot],
    /// One for each exchange under way, at least two.
    pub handshakes: &'a mut [HandshakeSlot],
    /// One for each request that waits for an answer, at least two.
    pub sealed: &'a mut [SealedSlot],
    /// One for each stranger remembered, at least two.
    pub strangers: &'a mut [StrangerSlot],
}

/// Shared slices of every table, see [`Slots`].
pub struct View<'a> {
    /// Peers.
    pub peers: &'a [PeerSlot],
    /// Traffic keys.
    pub keys: &'a [KeySlot],
    /// Exchanges under way.
    pub handshakes: &'a [HandshakeSlot],
    /// Requests that wait for an answer.
    pub sealed: &'a [SealedSlot],
    /// Strangers.
    pub strangers: &'a [StrangerSlot],
}

/// Lends the engine its tables. Both methods must always lend the same slots.
pub trait Storage {
    /// The tables, to change.
    fn slots(&mut self) -> Slots<'_>;
    /// The tables, to read.
    fn view(&self) -> View<'_>;
}

/// Whatever points to a storage is one: `&mut S`, a `Box`.
impl<P> Storage for P
where
    P: DerefMut,
    P::Target: Storage,
{
    fn slots(&mut self) -> Slots<'_> {
        (**self).slots()
    }
    fn view(&self) -> View<'_> {
        (**self).view()
    }
}

/// Tables of fixed size, inline. Put large ones in a static or a box: never return them by value.
pub struct Fixed<
    const PEERS: usize,
    const KEYS: usize,
    const HANDSHAKES: usize,
    const SEALED: usize,
    const STRANGERS: usize,
> {
    peers: [PeerSlot; PEERS],
    keys: [KeySlot; KEYS],
    handshakes: [HandshakeSlot; HANDSHAKES],
    sealed: [SealedSlot; SEALED],
    strangers: [StrangerSlot; STRANGERS],
}

impl<const P: usize, const K: usize, const H: usize, const S: usize, const T: usize> Default
    for Fixed<P, K, H, S, T>
{
    fn default() -> Self {
        Self {
            peers: core::array::from_fn(|_| Slot::default()),
            keys: core::array::from_fn(|_| Slot::default()),
            handshakes: core::array::from_fn(|_| Slot::default()),
            sealed: core::array::from_fn(|_| Slot::default()),
            strangers: core::array::from_fn(|_| Slot::default()),
        }
    }
}

impl<const P: usize, const K: usize, const H: usize, const S: usize, const T: usize> Storage
    for Fixed<P, K, H, S, T>
{
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

/// Names a row of a table for as long as the row lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Handle {
    at: u16,
    epoch: u16,
}

impl Handle {
    /// The handle as one number.
    pub(crate) fn number(self) -> u32 {
        u32::from(self.at).wrapping_shl(16) | u32::from(self.epoch)
    }

    /// The handle with this number.
    pub(crate) fn from_number(number: u32) -> Self {
        let [a, b, c, d] = number.to_be_bytes();
        Self {
            at: u16::from_be_bytes([a, b]),
            epoch: u16::from_be_bytes([c, d]),
        }
    }
}

/// A table over borrowed slots. Never panics: a stale handle finds nothing, a full table refuses.
pub(crate) struct Table<'a, T> {
    slots: &'a mut [Slot<T>],
}

impl<'a, T> Table<'a, T> {
    pub(crate) fn new(slots: &'a mut [Slot<T>]) -> Self {
        Self { slots }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.slots.iter().all(|slot| slot.row.is_some())
    }

    pub(crate) fn get(&self, handle: Handle) -> Option<&T> {
        let slot = self.slots.get(usize::from(handle.at))?;
        if slot.epoch == handle.epoch {
            slot.row.as_ref()
        } else {
            None
        }
    }

    pub(crate) fn get_mut(&mut self, handle: Handle) -> Option<&mut T> {
        let slot = self.slots.get_mut(usize::from(handle.at))?;
        if slot.epoch == handle.epoch {
            slot.row.as_mut()
        } else {
            None
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Handle, &T)> {
        iter(self.slots)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (Handle, &mut T)> {
        self.slots.iter_mut().enumerate().filter_map(|(at, slot)| {
            let handle = Handle {
                at: u16::try_from(at).ok()?,
                epoch: slot.epoch,
            };
            slot.row.as_mut().map(|row| (handle, row))
        })
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|slot| slot.row.as_ref())
    }

    /// All rows with their places, beginning at place `at`.
    pub(crate) fn rows_from(&self, at: usize) -> impl Iterator<Item = (usize, &T)> {
        let places = || self.slots.iter().enumerate();
        let rows = places().skip(at).chain(places().take(at));
        rows.filter_map(|(at, slot)| slot.row.as_ref().map(|row| (at, row)))
    }

    pub(crate) fn rows_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut().filter_map(|slot| slot.row.as_mut())
    }

    pub(crate) fn find(&self, mut matches: impl FnMut(&T) -> bool) -> Option<Handle> {
        self.iter()
            .find(|(_, row)| matches(row))
            .map(|(handle, _)| handle)
    }

    /// Puts `row` into a free slot; `None` if there is none.
    pub(crate) fn insert(&mut self, row: T) -> Option<Handle> {
        let at = self.slots.iter().position(|slot| slot.row.is_none())?;
        let number = u16::try_from(at).ok()?;
        let slot = self.slots.get_mut(at)?;
        slot.row = Some(row);
        Some(Handle {
            at: number,
            epoch: slot.epoch,
        })
    }

    /// Drops a row where it is; says whether there was one. It is not handed out: a move would leave its secrets in the
    /// slot, where no drop comes.
    pub(crate) fn remove(&mut self, handle: Handle) -> bool {
        let Some(slot) = self.slots.get_mut(usize::from(handle.at)) else {
            return false;
        };
        if slot.epoch != handle.epoch || slot.row.is_none() {
            return false;
        }
        slot.epoch = slot.epoch.wrapping_add(1);
        slot.row = None;
        true
    }

    /// Removes every row that `keep` does not want to keep.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&mut T) -> bool) {
        for slot in self.slots.iter_mut() {
            if slot.row.as_mut().is_some_and(|row| !keep(row)) {
                slot.row = None;
                slot.epoch = slot.epoch.wrapping_add(1);
            }
        }
    }
}

/// Iterates over slots that are only lent for reading.
pub(crate) fn iter<T>(slots: &[Slot<T>]) -> impl Iterator<Item = (Handle, &T)> {
    slots.iter().enumerate().filter_map(|(at, slot)| {
        let handle = Handle {
            at: u16::try_from(at).ok()?,
            epoch: slot.epoch,
        };
        slot.row.as_ref().map(|row| (handle, row))
    })
}

/// The row that `handle` names in slots that are only lent for reading.
pub(crate) fn get<T>(slots: &[Slot<T>], handle: Handle) -> Option<&T> {
    let slot = slots.get(usize::from(handle.at))?;
    if slot.epoch == handle.epoch {
        slot.row.as_ref()
    } else {
        None
    }
}

/// The earlier of two deadlines, either of which may be absent.
pub(crate) fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, None) | (None, one) => one,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_handle_finds_nothing() {
        let mut slots: [Slot<u8>; 2] = core::array::from_fn(|_| Slot::default());
        let mut table = Table::new(&mut slots);
        let first = table.insert(1).unwrap();
        assert_eq!(table.insert(2).map(|_| ()), Some(()));
        assert!(table.insert(3).is_none() && table.is_full());
        assert!(table.remove(first) && !table.remove(first));
        let again = table.insert(4).unwrap();
        assert_eq!(table.get(first), None);
        assert_eq!(table.get(again), Some(&4));
        assert_eq!(Handle::from_number(again.number()), again);
        table.retain(|row| *row != 4);
        assert_eq!(table.rows().copied().collect::<std::vec::Vec<_>>(), [2]);
    }
}
