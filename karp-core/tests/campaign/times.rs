//! How long it takes until a group is there again. The campaign measures large groups, these are the small ones.

use super::sim::bounds::{Case, measure, wakes_in_office};

#[test]
fn groups_of_three_and_ten_keep_the_bounds() {
    for nodes in [3, 10] {
        for case in Case::ALL {
            for seed in 1..=3 {
                let (took, bound) = (measure(case, seed, nodes), case.bound(nodes));
                assert!(
                    took <= bound,
                    "{} of {nodes} routers, seed {seed}: {took} ms, not {bound}",
                    case.what()
                );
            }
        }
    }
}

/// Section 2: it has lost its office, and others have had an hour to take it.
#[test]
fn a_router_that_slept_for_an_hour_is_not_in_office() {
    for seed in 1..=3 {
        assert!(!wakes_in_office(seed), "seed {seed}");
    }
}
