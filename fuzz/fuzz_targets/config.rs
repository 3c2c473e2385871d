//! What a host tells an engine before it starts. Octets that begin with 0 are settings with keys to resume with; any
//! others are a configuration file. No panic; every error names a field and where it is; what is accepted makes an
//! engine that runs.
#![no_main]

use std::path::Path;

use arbitrary::{Arbitrary, Result, Unstructured};
use karp_core::{
    Command, Config, Duration, Engine, Identity, Instant, Output, Settings,
    algorithm::{RoutingAlgorithm, RoutingProtocol},
    config::{Expiry, KeyUse, ManualKey, ProtocolPolicy, ResumedKey},
    crypto::Secret,
    identity::Grant,
    storage::Fixed,
};
use karp_std::{
    config::Loader,
    credentials::{PreSharedKey, Store},
    heap::Heap,
};
use libfuzzer_sys::fuzz_target;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

fuzz_target!(|data: &[u8]| match data.split_first() {
    Some((0, rest)) => {
        if let Ok(settings) = settings(&mut Unstructured::new(rest)) {
            from_settings(settings);
        }
    }
    Some(_) => from_text(data),
    None => {}
});

fn from_text(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    // Files that are named are read. None of these is to be opened by chance.
    if ["/proc", "/sys", "/dev"].iter().any(|tree| text.contains(tree)) {
        return;
    }
    let loader = Loader::default().beside(&["daemon", "sink", "follow"]);
    match loader.parse(text, Path::new("/nowhere/karp.toml")) {
        Err(error) => {
            let line = error.line.expect("an error in a text has a line");
            assert!(
                line >= 1 && line <= text.split('\n').count(),
                "line {line} of {error}"
            );
            assert!(!error.field.is_empty(), "no field: {error}");
            assert!(!error.problem.is_empty() && !error.remedy.is_empty(), "{error:?}");
            assert!(!error.to_string().contains('\n'), "more than one line: {error}");
        }
        Ok(loaded) => {
            let config = Config::new(loaded.settings).expect("the loader has checked it");
            let sizes = loaded.storage;
            let rows = [sizes.peers, sizes.handshakes, sizes.sealed, sizes.strangers];
            if rows.into_iter().all(|rows| rows <= 256) {
                run(config, loaded.credentials, Heap::new(&sizes));
            }
        }
    }
}

fn from_settings(settings: Settings) {
    let identity = settings.identity.clone();
    let key = PreSharedKey::new(&[7; 32]).expect("32 octets");
    match Config::new(settings) {
        Ok(config) => {
            assert!(config.message_sizes().all(|(_, octets)| octets <= 1232));
            let store = Store::new(identity).with_shared_key(key, Grant::FULL);
            run(config, store, Box::<Fixed<4, 10, 2, 2, 2>>::default());
        }
        Err(error) => {
            let text = error.to_string();
            let named = [
                "address",
                "multicast",
                "group",
                "protocols",
                "key_ids",
                "manual key",
                "resumed key",
                "identities",
                "hello_ms",
                "hold_multiplier",
                "retransmit_ms",
                "tries",
                "min_rekey_ms",
                "key_lifetime_ms",
                "rekey_sa_lifetime_ms",
                "dtd_ms",
            ];
            assert!(named.iter().any(|field| text.contains(field)), "no field: {text}");
        }
    }
}

/// The engine joins and lives for a while, alone.
fn run<S: karp_core::Storage>(config: Config, store: Store, storage: S) {
    let engine = Engine::new(
        config,
        store,
        ChaCha8Rng::seed_from_u64(1),
        storage,
        Instant::ZERO,
    );
    let mut engine = engine.expect("what was accepted makes an engine");
    let mut now = Instant::ZERO;
    rows(&engine, now);
    engine
        .handle_command(now, Command::Join)
        .expect("joining is always possible");
    let mut buffer = [0; 1232];
    for turn in 0..150 {
        match engine.poll(now, &mut buffer) {
            Output::Transmit { len, .. } => assert!(len <= 1232),
            Output::Event(_) => {}
            Output::Idle { next } => {
                rows(&engine, now);
                let Some((at, _)) = next else { return };
                assert!(at > now, "idle until {at:?}, and it is {now:?}");
                // Now and then a host is late.
                now = if turn % 16 == 15 {
                    at.after(Duration::from_secs(3600))
                } else {
                    at
                };
            }
        }
    }
}

/// The key table is one whatever way it is asked, and so is what a host would keep of it.
fn rows<S: karp_core::Storage>(engine: &Engine<Store, ChaCha8Rng, S>, now: Instant) {
    let table = engine.key_table();
    for row in table.rows(now) {
        let found = table
            .receiving(row.protocol, row.id, now)
            .expect("what is a row is accepted");
        assert!(!found.octets().is_empty());
    }
    for protocol in RoutingProtocol::ALL {
        if let Some(sending) = table.sending(protocol, now) {
            let mut same = table
                .rows(now)
                .filter(|row| row.protocol == protocol && row.id == sending.id);
            assert!(same.any(|row| row.octets() == sending.octets()));
        }
    }
    for key in engine.resumable_keys(now) {
        assert!(table.rows(now).any(|row| row.id == key.id) || key.protocols.is_empty());
    }
}

fn settings(u: &mut Unstructured<'_>) -> Result<Settings> {
    let len = usize::from(u8::arbitrary(u)?) % 70;
    let kind = u8::arbitrary(u)?;
    let name = u.bytes(len.min(u.len()))?;
    let Some(identity) = Identity::new(kind, name) else {
        return Err(arbitrary::Error::IncorrectFormat);
    };
    let len = usize::from(u8::arbitrary(u)? % 70);
    let group = String::from_utf8_lossy(u.bytes(len.min(u.len()))?).into_owned();
    let flags = u16::arbitrary(u)?;
    let on = |bit: u16| flags >> bit & 1 != 0;
    let address = if on(0) {
        std::net::SocketAddr::from((u128::arbitrary(u)?.to_be_bytes(), u16::arbitrary(u)?))
    } else {
        std::net::SocketAddr::from((u32::arbitrary(u)?.to_be_bytes(), u16::arbitrary(u)?))
    };
    let mut settings = Settings::new(&group, identity, address);
    settings.gtsm = on(1);
    settings.preempt = on(2);
    settings.controller_signatures = on(3);
    settings.reboot_exempt = on(4);
    settings.confirm_installs = on(5);
    if on(6) {
        settings.expiry = Expiry::FailClosed;
    }
    if on(7) {
        settings.multicast =
            std::net::SocketAddr::from((u32::arbitrary(u)?.to_be_bytes(), u16::arbitrary(u)?));
    }
    settings.priority = u16::arbitrary(u)?;
    settings.router_id = u64::arbitrary(u)?;
    if on(8) {
        settings.hold_multiplier = u8::arbitrary(u)?;
        settings.tries = u8::arbitrary(u)?;
        for span in [
            &mut settings.hello,
            &mut settings.retransmit,
            &mut settings.min_rekey,
            &mut settings.key_lifetime,
            &mut settings.rekey_sa_lifetime,
            &mut settings.dtd,
        ] {
            let (number, unit) = (u16::arbitrary(u)?, u8::arbitrary(u)?);
            let unit = [1, 10, 1000, 60_000, 3_600_000, u64::MAX / 65_535][usize::from(unit % 6)];
            *span = Duration::from_millis(u64::from(number).saturating_mul(unit));
        }
    }
    if on(9) {
        settings.key_ids = (u16::arbitrary(u)?, u16::arbitrary(u)?);
    }
    if on(10) {
        settings.protocols.clear();
    }
    for _ in 0..u8::arbitrary(u)? % 9 {
        let (protocol, algorithm) = keyed(u)?;
        let self_protecting = bool::arbitrary(u)?;
        let _ = settings.protocols.push(ProtocolPolicy {
            protocol,
            algorithm,
            self_protecting,
        });
    }
    for _ in 0..u8::arbitrary(u)? % 9 {
        let (protocol, algorithm) = keyed(u)?;
        let (id, len) = (u16::arbitrary(u)?, usize::from(u8::arbitrary(u)? % 65));
        let secret = heapless::Vec::from_slice(u.bytes(len.min(u.len()))?).unwrap_or_default();
        let _ = settings.manual_keys.push(ManualKey {
            protocol,
            algorithm,
            id,
            secret,
        });
    }
    for _ in 0..u8::arbitrary(u)? % 9 {
        let usage = [KeyUse::Unsent, KeyUse::Stopped, KeyUse::Sending][usize::from(u8::arbitrary(u)? % 3)];
        let (id, octet) = (u16::arbitrary(u)?, u8::arbitrary(u)?);
        let lifetime = Duration::from_millis(if on(11) {
            u64::arbitrary(u)?
        } else {
            u64::from(u32::arbitrary(u)?)
        });
        let mut protocols = heapless::Vec::new();
        for _ in 0..u8::arbitrary(u)? % 9 {
            let _ = protocols.push(keyed(u)?);
        }
        let _ = settings.resumed_keys.push(ResumedKey {
            id,
            key: Secret::from_bytes([octet; 32]),
            usage,
            lifetime,
            protocols,
        });
    }
    Ok(settings)
}

fn keyed(u: &mut Unstructured<'_>) -> Result<(RoutingProtocol, RoutingAlgorithm)> {
    let (protocol, algorithm) = (u8::arbitrary(u)?, u8::arbitrary(u)?);
    Ok((
        RoutingProtocol::ALL[usize::from(protocol) % RoutingProtocol::ALL.len()],
        RoutingAlgorithm::ALL[usize::from(algorithm) % RoutingAlgorithm::ALL.len()],
    ))
}
