//! A third party's word on the keys: packets of BIRD and FRR verify with `karp_core::packet_auth`, and hellos that it
//! signs are accepted by both.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
    time::Duration,
};

use karp_std::{
    clock,
    daemons::frr::Vty,
    kept::{self, KeptError},
};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{
    super::{
        bird,
        capture::{self, Capture, Captured},
        karpd,
        lab::{End, Lab, MANUAL_ID},
        net::{BRIDGE, INTERFACE, link_local},
        packets::{Check, Keyring, Origin},
        record::Watched,
        report::tell,
        router::Kind,
        signer::{Identity, Signer, SigningKey},
    },
    life::limit,
};

/// The numbers on the LAN of the hosts that send hellos: under the right key, and under one that differs a little.
const HONEST: u8 = 101;
const FORGER: u8 = 102;
/// How many rollovers in the short form, and in the full one.
const ROLLOVERS: (u32, u32) = (3, 10);
/// How long the forger tries after the other was accepted.
const TRIAL: Duration = Duration::from_secs(5);

/// Both daemons under one fixed key, then under karpd's keys; packets are checked both ways in each.
pub(super) fn play(lab: &mut Lab) -> Result<(), End> {
    let hosts = [HONEST, FORGER];
    let mut namespaces = Vec::new();
    for host in hosts {
        namespaces.push(lab.lan.add(&format!("h{host}"), host)?);
        lab.guests.push(host);
    }
    lab.act("all daemons start with one fixed key");
    let capture = start_capture(lab, "fixed")?;
    lab.record.electing(true);
    for index in 0..lab.routers.len() {
        lab.boot(index, false)?;
    }
    lab.until(Duration::from_secs(40), "all adjacencies", |lab| lab.is_meshed())?;
    lab.record.electing(false);
    let mut keyring = Keyring::default();
    read_files(lab, &mut keyring)?;
    accepted(lab, &namespaces, &keyring, MANUAL_ID, Origin::BirdFile)?;
    verified(lab, capture, "fixed", &keyring, &[Origin::BirdFile])?;

    lab.act("karpd comes to all routers");
    for index in 0..lab.routers.len() {
        lab.start_karpd(index)?;
    }
    let mut keyring = Keyring::default();
    let patience = limit(lab, 60);
    lab.until(patience, "all routers sending with an automatic key", |lab| {
        lab.is_settled()
    })?;
    let capture = start_capture(lab, "karpd")?;
    collect(lab, &mut keyring)?;
    let count = if lab.options.short {
        ROLLOVERS.0
    } else {
        ROLLOVERS.1
    };
    for number in 1..=count {
        let before = lab.agreed();
        let asker = lab.pick(&lab.standing());
        lab.act(format!(
            "rollover {number} of {count}, asked for by {}",
            lab.routers[asker].name
        ));
        lab.request_rekey(asker)?;
        let mut lost = None;
        lab.until(
            patience,
            "all routers sending with a new key, and at rest",
            |lab| {
                lost = collect(lab, &mut keyring).err();
                lost.is_some()
                    || (lab.is_settled() && lab.agreed().map(|(_, id)| id) != before.map(|(_, id)| id))
            },
        )?;
        if let Some(end) = lost {
            return Err(end);
        }
        // A hello or two of each router under this key.
        lab.pass(Duration::from_millis(1500))?;
    }
    restart_ospf(lab, &mut keyring)?;
    let Some((_, id)) = lab.agreed() else {
        return Err(End::now("the routers agree no more"));
    };
    accepted(lab, &namespaces, &keyring, id, Origin::Kept)?;
    collect(lab, &mut keyring)?;
    let differ = keyring.contradictions(Origin::Kept, Origin::BirdFile);
    if !differ.is_empty() {
        return Err(End::now(format!(
            "BIRD was given other keys than karpd keeps, by version and id: {differ:?}"
        )));
    }
    verified(lab, capture, "karpd", &keyring, &[Origin::Kept, Origin::BirdFile])
}

/// Restarts OSPF on a BIRD, so that packets of all types are seen and not only hellos. What it loses is no loss.
fn restart_ospf(lab: &mut Lab, keyring: &mut Keyring) -> Result<(), End> {
    let Some(index) = lab.routers.iter().position(|router| router.kind == Kind::Bird) else {
        return Err(End::now("no router runs BIRD"));
    };
    lab.act(format!("{} restarts OSPF", lab.routers[index].name));
    lab.record.exempt(index);
    lab.record.electing(true);
    for protocol in [Watched::Ospf2, Watched::Ospf3] {
        let command = format!("restart {}", bird::instance(protocol));
        bird::command(&lab.routers[index].own().join("bird.ctl"), &command)?;
    }
    lab.pass(Duration::from_secs(2))?;
    let patience = limit(lab, 60);
    let mut lost = None;
    lab.until(patience, "all adjacencies again, and the group at rest", |lab| {
        lost = collect(lab, keyring).err();
        lost.is_some() || lab.is_settled()
    })?;
    lab.record.electing(false);
    lab.record.count(index);
    lost.map_or(Ok(()), Err)
}

/// Takes in what every karpd keeps and what every BIRD reads now.
fn collect(lab: &Lab, keyring: &mut Keyring) -> Result<(), End> {
    for router in lab.routers.iter().filter(|router| router.has_karpd()) {
        let said = |error: KeptError| End::now(format!("the kept keys of {}: {error}", router.name));
        let file = kept::File::new(&router.karp().join("state"), karpd::GROUP, &router.name).map_err(said)?;
        for kept in file.load(clock::now()).map_err(said)?.keys {
            keyring.derive(&kept.key.key, kept.key.id);
        }
    }
    read_files(lab, keyring)
}

fn start_capture(lab: &Lab, name: &str) -> Result<Capture, End> {
    let results = lab.options.results.clone();
    Ok(Capture::start(
        &lab.tree,
        lab.lan.bridge(),
        BRIDGE,
        &results,
        name,
    )?)
}

/// Reads the files of passwords of every BIRD.
fn read_files(lab: &Lab, keyring: &mut Keyring) -> Result<(), End> {
    for router in lab.routers.iter().filter(|router| router.kind == Kind::Bird) {
        for (version, protocol) in [(2, Watched::Ospf2), (3, Watched::Ospf3)] {
            keyring.read_bird_file(version, &router.own().join(bird::key_file(protocol)))?;
        }
    }
    Ok(())
}

/// Ends a capture, and wants every packet of every router to verify under the keys of each origin.
fn verified(
    lab: &mut Lab,
    capture: Capture,
    name: &str,
    keyring: &Keyring,
    origins: &[Origin],
) -> Result<(), End> {
    let file = capture.file().to_owned();
    let captured = capture.stop()?;
    dissectors_agree(lab, &file, &captured)?;
    let sources: Vec<(u8, IpAddr)> = lab
        .routers
        .iter()
        .flat_map(|router| addresses(router.host))
        .collect();
    let mut all = Vec::new();
    for origin in origins {
        let check = Check::of(&captured, keyring, *origin);
        for router in &lab.routers {
            for (version, source) in addresses(router.host) {
                let Some(count) = check.counts.get(&(version, source)) else {
                    continue;
                };
                tell(&format!(
                    "  {name} {} ({:?}) OSPFv{version} under {}: {} verified (types 1 to 5: {:?}), {} not, {} under a wrong \
                     key, {} after damage",
                    router.name,
                    router.kind,
                    origin.name(),
                    count.verified,
                    count.types,
                    count.unknown + count.refused + count.other,
                    count.under_a_wrong_key,
                    count.after_damage
                ));
            }
        }
        lab.act(format!(
            "{} packets verify under {}",
            check.verified(),
            origin.name()
        ));
        all.push(
            json!({ "keys": origin.name(), "known": keyring.count(*origin), "packets": check.to_json() }),
        );
        check.demand(&sources, 0).map_err(End::now)?;
    }
    let path = lab.options.results.join(format!("packets-{name}.json"));
    std::fs::write(&path, format!("{:#}\n", json!(all)))
        .map_err(|error| End::now(format!("{} cannot be written: {error}", path.display())))
}

/// tshark finds the same packets under the same key ids.
fn dissectors_agree(lab: &Lab, file: &Path, captured: &Captured) -> Result<(), End> {
    let (ours, theirs) = (
        captured.headers(),
        capture::dissect(&lab.tree, lab.lan.bridge(), file)?,
    );
    let differ = |header: &&capture::Header| ours.get(header) != theirs.get(header);
    match ours.keys().chain(theirs.keys()).find(differ) {
        None => Ok(()),
        Some(header) => Err(End::now(format!(
            "of packets with source, type and key id {header:?} tshark sees {:?}, and we {:?}",
            theirs.get(header),
            ours.get(header)
        ))),
    }
}

/// The addresses that a router's hellos come from, with the version of OSPF.
fn addresses(host: u8) -> [(u8, IpAddr); 2] {
    let v6: Ipv6Addr = link_local(host).parse().unwrap_or(Ipv6Addr::UNSPECIFIED);
    [(2, Ipv4Addr::new(10, 9, 0, host).into()), (3, v6.into())]
}

/// Hellos signed under the key become a neighbour of every daemon; those under an almost equal key do not.
fn accepted(
    lab: &mut Lab,
    namespaces: &[String],
    keyring: &Keyring,
    id: u16,
    origin: Origin,
) -> Result<(), End> {
    let (Some(two), Some(three)) = (keyring.text(2, id, origin), keyring.text(3, id, origin)) else {
        return Err(End::now(format!("key {id} is not known")));
    };
    let mut signers = Vec::new();
    for (host, namespace) in [HONEST, FORGER].into_iter().zip(namespaces) {
        let make = |text: &str| match host {
            HONEST => Zeroizing::new(text.to_owned()),
            _ => Zeroizing::new(format!("{text}x")),
        };
        let key = SigningKey {
            id,
            ospfv2: make(two),
            ospfv3: make(three),
        };
        let identity = Identity {
            namespace: namespace.clone(),
            interface: INTERFACE.to_owned(),
            v4: Ipv4Addr::new(10, 9, 0, host),
            v6: link_local(host).parse().unwrap_or(Ipv6Addr::UNSPECIFIED),
            router_id: Ipv4Addr::new(10, 9, 255, host),
        };
        signers.push(Signer::start(identity, key)?);
    }
    lab.act(format!(
        "hosts {HONEST} and {FORGER} send hellos under key {id}, the second under one that differs"
    ));
    let what = "every daemon sees the host that packet_auth signs for";
    lab.until(Duration::from_secs(15), what, |lab| {
        let all = neighbours(lab);
        !all.is_empty()
            && all
                .iter()
                .all(|(_, shown)| shown.contains_key(&router_id(HONEST)))
    })?;
    lab.pass(TRIAL)?;
    for (daemon, shown) in neighbours(lab) {
        if !shown.contains_key(&router_id(HONEST)) {
            return Err(End::now(format!("{daemon} has lost host {HONEST}: {shown:?}")));
        }
        if shown.contains_key(&router_id(FORGER)) {
            return Err(End::now(format!("{daemon} takes a forged hello: {shown:?}")));
        }
        tell(&format!("  {daemon} shows {}", states(&shown)));
    }
    let sent: Vec<u64> = signers.iter().map(Signer::sent).collect();
    lab.act(format!(
        "all daemons accept host {HONEST} and none accepts host {FORGER}; hellos sent: {sent:?}"
    ));
    if sent.iter().any(|sent| *sent < 8) {
        return Err(End::now(format!("too few hellos were sent: {sent:?}")));
    }
    drop(signers);
    let what = "the hosts are forgotten";
    lab.until(Duration::from_secs(30), what, |lab| {
        neighbours(lab)
            .iter()
            .all(|(_, shown)| !shown.contains_key(&router_id(HONEST)))
    })
}

fn states(shown: &BTreeMap<String, String>) -> String {
    let states: Vec<String> = shown.iter().map(|(id, state)| format!("{id} {state}")).collect();
    states.join(", ")
}

fn router_id(host: u8) -> String {
    format!("10.9.255.{host}")
}

/// The neighbours of each daemon with their states, by the daemon's name. A daemon that does not answer has none.
fn neighbours(lab: &Lab) -> Vec<(String, BTreeMap<String, String>)> {
    let mut all = Vec::new();
    for router in &lab.routers {
        for protocol in [Watched::Ospf2, Watched::Ospf3] {
            let shown = match router.kind {
                Kind::Bird => {
                    let command = format!("show ospf neighbors {}", bird::instance(protocol));
                    bird::command(&router.own().join("bird.ctl"), &command)
                        .map(|answer| bird_neighbours(&answer))
                }
                Kind::Frr => ask_frr(&router.own().with_file_name("frr"), protocol)
                    .map(|answer| frr_neighbours(&answer)),
            };
            let name = format!("{} {:?} {}", router.name, router.kind, protocol.name());
            all.push((name, shown.unwrap_or_default()));
        }
    }
    all
}

/// "1013-10.9.255.1    1 Full/BDR ..", and " 10.9.255.2 .." in the lines that follow.
fn bird_neighbours(answer: &str) -> BTreeMap<String, String> {
    let neighbour = |line: &str| {
        let line = line.strip_prefix("1013-").unwrap_or(line);
        let mut words = line.split_whitespace();
        let id: Ipv4Addr = words.next()?.parse().ok()?;
        Some((id.to_string(), words.nth(1)?.to_owned()))
    };
    answer.lines().filter_map(neighbour).collect()
}

/// ospfd has a list for each router id, ospf6d one list of all.
fn frr_neighbours(answer: &str) -> BTreeMap<String, String> {
    let answer: Value = serde_json::from_str(answer).unwrap_or_default();
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    match answer.get("neighbors") {
        Some(Value::Object(neighbours)) => neighbours
            .iter()
            .filter_map(|(id, list)| Some((id.clone(), text(list.get(0)?, "nbrState")?)))
            .collect(),
        Some(Value::Array(neighbours)) => neighbours
            .iter()
            .filter_map(|one| Some((text(one, "neighborId")?, text(one, "state")?)))
            .collect(),
        _ => BTreeMap::new(),
    }
}

/// Asks a daemon of FRR.
fn ask_frr(directory: &Path, protocol: Watched) -> anyhow::Result<String> {
    let (socket, command) = match protocol {
        Watched::Ospf3 => ("ospf6d.vty", "show ipv6 ospf6 neighbor json"),
        _ => ("ospfd.vty", "show ip ospf neighbor json"),
    };
    let mut vty = Vty::connect(&directory.join(socket))?;
    Ok(vty.show(command)?.text().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_of_both_daemons_are_read() {
        let bird = "1013-o2:\n Router ID   \tPri\t     State     \tDTime\tInterface  Router IP\n \
                    10.9.255.101\t  0\t    Init/Other \t 9.117\teth0       10.9.0.101\n \
                    10.9.255.2\t  1\t    Full/DR    \t 9.600\teth0       10.9.0.2\n0000 \n";
        let found = bird_neighbours(bird);
        assert_eq!(found[&router_id(HONEST)], "Init/Other");
        assert_eq!(found.len(), 2);
        let ospfd = r#"{"neighbors":{"10.9.255.101":[{"nbrState":"Init/DROther","converged":"Init"}]}}"#;
        let ospf6d = r#"{"neighbors":[{"neighborId":"10.9.255.101","state":"Init","ifState":"DROther"}]}"#;
        assert_eq!(frr_neighbours(ospfd)[&router_id(HONEST)], "Init/DROther");
        assert_eq!(frr_neighbours(ospf6d)[&router_id(HONEST)], "Init");
        assert!(frr_neighbours("").is_empty() && bird_neighbours("").is_empty());
    }
}
