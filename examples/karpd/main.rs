//! `karpd`: automated key management beside the routing daemons of a router. See `karpd --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    karp_examples::karpd::main(std::env::args_os())
}
