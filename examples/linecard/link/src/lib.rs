//! What goes over the serial line between the card and its neighbour: IPv4 packets with UDP in them ([`packet`]), framed
//! as RFC 1055 has it ([`slip`]), and on a port beside the protocol's own the console by which the neighbour starts the
//! card and asks how it fares ([`console`]).
//!
//! Nothing here allocates, and nothing that arrives can make it panic.
#![no_std]

pub mod console;
pub mod packet;
pub mod slip;

/// The most octets of a packet on the line: what the protocol sends at most, and the headers of IPv4 and UDP.
pub const MTU: usize = packet::HEADERS + 1232;
