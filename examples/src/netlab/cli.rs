//! The command line.

use std::{
    ffi::OsString,
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, atomic::AtomicBool},
};

use anyhow::{Context as _, bail};
use clap::Parser;

use super::{
    audit::Audit,
    capture::Capture,
    lab::{Lab, Options},
    measure::on_wire,
    net,
    report::{self, Verdict},
    scenarios::{self, Scenario},
    setup,
    tree::{self, Tree},
};

const ABOUT: &str = "\
Builds routers in network namespaces on a bridge, runs BIRD 2.17 and FRR 10.3 in them, keys them
with karpd, and plays a scenario: start without keys, rollovers, crashes, changes of the designated
router. The daemons' own logs tell whether an adjacency was lost, and a capture of the wire whether
every packet was authenticated under a key that was in force.";

const AFTER: &str = "\
  netlab SCENARIO      plays a scenario
  netlab setup         makes the Debian 13 tree with the daemons (needs apt and a Debian mirror)
  netlab strongswan    plays karp's pairwise mode against strongSwan, case by case
  netlab list          lists the scenarios

Needs root and Linux. Results (logs, capture, picture, summary.json) go to target/netlab/SCENARIO
(with --loss 20 to target/netlab/SCENARIO-loss-20).

Status: 0 the scenario held; 1 it did not; 2 it could not be played; 3 it failed, and the machine
had stood still, so that it proves nothing; 130 interrupted.";

#[derive(Parser)]
#[command(name = "netlab", about = "Real routers, keyed by karpd, in a laboratory of namespaces", long_about = ABOUT, after_help = AFTER)]
struct Arguments {
    /// A scenario, `setup`, or `list`.
    scenario: String,

    /// strongswan: play only the cases whose name contains this.
    #[arg(long, value_name = "TEXT")]
    case: Option<String>,

    /// Fewer rollovers: about a minute and a half. Played once more if the machine stalled.
    #[arg(long)]
    short: bool,

    /// Lose so many percent of all packets at each router, 0 to 30.
    #[arg(long, default_value_t = 0, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=30))]
    loss: u8,

    /// Decides what is random in the story; printed, so that it can be played again. Default: another each time.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Leave the routers' files in place when it ends.
    #[arg(long)]
    keep: bool,

    /// The Debian tree.
    #[arg(long, value_name = "DIR", default_value = tree::DEFAULT)]
    tree: PathBuf,

    /// setup: where to make the tree. Default: that of --tree.
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,

    /// setup: make it anew, also if it is there.
    #[arg(long)]
    force: bool,
}

/// The program. `karpd` as the first argument makes it karpd, so that one file is enough.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.collect();
    if arguments.get(1).is_some_and(|first| first == "karpd") {
        return crate::karpd::main(arguments.into_iter().skip(1));
    }
    let arguments = Arguments::parse_from(arguments);
    match run(&arguments) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("netlab: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    match arguments.scenario.as_str() {
        "list" => {
            for scenario in scenarios::ALL {
                report::tell(&format!("{:<20} {}", scenario.name, scenario.about));
            }
            Ok(0)
        }
        "setup" => {
            check_root()?;
            let directory = arguments.directory.as_ref().unwrap_or(&arguments.tree);
            setup::run(directory, arguments.force)?;
            Ok(0)
        }
        "strongswan" => {
            check_root()?;
            let tree = Tree::open(&arguments.tree)?;
            for pid in net::sweep()? {
                report::tell(&format!("removed what laboratory {pid} had left"));
            }
            let results = PathBuf::from("target/netlab/strongswan");
            if results.exists() {
                std::fs::remove_dir_all(&results)
                    .with_context(|| format!("{} cannot be emptied", results.display()))?;
            }
            let failed = super::strongswan::run(&tree, &results, arguments.case.as_deref())?;
            Ok(u8::from(failed > 0))
        }
        name => {
            let Some(scenario) = scenarios::find(name) else {
                bail!("no scenario is called {name}; `netlab list` lists them");
            };
            check_root()?;
            let tree = Tree::open(&arguments.tree)?;
            let stop = Arc::new(AtomicBool::new(false));
            for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
                signal_hook::flag::register(signal, Arc::clone(&stop)).context("signals cannot be caught")?;
            }
            for pid in net::sweep()? {
                report::tell(&format!("removed what laboratory {pid} had left"));
            }
            let tries = if arguments.short { 2 } else { 1 };
            for attempt in 1..=tries {
                let verdict = play(scenario, arguments, &tree, &stop)?;
                if attempt == tries || !matches!(verdict, Verdict::Stalled(_)) {
                    return Ok(verdict.code());
                }
                report::tell(&format!(
                    "netlab: the machine stalled: {name} is played once more"
                ));
            }
            Ok(Verdict::Stalled(Vec::new()).code())
        }
    }
}

fn play(
    scenario: &Scenario,
    arguments: &Arguments,
    tree: &Tree,
    stop: &Arc<AtomicBool>,
) -> anyhow::Result<Verdict> {
    let seed = arguments
        .seed
        .unwrap_or_else(|| super::watch::unix_ms() % 1_000_000);
    let name = match arguments.loss {
        0 => scenario.name.to_owned(),
        loss => format!("{}-loss-{loss}", scenario.name),
    };
    let results = PathBuf::from("target/netlab").join(name);
    if results.exists() {
        std::fs::remove_dir_all(&results)
            .with_context(|| format!("{} cannot be emptied", results.display()))?;
    }
    let options = Options {
        short: arguments.short,
        loss: arguments.loss,
        seed,
        keep: arguments.keep,
        results: results.clone(),
        stop: Arc::clone(stop),
    };
    report::tell(&format!(
        "netlab {}{}: seed {seed}, loss {} %, {}, {}",
        scenario.name,
        if arguments.short { " --short" } else { "" },
        arguments.loss,
        tree.bird_version,
        tree.frr_version
    ));
    let mut lab = Lab::open(options, scenario.plan(), tree.clone())?;
    let wire = Capture::start(tree, lab.lan.bridge(), net::BRIDGE, &results, "wire")?;
    let ended = scenario.play(&mut lab);
    let ended_ms = super::watch::unix_ms();
    let wire = wire.stop();
    lab.close();
    let audit = wire.map(|captured| Audit::of_lab(&captured, &lab));
    let complaints = match &audit {
        Ok(audit) => audit.complaints(&lab.plan.protocols, lab.began_ms),
        Err(error) => vec![format!("{error:#}")],
    };
    let audit = audit.unwrap_or_default();
    let more = scenario.wire(complaints);
    let firsts: Vec<(usize, u16, u64)> = audit
        .keys
        .iter()
        .map(|((router, _, id), used)| (*router, *id, used.first_ms))
        .collect();
    let asked = std::mem::take(&mut lab.measures.asked).into_iter();
    let members = lab.routers.len() - lab.plan.outsiders;
    lab.measures.rekey_wire_ms = asked
        .filter_map(|(id, from)| on_wire(&firsts, members, id, from))
        .collect();
    let verdict = report::judge(&lab, &ended, scenario.wants_loss, &more);
    lab.keep_logs();
    lab.draw(&format!("netlab {}", scenario.name), verdict.name(), ended_ms)?;
    let summary = report::summary(&lab, scenario.name, &verdict, audit.to_json());
    let file = results.join("summary.json");
    std::fs::write(&file, format!("{summary}\n"))
        .with_context(|| format!("{} cannot be written", file.display()))?;
    report::tell(audit.table(&lab.plan.protocols, lab.began_ms).trim_end());
    report::tell(&report::table(&lab, scenario.name, &verdict));
    report::tell(&summary.to_string());
    Ok(verdict)
}

fn check_root() -> anyhow::Result<()> {
    if !cfg!(target_os = "linux") {
        bail!("network namespaces are Linux's: run this on Linux");
    }
    if !nix::unistd::geteuid().is_root() {
        bail!("namespaces and mounts take root: run this as root");
    }
    for program in ["ip", "nft", "setpriv", "chroot", "mount"] {
        let found = std::env::var_os("PATH").is_some_and(|path| {
            std::env::split_paths(&path).any(|directory| directory.join(program).exists())
        });
        if !found {
            bail!(
                "the program {program} is missing: `netlab setup` installs it, or apt-get install iproute2 nftables util-linux"
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
        let arguments = Arguments::parse_from(["netlab", "bird-ospf", "--short", "--loss", "20"]);
        assert!(arguments.short && arguments.loss == 20);
        assert!(Arguments::try_parse_from(["netlab", "bird-ospf", "--loss", "99"]).is_err());
    }
}
