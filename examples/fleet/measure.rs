//! What is measured on a link in one phase, and the figures that are made of it.

use karp_core::io::{MessageKind, Role};
use nix::time::{ClockId, clock_gettime};

use crate::{link::MS, router::Datagram};

/// One message for the counts of the link.
pub(crate) struct Traffic {
    octets: u64,
}

impl Traffic {
    pub(crate) fn of(datagram: &Datagram) -> Self {
        Self {
            octets: datagram.octets.len() as u64,
        }
    }
}

/// Processor time of the engine in office for one kind of message.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Spent {
    pub(crate) calls: u64,
    pub(crate) nanoseconds: u64,
}

/// What is counted while a phase runs.
#[derive(Clone, Default)]
pub(crate) struct Meter {
    /// When the phase began, in ns.
    pub(crate) since: u64,
    /// Messages and octets on the link in each second of the phase.
    pub(crate) seconds: Vec<(u64, u64)>,
    /// How long each datagram waited for the processor of the router in office, in us.
    pub(crate) waits: Vec<u32>,
    /// Datagrams that found a socket of the router in office full.
    pub(crate) dropped_at_gcks: u64,
    /// The same at all others.
    pub(crate) dropped: u64,
    /// What the router in office worked, by the model, in ns.
    pub(crate) modelled: u64,
    /// What its engine really took, for datagrams by kind, and for polls.
    pub(crate) real: Vec<Spent>,
}

/// When a measured call began.
pub(crate) struct Clock(Option<u64>);

impl Meter {
    pub(crate) fn since(now: u64) -> Self {
        Self {
            since: now,
            real: vec![Spent::default(); MessageKind::COUNT + 1],
            ..Self::default()
        }
    }

    /// Begins to measure a call of a router's engine, if that is in office.
    pub(crate) fn clock(&self, role: Role) -> Clock {
        Clock((role == Role::Gcks).then(thread_time))
    }

    /// A call ended, for a datagram of this kind or a poll.
    pub(crate) fn took(&mut self, clock: Clock, kind: Option<MessageKind>) {
        let Clock(Some(began)) = clock else { return };
        let place = kind.and_then(|kind| MessageKind::ALL.iter().position(|one| *one == kind));
        if let Some(spent) = self.real.get_mut(place.unwrap_or(MessageKind::COUNT)) {
            spent.calls += 1;
            spent.nanoseconds += thread_time().saturating_sub(began);
        }
    }

    pub(crate) fn sent(&mut self, at: u64, traffic: Traffic) {
        let second = usize::try_from(at.saturating_sub(self.since) / (1000 * MS)).unwrap_or(usize::MAX);
        if self.seconds.len() <= second {
            self.seconds.resize(second + 1, (0, 0));
        }
        self.seconds[second].0 += 1;
        self.seconds[second].1 += traffic.octets;
    }

    pub(crate) fn served(&mut self, role: Role, waited: u64) {
        if role == Role::Gcks {
            self.waits.push(u32::try_from(waited / 1000).unwrap_or(u32::MAX));
        }
    }

    pub(crate) fn worked(&mut self, role: Role, work: u64) {
        if role == Role::Gcks {
            self.modelled += work;
        }
    }

    pub(crate) fn overflow(&mut self, role: Role) {
        *(if role == Role::Gcks {
            &mut self.dropped_at_gcks
        } else {
            &mut self.dropped
        }) += 1;
    }

    /// All the processor time that the engine in office took, in ns.
    pub(crate) fn real(&self) -> u64 {
        self.real.iter().map(|spent| spent.nanoseconds).sum()
    }
}

/// Processor time of this thread, in ns: other programs on the machine do not count.
fn thread_time() -> u64 {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(0, |time| {
        let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
        seconds * 1_000_000_000 + u64::try_from(time.tv_nsec()).unwrap_or(0)
    })
}

/// A few figures of many samples.
#[derive(Clone, Copy, Default, Debug, serde::Serialize)]
pub(crate) struct Figures {
    pub(crate) median: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Figures {
    /// Of `samples` in any order; all 0 if there is none.
    pub(crate) fn of(samples: impl IntoIterator<Item = f64>) -> Self {
        let mut samples: Vec<f64> = samples.into_iter().collect();
        samples.sort_by(f64::total_cmp);
        let at = |percent: usize| {
            let rank = (samples.len() * percent).div_ceil(100).max(1);
            samples.get(rank - 1).copied().unwrap_or(0.0)
        };
        Self {
            median: at(50),
            p99: at(99),
            max: at(100),
        }
    }
}

/// The exponent with which `y` grows with `x`: the slope of the straight line through the logarithms. `None` for fewer
/// than two points that have one.
pub(crate) fn exponent(points: &[(f64, f64)]) -> Option<f64> {
    let points: Vec<(f64, f64)> = points
        .iter()
        .filter(|(x, y)| *x > 0.0 && *y > 0.0)
        .map(|(x, y)| (x.ln(), y.ln()))
        .collect();
    #[expect(clippy::cast_precision_loss, reason = "a handful of points")]
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|p| p.0), mean(|p| p.1));
    let spread: f64 = points.iter().map(|p| (p.0 - x).powi(2)).sum();
    let common: f64 = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum();
    (points.len() > 1 && spread > 0.0).then(|| common / spread)
}
