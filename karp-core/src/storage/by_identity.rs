//! Peers by identity, without looking at all of them: every announcement asks for one, and a GCKS may have thousands.
//!
//! The table of peers is a hash table in itself. The chains run through the slots: each has the beginning of the chain
//! of its own number, and the next of the chain that its row is in. Places are counted from one, so that a slot that is
//! all zeros has neither. Who chooses names that meet in one chain has them authorised, and gains a linear search.

use super::{Handle, Table};
use crate::{identity::Identity, peer::Peer};

impl Table<'_, Peer> {
    /// The row of `identity`.
    pub(crate) fn find_identity(&self, identity: &Identity) -> Option<Handle> {
        let mut place = self.slots.get(self.chain(identity)?)?.first;
        // A chain is never longer than the table.
        for _ in 0..self.slots.len() {
            let at = place.checked_sub(1)?;
            let slot = self.slots.get(usize::from(at))?;
            let row = slot.row.as_ref()?;
            if row.identity == *identity {
                return Some(Handle {
                    at,
                    epoch: slot.epoch,
                });
            }
            place = slot.next;
        }
        None
    }

    /// Puts `peer`, whose identity has no row yet, into a free slot; `None` if there is none.
    pub(crate) fn insert_peer(&mut self, peer: Peer) -> Option<Handle> {
        let chain = self.chain(&peer.identity)?;
        let handle = self.insert(peer)?;
        let first = self.slots.get(chain)?.first;
        self.slots.get_mut(usize::from(handle.at))?.next = first;
        self.slots.get_mut(chain)?.first = handle.at.checked_add(1)?;
        Some(handle)
    }

    /// Drops a peer where it is; says whether there was one.
    pub(crate) fn remove_peer(&mut self, handle: Handle) -> bool {
        let chain = self.get(handle).and_then(|peer| self.chain(&peer.identity));
        let Some(chain) = chain else { return false };
        self.unlink(chain, handle.at);
        self.remove(handle)
    }

    /// Drops all of them.
    pub(crate) fn clear_peers(&mut self) {
        self.retain(|_| false);
        for slot in self.slots.iter_mut() {
            slot.first = 0;
            slot.next = 0;
        }
    }

    /// Takes the row at `at` out of its chain.
    fn unlink(&mut self, chain: usize, at: u16) -> Option<()> {
        let next = self.slots.get(usize::from(at))?.next;
        let place = at.checked_add(1)?;
        let begins = self.slots.get_mut(chain)?;
        if begins.first == place {
            begins.first = next;
            return Some(());
        }
        let mut before = usize::from(begins.first.checked_sub(1)?);
        for _ in 0..self.slots.len() {
            let slot = self.slots.get_mut(before)?;
            if slot.next == place {
                slot.next = next;
                return Some(());
            }
            before = usize::from(slot.next.checked_sub(1)?);
        }
        None
    }

    /// The number of the chain that `identity` belongs to: FNV-1a, which is short and spreads names well.
    fn chain(&self, identity: &Identity) -> Option<usize> {
        let octets = identity.octets().iter().copied();
        let hash = octets
            .chain([identity.kind()])
            .fold(0x811c_9dc5_u32, |hash, octet| {
                (hash ^ u32::from(octet)).wrapping_mul(0x0100_0193)
            });
        usize::try_from(hash).ok()?.checked_rem(self.slots.len())
    }
}

#[cfg(test)]
mod tests {
    use std::{format, vec::Vec};

    use super::{super::Slot, *};

    fn name(n: u32) -> Identity {
        Identity::fqdn(&format!("r{n}.example")).unwrap()
    }

    fn peer(n: u32) -> Peer {
        Peer::new(name(n), "192.0.2.1:848".parse().unwrap())
    }

    /// Against a plain list, through a few thousand insertions and removals in a table that is mostly full: what was put
    /// in is found under its own handle, and what was taken out is not.
    #[test]
    fn finds_what_a_list_finds() {
        for places in [1, 2, 7, 16] {
            let mut slots: Vec<Slot<Peer>> = (0..places).map(|_| Slot::default()).collect();
            let mut table = Table::new(&mut slots);
            let mut list: Vec<(u32, Handle)> = Vec::new();
            let mut dice = 1_u32;
            for _ in 0..3000 {
                dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let n = (dice >> 16) % 24;
                match list.iter().position(|(of, _)| *of == n) {
                    Some(at) if dice & 0x100 != 0 => {
                        let (_, handle) = list.remove(at);
                        assert!(table.remove_peer(handle));
                        assert!(!table.remove_peer(handle), "it is gone");
                    }
                    Some(_) => {}
                    None => match table.insert_peer(peer(n)) {
                        Some(handle) => list.push((n, handle)),
                        None => assert_eq!(list.len(), places, "there is room"),
                    },
                }
                for n in 0..24 {
                    let known = list.iter().find(|(of, _)| *of == n).map(|(_, handle)| *handle);
                    assert_eq!(table.find_identity(&name(n)), known);
                }
            }
            table.clear_peers();
            assert!((0..24).all(|n| table.find_identity(&name(n)).is_none()));
            assert!(table.insert_peer(peer(1)).is_some());
            assert!(table.find_identity(&name(1)).is_some());
        }
    }
}
