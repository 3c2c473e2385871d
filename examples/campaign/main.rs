//! `cargo run --release --example campaign`: runs of the protocol's real engines on a LAN in memory, with faults and an
//! attacker drawn from seeds, as many as asked for. What PROTOCOL.md section 12 promises is checked after every step.
//!
//! The laboratory and the simulator are those of karp-core's tests.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the laboratory ends a run by a panic, which is caught"
)]

#[path = "../../karp-core/tests/common/mod.rs"]
mod common;
#[path = "../../karp-core/tests/sim/mod.rs"]
mod sim;

mod bounds;
mod progress;
mod report;
mod work;

use std::{
    process::ExitCode,
    sync::{Arc, atomic::AtomicBool},
};

use anyhow::Context as _;
use clap::{
    Parser,
    builder::{PossibleValuesParser, TypedValueParser as _},
};

use sim::profile::Profile;

const ABOUT: &str = "\
Plays seeds. Each is one run: a group of routers on a LAN in virtual time, each the engine that
ships, and a schedule of faults drawn from the seed: loss, partitions, crashes, reboots, pauses,
clocks that differ, an attacker who records and replays everything. After every step the promises
of karp-core/PROTOCOL.md section 12 are checked; when all is mended, the group has to be one again
within the stated time. A run of some 220 virtual seconds takes about a twentieth of a second.

Ends with status 0 if everything held, with 1 if anything did not. Ctrl-C ends it early, with the
summary of what was played; a second one ends it at once.";

const AFTER: &str = "\
One seed gives one run, whatever the number of threads. A seed that fails is shrunk: faults are left
out, then routers, then the attacker and the faults of links, as long as the same promise is broken.
The shortest schedule is printed with the end of its trace.

  campaign --seeds 100000                     an hour's work
  campaign --first-seed 4711 --seeds 1 --trace    one run, with all that happened
  campaign --profile merges --nodes 9         one kind of trouble, on nine routers
  campaign --bounds 500                       how long it takes until there is one key server and a key for
                                              all, against the stated bounds, up to 500 routers

The last line of the output is one JSON object.";

#[derive(Parser)]
#[command(name = "campaign", about = "Faults by the thousand against the promises", long_about = ABOUT, after_help = AFTER)]
struct Arguments {
    /// How many seeds to play.
    #[arg(long, default_value_t = 1000, value_name = "N")]
    seeds: u64,

    /// The first of them.
    #[arg(long, default_value_t = 1, value_name = "SEED")]
    first_seed: u64,

    /// How many routers every run has, 2 to 500. By default each seed draws 3 to 7.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(2..=500))]
    nodes: Option<u16>,

    /// One kind of trouble only. By default the seeds take turns.
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(Profile::ALL.map(Profile::name)).map(|name| Profile::of_name(&name)))]
    profile: Option<Option<Profile>>,

    /// How many runs at once. By default as many as there are processors.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,

    /// Print the whole trace of every run, not the end of a failing one.
    #[arg(long)]
    trace: bool,

    /// Do not shrink what fails.
    #[arg(long)]
    no_shrink: bool,

    /// Stop after so many failures. 0 never stops.
    #[arg(long, default_value_t = 20, value_name = "N")]
    max_failures: usize,

    /// Measure the times of groups of 3, 10, 50, 150 and 500 routers, up to N, instead of playing seeds.
    #[arg(long, value_name = "N", conflicts_with_all = ["seeds", "nodes", "profile", "trace"])]
    bounds: Option<usize>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("campaign: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // A second one ends the program at once.
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)))
            .context("signals cannot be caught")?;
    }
    // A run that fails ends by a panic, which is caught and reported in its place.
    std::panic::set_hook(Box::new(|_| {}));
    let threads = arguments
        .threads
        .filter(|threads| *threads > 0)
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    if let Some(most) = arguments.bounds {
        return Ok(bounds::measure_all(most, threads, &stop));
    }
    let campaign = work::Campaign {
        first: arguments.first_seed,
        seeds: arguments.seeds,
        nodes: arguments.nodes.map(usize::from),
        profile: arguments.profile.flatten(),
        trace: arguments.trace,
        shrink: !arguments.no_shrink,
        max_failures: arguments.max_failures,
        threads,
    };
    let tally = work::play_all(&campaign, &stop);
    Ok(report::finish(&campaign, &tally))
}
