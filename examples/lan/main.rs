//! `cargo run --release --example lan`: the life of a network, keyed automatically, on this machine's loopback.
//!
//! It needs no privilege, no file and no network. With `--node` it is one router from a configuration file instead.

use std::{
    io::IsTerminal as _,
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, atomic::AtomicBool},
};

use anyhow::Context as _;
use clap::Parser;
use karp_examples::{
    lan,
    node::{self, Place},
    timeline::{Style, Timeline},
};
use karp_std::clock;

const ABOUT: &str = "\
Plays the life of a network on loopback: routers under a manual key move to automatic keys, roll
them over, lose their key server and find another, take back the one that crashed, hand the office
over, let one leave and come back, and put one out. All the while each router multicasts OSPFv2 and
IS-IS hellos, ten a second, signed with its key table's current keys, and every other verifies them.
Takes about 13 seconds (20 on a lossy link), no privilege, no file and no network.

Ends with status 0 only if every step happened, no hello of a live router with keys was refused by
another, and all live routers end on one key server with the same keys.";

const AFTER: &str = "\
A hello counts by what its sender was when it sent it and its receiver when it judged it. A router
that crashed, left, was evicted, or came back and has no keys yet is not 'live with keys'. What an
eviction refuses while it changes all keys without overlap, as the protocol has it, is counted apart.

PICTURE: --svg FILE draws the run, also one that failed: time from left to right, a band for each
router with its role, the id of the key that it sends with, and how many of the others it hears.
Signs on the lanes are events; under the pointer a browser shows what each thing is.

ONE ROUTER: --node, --interface and --config run a single router from a configuration file
(karp-std/karp.example.toml documents every field) until Ctrl-C; then it leaves its group. Two
terminals of one machine, with one file for both and a port each:

  cat > pair.toml <<END
  [node]
  identity = \"r1\"
  address = \"127.0.0.1\"
  [group]
  name = \"pair\"
  multicast_port = 5000
  [shared]
  psk = { text = \"at least sixteen octets\" }
  END
  chmod 600 pair.toml
  cargo run --release --example lan -- --node r1 --interface 127.0.0.1:5001 --config pair.toml
  cargo run --release --example lan -- --node r2 --interface 127.0.0.1:5002 --config pair.toml";

#[derive(Parser)]
#[command(name = "lan", about = "A network on loopback that keys itself", long_about = ABOUT, after_help = AFTER)]
struct Arguments {
    /// How many routers, 3 to 32. With two, nobody would be left to agree with after the eviction.
    #[arg(long, default_value_t = 3, value_name = "N", conflicts_with = "node")]
    routers: usize,

    /// Draw all randomness from this seed, to play the same story again. Its keys are no secret then: for
    /// demonstrations only.
    #[arg(long, value_name = "SEED", conflicts_with = "node")]
    seed: Option<u64>,

    /// Lose so many percent of the key management's own datagrams at each receiver, 0 to 30. The hellos are not lost.
    /// Above 5 routers are given a longer hold.
    #[arg(long, default_value_t = 0, value_name = "PERCENT", conflicts_with = "node")]
    loss: u8,

    /// Ed25519 credentials. Otherwise each pair of routers has a pre-shared key.
    #[arg(long, conflicts_with = "node")]
    signed: bool,

    /// One JSON object a line: {"event": .., "t_ms": .., ..}, and {"summary": ..} as the last one.
    #[arg(long)]
    json: bool,

    /// Draw the run as a timeline to this SVG file: each router's role, the key that it sends with, and how many of the
    /// others it hears; steps and events by number.
    #[arg(long, value_name = "FILE", conflicts_with = "node")]
    svg: Option<PathBuf>,

    /// Write every endpoint's log to standard error, each datagram that was dropped included.
    #[arg(long)]
    trace: bool,

    /// Run this one router from a configuration file, under this name.
    #[arg(long, value_name = "NAME", requires = "config")]
    node: Option<String>,

    /// The address of that router's interface, with a port where the file's is not wanted.
    #[arg(long, value_name = "ADDR[:PORT]", requires = "node")]
    interface: Option<Place>,

    /// That router's configuration file.
    #[arg(long, value_name = "FILE", requires = "node")]
    config: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("lan: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // A second one ends the program at once.
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)))
            .context("signals cannot be caught")?;
    }
    if arguments.trace {
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_writer(std::io::stderr)
            .with_ansi(false)
            .with_target(false)
            .init();
    }
    let style = match (arguments.json, std::io::stdout().is_terminal()) {
        (true, _) => Style::Json,
        (false, true) if std::env::var_os("NO_COLOR").is_none() => Style::Coloured,
        (false, _) => Style::Plain,
    };
    let timeline = Timeline::new(style, clock::now(), Box::new(std::io::stdout()));
    if let (Some(node), Some(config)) = (arguments.node, arguments.config) {
        let options = node::Options {
            node,
            place: arguments.interface,
            config,
            stop,
        };
        node::run(&options, timeline)?;
        return Ok(ExitCode::SUCCESS);
    }
    let options = lan::plan::Options {
        routers: arguments.routers,
        seed: arguments.seed,
        loss: arguments.loss,
        signed: arguments.signed,
        stop,
    };
    let outcome = lan::run(options, timeline)?;
    // A run that failed needs its picture most.
    if let Some(path) = &arguments.svg {
        outcome
            .chart
            .write(path)
            .with_context(|| format!("--svg: {} cannot be written", path.display()))?;
    }
    if let Some(why) = &outcome.failure {
        if outcome.interrupted {
            return Ok(ExitCode::from(130));
        }
        eprintln!("lan: {why}");
        if outcome.is_stalled() {
            eprintln!(
                "lan: the machine stood still for {} ms, longer than the routers' hold of {} ms: this run proves nothing",
                outcome.longest_stall_ms, outcome.hold_ms
            );
        }
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
