//! The times within which a group is there again, as formulas of the settings.

use super::fault::Schedule;

/// How long a group that was found is watched, in ms.
pub const STAYS: u64 = 20_000;

/// Within what time of quiet there is one group (promise 6), in ms.
pub fn quiet(_schedule: &Schedule) -> u64 {
    240_000
}
