//! Who has no right to be here, and an attacker who hears everything.

use std::{sync::atomic::Ordering, time::Duration};

use super::{
    super::{
        attack::{Attack, HOST, Listener},
        lab::{BLOCKER_ID, End, Lab},
        record::{Event, Level},
        watch::unix_ms,
    },
    life::{cold_start, limit, rollovers, router_crash},
};
use crate::entropy::DemoEntropy;

/// A router with a wrong credential stays out; replays, forgeries and a flood cost no adjacency.
pub(super) fn play(lab: &mut Lab) -> Result<(), End> {
    let outsider = lab.routers.len() - 1;
    let bridge = lab.lan.bridge().to_owned();
    let attacker = lab.lan.add("x", HOST)?;
    let listener = Listener::start(&bridge)?;
    lab.act(format!("{} has a wrong credential", lab.routers[outsider].name));
    cold_start(lab)?;
    rollovers(lab, if lab.options.short { 2 } else { 5 })?;
    let before_reboot = unix_ms();
    router_crash(lab)?;
    let patience = limit(lab, 30);
    lab.until(patience, "the group at rest before the attack", |lab| {
        lab.is_settled()
    })?;
    let Some((gcks, id)) = lab.agreed() else {
        return Err(End::now("no key server"));
    };
    // Of earlier keys, and of before the reboot; not of the session under way: that is the routing protocol's own affair.
    let hosts: Vec<u8> = lab
        .routers
        .iter()
        .filter(|router| !router.is_outsider)
        .map(|router| router.host)
        .collect();
    let mut old = listener.ospf_between(0, before_reboot);
    old.retain(|heard| {
        let is_keyed = heard.key_id().is_some_and(|key| key != BLOCKER_ID && key != id);
        is_keyed && hosts.contains(&heard.source.octets()[3])
    });
    let (_, announcements, first_messages) = listener.counts();
    if old.len() < 10 || announcements == 0 || first_messages == 0 {
        return Err(End::now(format!(
            "the attacker has heard too little: {} packets, {announcements} announcements, {first_messages} first messages",
            old.len()
        )));
    }
    lab.act(format!(
        "the attacker replays {} OSPF packets of earlier keys and of before the reboot, forges announcements, and floods",
        old.len()
    ));
    let story = DemoEntropy::new(Some(lab.options.seed), 1);
    let attack = Attack::start(&attacker, &hosts, old, &listener, story)?;
    let span = if lab.options.short { 15 } else { 60 };
    lab.pass(Duration::from_secs(span))?;
    match lab.agreed() {
        Some((server, key)) if (server, key) == (gcks, id) => {}
        now => {
            let seen = lab.describe().join("\n    ");
            return Err(End::now(format!(
                "the attack has moved the group: {now:?} after {:?}. Seen:\n    {seen}",
                (gcks, id)
            )));
        }
    }
    lab.act("a rollover under attack");
    rollovers(lab, 1)?;
    let sent = attack.sent();
    let counts = [&sent.replayed, &sent.forged, &sent.floods].map(|count| count.load(Ordering::Relaxed));
    drop(attack);
    lab.act(format!(
        "the attack ends: {} packets replayed, {} announcements forged, {} exchanges begun",
        counts[0], counts[1], counts[2]
    ));
    if counts.contains(&0) {
        return Err(End::now("the attacker could not send everything"));
    }
    lab.until(patience, "the group at rest after the attack", |lab| {
        lab.is_settled()
    })?;
    stays_out(lab, outsider)
}

/// Whether the router with the wrong credential was never anybody's neighbour, nor in the group.
fn stays_out(lab: &Lab, outsider: usize) -> Result<(), End> {
    let came_in = lab.record.events().iter().any(|event| {
        matches!(event, Event::Adjacency(change)
            if (change.adjacency.router == outsider || change.adjacency.neighbour == outsider)
                && Level::of(&change.state) != Level::Down)
    });
    let name = &lab.routers[outsider].name;
    if came_in {
        return Err(End::now(format!(
            "{name} has become a neighbour with its wrong credential"
        )));
    }
    let group = lab.routers.iter().find_map(|router| {
        router
            .status
            .as_ref()
            .filter(|status| status.role == "gcks" && !router.is_outsider)
    });
    let own = lab.routers[outsider]
        .status
        .as_ref()
        .and_then(|status| status.rekey_sa.clone());
    match group.and_then(|status| status.rekey_sa.clone()) {
        Some(spi) if Some(&spi) != own.as_ref() => Ok(()),
        Some(_) => Err(End::now(format!("{name} has the group's Rekey SA"))),
        None => Err(End::now("no key server")),
    }
}
