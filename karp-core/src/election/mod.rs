//! The election: who serves, and when a node changes its part (PROTOCOL.md sections 5.2 to 5.5).
//!
//! Everything here is pure: no octets, keys, clock or randomness may come in. Inputs are facts that the engine has
//! already verified, effects are what the engine has to do, and spans of time are named instead of measured. So a
//! model checker runs this very code.

mod penalties;
mod rank;
mod state;

pub use penalties::{Failure, Penalties};
pub use rank::{Candidate, MAX_BETTER, Rank, Survey, survey};
pub use state::{Effect, Effects, Election, Gcks, Initial, Input, Member, Span, Who};
