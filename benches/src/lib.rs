//! What the benches of this workspace share: a small harness, and routers that run in memory.
//!
//! A shared machine is noisy: the median of a run says little about the code, its minimum repeats within a few per
//! cent. So candidates are interleaved in one process, each is run many times, and minima are compared.

pub mod announcement;
pub mod exchange;
pub mod measure;
pub mod primitives;
pub mod router;
pub mod update;
