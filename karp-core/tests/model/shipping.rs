//! The code as it ships.

use crate::{QUIET, holds, model::Run, plain, world::Budget};

#[test]
fn two_nodes() {
    let attacked = |budget| Run {
        outsider: true,
        ..plain::<2>(budget)
    };
    holds(
        "cold, an outsider, old announcements",
        Run {
            lag: true,
            ..attacked(QUIET)
        },
    );
    holds(
        "cold, late answers, one lost",
        Run {
            late: true,
            ..attacked(Budget { lost: 1, ..QUIET })
        },
    );
    holds(
        "cold, an outsider, a crash",
        attacked(Budget { crash: 1, ..QUIET }),
    );
    holds("cold, a partition", plain::<2>(Budget { split: 1, ..QUIET }));
    holds("cold, a nap", plain::<2>(Budget { pause: 1, ..QUIET }));
}
