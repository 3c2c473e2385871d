//! What karp-core needs from an operating system, and nothing of the protocol: sockets, a clock, randomness, memory for
//! tables, credentials, a configuration file, and loops that keep an engine going.
//!
//! - [`config`] reads a node's configuration from a TOML file. Every mistake is told by file, line, field and remedy.
//! - [`endpoint`] is an engine with its two UDP sockets, for any event loop. [`driver`] has a loop with a thread;
//!   `karp_std::tokio`, behind the feature `tokio`, one for tokio.
//! - [`sinks`] bring the keys of a link into routing daemons, [`follow`] sees what those daemons do; [`daemons`] has the clients
//!   that both talk through. [`kept`] holds the keys over a restart of the program.
//! - [`pair`] is the engine for one unicast peer with its socket.
//! - [`socket`], [`clock`], [`entropy`], [`heap`] and [`credentials`] are the parts, for hosts that put them together
//!   in their own way.
//!
//! # Limits
//!
//! It is made for Linux. The rest of Unix has what it needs but for two things: a clock that counts time asleep, and
//! multicast limited to the interface that was joined. Neither has been tried. Logs go to `tracing`: events at the level info,
//! what a person should look at as a warning, single datagrams at debug. No log line and no error holds a secret.
#![forbid(unsafe_code)]

pub mod clock;
pub mod config;
pub mod credentials;
pub mod daemons;
pub mod driver;
pub mod endpoint;
pub mod entropy;
pub mod follow;
pub mod heap;
pub mod kept;
mod loss;
mod mailbox;
pub mod pair;
pub mod sinks;
pub mod socket;
#[cfg(feature = "tokio")]
pub mod tokio;
