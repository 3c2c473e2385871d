//! The group: what a GCKS does, what a member does, and the states that pass between them (PROTOCOL.md sections 5.5
//! to 7).

mod apply;
mod evict;
mod joining;
mod key;
mod live;
mod making;
mod membership;
mod merge;
mod office;
mod registrants;
mod requests;
pub mod rollover;
mod state;
mod succession;
#[cfg(test)]
mod tests;
mod update;

pub(crate) use apply::manual_bit;
pub use key::TrafficKey;
pub(crate) use membership::{Legacy, Membership};
#[cfg(test)]
pub(crate) use merge::MergeAsLesser;
pub(crate) use office::Office;
pub(crate) use state::{CheckedState, CheckedTek, NewRekeySa, StateDraft};

/// The digests that EVICTED carries.
pub(crate) type EvictedList = heapless::Vec<[u8; 16], 8>;
