//! The stack that secrets were handled on, wiped.
//!
//! A value that is moved leaves its octets in the place that it left, and a cipher leaves its key's in registers that
//! were spilled: no drop comes there. So whatever handles a secret by value runs [`apart`], in frames of its own that are
//! overwritten when it has returned. Nothing of it can then be carried into the engine's tables by what is written there
//! next with room to spare.

/// Frames of a build that is for debugging are larger.
const TIMES: usize = if cfg!(debug_assertions) { 3 } else { 1 };

/// Enough for all that a datagram can lead to. Where there is no operating system the stack is small, and so are the
/// frames: pointers are half as long (`examples/linecard` measures them).
pub(crate) const DEEP: usize = if cfg!(target_os = "none") {
    12 * 1024
} else {
    TIMES * 16 * 1024
};

/// Enough for one step with secrets: keys that are derived, a row that is put together and copied to its place, a message
/// that keys are wrapped into. What is called for it runs apart itself.
pub(crate) const ROW: usize = TIMES * 6 * 1024;

/// Enough for one call of the curve.
pub(crate) const CURVE: usize = TIMES * 6 * 1024;

/// Enough for one call of a cipher or hash.
pub(crate) const SHALLOW: usize = TIMES * 2560;

/// Runs `work` and wipes the `N` octets of stack below this frame, where it ran. What it returns must not be a secret, or
/// the caller runs apart as well.
#[inline(never)]
pub(crate) fn apart<const N: usize, T>(work: impl FnOnce() -> T) -> T {
    let result = below(work);
    wipe::<N>();
    result
}

/// Wipes the `N` octets of stack below this frame, for a value that is made there next: what is not set of it holds what
/// lay there.
pub(crate) fn wipe<const N: usize>() {
    zeroize::zeroize_stack::<N>();
}

/// So that no frame of `work` becomes a part of the one that wipes.
#[inline(never)]
fn below<T>(work: impl FnOnce() -> T) -> T {
    work()
}
