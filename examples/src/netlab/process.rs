//! Programs of the laboratory: started in a namespace, on this machine's files or on the tree's, written down, and ended
//! by their process id.

use std::{
    ffi::OsStr,
    fs::{File, OpenOptions},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Binds private directories over the tree's (pairs of host path and tree path, up to `--`), and becomes the program. All
/// of it in the mount namespace that `ip netns exec` has made, so the mounts go with the process.
const ENTER: &str = r#"T=$1; shift
while [ "$1" != -- ]; do mount --bind "$1" "$T$2" || exit 121; shift 2; done
shift
mount -t proc proc "$T/proc" || exit 121
exec chroot "$T" "$@""#;

/// A running program. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    output: PathBuf,
}

impl Process {
    /// Starts `command` with its output at the end of the file `output`. A Ctrl-C of the terminal does not reach it.
    ///
    /// # Errors
    /// The file or the program cannot be had.
    pub fn spawn(name: impl Into<String>, mut command: Command, output: &Path) -> anyhow::Result<Self> {
        let name = name.into();
        let file = append(output)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(
                file.try_clone()
                    .with_context(|| format!("{} cannot be written twice", output.display()))?,
            )
            .stderr(file)
            .process_group(0)
            .spawn()
            .with_context(|| format!("{name} does not start"))?;
        Ok(Self {
            name,
            child,
            output: output.to_owned(),
        })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it is called in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// The end of what it wrote, for messages.
    #[must_use]
    pub fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.output).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(8).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n    ")
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            // It may have ended by itself.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    /// Ends it without warning.
    pub fn crash(&mut self) {
        if self.ended().is_none() {
            self.signal(Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }

    /// Asks it to end, and kills it if it has not after `patience`. Returns whether it ended by itself.
    pub fn terminate(&mut self, patience: Duration) -> bool {
        if self.ended().is_some() {
            return true;
        }
        self.signal(Signal::SIGTERM);
        let end = Instant::now() + patience;
        while Instant::now() < end {
            if self.ended().is_some() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.crash();
        false
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.crash();
    }
}

/// A command that runs in a network namespace, on this machine's files.
#[must_use]
pub fn in_namespace(namespace: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace]).arg(program);
    command
}

/// A command that runs in a network namespace, on the tree's files, with private directories over the tree's own:
/// `binds` are pairs of a directory of this machine and one of the tree.
#[must_use]
pub fn in_tree(namespace: &str, tree: &Path, binds: &[(PathBuf, &str)], program: &str) -> Command {
    let mut command = in_namespace(namespace, "sh");
    command.args(["-c", ENTER, "sh"]).arg(tree);
    for (from, to) in binds {
        command.arg(from).arg(to);
    }
    // BIRD reads times in its process's zone; both daemons write them in it.
    command.args(["--", program]).env("TZ", "UTC");
    command
}

/// Runs a command to its end and gives what it wrote.
///
/// # Errors
/// It does not start, or ends with another status than 0: with its words.
pub fn run(command: &mut Command) -> anyhow::Result<String> {
    let shown = format!("{command:?}").replace('"', "");
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{shown}: does not start"))?;
    if !output.status.success() {
        bail!(
            "{shown}: {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// When the process started, in the kernel's ticks since boot; `None` if there is none of this id. Together with the
/// process id it names a process for good.
#[must_use]
pub fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    field(&stat, 22)
}

/// A field of /proc/PID/stat by its number in proc(5), 3 or above. The second is a name that may hold anything.
#[must_use]
pub fn field(stat: &str, number: usize) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

fn append(path: &Path) -> anyhow::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("{} cannot be written", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_brackets_does_not_shift_fields() {
        let stat = "77 (a b) c) S 1 77 77 0 -1 4194304 100 0 0 0 12 34 0 0 20 0 1 0 5555 1000 10";
        assert_eq!(field(stat, 14), Some(12));
        assert_eq!(field(stat, 15), Some(34));
        assert_eq!(field(stat, 22), Some(5555));
        assert_eq!(field("nonsense", 22), None);
    }

    #[test]
    fn a_failed_command_says_why() {
        let error = run(Command::new("sh").args(["-c", "echo no such thing >&2; exit 3"])).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("exit status: 3") && text.contains("no such thing"),
            "{text}"
        );
    }

    #[test]
    fn a_process_ends_with_its_guard() {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("sleep");
        command.arg("60");
        let process = Process::spawn("sleep", command, &directory.path().join("out")).unwrap();
        let pid = process.pid();
        assert!(start_time(pid).is_some());
        drop(process);
        assert!(start_time(pid).is_none());
    }
}
