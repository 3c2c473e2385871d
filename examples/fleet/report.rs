//! The results: a table for people, JSON for programs, and the verdict.

use serde_json::{Map, Value, json};

use crate::{
    measure::{Figures, exponent},
    story::{Measured, Part, Story},
};

/// The results for one number of routers a link.
pub(crate) struct Result {
    /// Routers on each link.
    pub(crate) routers: usize,
    pub(crate) links: usize,
    pub(crate) story: Story,
}

/// No exchange is repeated more often than this, at the median.
const MOST_REPEATS: f64 = 1.0;

impl Result {
    pub(crate) fn part(&self, part: Part) -> &Measured {
        &self.story[Part::ALL.iter().position(|one| *one == part).unwrap_or(0)]
    }

    /// What does not hold, in words.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for part in Part::ALL {
            let measured = self.part(part);
            let (name, routers) = (part.name(), self.routers);
            if measured.reached < measured.routers || measured.agreed < measured.links {
                faults.push(format!(
                    "{routers} routers, {name}: {} of {} routers came through, {} of {} links agree",
                    measured.reached, measured.routers, measured.agreed, measured.links
                ));
            }
            if measured.dropped > 0 {
                faults.push(format!(
                    "{routers} routers, {name}: the GCKS's sockets overflowed, {} datagrams were lost",
                    measured.dropped
                ));
            }
            let repeats = Figures::of(measured.repeats.iter().copied());
            if repeats.median > MOST_REPEATS {
                faults.push(format!(
                    "{routers} routers, {name}: {} retransmissions for each exchange at the median, {MOST_REPEATS} may be",
                    repeats.median
                ));
            }
        }
        faults
    }

    /// One line of JSON for a part.
    pub(crate) fn json(&self, part: Part) -> Value {
        let measured = self.part(part);
        let figures = |samples: &[f64]| {
            let Figures { median, p99, max } = Figures::of(samples.iter().copied());
            json!({"median": round(median), "p99": round(p99), "max": round(max)})
        };
        json!({
            "part": part.name(),
            "routers": self.routers,
            "links": self.links,
            "reached": measured.reached,
            "of": measured.routers,
            "agreed": measured.agreed,
            "ms": figures(&measured.times),
            "completed_ms": figures(&measured.completed),
            "exchanges_begun": figures(&measured.begun),
            "retransmits_per_exchange": figures(&measured.repeats),
            "messages_per_s": {"link": round(per_second(measured, measured.messages)), "link_peak": measured.peak, "node": figures(&measured.sent)},
            "octets_per_s": {"link": round(per_second(measured, measured.octets))},
            "gcks": {
                "queue_peak": measured.queue,
                "wait_ms": figures(&measured.waits),
                "lost": measured.dropped,
                "processor_modelled": round(per_second(measured, measured.modelled)),
                "processor_measured": round(per_second(measured, measured.real)),
            },
            "lost_elsewhere": measured.dropped_elsewhere,
        })
    }

    /// The summary of this number of routers.
    pub(crate) fn summary(&self) -> Map<String, Value> {
        let (start, peace) = (self.part(Part::Start), self.part(Part::Peace));
        let (rollover, failover) = (self.part(Part::Rollover), self.part(Part::Failover));
        let repeats = Figures::of(start.repeats.iter().chain(&failover.repeats).copied());
        let mut summary = Map::new();
        let mut put = |name: &str, value: Value| {
            summary.insert(name.to_owned(), value);
        };
        put("routers", json!(self.routers * self.links));
        put("links", json!(self.links));
        put("keyed", json!(start.reached));
        put("time_to_keys_ms", json!(round(start.time().median)));
        put("time_to_keys_ms_p99", json!(round(start.time().p99)));
        put("time_to_keys_ms_max", json!(round(start.time().max)));
        put("rollover_ms_median", json!(round(rollover.time().median)));
        put("rollover_ms_p99", json!(round(rollover.time().p99)));
        put("failover_ms_median", json!(round(failover.time().median)));
        put("failover_ms_p99", json!(round(failover.time().p99)));
        put("retransmits_median", json!(round(repeats.median)));
        put("retransmits_p99", json!(round(repeats.p99)));
        put("gcks_queue_peak", json!(start.queue.max(failover.queue)));
        put("gcks_lost", json!(start.dropped + failover.dropped));
        put(
            "messages_per_s_link",
            json!(round(per_second(peace, peace.messages))),
        );
        put("messages_per_s_link_peak", json!(start.peak.max(failover.peak)));
        put("octets_per_s_link", json!(round(per_second(peace, peace.octets))));
        put("gcks_processor_peace", json!(per_second(peace, peace.real)));
        put("ok", json!(self.faults().is_empty()));
        summary
    }
}

fn per_second(measured: &Measured, sum: f64) -> f64 {
    if measured.seconds > 0.0 {
        sum / measured.seconds
    } else {
        0.0
    }
}

fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// The last line of JSON: the largest links' summary, all others, and how each figure grows.
pub(crate) fn last_line(results: &[Result]) -> Value {
    let mut summary = results
        .iter()
        .max_by_key(|result| result.routers)
        .map(Result::summary)
        .unwrap_or_default();
    let all_ok = results.iter().all(|result| result.faults().is_empty());
    summary.insert("ok".into(), json!(all_ok));
    if results.len() > 1 {
        let rows: Vec<Value> = results
            .iter()
            .map(|result| Value::Object(result.summary()))
            .collect();
        summary.insert("by_routers".into(), Value::Array(rows));
        let growth: Map<String, Value> = growth(results)
            .into_iter()
            .map(|(name, exponent)| (name.to_owned(), json!(exponent.map(round))))
            .collect();
        summary.insert("exponents".into(), Value::Object(growth));
    }
    json!({ "summary": summary })
}

/// A figure by name and what it is of a result.
type Figure = (&'static str, fn(&Result) -> f64);

/// With which power of the number of routers a figure grows.
fn growth(results: &[Result]) -> Vec<(&'static str, Option<f64>)> {
    let figures: [Figure; 7] = [
        ("time_to_keys_ms_p99", |result| {
            result.part(Part::Start).time().p99
        }),
        ("rollover_ms_p99", |result| result.part(Part::Rollover).time().p99),
        ("failover_ms_p99", |result| result.part(Part::Failover).time().p99),
        ("messages_per_s_link_peace", |result| {
            per_second(result.part(Part::Peace), result.part(Part::Peace).messages)
        }),
        ("messages_per_s_link_peak", |result| {
            #[expect(clippy::cast_precision_loss, reason = "a count of messages in a second")]
            let peak = result.part(Part::Start).peak as f64;
            peak
        }),
        ("messages_per_s_node_peace", |result| {
            Figures::of(result.part(Part::Peace).sent.iter().copied()).median
        }),
        ("gcks_processor_peace", |result| {
            per_second(result.part(Part::Peace), result.part(Part::Peace).real)
        }),
    ];
    let of = |figure: fn(&Result) -> f64| {
        #[expect(clippy::cast_precision_loss, reason = "a number of routers")]
        let points: Vec<(f64, f64)> = results
            .iter()
            .map(|result| (result.routers as f64, figure(result)))
            .collect();
        exponent(&points)
    };
    figures
        .into_iter()
        .map(|(name, figure)| (name, of(figure)))
        .collect()
}

/// The table for people.
pub(crate) fn table(results: &[Result]) -> String {
    let mut text = String::new();
    for part in Part::ALL {
        text.push_str(&format!(
            "\n{:<9}{:>8}{:>8} {:>24} {:>8} {:>10} {:>12} {:>17} {:>12} {:>21} {:>17}\n",
            part.name(),
            "routers",
            "done",
            "ms: median, p99, most",
            "all, s",
            "exchanges",
            "sent again",
            "link msg/s (peak)",
            "link oct/s",
            "GCKS queue, wait p99",
            "GCKS model, real"
        ));
        for result in results {
            let measured = result.part(part);
            let time = measured.time();
            let begun = Figures::of(measured.begun.iter().copied());
            let repeats = Figures::of(measured.repeats.iter().copied());
            let completed = Figures::of(measured.completed.iter().copied());
            text.push_str(&format!(
                "{:<9}{:>8}{:>8} {:>8.0} {:>7.0} {:>7.0} {:>8.1} {:>5.0} {:>4.0} {:>6.2} {:>5.2} {:>9.1} {:>7} {:>12.0} {:>9} {:>8.1} ms {:>8.2}% {:>6.3}%\n",
                "",
                result.routers,
                measured.reached,
                time.median,
                time.p99,
                time.max,
                completed.max / 1000.0,
                begun.median,
                begun.p99,
                repeats.median,
                repeats.p99,
                per_second(measured, measured.messages),
                measured.peak,
                per_second(measured, measured.octets),
                measured.queue,
                Figures::of(measured.waits.iter().copied()).p99,
                per_second(measured, measured.modelled) * 100.0,
                per_second(measured, measured.real) * 100.0,
            ));
        }
    }
    if results.len() > 1 {
        text.push_str("\ngrows as routers to the power of\n");
        for (name, exponent) in growth(results) {
            let exponent = exponent.map_or_else(
                || "no growth to fit".to_owned(),
                |exponent| format!("{exponent:.2}"),
            );
            text.push_str(&format!("    {name:<28} {exponent}\n"));
        }
    }
    text
}
