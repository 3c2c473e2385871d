//! How routing daemons are talked to: one client for each, below the sinks and the observers.
//!
//! A client speaks the daemon's own control protocol over its Unix domain socket. Whatever a daemon says is bounded in
//! size and in time, and no octets of it can make a client panic.

pub mod bird;
pub mod frr;
