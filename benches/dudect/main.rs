//! `cargo bench --bench dudect`: whether what compares secrets takes the same time whatever it is given.
//!
//! After Reparaz, Balasch and Verbauwhede, *Dude, is my code constant time?* (2017): an operation is timed many times
//! with inputs of two classes, drawn at random and prepared ahead of time, and Welch's t-test asks whether the timings of
//! the classes have one mean. Long timings are mostly the machine's doing, so the test is made over all of them and over
//! those below each of several percentiles, and the largest |t| counts. |t| above 4.5 is suspicious; this bench fails
//! above [`GROSS`] alone, because a shared machine has moods, and shows the rest.
//!
//! The classes differ in where a wrong MAC, cookie or proof first differs from the right one: at its first octet, or at
//! its last. Beside them stands a comparison that stops at the first octet that differs. It has to be found, with |t|
//! above [`LEAKY`]: else nothing that was measured means anything, and the bench fails.
//!
//! `--quick` takes a few seconds, and fails only if the leaky comparison is not found.

mod stats;
mod subjects;

use std::{process::ExitCode, time::Instant};

use benches::router::Dice;
use stats::Test;
use subjects::{Subject, subjects};

/// Above this a difference is gross, whatever the machine was doing.
const GROSS: f64 = 50.0;
/// The leaky comparison has to be found by this.
const LEAKY: f64 = 20.0;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |wanted: &str| arguments.iter().any(|argument| argument == wanted);
    if has("--help") {
        println!("cargo bench --bench dudect [-- --quick]");
        return ExitCode::SUCCESS;
    }
    let quick = has("--quick") || !has("--bench");
    println!(
        "{:<28} {:>10} {:>10} {:>10} {:>9}",
        "", "timings", "class 0", "class 1", "max |t|"
    );
    let mut failures = Vec::new();
    let mut dice = Dice::new(1);
    for subject in subjects() {
        let count = if quick { subject.quick } else { subject.full };
        let mut test = measure(&subject, count, &mut dice);
        let (mut verdict, mut worst) = judge(&subject, &test, quick);
        if verdict.is_err() {
            // Once more before anybody is blamed: the machine may have changed its speed in the middle.
            test = measure(&subject, count, &mut dice);
            (verdict, worst) = judge(&subject, &test, quick);
        }
        let [a, b] = test.means();
        println!(
            "{:<28} {:>10} {:>7.1} ns {:>7.1} ns {worst:>9.2}  {}",
            subject.name,
            test.len(),
            a,
            b,
            match verdict {
                Ok(said) | Err(said) => said,
            }
        );
        if verdict.is_err() {
            failures.push(subject.name);
        }
    }
    for name in &failures {
        eprintln!("failed: {name}");
    }
    ExitCode::from(u8::from(!failures.is_empty()))
}

/// What the largest |t| of a test means, and the |t|.
fn judge(subject: &Subject, test: &Test, quick: bool) -> (Result<&'static str, &'static str>, f64) {
    let worst = test.worst();
    let verdict = match (subject.leaky, worst) {
        (true, worst) if worst >= LEAKY => Ok("leaks, as it should"),
        (true, _) => Err("the leak was not found: nothing here means anything"),
        (false, worst) if worst < 4.5 => Ok("no difference seen"),
        (false, worst) if worst < GROSS || quick => Ok("suspicious: run it again on a quiet machine"),
        (false, _) => Err("it takes longer for one class"),
    };
    (verdict, worst)
}

/// Times `count` runs, the classes mixed at random.
fn measure(subject: &Subject, count: usize, dice: &mut Dice) -> Test {
    /// So many inputs are prepared at a time, outside of what is timed.
    const BATCH: usize = 500;
    let mut test = Test::default();
    while test.len() < count {
        let inputs: Vec<(usize, Vec<u8>)> = (0..BATCH)
            .map(|_| {
                let class = usize::from(dice.octet() & 1);
                (class, (subject.input)(class, dice))
            })
            .collect();
        for (at, (class, input)) in inputs.iter().enumerate() {
            let started = Instant::now();
            for _ in 0..subject.repeats {
                std::hint::black_box((subject.run)(std::hint::black_box(input)));
            }
            let nanos = started.elapsed().as_nanos() as f64 / f64::from(subject.repeats);
            // The first find cold caches.
            if at >= BATCH / 50 {
                test.add(*class, nanos);
            }
        }
    }
    test
}
