//! How it ended: the last checks, the tables, and the summary.

use karp_core::io::MessageKind;
use karp_std::clock;
use serde_json::{Map, Value, json};

use super::{
    Outcome,
    network::{End, Network},
    plan,
    tally::Class,
};
use crate::timeline::Tone;

/// A run in one line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Summary {
    /// How many routers there were.
    pub routers: usize,
    /// The key server at the end, if all agreed on one.
    pub gcks: Option<String>,
    /// How many live routers have keys at the end.
    pub keyed: usize,
    /// Rollovers completed.
    pub rollovers: u64,
    /// Times an office was taken after its holder fell silent.
    pub failovers: u64,
    /// Offices handed over.
    pub handoffs: u64,
    /// Routers evicted.
    pub evictions: u64,
    /// Hellos sent.
    pub hellos_sent: u64,
    /// Hellos accepted, each by every router that received it.
    pub hellos_accepted: u64,
    /// Hellos of keyed live routers that keyed live routers refused.
    pub hellos_rejected: u64,
    /// Initial exchanges completed.
    pub handshakes: u64,
    /// All went as it should.
    pub ok: bool,
}

impl Summary {
    /// The summary as the last line of JSON has it.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({ "summary": {
            "routers": self.routers,
            "gcks": self.gcks,
            "keyed": self.keyed,
            "rollovers": self.rollovers,
            "failovers": self.failovers,
            "handoffs": self.handoffs,
            "evictions": self.evictions,
            "hellos_sent": self.hellos_sent,
            "hellos_accepted": self.hellos_accepted,
            "hellos_rejected": self.hellos_rejected,
            "handshakes": self.handshakes,
            "ok": self.ok,
        } })
    }
}

/// Judges the run and writes what there is to say about it.
pub(super) fn finish(mut net: Network, ended: Result<(), End>) -> Outcome {
    let interrupted = matches!(ended, Err(End::Interrupted));
    let failure = match ended {
        Ok(()) => final_state(&net),
        Err(End::Failed(why)) => Some(why),
        Err(End::Interrupted) => Some("interrupted".to_owned()),
    };
    let totals = net.totals();
    let summary = Summary {
        routers: net.routers.len(),
        gcks: net.agreed().map(|(gcks, _)| plan::name(gcks)),
        keyed: net.keyed(),
        rollovers: totals.rollovers,
        failovers: totals.failovers,
        handoffs: totals.handoffs,
        evictions: totals.evictions,
        hellos_sent: net.tally.sent,
        hellos_accepted: net.tally.accepted,
        hellos_rejected: net.tally.refused_total(Class::Fault),
        handshakes: totals.handshakes,
        ok: failure.is_none(),
    };
    tables(&mut net, &summary);
    hellos(&mut net);
    let now = clock::now();
    match &failure {
        None => {
            let text = "every step happened, and no hello of a keyed live router was refused by another";
            net.timeline.say(now, Tone::Good, "ok", text, json!({}));
        }
        Some(why) => {
            net.timeline.say(
                now,
                Tone::Bad,
                "failed",
                &format!("FAILED: {why}"),
                json!({ "why": why }),
            );
        }
    }
    net.timeline.object(&summary.json());
    let (hold_ms, longest_stall_ms) = (net.hold().as_millis(), net.longest_stall_ms);
    let chart = net.film.finish(
        format!("lan: {} routers on loopback", summary.routers),
        subtitle(&net.plan.options, &summary),
        now,
    );
    Outcome {
        chart,
        summary,
        failure,
        longest_stall_ms,
        hold_ms,
        interrupted,
    }
}

/// The picture's second line: with what the run was made, and how it ended.
fn subtitle(options: &plan::Options, summary: &Summary) -> String {
    let credentials = if options.signed {
        "Ed25519 credentials"
    } else {
        "pre-shared keys"
    };
    let seed = options
        .seed
        .map_or(String::new(), |seed| format!(", seed {seed}"));
    let verdict = if summary.ok { "held" } else { "FAILED" };
    format!(
        "{credentials}, {} % loss{seed}. {verdict}: {} hellos sent, {} accepted, {} refused between routers with keys, {} rollovers",
        options.loss,
        summary.hellos_sent,
        summary.hellos_accepted,
        summary.hellos_rejected,
        summary.rollovers
    )
}

/// What must be true at the end.
fn final_state(net: &Network) -> Option<String> {
    if !net.tally.faults.is_empty() {
        return Some(format!(
            "{} hellos of keyed live routers were refused by keyed live routers, among them:\n    {}",
            net.tally.refused_total(Class::Fault),
            net.tally.faults.join("\n    ")
        ));
    }
    if net.agreed().is_none() {
        return Some("the live routers do not all follow one key server with the same keys".to_owned());
    }
    let now = clock::now();
    let stray = net.evicted().filter(|evicted| {
        let theirs = evicted.keys(now);
        let common = |fingerprint| theirs.iter().any(|(.., theirs)| *theirs == fingerprint);
        net.live()
            .any(|router| router.keys(now).into_iter().any(|(.., ours)| common(ours)))
    });
    stray.map(|evicted| {
        format!(
            "{} was evicted and has a key in common with the group",
            evicted.name
        )
    })
}

fn tables(net: &mut Network, summary: &Summary) {
    let totals = net.totals();
    let mut lines = vec![
        String::new(),
        format!(
            "{:<48} {:>9} {:>12}",
            "messages of the protocol", "sent", "octets"
        ),
    ];
    let mut kinds = Map::new();
    for kind in MessageKind::ALL {
        let traffic = totals.of(*kind);
        lines.push(format!(
            "  {:<46} {:>9} {:>12}",
            kind.name().replace('_', " "),
            traffic.messages,
            traffic.octets
        ));
        kinds.insert(
            kind.name().to_owned(),
            json!({ "messages": traffic.messages, "octets": traffic.octets }),
        );
    }
    lines.push(format!(
        "  {:<46} {:>9}",
        "retransmissions among them", totals.retransmissions
    ));
    lines.push(String::new());
    for (what, n) in [
        ("initial exchanges", summary.handshakes),
        ("rollovers", summary.rollovers),
        ("failovers", summary.failovers),
        ("handoffs", summary.handoffs),
        ("merges", totals.merges),
        ("evictions", summary.evictions),
    ] {
        lines.push(format!("{what:<48} {n:>9}"));
    }
    for line in lines {
        net.timeline.plain(&line);
    }
    let fields = json!({
        "kinds": kinds, "retransmissions": totals.retransmissions, "merges": totals.merges,
        "longest_stall_ms": net.longest_stall_ms,
    });
    if net.timeline.is_json() {
        net.timeline
            .say(clock::now(), Tone::Event, "messages", "", fields);
    }
}

fn hellos(net: &mut Network) {
    let tally = &net.tally;
    let mut lines = vec![
        String::new(),
        format!("{:<48} {:>9}", "hellos sent (OSPFv2 and IS-IS)", tally.sent),
        format!(
            "{:<48} {:>9}",
            "hellos accepted (each at every receiver)", tally.accepted
        ),
        format!(
            "{:<48} {:>9}",
            "hellos not seen (receiver down, or socket full)",
            tally.unseen()
        ),
        "hellos refused".to_owned(),
    ];
    let mut refused = Map::new();
    for class in Class::ALL {
        let mut reasons = Map::new();
        let mut text = Vec::new();
        for (refusal, n) in tally.refused(class) {
            reasons.insert(refusal.name().to_owned(), json!(n));
            text.push(format!("{} {n}", refusal.name().replace('_', " ")));
        }
        let total = tally.refused_total(class);
        lines.push(format!("  {:<46} {total:>9}  {}", class.text(), text.join(", ")));
        refused.insert(class.name().to_owned(), Value::Object(reasons));
    }
    lines.push(String::new());
    let fields = json!({
        "sent": tally.sent, "accepted": tally.accepted, "not_seen": tally.unseen(), "refused": refused,
    });
    for line in lines {
        net.timeline.plain(&line);
    }
    if net.timeline.is_json() {
        net.timeline.say(clock::now(), Tone::Event, "hellos", "", fields);
    }
}
