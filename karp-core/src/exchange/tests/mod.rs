//! The exchange, one rule at a time, between two nodes whose messages the test carries.

mod attempts;
mod auth;
mod initiator;
mod responder;

use std::vec::Vec;

use super::{Purpose, half_open::AuthAnswer, half_open::HalfOpenStage};
use crate::{
    error::DropReason,
    io::MessageKind,
    sealed::{Request, Sealed},
    storage::Handle,
    testing::{Bench, address, at, id, seconds},
    wire::NotifyType,
};

/// Messages up to GSA_AUTH's request: the member `joiner` at address 2 asks `server` at address 1, whom it takes for
/// `expect`. The request is on its way to the server.
fn ask(
    joiner: &mut Bench,
    server: &mut Bench,
    expect: &str,
    purpose: Purpose,
    instance: Option<[u8; 8]>,
) -> Vec<u8> {
    let started = joiner
        .at(0)
        .start_attempt(purpose, address(1), id(expect), instance);
    assert!(started);
    let request = joiner.one(0, MessageKind::InitRequest);
    server
        .at(0)
        .handle_init_request(address(2), &request.octets)
        .unwrap();
    let response = server.one(0, MessageKind::InitResponse);
    joiner
        .at(0)
        .handle_init_response(address(1), &response.octets)
        .unwrap();
    joiner.one(0, MessageKind::AuthRequest).octets
}

/// The whole exchange; what the server made of the request, and the joiner of the response.
fn exchange(
    joiner: &mut Bench,
    server: &mut Bench,
    expect: &str,
    purpose: Purpose,
) -> (Result<(), DropReason>, Result<(), DropReason>) {
    let mut request = ask(joiner, server, expect, purpose, None);
    let judged = server.at(0).handle_auth_request(address(2), &mut request);
    let response = server.one(0, MessageKind::AuthResponse);
    (
        judged,
        joiner.at(0).handle_auth_response(address(1), &response.octets),
    )
}

/// The same, but the server, whatever it thinks, answers with this error.
fn refused_with(
    joiner: &mut Bench,
    server: &mut Bench,
    expect: &str,
    error: NotifyType,
) -> Result<(), DropReason> {
    let mut request = ask(joiner, server, expect, Purpose::Seek, None);
    let _ = server.at(0).handle_auth_request(address(2), &mut request);
    let mut core = server.at(0);
    for half_open in core
        .handshakes
        .rows_mut()
        .filter_map(super::Handshake::half_open_mut)
    {
        if let HalfOpenStage::Keyed {
            verdict: Some(verdict),
            ..
        } = &mut half_open.stage
        {
            (verdict.answer, verdict.peer) = (AuthAnswer::Refused(error), None);
        }
    }
    let response = server.one(0, MessageKind::AuthResponse);
    joiner.at(0).handle_auth_response(address(1), &response.octets)
}

/// A request of this node that waits for the answer of `peer`.
fn request_to(peer: Handle) -> Sealed {
    Sealed {
        peer,
        message_id: 0,
        request: Request::Pull,
        octets: heapless::Vec::new(),
        sent: 1,
        wait: seconds(1),
        next: at(1000),
    }
}
