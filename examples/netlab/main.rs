//! `cargo run --release --example netlab -- SCENARIO`: real routing daemons in network namespaces, keyed by karpd.

use std::process::ExitCode;

fn main() -> ExitCode {
    karp_examples::netlab::cli::main(std::env::args_os())
}
