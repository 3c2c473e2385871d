//! The stack that secrets were handled on, wiped.
//!
//! A value that is moved leaves its octets in the place that it left, and a cipher leaves its key's in registers that
//! were spilled: no drop comes there. So whatever handles a secret by value runs [`apart`], in frames of its own that are
//! overwritten when it has returned. Nothing of it can then be carried into the engine's tables by what is written there
//! next with room to spare.

/// Enough for what the engine does with secrets: the frames of an exchange's step down to the curve, without
/// optimisation too.
pub(crate) const DEEP: usize = if cfg!(target_os = "none") {
    BARE_DEEP
} else {
    24576
};

/// The same where there is no operating system: such a build is optimised, its pointers are half as long, and its stack
/// is small (`examples/linecard` measures it).
const BARE_DEEP: usize = 10240;

/// Enough for one operation on the curve.
pub(crate) const CURVE: usize = if cfg!(target_os = "none") { 5120 } else { 24576 };

/// Enough for one call of a cipher or hash.
pub(crate) const SHALLOW: usize = if cfg!(target_os = "none") { 2048 } else { 4096 };

/// Runs `work` and wipes the `N` octets of stack below this frame, where it ran. What it returns must not be a secret, or
/// the caller runs apart as well.
#[inline(never)]
pub(crate) fn apart<const N: usize, T>(work: impl FnOnce() -> T) -> T {
    let result = below(work);
    zeroize::zeroize_stack::<N>();
    result
}

/// So that no frame of `work` becomes a part of the one that wipes.
#[inline(never)]
fn below<T>(work: impl FnOnce() -> T) -> T {
    work()
}
