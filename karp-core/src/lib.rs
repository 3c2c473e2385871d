//! Automated key management for routing protocols: routers on a link elect a key server, register with it by a
//! mutually authenticated exchange, and change their keys by one multicast message.
//!
//! The normative text is `PROTOCOL.md` beside this crate's sources; comments cite its sections.
//!
//! # The contract
//!
//! [`Engine`] is a state machine without sockets, clock or allocator. There are three classes of methods:
//!
//! - *inputs*: [`Engine::handle_datagram`] and [`Engine::handle_command`]. Any of them is legal at any time and in any
//!   order. What a peer sends is verified before it changes anything; what is dropped changes counters only.
//! - *[`Engine::poll`]*: runs what is due and says the next thing to do. Call it after every input, and at the deadline
//!   that it named last, until it answers [`Output::Idle`]. Nothing is queued inside: the engine records what it owes
//!   and writes it when it is asked.
//! - *views*: [`Engine::key_table`], [`Engine::role`], [`Engine::peers`], [`Engine::counters`] and others. They change
//!   nothing.
//!
//! Time is [`Instant`], handed in, monotonic, and counting time asleep. A `now` that goes back is taken as the last one.
//! The deadline that `Idle` names is always later than the `now` of that call, so a host that sleeps until then never
//! spins. Randomness is a generator handed in: the same inputs give the same outputs.
//!
//! No input can make an engine panic, and nothing in it allocates. An engine must not be copied or restored from a
//! snapshot: two engines with one state would seal two messages under one nonce (PROTOCOL.md section 3). Make a new one.
//!
//! # A whole group
//!
//! Two routers on a link, from nothing to the same keys. The host's part is the loop in `run`: it carries datagrams,
//! and lets time pass.
//!
//! ```
//! use core::convert::Infallible;
//! use karp_core::{
//!     algorithm::RoutingProtocol, crypto::shared_key_auth, identity::AuthMethod, storage::Fixed, Command, Config,
//!     Credentials, Duration, Engine, Grant, Identity, Instant, Output, Recv, Role, Settings,
//! };
//!
//! // One pre-shared key for everybody: the simplest credential store there is.
//! struct SharedKey;
//! impl Credentials for SharedKey {
//!     fn grant(&self, _: &Identity) -> Grant { Grant::FULL }
//!     fn method(&self, _: &Identity) -> Option<AuthMethod> { Some(AuthMethod::SharedKey) }
//!     fn shared_key_auth(&self, _: &Identity, parts: &[&[u8]]) -> Option<[u8; 32]> {
//!         Some(shared_key_auth(b"correct horse battery staple", parts))
//!     }
//!     fn sign(&self, _: &[&[u8]]) -> Option<[u8; 64]> { None }
//!     fn public_key(&self) -> Option<[u8; 32]> { None }
//!     fn peer_public_key(&self, _: &Identity) -> Option<[u8; 32]> { None }
//!     fn is_shared(&self, _: &Identity) -> bool { true }
//! }
//!
//! // A generator for this example. Real hosts hand in the operating system's.
//! struct Counting(u64);
//! impl rand_core::TryRng for Counting {
//!     type Error = Infallible;
//!     fn try_next_u32(&mut self) -> Result<u32, Infallible> { Ok(self.try_next_u64()? as u32) }
//!     fn try_next_u64(&mut self) -> Result<u64, Infallible> {
//!         self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
//!         Ok(self.0 ^ (self.0 >> 29))
//!     }
//!     fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Infallible> {
//!         for octet in to { *octet = self.try_next_u64()? as u8; }
//!         Ok(())
//!     }
//! }
//! impl rand_core::TryCryptoRng for Counting {}
//!
//! type Router = Engine<SharedKey, Counting, Box<Fixed<4, 10, 4, 4, 8>>>;
//!
//! fn router(n: u8) -> Router {
//!     let identity = Identity::fqdn(&format!("r{n}.example")).unwrap();
//!     let address = format!("192.0.2.{n}:848").parse().unwrap();
//!     let config = Config::new(Settings { router_id: n.into(), ..Settings::new("lan", identity, address) }).unwrap();
//!     Engine::new(config, SharedKey, Counting(n.into()), Box::default(), Instant::ZERO).unwrap()
//! }
//!
//! fn run(routers: &mut [Router], until: Instant) {
//!     let mut now = Instant::ZERO;
//!     while now < until {
//!         let mut wake = until;
//!         for at in 0..routers.len() {
//!             let mut buffer = [0; 1232];
//!             loop {
//!                 match routers[at].poll(now, &mut buffer) {
//!                     Output::Transmit { len, to, .. } => {
//!                         let from = routers[at].config().settings().address;
//!                         let recv = Recv { from, to, hop_limit: Some(255) };
//!                         for other in (0..routers.len()).filter(|other| *other != at) {
//!                             let address = routers[other].config().settings().address;
//!                             if to.ip().is_multicast() || to == address {
//!                                 routers[other].handle_datagram(now, recv, &mut buffer[..len].to_vec());
//!                                 wake = now.after(Duration::from_millis(1));
//!                             }
//!                         }
//!                     }
//!                     Output::Event(_) => {}
//!                     Output::Idle { next } => {
//!                         wake = next.map_or(wake, |(at, _)| wake.min(at));
//!                         break;
//!                     }
//!                 }
//!             }
//!         }
//!         now = wake;
//!     }
//! }
//!
//! let mut routers = [router(1), router(2)];
//! for router in &mut routers {
//!     router.handle_command(Instant::ZERO, Command::Join).unwrap();
//! }
//! let end = Instant::from_millis(20_000);
//! run(&mut routers, end);
//!
//! // The higher router id serves; both send OSPF with the same key.
//! assert_eq!(routers[0].role(), Role::Member);
//! assert_eq!(routers[1].role(), Role::Gcks);
//! let key = |router: &Router| {
//!     let row = router.key_table().sending(RoutingProtocol::Ospfv2, end).unwrap();
//!     (row.id, row.octets().to_vec())
//! };
//! assert_eq!(key(&routers[0]), key(&routers[1]));
//! ```
#![no_std]
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::wildcard_enum_match_arm
    )
)]

#[cfg(test)]
extern crate std;

pub mod algorithm;
mod announcement;
pub mod command;
pub mod config;
pub mod counters;
pub mod crypto;
pub mod election;
mod engine;
pub mod error;
mod exchange;
#[cfg(test)]
mod footprint;
pub mod group;
pub mod identity;
pub mod io;
pub mod keytable;
mod node;
#[cfg(feature = "packet-auth")]
pub mod packet_auth;
pub mod pairwise;
mod peer;
mod sealed;
pub mod storage;
mod stranger;
#[cfg(test)]
mod testing;
pub mod time;
mod timers;
pub mod wire;

pub use command::Command;
pub use config::{Config, Settings};
pub use engine::{Engine, PeerView};
pub use identity::{Credentials, Grant, Identity};
pub use io::{Event, Handled, Output, Recv, Role};
pub use keytable::KeyTable;
pub use storage::Storage;
pub use time::{Duration, Instant};
