//! Messages as octets and back.
//!
//! Two levels. A *view* borrows the octets and is handed out only after every length in it was checked; a
//! *value* ([`ElectionState`], [`ProtocolList`]) cannot hold what
//! the wire may not carry. Code points that are not known here survive reading ([`numbers`]).
//!
//! What may not come in: keys, clocks, addresses of peers as a reason to accept something, and any state that
//! outlives one datagram. Where a key is needed (MAC, signature, wrapping, sealing), the views and builders
//! say which octets it covers, and the caller computes.
//!
//! Nothing here panics on input, and nothing here allocates. PROTOCOL.md sections 3 to 7 and 10 are
//! normative, with RFC 7296 section 3 for the common formats and RFC 9838 (draft-ietf-ipsecme-g-ikev2-23)
//! sections 4.4 and 4.5 for GSA and KD.

pub mod auth;
pub mod election;
pub mod error;
pub mod gsa;
pub mod header;
pub mod kd;
pub mod message;
pub mod notify;
pub mod numbers;
pub mod payload;
pub mod reader;
pub mod redirect;
pub mod rekey;
pub mod routing;
pub mod sa;
pub mod size;
pub mod sk;
pub mod state;
pub mod substructure;
#[cfg(test)]
mod tests;
pub mod ts;
pub mod writer;

pub use error::{Error, Full};
pub use gsa::{KeyState, ProtocolList};
pub use header::{Flags, Header};
pub use notify::{ElectionFlags, ElectionState, NodeState};
pub use numbers::{ExchangeType, NotifyType, PayloadType};
pub use payload::{Payload, Payloads};
pub use reader::Reader;
pub use size::MAX_DATAGRAM;
pub use writer::Writer;
