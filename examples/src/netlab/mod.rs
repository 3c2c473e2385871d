//! Real routing daemons in network namespaces, keyed by karpd, watched by their own logs and events.
//!
//! [`scenarios`] are played in a [`lab`]: namespaces on a bridge ([`net`]) in which BIRD and FRR run from a Debian 13
//! [`tree`] that [`setup`] makes, each with private directories, and karpd beside them. What the daemons write
//! ([`bird`], [`frr`]) and what karpd tells ([`karpd`]) comes through [`watch`] into one [`record`], which judges:
//! no adjacency between live, keyed routers may be lost. [`stall`] tells a machine that stood still from a fault, and
//! [`attack`] is who should not be there.
//! [`strongswan`] holds karp's pairwise mode against another IKEv2 implementation.
//! [`capture`] has what was on the wire, and [`audit`] holds it against what karpd told of its keys; [`packets`] verifies
//! it under them, and [`signer`] sends hellos of its own.
//!
//! Everything that a run makes carries its process id and goes with it: processes by their guards, namespaces and
//! files after them. Mounts are made in the private mount namespaces of single processes only.

pub mod attack;
pub mod audit;
pub mod bird;
pub mod capture;
pub mod chart;
pub mod cli;
mod close;
mod control;
pub mod frr;
pub mod karpd;
pub mod lab;
pub mod lines;
pub mod measure;
pub mod net;
pub mod packets;
pub mod process;
pub mod record;
pub mod report;
pub mod router;
pub mod scenarios;
pub mod setup;
pub mod signer;
pub mod stall;
pub mod strongswan;
pub mod tree;
pub mod watch;
