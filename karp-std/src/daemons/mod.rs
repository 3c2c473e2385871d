//! Clients of routing daemons: each speaks one daemon's own control protocol and knows nothing of keys.

pub mod frr;
