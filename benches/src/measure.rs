//! The harness: series of timings, of which the minimum counts, and the lines that report them.

use std::{hint::black_box, time::Instant};

use nix::sched::CpuSet;

/// Binds this thread, and those that it starts, to the processor that it runs on.
///
/// # Errors
/// The operating system's.
pub fn pin() -> Result<(), nix::errno::Errno> {
    pin_to(nix::sched::sched_getcpu()?)
}

/// Binds this thread, and those that it starts, to this processor.
///
/// # Errors
/// The operating system's.
pub fn pin_to(processor: usize) -> Result<(), nix::errno::Errno> {
    let mut own = CpuSet::new();
    own.set(processor)?;
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &own)
}

/// The processors that this thread could run on when the process started.
///
/// # Errors
/// The operating system's.
pub fn processors() -> Result<Vec<usize>, nix::errno::Errno> {
    static FIRST: std::sync::OnceLock<CpuSet> = std::sync::OnceLock::new();
    let set = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0))?;
    let set = FIRST.get_or_init(|| set);
    (0..CpuSet::count())
        .filter_map(|processor| match set.is_set(processor) {
            Ok(true) => Some(Ok(processor)),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        })
        .collect()
}

/// Timings of one candidate, in nanoseconds.
#[derive(Debug, Default)]
pub struct Series(Vec<f64>);

impl Series {
    /// Takes note of one timing, in nanoseconds.
    pub fn add(&mut self, nanos: f64) {
        self.0.push(nanos);
    }

    /// Runs `work` once, each time at another place of the stack, and takes note of how long it took.
    pub fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let mut watch = Stopwatch::at(self.0.len());
        let result = watch.run(work);
        self.add(watch.nanos());
        result
    }

    /// Runs `work` `count` times in a row, for what is too short to be timed alone, and takes note of the mean.
    pub fn batch<T>(&mut self, count: u32, mut work: impl FnMut() -> T) {
        let started = Instant::now();
        for _ in 0..count {
            black_box(work());
        }
        self.add(nanos_since(started) / f64::from(count));
    }

    /// Two of the same rounds, added up.
    #[must_use]
    pub fn sum(first: &Self, second: &Self) -> Self {
        Self(
            first
                .0
                .iter()
                .zip(&second.0)
                .map(|(first, second)| first + second)
                .collect(),
        )
    }

    /// How many timings there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was timed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The shortest, which is what is compared; `None` if nothing was timed.
    #[must_use]
    pub fn min(&self) -> Option<f64> {
        self.0.iter().copied().reduce(f64::min)
    }

    /// The median, to show how noisy the machine is.
    #[must_use]
    pub fn median(&self) -> Option<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied()
    }
}

/// How the ratios of two series, taken round by round, are spread.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    /// A quarter of the rounds lie below.
    pub low: f64,
    /// Half of them.
    pub median: f64,
    /// A quarter of them lie above.
    pub high: f64,
}

impl Spread {
    /// Of `series` over `base`, whose rounds were interleaved: what slows the machine for a while slows both.
    fn of(series: &Series, base: &Series) -> Option<Self> {
        if series.len() != base.len() {
            return None;
        }
        let rounds = series.0.iter().zip(&base.0);
        let mut ratios: Vec<f64> = rounds.map(|(value, base)| value / base).collect();
        ratios.sort_by(f64::total_cmp);
        let at = |quarters: usize| ratios.get(ratios.len() * quarters / 4).copied();
        Some(Self {
            low: at(1)?,
            median: at(2)?,
            high: at(3)?,
        })
    }
}

/// What is asked to run the calls that are to be measured.
pub trait Watch {
    /// Runs `work`, measured if `counts` says so of the result.
    fn run_if<T>(&mut self, work: impl FnOnce() -> T, counts: impl FnOnce(&T) -> bool) -> T;

    /// Runs `work`, measured.
    fn run<T>(&mut self, work: impl FnOnce() -> T) -> T {
        self.run_if(work, |_| true)
    }
}

/// Measures nothing: for what only has to happen, and for instructions that somebody else counts.
pub struct Off;

impl Watch for Off {
    fn run_if<T>(&mut self, work: impl FnOnce() -> T, _: impl FnOnce(&T) -> bool) -> T {
        work()
    }
}

/// A clock that runs only while it is wanted: the sum of several calls.
#[derive(Debug)]
pub struct Stopwatch {
    nanos: f64,
    place: usize,
}

impl Stopwatch {
    /// One that has not run yet, for round `round` of a series.
    #[must_use]
    pub const fn at(round: usize) -> Self {
        Self {
            nanos: 0.0,
            place: round % PLACES,
        }
    }

    /// What it shows, in nanoseconds.
    #[must_use]
    pub const fn nanos(&self) -> f64 {
        self.nanos
    }
}

impl Watch for Stopwatch {
    fn run_if<T>(&mut self, work: impl FnOnce() -> T, counts: impl FnOnce(&T) -> bool) -> T {
        let (result, spent) = anywhere(self.place, || {
            let started = Instant::now();
            let result = black_box(work());
            (result, nanos_since(started))
        });
        if counts(&result) {
            self.nanos += spent;
        }
        result
    }
}

fn nanos_since(started: Instant) -> f64 {
    started.elapsed().as_nanos() as f64
}

/// Places of the stack at which things are run.
const PLACES: usize = 61;

/// Runs `work` at one of many places of the stack.
///
/// Where the stack begins is random for each process, and with it how the spilled vectors of an Ed25519 verification
/// lie in cache lines: that alone makes it 10 or 20 % slower for all of a run, in one caller and not in the other.
/// Spread over many places, both have their best.
fn anywhere<T>(place: usize, work: impl FnOnce() -> T) -> T {
    let mut work = Some(work);
    let mut result = None;
    deeper(place, &mut || result = work.take().map(|work| work()));
    result.expect("deeper runs its work")
}

/// Its frames have 80 octets on x86-64: every place in a cache line, and all over a page.
#[inline(never)]
fn deeper(depth: usize, work: &mut dyn FnMut()) {
    let frame = black_box([0_u64; 5]);
    if depth == 0 {
        work();
    } else {
        deeper(depth - 1, work);
    }
    black_box(&frame);
}

/// Collects what a bench has to say and says it at the end: first a table for people, then a line for each ratio.
#[derive(Debug, Default)]
pub struct Report {
    ratios: Vec<String>,
    failures: Vec<String>,
}

impl Report {
    /// A heading of the table.
    pub fn heading(&self, text: &str) {
        println!(
            "\n{text}\n{:<46} {:>12} {:>12} {:>8}",
            "", "min", "median", "runs"
        );
    }

    /// A row of the table.
    pub fn row(&self, name: &str, series: &Series) {
        let show = |nanos: Option<f64>| match nanos {
            Some(nanos) if nanos < 10_000.0 => format!("{nanos:.1} ns"),
            Some(nanos) => format!("{:.2} us", nanos / 1000.0),
            None => "-".to_owned(),
        };
        let (min, median) = (show(series.min()), show(series.median()));
        println!("  {name:<44} {min:>12} {median:>12} {:>8}", series.len());
    }

    /// A figure that is no time.
    pub fn figure(&self, name: &str, value: usize, unit: &str) {
        println!("  {name:<44} {value:>12} {unit}");
    }

    /// The minimum of `series` over that of `base`.
    pub fn ratio(&mut self, name: &str, series: &Series, base: &Series, target: Option<f64>) {
        match (series.min(), base.min()) {
            (Some(value), Some(base)) if base > 0.0 => self.value(name, value / base, target),
            _ => self.failed(format!("{name}: nothing was measured")),
        }
    }

    /// The median of `series` over `base`, round by round, and how it is spread. Both must have been measured in the same
    /// rounds.
    pub fn spread(&mut self, name: &str, series: &Series, base: &Series, target: Option<f64>) {
        match Spread::of(series, base) {
            Some(Spread { low, median, high }) => {
                let target = target.map_or_else(|| "-".to_owned(), |target| target.to_string());
                self.ratios.push(format!(
                    "ratio {name} {median:.3} quartiles {low:.3} {high:.3} target {target}"
                ));
            }
            None => self.failed(format!("{name}: the series were not interleaved")),
        }
    }

    /// A value that is compared with its target as it is.
    pub fn value(&mut self, name: &str, value: f64, target: Option<f64>) {
        let digits = if value < 0.1 { 4 } else { 3 };
        let target = target.map_or_else(|| "-".to_owned(), |target| target.to_string());
        self.ratios
            .push(format!("ratio {name} {value:.digits$} target {target}"));
    }

    /// Something could not be measured.
    pub fn failed(&mut self, what: String) {
        self.failures.push(what);
    }

    /// Prints the ratios; the exit status is a failure if something could not be measured, not for a missed target.
    #[must_use]
    pub fn finish(self) -> std::process::ExitCode {
        println!();
        for line in &self.ratios {
            println!("{line}");
        }
        for line in &self.failures {
            eprintln!("not measured: {line}");
        }
        std::process::ExitCode::from(u8::from(!self.failures.is_empty()))
    }
}
