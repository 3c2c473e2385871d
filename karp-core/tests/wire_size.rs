//! The sizes that a configuration is checked against are those that the writers reach, to the octet.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    missing_docs
)]

mod wire_support;

use karp_core::wire::size::{MAX_DATAGRAM, MAX_RETIRING, Shape, StateShape, tek_policy};
use proptest::prelude::*;
use wire_support::{largest_shape, samples};

fn check(shape: &Shape, state: StateShape) {
    for sample in samples(shape, state) {
        assert_eq!(
            sample.octets.len(),
            sample.size,
            "{} of {shape:?} {state:?}",
            sample.name
        );
        assert_eq!((sample.check)(&sample.octets), Ok(()), "{}", sample.name);
    }
}

#[test]
fn sizes_are_exact_at_the_maximum() {
    for ipv6 in [false, true] {
        for signatures in [false, true] {
            let shape = largest_shape(ipv6, signatures);
            check(&shape, StateShape::LARGEST);
            check(&shape, StateShape::NEEDED);
        }
    }
}

/// What the configuration check will say of the worst configuration there is.
#[test]
fn the_largest_configuration_fits() {
    let shape = largest_shape(true, true);
    assert!(shape.largest() <= MAX_DATAGRAM, "{}", shape.largest());
    // And with how many Retiring keys.
    let push = Shape::retiring_that_fit(shape.unicast_state(Some(StateShape::NEEDED)));
    let update = Shape::retiring_that_fit(shape.update(StateShape::NEEDED));
    for (count, base) in [
        (push, shape.unicast_state(Some(StateShape::NEEDED))),
        (update, shape.update(StateShape::NEEDED)),
    ] {
        assert!(base + count * tek_policy(None) <= MAX_DATAGRAM);
        assert!(count == MAX_RETIRING || base + (count + 1) * tek_policy(None) > MAX_DATAGRAM);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn sizes_are_exact(
        lengths in (1_usize..=64, 1_usize..=64, 1_usize..=64),
        flags in any::<[bool; 4]>(),
        counts in (0_usize..=8, 0_usize..=8, 0_usize..=2, 0_usize..=MAX_RETIRING),
    ) {
        let [ipv6, signatures, controller_signatures, rekey_sa] = flags;
        let (own_id, peer_id, group) = lengths;
        let (protocols, evicted, live, retiring) = counts;
        let shape = Shape { own_id, peer_id, group, ipv6, protocols, signatures, controller_signatures, evicted };
        check(&shape, StateShape { rekey_sa, live, retiring });
    }
}
