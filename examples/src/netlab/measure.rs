//! What the run cost and how long things took.

use serde_json::{Value, json};

use super::{
    process::{field, start_time},
    record::Event,
};

/// Ticks of the kernel's accounting a second: fixed at 100 on Linux for what /proc shows.
const TICKS: u64 = 100;

/// What the karpds of one router have used.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Of those that ended.
    ended_ms: u64,
    /// The one that runs: its id and start, and what it had used when last looked at.
    running: Option<((u32, u64), u64)>,
    peak_kib: u64,
}

impl Usage {
    /// Looks at the process `pid`.
    pub fn note(&mut self, pid: u32) {
        let Some(started) = start_time(pid) else { return };
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
        let ticks = cpu_ticks(&read("stat")).unwrap_or(0);
        self.add(
            (pid, started),
            ticks * 1000 / TICKS,
            peak_kib(&read("status")).unwrap_or(0),
        );
    }

    fn add(&mut self, process: (u32, u64), cpu_ms: u64, peak_kib: u64) {
        if let Some((before, used)) = self.running.filter(|(before, _)| *before != process) {
            let _ = before;
            self.ended_ms += used;
        }
        self.running = Some((process, cpu_ms));
        self.peak_kib = self.peak_kib.max(peak_kib);
    }

    /// Processor time in milliseconds, of all its karpds.
    #[must_use]
    pub fn cpu_ms(&self) -> u64 {
        self.ended_ms + self.running.map_or(0, |(_, used)| used)
    }

    /// The most memory that one of them had resident, in KiB.
    #[must_use]
    pub const fn peak_kib(&self) -> u64 {
        self.peak_kib
    }
}

fn cpu_ticks(stat: &str) -> Option<u64> {
    Some(field(stat, 14)? + field(stat, 15)?)
}

fn peak_kib(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// What the run shows.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Measures {
    /// From the first start of a karpd to all adjacencies standing under automatic keys, in milliseconds.
    pub cold_start_ms: Option<u64>,
    /// From the crash of a key server's karpd to another in office.
    pub failover_ms: Vec<u64>,
    /// From a request for a rekey to every router's daemon sending with the new key.
    pub rekey_ms: Vec<u64>,
    /// The keys of those rollovers, and when they were asked for, Unix time in milliseconds.
    pub asked: Vec<(u16, u64)>,
    /// From such a request to the first packet of the last router under the new key, on the wire. Hellos come once a
    /// second.
    pub rekey_wire_ms: Vec<u64>,
    /// Rollovers that came to their end.
    pub rollovers: u64,
}

impl Measures {
    /// As JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "cold_start_ms": self.cold_start_ms,
            "failover_ms": self.failover_ms,
            "rekey_ms": { "median": median(&self.rekey_ms), "max": self.rekey_ms.iter().max(), "count": self.rekey_ms.len() },
            "rekey_wire_ms": { "median": median(&self.rekey_wire_ms), "max": self.rekey_wire_ms.iter().max() },
            "rollovers": self.rollovers,
        })
    }
}

/// The time from a request at `from_ms` until each of `routers` had sent a packet under key `id`; `firsts` has the first
/// packets, by router and key.
#[must_use]
pub fn on_wire(firsts: &[(usize, u16, u64)], routers: usize, id: u16, from_ms: u64) -> Option<u64> {
    let first = |router| {
        let of = firsts
            .iter()
            .filter(|(whose, key, _)| (*whose, *key) == (router, id));
        of.map(|(_, _, at)| *at).max()
    };
    let last = (0..routers)
        .map(first)
        .collect::<Option<Vec<u64>>>()?
        .into_iter()
        .max()?;
    last.checked_sub(from_ms)
}

/// The middle one; of an even number the upper of the two.
#[must_use]
pub fn median(values: &[u64]) -> Option<u64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied()
}

/// When the daemon of `router` sent with key `id`, asked for at `from_ms`: its karpd has activated it and then filled its
/// sink.
#[must_use]
pub fn sends_since(events: &[Event], router: usize, id: u16, from_ms: u64) -> Option<u64> {
    let mut activated = None;
    for event in events {
        let Event::Karpd { router: whose, event } = event else {
            continue;
        };
        let at = event.get("unix_ms").and_then(Value::as_u64).unwrap_or(0);
        if *whose != router || at < from_ms {
            continue;
        }
        match (event.get("event").and_then(Value::as_str), activated) {
            (Some("key_activated"), None)
                if event.get("id").and_then(Value::as_u64) == Some(u64::from(id)) =>
            {
                activated = Some(at);
            }
            (Some("sink_applied"), Some(_)) => return Some(at),
            _ => {}
        }
    }
    activated
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_of_several_processes_adds_up() {
        let mut usage = Usage::default();
        usage.add((1, 1), 100, 2000);
        usage.add((1, 1), 150, 2500);
        usage.add((2, 5), 30, 1000);
        usage.add((2, 5), 40, 1000);
        assert_eq!((usage.cpu_ms(), usage.peak_kib()), (190, 2500));
    }

    #[test]
    fn proc_is_read() {
        assert_eq!(
            cpu_ticks("7 (x) S 1 7 7 0 -1 0 0 0 0 0 12 34 0 0 20 0 1 0 55 0 0"),
            Some(46)
        );
        assert_eq!(
            peak_kib("Name:\tx\nVmHWM:\t    5124 kB\nVmRSS:\t 1 kB\n"),
            Some(5124)
        );
        assert_eq!(peak_kib("Name:\tx\n"), None);
        let mut usage = Usage::default();
        usage.note(std::process::id());
        assert!(usage.peak_kib() > 0);
    }

    #[test]
    fn a_router_sends_once_its_sink_is_filled_after_activation() {
        let event = |router, at: u64, name: &str, id: u16| Event::Karpd {
            router,
            event: json!({ "unix_ms": at, "event": name, "id": id }),
        };
        let events = [
            event(0, 90, "key_activated", 4),
            event(0, 110, "sink_applied", 0),
            event(0, 120, "key_activated", 4),
            event(1, 125, "sink_applied", 0),
            event(0, 130, "sink_applied", 0),
        ];
        assert_eq!(sends_since(&events, 0, 4, 100), Some(130));
        assert_eq!(sends_since(&events, 1, 4, 100), None);
        assert_eq!(
            sends_since(&events[..3], 0, 4, 100),
            Some(120),
            "a karpd without sinks"
        );
    }

    #[test]
    fn a_rollover_is_on_the_wire_once_the_last_router_sends() {
        let firsts = [(0, 4, 1200), (1, 4, 1900), (1, 4, 1950), (1, 3, 900)];
        assert_eq!(on_wire(&firsts, 2, 4, 1000), Some(950));
        assert_eq!(on_wire(&firsts, 3, 4, 1000), None, "the third never did");
        assert_eq!(on_wire(&firsts, 2, 4, 2000), None, "the id had been used before");
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[5, 1, 9]), Some(5));
        assert_eq!(median(&[5, 1, 9, 7]), Some(7));
    }
}
