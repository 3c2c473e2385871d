//! What the example programs share.
//!
//! - [`lan`] is the demonstration behind the example of that name: a whole network on loopback.
//! - [`karpd`] is the daemon of that name.
//! - [`node`] runs one router from a configuration file until it is told to stop.
//! - [`hello`] sends and verifies OSPFv2 and IS-IS hellos, [`timeline`] tells people and programs what happens, and
//!   [`entropy`] lets a demonstration be repeated.
#![forbid(unsafe_code)]

pub mod entropy;
pub mod hello;
pub mod karpd;
pub mod lan;
pub mod netlab;
pub mod node;
pub mod picture;
pub mod timeline;
