//! The watcher alone: fixed keys and no karpd.

use std::time::Duration;

use super::super::{
    bird,
    lab::{End, Lab},
    router::Kind,
};

/// Brings all routers up under one manual key, and gives one BIRD another key behind their backs.
pub(super) fn play(lab: &mut Lab) -> Result<(), End> {
    lab.act("all daemons start with one fixed key");
    lab.record.electing(true);
    for index in 0..lab.routers.len() {
        lab.boot(index, false)?;
    }
    lab.until(Duration::from_secs(40), "all adjacencies", |lab| {
        lab.is_meshed() && lab.record.is_control_up()
    })?;
    lab.record.electing(false);
    lab.pass(Duration::from_secs(2))?;
    if !lab.record.losses().is_empty() {
        return Err(End::now("adjacencies were lost before anything was broken"));
    }
    lab.act("r1 is given another key: its neighbours must be seen to go");
    let router = &lab.routers[0];
    assert_eq!(router.kind, Kind::Bird);
    for protocol in lab.plan.protocols.clone() {
        router.overwrite_keys(protocol, &bird::password(protocol, 9, "nobody-else-has-this"))?;
    }
    router.reconfigure()?;
    lab.until(
        Duration::from_secs(20),
        "losses of both protocols on all sides",
        |lab| {
            // r1 itself may begin anew with another BIRD before it loses it, when it has lost the designated router.
            let pairs = [(1, 0), (2, 0), (3, 0), (0, 2), (0, 3)];
            lab.plan.protocols.iter().all(|protocol| {
                pairs.iter().all(|(router, neighbour)| {
                    lab.record.losses().iter().any(|loss| {
                        let adjacency = loss.adjacency;
                        (adjacency.router, adjacency.protocol, adjacency.neighbour)
                            == (*router, *protocol, *neighbour)
                    })
                })
            })
        },
    )
}
