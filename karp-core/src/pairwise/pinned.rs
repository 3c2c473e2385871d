//! The key schedule and the messages against what strongSwan logged of one run: see the data file.

use std::{string::String, vec::Vec};

use super::sa::Channel;
use crate::{
    crypto::{IkeKeys, OpenKey, SealKey, Secret, SharedSecret, ct_eq, prf, shared_key_auth, skeyseed},
    exchange::{messages::write_init_request, open, seal},
    wire::{
        ExchangeType, Header, Payloads, Writer,
        auth::{Auth, Proof},
        message::Contents,
        sa::{Purpose, check_answer, check_rekey_answer, choose_rekey},
        sk,
    },
};

const DATA: &str = include_str!("../../tests/vectors/strongswan.txt");

/// The values of this name, in order.
fn values(name: &str) -> Vec<Vec<u8>> {
    let octets = |hex: &str| -> Vec<u8> {
        let digit = |octet: &u8| u8::try_from(char::from(*octet).to_digit(16).unwrap()).unwrap();
        let pairs = hex.as_bytes().chunks_exact(2);
        pairs.map(|pair| digit(&pair[0]) * 16 + digit(&pair[1])).collect()
    };
    let lines = DATA.lines().filter_map(|line| line.split_once(" = "));
    lines
        .filter(|(own, _)| *own == name)
        .map(|(_, hex)| octets(hex.trim()))
        .collect()
}

fn array<const N: usize>(name: &str, at: usize) -> [u8; N] {
    values(name)[at].clone().try_into().unwrap()
}

fn shared(at: usize) -> SharedSecret {
    SharedSecret::from_octets_for_testing_only(array("g_ir", at))
}

fn expect(keys: &IkeKeys, at: usize) {
    assert_eq!(keys.sk_d.expose(), &array::<32>("sk_d", at));
    assert_eq!(keys.sk_ei.expose(), &array::<36>("sk_ei", at));
    assert_eq!(keys.sk_er.expose(), &array::<36>("sk_er", at));
    assert_eq!(keys.sk_pi.expose(), &array::<32>("sk_pi", at));
    assert_eq!(keys.sk_pr.expose(), &array::<32>("sk_pr", at));
}

fn nonce(message: &[u8]) -> Vec<u8> {
    let (_, payloads) = Payloads::of_message(message).unwrap();
    Contents::collect(payloads).unwrap().nonce.unwrap().to_vec()
}

/// The messages of karp and those of strongSwan with this exchange type, in order.
fn messages(exchange: ExchangeType) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let of = |name: &str| -> Vec<Vec<u8>> {
        let mut all = values(name);
        all.retain(|message| Header::parse(message).unwrap().exchange == exchange);
        all
    };
    (of("received"), of("sent"))
}

fn initial() -> (IkeKeys, Vec<u8>, Vec<u8>) {
    let (requests, responses) = messages(ExchangeType::IKE_SA_INIT);
    let (request, response) = (&requests[0], &responses[0]);
    let (ni, nr) = (nonce(request), nonce(response));
    assert_eq!([&ni[..], &nr[..]].concat(), values("nonces")[0]);
    let header = Header::parse(response).unwrap();
    let seed = skeyseed(&ni, &nr, &shared(0));
    assert_eq!(seed.expose(), &array::<32>("skeyseed", 0));
    let keys = IkeKeys::derive(&shared(0), &ni, &nr, &header.spi_i, &header.spi_r);
    expect(&keys, 0);
    (keys, request.clone(), response.clone())
}

#[test]
fn the_initial_exchange_has_strongswans_keys() {
    let (_, request, response) = initial();
    // The request is what this crate writes of its parts.
    let (header, payloads) = Payloads::of_message(&request).unwrap();
    let contents = Contents::collect(payloads).unwrap();
    let public: [u8; 32] = contents.ke.unwrap().data.try_into().unwrap();
    let mut octets = [0; 512];
    let mut writer = Writer::message(&mut octets, &header);
    let nonce = contents.nonce.unwrap();
    write_init_request(&mut writer, &[], Purpose::Pairwise, &public, nonce);
    assert_eq!(writer.finish().unwrap(), &request[..]);
    // The response answers it, is childless, and lists the Identity hash.
    let (_, payloads) = Payloads::of_message(&response).unwrap();
    let contents = Contents::collect(payloads).unwrap();
    assert_eq!(check_answer(contents.sa.unwrap(), Purpose::Pairwise), Ok(()));
    assert!(contents.childless_supported && contents.identity_hash);
}

/// Both AUTH payloads, the MACs that strongSwan logged, and ours.
#[test]
fn auth_is_strongswans() {
    let (keys, init_request, init_response) = initial();
    let (requests, responses) = messages(ExchangeType::IKE_AUTH);
    let psk = &values("psk")[0];
    let sides = [
        (
            &requests[0],
            &keys.sk_ei,
            &init_request,
            nonce(&init_response),
            &keys.sk_pi,
            0,
        ),
        (
            &responses[0],
            &keys.sk_er,
            &init_response,
            nonce(&init_request),
            &keys.sk_pr,
            1,
        ),
    ];
    for (message, key, first, nonce, sk_p, at) in sides {
        let mut copy = message.clone();
        let opened = open(&OpenKey::new(key), &mut copy).unwrap();
        let contents = Contents::collect(opened.payloads().unwrap()).unwrap();
        let id = if at == 0 { contents.id_i } else { contents.id_r };
        let id = id.unwrap().body;
        let name: &[u8] = if at == 0 { b"a.example" } else { b"b.example" };
        assert_eq!(&id[4..], name);
        let mac = shared_key_auth(psk, &[first, &nonce, &prf(sk_p.expose(), &[id])]);
        assert_eq!(mac.to_vec(), values("auth")[at]);
        let proof = contents.auth.as_ref().map(Auth::proof);
        assert!(matches!(proof, Some(Ok(Proof::SharedKey(sent))) if ct_eq(sent, &mac)));
    }
}

/// Every sealed message of both sides opens, and sealed again under the same IV is the same.
#[test]
fn sealed_messages_come_out_again() {
    let mut count = 0;
    for name in ["received", "sent"] {
        for message in values(name) {
            let header = Header::parse(&message).unwrap();
            if header.exchange == ExchangeType::IKE_SA_INIT {
                continue;
            }
            let side = if header.flags.is_initiator() {
                "sk_ei"
            } else {
                "sk_er"
            };
            let mut found = 0;
            for at in 0..values(side).len() {
                let key = || Secret::from_bytes(array::<36>(side, at));
                let mut copy = message.clone();
                if open(&OpenKey::new(&key()), &mut copy).is_err() {
                    continue;
                }
                let iv = u64::from_be_bytes(message[32..40].try_into().unwrap());
                let mut again = SealKey::starting_at(key(), iv);
                assert_eq!(seal(&mut again, &mut copy), Some(message.len()));
                assert_eq!(copy, message);
                found += 1;
            }
            assert_eq!(found, 1, "{name} {:?} {}", header.exchange, header.message_id);
            count += 1;
        }
    }
    // IKE_AUTH, then three times CREATE_CHILD_SA, the end of the former IKE SA and a probe under the new one.
    assert_eq!(count, 2 + 3 * 6);
}

/// Three rekeys, each from the SK_d of the one before.
#[test]
fn rekeys_have_strongswans_keys() {
    let (mut keys, ..) = initial();
    let (requests, responses) = messages(ExchangeType::CREATE_CHILD_SA);
    assert_eq!((requests.len(), responses.len()), (3, 3));
    for (turn, (request, response)) in requests.iter().zip(&responses).enumerate() {
        let contents_of = |message: &[u8], key: &Secret<36>| -> (Vec<u8>, Vec<u8>) {
            let mut copy = message.to_vec();
            let opened = open(&OpenKey::new(key), &mut copy).unwrap();
            let contents = Contents::collect(opened.payloads().unwrap()).unwrap();
            (contents.sa.unwrap().to_vec(), contents.nonce.unwrap().to_vec())
        };
        let (offer, ni) = contents_of(request, &keys.sk_ei);
        let (answer, nr) = contents_of(response, &keys.sk_er);
        let (_, spi_i) = choose_rekey(&offer).unwrap().unwrap();
        let spi_r = check_rekey_answer(&answer).unwrap();
        assert_eq!([&ni[..], &nr[..]].concat(), values("nonces")[turn + 1]);
        let fresh = IkeKeys::rekey(&keys.sk_d, &shared(turn + 1), &ni, &nr, &spi_i, &spi_r);
        expect(&fresh, turn + 1);
        keys = fresh;
    }
    let channel = Channel::new(keys, ([1; 8], [2; 8]), true, 0);
    assert_eq!(
        channel.header(ExchangeType::INFORMATIONAL, false, 0).message_id,
        0
    );
}

/// A sealed message has the parts where the code looks for them.
#[test]
fn the_file_is_what_it_says() {
    assert!(
        DATA.starts_with("# Messages and keys of one run of `netlab -- strongswan` (case rekey-by-karp)")
    );
    let names = [
        "received", "sent", "g_ir", "nonces", "skeyseed", "sk_d", "psk", "auth",
    ];
    let counts: Vec<usize> = names.iter().map(|name| values(name).len()).collect();
    assert_eq!(counts, [11, 11, 4, 4, 4, 4, 2, 2], "{}", names.join(" "));
    for message in values("sent").iter().skip(1) {
        assert!(sk::locate(message).is_ok());
    }
    let text: String = DATA.lines().take(1).collect();
    assert!(text.contains("strongSwan 6.0.1") || DATA.contains("strongSwan 6.0.1"));
}
