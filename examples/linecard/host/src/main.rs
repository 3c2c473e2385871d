//! The card's neighbour: it starts the emulated card, is the other router of its group, and judges. `../run` calls it.
//!
//! Everything that it says is one line on standard output: `card` and what the card logged, `host` and what it did itself.
//! It ends with 0 if every step held.

mod card;
mod neighbour;
mod scenario;

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Runs an emulated line card and, beside it, the other router of its group.
#[derive(Parser)]
struct Options {
    /// What to run.
    #[arg(value_enum)]
    what: What,
    /// How the two routers prove themselves.
    #[arg(long, value_enum, default_value = "shared-key")]
    proof: ProofKind,
    /// The firmware, with its symbols.
    #[arg(long)]
    firmware: PathBuf,
    /// The emulator.
    #[arg(long, default_value = "qemu-system-arm")]
    qemu: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum What {
    /// The card and this process are the two routers of a group.
    Together,
    /// The card runs two routers by itself.
    Alone,
}

#[derive(Clone, Copy, ValueEnum)]
enum ProofKind {
    /// By a pre-shared key.
    SharedKey,
    /// By Ed25519 signatures.
    Signature,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let signatures = matches!(options.proof, ProofKind::Signature);
    let mut card = card::Card::start(&options.qemu, &options.firmware)?;
    match options.what {
        What::Together => scenario::together(&mut card, signatures)?,
        What::Alone => scenario::alone(&mut card, signatures)?,
    }
    card.stop()?;
    println!("host all held");
    Ok(())
}
