//! The parts of the tests' laboratory that serve here.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "the laboratory of the tests has more than this program needs"
)]

#[path = "../../karp-core/tests/common/dice.rs"]
pub mod dice;
#[path = "../../karp-core/tests/common/link.rs"]
pub mod link;
#[path = "../../karp-core/tests/common/peek.rs"]
pub mod peek;
#[path = "../../karp-core/tests/common/room.rs"]
pub mod room;
