//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

/// Where the configuration is looked for.
pub const DEFAULT_CONFIG: &str = "/etc/karp/karp.toml";
/// Where the control socket is, unless the configuration says otherwise.
pub const DEFAULT_CONTROL: &str = "/run/karp/karpd.sock";

const ABOUT: &str = "\
Keeps the keys of routing protocols on this router's links: it elects a key server with the other
routers of each link, agrees on keys, fills them into the routing daemon, and changes them before they
age, without an adjacency dropping.

Without a subcommand it is the daemon. It stays in the foreground, logs to standard error, tells systemd
of itself, leaves its groups at SIGTERM or SIGINT (a second one ends it at once) and reads its
configuration again at SIGHUP.";

const AFTER: &str = "\
EXIT STATUS
  0  done; the daemon left its groups
  1  refused, or failed: the line on standard error says why and what to do
  2  the command line is wrong
  3  no karpd answers at the control socket
  4  the control socket is not for this user

The other subcommands talk to the running daemon by its control socket, which only its user and root may
use. Where it keys several groups, --group chooses one; else all are meant.

FIRST STEPS
  karpd keygen --psk --out /etc/karp/group      make a pre-shared key, and copy it to the other routers
  karpd check --config /etc/karp/karp.toml      see what is wrong with the configuration, or what it means
  karpd --config /etc/karp/karp.toml            run
  karpd status                                  see the group, its keys and the routing daemon";

/// What the command line says.
#[derive(Parser, Debug)]
#[command(
    name = "karpd",
    version,
    about = "Automated key management for routing protocols",
    long_about = ABOUT,
    after_long_help = AFTER,
    args_conflicts_with_subcommands = true
)]
pub struct Arguments {
    /// The configuration file: a group's, or one that names a file for each group.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG, value_hint = ValueHint::FilePath)]
    pub config: PathBuf,

    /// What to do; without it, run as the daemon.
    #[command(subcommand)]
    pub action: Option<Action>,
}

/// Everything but being the daemon.
#[derive(Subcommand, Debug)]
pub enum Action {
    /// Check the configuration, its key files and its sinks, and say what it means.
    ///
    /// One line on standard error for each fault, with file, line, field and remedy; status 1 if there is one. Nothing is
    /// opened or changed, and no daemon is spoken to.
    Check {
        /// The configuration file.
        #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG, value_hint = ValueHint::FilePath)]
        config: PathBuf,
    },
    /// Make a key: PREFIX.psk, or PREFIX.key and PREFIX.pub. Private files have mode 0600.
    Keygen(Keygen),
    /// Show each group: roles, peers, keys (by fingerprint), sinks and alarms.
    Status {
        /// Which daemon and group.
        #[command(flatten)]
        reach: Reach,
        /// As JSON, for programs.
        #[arg(long)]
        json: bool,
    },
    /// Tell what happens, as it happens, until interrupted.
    Watch {
        /// Which daemon and group.
        #[command(flatten)]
        reach: Reach,
        /// One JSON object a line, for programs.
        #[arg(long)]
        json: bool,
    },
    /// Ask for new keys. Requests within timers.min_rekey are merged, and none is lost.
    Rekey {
        /// Which daemon and group.
        #[command(flatten)]
        reach: Reach,
        /// The present key may be known to others.
        #[arg(long)]
        compromise: bool,
    },
    /// Set the election priority, over whatever the configuration or the routing protocol says; "auto" ends that.
    Priority {
        /// 0 (never serves) to 65535, or auto.
        #[arg(value_name = "N|auto", value_parser = priority)]
        priority: Priority,
        /// Which daemon and group.
        #[command(flatten)]
        reach: Reach,
    },
    /// Put a router out of the group and change all keys. Only at the key server, and only a router with a key of its own.
    ///
    /// It is remembered for one Rekey SA lifetime, and over restarts of karpd. To keep the router out for good, take its
    /// `[[peer]]` out of the other routers' files, and reload them.
    Evict {
        /// Its identity, as node.identity of its configuration has it.
        #[arg(value_name = "IDENTITY")]
        identity: String,
        /// Which daemon and group.
        #[command(flatten)]
        reach: Reach,
    },
    /// Move from manual to automatic keys without waiting for every expected router. Only at the key server.
    Migrate {
        /// Which daemon and group.
        #[command(flatten)]
        reach: Reach,
    },
    /// Hand the office of key server to the best other router.
    Handoff {
        /// Which daemon and group.
        #[command(flatten)]
        reach: Reach,
    },
    /// Leave the group. The routing daemon keeps its last keys, and goes on until the others have changed theirs.
    Leave {
        /// Which daemon and group.
        #[command(flatten)]
        reach: Reach,
    },
    /// Take part again after `leave`.
    Join {
        /// Which daemon and group.
        #[command(flatten)]
        reach: Reach,
    },
    /// Read the configuration again, as SIGHUP does, and say what needs a restart.
    Reload {
        /// Which daemon and group.
        #[command(flatten)]
        reach: Reach,
    },
    /// Print the metrics in the OpenMetrics text format.
    Metrics {
        /// Which daemon and group.
        #[command(flatten)]
        reach: Reach,
    },
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page.
    Man,
}

/// Which daemon, and which of its groups.
#[derive(Args, Debug)]
pub struct Reach {
    /// The daemon's control socket.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_CONTROL, value_hint = ValueHint::FilePath)]
    pub control: PathBuf,

    /// One group only.
    #[arg(long, value_name = "NAME")]
    pub group: Option<String>,
}

/// What key to make.
#[derive(Args, Debug)]
pub struct Keygen {
    /// A pre-shared key for two routers or a whole group (the default).
    #[arg(long, conflicts_with = "ed25519")]
    pub psk: bool,

    /// An Ed25519 key pair for one router.
    #[arg(long)]
    pub ed25519: bool,

    /// The files' name without ending.
    #[arg(long, value_name = "PREFIX", default_value = "karp", value_hint = ValueHint::FilePath)]
    pub out: PathBuf,

    /// Replace files that are there.
    #[arg(long)]
    pub force: bool,
}

/// An operator's priority.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Priority {
    /// This one.
    Fixed(u16),
    /// The configuration's, or what follows from the routing protocol.
    Auto,
}

fn priority(text: &str) -> Result<Priority, String> {
    match text {
        "auto" => Ok(Priority::Auto),
        number => number
            .parse()
            .map(Priority::Fixed)
            .map_err(|_| "give a number from 0 to 65535, or auto".to_owned()),
    }
}

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn without_subcommand_it_is_the_daemon() {
        let arguments = Arguments::try_parse_from(["karpd"]).unwrap();
        assert_eq!(arguments.config, PathBuf::from(DEFAULT_CONFIG));
        assert!(arguments.action.is_none());
        let arguments = Arguments::try_parse_from(["karpd", "--config", "x.toml"]).unwrap();
        assert_eq!(arguments.config, PathBuf::from("x.toml"));
    }

    #[test]
    fn priorities() {
        for (text, expected) in [
            ("0", Some(Priority::Fixed(0))),
            ("65535", Some(Priority::Fixed(65535))),
            ("auto", Some(Priority::Auto)),
            ("65536", None),
            ("high", None),
        ] {
            let parsed = Arguments::try_parse_from(["karpd", "priority", text]).ok();
            let parsed = parsed.and_then(|arguments| match arguments.action {
                Some(Action::Priority { priority, .. }) => Some(priority),
                _ => None,
            });
            assert_eq!(parsed, expected, "{text}");
        }
    }
}
