//! `cargo bench --bench peers`: starts the bench of that name in the package `benches/peers`.
//!
//! That package is outside this workspace, for what it compares with takes minutes to build. Without cargo's `--bench`,
//! as in `cargo test --all-targets`, nothing is started.

use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("not started: `cargo bench --bench peers` does that");
        return ExitCode::SUCCESS;
    }
    arguments.retain(|argument| argument != "--bench");
    // Instruction counts are a bench of their own there.
    let counts = arguments.first().is_some_and(|first| first == "counts");
    let bench = if counts {
        arguments.remove(0)
    } else {
        "peers".to_owned()
    };
    let of_cargo = |name| std::env::var_os(name).ok_or(name);
    let (Ok(cargo), Ok(package)) = (of_cargo("CARGO"), of_cargo("CARGO_MANIFEST_DIR")) else {
        eprintln!("cargo has to start this");
        return ExitCode::FAILURE;
    };
    let folder = std::path::Path::new(&package).join("peers");
    let status = Command::new(cargo)
        .current_dir(folder)
        .args(["bench", "--locked", "--bench", &bench, "--"])
        .args(arguments)
        .status();
    match status {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cargo cannot be started: {error}");
            ExitCode::FAILURE
        }
    }
}
