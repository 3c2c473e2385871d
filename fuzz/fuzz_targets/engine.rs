//! An engine over any octets and any passing of time: no panic, no message longer than the limit, and an idle engine
//! names a later moment.
#![no_main]

use core::net::SocketAddr;

use karp_core::{
    Command, Config, Credentials, Engine, Grant, Identity, Instant, Output, Recv, Settings,
    crypto::shared_key_auth, identity::AuthMethod, storage::Fixed,
};
use libfuzzer_sys::fuzz_target;
use rand_core::SeedableRng;

struct SharedKey;

impl Credentials for SharedKey {
    fn grant(&self, _: &Identity) -> Grant {
        Grant::FULL
    }
    fn method(&self, _: &Identity) -> Option<AuthMethod> {
        Some(AuthMethod::SharedKey)
    }
    fn shared_key_auth(&self, _: &Identity, parts: &[&[u8]]) -> Option<[u8; 32]> {
        Some(shared_key_auth(b"a key for fuzzing", parts))
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
        true
    }
}

fuzz_target!(|data: &[u8]| {
    let (Some(identity), Ok(address)) = (Identity::fqdn("r1.example"), "192.0.2.1:848".parse::<SocketAddr>()) else {
        return;
    };
    let Ok(config) = Config::new(Settings::new("lan", identity, address)) else { return };
    let group = config.settings().multicast;
    let rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let storage = Box::<Fixed<4, 10, 4, 4, 4>>::default();
    let Ok(mut engine) = Engine::new(config, SharedKey, rng, storage, Instant::ZERO) else { return };
    let _ = engine.handle_command(Instant::ZERO, Command::Join);
    let mut now = 0_u64;
    let mut rest = data;
    // Each record: how long to wait (units of 16 ms), who sends, to whom, how many octets.
    while let [wait, sender, flags, len, tail @ ..] = rest {
        now += u64::from(*wait) * 16;
        let (datagram, next) = tail.split_at((usize::from(*len) * 5).min(tail.len()));
        rest = next;
        let from = SocketAddr::from(([192, 0, 2, 2 + (sender & 3)], 848));
        let to = if flags & 1 == 0 { group } else { address };
        let recv = Recv { from, to, hop_limit: Some(255) };
        let time = Instant::from_millis(now);
        let _ = engine.handle_datagram(time, recv, &mut datagram.to_vec());
        let mut buffer = [0; 1232];
        for turn in 0.. {
            assert!(turn < 1000, "poll does not come to an end");
            match engine.poll(time, &mut buffer) {
                Output::Transmit { len, .. } => assert!(len <= 1232),
                Output::Event(_) => {}
                Output::Idle { next } => {
                    assert!(next.is_none_or(|(at, _)| at > time));
                    break;
                }
            }
        }
    }
});
