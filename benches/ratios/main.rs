//! `cargo bench --bench ratios`: what karp-core costs beyond the bare primitives that it cannot do without.
//!
//! Real engines are driven through their public interface, with nothing but memory between them; the primitives are
//! those of `karp_core::crypto`, in the numbers and sizes that the same messages need, interleaved with them. The last
//! lines are `ratio NAME VALUE target TARGET`. A missed target is no failure; something that cannot be measured is.
//!
//! `--quick` takes a few seconds and shows only that all of it runs; so does any run without cargo's `--bench`.

mod exchange;
mod parse;
mod sizes;
mod update;

use std::process::ExitCode;

use benches::{
    measure::Report,
    router::{Group, Proof, public_keys},
};

/// The most members of a group here.
const MANY: u16 = 1000;
/// The members of a small group.
const FEW: u16 = 10;

/// How often things are repeated.
pub(crate) struct Rounds {
    /// Initial exchanges of each kind.
    pub(crate) exchanges: u32,
    /// Rollovers in a small group, and in a large one.
    pub(crate) rollovers: (u32, u32),
    /// Batches of each message that is parsed.
    pub(crate) parses: u32,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |wanted: &str| arguments.iter().any(|argument| argument == wanted);
    if has("--help") {
        println!("cargo bench --bench ratios [-- --quick]");
        return ExitCode::SUCCESS;
    }
    let rounds = if has("--quick") || !has("--bench") {
        Rounds {
            exchanges: 20,
            rollovers: (10, 1),
            parses: 5,
        }
    } else {
        Rounds {
            exchanges: 3000,
            rollovers: (1500, 60),
            parses: 400,
        }
    };
    println!(
        "Both dalek crates with precomputed tables, as karp-std takes them; times are minima, interleaved."
    );
    let mut report = Report::default();
    let public = public_keys(MANY + 1);
    let group = |proof, controller_signatures| Group {
        proof,
        controller_signatures,
        public: public.clone(),
    };

    let signed = group(Proof::SharedKey, true);
    let certified = group(Proof::Ed25519, true);
    let unsigned = group(Proof::SharedKey, false);
    report.heading("initial exchange, both sides together");
    for (name, group) in [("psk", &signed), ("ed25519", &certified)] {
        if let Err(error) = exchange::measure(name, group, &rounds, &mut report) {
            report.failed(format!("exchange with {name}: {error}"));
        }
    }
    report.heading("key update");
    if let Err(error) = update::measure([&signed, &unsigned], [FEW, MANY], &rounds, &mut report) {
        report.failed(format!("key update: {error}"));
    }
    report.heading("parsing");
    if let Err(error) = parse::measure(&signed, &rounds, &mut report) {
        report.failed(format!("parsing: {error}"));
    }
    println!("\nsizes");
    sizes::measure(&mut report);
    report.finish()
}
