//! `cargo run --release --example fleet`: large links and many links, with the engine as it ships.

mod cost;
mod laboratory;
mod link;
mod measure;
mod plot;
mod report;
mod router;
mod story;

use std::{
    io::IsTerminal as _,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, ensure};
use clap::Parser;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{
    cost::Cost,
    link::{MS, Shape},
    report::Result as Report,
    story::{Interrupted, Measured, Part, Player, Story},
};

const ABOUT: &str = "\
Simulates links with many routers, and many links, on virtual time. Every router is a real engine
that seals, signs and verifies all its messages; the link, the sockets and the processors are
simulated: a router's processor does one thing after the other, each takes its time, and what comes
meanwhile waits at a socket that holds so much and no more.

Each link lives through four parts: all its routers are powered on at once (start); nothing happens
for half a minute (peace); an operator asks for new keys (rollover); the key server loses power
(failover). For each part it tells how long the routers took, what went over the link, and what the
key server (GCKS) had to do.

Ends with status 0 only if every router came through every part, all agreed on one GCKS and one key,
the GCKS's sockets never overflowed, and at the median no request was sent again more than once for
each exchange begun.";

const AFTER: &str = "\
A list of numbers (--routers 10,30,100,300,1000) is played one after the other, and the growth of
the figures with the number of routers is told. Plots go to target/fleet: how many routers have come
through start and failover against time, and, of a list, the times against the number of routers.

The time that a processor needs is a model: shares of one answered initial exchange for each kind of
message. 'real' in the table is processor time that the GCKS's engine took on this machine.

  1,000 routers on one link                fleet --routers 1000
  the same with line cards                 fleet --routers 1000 --line-card
  10,000 routers on 2,500 links            fleet --routers 10000 --links 2500";

#[derive(Parser)]
#[command(name = "fleet", about = "Large links and many links, simulated", long_about = ABOUT, after_help = AFTER)]
struct Arguments {
    /// How many routers in all, shared out among the links; or a list of numbers with commas.
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "100")]
    routers: Vec<usize>,

    /// How many links there are. They are independent of each other.
    #[arg(long, value_name = "M", default_value_t = 1)]
    links: usize,

    /// How many routers of a link may serve as GCKS. The others have the tables of a line card and priority 0.
    #[arg(long, value_name = "K", default_value_t = 16)]
    candidates: usize,

    /// How many initial exchanges a router's processor can answer in a second. The default is about what the engine
    /// takes on one core of a server.
    #[arg(long, value_name = "E", default_value_t = 10_000.0)]
    exchanges_per_second: f64,

    /// Processors as slow as a line card's: 10 exchanges a second.
    #[arg(long, conflicts_with = "exchanges_per_second")]
    line_card: bool,

    /// How many datagrams wait at a socket at most.
    #[arg(long, value_name = "COUNT", default_value_t = 256)]
    socket: usize,

    /// Handshake slots of a router that may serve.
    #[arg(long, value_name = "COUNT", default_value_t = 64)]
    handshakes: usize,

    /// Lose so many percent of the datagrams, 0 to 30.
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=30))]
    loss: u32,

    /// Routers are powered on within so many milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 100)]
    spread: u64,

    /// All that is random comes from this seed: the same seed gives the same run.
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,

    /// Links that are simulated at the same time. The default is one for each core.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,

    /// One JSON object a line, {"summary": ..} as the last one.
    #[arg(long)]
    json: bool,

    /// Write what becomes of each link to standard error, a line for each second of its time.
    #[arg(long)]
    trace: bool,

    /// Where the plots go.
    #[arg(long, value_name = "FOLDER", default_value = "target/fleet")]
    plots: PathBuf,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("fleet: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    ensure!(arguments.links > 0, "--links: there must be one");
    ensure!(
        arguments.candidates > 1,
        "--candidates: 2 at least, or nobody could follow the first key server"
    );
    ensure!(arguments.socket > 0, "--socket: 1 at least");
    ensure!(
        (2..=4096).contains(&arguments.handshakes),
        "--handshakes: 2 to 4096"
    );
    ensure!(
        (0.1..=1e6).contains(&arguments.exchanges_per_second),
        "--exchanges-per-second: 0.1 to 1000000"
    );
    for routers in &arguments.routers {
        let each = routers / arguments.links;
        ensure!(
            routers % arguments.links == 0 && (3..=60_000).contains(&each),
            "--routers: {routers} cannot be shared out evenly among {} links of 3 to 60000",
            arguments.links
        );
    }
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // A second one ends the program at once.
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)))
            .context("signals cannot be caught")?;
    }
    let mut results = Vec::new();
    for routers in &arguments.routers {
        let Some(result) = play(arguments, routers / arguments.links, &stop) else {
            eprintln!("fleet: interrupted");
            return Ok(ExitCode::from(130));
        };
        if arguments.json {
            Part::ALL
                .iter()
                .for_each(|part| println!("{}", result.json(*part)));
        }
        results.push(result);
    }
    draw(&arguments.plots, &results)?;
    let faults: Vec<String> = results.iter().flat_map(Report::faults).collect();
    if arguments.json {
        println!("{}", report::last_line(&results));
    } else {
        println!("{}", report::table(&results));
    }
    for fault in &faults {
        eprintln!("fleet: {fault}");
    }
    Ok(if faults.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Plays the story of all links with so many routers each; `None` if it was interrupted.
fn play(arguments: &Arguments, routers: usize, stop: &AtomicBool) -> Option<Report> {
    let links = arguments.links;
    let speed = if arguments.line_card {
        10.0
    } else {
        arguments.exchanges_per_second
    };
    let slowest = routers as u64 * 3_000_000_000 / (speed.max(1.0) as u64).max(1);
    let bar = progress_bar(routers, links, arguments.json);
    let next = AtomicUsize::new(0);
    let total: Mutex<Option<Story>> = Mutex::new(None);
    let interrupted = AtomicBool::new(false);
    let threads = arguments
        .threads
        .or_else(|| std::thread::available_parallelism().ok().map(usize::from))
        .unwrap_or(1)
        .clamp(1, links);
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= links {
                break;
            }
            let last = std::cell::Cell::new((Part::Start, 0_u64));
            let second = std::cell::Cell::new(0);
            let watch = |part: Part, link: &link::Link| {
                let (before, seen) = last.get();
                let reached = if part == Part::Peace {
                    0
                } else {
                    link.reached as u64
                };
                let seen = if before == part { seen } else { 0 };
                bar.inc(reached.saturating_sub(seen));
                last.set((part, reached.max(seen)));
                let now = link.now / (1000 * MS);
                if arguments.trace && second.replace(now) != now {
                    eprintln!("link {}, {now} s: {}, {}", number + 1, part.name(), link.trace());
                }
                if links == 1 {
                    bar.set_message(format!("{} at {} s", part.name(), link.now / (1000 * MS)));
                }
            };
            let player = Player {
                shape: Shape {
                    routers,
                    candidates: arguments.candidates,
                    cost: Cost::per_second(speed),
                    socket: arguments.socket,
                    handshakes: arguments.handshakes,
                    loss: arguments.loss,
                    seed: arguments.seed.wrapping_mul(1_000_003).wrapping_add(number as u64),
                },
                spread: arguments.spread * MS,
                limit: 120_000 * MS + slowest,
                stop,
                watch: &watch,
            };
            match player.play() {
                Err(Interrupted) => {
                    interrupted.store(true, Ordering::Relaxed);
                    break;
                }
                Ok(story) => {
                    if let Ok(mut total) = total.lock() {
                        add(&mut total, story);
                    }
                    if links > 1 {
                        bar.set_message(format!("link {} of {links}", number + 1));
                    }
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    bar.finish_and_clear();
    if interrupted.into_inner() {
        return None;
    }
    let story = total.into_inner().ok().flatten()?;
    Some(Report {
        routers,
        links,
        story,
    })
}

fn add(total: &mut Option<Story>, story: Story) {
    let Some(total) = total else {
        *total = Some(story);
        return;
    };
    for (sum, one) in total.iter_mut().zip(story) {
        Measured::add(sum, one);
    }
}

/// Counts routers that start, change keys and find an heir.
fn progress_bar(routers: usize, links: usize, json: bool) -> ProgressBar {
    let target = if json || !std::io::stderr().is_terminal() {
        ProgressDrawTarget::hidden()
    } else {
        ProgressDrawTarget::stderr()
    };
    let bar = ProgressBar::with_draw_target(Some((3 * routers - 1) as u64 * links as u64), target);
    let style = ProgressStyle::with_template("{prefix} {bar:40} {percent:>3} % {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_prefix(format!("{routers} routers on {links} links"));
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}

fn draw(folder: &Path, results: &[Report]) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("--plots: {} cannot be made", folder.display()))?;
    let file = |name: &str| folder.join(name);
    plot::progress(
        &file("start.svg"),
        "Routers with keys after power on",
        Part::Start,
        results,
    )?;
    plot::progress(
        &file("failover.svg"),
        "Routers that follow the heir after the key server's death",
        Part::Failover,
        results,
    )?;
    if results.len() > 1 {
        plot::growth(
            &file("growth.svg"),
            "Times against the number of routers",
            results,
        )?;
    }
    Ok(())
}
