//! The steps that most scenarios are made of. Each waits for what must come of it, and fails if it does not.

use std::time::Duration;

use serde_json::Value;

use super::super::{
    lab::{End, Lab},
    measure::sends_since,
    record::Event,
    watch::unix_ms,
};

/// How many rollovers in the short form, and in the full one.
const ROLLOVERS: (u32, u32) = (5, 20);
/// The priority of a designated router in the election of the key server.
const DESIGNATED: u64 = 200;

/// The whole life of a LAN.
pub(super) fn whole(lab: &mut Lab) -> Result<(), End> {
    cold_start(lab)?;
    let count = if lab.options.short {
        ROLLOVERS.0
    } else {
        ROLLOVERS.1
    };
    rollovers(lab, count)?;
    member_crash(lab)?;
    gcks_crash(lab)?;
    restart(lab)?;
    router_crash(lab)?;
    if lab.plan.protocols.iter().any(|protocol| protocol.elects()) {
        dr_change(lab)?;
    }
    rollovers(lab, 1)?;
    lab.pass(Duration::from_secs(1))
}

/// What a step may take. Every packet that is lost costs a retransmission.
pub(super) fn limit(lab: &Lab, seconds: u64) -> Duration {
    Duration::from_secs(if lab.options.loss > 0 {
        3 * seconds
    } else {
        seconds
    })
}

/// All routers start at once, without keys.
pub(super) fn cold_start(lab: &mut Lab) -> Result<(), End> {
    lab.act("all routers start, without keys");
    lab.record.electing(true);
    let mut order: Vec<usize> = (0..lab.routers.len()).collect();
    lab.story.shuffle(&mut order);
    let began = unix_ms();
    for index in order {
        lab.boot(index, true)?;
    }
    let patience = limit(lab, 60);
    lab.until(patience, "all adjacencies, under automatic keys", |lab| {
        lab.agreed().is_some() && lab.is_meshed()
    })?;
    lab.measures.cold_start_ms = Some(unix_ms() - began);
    lab.until(patience, "the group at rest, and the control LAN up", |lab| {
        lab.is_settled() && lab.record.is_control_up()
    })?;
    lab.record.electing(false);
    lab.record.begin();
    Ok(())
}

/// So many changes of key, one after the other, each asked for by a router at random.
pub(super) fn rollovers(lab: &mut Lab, count: u32) -> Result<(), End> {
    for number in 1..=count {
        let patience = limit(lab, 30);
        lab.until(patience, "the group at rest before a rollover", |lab| {
            lab.is_settled()
        })?;
        let before = lab.agreed().map(|(_, id)| id);
        let standing = lab.standing();
        let asker = lab.pick(&standing);
        lab.act(format!(
            "rollover {number} of {count}, asked for by {}",
            lab.routers[asker].name
        ));
        let from = unix_ms();
        lab.request_rekey(asker)?;
        lab.until(patience, "all routers sending with a new key", |lab| {
            lab.agreed().is_some_and(|(_, id)| Some(id) != before)
        })?;
        if let Some((_, id)) = lab.agreed() {
            lab.measures.asked.push((id, from));
            let sends = |router: &usize| sends_since(lab.record.events(), *router, id, from);
            let since: Option<Vec<u64>> = standing.iter().map(sends).collect();
            if let Some(last) = since.and_then(|since| since.into_iter().max()) {
                lab.measures.rekey_ms.push(last.saturating_sub(from));
            }
        }
    }
    Ok(())
}

/// A member's karpd is killed and comes back: no rollover, nothing lost.
pub(super) fn member_crash(lab: &mut Lab) -> Result<(), End> {
    let patience = limit(lab, 30);
    lab.until(patience, "the group at rest before a crash", |lab| {
        lab.is_settled()
    })?;
    let Some((gcks, id)) = lab.agreed() else {
        return Err(End::now("no key server"));
    };
    let members: Vec<usize> = lab
        .standing()
        .into_iter()
        .filter(|index| *index != gcks)
        .collect();
    let member = lab.pick(&members);
    let name = lab.routers[member].name.clone();
    lab.act(format!("karpd of {name}, a member, is killed"));
    let before = rekeys_started(lab);
    lab.crash_karpd(member);
    lab.pass(Duration::from_secs(3))?;
    lab.act(format!("karpd of {name} comes back"));
    lab.start_karpd(member)?;
    lab.until(patience, "the member back with its keys", |lab| lab.is_settled())?;
    lab.pass(Duration::from_secs(1))?;
    let after = rekeys_started(lab);
    // What 20 % loss does to a group is not the return's doing.
    if lab.options.loss == 0 && (before != after || lab.agreed().map(|(_, id)| id) != Some(id)) {
        return Err(End::now(format!(
            "the return of {name}'s karpd started a rollover"
        )));
    }
    Ok(())
}

/// The key server's karpd is killed, another takes office, and it comes back.
pub(super) fn gcks_crash(lab: &mut Lab) -> Result<(), End> {
    let patience = limit(lab, 30);
    lab.until(patience, "the group at rest before a crash", |lab| {
        lab.is_settled()
    })?;
    let Some((gcks, _)) = lab.agreed() else {
        return Err(End::now("no key server"));
    };
    let name = lab.routers[gcks].name.clone();
    lab.act(format!("karpd of {name}, the GCKS, is killed"));
    let at = unix_ms();
    lab.crash_karpd(gcks);
    lab.until(patience, "a new GCKS", |lab| {
        heir(lab.record.events(), gcks, at).is_some()
    })?;
    if let Some(since) = heir(lab.record.events(), gcks, at) {
        lab.measures.failover_ms.push(since.saturating_sub(at));
    }
    lab.act(format!("karpd of {name} comes back"));
    lab.start_karpd(gcks)?;
    lab.until(patience, "the old GCKS back, and the group at rest", |lab| {
        lab.is_settled()
    })
}

/// When another router than `gone` took office after `at`.
fn heir(events: &[Event], gone: usize, at: u64) -> Option<u64> {
    events.iter().find_map(|event| {
        let Event::Karpd { router, event } = event else {
            return None;
        };
        let since = event.get("unix_ms")?.as_u64()?;
        let is_one = *router != gone
            && since >= at
            && event.get("event")?.as_str()? == "role_changed"
            && event.get("role")?.as_str()? == "gcks";
        is_one.then_some(since)
    })
}

/// karpd is told to end, by SIGTERM, and starts anew: the GCKS's in the full form, a member's in the short one.
pub(super) fn restart(lab: &mut Lab) -> Result<(), End> {
    let patience = limit(lab, 30);
    lab.until(patience, "the group at rest before a restart", |lab| {
        lab.is_settled()
    })?;
    let Some((gcks, _)) = lab.agreed() else {
        return Err(End::now("no key server"));
    };
    let members: Vec<usize> = lab
        .standing()
        .into_iter()
        .filter(|index| *index != gcks)
        .collect();
    let index = if lab.options.short {
        lab.pick(&members)
    } else {
        gcks
    };
    let name = lab.routers[index].name.clone();
    lab.act(format!("karpd of {name} is restarted by SIGTERM"));
    if !lab.stop_karpd(index) {
        return Err(End::now(format!("karpd of {name} did not end on SIGTERM")));
    }
    lab.pass(Duration::from_secs(1))?;
    lab.start_karpd(index)?;
    lab.until(patience, "the group at rest after a restart", |lab| {
        lab.is_settled()
    })
}

/// A whole router loses power and boots.
pub(super) fn router_crash(lab: &mut Lab) -> Result<(), End> {
    let patience = limit(lab, 60);
    lab.until(patience, "the group at rest before a router's crash", |lab| {
        lab.is_settled()
    })?;
    let designated = lab.designated();
    let others: Vec<usize> = lab
        .standing()
        .into_iter()
        .filter(|index| Some(*index) != designated)
        .collect();
    let victim = lab.pick(&others);
    let name = lab.routers[victim].name.clone();
    lab.act(format!("{name} loses power: daemons and karpd"));
    lab.crash(victim);
    // Longer than OSPF's dead interval in the full form.
    lab.pass(Duration::from_secs(if lab.options.short { 5 } else { 15 }))?;
    lab.act(format!("{name} boots"));
    lab.record.electing(true);
    lab.boot(victim, true)?;
    lab.until(patience, "the router back with all adjacencies", |lab| {
        lab.is_settled()
    })?;
    lab.record.count(victim);
    lab.record.electing(false);
    Ok(())
}

/// The designated router's daemons end and start anew: another becomes designated, and its election priority follows.
pub(super) fn dr_change(lab: &mut Lab) -> Result<(), End> {
    let patience = limit(lab, 60);
    lab.until(patience, "the group at rest before a change of the DR", |lab| {
        lab.is_settled()
    })?;
    let Some(old) = lab.designated() else {
        return Err(End::now("no router is designated"));
    };
    let name = lab.routers[old].name.clone();
    lab.act(format!(
        "the routing daemons of {name}, the designated router, end"
    ));
    lab.record.electing(true);
    lab.stop_daemons(old);
    lab.until(
        patience,
        "another designated router whose election priority has followed",
        |lab| {
            lab.designated().is_some_and(|index| {
                let status = lab.routers[index].status.as_ref();
                index != old && status.is_some_and(|status| status.priority == DESIGNATED)
            })
        },
    )?;
    if let Some(new) = lab.designated() {
        lab.act(format!(
            "{} is designated, with election priority {DESIGNATED}",
            lab.routers[new].name
        ));
    }
    // Who comes back into the middle of an election prolongs it.
    lab.until(patience, "the others' adjacencies in their new roles", |lab| {
        lab.is_meshed()
    })?;
    lab.pass(Duration::from_secs(2))?;
    lab.act(format!("the routing daemons of {name} start"));
    lab.start_daemons(old)?;
    lab.until(patience, "all adjacencies back", |lab| lab.is_settled())?;
    lab.record.count(old);
    lab.record.electing(false);
    Ok(())
}

fn rekeys_started(lab: &Lab) -> usize {
    let is_one = |event: &&Event| matches!(event, Event::Karpd { event, .. } if event.get("event").and_then(Value::as_str) == Some("rekey_started"));
    lab.record.events().iter().filter(is_one).count()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_heir_is_another_and_later() {
        let office = |router, at: u64, role: &str| Event::Karpd {
            router,
            event: json!({ "unix_ms": at, "event": "role_changed", "role": role }),
        };
        let events = [
            office(1, 50, "gcks"),
            office(0, 150, "gcks"),
            office(2, 160, "member"),
            office(1, 170, "gcks"),
        ];
        assert_eq!(heir(&events, 0, 100), Some(170));
        assert_eq!(heir(&events[..3], 0, 100), None);
    }
}
