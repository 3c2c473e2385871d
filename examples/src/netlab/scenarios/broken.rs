//! A rollover that is broken on purpose: the watcher must see what it costs.

use std::time::Duration;

use super::{
    super::{
        bird,
        lab::{End, Lab},
    },
    life::{cold_start, limit, rollovers},
};

/// A key id that no rollover of so short a run comes to.
const BAD_ID: u16 = 250;

/// Two routers are made to send with a key before the third has it, behind karpd's back, and accept nothing else.
pub(super) fn play(lab: &mut Lab) -> Result<(), End> {
    cold_start(lab)?;
    rollovers(lab, 1)?;
    let patience = limit(lab, 30);
    lab.until(patience, "the group at rest", |lab| lab.is_settled())?;
    if !lab.record.losses().is_empty() {
        return Err(End::now("adjacencies were lost before anything was broken"));
    }
    lab.act(format!(
        "r1 and r2 are made to send with key {BAD_ID} before r3 has it"
    ));
    for index in [0, 1] {
        let router = &lab.routers[index];
        for protocol in lab.plan.protocols.clone() {
            router.overwrite_keys(protocol, &bird::password(protocol, BAD_ID, "before-its-time"))?;
        }
        router.reconfigure()?;
    }
    lab.until(
        Duration::from_secs(20),
        "the losses of r3, on both sides",
        |lab| {
            let seen = |router: usize, neighbour: usize| {
                lab.record
                    .losses()
                    .iter()
                    .any(|loss| (loss.adjacency.router, loss.adjacency.neighbour) == (router, neighbour))
            };
            seen(0, 2) && seen(1, 2) && seen(2, 0) && seen(2, 1)
        },
    )?;
    let between =
        |loss: &&super::super::record::Loss| loss.adjacency.router < 2 && loss.adjacency.neighbour < 2;
    match lab.record.losses().iter().find(between) {
        Some(_) => Err(End::now("r1 and r2, which have the key, lost each other as well")),
        None => Ok(()),
    }
}
