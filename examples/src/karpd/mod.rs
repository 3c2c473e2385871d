//! `karpd`: the key manager beside the routing daemons of a router.
//!
//! One process for all links of a router; a thread for each group ([`group`]), one for the control socket ([`control`]),
//! and the main thread, which looks after them ([`daemon`]). Settings come from [`config`]; [`sinks`] and [`follow`] are
//! the ways to and from the routing daemons.

pub mod check;
pub mod cli;
pub mod client;
pub mod config;
pub mod control;
pub mod daemon;
pub mod events;
pub mod follow;
pub mod group;
pub mod keygen;
pub mod logs;
pub mod metrics;
pub mod place;
pub mod privileges;
pub mod service;
pub mod sinks;
pub mod table;

use std::{
    ffi::OsString,
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{CommandFactory as _, Parser as _};

use self::cli::{Action, Arguments};

/// The program, with its command line: the program's name first.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no errors and go to standard output.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match &arguments.action {
        None => daemon::run(arguments.config).unwrap_or_else(|error| {
            eprintln!("karpd: {error:#}");
            ExitCode::FAILURE
        }),
        Some(Action::Check { config }) => check::run(config),
        Some(Action::Keygen(keygen)) => keygen::run(keygen),
        Some(Action::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Arguments::command(), "karpd", &mut script);
            print(&script)
        }
        Some(Action::Man) => {
            let mut pages = Vec::new();
            match manual(&mut pages) {
                Ok(()) => print(&pages),
                Err(error) => {
                    eprintln!("karpd: {error}");
                    ExitCode::FAILURE
                }
            }
        }
        Some(action) => client::run(action),
    }
}

/// A reader who has seen enough is no failure.
fn print(octets: &[u8]) -> ExitCode {
    match io::stdout().write_all(octets) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("karpd: standard output: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// One page: the program, then each of its commands.
fn manual(out: &mut impl io::Write) -> io::Result<()> {
    let mut command = Arguments::command();
    command.build();
    let page = clap_mangen::Man::new(command.clone()).section("8");
    page.render(out)?;
    for command in command
        .get_subcommands()
        .filter(|command| command.get_name() != "help")
    {
        let page = clap_mangen::Man::new(command.clone());
        writeln!(out, ".SH KARPD {}", command.get_name().to_uppercase())?;
        page.render_description_section(out)?;
        page.render_options_section(out)?;
    }
    Ok(())
}
