#![forbid(unsafe_code)]
//! The operating system around karp-core.
pub mod clock;
pub mod config;
pub mod credentials;
pub mod entropy;
pub mod heap;
pub mod socket;
