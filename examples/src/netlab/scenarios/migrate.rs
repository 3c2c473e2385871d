//! A running network under a manual key moves over to automatic keys.

use std::time::Duration;

use super::{
    super::lab::{End, Lab},
    life::{limit, rollovers},
};

/// karpd comes to the routers one after the other, in random order.
pub(super) fn play(lab: &mut Lab) -> Result<(), End> {
    lab.act("all routers run under a manual key");
    lab.record.electing(true);
    for index in 0..lab.routers.len() {
        lab.boot(index, false)?;
    }
    let patience = limit(lab, 40);
    lab.until(patience, "all adjacencies under the manual key", |lab| {
        lab.is_meshed() && lab.record.is_control_up()
    })?;
    lab.record.electing(false);
    lab.record.begin();
    let mut order: Vec<usize> = (0..lab.routers.len()).collect();
    lab.story.shuffle(&mut order);
    let pause = if lab.options.short { 3 } else { 8 };
    for (place, index) in order.iter().enumerate() {
        lab.act(format!("karpd comes to {}", lab.routers[*index].name));
        lab.start_karpd(*index)?;
        if place + 1 < order.len() {
            lab.pass(Duration::from_secs(pause))?;
            if let Some((_, id)) = lab.agreed() {
                return Err(End::now(format!(
                    "key {id} is sent with, and {} routers do not know it yet",
                    order.len() - place - 1
                )));
            }
        }
    }
    lab.until(patience, "all routers sending with an automatic key", |lab| {
        lab.agreed().is_some()
    })?;
    lab.act("all routers send with an automatic key");
    // The manual key goes with the second activation.
    rollovers(lab, if lab.options.short { 3 } else { 10 })?;
    lab.until(patience, "the manual key out of use everywhere", |lab| {
        lab.routers.iter().all(|router| {
            let keys = router.status.as_ref().map(|status| &status.keys);
            keys.is_some_and(|keys| keys.iter().all(|key| !key.manual))
        })
    })?;
    lab.pass(Duration::from_secs(2))
}
