//! Time as the engine sees it: milliseconds handed in by the host.
//!
//! The engine never reads a clock. [`Instant`] is monotonic and counts time asleep (CLOCK_BOOTTIME, PROTOCOL.md
//! section 2); wall time is a type of its own so that the two cannot be mixed.

use core::num::NonZeroU64;

/// A point in monotonic time, in milliseconds since an origin that the host chooses.
///
/// All arithmetic saturates: no input can make it wrap or panic.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(
    /// One more than the milliseconds, so that an optional instant takes no more room: a node has many.
    NonZeroU64,
);

/// A span of time in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Duration(u64);

/// Seconds since the Unix epoch, for people and for certificates only. No protocol decision rests on it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct WallTime(pub u64);

impl Instant {
    /// The host's origin of time.
    pub const ZERO: Self = Self(NonZeroU64::MIN);

    /// Later than anything that happens.
    pub(crate) const END: Self = Self(NonZeroU64::MAX);

    /// An instant `ms` milliseconds after the origin, at most 2^64 - 2.
    #[must_use]
    pub const fn from_millis(ms: u64) -> Self {
        Self(NonZeroU64::MIN.saturating_add(ms))
    }

    /// Milliseconds since the origin.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0.get().saturating_sub(1)
    }

    /// The span since `earlier`, or zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration(self.0.get().saturating_sub(earlier.0.get()))
    }

    /// `span` later, or the end of time.
    #[must_use]
    pub const fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// `span` earlier, or the origin.
    #[must_use]
    pub const fn before(self, span: Duration) -> Self {
        Self::from_millis(self.as_millis().saturating_sub(span.0))
    }
}

impl Default for Instant {
    fn default() -> Self {
        Self::ZERO
    }
}

impl core::fmt::Debug for Instant {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Instant").field(&self.as_millis()).finish()
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Instant {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "Instant({=u64})", self.as_millis());
    }
}

impl Duration {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// A span of `ms` milliseconds.
    #[must_use]
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms)
    }

    /// A span of `seconds` seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// The span in milliseconds.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The span in seconds, rounded up: a lifetime on the wire never ends before the one it tells of
    /// (PROTOCOL.md section 6).
    #[must_use]
    pub const fn as_secs_ceil(self) -> u64 {
        self.0.div_ceil(1000)
    }

    /// `factor` times as long.
    #[must_use]
    pub const fn times(self, factor: u64) -> Self {
        Self(self.0.saturating_mul(factor))
    }

    /// The `divisor`-th part; a divisor of zero counts as one.
    #[must_use]
    pub const fn divided(self, divisor: u64) -> Self {
        match self.0.checked_div(divisor) {
            Some(ms) => Self(ms),
            None => self,
        }
    }

    /// Both spans together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// What is left of this span without `other`, or nothing.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates() {
        let end = Instant::from_millis(u64::MAX);
        assert_eq!(end.after(Duration::from_millis(1)), end);
        assert_eq!(Instant::ZERO.before(Duration::from_secs(1)), Instant::ZERO);
        assert_eq!(Instant::ZERO.since(end), Duration::ZERO);
        assert_eq!(Duration::from_secs(u64::MAX).as_millis(), u64::MAX);
        assert_eq!(Duration::from_millis(7).divided(0), Duration::from_millis(7));
    }

    #[test]
    fn seconds_round_up() {
        assert_eq!(Duration::from_millis(1).as_secs_ceil(), 1);
        assert_eq!(Duration::from_millis(1000).as_secs_ceil(), 1);
        assert_eq!(Duration::from_millis(1001).as_secs_ceil(), 2);
        assert_eq!(Duration::ZERO.as_secs_ceil(), 0);
    }
}
