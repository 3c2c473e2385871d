//! The monotonic clock of this machine, as the engine wants it: it counts the time that the machine sleeps, so that a
//! router which was suspended knows for how long (PROTOCOL.md section 2).

use std::time::Duration as StdDuration;

use karp_core::time::{Duration, Instant};
use nix::time::{ClockId, clock_gettime};

#[cfg(any(target_os = "linux", target_os = "android"))]
const CLOCK: ClockId = ClockId::CLOCK_BOOTTIME;
// Apple's monotonic clock counts sleep; on the BSDs nothing better is offered.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const CLOCK: ClockId = ClockId::CLOCK_MONOTONIC;

/// The time now, in milliseconds since the machine started. All endpoints of a machine share this origin.
///
/// Linux: CLOCK_BOOTTIME. Elsewhere CLOCK_MONOTONIC, which may stand still while the machine sleeps.
#[must_use]
pub fn now() -> Instant {
    Instant::from_millis(u64::try_from(since_start().as_millis()).unwrap_or(u64::MAX))
}

/// How long it is until `instant`, to the nanosecond; zero if it has passed.
#[must_use]
pub fn until(instant: Instant) -> StdDuration {
    StdDuration::from_millis(instant.as_millis()).saturating_sub(since_start())
}

/// A span of the engine as one of the standard library.
#[must_use]
pub const fn to_std(span: Duration) -> StdDuration {
    StdDuration::from_millis(span.as_millis())
}

fn since_start() -> StdDuration {
    // A kernel older than CLOCK_BOOTTIME (Linux 2.6.39) still has the monotonic one; without either there is no clock
    // and time stands still, which the engine takes (any `now` is legal).
    clock_gettime(CLOCK)
        .or_else(|_| clock_gettime(ClockId::CLOCK_MONOTONIC))
        .map_or(StdDuration::ZERO, StdDuration::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_forward() {
        let mut last = now();
        for _ in 0..10_000 {
            let next = now();
            assert!(next >= last);
            last = next;
        }
        assert!(last > Instant::ZERO);
    }

    #[test]
    fn until_counts_down_and_ends_at_zero() {
        let later = now().after(Duration::from_secs(60));
        let left = until(later);
        assert!(
            left <= StdDuration::from_secs(60) && left > StdDuration::from_secs(50),
            "{left:?}"
        );
        assert_eq!(until(Instant::ZERO), StdDuration::ZERO);
    }

    /// A wait for `until(deadline)` never ends before the deadline by the millisecond clock.
    #[test]
    fn waiting_ends_when_the_deadline_is_due() {
        let deadline = now().after(Duration::from_millis(3));
        std::thread::sleep(until(deadline));
        assert!(now() >= deadline);
    }
}
