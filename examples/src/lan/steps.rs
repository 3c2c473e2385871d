//! The story, step by step. Each step does something, and waits until the whole group has come to what must follow.

use karp_core::{
    algorithm::RoutingProtocol,
    command::{Command, RekeyReason},
    crypto::Fingerprint,
    error::CommandError,
    io::{MessageKind, Role},
    time::Duration,
};
use karp_std::clock;
use serde_json::json;

use super::{
    network::{End, Network},
    plan,
    router::{KeyName, Life},
    tally::CutOver,
};
use crate::{hello, picture::Class, timeline::Tone};

/// What role hints map to (PROTOCOL.md section 8).
mod priority {
    pub(super) const DESIGNATED: u16 = 200;
    pub(super) const BACKUP: u16 = 150;
    pub(super) const OTHER: u16 = 100;
}

struct Step {
    name: &'static str,
    title: &'static str,
    /// How long the network is left alone after it, for the hellos to show whether anything is wrong.
    rest: Duration,
    play: fn(&mut Network) -> Result<(), End>,
}

const REST: Duration = Duration::from_millis(400);

const STEPS: [Step; 10] = [
    Step {
        name: "manual",
        title: "a network as networks are: one manual key, and hellos flow",
        rest: REST,
        play: manual,
    },
    Step {
        name: "automatic",
        title: "key management starts everywhere, elects a key server and moves the network to automatic keys",
        rest: REST,
        play: automatic,
    },
    Step {
        name: "rollover",
        title: "a rollover; with it the manual key ends",
        rest: REST,
        play: rollover,
    },
    Step {
        name: "new_session",
        title: "OSPF restarts on a member, which asks for new keys for its new session",
        rest: REST,
        play: new_session,
    },
    Step {
        name: "crash",
        title: "the key server crashes, and another takes office with the keys that all have",
        // Its first rollover must not come ahead of the router that is back.
        rest: Duration::ZERO,
        play: crash,
    },
    Step {
        name: "return",
        title: "the crashed router reboots, waits, and is given only the next key",
        rest: REST,
        play: come_back,
    },
    Step {
        name: "handoff",
        title: "another router becomes DR: its priority rises, and the office is handed over",
        rest: REST,
        play: hand_over,
    },
    Step {
        name: "leave",
        title: "a member leaves",
        rest: REST,
        play: leave,
    },
    Step {
        name: "rejoin",
        title: "it comes back, as a router without keys",
        rest: REST,
        play: rejoin,
    },
    Step {
        name: "eviction",
        title: "a member is evicted",
        rest: REST,
        play: evict,
    },
];

/// Plays all steps. What fails says in which step.
pub(super) fn play(net: &mut Network) -> Result<(), End> {
    introduce(net);
    for (at, step) in STEPS.iter().enumerate() {
        let begin = clock::now();
        let before = net.totals();
        let heading = format!("{}. {}", at + 1, step.title);
        let fields = json!({ "step": step.name, "number": at + 1 });
        net.timeline.say(begin, Tone::Heading, "step", &heading, fields);
        net.film.begin(begin, step.title);
        (step.play)(net).map_err(|end| match end {
            End::Failed(why) => End::Failed(format!("step {:?} failed: {why}", step.name)),
            End::Interrupted => End::Interrupted,
        })?;
        let now = clock::now();
        let after = net.totals();
        let ms = now.since(begin).as_millis();
        let count = |kind| {
            let (before, after) = (before.of(kind), after.of(kind));
            (after.messages - before.messages, after.octets - before.octets)
        };
        let (announcements, octets) = count(MessageKind::Announcement);
        let (updates, _) = count(MessageKind::KeyUpdate);
        let (pushes, _) = count(MessageKind::InbandRekey);
        let exchanges = after.handshakes - before.handshakes;
        let text = format!(
            "done in {}.{:03} s: {announcements} announcements ({octets} octets), {exchanges} exchanges, {updates} key updates, {pushes} unicast",
            ms / 1000,
            ms % 1000
        );
        let fields = json!({
            "step": step.name, "ms": ms, "announcements": announcements, "announcement_octets": octets,
            "exchanges": exchanges, "key_updates": updates, "unicast_updates": pushes,
        });
        net.timeline.say(now, Tone::Good, "step_done", &text, fields);
        net.pass(step.rest)?;
    }
    Ok(())
}

fn introduce(net: &mut Network) {
    let options = net.plan.options.clone();
    let credentials = match options.signed {
        true => "an Ed25519 key each",
        false => "a pre-shared key for each pair",
    };
    let seed = options.seed.map_or(String::new(), |seed| {
        format!(", seed {seed} (demonstration only: its keys are no secret)")
    });
    let text = format!(
        "{} routers, group {}, multicast {} and hellos {} on loopback, {credentials}, {}% loss{seed}",
        options.routers, net.plan.group, net.plan.multicast, net.plan.hellos, options.loss
    );
    let fields = json!({
        "routers": options.routers, "group": net.plan.group, "multicast": net.plan.multicast.to_string(),
        "hellos": net.plan.hellos.to_string(), "signed": options.signed, "loss": options.loss, "seed": options.seed,
    });
    net.timeline.say(clock::now(), Tone::Act, "start", &text, fields);
}

/// How long a step may take: what it takes on an idle machine is a tenth of it.
fn limit(net: &Network) -> Duration {
    let options = &net.plan.options;
    Duration::from_secs(15 + u64::from(options.loss) + options.routers as u64 / 2)
}

fn say(net: &mut Network, router: usize, event: &str, text: &str) {
    let name = plan::name(router);
    let class = match event {
        "rekey" => Class::Rekey,
        "crash" => Class::Crash,
        "reboot" => Class::Return,
        _ => Class::Act,
    };
    net.film.mark(clock::now(), class, format!("{name} {text}"));
    let line = format!("{name:<11} {text}");
    net.timeline
        .say(clock::now(), Tone::Act, event, &line, json!({ "router": name }));
}

fn command(net: &mut Network, router: usize, command: Command<'_>) -> Result<(), End> {
    let refused =
        |error: CommandError| End::Failed(format!("{} refused {command:?}: {error}", plan::name(router)));
    net.routers[router].command(command).map_err(refused)
}

/// Tells a router what part it has in OSPF: its priority follows.
fn set_priority(net: &mut Network, router: usize, priority: u16) -> Result<(), End> {
    net.routers[router].priority = priority;
    if net.routers[router].running.is_some() {
        command(net, router, Command::SetPriority(priority))?;
    }
    Ok(())
}

/// The router in office, or a failure that says that there is none.
fn gcks(net: &Network) -> Result<usize, End> {
    net.gcks()
        .ok_or_else(|| End::Failed("there is not exactly one key server".to_owned()))
}

/// A live member that is not in office: the first whose index passes.
fn member(net: &Network, fits: impl Fn(usize) -> bool) -> Result<usize, End> {
    let gcks = net.gcks();
    net.live()
        .map(|router| router.index)
        .find(|index| Some(*index) != gcks && fits(*index))
        .ok_or_else(|| End::Failed("no member is left for this".to_owned()))
}

fn key_now(net: &Network) -> Option<KeyName> {
    net.agreed().map(|(_, key)| key)
}

/// Waits until all live routers send with one automatic key that is none of `old`, under one key server, and all hear
/// each other.
fn agree_on_new(net: &mut Network, old: Option<KeyName>, what: &str) -> Result<KeyName, End> {
    let limit = limit(net);
    let mut key = None;
    net.until(limit, what, |net| {
        key = key_now(net).filter(|key| Some(*key) != old && net.is_meshed());
        key.is_some()
    })?;
    match key {
        Some(key) => Ok(key),
        None => Err(End::Failed(what.to_owned())),
    }
}

fn start(net: &mut Network, router: usize) -> Result<(), End> {
    let Network {
        plan, story, routers, ..
    } = net;
    routers[router]
        .start(plan, story)
        .map_err(|error| End::Failed(format!("{error:#}")))
}

fn manual(net: &mut Network) -> Result<(), End> {
    let last = net.routers.len() - 1;
    for router in 0..=last {
        net.routers[router].priority = match last - router {
            0 => priority::DESIGNATED,
            1 => priority::BACKUP,
            _ => priority::OTHER,
        };
        start(net, router)?;
    }
    net.designate(last);
    let limit = limit(net);
    net.until(
        limit,
        "every router hears every other under the manual key",
        |net| net.is_meshed(),
    )?;
    net.pass(Duration::from_millis(500))
}

fn automatic(net: &mut Network) -> Result<(), End> {
    let mut order: Vec<usize> = (0..net.routers.len()).collect();
    net.story.shuffle(&mut order);
    for router in order {
        let name = plan::name(router);
        let text = "starts its key management".to_owned();
        net.timeline
            .gather(clock::now(), Tone::Act, "join", &name, text, json!({}));
        command(net, router, Command::Join)?;
        let jitter = net.story.below(300 / net.routers.len() as u64 + 1);
        net.pass(Duration::from_millis(jitter))?;
    }
    let best = net.routers.len() - 1;
    let what = "the best router serves, and all send with its first automatic key";
    let limit = limit(net);
    net.until(limit, what, |net| {
        net.is_meshed() && net.agreed().is_some_and(|(gcks, _)| gcks == best)
    })
}

fn rollover(net: &mut Network) -> Result<(), End> {
    let old = key_now(net);
    let server = gcks(net)?;
    say(net, server, "rekey", "is told by its operator to change the keys");
    let rekey = Command::Rekey {
        protocol: RoutingProtocol::Ospfv2,
        reason: RekeyReason::Operator,
    };
    command(net, server, rekey)?;
    agree_on_new(net, old, "all send with a new key")?;
    let limit = limit(net);
    net.until(limit, "no router has the manual key any more", |net| {
        let now = clock::now();
        !net.routers.iter().any(|router| router.has_manual_key(now))
    })
}

fn new_session(net: &mut Network) -> Result<(), End> {
    let old = key_now(net);
    let router = member(net, |_| true)?;
    say(
        net,
        router,
        "session",
        "restarts OSPF: its sequence numbers begin again",
    );
    let now = clock::now();
    if let Some(running) = net.routers[router].running.as_mut() {
        running.speaker.restart_ospf(now);
    }
    net.pass(hello::DEAD)?;
    say(net, router, "rekey", "asks for new keys for its new session");
    let rekey = Command::Rekey {
        protocol: RoutingProtocol::Ospfv2,
        reason: RekeyReason::NewSession,
    };
    command(net, router, rekey)?;
    agree_on_new(net, old, "all send with a new key").map(|_| ())
}

fn crash(net: &mut Network) -> Result<(), End> {
    let server = gcks(net)?;
    say(net, server, "crash", "crashes");
    net.routers[server].stop();
    net.routers[server].priority = priority::OTHER;
    let limit = limit(net);
    let what = "another router takes office and the others follow it";
    net.until(limit, what, |net| net.gcks().is_some())?;
    // OSPF's backup has become DR by now, and another its backup.
    let heir = gcks(net)?;
    net.designate(heir);
    let backup = member(net, |_| true)?;
    set_priority(net, heir, priority::DESIGNATED)?;
    for router in 0..net.routers.len() {
        if router != heir {
            let is_backup = router == backup;
            set_priority(
                net,
                router,
                if is_backup {
                    priority::BACKUP
                } else {
                    priority::OTHER
                },
            )?;
        }
    }
    // No key has changed: keys belong to the routers, and losing the key server loses none. The new one makes its own key
    // a hold later; the router that crashed is back by then.
    net.until(limit, "all survivors follow it", |net| {
        net.agreed().is_some() && net.is_meshed()
    })
}

/// The one that crashed. It usually waits; on a lossy link it may come so late that the new key server's first key is
/// in force already, and that key is new to it.
fn come_back(net: &mut Network) -> Result<(), End> {
    reboot(net).map(|_| ())
}

/// The one that left. The key in force is one that it had, so it must wait for the next.
fn rejoin(net: &mut Network) -> Result<(), End> {
    if reboot(net)? {
        return Ok(());
    }
    Err(End::Failed("it was not seen to wait for a new key".to_owned()))
}

/// The one router that is down starts again, without a manual key: that has left its configuration. Whether it was seen
/// to wait for keys.
fn reboot(net: &mut Network) -> Result<bool, End> {
    let down = net.routers.iter().find(|router| router.life == Life::Down);
    let router = down
        .map(|router| router.index)
        .ok_or_else(|| End::Failed("no router is down".to_owned()))?;
    let recorded = net.routers[router].take_recorded();
    start(net, router)?;
    if let Ok(server) = gcks(net) {
        net.designate(server);
    }
    let before = net.routers[router].keys_before();
    let text = format!("starts again, without any of the {before} keys that it had");
    say(net, router, "reboot", &text);
    command(net, router, Command::Join)?;
    let identity = net.routers[router].identity.clone();
    let mut waited = false;
    let limit = limit(net);
    net.until(limit, "it has keys, and all send with the same", |net| {
        let server = net.gcks().and_then(|server| net.routers[server].endpoint());
        let waits = server.is_some_and(|server| {
            let mut peers = server.engine().peers();
            peers.any(|peer| peer.waiting && *peer.identity == identity)
        });
        if waits && !waited {
            waited = true;
            say(
                net,
                router,
                "waits",
                "is registered, and waits for keys that are new to it",
            );
        }
        net.agreed().is_some() && net.is_meshed()
    })?;
    // If the others followed it instead, it counts from here on.
    net.routers[router].admit();
    let now = clock::now();
    if let Some(fingerprint) = net.routers[router].has_key_from_before(now) {
        return Err(End::Failed(format!(
            "{} has key {fingerprint} from before",
            plan::name(router)
        )));
    }
    let (refused, passed) = net.replay(router, recorded);
    if passed > 0 || refused == 0 {
        return Err(End::Failed(format!(
            "of the hellos recorded before the reboot, {refused} were refused for their key and {passed} were not"
        )));
    }
    let text = format!(
        "has none of its {before} earlier keys, and refuses {refused} hellos recorded before it went"
    );
    say(net, router, "clean", &text);
    Ok(waited)
}

fn hand_over(net: &mut Network) -> Result<(), End> {
    let old_server = gcks(net)?;
    // The router that came back: it may lead again.
    let next = member(net, |index| net.routers[index].boots > 1)?;
    for router in 0..net.routers.len() {
        if router != next && router != old_server {
            set_priority(net, router, priority::OTHER)?;
        }
    }
    say(net, next, "designated", "becomes DR: its priority is 200 now");
    net.designate(next);
    set_priority(net, next, priority::DESIGNATED)?;
    let identity = net.routers[next].identity.clone();
    let limit = limit(net);
    net.until(limit, "the key server has heard of it", |net| {
        net.routers[old_server].role() != Role::Gcks
            || net.routers[old_server].endpoint().is_some_and(|endpoint| {
                let mut peers = endpoint.engine().peers();
                peers.any(|peer| *peer.identity == identity && peer.priority == priority::DESIGNATED)
            })
    })?;
    let old = net.routers[old_server].sending(clock::now());
    set_priority(net, old_server, priority::BACKUP)?;
    net.until(limit, "the new DR serves and all follow it", |net| {
        net.agreed().is_some_and(|(gcks, _)| gcks == next)
    })?;
    agree_on_new(net, old, "all send with a new key of the new key server").map(|_| ())
}

fn leave(net: &mut Network) -> Result<(), End> {
    let router = member(net, |_| true)?;
    let identity = net.routers[router].identity.clone();
    say(net, router, "leave", "leaves");
    net.routers[router].life = Life::Leaving;
    command(net, router, Command::Leave)?;
    let limit = limit(net);
    net.until(
        limit,
        "it has forgotten its keys, and the key server has forgotten it",
        |net| {
            let now = clock::now();
            let gone = net.routers[router].role() == Role::Left && net.routers[router].keys(now).is_empty();
            let server = net.gcks().and_then(|server| net.routers[server].endpoint());
            let counted = server.is_none_or(|server| {
                let mut peers = server.engine().peers();
                peers.any(|peer| peer.live && *peer.identity == identity)
            });
            gone && !counted
        },
    )?;
    net.routers[router].stop();
    // The others go on as before.
    net.until(limit, "the others go on as before", |net| {
        net.agreed().is_some() && net.is_meshed()
    })
}

fn evict(net: &mut Network) -> Result<(), End> {
    let server = gcks(net)?;
    let old = key_now(net);
    // Not the one that has just come back.
    let last = net
        .live()
        .filter(|router| router.index != server)
        .map(|router| router.index)
        .max();
    let out = last.ok_or_else(|| End::Failed("nobody is left to evict".to_owned()))?;
    let identity = net.routers[out].identity.clone();
    say(
        net,
        server,
        "evict",
        &format!("is told by its operator to evict {identity}"),
    );
    let now = clock::now();
    let old_ids = net
        .live()
        .flat_map(|router| router.keys(now))
        .map(|(id, ..)| id)
        .collect();
    net.tally.cut_over = Some(CutOver { old_ids });
    let theirs: Vec<Fingerprint> = net.routers[out]
        .keys(now)
        .into_iter()
        .map(|(.., fingerprint)| fingerprint)
        .collect();
    net.routers[out].evict();
    command(net, server, Command::Evict(&identity))?;
    agree_on_new(
        net,
        old,
        "all that remain send with a key that the evicted router does not have",
    )?;
    let limit = limit(net);
    net.until(
        limit,
        "no router that remains has any key that the evicted one had",
        |net| {
            let now = clock::now();
            net.live().all(|router| {
                let mut ours = router.keys(now).into_iter();
                !ours.any(|(.., ours)| theirs.contains(&ours))
            })
        },
    )?;
    net.tally.cut_over = None;
    say(
        net,
        out,
        "evicted",
        "has no key that the others accept; it goes on trying for a second",
    );
    net.pass(Duration::from_secs(1))?;
    if net.tally.accepted_from_evicted > 0 {
        return Err(End::Failed(format!(
            "{} hellos of the evicted router were accepted after all keys had changed",
            net.tally.accepted_from_evicted
        )));
    }
    net.until(limit, "those that remain are one group", |net| {
        net.agreed().is_some() && net.is_meshed()
    })
}
