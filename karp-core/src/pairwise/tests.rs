//! What no honest peer sends: requests made with a pair's own keys, and how the other answers.

use std::{boxed::Box, vec::Vec};

use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng as _};

use super::{sa::Asked, *};
use crate::{
    Grant,
    algorithm::{RoutingAlgorithm, RoutingProtocol},
    crypto::shared_key_auth,
    identity::AuthMethod,
    wire::{NotifyType, PayloadType, Writer, message::Contents, numbers::SecurityProtocol, ts::Selector},
};

struct SharedKey(&'static [u8]);

impl Credentials for SharedKey {
    fn grant(&self, _: &Identity) -> Grant {
        Grant::FULL
    }
    fn method(&self, _: &Identity) -> Option<AuthMethod> {
        Some(AuthMethod::SharedKey)
    }
    fn shared_key_auth(&self, _: &Identity, parts: &[&[u8]]) -> Option<[u8; 32]> {
        Some(shared_key_auth(self.0, parts))
    }
    fn sign(&self, _: &[&[u8]]) -> Option<[u8; 64]> {
        None
    }
    fn public_key(&self) -> Option<[u8; 32]> {
        None
    }
    fn peer_public_key(&self, _: &Identity) -> Option<[u8; 32]> {
        None
    }
    fn is_shared(&self, _: &Identity) -> bool {
        false
    }
}

type Side = Box<Pair<SharedKey, ChaCha8Rng>>;

const NOW: Instant = Instant::from_millis(1000);

fn address(side: u8) -> SocketAddr {
    ([192, 0, 2, side + 1], 500).into()
}

fn side(own: u8) -> Side {
    side_with(own, b"a key of these tests alone", |_| {})
}

fn side_with(own: u8, key: &'static [u8], change: impl Fn(&mut Settings)) -> Side {
    let identity = |side: u8| Identity::fqdn(["a.example", "b.example"][usize::from(side)]).unwrap();
    let mut settings = Settings::new(identity(own), address(own), identity(1 - own), address(1 - own));
    settings.initiate = own == 0;
    change(&mut settings);
    let entropy = ChaCha8Rng::from_seed([own; 32]);
    let mut pair = Pair::new(Config::new(settings).unwrap(), SharedKey(key), entropy, NOW).unwrap();
    pair.handle_command(NOW, Command::Start).unwrap();
    Box::new(pair)
}

/// Everything that a side has to send now.
fn said(pair: &mut Side) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let mut buffer = [0; 1232];
    loop {
        match pair.poll(NOW, &mut buffer) {
            Output::Transmit { len, .. } => all.push(buffer[..len].to_vec()),
            Output::Event(_) => {}
            Output::Idle { .. } => return all,
        }
    }
}

fn hear(pair: &mut Side, from: u8, octets: &[u8]) -> Handled {
    let recv = Recv {
        from: address(from),
        to: address(1 - from),
        hop_limit: Some(255),
    };
    pair.handle_datagram(NOW, recv, &mut octets.to_vec())
}

/// All that either side has to say reaches the other.
fn talk(a: &mut Side, b: &mut Side) {
    for _ in 0..8 {
        for octets in said(a) {
            hear(b, 0, &octets);
        }
        for octets in said(b) {
            hear(a, 1, &octets);
        }
    }
}

/// Two sides with an IKE SA.
fn established() -> (Side, Side) {
    let (mut a, mut b) = (side(0), side(1));
    talk(&mut a, &mut b);
    assert!(a.is_up() && b.is_up());
    (a, b)
}

/// A request of `a` with whatever `fill` writes, what `b` makes of it, and what `b`'s answer says to `a`.
fn ask(
    a: &mut Side,
    b: &mut Side,
    exchange: ExchangeType,
    fill: impl FnOnce(&mut Writer<'_>),
) -> (Handled, Option<NotifyType>) {
    assert!(a.state.sas[0].ask(NOW, exchange, Asked::Probe, |writer, _| fill(writer)));
    let request = said(a).remove(0);
    let handled = hear(b, 0, &request);
    let mut answers = said(b);
    assert_eq!(answers.len(), 1);
    let answer = answers.remove(0);
    let mut copy = answer.clone();
    let opened = a.state.sas[0].open(&mut copy).unwrap();
    let error = Contents::collect(opened.payloads().unwrap()).unwrap().error;
    hear(a, 1, &answer);
    said(a);
    (handled, error)
}

/// RFC 7296 section 2.5.
#[test]
fn an_unknown_critical_payload_is_named_and_costs_nothing() {
    let (mut a, mut b) = established();
    let (handled, error) = ask(&mut a, &mut b, ExchangeType::INFORMATIONAL, |writer| {
        let at = writer.position();
        let open = writer.begin(PayloadType(200));
        writer.u8(1);
        writer.end(open);
        writer.patch(at + 1, &[0x80]);
    });
    assert_eq!(handled, Handled::Dropped(DropReason::UnknownCritical));
    assert_eq!(error, Some(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD));
    assert!(a.is_up() && b.is_up());
    // One that is not critical is skipped.
    let (handled, error) = ask(&mut a, &mut b, ExchangeType::INFORMATIONAL, |writer| {
        writer.payload(PayloadType(200), &[1]);
    });
    assert_eq!((handled, error), (Handled::Accepted, None));
}

/// RFC 7296 section 2.21.3.
#[test]
fn a_malformed_request_ends_the_ike_sa_on_both_sides() {
    for exchange in [ExchangeType::INFORMATIONAL, ExchangeType::CREATE_CHILD_SA] {
        let (mut a, mut b) = established();
        let (handled, error) = ask(&mut a, &mut b, exchange, |writer| {
            writer.payload(PayloadType::NOTIFY, &[1, 200, 0, 0]);
        });
        assert_eq!(handled, Handled::Dropped(DropReason::Malformed));
        assert_eq!(error, Some(NotifyType::INVALID_SYNTAX));
        assert!(!a.is_up() && !b.is_up());
    }
}

/// RFC 7296 section 1.3: a Child SA of IPsec is refused, and the IKE SA stands.
#[test]
fn a_child_sa_of_ipsec_is_refused() {
    let (mut a, mut b) = established();
    let (handled, error) = ask(&mut a, &mut b, ExchangeType::CREATE_CHILD_SA, |writer| {
        // ESP with one transform.
        let payload = writer.begin(PayloadType::SA);
        let proposal = writer.begin_sub(0, 0);
        writer.bytes(&[1, SecurityProtocol(3).0, 4, 1, 1, 2, 3, 4]);
        writer.bytes(&[0, 0, 0, 8, 1, 0, 0, 28]);
        writer.end(proposal);
        writer.end(payload);
        writer.payload(PayloadType::NONCE, &[7; 32]);
    });
    assert_eq!(handled, Handled::Dropped(DropReason::Unexpected));
    assert_eq!(error, Some(NotifyType::NO_ADDITIONAL_SAS));
    assert!(a.is_up() && b.is_up());
}

/// RFC 7296 section 1.3.2: another group than the one that is taken.
#[test]
fn a_rekey_with_another_group_is_told_the_right_one() {
    let (mut a, mut b) = established();
    let (_, error) = ask(&mut a, &mut b, ExchangeType::CREATE_CHILD_SA, |writer| {
        crate::wire::sa::write_rekey(writer, &crate::wire::sa::PAIRWISE, &[9; 8]);
        writer.payload(PayloadType::NONCE, &[7; 32]);
        let ke = crate::wire::payload::KeyExchange {
            method: 19,
            data: &[4; 64],
        };
        ke.write(writer);
    });
    assert_eq!(error, Some(NotifyType::INVALID_KE_PAYLOAD));
    assert!(a.is_up() && b.is_up());
}

/// RFC 6023: IKE_AUTH without a Child SA goes only to who supports it.
#[test]
fn a_responder_that_is_not_childless_is_not_authenticated_to() {
    let (mut a, mut b) = (side(0), side(1));
    hear(&mut b, 0, &said(&mut a)[0]);
    let mut response = said(&mut b).remove(0);
    // CHILDLESS_IKEV2_SUPPORTED is last: another status notify in its place.
    let at = response.len() - 2;
    response[at..].copy_from_slice(&40_000_u16.to_be_bytes());
    assert_eq!(
        hear(&mut a, 1, &response),
        Handled::Dropped(DropReason::Unexpected)
    );
    assert!(said(&mut a).is_empty());
}

/// An attempt that was refused goes on for a while, in case a better answer comes; there is nothing to do until its end.
#[test]
fn an_attempt_that_was_refused_does_not_wake_its_host_for_nothing() {
    let (mut a, mut b) = (side(0), side_with(1, b"another key", |_| {}));
    talk(&mut a, &mut b);
    assert!(!a.is_up() && a.state.attempt.is_some());
    let mut now = NOW;
    let mut wakes = 0;
    let mut buffer = [0; 1232];
    while a.state.attempt.is_some() {
        match a.poll(now, &mut buffer) {
            Output::Idle {
                next: Some((next, _)),
            } => {
                wakes += 1;
                assert!(next > now && wakes < 5, "{wakes} wakes, the last for {next:?}");
                now = next;
            }
            Output::Idle { next: None } => panic!("an attempt has an end"),
            Output::Transmit { .. } | Output::Event(_) => {}
        }
    }
}

fn bgp(own: u8) -> Session {
    let end = |side: u8| Selector {
        address: address(side).ip(),
        ip_protocol: 6,
        port: None,
    };
    Session {
        protocol: RoutingProtocol::Bgp,
        algorithm: RoutingAlgorithm::HmacSha1Cut96,
        local: end(own),
        remote: end(1 - own),
    }
}

/// RFC 7296 section 2.25.2: while this side waits for its own first key, one of the peer's may cross it, and no more: a peer
/// that withholds its answer could fill the table, and other sessions would find no room.
#[test]
fn one_key_of_the_peer_crosses_ones_own_and_no_more() {
    let key = b"a key of these tests alone";
    let sides = |own: u8| side_with(own, key, |settings| settings.sessions.push(bgp(own)).unwrap());
    let (mut a, mut b) = (sides(0), sides(1));
    // Until the IKE SA stands; then a asks for a key, and its request gets lost.
    for _ in 0..2 {
        for octets in said(&mut a) {
            hear(&mut b, 0, &octets);
        }
        for octets in said(&mut b) {
            hear(&mut a, 1, &octets);
        }
    }
    assert!(a.is_up());
    assert_eq!(said(&mut a).len(), 1);
    for made in [1, 1, 1] {
        assert!(b.core(NOW).ask_key(0, 0));
        for octets in said(&mut b) {
            hear(&mut a, 1, &octets);
        }
        for octets in said(&mut a) {
            hear(&mut b, 0, &octets);
        }
        assert_eq!(a.state.keys.len(), made);
        // The peer forgets what it got, and asks anew.
        b.state.keys.clear();
        b.state.put_off = NOW;
    }
}
