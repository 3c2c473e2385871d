//! Keys to resume with are checked like all that a node is told.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use karp_core::{
    Config, Duration, Identity, Settings,
    algorithm::{RoutingAlgorithm, RoutingProtocol},
    config::{KeyUse, ResumedKey},
    crypto::Secret,
    error::ConfigError,
};

fn with_ids(ids: &[u16]) -> Result<Config, ConfigError> {
    let identity = Identity::fqdn("r1.example").unwrap();
    let mut settings = Settings::new("lan", identity, "10.9.0.1:848".parse().unwrap());
    for id in ids {
        let key = ResumedKey {
            id: *id,
            key: Secret::from_bytes([7; 32]),
            usage: KeyUse::Sending,
            lifetime: Duration::from_secs(60),
            protocols: heapless::Vec::from_slice(&[(RoutingProtocol::Ospfv2, RoutingAlgorithm::HmacSha256)])
                .unwrap(),
        };
        assert!(settings.resumed_keys.push(key).is_ok());
    }
    Config::new(settings)
}

/// Found by the fuzz target `config`: of two keys under one id only one could ever be looked up.
#[test]
fn each_id_is_given_once() {
    assert!(with_ids(&[1, 2, 255]).is_ok());
    assert_eq!(
        with_ids(&[9, 10, 9]).err(),
        Some(ConfigError::ResumedKey { id: 9 })
    );
    assert_eq!(with_ids(&[0]).err(), Some(ConfigError::ResumedKey { id: 0 }));
}
