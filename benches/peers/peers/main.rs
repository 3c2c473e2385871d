//! `cargo bench --bench peers`: karp-core against what its user would pick instead.
//!
//! One program, one run, one processor: the candidates take turns, round by round, and what is compared is the median of
//! the rounds' ratios, printed with its quartiles. Everything runs in memory. The last lines are
//! `ratio NAME MEDIAN quartiles LOW HIGH target TARGET`. A missed target is no failure; something that cannot be measured
//! is.
//!
//! `--quick` takes some seconds and shows only that all of it runs; so does any run without cargo's `--bench`.

mod exchange;
mod mls;
mod noise;
mod tls;
mod update;

use std::process::ExitCode;

use benches::{
    announcement,
    measure::{Report, pin},
    router::{Group, Proof, public_keys},
};

const HELP: &str = "\
cargo bench --bench peers [-- [--quick] [exchange] [update] [announcement]]

  exchange      the initial exchange against snow and rustls
  update        the key update against a commit of openmls
  announcement  an announcement among 4 to 4,096 peers
  --quick       few rounds and small groups: only that it runs";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |wanted: &str| arguments.iter().any(|argument| argument == wanted);
    if has("--help") {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let known = ["--quick", "--bench", "exchange", "update", "announcement"];
    if let Some(unknown) = arguments
        .iter()
        .find(|argument| !known.contains(&argument.as_str()))
    {
        eprintln!("{unknown} is not known here\n\n{HELP}");
        return ExitCode::from(2);
    }
    let quick = has("--quick") || !has("--bench");
    let all = !(has("exchange") || has("update") || has("announcement"));
    let mut report = Report::default();
    if let Err(error) = pin() {
        eprintln!("not pinned to one processor: {error}");
    }
    let public = public_keys(announcement::MOST + 2);
    let group = |proof, controller_signatures| Group {
        proof,
        controller_signatures,
        public: public.clone(),
    };
    let shared = group(Proof::SharedKey, true);
    let certified = group(Proof::Ed25519, true);
    if all || has("exchange") {
        report.heading("initial exchange, both sides together");
        if let Err(error) =
            exchange::measure([&shared, &certified], if quick { 20 } else { 2000 }, &mut report)
        {
            report.failed(format!("exchange: {error}"));
        }
    }
    if all || has("update") {
        report.heading("key update");
        let (members, rounds): (&[u16], _) = if quick {
            (&[10, 30], 5)
        } else {
            (&[10, 100, 500], 60)
        };
        if let Err(error) = update::measure(&shared, members, rounds, &mut report) {
            report.failed(format!("key update: {error}"));
        }
    }
    if all || has("announcement") {
        report.heading("announcement, handled and polled until idle");
        let peers = if quick {
            &announcement::PEERS[..3]
        } else {
            &announcement::PEERS
        };
        if let Err(error) = announcement::measure(&shared, peers, if quick { 10 } else { 200 }, &mut report) {
            report.failed(format!("announcement: {error}"));
        }
    }
    report.finish()
}
