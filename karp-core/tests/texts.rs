//! What people read: every error says what is wrong and what to do, in its own words.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;

use karp_core::{
    error::{CommandError, ConfigError, DropReason},
    identity::Identity,
    io::{Alarm, MessageKind, Timer},
    wire,
};

fn all_differ<T: std::fmt::Display>(texts: &[T]) {
    let texts: Vec<String> = texts.iter().map(T::to_string).collect();
    assert!(
        texts.iter().all(|text| text.len() > 3 && !text.ends_with('.')),
        "{texts:?}"
    );
    assert_eq!(
        texts.iter().collect::<BTreeSet<_>>().len(),
        texts.len(),
        "{texts:?}"
    );
}

#[test]
fn errors_differ() {
    all_differ(&[
        CommandError::NotJoined,
        CommandError::NotGcks,
        CommandError::SharedKey,
        CommandError::UnknownIdentity,
        CommandError::OwnIdentity,
        CommandError::UnknownGeneration,
        CommandError::NoSuccessor,
        CommandError::NothingToMigrate,
    ]);
    all_differ(&[
        ConfigError::OutOfRange {
            field: "hello_ms",
            min: 50,
            max: 10_000,
            value: 7,
        },
        ConfigError::GroupName,
        ConfigError::UnicastAddress,
        ConfigError::MulticastAddress,
        ConfigError::Protocols,
        ConfigError::Algorithm {
            protocol: 1,
            algorithm: 1030,
        },
        ConfigError::KeyIds,
        ConfigError::ManualKey { id: 3 },
        ConfigError::ResumedKey { id: 3 },
        ConfigError::MessageTooLong {
            message: "GSA_AUTH",
            octets: 1300,
            limit: 1232,
        },
        ConfigError::Storage {
            table: "keys",
            min: 10,
        },
        ConfigError::OwnGrant,
    ]);
    all_differ(&[
        wire::Error::Truncated,
        wire::Error::Trailing,
        wire::Error::BadLength,
        wire::Error::BadVersion(3),
        wire::Error::UnknownCritical(99),
        wire::Error::Duplicate,
        wire::Error::Missing,
        wire::Error::Misplaced,
        wire::Error::TooMany,
        wire::Error::BadValue,
        wire::Error::Unsupported,
        wire::Error::NotSealed,
    ]);
}

/// An error names its field, its bounds and what it was.
#[test]
fn numbers_stand_in_the_text() {
    let text = ConfigError::OutOfRange {
        field: "hello_ms",
        min: 50,
        max: 10_000,
        value: 7,
    }
    .to_string();
    assert!(
        ["hello_ms", "50", "10000", "7"]
            .iter()
            .all(|part| text.contains(part)),
        "{text}"
    );
}

#[test]
fn names_for_metrics_differ() {
    fn check(names: &[&str]) {
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        assert!(names.iter().all(|name| {
            name.chars()
                .all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit())
        }));
    }
    check(&DropReason::ALL.iter().map(|one| one.name()).collect::<Vec<_>>());
    check(&MessageKind::ALL.iter().map(|one| one.name()).collect::<Vec<_>>());
    check(&Timer::ALL.iter().map(|one| one.name()).collect::<Vec<_>>());
    check(&Alarm::ALL.iter().map(|one| one.name()).collect::<Vec<_>>());
}

#[test]
fn identities_are_printed_as_people_know_them() {
    assert_eq!(Identity::fqdn("r1.example").unwrap().to_string(), "r1.example");
    assert_eq!(
        Identity::new(Identity::KEY_ID, &[1, 0xab]).unwrap().to_string(),
        "11:01ab"
    );
    assert_eq!(format!("{:?}", Identity::fqdn("r1").unwrap()), "r1");
    assert!(Identity::fqdn("").is_none());
    assert!(Identity::new(2, &[b'x'; 65]).is_none());
    assert!(Identity::fqdn("r2") > Identity::fqdn("r1"));
}
